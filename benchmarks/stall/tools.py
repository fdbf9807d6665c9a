"""The tools that are compared: how each is had, how it wants the migration written, and how it runs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import sides
from benchmarks.harness import Bench, environment
from benchmarks.stall.prefixes import node_prefix, python_prefix

TOOLS = ("ours", "psql", "dbmate", "alembic", "yoyo", "node-pg-migrate")
COLUMN = "added"
NAME = "001_add_column"
DBMATE = "2.36.0"
NODE_PG_MIGRATE, PG = "9.0.0", "8.23.1"
ALEMBIC, SQLALCHEMY = "1.20.1", "2.1.9"
YOYO = "9.0.0"
PSYCOPG = "3.3.9"


@dataclass(frozen=True)
class Tool:
    """One of those compared.

    Attributes:
        name: what it is called by `--tool`.
        version: what is measured.
        ready: makes it ready (installs it, if need be) and returns the folder of its programs; raises Unavailable.
        write: writes the migration of these tables into a folder, which is there.
        command: runs what lies in the folder; gets programs, folder and URL.
    """

    name: str
    version: str
    ready: Callable[[], Path]
    write: Callable[[Path, Sequence[str]], None]
    command: Callable[[Path, Path, str], Sequence[str]]


def tools_of(bench: Bench) -> list[Tool]:
    return [_ours(), _psql(bench), _dbmate(), _alembic(), _yoyo(), _node_pg_migrate()]


def environment_of(tool: Tool, url: str, bench: Bench) -> dict[str, str]:
    """Peers get the URL in the environment, and nothing of ours: neither our modules nor our cache."""
    if tool.name == "ours":
        return environment(bench.folder)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTHON"))}
    return {**kept, "DATABASE_URL": f"{url}?sslmode=disable"}


def statements(tables: Sequence[str]) -> str:
    return "".join(f"ALTER TABLE {table} ADD COLUMN {COLUMN} text;\n" for table in tables)


def _plain(folder: Path, tables: Sequence[str]) -> None:
    (folder / f"{NAME}.sql").write_text(statements(tables))


# ---- each of them ---------------------------------------------------------------------------------------------------


def _ours() -> Tool:
    return Tool("ours", "this checkout", Path, _plain, lambda _, folder, url: sides.ours(folder).command(url))


def _psql(bench: Bench) -> Tool:
    """One transaction, as the file has at all others."""
    options = ("-X", "-q", "-1", "-v", "ON_ERROR_STOP=1")
    return Tool(
        "psql",
        bench.server.version,
        lambda: bench.server.bindir,
        _plain,
        lambda programs, folder, url: [str(programs / "psql"), *options, "-f", str(folder / f"{NAME}.sql"), "-d", url],
    )


def _dbmate() -> Tool:
    def write(folder: Path, tables: Sequence[str]) -> None:
        (folder / f"{NAME}.sql").write_text(f"-- migrate:up\n{statements(tables)}\n-- migrate:down\n")

    return Tool(
        "dbmate",
        DBMATE,
        lambda: node_prefix("dbmate", [f"dbmate@{DBMATE}"]),
        write,
        lambda programs, folder, _: [
            str(programs / "dbmate"),
            "--migrations-dir",
            str(folder),
            "--no-dump-schema",
            "migrate",
        ],
    )


def _alembic() -> Tool:
    return Tool(
        "alembic",
        ALEMBIC,
        alembic_prefix,
        _write_alembic,
        lambda programs, folder, _: [str(programs / "alembic"), "-c", str(folder / "alembic.ini"), "upgrade", "head"],
    )


def alembic_prefix() -> Path:
    """The folder of its programs."""
    pins = [f"alembic=={ALEMBIC}", f"SQLAlchemy=={SQLALCHEMY}", f"psycopg[binary]=={PSYCOPG}"]
    return python_prefix("alembic", pins)


_ALEMBIC_INI = "[alembic]\nscript_location = %(here)s\n"
_ALEMBIC_ENV = """\
import os

from alembic import context
from sqlalchemy import create_engine, pool

url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
with create_engine(url, poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
_ALEMBIC_VERSION = """\
import sqlalchemy as sa
from alembic import op

revision = "001"
down_revision = None


def upgrade():
    for table in {tables}:
        op.add_column(table, sa.Column("{column}", sa.Text))
"""


def write_alembic(folder: Path) -> None:
    """As `alembic init` lays it out, but for what isn't needed."""
    (folder / "versions").mkdir()
    (folder / "alembic.ini").write_text(_ALEMBIC_INI)
    (folder / "env.py").write_text(_ALEMBIC_ENV)


def _write_alembic(folder: Path, tables: Sequence[str]) -> None:
    write_alembic(folder)
    (folder / "versions" / f"{NAME}.py").write_text(_ALEMBIC_VERSION.format(tables=list(tables), column=COLUMN))


def _yoyo() -> Tool:
    def command(programs: Path, folder: Path, url: str) -> Sequence[str]:
        database = url.replace("postgresql://", "postgresql+psycopg://")
        return [str(programs / "yoyo"), "apply", "--batch", "--no-config-file", "--database", database, str(folder)]

    pins = [f"yoyo-migrations=={YOYO}", f"psycopg[binary]=={PSYCOPG}"]
    return Tool("yoyo", YOYO, lambda: python_prefix("yoyo", pins), _plain, command)


def _node_pg_migrate() -> Tool:
    def write(folder: Path, tables: Sequence[str]) -> None:
        (folder / f"{NAME}.sql").write_text(f"-- Up Migration\n{statements(tables)}\n-- Down Migration\n")

    pins = [f"node-pg-migrate@{NODE_PG_MIGRATE}", f"pg@{PG}"]
    return Tool(
        "node-pg-migrate",
        NODE_PG_MIGRATE,
        lambda: node_prefix("node-pg-migrate", pins),
        write,
        lambda programs, folder, _: [str(programs / "node-pg-migrate"), "up", "--migrations-dir", str(folder)],
    )

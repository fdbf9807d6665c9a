"""The tools that are compared: how each is installed, how it wants migrations written, and how it runs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import sides
from benchmarks.harness import Bench, environment
from benchmarks.stall.prefixes import Unavailable, node_prefix, python_prefix

TOOLS = ("ours", "psql", "dbmate", "sql-migrate", "alembic", "yoyo", "node-pg-migrate", "postgres-migrations")
DBMATE = "2.36.0"
NODE_PG_MIGRATE, PG = "9.0.0", "8.23.1"
POSTGRES_MIGRATIONS = "5.3.0"
ALEMBIC, SQLALCHEMY = "1.20.1", "2.1.9"
YOYO = "9.0.0"
PSYCOPG = "3.3.9"


@dataclass(frozen=True)
class Migration:
    """A file: its name without the ending, the SQL, and whether that runs in a transaction."""

    name: str
    sql: str
    transaction: bool = True


@dataclass(frozen=True)
class Tool:
    """One of those compared, as it is configured by default.

    Attributes:
        name: what it is called by `--tool`.
        version: what is measured.
        ready: makes it ready (installs it, if need be) and returns the folder of its programs; raises Unavailable.
        write: writes migrations into a folder, which is there; each runs in a transaction of its own or, the way that
            the tool's documentation gives, in none.
        command: runs what lies in the folder; gets programs, folder and URL.
    """

    name: str
    version: str
    ready: Callable[[], Path]
    write: Callable[[Path, Sequence[Migration]], None]
    command: Callable[[Path, Path, str], Sequence[str]]


def tools_of(bench: Bench) -> list[Tool]:
    return [_ours(), _psql(bench), *peers()]


def peers() -> list[Tool]:
    """The other migration tools."""
    return [_dbmate(), _sql_migrate(), _alembic(), _yoyo(), _node_pg_migrate(), _postgres_migrations()]


def environment_of(tool: Tool, url: str, bench: Bench) -> dict[str, str]:
    return environment(bench.folder) if tool.name == "ours" else environment_of_peer(url)


def environment_of_peer(url: str) -> dict[str, str]:
    """The URL, and nothing of ours: neither our modules nor our cache."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTHON"))}
    return {**kept, "DATABASE_URL": f"{url.partition('?')[0]}?sslmode=disable"}


# ---- each of them ---------------------------------------------------------------------------------------------------


def _ours() -> Tool:
    return Tool(
        "ours", "this checkout", Path, _texts("{0}", "{0}"), lambda _, folder, url: sides.ours(folder).command(url)
    )


def _psql(bench: Bench) -> Tool:
    """One transaction a file, as at all others."""

    def command(programs: Path, folder: Path, url: str) -> Sequence[str]:
        files = [word for path in sorted(folder.glob("*.sql")) for word in ("-f", str(path))]
        return [str(programs / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", *files, "-d", url]

    write = _texts("BEGIN;\n{0}COMMIT;\n", "{0}")
    return Tool("psql", bench.server.version, lambda: bench.server.bindir, write, command)


def _dbmate() -> Tool:
    def command(programs: Path, folder: Path, url: str) -> Sequence[str]:
        """The npm package's own program would start Node first."""
        binary = next(iter((programs.parent / "@dbmate").glob("*/bin/dbmate")), programs / "dbmate")
        return [str(binary), "--migrations-dir", str(folder), "--no-dump-schema", "migrate"]

    write = _texts(*(f"-- migrate:up{option}\n{{0}}\n-- migrate:down\n" for option in ("", " transaction:false")))
    return Tool("dbmate", DBMATE, lambda: node_prefix("dbmate", [f"dbmate@{DBMATE}"]), write, command)


def _sql_migrate() -> Tool:
    """No package of pip or npm has it, but Debian's has."""
    texts = _texts(*(f"-- +migrate Up{option}\n{{0}}\n-- +migrate Down\n" for option in ("", " notransaction")))

    def write(folder: Path, migrations: Sequence[Migration]) -> None:
        texts(folder, migrations)
        known = f"  dialect: postgres\n  datasource: ${{DATABASE_URL}}\n  dir: {folder}\n"
        (folder / "dbconfig.yml").write_text(f"development:\n{known}")

    def command(programs: Path, folder: Path, url: str) -> Sequence[str]:
        return [str(programs / "sql-migrate"), "up", "-config", str(folder / "dbconfig.yml")]

    ready = partial(_folder_of, "sql-migrate", "apt-get install sql-migrate")
    return Tool("sql-migrate", "of Debian", ready, write, command)


def _folder_of(program: str, how: str) -> Path:
    found = shutil.which(program)
    if found is None:
        raise Unavailable(f"there is no {program}: {how}")
    return Path(found).parent


def _yoyo() -> Tool:
    def command(programs: Path, folder: Path, url: str) -> Sequence[str]:
        database = url.replace("postgresql://", "postgresql+psycopg://")
        return [str(programs / "yoyo"), "apply", "--batch", "--no-config-file", "--database", database, str(folder)]

    pins = [f"yoyo-migrations=={YOYO}", f"psycopg[binary]=={PSYCOPG}"]
    write = _texts("{0}", "-- transactional: false\n{0}")
    return Tool("yoyo", YOYO, lambda: python_prefix("yoyo", pins), write, command)


def _texts(inside: str, outside: str) -> Callable[[Path, Sequence[Migration]], None]:
    """Writes files of SQL: what a tool wants around the text of one in a transaction, and of one outside."""

    def write(folder: Path, migrations: Sequence[Migration]) -> None:
        for each in migrations:
            text = (inside if each.transaction else outside).format(each.sql)
            (folder / f"{each.name}.sql").write_text(text)

    return write


_ALEMBIC_INI = "[alembic]\nscript_location = %(here)s\n"
ALEMBIC_ENV = """\
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
from alembic import op

revision = {revision!r}
down_revision = {before!r}


def upgrade():
    {run}
"""
_ALEMBIC_RUN = "op.get_bind().exec_driver_sql({0!r})"
_ALEMBIC_RUN_OUTSIDE = "with op.get_context().autocommit_block():\n        op.get_bind().exec_driver_sql({0!r})"


def _alembic() -> Tool:
    """Laid out as `alembic init` does, but for what isn't needed."""

    def write(folder: Path, migrations: Sequence[Migration]) -> None:
        (folder / "versions").mkdir()
        (folder / "alembic.ini").write_text(_ALEMBIC_INI)
        (folder / "env.py").write_text(ALEMBIC_ENV)
        before: str | None = None
        for number, each in enumerate(migrations, 1):
            revision = f"{number:04}"
            run = (_ALEMBIC_RUN if each.transaction else _ALEMBIC_RUN_OUTSIDE).format(each.sql)
            text = _ALEMBIC_VERSION.format(revision=revision, before=before, run=run)
            (folder / "versions" / f"{each.name}.py").write_text(text)
            before = revision

    pins = [f"alembic=={ALEMBIC}", f"SQLAlchemy=={SQLALCHEMY}", f"psycopg[binary]=={PSYCOPG}"]
    return Tool(
        "alembic",
        ALEMBIC,
        lambda: python_prefix("alembic", pins),
        write,
        lambda programs, folder, _: [str(programs / "alembic"), "-c", str(folder / "alembic.ini"), "upgrade", "head"],
    )


def _node_pg_migrate() -> Tool:

    def write(folder: Path, migrations: Sequence[Migration]) -> None:
        """Outside a transaction only a program can run."""
        for each in migrations:
            ending, text = "sql", f"-- Up Migration\n{each.sql}\n-- Down Migration\n"
            if not each.transaction:
                ending, text = "js", f"exports.up = (pgm) => {{ pgm.noTransaction(); pgm.sql(`{each.sql}`); }};\n"
            (folder / f"{each.name}.{ending}").write_text(text)

    pins = [f"node-pg-migrate@{NODE_PG_MIGRATE}", f"pg@{PG}"]
    # By default all files are one transaction; here as at all others, each its own.
    options = ("up", "--no-single-transaction", "--migrations-dir")
    return Tool(
        "node-pg-migrate",
        NODE_PG_MIGRATE,
        lambda: node_prefix("node-pg-migrate", pins),
        write,
        lambda programs, folder, _: [str(programs / "node-pg-migrate"), *options, str(folder)],
    )


_POSTGRES_MIGRATIONS = """\
const { URL } = require("url");
const { migrate } = require(process.argv[1]);
const at = new URL(process.env.DATABASE_URL);
const login = { user: at.username, password: at.password, host: at.hostname, port: +at.port };
const database = at.pathname.slice(1);
migrate({ ...login, database, ensureDatabaseExists: false }, process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
"""


def _postgres_migrations() -> Tool:
    def ready() -> Path:
        return node_prefix("postgres-migrations", [f"postgres-migrations@{POSTGRES_MIGRATIONS}"])

    def command(programs: Path, folder: Path, url: str) -> Sequence[str]:
        node = _folder_of("node", "install Node.js") / "node"
        return [str(node), "-e", _POSTGRES_MIGRATIONS, str(programs.parent / "postgres-migrations"), str(folder)]

    texts = _texts("{0}", "-- postgres-migrations disable-transaction\n{0}")

    def write(folder: Path, migrations: Sequence[Migration]) -> None:
        """It is a library without a command, and wants each name behind the number once."""
        named = [
            Migration(f"{each.name}_{number}", each.sql, each.transaction) for number, each in enumerate(migrations, 1)
        ]
        texts(folder, named)

    return Tool("postgres-migrations", POSTGRES_MIGRATIONS, ready, write, command)

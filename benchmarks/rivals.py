"""Other migration tools with the same migrations, each as it is configured by default; installed as for the stall."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.harness import Side
from benchmarks.stall import tools
from benchmarks.stall.prefixes import Unavailable, node_prefix, python_prefix

POSTGRES_MIGRATIONS = "5.3.0"
_ALEMBIC_VERSION = """\
from alembic import op

revision = "{0:04}"
down_revision = {1!r}


def upgrade():
    op.get_bind().exec_driver_sql({2!r})
"""
_POSTGRES_MIGRATIONS = """\
const {{ URL }} = require("url");
const {{ migrate }} = require({0});
const at = new URL(process.env.DATABASE_URL);
const login = {{ user: at.username, password: at.password, host: at.hostname, port: +at.port }};
migrate({{ ...login, database: at.pathname.slice(1), ensureDatabaseExists: false }}, {1}).catch((error) => {{
  console.error(error);
  process.exit(1);
}});
"""


def rivals(folder: Path, into: Path) -> list[Side]:
    """All that can be had here; the others are named on stderr. Their migrations, made of those in `folder`, are
    written into a folder of each one's own."""
    found = []
    for make in (_dbmate, _alembic, _yoyo, _node_pg_migrate, _postgres_migrations):
        name = make.__name__.strip("_").replace("_", "-")
        try:
            found.append(make(sorted(folder.glob("*.sql")), _fresh(into / name)))
        except Unavailable as reason:
            print(f"{name} can't be had here: {reason}", file=sys.stderr)
    return found


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _side(name: str, command: Callable[[str], Sequence[str]]) -> Side:
    return Side(name, command, _variables)


def _variables(url: str) -> Mapping[str, str]:
    """The URL, and nothing of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTHON"))}
    return {**kept, "DATABASE_URL": f"{url.partition('?')[0]}?sslmode=disable"}


def _wrapped(paths: Sequence[Path], folder: Path, above: str, below: str) -> None:
    for path in paths:
        (folder / path.name).write_text(f"{above}\n{path.read_text()}\n{below}\n")


def _dbmate(paths: Sequence[Path], folder: Path) -> Side:
    programs = node_prefix("dbmate", [f"dbmate@{tools.DBMATE}"])
    _wrapped(paths, folder, "-- migrate:up", "-- migrate:down")
    options = ["--migrations-dir", str(folder), "--no-dump-schema", "migrate"]
    binary = next(iter((programs.parent / "@dbmate").glob("*/bin/dbmate")), programs / "dbmate")  # without Node's start
    return _side(f"dbmate {tools.DBMATE}", lambda _: [str(binary), *options])


def _alembic(paths: Sequence[Path], folder: Path) -> Side:
    programs = tools.alembic_prefix()
    tools.write_alembic(folder)
    before: str | None = None
    for number, path in enumerate(paths, 1):
        text = _ALEMBIC_VERSION.format(number, before, path.read_text())
        (folder / "versions" / f"{number:04}.py").write_text(text)
        before = f"{number:04}"
    command = [str(programs / "alembic"), "-c", str(folder / "alembic.ini"), "upgrade", "head"]
    return _side(f"Alembic {tools.ALEMBIC}", lambda _: command)


def _yoyo(paths: Sequence[Path], folder: Path) -> Side:
    pins = [f"yoyo-migrations=={tools.YOYO}", f"psycopg[binary]=={tools.PSYCOPG}"]
    programs = python_prefix("yoyo", pins)
    _wrapped(paths, folder, "", "")
    apply = [str(programs / "yoyo"), "apply", "--batch", "--no-config-file", "--database"]
    return _side(
        f"yoyo {tools.YOYO}", lambda url: [*apply, url.replace("postgresql:", "postgresql+psycopg:"), str(folder)]
    )


def _node_pg_migrate(paths: Sequence[Path], folder: Path) -> Side:
    pins = [f"node-pg-migrate@{tools.NODE_PG_MIGRATE}", f"pg@{tools.PG}"]
    programs = node_prefix("node-pg-migrate", pins)
    _wrapped(paths, folder, "-- Up Migration", "-- Down Migration")
    # By default all files are one transaction; here as at all others, each its own.
    command = [str(programs / "node-pg-migrate"), "up", "--no-single-transaction", "--migrations-dir", str(folder)]
    return _side(f"node-pg-migrate {tools.NODE_PG_MIGRATE}", lambda _: command)


def _postgres_migrations(paths: Sequence[Path], folder: Path) -> Side:
    programs = node_prefix("postgres-migrations", [f"postgres-migrations@{POSTGRES_MIGRATIONS}"])
    for path in paths:  # it wants every description once
        (folder / f"{path.stem}_{path.stem.partition('_')[0]}.sql").write_text(path.read_text())
    script = folder.parent / "postgres-migrations.cjs"
    module = programs.parent / "postgres-migrations"
    script.write_text(_POSTGRES_MIGRATIONS.format(repr(str(module)), repr(str(folder))))
    return _side(f"postgres-migrations {POSTGRES_MIGRATIONS}", lambda _: [_program("node"), str(script)])


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"there is no {name}")
    return found

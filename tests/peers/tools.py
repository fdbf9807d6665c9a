"""The other tools: how each is installed, how its migrations are written, and how it runs them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.stall.prefixes import Unavailable, node_prefix, python_prefix
from benchmarks.stall.tools import (
    ALEMBIC,
    ALEMBIC_ENV,
    DBMATE,
    NODE_PG_MIGRATE,
    PG,
    POSTGRES_MIGRATIONS,
    PSYCOPG,
    SQLALCHEMY,
    YOYO,
)

WANTED = "TEST_PEERS"  # set by `python -m tests.peers`; without it the tests are skipped
KNEX, GRAPHILE_MIGRATE = "3.3.0", "1.4.1"
DRIZZLE, LIQUIBASE, DJANGO = "0.45.4", "4.28.1", "5.2.19"
_TIME = 1700000000000  # of the first file, where files are numbered by time


@dataclass(frozen=True)
class Peer:
    """A tool.

    Attributes:
        programs: installs it if need be, and returns the folder of its programs; raises Unavailable.
        write: writes the migration of a number (from 1) with some SQL into its folder.
        command: runs all that are in the folder.
        ours: the name that the file of a number has here; empty where `import` lays it out.
        folder: where in its folder `import` finds the files.
        locks: whether a run of it is seen while it works.
        tells: variables of its process, by the URL.
    """

    name: str
    programs: Callable[[], Path]
    write: Callable[[Path, int, str], None]
    command: Callable[[Path, Path, str], Sequence[str]]
    ours: Callable[[int], str] | None = None
    folder: str = ""
    locks: bool = False
    tells: Callable[[str, Path, Path], Mapping[str, str]] = lambda url, programs, folder: {}

    def run(self, folder: Path, url: str) -> subprocess.CompletedProcess[str]:
        """Has it migrate."""
        return subprocess.run(
            self.command(self.programs(), folder, url),
            cwd=folder,
            env=self.environment(folder, url),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def environment(self, folder: Path, url: str) -> dict[str, str]:
        """The variables of its process: nothing of ours."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTHON"))}
        return {**kept, "DATABASE_URL": f"{url}?sslmode=disable", **self.tells(url, self.programs(), folder)}


def _write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def _node_modules(url: str, programs: Path, folder: Path) -> dict[str, str]:
    return {"NODE_PATH": str(programs.parent), "URL": url}


# ---- those whose files are SQL --------------------------------------------------------------------------------------


def _dbmate(folder: Path, number: int, sql: str) -> None:
    _write(folder, f"{number:03}_item.sql", f"-- migrate:up\n{sql}\n-- migrate:down\n")


def _node_pg_migrate(folder: Path, number: int, sql: str) -> None:
    _write(folder, f"{_TIME + number}_item.sql", f"-- Up Migration\n{sql}\n-- Down Migration\n")


def _postgres_migrations(folder: Path, number: int, sql: str) -> None:
    _write(folder, f"{number}_item-{number}.sql", sql)


def _graphile_migrate(folder: Path, number: int, sql: str) -> None:
    """As `graphile-migrate commit` writes it: each hash covers the one before."""
    _write(folder, ".gmrc", "{}")
    _write(folder, "migrations/current.sql", "")
    before = sorted((folder / "migrations" / "committed").glob("*.sql"))
    previous = before[-1].read_text().splitlines()[1].removeprefix("--! Hash: ") if before else ""
    hashed = hashlib.sha1(f"{previous}\n{sql.strip()}".strip().encode() + b"\n").hexdigest()
    head = f"--! Previous: {previous or '-'}\n--! Hash: sha1:{hashed}\n\n"
    _write(folder, f"migrations/committed/{number:06}.sql", f"{head}{sql.strip()}\n")


def _drizzle(folder: Path, number: int, sql: str) -> None:
    _write(folder, f"{number - 1:04}_item.sql", sql)
    path = folder / "meta" / "_journal.json"
    entries = json.loads(path.read_text())["entries"] if path.exists() else []
    tag, when = f"{number - 1:04}_item", _TIME + number
    entry = {"idx": number - 1, "version": "7", "when": when, "tag": tag, "breakpoints": True}
    journal = {"version": "7", "dialect": "postgresql", "entries": [*entries, entry]}
    _write(folder, "meta/_journal.json", json.dumps(journal))


def _yoyo(folder: Path, number: int, sql: str) -> None:
    _write(folder, f"20240101_{number:02}_AbCdE-item.sql", sql)


def _liquibase(folder: Path, number: int, sql: str) -> None:
    text = f"--liquibase formatted sql\n--changeset ann:{number} splitStatements:false\n{sql}"
    _write(folder, f"changes/{number:03}_item.sql", text)
    _write(folder, "root.yaml", "databaseChangeLog:\n  - includeAll:\n      path: changes\n")


def _sql_migrate(folder: Path, number: int, sql: str) -> None:
    _write(folder, f"migrations/{number:03}-item_{number}.sql", f"-- +migrate Up\n{sql}\n-- +migrate Down\n")
    known = "  dialect: postgres\n  datasource: ${DATABASE_URL}\n  dir: migrations\n"
    _write(folder, "dbconfig.yml", f"development:\n{known}")


def _sqitch(folder: Path, number: int, sql: str) -> None:
    path = folder / "sqitch.plan"
    before = path.read_text() if path.exists() else "%syntax-version=1.0.0\n%project=shop\n\n"
    planned = f"item_{number} 2024-01-01T00:00:{number:02}Z Ann <ann@example.com> # An item\n"
    _write(folder, "sqitch.plan", before + planned)
    _write(folder, "sqitch.conf", "[core]\n\tengine = pg\n[user]\n\tname = Ann\n\temail = ann@example.com\n")
    _write(folder, f"deploy/item_{number}.sql", f"BEGIN;\n{sql}COMMIT;\n")


# ---- those whose files are programs ---------------------------------------------------------------------------------


def _knex(folder: Path, number: int, sql: str) -> None:
    up = f"exports.up = (knex) => knex.raw({json.dumps(sql)});\nexports.down = () => {{}};\n"
    _write(folder, f"migrations/20240101{number:06}_item.js", up)
    _write(folder, "knexfile.js", 'module.exports = {client: "pg", connection: process.env.URL};\n')


def _alembic(folder: Path, number: int, sql: str) -> None:
    before = f'"ae1027a6a{number - 1:03}"' if number > 1 else "None"
    text = f'from alembic import op\nrevision = "ae1027a6a{number:03}"\ndown_revision = {before}\n\n\n'
    _write(folder, f"versions/{number:03}.py", f"{text}def upgrade():\n    op.execute({sql!r})\n")
    _write(folder, "alembic.ini", "[alembic]\nscript_location = %(here)s\n")
    _write(folder, "env.py", ALEMBIC_ENV)


def _django(folder: Path, number: int, sql: str) -> None:
    before = f'("shop", "{number - 1:04}_item")' if number > 1 else ""
    text = f"    dependencies = [{before}]\n    operations = [migrations.RunSQL({sql!r})]\n"
    head = "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n"
    for name in ("shop/__init__.py", "shop/migrations/__init__.py"):
        _write(folder, name, "")
    _write(folder, f"shop/migrations/{number:04}_item.py", head + text)
    _write(folder, "settings.py", _DJANGO_SETTINGS)


_DJANGO_SETTINGS = """\
import os
from urllib.parse import unquote, urlsplit

url = urlsplit(os.environ["DATABASE_URL"])
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "USER": url.username,
                         "PASSWORD": unquote(url.password), "HOST": url.hostname, "PORT": url.port}}
INSTALLED_APPS = ["shop"]
"""
_RUN_POSTGRES_MIGRATIONS = """
const {Client} = require("pg");
const {migrate} = require("postgres-migrations");
(async () => {
  const client = new Client({connectionString: process.env.URL});
  await client.connect();
  try { await migrate({client}, process.argv[1]); } finally { await client.end(); }
})().catch((error) => { console.error(error.message); process.exit(1); });
"""
_RUN_DRIZZLE = """
const {Client} = require("pg");
const {drizzle} = require("drizzle-orm/node-postgres");
const {migrate} = require("drizzle-orm/node-postgres/migrator");
(async () => {
  const client = new Client({connectionString: process.env.URL});
  await client.connect();
  try { await migrate(drizzle(client), {migrationsFolder: process.argv[1]}); } finally { await client.end(); }
})().catch((error) => { console.error(error.message); process.exit(1); });
"""


_RUN_RAILS = """
require "active_record"
ActiveRecord::Base.establish_connection(ENV["DATABASE_URL"])
ActiveRecord::MigrationContext.new(ARGV[0], ActiveRecord::SchemaMigration).migrate
"""


def _rails(folder: Path, number: int, sql: str) -> None:
    up = f"  def up\n    execute(<<~'STATEMENTS')\n{sql}    STATEMENTS\n  end\n"
    text = f"class Item{number} < ActiveRecord::Migration[6.1]\n{up}end\n"
    _write(folder, f"db/migrate/20240101{number:06}_item_{number}.rb", text)


def _of_the_system(program: str, packages: str) -> Callable[[], Path]:
    """The folder of a program that Debian packages."""

    def find() -> Path:
        found = shutil.which(program)
        if found is None:
            raise Unavailable(f"there is no {program}: apt-get install {packages}")
        return Path(found).parent

    return find


def _node(script: str) -> Callable[[Path, Path, str], Sequence[str]]:
    return lambda programs, folder, url: ["node", "-e", script, str(folder)]


def _liquibase_programs() -> Path:
    if shutil.which("java") is None:
        raise Unavailable("there is no java")
    return node_prefix("liquibase", [f"liquibase@{LIQUIBASE}"])


def _run_liquibase(programs: Path, folder: Path, url: str) -> Sequence[str]:
    parts = urlsplit(url)
    login = f"--url=jdbc:postgresql://{parts.hostname}:{parts.port}{parts.path}", f"--username={parts.username}"
    script = programs.parent / "liquibase" / "dist" / "liquibase" / "liquibase"
    known = f"--password={parts.password}", f"--search-path={folder}", "--changelog-file=root.yaml"
    return ["sh", str(script), *login, *known, "update"]


def _run_yoyo(programs: Path, folder: Path, url: str) -> Sequence[str]:
    database = url.replace("postgresql://", "postgresql+psycopg://")
    return [str(programs / "yoyo"), "apply", "--batch", "--no-config-file", "--database", database, str(folder)]


def _pins(*names: str) -> list[str]:
    return [*names, f"psycopg[binary]=={PSYCOPG}"]


PEERS = (
    Peer(
        "dbmate",
        lambda: node_prefix("dbmate", [f"dbmate@{DBMATE}"]),
        _dbmate,
        lambda programs, folder, _: [
            *(str(programs / "dbmate"), "--migrations-dir", str(folder), "--no-dump-schema", "migrate"),
        ],
    ),
    Peer(
        "node-pg-migrate",
        lambda: node_prefix("node-pg-migrate", [f"node-pg-migrate@{NODE_PG_MIGRATE}", f"pg@{PG}"]),
        _node_pg_migrate,
        lambda programs, folder, _: [str(programs / "node-pg-migrate"), "up", "--migrations-dir", str(folder)],
        lambda number: f"{_TIME + number}_item.sql",
        locks=True,
    ),
    Peer(
        "knex",
        lambda: node_prefix("knex", [f"knex@{KNEX}", f"pg@{PG}"]),
        _knex,
        lambda programs, folder, _: [str(programs / "knex"), "migrate:latest"],
        lambda number: f"20240101{number:06}_item.sql",
        locks=True,
        tells=_node_modules,
    ),
    Peer(
        "postgres-migrations",
        lambda: node_prefix("postgres-migrations", [f"postgres-migrations@{POSTGRES_MIGRATIONS}", f"pg@{PG}"]),
        _postgres_migrations,
        _node(_RUN_POSTGRES_MIGRATIONS),
        lambda number: f"{number}_item-{number}.sql",
        locks=True,
        tells=_node_modules,
    ),
    Peer(
        "graphile-migrate",
        lambda: node_prefix("graphile-migrate", [f"graphile-migrate@{GRAPHILE_MIGRATE}"]),
        _graphile_migrate,
        lambda programs, folder, _: [str(programs / "graphile-migrate"), "migrate"],
        folder="migrations",
    ),
    Peer(
        "drizzle",
        lambda: node_prefix("drizzle", [f"drizzle-orm@{DRIZZLE}", f"pg@{PG}"]),
        _drizzle,
        _node(_RUN_DRIZZLE),
        lambda number: f"{number - 1:04}_item.sql",
        tells=_node_modules,
    ),
    Peer(
        "liquibase",
        _liquibase_programs,
        _liquibase,
        _run_liquibase,
        lambda number: f"{number:03}_item.sql",
        locks=True,
    ),
    Peer(
        "alembic",
        lambda: python_prefix("alembic", _pins(f"alembic=={ALEMBIC}", f"SQLAlchemy=={SQLALCHEMY}")),
        _alembic,
        lambda programs, folder, _: [str(programs / "alembic"), "-c", str(folder / "alembic.ini"), "upgrade", "head"],
        lambda number: f"{number:03}_ae1027a6a{number:03}.sql",
    ),
    Peer(
        "django",
        lambda: python_prefix("django", _pins(f"Django=={DJANGO}")),
        _django,
        lambda programs, folder, _: [
            *(str(programs / "django-admin"), "migrate", "--settings", "settings", "--pythonpath", str(folder)),
        ],
        lambda number: f"{number:03}_shop_{number:04}_item.sql",
    ),
    Peer(
        "yoyo",
        lambda: python_prefix("yoyo", _pins(f"yoyo-migrations=={YOYO}")),
        _yoyo,
        _run_yoyo,
        lambda number: f"20240101{number:02}_item.sql",
        locks=True,
    ),
    Peer(
        "sql-migrate",
        _of_the_system("sql-migrate", "sql-migrate"),
        _sql_migrate,
        lambda programs, folder, _: [str(programs / "sql-migrate"), "up", "-config", "dbconfig.yml"],
        folder="migrations",
    ),
    Peer(
        "sqitch",
        _of_the_system("sqitch", "sqitch libdbd-pg-perl"),
        _sqitch,
        lambda programs, folder, url: [
            *(str(programs / "sqitch"), "deploy", "--mode", "change", "--no-verify"),
            f"db:{url.replace('postgresql://', 'pg://')}",
        ],
        lambda number: f"{number:03}_item_{number}.sql",
        locks=True,
    ),
    Peer(
        "rails",
        _of_the_system("ruby", "ruby-activerecord ruby-pg"),
        _rails,
        lambda programs, folder, _: [str(programs / "ruby"), "-e", _RUN_RAILS, str(folder / "db/migrate")],
        lambda number: f"20240101{number:06}_item_{number}.sql",
        locks=True,
    ),
)

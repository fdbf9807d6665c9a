"""Other migration tools, as a table: what identifies a tool's history, how its rows are read, which of its states can't
be adopted, and its lock. Read from each tool's source; design and sources are in docs/decisions/0030.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

# What is read of a history: its identity within the table, the migration's number and name (one of them may be NULL),
# another name that it may have here, the tool's checksum, when it was applied, and what it says of our files: `each`
# row stands for one file, `upto` for that one and all before it, `none` for no file.
COLUMNS = ("key", "number", "name", "other_name", "checksum", "applied_at", "reach")
Checksum = Literal["", "flyway", "sha256", "sha384"]
LockKey = Callable[[str, str, str], int]  # of database, schema and table


@dataclass(frozen=True)
class BadState:
    """Rows that make a history unfit for adoption."""

    what: str  # for the message: `{key} is dirty`
    query: str  # their keys
    remedy: str
    table: str = "{table}"  # where the rows are; a table that isn't there has none
    is_lock: bool = False  # another run of the tool is at work, or was killed


@dataclass(frozen=True)
class Tool:
    """How a tool keeps its history. `{table}` in a query is its table, `{schema}` that table's schema, both quoted;
    `{name}` is the table's name, as it is."""

    name: str
    table: str  # by default
    columns: tuple[str, ...]
    rows: str  # selects `COLUMNS`, in the order in which the tool applied them
    any_name: bool = False  # the columns suffice to recognise it: its table's name can be configured
    is_exact: bool = False  # it has no other columns
    beside: tuple[str, ...] = ()  # its other tables, in the same schema
    needs: str = ""  # one of these that must be there
    own_schema: str = ""  # a schema in which nothing else is
    bad: tuple[BadState, ...] = ()
    lock: LockKey | None = None  # the key of the advisory lock that it holds while it runs
    checksum: Checksum = ""
    is_numbered: bool = True  # whether digits at the beginning of a name are the migration's number
    by_order: bool = False  # rows have no name: the first is the first file


def _crc(text: str) -> int:
    return zlib.crc32(text.encode())


def _java_hash(text: str) -> int:
    value = 0
    for character in text:
        value = (value * 31 + ord(character)) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def _rows(key: str, number: str, name: str, rest: str, **more: str) -> str:
    values = [key, number, name, *(more.get(column, default) for column, default in _DEFAULTS.items())]
    columns = ", ".join(f"({value})::text AS {column}" for value, column in zip(values, COLUMNS, strict=True))
    return f"SELECT {columns} FROM {rest}"


_DEFAULTS = {"other_name": "NULL", "checksum": "NULL", "applied_at": "NULL", "reach": "'each'"}
_FAILED = "See in the database how far it got, finish or undo it, and have the tool record that"
_LOCKED = "Wait until the tool's run has ended; if none is at work, release the lock with the tool"
_FLYWAY = int.from_bytes(b"Flyway", "big")

TOOLS = (
    Tool(
        "flyway",
        "flyway_schema_history",
        ("installed_rank", "version", "description", "type", "script", "checksum", "installed_on", "success"),
        _rows(
            # A repeatable file that ran again is another row.
            "CASE WHEN version IS NULL THEN script || ' (' || installed_rank || ')' ELSE script END",
            "version",
            "description",
            """(SELECT *, row_number() OVER (PARTITION BY version ORDER BY installed_rank DESC) AS age
                  FROM {table}) AS t
             WHERE version IS NULL OR (age = 1 AND type <> 'DELETE' AND type NOT LIKE 'UNDO%')
             ORDER BY installed_rank""",
            checksum="checksum",
            applied_at="installed_on",
            reach="CASE WHEN version IS NULL THEN 'none' WHEN type LIKE '%BASELINE' THEN 'upto' ELSE 'each' END",
        ),
        any_name=True,
        bad=(
            BadState(
                "{key} failed",
                "SELECT script FROM {table} WHERE NOT success",
                f"{_FAILED}: `flyway repair`",
            ),
        ),
        lock=lambda database, schema, table: _FLYWAY + _java_hash(f'"{schema}"."{table}"'),
        checksum="flyway",
    ),
    Tool(
        "liquibase",
        "databasechangelog",
        ("id", "author", "filename", "dateexecuted", "orderexecuted", "exectype", "md5sum"),
        _rows(
            "filename || '::' || id || '::' || author",
            "NULL",
            "id",
            "{table} WHERE exectype IN ('EXECUTED', 'RERAN', 'MARK_RAN') ORDER BY orderexecuted",
            other_name="regexp_replace(filename, '^.*/', '')",
            checksum="md5sum",
            applied_at="dateexecuted",
        ),
        any_name=True,
        beside=("databasechangeloglock",),
        bad=(
            BadState(
                "{key} failed",
                "SELECT filename || '::' || id || '::' || author FROM {table} WHERE exectype = 'FAILED'",
                f"{_FAILED}: `liquibase changelog-sync`, or delete its row",
            ),
            BadState(
                "locked since {key}",
                "SELECT lockgranted::text FROM {schema}.databasechangeloglock WHERE locked",
                f"{_LOCKED}: `liquibase release-locks`",
                table="{schema}.databasechangeloglock",
                is_lock=True,
            ),
        ),
        is_numbered=False,
    ),
    Tool(
        "alembic",
        "alembic_version",
        ("version_num",),
        _rows("version_num", "NULL", "version_num", "{table} ORDER BY version_num", reach="'upto'"),
        any_name=True,
        is_exact=True,
        bad=(
            BadState(
                "{key} is one of several heads: its history is branched",
                "SELECT version_num FROM {table} WHERE (SELECT count(*) FROM {table}) > 1 ORDER BY 1",
                "Merge the branches (`alembic merge heads`) and apply that, then adopt",
            ),
        ),
        is_numbered=False,
    ),
    Tool(
        "golang-migrate",
        "schema_migrations",
        ("version", "dirty"),
        _rows("version", "version", "NULL", "{table} WHERE version >= 0", reach="'upto'"),
        any_name=True,
        is_exact=True,
        bad=(
            BadState(
                "{key} is dirty",
                "SELECT version::text FROM {table} WHERE dirty",
                f"{_FAILED}: `migrate force VERSION`",
            ),
        ),
        lock=lambda database, schema, table: _crc(f"{schema}\0{table}\0{database}") * 1486364155 % (1 << 32),
    ),
    Tool(
        "rails",
        "schema_migrations",
        ("version",),
        _rows("version", "version", "NULL", "{table} ORDER BY version"),
        is_exact=True,
        beside=("ar_internal_metadata",),
        needs="ar_internal_metadata",
        lock=lambda database, schema, table: 2053462845 * _crc(database),
    ),
    Tool(
        "dbmate",
        "schema_migrations",
        ("version",),
        _rows("version", "version", "NULL", "{table} ORDER BY version"),
        is_exact=True,
    ),
    Tool(
        "goose",
        "goose_db_version",
        ("id", "version_id", "is_applied", "tstamp"),
        _rows(
            "version_id",
            "version_id",
            "NULL",
            """(SELECT *, row_number() OVER (PARTITION BY version_id ORDER BY id DESC) AS age FROM {table}) AS t
             WHERE age = 1 AND is_applied AND version_id > 0 ORDER BY version_id""",
            applied_at="tstamp",
        ),
        any_name=True,
        is_exact=True,
        lock=lambda database, schema, table: 5887940537704921958,
    ),
    Tool(
        "tern",
        "schema_version",
        ("version",),
        _rows("version", "version", "NULL", "{table} WHERE version > 0", reach="'upto'"),
        is_exact=True,
        lock=lambda database, schema, table: 9628173550095224,
    ),
    Tool(
        "sqitch",
        "changes",
        ("change_id", "change", "project", "note", "committed_at", "committer_name", "planned_at"),
        _rows(
            "project || ':' || change || ' (' || left(change_id, 8) || ')'",
            "NULL",
            "change",
            "{table} ORDER BY committed_at",
            checksum="script_hash",
            applied_at="committed_at",
        ),
        beside=("releases", "projects", "tags", "dependencies", "events"),
        own_schema="sqitch",
        bad=(
            BadState(
                "{key} failed in its last run",
                """SELECT change FROM (SELECT * FROM {schema}.events ORDER BY committed_at DESC LIMIT 1) AS t
                    WHERE event = 'fail'""",
                "See in the database how far it got, finish or undo it, and deploy or revert once more",
                table="{schema}.events",
            ),
        ),
        lock=lambda database, schema, table: 75474063,
        is_numbered=False,
    ),
    Tool(
        "node-pg-migrate",
        "pgmigrations",
        ("id", "name", "run_on"),
        _rows("name", "NULL", "name", "{table} ORDER BY id", applied_at="run_on"),
        any_name=True,
        is_exact=True,
        lock=lambda database, schema, table: 7241865325823964,
    ),
    Tool(
        "knex",
        "knex_migrations",
        ("id", "name", "batch", "migration_time"),
        _rows("name", "NULL", "name", "{table} ORDER BY id", applied_at="migration_time"),
        any_name=True,
        is_exact=True,
        beside=("{name}_lock",),
        bad=(
            BadState(
                "locked",
                "SELECT is_locked::text FROM {schema}.{lock} WHERE is_locked <> 0",
                f"{_LOCKED}: `knex migrate:unlock`",
                table="{schema}.{lock}",
                is_lock=True,
            ),
        ),
    ),
    Tool(
        "prisma",
        "_prisma_migrations",
        ("id", "checksum", "finished_at", "migration_name", "rolled_back_at", "applied_steps_count"),
        _rows(
            "migration_name",
            "NULL",
            "migration_name",
            "{table} WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL ORDER BY started_at",
            checksum="checksum",
            applied_at="finished_at",
        ),
        any_name=True,
        bad=(
            BadState(
                "{key} failed, or is half done",
                "SELECT migration_name FROM {table} WHERE finished_at IS NULL AND rolled_back_at IS NULL",
                f"{_FAILED}: `prisma migrate resolve`",
            ),
        ),
        lock=lambda database, schema, table: 72707369,
        checksum="sha256",
    ),
    Tool(
        "drizzle",
        "__drizzle_migrations",
        ("id", "hash", "created_at"),
        _rows(
            "id || ' (' || left(hash, 12) || ')'",
            "NULL",
            "NULL",
            "{table} ORDER BY created_at",
            checksum="hash",
            applied_at="to_timestamp(created_at / 1000.0)",
        ),
        is_exact=True,
        own_schema="drizzle",
        checksum="sha256",
        by_order=True,
    ),
    Tool(
        "django",
        "django_migrations",
        ("id", "app", "name", "applied"),
        _rows(
            "app || '.' || name",
            "NULL",
            "app || '_' || name",
            "{table} ORDER BY id",
            other_name="name",
            applied_at="applied",
        ),
        any_name=True,
        is_exact=True,
        is_numbered=False,
    ),
    Tool(
        "yoyo",
        "_yoyo_migration",
        ("migration_hash", "migration_id", "applied_at_utc"),
        _rows(
            "migration_id",
            r"CASE WHEN migration_id ~ '^\d{{8}}_\d\d_\w{{5}}-' "
            r"THEN left(migration_id, 8) || substr(migration_id, 10, 2) END",
            "migration_id",
            "{table} ORDER BY applied_at_utc, migration_id",
            other_name=r"regexp_replace(migration_id, '^\d{{8}}_\d\d_\w{{5}}-', '')",
            checksum="migration_hash",
            applied_at="applied_at_utc",
        ),
        any_name=True,
        is_exact=True,
        beside=("yoyo_lock", "_yoyo_log", "_yoyo_version"),
        bad=(
            BadState(
                "locked by the process {key}",
                "SELECT pid::text FROM {schema}.yoyo_lock WHERE locked <> 0",
                f"{_LOCKED}: `yoyo break-lock`",
                table="{schema}.yoyo_lock",
                is_lock=True,
            ),
        ),
    ),
    Tool(
        "sqlx",
        "_sqlx_migrations",
        ("version", "description", "installed_on", "success", "checksum", "execution_time"),
        _rows(
            "version",
            "version",
            "description",
            "{table} WHERE success ORDER BY version",
            checksum="encode(checksum, 'hex')",
            applied_at="installed_on",
        ),
        any_name=True,
        is_exact=True,
        bad=(
            BadState(
                "{key} failed",
                "SELECT version::text FROM {table} WHERE NOT success",
                f"{_FAILED}: delete its row, or set `success`",
            ),
        ),
        lock=lambda database, schema, table: 0x3D32AD9E * _crc(database),
        checksum="sha384",
    ),
    Tool(
        "graphile-migrate",
        "migrations",
        ("hash", "previous_hash", "filename", "date"),
        _rows("filename", "NULL", "filename", "{table} ORDER BY filename", checksum="hash", applied_at="date"),
        is_exact=True,
        own_schema="graphile_migrate",
    ),
    Tool(
        "supabase",
        "schema_migrations",
        ("version", "statements", "name"),
        _rows("version", "version", "name", "{table} ORDER BY version"),
        own_schema="supabase_migrations",
    ),
    Tool(
        "postgres-migrations",
        "migrations",
        ("id", "name", "hash", "executed_at"),
        _rows(
            "id || ' ' || name",
            "id",
            "name",
            "{table} ORDER BY id",
            checksum="hash",
            applied_at="executed_at",
            reach="CASE id WHEN 0 THEN 'none' ELSE 'each' END",  # 0 is the tool's own table
        ),
        is_exact=True,
        lock=lambda database, schema, table: -8525285245963000605,
    ),
    Tool(
        "sql-migrate",
        "gorp_migrations",
        ("id", "applied_at"),
        _rows("id", "NULL", "id", "{table} ORDER BY id", applied_at="applied_at"),
        is_exact=True,
    ),
    Tool(
        "atlas",
        "atlas_schema_revisions",
        ("version", "description", "type", "applied", "total", "executed_at", "hash", "operator_version"),
        _rows(
            "version",
            "version",
            "description",
            "{table} WHERE version NOT LIKE '.%' ORDER BY version",
            checksum="hash",
            applied_at="executed_at",
            reach="CASE type WHEN 1 THEN 'upto' ELSE 'each' END",
        ),
        bad=(
            BadState(
                "{key} failed, or is half done",
                "SELECT version FROM {table} WHERE version NOT LIKE '.%' AND type <> 1 AND applied <> total",
                f"{_FAILED}: `atlas migrate set`",
            ),
        ),
        own_schema="atlas_schema_revisions",
    ),
)

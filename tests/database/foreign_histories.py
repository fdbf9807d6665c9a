"""Histories of other tools, made by SQL as each tool's source makes them: tables, rows, and what can't be adopted."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass

COUNT = 4  # migrations


def sql(number: int) -> str:
    """What the migration of a number does."""
    return f"CREATE TABLE item_{number} (id bigint PRIMARY KEY, title text NOT NULL);\n"


@dataclass(frozen=True)
class Foreign:
    """A tool's history.

    Attributes:
        tables: the statements that make its tables.
        row: the statement that records the migration of a number, with the text of its file.
        file: the name of its file here.
        source: its table, as it is named in messages.
        bad: statements that leave a state which can't be adopted, each with a part of the message.
        shown: how a message names the row of a number.
    """

    tool: str
    tables: str
    row: Callable[[int, str], str]
    file: Callable[[int], str]
    source: str
    bad: tuple[tuple[str, str], ...] = ()
    shown: Callable[[int], str] = str
    lock: str = ""  # takes its advisory lock


def _numbered(number: int) -> str:
    return f"{number:03}_item_{number}.sql"


def _dated(number: int) -> str:
    return f"2024010100000{number}_item_{number}.sql"


def _flyway_checksum(text: str) -> int:
    value = 0
    for line in text.splitlines():
        value = zlib.crc32(line.encode(), value)
    return value - (1 << 32) if value >= 1 << 31 else value


def _java_hash_of_flyways_table() -> int:
    """`"public"."flyway_schema_history".hashCode()`, with the quotation marks of both names."""
    value = 0
    for byte in b'"public"."flyway_schema_history"':
        value = 31 * value + byte
    return (value + 2**31) % 2**32 - 2**31


def _sha(kind: str, text: str) -> str:
    return hashlib.new(kind, text.encode()).hexdigest()


_FLYWAY = """
    CREATE TABLE flyway_schema_history (
        installed_rank int NOT NULL, version varchar(50), description varchar(200) NOT NULL, type varchar(20) NOT NULL,
        script varchar(1000) NOT NULL, checksum int, installed_by varchar(100) NOT NULL,
        installed_on timestamp NOT NULL DEFAULT now(), execution_time int NOT NULL, success boolean NOT NULL,
        CONSTRAINT flyway_schema_history_pk PRIMARY KEY (installed_rank));
    CREATE INDEX flyway_schema_history_s_idx ON flyway_schema_history (success);
"""
_LIQUIBASE = """
    CREATE TABLE databasechangelog (
        id varchar(255) NOT NULL, author varchar(255) NOT NULL, filename varchar(255) NOT NULL,
        dateexecuted timestamp NOT NULL, orderexecuted int NOT NULL, exectype varchar(10) NOT NULL, md5sum varchar(35),
        description varchar(255), comments varchar(255), tag varchar(255), liquibase varchar(20),
        contexts varchar(255), labels varchar(255), deployment_id varchar(10));
    CREATE TABLE databasechangeloglock (
        id int NOT NULL PRIMARY KEY, locked boolean NOT NULL, lockgranted timestamp, lockedby varchar(255));
    INSERT INTO databasechangeloglock VALUES (1, false);
"""
_SQITCH = """
    CREATE SCHEMA sqitch;
    CREATE TABLE sqitch.releases (version real PRIMARY KEY, installed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        installer_name text NOT NULL, installer_email text NOT NULL);
    CREATE TABLE sqitch.projects (project text PRIMARY KEY, uri text UNIQUE,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(), creator_name text NOT NULL, creator_email text
            NOT NULL);
    CREATE TABLE sqitch.changes (change_id text PRIMARY KEY, script_hash text, change text NOT NULL,
        project text NOT NULL REFERENCES sqitch.projects (project), note text NOT NULL DEFAULT '',
        committed_at timestamptz NOT NULL DEFAULT clock_timestamp(), committer_name text NOT NULL,
        committer_email text NOT NULL, planned_at timestamptz NOT NULL, planner_name text NOT NULL,
        planner_email text NOT NULL, UNIQUE (project, script_hash));
    CREATE TABLE sqitch.events (event text NOT NULL CHECK (event IN ('deploy', 'revert', 'fail', 'merge')),
        change_id text NOT NULL, change text NOT NULL, project text NOT NULL REFERENCES sqitch.projects (project),
        note text NOT NULL DEFAULT '', committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (change_id, committed_at));
    INSERT INTO sqitch.projects VALUES ('shop', NULL, now(), 'a', 'a@example.com');
"""
_PRISMA = """
    CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY NOT NULL, checksum varchar(64) NOT NULL,
        finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
        started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0);
"""
_YOYO = """
    CREATE TABLE _yoyo_migration (migration_hash varchar(64), migration_id varchar(255), applied_at_utc timestamp,
        PRIMARY KEY (migration_hash));
    CREATE TABLE _yoyo_log (id varchar(36), migration_hash varchar(64), migration_id varchar(255),
        operation varchar(10), username varchar(255), hostname varchar(255), comment varchar(255),
        created_at_utc timestamp, PRIMARY KEY (id));
    CREATE TABLE _yoyo_version (version int NOT NULL PRIMARY KEY, installed_at_utc timestamp);
    CREATE TABLE yoyo_lock (locked int DEFAULT 1, ctime timestamp, pid int NOT NULL, PRIMARY KEY (locked));
"""

HISTORIES = (
    Foreign(
        "flyway",
        _FLYWAY,
        lambda n, text: (
            f"INSERT INTO flyway_schema_history VALUES ({n}, '1.{n}', 'item {n}', 'SQL', 'V1.{n}__item_{n}.sql', "
            f"{_flyway_checksum(text)}, 'app', now(), 5, true)"
        ),
        lambda n: f"1{n}_item_{n}.sql",
        "public.flyway_schema_history",
        (("UPDATE flyway_schema_history SET success = false WHERE installed_rank = 3", "V1.3__item_3.sql failed"),),
        lambda n: f"V1.{n}__item_{n}.sql",
        f"SELECT pg_advisory_lock({77431708279161 + _java_hash_of_flyways_table()})",
    ),
    Foreign(
        "liquibase",
        _LIQUIBASE,
        lambda n, text: (
            f"INSERT INTO databasechangelog VALUES ('{n}', 'ann', 'db/changelog/{n:03}_item_{n}.sql', now(), {n}, "
            "'EXECUTED', '9:d41d8cd98f00b204e9800998ecf8427e')"
        ),
        _numbered,
        "public.databasechangelog",
        (
            ("UPDATE databasechangelog SET exectype = 'FAILED' WHERE id = '3'", "003_item_3.sql::3::ann failed"),
            ("UPDATE databasechangeloglock SET locked = true, lockgranted = now()", "locked since 2"),
        ),
        lambda n: f"db/changelog/{n:03}_item_{n}.sql::{n}::ann",
    ),
    Foreign(
        "alembic",
        "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL, "
        "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))",
        lambda n, text: f"DELETE FROM alembic_version; INSERT INTO alembic_version VALUES ('ae1027a6acf{n}')",
        lambda n: f"{n:03}_ae1027a6acf{n}_item_{n}.sql",
        "public.alembic_version",
        (("INSERT INTO alembic_version VALUES ('55af2cb1c267')", "55af2cb1c267 is one of several heads"),),
        lambda n: f"ae1027a6acf{n}",
    ),
    Foreign(
        "dbmate",
        "CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)",
        lambda n, text: f"INSERT INTO schema_migrations VALUES ('2024010100000{n}')",
        _dated,
        "public.schema_migrations",
        shown=lambda n: f"2024010100000{n}",
    ),
    Foreign(
        "golang-migrate",
        "CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)",
        lambda n, text: f"DELETE FROM schema_migrations; INSERT INTO schema_migrations VALUES ({n}, false)",
        _numbered,
        "public.schema_migrations",
        (("UPDATE schema_migrations SET dirty = true", "4 is dirty"),),
    ),
    Foreign(
        "goose",
        "CREATE TABLE goose_db_version (id serial PRIMARY KEY, version_id bigint NOT NULL, is_applied boolean NOT "
        "NULL, "
        "tstamp timestamp NOT NULL DEFAULT now()); INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, "
        "true)",
        lambda n, text: f"INSERT INTO goose_db_version (version_id, is_applied) VALUES ({n}, true)",
        _numbered,
        "public.goose_db_version",
        lock="SELECT pg_advisory_lock(5887940537704921958)",
    ),
    Foreign(
        "tern",
        "CREATE TABLE schema_version (version int4 NOT NULL); INSERT INTO schema_version VALUES (0)",
        lambda n, text: f"UPDATE schema_version SET version = {n}",
        _numbered,
        "public.schema_version",
        lock="SELECT pg_advisory_lock(9628173550095224)",
    ),
    Foreign(
        "sqitch",
        _SQITCH,
        lambda n, text: (
            f"INSERT INTO sqitch.changes VALUES ('{_sha('sha1', str(n))}', '{_sha('sha1', text)}', 'item_{n}', 'shop', "
            f"'', clock_timestamp(), 'a', 'a@example.com', now(), 'a', 'a@example.com'); INSERT INTO sqitch.events "
            f"VALUES "
            f"('deploy', '{_sha('sha1', str(n))}', 'item_{n}', 'shop')"
        ),
        _numbered,
        "sqitch.changes",
        (("INSERT INTO sqitch.events VALUES ('fail', 'f00', 'item_5', 'shop')", "item_5 failed in its last run"),),
        lambda n: f"shop:item_{n} ({_sha('sha1', str(n))[:8]})",
        "SELECT pg_advisory_lock(75474063)",
    ),
    Foreign(
        "node-pg-migrate",
        "CREATE TABLE pgmigrations (id serial PRIMARY KEY, name varchar(255) NOT NULL, run_on timestamp NOT NULL)",
        lambda n, text: f"INSERT INTO pgmigrations (name, run_on) VALUES ('170000000000{n}_item-{n}', now())",
        lambda n: f"170000000000{n}_item-{n}.sql",
        "public.pgmigrations",
        shown=lambda n: f"170000000000{n}_item-{n}",
        lock="SELECT pg_advisory_lock(7241865325823964)",
    ),
    Foreign(
        "knex",
        "CREATE TABLE knex_migrations (id serial PRIMARY KEY, name varchar(255), batch int, migration_time "
        "timestamptz); "
        "CREATE TABLE knex_migrations_lock (index serial PRIMARY KEY, is_locked int); "
        "INSERT INTO knex_migrations_lock (is_locked) VALUES (0)",
        lambda n, text: (
            f"INSERT INTO knex_migrations (name, batch, migration_time) VALUES ('2024010100000{n}_item_{n}.js', 1, "
            f"now())"
        ),
        _dated,
        "public.knex_migrations",
        (("UPDATE knex_migrations_lock SET is_locked = 1", "In public.knex_migrations_lock: locked"),),
        lambda n: f"2024010100000{n}_item_{n}.js",
    ),
    Foreign(
        "prisma",
        _PRISMA,
        lambda n, text: (
            "INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name, applied_steps_count) VALUES "
            f"('{n}', '{_sha('sha256', text)}', clock_timestamp(), '2024010100000{n}_item_{n}', 1)"
        ),
        _dated,
        "public._prisma_migrations",
        (
            (
                "UPDATE _prisma_migrations SET finished_at = NULL WHERE id = '3'",
                "20240101000003_item_3 failed, or is half done",
            ),
        ),
        lambda n: f"2024010100000{n}_item_{n}",
        "SELECT pg_advisory_lock(72707369)",
    ),
    Foreign(
        "drizzle",
        "CREATE SCHEMA drizzle; CREATE TABLE drizzle.__drizzle_migrations (id serial PRIMARY KEY, hash text NOT NULL, "
        "created_at bigint)",
        lambda n, text: (
            f"INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('{_sha('sha256', text)}', {n})"
        ),
        lambda n: f"{n - 1:04}_item_{n}.sql",
        "drizzle.__drizzle_migrations",
        shown=lambda n: f"{n} (",
    ),
    Foreign(
        "rails",
        "CREATE TABLE schema_migrations (version varchar NOT NULL PRIMARY KEY); CREATE TABLE ar_internal_metadata (key "
        "varchar NOT NULL PRIMARY KEY, value varchar, created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT "
        "NULL)",
        lambda n, text: f"INSERT INTO schema_migrations VALUES ('2024010100000{n}')",
        _dated,
        "public.schema_migrations",
        shown=lambda n: f"2024010100000{n}",
    ),
    Foreign(
        "django",
        "CREATE TABLE django_migrations (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, app varchar(255) "
        "NOT NULL, "
        "name varchar(255) NOT NULL, applied timestamptz NOT NULL)",
        lambda n, text: f"INSERT INTO django_migrations (app, name, applied) VALUES ('shop', '000{n}_item_{n}', now())",
        lambda n: f"{n + 10:03}_shop_000{n}_item_{n}.sql",
        "public.django_migrations",
        shown=lambda n: f"shop.000{n}_item_{n}",
    ),
    Foreign(
        "yoyo",
        _YOYO,
        lambda n, text: (
            f"INSERT INTO _yoyo_migration VALUES ('{_sha('sha256', str(n))}', '20240101_0{n}_AbCd{n}-item-{n}', now())"
        ),
        lambda n: f"202401010{n}_item-{n}.sql",
        "public._yoyo_migration",
        (("INSERT INTO yoyo_lock (ctime, pid) VALUES (now(), 4711)", "locked by the process 4711"),),
        lambda n: f"20240101_0{n}_AbCd{n}-item-{n}",
    ),
    Foreign(
        "sqlx",
        "CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL, installed_on "
        "timestamptz NOT "
        "NULL DEFAULT now(), success boolean NOT NULL, checksum bytea NOT NULL, execution_time bigint NOT NULL)",
        lambda n, text: (
            f"INSERT INTO _sqlx_migrations VALUES (2024010100000{n}, 'item {n}', now(), true, "
            rf"'\x{_sha('sha384', text)}', 5)"
        ),
        _dated,
        "public._sqlx_migrations",
        (("UPDATE _sqlx_migrations SET success = false WHERE version = 20240101000003", "20240101000003 failed"),),
        lambda n: f"2024010100000{n}",
    ),
    Foreign(
        "graphile-migrate",
        "CREATE SCHEMA graphile_migrate; CREATE TABLE graphile_migrate.migrations (hash text PRIMARY KEY, "
        "previous_hash text "
        "REFERENCES graphile_migrate.migrations, filename text NOT NULL, date timestamptz NOT NULL DEFAULT now()); "
        "CREATE "
        "TABLE graphile_migrate.current (filename text PRIMARY KEY DEFAULT 'current.sql', content text NOT NULL, date "
        "timestamptz NOT NULL DEFAULT now())",
        lambda n, text: (
            f"INSERT INTO graphile_migrate.migrations (hash, filename) VALUES ('sha1:{n}', '00000{n}-item-{n}.sql')"
        ),
        lambda n: f"00000{n}_item-{n}.sql",
        "graphile_migrate.migrations",
        shown=lambda n: f"00000{n}-item-{n}.sql",
    ),
    Foreign(
        "supabase",
        "CREATE SCHEMA supabase_migrations; CREATE TABLE supabase_migrations.schema_migrations (version text NOT "
        "NULL PRIMARY "
        "KEY, statements text[], name text)",
        lambda n, text: (
            f"INSERT INTO supabase_migrations.schema_migrations VALUES ('2024010100000{n}', NULL, 'item_{n}')"
        ),
        _dated,
        "supabase_migrations.schema_migrations",
        shown=lambda n: f"2024010100000{n}",
    ),
    Foreign(
        "postgres-migrations",
        "CREATE TABLE migrations (id integer PRIMARY KEY, name varchar(100) UNIQUE NOT NULL, hash varchar(40) NOT "
        "NULL, "
        "executed_at timestamp DEFAULT current_timestamp); INSERT INTO migrations VALUES (0, "
        "'create-migrations-table', 'e18')",
        lambda n, text: f"INSERT INTO migrations VALUES ({n}, 'item-{n}', '{_sha('sha1', text)}')",
        _numbered,
        "public.migrations",
        shown=lambda n: f"{n} item-{n}",
        lock="SELECT pg_advisory_lock(-8525285245963000605)",
    ),
    Foreign(
        "sql-migrate",
        "CREATE TABLE gorp_migrations (id text NOT NULL PRIMARY KEY, applied_at timestamptz)",
        lambda n, text: f"INSERT INTO gorp_migrations VALUES ('{n:03}-item_{n}.sql', now())",
        _numbered,
        "public.gorp_migrations",
        shown=lambda n: f"{n:03}-item_{n}.sql",
    ),
    Foreign(
        "atlas",
        "CREATE SCHEMA atlas_schema_revisions; CREATE TABLE atlas_schema_revisions.atlas_schema_revisions (version "
        "varchar "
        "NOT NULL PRIMARY KEY, description varchar NOT NULL, type bigint NOT NULL DEFAULT 2, applied bigint NOT NULL "
        "DEFAULT "
        "0, total bigint NOT NULL DEFAULT 0, executed_at timestamptz NOT NULL, execution_time bigint NOT NULL, error "
        "text, "
        "error_stmt text, hash varchar NOT NULL, partial_hashes jsonb, operator_version varchar NOT NULL)",
        lambda n, text: (
            "INSERT INTO atlas_schema_revisions.atlas_schema_revisions VALUES "
            f"('2024010100000{n}', 'item_{n}', 2, 1, 1, now(), 5, NULL, NULL, 'h1:', NULL, 'Atlas')"
        ),
        _dated,
        "atlas_schema_revisions.atlas_schema_revisions",
        (
            (
                "UPDATE atlas_schema_revisions.atlas_schema_revisions SET total = 2 WHERE version LIKE '%3'",
                "20240101000003 failed, or is half done",
            ),
        ),
        lambda n: f"2024010100000{n}",
    ),
)

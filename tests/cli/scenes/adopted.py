"""What `adopt`, `baseline` and `new --from-dump` refuse, and why."""

from __future__ import annotations

from aurora_migrations.engine import errors
from tests.cli.conftest import Answer
from tests.cli.stage import Stage
from tests.database.helpers import holding

DBMATE = "CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)"
TERN = "CREATE TABLE schema_version (version integer NOT NULL); INSERT INTO schema_version VALUES (2)"
TABLES = "CREATE TABLE users (id integer); CREATE TABLE orders (id integer)"


def _by_dbmate(stage: Stage, *versions: str, tables: str = TABLES) -> Stage:
    """dbmate has applied these."""
    rows = ", ".join(f"('{version}')" for version in versions)
    return stage.sql(f"{DBMATE}; INSERT INTO schema_migrations VALUES {rows}; {tables}")


def _at_work(stage: Stage, lock: str) -> Answer:
    stage.enter(holding(stage.database.url, lock))
    return stage.on("adopt", "--confirm", "2")


def _unfinished(stage: Stage) -> Answer:
    stage.write(f003_c="-- migration: transaction = off\nSELECT 1;\nSELECT 1 / 0;\n").failed()
    return stage.on("baseline", "3", "--confirm", "3")


def _gone_on(stage: Stage) -> Answer:
    adopted = _by_dbmate(stage, "001", "002").on("adopt", "--confirm", "2")
    assert adopted.code == 0, adopted
    return stage.sql("INSERT INTO schema_migrations VALUES ('003')").on("run")


def _may_not_lock(stage: Stage) -> Answer:
    role = stage.roles.create()
    rights = f"GRANT SELECT ON schema_migrations TO {role.name}; GRANT CREATE ON DATABASE {stage.database.name}"
    _by_dbmate(stage, "001").sql(f"{rights} TO {role.name}")
    words = ("adopt", "--accept", "public.orders", "--confirm", "1")
    return stage.on(*words, url=stage.database.url_as(role))


def _dump(stage: Stage, data: bytes, *words: str) -> Answer:
    (stage.two.dir.parent / "dump.sql").write_bytes(data)
    return stage.call("new", "shop", "--from-dump", "dump.sql", *words)


def _same_names(stage: Stage) -> Answer:
    """Names that two tools don't have by chance."""
    knex = "CREATE TABLE knex_migrations (id serial, name varchar(255), batch integer, migration_time timestamptz)"
    return stage.sql(f"{knex}; INSERT INTO knex_migrations (name) VALUES ('001_users.js')").on("run")


def _asked(stage: Stage, **asked: object) -> Answer:
    return stage.refused(errors.InvalidInput, asked)


INPUT = [
    ("there is no tool's history", lambda s: s.on("adopt")),
    ("a tool has applied nothing", lambda s: s.sql(DBMATE).on("adopt")),
    ("several tools have a history", lambda s: _by_dbmate(s.sql(TERN), "001").on("adopt")),
    ("a table isn't a tool's history", lambda s: s.on("adopt", "--table", "public.users")),
    (
        "a tool's history is dirty",
        lambda s: s.sql(
            "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL); "
            "INSERT INTO schema_migrations VALUES (2, true)"
        ).on("adopt"),
    ),
    (
        "a tool has applied a migration that is missing here",
        lambda s: _by_dbmate(s, "001", "002", "003", "004").on("adopt"),
    ),
    ("a tool has skipped a migration", lambda s: _by_dbmate(s, "002").on("adopt")),
    ("another newest migration was confirmed", lambda s: _by_dbmate(s, "001", "002").on("adopt", "--confirm", "3")),
    ("there is no terminal to confirm an adoption at", lambda s: _by_dbmate(s, "001", "002").on("adopt")),
    (
        "a database differs from what the files make",
        lambda s: s.sql("CREATE TABLE users (id bigint)").on("baseline", "2"),
    ),
    ("what is accepted doesn't differ", lambda s: s.sql(TABLES).on("baseline", "2", "--accept", "public.users")),
    ("a migration to record is partly applied", _unfinished),
    ("a tool has applied the same migrations", _same_names),
    ("a package wasn't replayed", lambda s: s.refused(errors.InvalidInput, {"action": "baseline", "target": "2"})),
    ("an input has a table where none is used", lambda s: _asked(s, action="baseline", target="1", table="a")),
    ("an input has `accept` where nothing is compared", lambda s: _asked(s, action="plan", accept=["public.users"])),
    ("an input's `accept` isn't a list", lambda s: _asked(s, action="adopt", accept="public.users")),
    ("a baseline has no target", lambda s: _asked(s, action="baseline")),
    # ---- dumps ----
    ("there is no such dump", lambda s: s.call("new", "shop", "--from-dump", "dump.sql")),
    ("a dump isn't text", lambda s: _dump(s, b"PGDMP\x01\x0f")),
    ("a dump has rows", lambda s: _dump(s, b"CREATE TABLE a (id int);\nCOPY public.a (id) FROM stdin;\n1\n\\.\n")),
    ("a dump has commands of psql", lambda s: _dump(s, b"CREATE DATABASE shop;\n\\connect shop\n")),
    ("a dump creates nothing", lambda s: _dump(s, b"SET lock_timeout = 0;\n")),
    ("a dump has no down file", lambda s: _dump(s, b"CREATE TABLE a (id int);\n", "--down")),
]
TERNS_LOCK = "SELECT pg_advisory_lock(9628173550095224)"
AT_WORK = [
    ("another tool is running", lambda s: _at_work(s.sql(f"{TERN}; {TABLES}"), TERNS_LOCK)),
    (
        "another tool left its lock",
        lambda s: s.sql(
            "CREATE TABLE knex_migrations (id serial, name varchar(255), batch integer, migration_time timestamptz); "
            "CREATE TABLE knex_migrations_lock (index serial, is_locked integer); "
            "INSERT INTO knex_migrations_lock (is_locked) VALUES (1)"
        ).on("adopt"),
    ),
    (
        "another tool is writing to its history",
        lambda s: _at_work(_by_dbmate(s, "001", "002"), "INSERT INTO schema_migrations VALUES ('003')"),
    ),
]
MISSING = [("another tool has continued since its history was adopted", _gone_on)]
PRIVILEGE = [("the role may not lock another tool's table", _may_not_lock)]
CANCELLED = [
    ("an adoption isn't confirmed", lambda s: _by_dbmate(s.types("no"), "001", "002").on("adopt")),
]
FILES = [
    ("a file to record isn't SQL", lambda s: s.write(f003_c="CREATE TABLE c (id int;\n").on("baseline", "3")),
    ("a file to record fails", lambda s: s.write(f003_c="DROP TABLE nothing;\n").on("baseline", "3")),
]

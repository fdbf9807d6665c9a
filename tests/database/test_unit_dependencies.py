"""What a statement needs of an earlier one of its file: `check` finds what the server then refuses, or what a resumed
run would miss."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from aurora_migrations.compiler.check import check
from aurora_migrations.engine import discover
from aurora_migrations.engine.errors import InvalidFile, MigrationFailed
from tests.database.helpers import apply, labels, tables
from tests.servers import Database, Migrations

OFF = "-- migration: transaction = off\n"
TYPES = """
    CREATE TYPE mood AS ENUM ('sad'); CREATE TYPE other AS ENUM ('glad'); CREATE TABLE t (m mood);
    CREATE TABLE words (w text);
"""
ADD = "ALTER TYPE mood ADD VALUE 'glad';\n"
NEW = "CREATE TYPE new AS ENUM ('a');\nALTER TYPE new ADD VALUE 'b';\nSELECT 'b'::new;"
NEVER = 99
# What check finds, and the first version of PostgreSQL that runs it.
ENUMS = {
    "a cast": (f"{ADD}SELECT 'glad'::mood;", "problem", NEVER),
    "a cast to a quoted name": (f"{ADD}SELECT 'glad' :: \"mood\";", "problem", NEVER),
    "a cast by its schema": (f"{ADD}SELECT 'glad' :: public . mood;", "hazard", NEVER),
    "a default": (f"{ADD}ALTER TABLE t ALTER m SET DEFAULT 'glad'::mood;", "problem", NEVER),
    "a view": (f"{ADD}CREATE VIEW v AS SELECT 'glad'::mood AS m;", "problem", NEVER),
    "a plain string": (f"{ADD}INSERT INTO t VALUES ('glad');", "hazard", NEVER),
    "a comparison": (f"{ADD}DELETE FROM t WHERE m = 'glad';", "hazard", NEVER),
    "a block": (f"{ADD}DO $$ BEGIN INSERT INTO t VALUES ('glad'); END $$;", "hazard", NEVER),
    "an SQL function": (
        f"{ADD}CREATE FUNCTION f() RETURNS mood LANGUAGE sql AS $$ SELECT 'glad'::mood $$;",
        "hazard",
        NEVER,
    ),
    "a PL/pgSQL function": (
        f"{ADD}CREATE FUNCTION f() RETURNS mood LANGUAGE plpgsql AS $$ BEGIN RETURN 'glad'; END $$;",
        "",
        0,
    ),
    "a text": (f"{ADD}INSERT INTO words VALUES ('glad');", "hazard", 0),
    "another type": (f"{ADD}SELECT 'glad'::other;", "hazard", 0),
    "a comment": (f"{ADD}COMMENT ON TYPE mood IS 'glad';", "", 0),
    "no use": (f"{ADD}INSERT INTO t VALUES ('sad');", "", 0),
    "a use before": (f"SELECT 'glad'::other;\n{ADD}", "", 0),
    "a value that was there": ("ALTER TYPE mood ADD VALUE IF NOT EXISTS 'sad';\nSELECT 'sad'::mood;", "hazard", 0),
    "another name for a value": ("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue';\nSELECT 'blue'::mood;", "", 0),
    "a type of the same transaction": (NEW, "hazard", 17),
}


@pytest.fixture
def types(database: Database) -> Database:
    """A database with enums and tables that have them."""
    database.execute(TYPES)
    return database


def found(migrations: Migrations) -> str:
    """What check finds in the one file: `problem`, `hazard` or nothing."""
    (file,) = check(discover(migrations.dir))
    if file.problems:
        return "problem"
    return "hazard" if any(hazard.rule == "enum-value-in-its-transaction" for hazard in file.open_hazards) else ""


@pytest.mark.parametrize("case", ENUMS)
def test_a_new_enum_value_is_found_where_the_server_refuses_it(types, migrations, case: str) -> None:
    text, expected, works_from = ENUMS[case]
    migrations.write("001_a.sql", text)
    assert found(migrations) == expected
    with psycopg.connect(types.url, autocommit=True) as connection:
        is_refused = connection.info.server_version // 10_000 < works_from
        try:
            connection.execute(text)
            assert not is_refused
        except errors.UnsafeNewEnumValueUsage:
            assert is_refused
    if expected == "problem":
        with pytest.raises(InvalidFile, match=r"001_a\.sql:2:\d+: this value is added to its enum in the same"):
            apply(types, migrations)
    elif is_refused:
        with pytest.raises(MigrationFailed, match="unsafe use of new value"):
            apply(types, migrations)


@pytest.mark.parametrize(
    "text", [f"{OFF}{ADD}SELECT 'glad'::mood;", f"BEGIN;{ADD}COMMIT;BEGIN;SELECT 'glad'::mood;COMMIT;"]
)
def test_a_new_enum_value_is_used_in_the_next_transaction(types, migrations, text: str) -> None:
    migrations.write("001_a.sql", text)
    assert found(migrations) == ""
    assert labels(apply(types, migrations)) == ["001"]


def test_a_doubtful_enum_value_can_be_allowed(types, migrations) -> None:
    text = f"{ADD}INSERT INTO words VALUES ('glad');"
    migrations.write("001_a.sql", text)
    (file,) = check(discover(migrations.dir))
    (hazard,) = file.open_hazards
    assert (hazard.line, hazard.column) == (2, 27)
    assert "transaction = off" in hazard.help
    migrations.write("001_a.sql", f"-- migration: allow = {hazard.rule} because w is text\n{text}")
    (file,) = check(discover(migrations.dir))
    assert (file.open_hazards, file.warnings) == ((), ())
    assert labels(apply(types, migrations)) == ["001"]


# ---- temporary tables -----------------------------------------------------------------------------------------------

MADE = "CREATE TEMP TABLE work (id int);\n"
NEEDED = {
    "a query": f"{MADE}SELECT count(*) FROM work;",
    "a join": f"{MADE}UPDATE busy SET id = 2 FROM work w WHERE w.id = busy.id;",
    "a subquery": f"{MADE}DELETE FROM busy WHERE id IN (SELECT id FROM pg_temp.work);",
    "an insertion": f"{MADE}INSERT INTO work VALUES (1);",
    "DROP": f"{MADE}DROP TABLE work;",
    "ALTER": f"{MADE}ALTER TABLE work ADD a int;",
    "a block": f"{MADE}DO $$ BEGIN PERFORM count(*) FROM work; END $$;",
    "AS": "CREATE TEMP TABLE work AS SELECT 1 AS id;\nTABLE work;",
    "INTO": "SELECT 1 AS id INTO TEMP work;\nTABLE work;",
    "a view": "CREATE TEMP VIEW work AS SELECT 1;\nTABLE work;",
    "a sequence": "CREATE TEMP SEQUENCE work;\nSELECT nextval('work');",
    "by its schema": "CREATE TABLE pg_temp.work ();\nTABLE work;",
    "two parts later": f"{MADE}SELECT 1;\nSELECT 2;\nTABLE work;",
}
NOT_NEEDED = {
    "the same block": f"BEGIN;{MADE}INSERT INTO work VALUES (1);DROP TABLE work;COMMIT;SELECT 1;",
    "gone at commit": "BEGIN;CREATE TEMP TABLE work (id int) ON COMMIT DROP;COMMIT;CREATE TABLE work ();",
    "dropped and made again": f"BEGIN;{MADE}DROP TABLE work;COMMIT;BEGIN;{MADE}TABLE work;COMMIT;",
    "DROP IF EXISTS": f"{MADE}DROP TABLE IF EXISTS work;",
    "another schema": f"{MADE}CREATE TABLE public.work (); SELECT count(*) FROM public.work;",
    "a WITH query": f"{MADE}WITH work AS (SELECT 1) SELECT * FROM work;",
}


@pytest.mark.parametrize("case", NEEDED)
def test_a_temporary_table_that_a_later_part_needs_is_refused_before_it_starts(database, migrations, case: str) -> None:
    migrations.write("001_a.sql", "CREATE TABLE busy (id int);")
    text = NEEDED[case]
    migrations.write("002_b.sql", OFF + text)
    with pytest.raises(InvalidFile) as caught:
        apply(database, migrations)
    (problem,) = caught.value.about
    assert problem.line == len(text.splitlines()) + 1
    assert "which is gone if the file is resumed after that part" in problem.reason
    assert "put both into one BEGIN ... COMMIT" in problem.reason
    assert tables(database) == []


@pytest.mark.parametrize("case", NOT_NEEDED)
def test_other_temporary_tables_are_fine(database, migrations, case: str) -> None:
    migrations.write("001_a.sql", OFF + NOT_NEEDED[case])
    assert labels(apply(database, migrations)) == ["001"]


def test_a_file_of_one_transaction_may_use_its_temporary_table(database, migrations) -> None:
    migrations.write(
        "001_a.sql", f"{MADE}INSERT INTO work VALUES (1);\nCREATE TABLE kept AS TABLE work;\nDROP TABLE work;"
    )
    assert labels(apply(database, migrations)) == ["001"]

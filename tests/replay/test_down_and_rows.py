"""A replay proves down files, and finds what fails on tables that hold rows."""

from __future__ import annotations

import time

import pytest

from aurora_migrations.compiler.hazards import DOWN_FAILS, DOWN_LEAVES, ROWS
from aurora_migrations.engine.script import Hazard
from tests.replay.conftest import Show, checked
from tests.servers import Migrations

CREATE = "CREATE TABLE {0} (id int PRIMARY KEY, name text);\nCREATE INDEX {0}_name ON {0} (name);\n"


def found_in(migrations: Migrations, name: str, *rules: str) -> list[Hazard]:
    files = checked(migrations)
    assert not [problem for file in files.values() for problem in file.problems]
    return [hazard for hazard in files[name].hazards if hazard.rule in (rules or (DOWN_LEAVES, DOWN_FAILS, ROWS))]


# ---- down files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("up", "down"),
    [
        (CREATE.format("a"), "DROP TABLE a;"),
        ("CREATE TYPE mood AS ENUM ('sad', 'ok');", "DROP TYPE mood;"),
        ("ALTER TABLE base ADD COLUMN x int DEFAULT 3;", "ALTER TABLE base DROP COLUMN x;"),
        ("COMMENT ON TABLE base IS 'x';", "COMMENT ON TABLE base IS NULL;"),
        ("CREATE INDEX CONCURRENTLY i ON base (id);", "DROP INDEX CONCURRENTLY i;"),
        ("-- migration: transaction = off\nCREATE TABLE a (id int);\nVACUUM base;", "DROP TABLE a;"),
        ("SET search_path = pg_temp, public;\nALTER TABLE base ADD COLUMN x int;", "ALTER TABLE base DROP x;"),
        ("CREATE VIEW v AS SELECT id FROM base;", "DROP VIEW v;"),
    ],
)
def test_down_file_that_undoes_its_migration_is_no_hazard(migrations: Migrations, up: str, down: str) -> None:
    migrations.write("1_base.sql", "CREATE TABLE base (id int);")
    migrations.write("2_a.sql", up)
    migrations.write("2_a.down.sql", down)
    migrations.write("3_next.sql", "SELECT 1;")
    assert found_in(migrations, "2_a.down.sql") == []


@pytest.mark.parametrize(
    ("up", "down", "message"),
    [
        (CREATE.format("a") + "CREATE TABLE b (id int);", "DROP TABLE a;", "column public.b.id, table public.b remain"),
        ("CREATE INDEX i ON base (id);", "SELECT 1;", "index public.i remains"),
        ("SELECT 1;", "DROP INDEX base_id;", "index public.base_id is missing"),
        ("ALTER TABLE base ALTER id TYPE bigint;", "SELECT 1;", "column public.base.id is different"),
        ("CREATE INDEX CONCURRENTLY i ON base (id);", "SELECT 1;", "index public.i remains"),
    ],
)
def test_what_a_down_file_leaves_is_named(migrations: Migrations, up: str, down: str, message: str) -> None:
    """And the files after it are replayed on what the migration makes, not on what the down file leaves."""
    migrations.write("1_base.sql", "CREATE TABLE base (id int);\nCREATE INDEX base_id ON base (id);")
    migrations.write("2_a.sql", up)
    migrations.write("2_a.down.sql", down)
    migrations.write("3_next.sql", "DROP INDEX base_id;")
    (hazard,) = found_in(migrations, "2_a.down.sql", DOWN_LEAVES)
    assert (hazard.file, hazard.line) == ("2_a.down.sql", 1)
    assert hazard.message == f"After the migration and this down file: {message}."


def test_hazard_of_a_down_file_is_allowed_with_a_reason(migrations: Migrations) -> None:
    migrations.write("1_a.sql", "CREATE TABLE a (id int);\nCREATE TABLE b (id int);")
    migrations.write("1_a.down.sql", "-- migration: allow = down-leaves-objects because b holds data\nDROP TABLE a;")
    (hazard,) = found_in(migrations, "1_a.down.sql")
    assert hazard.allowed_because == "b holds data"
    migrations.write("1_a.down.sql", "-- migration: allow = down-leaves-objects because b holds data\nDROP TABLE a, b;")
    file = checked(migrations)["1_a.down.sql"]
    assert [warning.line for warning in file.warnings] == [1]
    assert "no longer applies" in file.warnings[0].reason


def test_down_file_that_fails_is_a_hazard_and_one_that_refuses_is_not(migrations: Migrations) -> None:
    migrations.write("1_a.sql", "CREATE TABLE a (id int);")
    migrations.write("1_a.down.sql", "DROP TABLE b;")
    migrations.write("2_b.sql", "CREATE TABLE c (id int);")
    migrations.write("2_b.down.sql", "DO $$ BEGIN RAISE EXCEPTION 'not undone'; END $$;")
    (hazard,) = found_in(migrations, "1_a.down.sql")
    assert (hazard.rule, 'table "b" does not exist' in hazard.message) == (DOWN_FAILS, True)
    assert found_in(migrations, "2_b.down.sql") == []
    assert "refuses" in checked(migrations)["2_b.down.sql"].compiled.script.unreplayed  # type: ignore[union-attr]


def test_migration_that_differs_the_second_time_is_found(migrations: Migrations) -> None:
    migrations.write("1_a.sql", "CREATE TABLE a (id int);\nCREATE TABLE once (id int);\nINSERT INTO once VALUES (1);")
    migrations.write(
        "2_b.sql", "DO $$ BEGIN IF EXISTS (SELECT FROM once) THEN ALTER TABLE a ADD x int; END IF; END $$;"
    )
    migrations.write("2_b.down.sql", "ALTER TABLE a DROP x;\nDELETE FROM once;")
    (hazard,) = found_in(migrations, "2_b.down.sql")
    assert hazard.message == (
        "After the migration, this down file and the migration again: column public.a.x is missing."
    )


# ---- rows ------------------------------------------------------------------------------------------------------------

TABLES = """
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN amount AS numeric(8, 2) CHECK (VALUE > 0);
CREATE TABLE tenants (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL UNIQUE);
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant uuid NOT NULL REFERENCES tenants, mood mood NOT NULL,
    total amount NOT NULL, state text NOT NULL CHECK (state IN ('new', 'paid')), note varchar(40), code text,
    number bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(), tags text[] NOT NULL, extra jsonb,
    half bigint GENERATED ALWAYS AS (id / 2) STORED
);
"""


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("ALTER TABLE orders ALTER note SET NOT NULL", "contains null values"),
        ("ALTER TABLE orders ALTER note TYPE varchar(20)", "value too long"),
        ("ALTER TABLE orders ALTER number TYPE int", "out of range"),
        ("ALTER TABLE orders ALTER code TYPE int USING code::int", "invalid input syntax"),
        ("ALTER TABLE orders ADD COLUMN x int NOT NULL DEFAULT 0 UNIQUE", "could not create unique index"),
        ("ALTER TABLE orders ADD COLUMN x int NOT NULL DEFAULT 0 REFERENCES other", "violates foreign key"),
        ("ALTER TABLE orders ADD CHECK (number < 10)", "violated by some row"),
        ("ALTER TABLE orders ALTER total TYPE numeric(4, 2)", "field overflow"),
    ],
)
def test_statement_that_fails_only_on_rows_is_found(migrations: Migrations, statement: str, reason: str) -> None:
    migrations.write("1_tables.sql", f"{TABLES}CREATE TABLE other (id int PRIMARY KEY);")
    migrations.write("2_change.sql", f"SELECT 1;\n  {statement};")
    (hazard,) = found_in(migrations, "2_change.sql", ROWS)
    assert (hazard.line, hazard.column >= 3) == (2, True)
    assert reason in hazard.message
    assert "xxx" not in hazard.message, "no made-up value is shown"


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE orders SET note = '' WHERE note IS NULL;\nALTER TABLE orders ALTER note SET NOT NULL;",
        "ALTER TABLE orders ADD COLUMN x int NOT NULL DEFAULT 0;",
        "ALTER TABLE orders ALTER number TYPE numeric;",
        "ALTER TABLE orders ADD CHECK (number < 10) NOT VALID;",
        "CREATE UNIQUE INDEX ON orders (number);",
        "ALTER TABLE orders ADD FOREIGN KEY (tenant) REFERENCES tenants;",
        "CREATE TABLE more (id int NOT NULL UNIQUE);",
        "ALTER TABLE orders ALTER mood TYPE text;",
        "INSERT INTO tenants (name) VALUES ('1');\nALTER TABLE tenants ADD COLUMN x int;",
    ],
)
def test_statement_that_rows_do_not_hurt_is_no_hazard(migrations: Migrations, text: str) -> None:
    migrations.write("1_tables.sql", TABLES)
    migrations.write("2_change.sql", text)
    assert found_in(migrations, "2_change.sql", ROWS) == []


def test_what_squawk_says_already_is_not_said_twice(migrations: Migrations) -> None:
    migrations.write("1_tables.sql", TABLES)
    migrations.write("2_change.sql", "ALTER TABLE orders ADD COLUMN x int NOT NULL;")
    hazards = checked(migrations)["2_change.sql"].hazards
    assert [hazard.rule for hazard in hazards] == ["adding-required-field"]


def test_file_that_takes_long_on_made_up_rows_is_not_waited_for(migrations: Migrations, shown: Show) -> None:
    migrations.write("1_a.sql", "CREATE TABLE a (count int NOT NULL);\nCREATE TABLE b (id int);")
    text = "ALTER TABLE a ADD COLUMN x int;\nINSERT INTO b SELECT g FROM a, generate_series(1, count) AS g;"
    migrations.write("2_b.sql", f"SET statement_timeout = 0;\n{text}")
    began = time.monotonic()
    assert shown().problem is None
    assert time.monotonic() - began < 60

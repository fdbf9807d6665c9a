"""What pg_dump writes is a migration: it passes the check, runs, and makes what was dumped."""

from __future__ import annotations

import re

import pytest

from aurora_migrations.compiler.check import check
from aurora_migrations.embedded.binaries import Installation
from aurora_migrations.engine import discover
from aurora_migrations.engine.errors import InvalidFile
from tests.database.helpers import apply, entries
from tests.servers import Database, Migrations

_RESTRICT = re.compile(r"\\(?:un)?restrict \w+\n")
SCHEMA = """
CREATE SCHEMA shop;
CREATE TYPE shop.state AS ENUM ('new', 'paid');
CREATE TABLE shop.users (id serial PRIMARY KEY, mail text NOT NULL UNIQUE, "Ação $$" text DEFAULT E'a\\\\b''c');
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "user" integer REFERENCES shop.users,
    state shop.state DEFAULT 'new' CHECK (state <> 'paid')
);
CREATE INDEX ON orders (state) WHERE state = 'new';
CREATE VIEW paid AS SELECT * FROM orders WHERE state = 'paid';
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $f$
BEGIN
    -- migrate:down
    RETURN NEW;
END
$f$;
CREATE TRIGGER touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touched();
COMMENT ON TABLE orders IS 'one line
\\restrict another';
INSERT INTO shop.users (mail) VALUES ('ana@x');
"""


@pytest.fixture
def other(server) -> Database:
    made = Database(server)
    made.create()
    yield made
    made.drop()


def dump(database: Database, *arguments: str) -> str:
    finished = Installation(database.server.bindir).run(
        "pg_dump", "--exclude-schema=aurora_migrations", *arguments, "-d", database.url
    )
    assert finished.code == 0, finished.output
    return finished.output


def test_dump_of_a_schema_runs_as_it_is(database: Database, other: Database, migrations: Migrations) -> None:
    database.execute(SCHEMA)
    text = dump(database, "--schema-only")
    migrations.write("001_baseline.sql", text)
    (checked,) = check(discover(migrations.dir))
    assert (checked.problems, checked.open_hazards) == ((), ())
    assert len(apply(other, migrations).applied) == 1
    assert _RESTRICT.sub("", dump(other, "--schema-only")) == _RESTRICT.sub("", text)
    assert other.query("SELECT sql FROM aurora_migrations.applied") == [(text,)]
    migrations.write("001_baseline.sql", dump(database, "--schema-only"))  # with another key
    assert apply(other, migrations).applied == ()
    assert [entry.state for entry in entries(other, migrations)] == ["applied"]


def test_dump_with_rows_runs_if_they_are_inserts(database: Database, other: Database, migrations: Migrations) -> None:
    database.execute(SCHEMA)
    migrations.write("001_baseline.sql", dump(database))
    with pytest.raises(InvalidFile, match=r"001_baseline\.sql:\d+:1: COPY FROM STDIN needs data"):
        apply(other, migrations)
    migrations.write("001_baseline.sql", dump(database, "--inserts"))
    apply(other, migrations)
    assert other.query("SELECT mail FROM shop.users") == [("ana@x",)]

"""What pg_dump writes is a migration: it passes the check, runs, and makes what was dumped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aurora_migrations.adoption.dump import read_dump
from aurora_migrations.cli.main import main
from aurora_migrations.compiler.check import check
from aurora_migrations.embedded.binaries import Installation
from aurora_migrations.engine import discover
from aurora_migrations.engine.errors import InvalidFile, InvalidInput
from tests.database.helpers import apply, entries
from tests.servers import Database, Migrations, Roles

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


def test_a_dump_becomes_a_baseline_of_the_database_it_was_made_of(
    database: Database, migrations: Migrations, capsys: pytest.CaptureFixture[str], tmp_path: Path, roles: Roles
) -> None:
    """With owners and privileges, which the file leaves out."""
    role = roles.create()
    database.execute(f"{SCHEMA}; ALTER TABLE orders OWNER TO {role.name}; GRANT SELECT ON shop.users TO {role.name}")
    (tmp_path / "shop.sql").write_text(dump(database, "--schema-only"), encoding="utf-8")
    asked = "--migrations", str(migrations.dir)
    assert main(["new", "shop", "--from-dump", str(tmp_path / "shop.sql"), *asked]) == 0
    text = (migrations.dir / "001_shop.sql").read_text("utf-8")
    assert not re.search(r"OWNER TO|GRANT|unrestrict|search_path|-- Name", text)
    assert "ALTER ... OWNER TO" in capsys.readouterr().err
    assert main(["baseline", "1", "--confirm", "001", *asked, "--database-url", database.url]) == 0
    assert "Recorded 1 migration as applied: 001\n" in capsys.readouterr().out


UNUSABLE = {
    "rows": (
        b"CREATE TABLE a (id int);\nCOPY public.a (id) FROM stdin;\n1\n\\.\n",
        "contains rows, the first at line 2.",
    ),
    "own format": (b"PGDMP\x01\x0f", "isn't text."),
    "nothing": (b"SET lock_timeout = 0;\nREVOKE ALL ON SCHEMA public FROM x;\n", "creates nothing."),
    "no SQL": (b"SELECT 1;\n\\connect shop\n", "can't be read at line 2: "),
}


@pytest.mark.parametrize(("text", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_is_no_dump_of_a_schema_is_refused(text: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_bytes(text)
    with pytest.raises(InvalidInput) as caught:
        read_dump(tmp_path / "a.sql")
    assert caught.value.message.startswith(f"{tmp_path / 'a.sql'} {message}")
    with pytest.raises(InvalidInput, match="isn't a file"):
        read_dump(tmp_path / "b.sql")

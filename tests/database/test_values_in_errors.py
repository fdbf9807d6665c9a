"""No value of a row in an error, whatever statement of a file meets it; and what can't be a value stays."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurora_migrations.cli.output import describe
from aurora_migrations.compiler.compile import compile_text
from aurora_migrations.embedded.server import Server
from aurora_migrations.engine import Migration, MigratorError, Session
from aurora_migrations.engine.diagnostics.file_errors import file_error
from aurora_migrations.engine.diagnostics.redaction import NOT_SHOWN
from aurora_migrations.engine.errors import MigrationFailed, VerificationFailed
from aurora_migrations.engine.options import Limits, Options
from aurora_migrations.engine.postgres.protocol import ScriptError
from aurora_migrations.engine.script import Job, Message
from tests.database.helpers import apply, last_error, on_server
from tests.database.values import CANARY, FILES, NUMBER, SETUP, block
from tests.servers import Database, Migrations
from tests.unit.test_sqlstate import said as server_said

_PARTS = ("message_primary", "message_detail", "message_hint", "context", "internal_query", "table_name")


@pytest.fixture(scope="module")
def people(server: Server) -> Iterator[Session]:
    """A session on a database whose rows and names hold canaries. Every file is rolled back."""
    database = on_server(server)
    database.execute(SETUP)
    with Session(database.url, "values-1") as session:
        yield session
    database.drop()


def job(text: str) -> Job:
    """A file to run."""
    script = compile_text("001_a.sql", text.encode(), Options()).script
    return Job("apply", Migration(1, Path(), "001_a.sql"), script, text.encode(), 0, "", "", Limits())


def refused(session: Session, text: str) -> tuple[MigratorError, str]:
    """The error that a file ends in, and everything that PostgreSQL says of it."""
    to_run = job(text)
    chunk: Message | None = Message(0, len(to_run.text), (0, len(to_run.script.statements)))
    try:
        session.wire.execute_script(b"BEGIN")
        session.wire.execute_script(to_run.text)
        chunk = None
        session.wire.execute_script(b"SET CONSTRAINTS ALL IMMEDIATE")
    except ScriptError as error:
        diag = error.error.diag
        return file_error(session, to_run, chunk, error), " ".join(str(getattr(diag, part)) for part in _PARTS)
    finally:
        session.roll_back()
    raise AssertionError("the file ends in no error")


def message(error: MigratorError) -> str:
    """Without the place and the SQLSTATE."""
    return error.message.partition(": " if ".sql:" in error.message else "COMMIT: ")[2].rpartition(" (")[0]


@pytest.mark.parametrize("name", FILES)
def test_no_value_of_a_row_is_in_an_error(people: Session, name: str) -> None:
    error, said = refused(people, FILES[name])
    assert CANARY in said or NUMBER in said  # else this proves nothing
    shown = json.dumps([error.to_dict(), str(error), describe(error, io.StringIO())])
    assert CANARY not in shown
    assert NUMBER not in shown
    assert len(message(error)) > 2


AS_OTHERS = "GRANT INSERT, SELECT ON people, tickets TO pg_monitor;\nSET ROLE pg_monitor;\n"
# What the file or the catalog says, and no row.
WHOLE = {
    "relation": ("SELECT * FROM nobodys;", 'relation "nobodys" does not exist'),
    "folded": ("SELECT * FROM Nobodys;", 'relation "nobodys" does not exist'),
    "dotted": ("SELECT * FROM public.nobodys;", 'relation "public.nobodys" does not exist'),
    "column": ("ALTER TABLE people DROP COLUMN emial;", 'column "emial" of relation "people" does not exist'),
    "column-bare": ("SELECT p.emial FROM people p;", "column p.emial does not exist"),
    "cast-beside": ("SELECT 'nobodys'::regclass;", 'relation "nobodys" does not exist'),
    "operator": ("SELECT 1 = 'a'::text;", "operator does not exist: integer = text"),
    "operator-in-block": (block("n := 1 = 'a'::text;"), "operator does not exist: integer = text"),
    "function": ("SELECT no_such(1);", "function no_such(integer) does not exist"),
    "cast": ("SELECT 1::regrole::mood;", "cannot cast type regrole to mood"),
    "cast-in-block": (block("PERFORM true::date;"), "cannot cast type boolean to date"),
    "constraint": (
        'ALTER TABLE people ADD CONSTRAINT "odd one" CHECK (num < 0);',
        'check constraint "odd one" of relation "people" is violated by some row',
    ),
    "unique": (
        "INSERT INTO target (id, name) VALUES (3, 'child');",
        'duplicate key value violates unique constraint "target_name_key"',
    ),
    "null": ("ALTER TABLE people ADD z int NOT NULL;", 'column "z" of relation "people" contains null values'),
    "length": (
        "INSERT INTO target (id, kind) SELECT 3, name FROM target;",
        "value too long for type character varying(3)",
    ),
    "size": (
        "INSERT INTO people (ident) SELECT string_agg(md5(i::text), '') FROM generate_series(1, 900) AS i;\n"
        "CREATE INDEX ON people (ident);",
        "index row requires 28816 bytes, maximum size is 8191",
    ),
    "object": ("COMMENT ON LARGE OBJECT 77 IS 'a';", "large object 77 does not exist"),
    "depends": ("DROP TYPE uses_mood;", "cannot drop type uses_mood because other objects depend on it"),
    "depends-in-block": (
        block("DROP TYPE uses_mood;"),
        "cannot drop type uses_mood because other objects depend on it",
    ),
    "view": ("ALTER TABLE seen ALTER a TYPE text;", "cannot alter type of a column used by a view or rule"),
    "extension": (
        "ALTER EXTENSION plpgsql UPDATE TO '9.9';",
        'extension "plpgsql" has no update path from version "1.0" to version "9.9"',
    ),
    "extension-in-block": (
        block("ALTER EXTENSION plpgsql UPDATE TO '9.9';"),
        'extension "plpgsql" has no update path from version "1.0" to version "9.9"',
    ),
    "role": ("SET ROLE nobody_here;", 'role "nobody_here" does not exist'),
    "setting": ("SET work_mem = 'a lot';", 'invalid value for parameter "work_mem": "a lot"'),
    "label": ("ALTER TYPE mood RENAME VALUE 'glad' TO 'b';", '"glad" is not an existing enum label'),
    "denied": (f"{AS_OTHERS}SELECT * FROM target;", "permission denied for table target"),
    "denied-schema": (f"{AS_OTHERS}CREATE TABLE mine ();", "permission denied for schema public"),
    "denied-sequence": (
        f"{AS_OTHERS}INSERT INTO tickets DEFAULT VALUES;",
        "permission denied for sequence tickets_id_seq",
    ),
    "denied-in-block": (f"{AS_OTHERS}DO $$ BEGIN DROP TABLE seen; END $$;", "must be owner of table seen"),
    "denied-in-function": (f"{AS_OTHERS}SELECT counts();", "permission denied for table seen"),
    "dynamic-of-the-file": (
        "DO $$ DECLARE t text; BEGIN FOREACH t IN ARRAY ARRAY['people', 'nobodys'] LOOP\n"
        "EXECUTE 'ALTER TABLE ' || t || ' ADD COLUMN z int'; END LOOP; END $$;",
        'relation "nobodys" does not exist',
    ),
    "dynamic-and-bare": (
        "DO $$ BEGIN EXECUTE format('DROP TYPE %I', 'uses_mood'); END $$;",
        "cannot drop type uses_mood because other objects depend on it",
    ),
    "raise": ("DO $$ BEGIN RAISE EXCEPTION 'Run 016 first.'; END $$;", "Run 016 first."),
}
OBJECTS = """
    CREATE TYPE uses_mood AS ENUM ('a');
    CREATE TABLE seen (a int, b uses_mood);
    CREATE VIEW sees AS SELECT a FROM seen;
    CREATE TABLE tickets (id serial);
    CREATE FUNCTION counts() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM seen); END $$;
"""


@pytest.mark.parametrize("name", WHOLE)
def test_message_without_values_of_rows_is_whole(people: Session, name: str) -> None:
    text, shown = WHOLE[name]
    error, said = refused(people, f"{OBJECTS}{text}")
    assert shown in said
    assert message(error) == shown


def test_what_depends_on_an_object_is_shown(people: Session) -> None:
    error, _ = refused(people, f"{OBJECTS}DROP TABLE seen;")
    assert "View sees depends on table seen. Use DROP ... CASCADE to drop the dependent objects too." in error.cause


def test_hint_with_names_of_the_catalog_is_shown(people: Session) -> None:
    error, _ = refused(people, "SELECT idents FROM people;")
    assert error.facts["hint"] == 'Perhaps you meant to reference the column "people.ident".'


# ---- where it is ----------------------------------------------------------------------------------------------------

FUNCTION = """\
CREATE FUNCTION pg_temp.twice(a int) RETURNS int LANGUAGE plpgsql AS $f$
BEGIN
    IF a > 1 THEN
        RETURN 2 * (SELECT ident::int FROM people);
    END IF;
    RETURN 2 * a;
END $f$;
SELECT pg_temp.twice(1);
"""
PLACES = {
    "dynamic": (
        "SELECT 1;\nDO $$\nDECLARE r record;\nBEGIN\n  SELECT * INTO r FROM people;\n"
        "  EXECUTE 'DROP TABLE '\n    || r.ident;\nEND $$;\n",
        (6, 3, "  EXECUTE 'DROP TABLE '"),
    ),
    "static": (
        "DO $$ BEGIN\n  PERFORM 1;\n  INSERT INTO people (ident,\n    nothere) VALUES ('a', 7);\nEND $$;\n",
        (4, 5, "    nothere) VALUES ('a', 7);"),
    ),
    "into": (
        "DO $$\nDECLARE n int; BEGIN\n  SELECT 1 INTO n\n    FROM é.nothere WHERE ident = 'a'; END $$;",
        (4, 10, "    FROM é.nothere WHERE ident = 'a'; END $$;"),
    ),
    "perform": ("DO $$ BEGIN\n  perform 1,\n    nothere; END $$;", (3, 5, "    nothere; END $$;")),
    "values": (
        "DO $$\nBEGIN\n  UPDATE people SET num = 'a'::text::int;\nEND $$;",
        (3, 3, "  UPDATE people SET num = '.'::text::int;"),
    ),
    "password": (
        "DO $$\nBEGIN\n  PERFORM 'hunter2', 'password';\n  PERFORM nothere, 'hunter2';\nEND $$;",
        (4, 11, "  PERFORM nothere, '.......';"),
    ),
    "first line": ("DO $x$ BEGIN PERFORM 1 / 0; END $x$;", (1, 8, "       BEGIN PERFORM . / .; END ")),
    "function of the file": (
        f"{FUNCTION}SELECT pg_temp.twice(2);\n",
        (4, 9, "        RETURN . * (SELECT ident::int FROM people);"),
    ),
    "function in a block": (
        f"{FUNCTION}DO $$\nBEGIN\n  PERFORM pg_temp.twice(2);\nEND $$;",
        (4, 9, "        RETURN . * (SELECT ident::int FROM people);"),
    ),
    "function of the database": (
        "SELECT 1;\nDO $$\nBEGIN\n  PERFORM drops('nothing');\nEND $$;",
        (4, 3, "  PERFORM drops('nothing');"),
    ),
    "block in a block": (
        "DO $a$\nBEGIN\n\n  EXECUTE 'DO $b$ BEGIN PERFORM 1 / 0; END $b$';\nEND $a$;",
        (4, 3, "  EXECUTE '...................................';"),
    ),
    "quoted block": ("SELECT 1;\nDO '\nBEGIN PERFORM 1 / 0; END';", (2, 1, "DO '")),
}


@pytest.mark.parametrize("name", PLACES)
def test_place_is_the_line_inside_a_block_or_function(people: Session, name: str) -> None:
    text, (line, column, shown) = PLACES[name]
    error, _ = refused(people, text)
    excerpt = str(error.facts["excerpt"]).splitlines()
    assert (error.facts["line"], error.facts["column"], excerpt) == (line, column, [shown, f"{' ' * (column - 1)}^"])
    assert f"001_a.sql:{line}:{column}: " in error.message


def test_function_that_is_not_in_the_file_is_named_with_its_line(people: Session) -> None:
    error, _ = refused(people, "SELECT drops('nothing');")
    assert "The error is in line 1 of the PL/pgSQL function drops(text)." in error.cause


def test_function_that_is_called_by_a_value_is_not_named(people: Session) -> None:
    error, _ = refused(people, block("EXECUTE 'SELECT ' || left(r.ident, 0) || 'dro' || 'ps(''nothing'')';"))
    assert "drops" not in json.dumps(error.to_dict())


# ---- what isn't the file's fault ------------------------------------------------------------------------------------

TROUBLES = {
    "53100": ("disk is full", False),
    "53200": ("out of memory", False),
    "53300": ("connections are in use", False),
    "53400": ("temp_file_limit", False),
    "54000": ("PostgreSQL's own limits", True),
    "54001": ("max_stack_depth", True),
    "58030": ("operating system", False),
    "58P01": ("doesn't have a file", True),
    "XX000": ("internal error", True),
    "XX001": ("damaged data", False),
    "XX002": ("damaged index", False),
    "40001": ("Another transaction", False),
    "42501": ("lacks a privilege", False),
    "08001": ("dblink", True),
}


@pytest.mark.parametrize("state", TROUBLES)
def test_trouble_of_the_server_is_not_called_a_fault_of_the_file(people: Session, state: str) -> None:
    cause, in_file = TROUBLES[state]
    error = file_error(
        people,
        job("SELECT 1;"),
        Message(0, 9, (0, 1)),
        ScriptError(0, server_said(state, "no", SEVERITY_NONLOCALIZED="ERROR"), 0),
    )
    assert isinstance(error, MigrationFailed)
    assert cause in error.cause
    assert error.solution != MigrationFailed.solution
    assert error.by_deployment == in_file


# ---- whole runs -----------------------------------------------------------------------------------------------------


def test_no_value_of_a_row_is_in_an_error_about_a_promise(database: Database, migrations: Migrations) -> None:
    database.execute(SETUP)
    migrations.write("001_a.sql", "SELECT 1;")
    migrations.write("001_a.verify.sql", "-- nobody is refused\nSELECT refuse(ident) IS NULL FROM people;\n")
    with pytest.raises(VerificationFailed) as caught:
        apply(database, migrations)
    assert CANARY not in json.dumps(caught.value.to_dict())
    assert NOT_SHOWN in caught.value.message


def test_error_is_still_an_error_where_nothing_is_said(database: Database, migrations: Migrations) -> None:
    migrations.write("001_a.sql", "DO $$ BEGIN RAISE EXCEPTION ''; END $$;")
    with pytest.raises(MigrationFailed) as caught:
        apply(database, migrations)
    assert NOT_SHOWN in caught.value.message
    assert last_error(database)["message"] == caught.value.message

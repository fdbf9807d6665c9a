"""No value of a row in a mail, in the log, in the history, on a terminal: whatever statement of a file meets it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.migrator.errors import MigrationFailed, MigratorError, VerificationFailed
from functions.migrator.masking import NOT_SHOWN, words_of_file
from tests.functions.helpers import Machine
from tests.servers import Database

VALUE = "ana.canary4f2"
PEOPLE = f"""
    CREATE TABLE people (note text, code text, y int, m int, d int);
    INSERT INTO people VALUES ('{VALUE}', 'canary 7 "x" canary', 1987, 2, 31);
    CREATE FUNCTION refuse(note text) RETURNS void LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'no room for %', note USING HINT = 'ask ' || note, ERRCODE = '42P01'; END $$;
"""


def loop(body: str) -> str:
    return f"DO $$ DECLARE r record; BEGIN SELECT * INTO r FROM people; {body} END $$;"


# What is wrong, and what is still told of it.
FILES = {
    "date": ("UPDATE people SET note = make_date(y, m, d);", "date field value out of range: ... (22008)"),
    "time": ("SELECT make_time(y, m, d) FROM people;", "time field value out of range: ... (22008)"),
    "cast": ("SELECT code::int FROM people;", 'invalid input syntax for type integer: "..." (22P02)'),
    "raise": (loop("RAISE EXCEPTION 'bad address %', r.note;"), "bad address ? (P0001)"),
    "raise-around": (loop("RAISE EXCEPTION '% is no address: %', r.note, r.code;"), "? is no address: ? (P0001)"),
    "raise-with-state": (loop("RAISE EXCEPTION 'bad %', r.note USING ERRCODE = '23505';"), "bad ? (23505)"),
    "raise-with-hint": (loop("RAISE EXCEPTION 'bad' USING HINT = 'see ' || r.note;"), "bad (P0001)"),
    "raise-names": (loop("RAISE 'bad' USING COLUMN = r.note, TABLE = r.note, ERRCODE = '23502';"), "bad (23502)"),
    "assert": (loop("ASSERT false, r.note;"), f"{NOT_SHOWN} (P0004)"),
    "function": ("SELECT refuse(note) FROM people;", f"{NOT_SHOWN} (42P01)"),
    "regclass": ("SELECT note::regclass FROM people;", '"..." does not exist'),
    "regclass-changed": (
        "ALTER TABLE people ALTER note TYPE regclass USING replace(note, '.', '_')::regclass;",
        'relation "..." does not exist (42P01)',
    ),
    "dots": ("SELECT ('a.b.c.' || note)::regclass FROM people;", "(too many dotted names): ... (42601)"),
    "regtype": ("SELECT replace(note, '.', '_')::regtype FROM people;", 'type "..." does not exist (42704)'),
    "regtype-odd": ("SELECT code::regtype FROM people;", '"..."'),
    "regrole": ("SELECT replace(note, '.', '_')::regrole FROM people;", 'role "..." does not exist (42704)'),
    "regproc": ("SELECT replace(note, '.', '_')::regproc FROM people;", 'function "..." does not exist (42883)'),
    "regnamespace": ("SELECT replace(note, '.', '_')::regnamespace FROM people;", 'schema "..." does not exist'),
    "sequence": ("SELECT nextval(replace(note, '.', '_')) FROM people;", 'relation "..." does not exist (42P01)'),
    "tsquery": ("SELECT to_tsquery(code || ' & &') FROM people;", 'syntax error in tsquery: "..." (42601)'),
    "setting": ("SELECT set_config(code, '', true) FROM people;", 'configuration parameter "..." (42'),
    "dynamic": (loop("EXECUTE 'SELECT ' || r.code;"), "(4"),
    "deferred": (
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN RAISE 'late %', NEW.note; END $f$;\n"
        "CREATE CONSTRAINT TRIGGER t AFTER UPDATE ON people DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
        "EXECUTE FUNCTION late();\nUPDATE people SET y = 1;",
        "late ? (P0001)",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_no_value_of_a_row_is_told_anywhere(
    name: str, machine: Machine, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    text, told = FILES[name]
    database.execute(PEOPLE)
    machine.migrations.write("001_a.sql", text)
    machine.write_manifest()
    document = machine.refused("apply", MigrationFailed)
    kept = database.query("SELECT name, error::text FROM aurora_migrations.attempts")
    everything = json.dumps(document) + str(kept) + capsys.readouterr().out
    assert "canary" not in everything
    assert "1987" not in everything
    assert told in document["message"]
    assert document["message"].split(": ", 1)[1][:20] in " ".join(document["mail"]["body"].split())


def test_no_value_of_a_row_is_told_of_a_promise(machine: Machine, database: Database) -> None:
    database.execute(PEOPLE)
    machine.migrations.write("001_a.sql", "SELECT 1;")
    machine.migrations.write("001_a.verify.sql", "-- nobody is refused\nSELECT refuse(note) IS NULL FROM people;\n")
    machine.write_manifest()
    document = machine.refused("apply", VerificationFailed)
    assert "canary" not in json.dumps(document)
    assert NOT_SHOWN in document["message"]


NAMES = {
    "relation": ("SELECT * FROM nobodys;", 'relation "nobodys" does not exist'),
    "folded": ("SELECT * FROM Nobodys;", 'relation "nobodys" does not exist'),
    "dotted": ("SELECT * FROM public.nobodys;", 'relation "public.nobodys" does not exist'),
    "column": ("ALTER TABLE people DROP COLUMN emial;", 'column "emial" of relation "people" does not exist'),
    "cast-beside": ("SELECT 'nobodys'::regclass;", 'relation "nobodys" does not exist'),
    "operator": ("SELECT 1 = 'a'::text;", "operator does not exist: integer = text"),
    "constraint": ('ALTER TABLE people ADD CONSTRAINT "odd one" CHECK (y > 2000);', '"odd one"'),
    "null": ("ALTER TABLE people ADD z int NOT NULL;", 'column "z" of relation "people" contains null values'),
    "type": ("ALTER TABLE people ADD z varchar(1) DEFAULT 'abc';\nINSERT INTO people DEFAULT VALUES;", "varying(1)"),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_file_are_told(name: str, machine: Machine, database: Database) -> None:
    text, told = NAMES[name]
    database.execute(PEOPLE)
    machine.migrations.write("001_a.sql", text)
    machine.write_manifest()
    assert told in machine.refused("apply", MigrationFailed)["message"]


FILE = "RAISE EXCEPTION 'bad address of %: %', r.name, r.note;"


@given(st.text(min_size=1, max_size=30).filter(lambda value: value.strip()))
def test_of_what_is_raised_only_words_of_the_file_are_told(value: str) -> None:
    canary = f"{value}canary{value}"
    told = words_of_file(f"bad address of {canary}: {canary}", FILE)
    assert "canary" not in told
    assert told.startswith("bad address of ?")
    assert set(told.split()) <= {"?", *FILE.replace("'", " ").split(), *value.split()}


@given(st.text(alphabet="ab\"'. :\n", min_size=1, max_size=12))
def test_nothing_is_told_of_an_exception_whose_words_the_file_has_not(value: str) -> None:
    assert words_of_file(f"{value} canary", "SELECT refuse(note);") == ""


def test_error_is_still_an_error_where_nothing_is_said(machine: Machine, database: Database) -> None:
    machine.migrations.write("001_a.sql", "DO $$ BEGIN RAISE EXCEPTION ''; END $$;")
    machine.write_manifest()
    told: dict[str, str] = machine.refused("apply", MigrationFailed)
    assert NOT_SHOWN in told["message"]
    assert MigratorError.state != told["state"]

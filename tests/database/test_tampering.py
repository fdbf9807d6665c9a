"""The history defends itself: what keeps a record out of it, hides, forges or deletes one is refused, by name."""

from __future__ import annotations

import re

import pytest

from aurora_migrations.engine import Session
from aurora_migrations.engine.errors import (
    HistoryUnreadable,
    InsufficientPrivilege,
    MigrationFailed,
    MigratorError,
)
from aurora_migrations.engine.history import read_attempts
from aurora_migrations.engine.history_format import FORMATS
from tests.database.helpers import (
    ROLLED_BACK,
    apply,
    ask,
    attempts,
    entries,
    exists,
    labels,
    roll_back,
    tables,
    units,
    write_steps,
)
from tests.servers import Database, Migrations

COMMENT = "aurora-migrations history, format "
PARTS = "CREATE TABLE a ();\nBEGIN;\nCREATE TABLE b ();\nCOMMIT;\n"


def refused(kind: type[MigratorError], database: Database, migrations: Migrations) -> MigratorError:
    with pytest.raises(kind) as caught:
        apply(database, migrations)
    return caught.value


def records(database: Database) -> list[tuple[object, ...]]:
    return ask(database, "SELECT version, name, sha256 FROM aurora_migrations.applied ORDER BY version")


# ---- what keeps a record out ----------------------------------------------------------------------------------------

TRIGGER = """
    CREATE OR REPLACE FUNCTION public.keep_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does} END $$;
    CREATE TRIGGER keep_out {when} ON aurora_migrations.{table} FOR EACH ROW EXECUTE FUNCTION public.keep_out();
"""
RULE = "CREATE RULE keep_out AS ON {on} TO aurora_migrations.{table} DO INSTEAD NOTHING"
KEPT_OUT = {
    "trigger swallows the record": ("applied", "BEFORE INSERT", "RETURN NULL;"),
    "trigger gives the record another version": ("applied", "BEFORE INSERT", "NEW.version := 99; RETURN NEW;"),
    "trigger gives the record another hash": ("applied", "BEFORE INSERT", "NEW.sha256 := 'none'; RETURN NEW;"),
    "trigger deletes the record": (
        "applied",
        "AFTER INSERT",
        "DELETE FROM aurora_migrations.applied WHERE version = NEW.version; RETURN NULL;",
    ),
    "rule swallows the record": ("applied", "INSERT", ""),
    "trigger swallows the attempt": ("attempts", "BEFORE INSERT", "RETURN NULL;"),
    "rule swallows the attempt": ("attempts", "INSERT", ""),
    "trigger swallows the end of the attempt": ("attempts", "BEFORE UPDATE", "RETURN NULL;"),
    "trigger gives the attempt another result": ("attempts", "BEFORE UPDATE", "NEW.result := 'failed'; RETURN NEW;"),
    "rule swallows the end of the attempt": ("attempts", "UPDATE", ""),
}
UNITS_KEPT_OUT = {
    "trigger swallows the unit": ("units", "BEFORE INSERT", "RETURN NULL;"),
    "trigger gives the unit another hash": ("units", "BEFORE INSERT", "NEW.tokens := 'none'; RETURN NEW;"),
    "trigger deletes the unit": ("units", "AFTER INSERT", "DELETE FROM aurora_migrations.units; RETURN NULL;"),
    "rule swallows the unit": ("units", "INSERT", ""),
}


def keep_out(database: Database, table: str, when: str, does: str) -> str:
    """Creates a trigger or, where there is nothing for it to do, a rule; returns its kind."""
    made = TRIGGER.format(when=when, table=table, does=does) if does else RULE.format(on=when, table=table)
    database.execute(made)
    return "Trigger" if does else "Rule"


def test_file_whose_record_is_kept_out_of_the_history_is_rolled_back(database, migrations, subtests) -> None:
    write_steps(migrations, 1)
    apply(database, migrations)
    before = records(database)
    write_steps(migrations, 2)
    for name, what in KEPT_OUT.items():
        with subtests.test(name):
            kind = keep_out(database, *what)
            error = refused(MigrationFailed, database, migrations)
            assert error.message.startswith("002_step.sql: ")
            assert (
                error.cause == f"{kind} keep_out on aurora_migrations.{what[0]} may discard or change what is written."
            )
            assert (records(database), exists(database, "t002")) == (before, False)
            [drop] = re.findall(r"DROP \w+ keep_out ON [^;]+;", error.solution)
            database.execute(drop)
    assert labels(apply(database, migrations)) == ["002"]
    assert ask(database, "SELECT step FROM ledger ORDER BY step") == [("001",), ("002",)]


def test_unit_whose_record_is_kept_out_of_the_history_is_rolled_back(database, migrations, subtests) -> None:
    write_steps(migrations, 1)
    apply(database, migrations)
    migrations.write("002_parts.sql", PARTS)
    for name, what in UNITS_KEPT_OUT.items():
        with subtests.test(name):
            kind = keep_out(database, *what)
            assert "keep_out on aurora_migrations.units" in refused(MigrationFailed, database, migrations).cause
            assert tables(database) == ["ledger", "t001"]
            assert units(database)[-1] == ("failed", 0)
            database.execute(f"DROP {kind} keep_out ON aurora_migrations.units")
    assert labels(apply(database, migrations)) == ["002"]


# ---- what a file does to the records of others ----------------------------------------------------------------------

FORGE = (
    "INSERT INTO aurora_migrations.applied (version, name, sha256, sql, attempt, execution, requested_by) "
    "SELECT {version}, '{name}', sha256, sql, attempt, execution, requested_by FROM aurora_migrations.applied "
    "WHERE version = 1"
)
OTHERS = {
    "one deleted": "DELETE FROM aurora_migrations.applied WHERE version = 1",
    "all deleted": "DELETE FROM aurora_migrations.applied",
    "one forged": FORGE.format(version=4, name="004_later.sql"),
    "one deleted and one forged": f"{FORGE.format(version=0, name='000_x.sql')}; "
    "DELETE FROM aurora_migrations.applied WHERE version = 2",
    "another version": "UPDATE aurora_migrations.applied SET version = 0 WHERE version = 1",
    "another hash": "UPDATE aurora_migrations.applied SET sha256 = repeat('0', 64) WHERE version = 1",
    "hashes swapped": "UPDATE aurora_migrations.applied a SET sha256 = b.sha256 FROM aurora_migrations.applied b "
    "WHERE a.version + b.version = 3",
    "emptied": "TRUNCATE aurora_migrations.applied",
    "a table beneath it": "CREATE TABLE beneath () INHERITS (aurora_migrations.applied); "
    "INSERT INTO beneath SELECT * FROM aurora_migrations.applied",
    "a view in its place": "ALTER TABLE aurora_migrations.applied RENAME TO kept; "
    "CREATE VIEW aurora_migrations.applied AS SELECT * FROM aurora_migrations.kept WHERE version > 1",
    "behind a savepoint": "SAVEPOINT s; DELETE FROM aurora_migrations.applied WHERE version = 1; RELEASE s",
    "in a block": "DO $$ BEGIN DELETE FROM aurora_migrations.applied WHERE version = 1; END $$",
    "by a trigger": "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN "
    "DELETE FROM aurora_migrations.applied WHERE version = 1; RETURN NULL; END $f$; "
    "CREATE TRIGGER t AFTER INSERT ON t001 EXECUTE FUNCTION f(); INSERT INTO t001 VALUES (1)",
    "by a trigger at the end": "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN "
    "DELETE FROM aurora_migrations.applied WHERE version = 1; RETURN NULL; END $f$; "
    "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON aurora_migrations.applied DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION f()",
    "its attempt deleted": "DELETE FROM aurora_migrations.attempts WHERE result IS NULL",
    "the table dropped": "DROP TABLE aurora_migrations.applied",
    "the schema dropped": "DROP SCHEMA aurora_migrations CASCADE",
}


@pytest.fixture
def two(database: Database, migrations: Migrations) -> Migrations:
    """Two migrations that are applied."""
    write_steps(migrations, 2)
    apply(database, migrations)
    return migrations


def test_file_that_changes_the_records_of_others_is_rolled_back_at_its_end(database, two, subtests) -> None:
    before = records(database)
    for name, statements in OTHERS.items():
        with subtests.test(name):
            two.write("003_tampers.sql", f"CREATE TABLE t003 ();\n{statements};\n")
            error = refused(MigrationFailed, database, two)
            assert "003_tampers.sql: " in error.message
            assert error.state == ROLLED_BACK
            assert (records(database), exists(database, "t003")) == (before, False)
    two.write("003_tampers.sql", "CREATE TABLE t003 ();\n")
    assert labels(apply(database, two)) == ["003"]


def test_unit_that_changes_the_records_of_others_is_rolled_back_and_those_before_it_stay(database, two) -> None:
    before = records(database)
    for number, statements in enumerate((OTHERS["one deleted"], OTHERS["one forged"], OTHERS["another hash"])):
        two.write("003_tampers.sql", f"CREATE TABLE a ();\nBEGIN;\n{statements};\nCOMMIT;\nCREATE TABLE c ();\n")
        error = refused(MigrationFailed, database, two)
        assert "unit 1 is applied" in error.state
        assert (records(database), units(database)[-1]) == (before, ("failed", 1)), number
    two.write("003_tampers.sql", "CREATE TABLE a ();\nCREATE TABLE c ();\n")
    two.write("003_tampers.sql", "-- migration: transaction = off\nCREATE TABLE a ();\nCREATE TABLE c ();\n")
    assert labels(apply(database, two)) == ["003"]


def test_down_file_that_changes_the_records_of_others_is_rolled_back(database, two) -> None:
    before = records(database)
    down = two.dir / "002_step.down.sql"
    text = down.read_text()
    for statements in (OTHERS["one deleted"], OTHERS["one forged"], OTHERS["another hash"], OTHERS["all deleted"]):
        down.write_text(f"{text}\n{statements};")
        with pytest.raises(MigrationFailed) as caught:
            roll_back(database, two, "002", "002")
        assert "changed the schema aurora_migrations" in caught.value.cause
        assert (records(database), exists(database, "t002")) == (before, True)
    down.write_text(text)
    assert labels(roll_back(database, two, "001", "002")) == ["002", "001"]


def test_records_are_compared_from_file_to_file_of_a_run(database, migrations) -> None:
    """What the last file has left is what the next one must leave, also where a file is tried again."""
    write_steps(migrations, 4)
    migrations.write("003_step.sql", f"CREATE TABLE t003 ();\n{OTHERS['one deleted']};")
    assert refused(MigrationFailed, database, migrations).facts["applied"] == ["001", "002"]
    write_steps(migrations, 4)
    assert labels(apply(database, migrations)) == ["003", "004"]
    assert labels(roll_back(database, migrations, "001", "004")) == ["004", "003", "002", "001"]


# ---- what hides records ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["applied", "attempts"])
def test_row_level_security_hides_nothing_from_a_run(database, migrations, roles, table: str) -> None:
    runner = roles.create()
    database.execute(
        f"GRANT CREATE ON SCHEMA public TO {runner.name}; GRANT CREATE ON DATABASE {database.name} TO {runner.name}"
    )
    write_steps(migrations, 1)
    url = database.url_as(runner)
    apply(database, migrations, url=url)
    forced = f"ALTER TABLE aurora_migrations.{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    database.execute(forced)
    for work in (lambda: apply(database, migrations, url=url), lambda: entries(database, migrations, url)):
        with pytest.raises(HistoryUnreadable, match=rf"Row-level security .* aurora_migrations\.{table}\.") as caught:
            work()
        assert not caught.value.by_deployment
    assert ask(database, "SELECT count(*) FROM ledger") == [(1,)]
    [(user,)] = ask(database, "SELECT tableowner FROM pg_tables WHERE tablename = 'attempts'")
    assert user == runner.name
    with database.connect(runner) as owner:
        owner.execute(re.findall(r"ALTER TABLE [^;]+;", caught.value.solution)[0])
    assert apply(database, migrations, url=url).applied == ()


def test_missing_right_is_no_row_level_security(database, two, roles) -> None:
    with pytest.raises(InsufficientPrivilege):
        entries(database, two, database.url_as(roles.create()))


# ---- what the product doesn't write ---------------------------------------------------------------------------------


def unreadable(database: Database, migrations: Migrations) -> HistoryUnreadable:
    """Why the history can't be read: alike for a run, a rollback and a list, and nothing was changed."""
    before = attempts(database) if exists(database, "aurora_migrations.attempts") else None
    found: list[HistoryUnreadable] = []
    works = (apply, lambda *given: roll_back(*given, "002", "002"), entries)
    for work in works:
        with pytest.raises(HistoryUnreadable) as caught:
            work(database, migrations)
        found.append(caught.value)
    assert len({error.message for error in found}) == 1
    assert not found[0].by_deployment
    assert before == (attempts(database) if before is not None else None)
    return found[0]


LONG = "1" * 5_000
NO_VERSIONS = {
    "1.5": "1.5",
    "3.0": "3.0",
    "'NaN'": "NaN",
    "-7": "-7",
    LONG: f"{'1' * 60}...",
    "1e250": f"1{'0' * 59}...",
}


def test_version_that_no_file_can_have_is_named_with_its_row(database, two, subtests) -> None:
    two.write("003_new.sql", "CREATE TABLE t003 ();")
    for version, shown in NO_VERSIONS.items():
        with subtests.test(version[:9]):
            database.execute(FORGE.format(version=version, name="003_new.sql"))
            error = unreadable(database, two)
            assert f"aurora_migrations.applied has a row with the version {shown} (name '003_new.sql')" in error.message
            [look] = re.findall(r"SELECT [^;]+", error.solution)
            assert [name for _, name in ask(database, look)] == ["003_new.sql"]
            database.execute(f"DELETE FROM aurora_migrations.applied WHERE version = {version}")
    assert labels(apply(database, two)) == ["003"]


def test_version_of_an_attempt_that_no_file_can_have_is_named_with_its_row(database, two) -> None:
    two.write("003_parts.sql", "CREATE TABLE a ();\nBEGIN;\nSELECT nowhere;\nCOMMIT;\n")
    refused(MigrationFailed, database, two)
    database.execute("UPDATE aurora_migrations.attempts SET version = 3.5 WHERE version = 3")
    assert "aurora_migrations.attempts has a row with the version 3.5" in unreadable(database, two).message


def test_attempt_with_a_result_that_nobody_writes_is_unfinished(database, migrations) -> None:
    """Or its units would be run a second time."""
    migrations.write("001_a.sql", "CREATE TABLE a ();\nBEGIN;\nSELECT nowhere;\nCOMMIT;\n")
    refused(MigrationFailed, database, migrations)
    database.execute(
        "ALTER TABLE aurora_migrations.attempts DROP CONSTRAINT attempts_result_check;"
        "UPDATE aurora_migrations.attempts SET result = 'done?', error = '[1]'"
    )
    assert [(entry.state, entry.parts) for entry in entries(database, migrations)] == [("partly applied", 1)]
    with Session(database.url, "looks") as session:
        assert [(attempt.result, attempt.error) for attempt in read_attempts(session, 9)] == [("done?", None)]
    migrations.write("001_a.sql", "CREATE TABLE a ();\nBEGIN;\nSELECT 1;\nCOMMIT;\n")
    assert labels(apply(database, migrations)) == ["001"]


def test_two_records_of_one_version_are_named(database, two) -> None:
    database.execute(
        "ALTER TABLE aurora_migrations.applied DROP CONSTRAINT applied_pkey;" + FORGE.format(version=2, name="")
    )
    assert "more than one row with the version 2" in unreadable(database, two).message


def test_units_of_which_some_are_gone_are_missed(database, migrations) -> None:
    migrations.write("001_a.sql", "CREATE TABLE a ();\nCREATE TABLE b ();\nBEGIN;\nSELECT nowhere;\nCOMMIT;\n")
    refused(MigrationFailed, database, migrations)
    database.execute("DELETE FROM aurora_migrations.units WHERE number = 1")
    assert "has 1 of the 2 units of '001_a.sql'" in unreadable(database, migrations).message


COMMENTS = [
    ("NULL", "is missing"),
    ("''", "is missing"),
    ("'notes of mine'", "is 'notes of mine' instead"),
    (f"'{COMMENT}x'", f"is '{COMMENT}x' instead"),
    (f"'{COMMENT}'", f"is '{COMMENT}' instead"),
    (f"'{COMMENT}0'", f"is '{COMMENT}0' instead"),
    (f"'{COMMENT}-1'", f"is '{COMMENT}-1' instead"),
    (f"'{COMMENT}1.5'", f"is '{COMMENT}1.5' instead"),
    (f"'{COMMENT}٣'", f"is '{COMMENT}٣' instead"),
    (f"'{COMMENT}{LONG}'", f"is '{COMMENT}{'1' * (60 - len(COMMENT))}' instead"),
]


def test_comment_that_is_no_format_is_shown_with_how_to_write_it_again(database, two, subtests) -> None:
    two.write("003_new.sql", "CREATE TABLE t003 ();")
    for comment, said in COMMENTS:
        with subtests.test(comment[:60]):
            database.execute(f"COMMENT ON TABLE aurora_migrations.applied IS {comment}")
            error = unreadable(database, two)
            assert (
                error.message == f"The comment on aurora_migrations.applied, which holds the history's format, {said}."
            )
            [again] = re.findall(r"COMMENT ON [^;]+;", error.solution)
            assert f"format {len(FORMATS)}'" in again
    database.execute(again)
    assert labels(apply(database, two)) == ["003"]


SHAPES = {
    "a column renamed": ("ALTER TABLE aurora_migrations.applied RENAME COLUMN execution TO run", "execution"),
    "a column dropped": ("ALTER TABLE aurora_migrations.applied DROP COLUMN sha256", "sha256"),
    "attempts dropped": ("DROP TABLE aurora_migrations.attempts CASCADE", "aurora_migrations.attempts"),
    "units dropped": ("DROP TABLE aurora_migrations.units", "aurora_migrations.units"),
    "applied dropped": (
        "DROP TABLE aurora_migrations.applied",
        "no table aurora_migrations.applied, but aurora_migrations.accepted and aurora_migrations.attempts and "
        "aurora_migrations.intents and aurora_migrations.origins and aurora_migrations.units are there",
    ),
    "unlogged": ("ALTER TABLE aurora_migrations.applied SET UNLOGGED", "aurora_migrations.applied is UNLOGGED"),
    "a view": (
        "ALTER TABLE aurora_migrations.applied RENAME TO kept; CREATE VIEW aurora_migrations.applied AS SELECT * "
        "FROM aurora_migrations.kept WHERE false; "
        f"COMMENT ON VIEW aurora_migrations.applied IS '{COMMENT}{len(FORMATS)}'",
        "There is a view aurora_migrations.applied",
    ),
    "a text for a version": (
        "ALTER TABLE aurora_migrations.applied ALTER version TYPE text;"
        "UPDATE aurora_migrations.applied SET version = 'two' WHERE version = '2'",
        "the version two (name '002_step.sql')",
    ),
}


@pytest.mark.parametrize("shape", [name for name in SHAPES if SHAPES[name][1]])
def test_tables_that_are_not_as_they_were_made_are_unreadable(database, two, shape: str) -> None:
    statements, said = SHAPES[shape]
    database.execute(statements)
    error = unreadable(database, two)
    assert said in error.message
    assert error.solution

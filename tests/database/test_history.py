"""The history: made by the first run, written only when something happens, with every fact and no row's values."""

import hashlib
import json
import re
import traceback
from datetime import UTC, datetime, timedelta

import pytest

from aurora_migrations.compiler.folder_source import Compiler
from aurora_migrations.engine import Session, discover, history, history_format, read_overview
from aurora_migrations.engine.errors import (
    HistoryUnreadable,
    InsufficientPrivilege,
    MigrationFailed,
    NotAWriter,
)
from aurora_migrations.engine.history import SCHEMA
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.script import Job
from tests.database.helpers import (
    applied,
    apply,
    attempts,
    backends,
    entries,
    exists,
    holding_run_lock,
    labels,
    last_error,
    roll_back,
    start_runner,
    tables,
    until,
    write_steps,
)
from tests.servers import Database

CANARY = "Kestrel7741"  # in the rows of a table only, never in a file


def shape(database: Database) -> list[tuple[object, ...]]:
    """Everything in the history's schema."""
    return database.query(
        f"""
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
               obj_description(c.oid, 'pg_class')
          FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
         WHERE c.relnamespace = '{SCHEMA}'::regnamespace ORDER BY c.relname COLLATE "C", a.attnum
        """
    )


def rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the history."""
    return {
        name: database.query(f"SELECT t::text FROM {SCHEMA}.{name} t ORDER BY 1") for name in ("applied", "attempts")
    }


# Made once, and written only when something happens


def test_history_is_made_by_the_first_run_only(database, migrations) -> None:
    write_steps(migrations, 1)
    assert [entry.state for entry in entries(database, migrations)] == ["pending"]
    with Session(database.url, "looks") as session:
        assert read_overview(session, Compiler(discover(migrations.dir))).last is None
        assert history.read_attempts(session, 10) == []
    assert not database.query("SELECT 1 FROM pg_namespace WHERE nspname = %s", (SCHEMA,))

    apply(database, migrations)
    made = shape(database)
    assert {name for name, *_ in made} >= {"applied", "attempts"}
    write_steps(migrations, 2)
    apply(database, migrations)
    assert shape(database) == made


def test_run_that_is_refused_makes_no_history(database, migrations) -> None:
    write_steps(migrations, 1)
    with pytest.raises(Exception, match="no migration 9"):
        apply(database, migrations, "9")
    assert not exists(database, f"{SCHEMA}.applied")


def test_run_with_nothing_to_do_writes_nothing(database, migrations) -> None:
    write_steps(migrations, 2)
    apply(database, migrations)
    before = rows(database)
    database.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    assert apply(database, migrations).applied == ()
    assert apply(database, migrations, "001").already_applied is not None
    entries(database, migrations)
    assert rows(database) == before
    write_steps(migrations, 3)
    with pytest.raises(NotAWriter):  # so a write would have been noticed
        apply(database, migrations)


def test_reader_may_look_and_find_nothing_to_do(database, migrations, roles) -> None:
    write_steps(migrations, 2)
    apply(database, migrations)
    reader = roles.create()
    database.execute(
        f"GRANT USAGE ON SCHEMA {SCHEMA} TO {reader.name};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {reader.name};"
        f"ALTER ROLE {reader.name} SET default_transaction_read_only = on"
    )
    url = database.url_as(reader)
    assert [entry.state for entry in entries(database, migrations, url)] == ["applied", "applied"]
    assert apply(database, migrations, url=url).applied == ()
    assert apply(database, migrations, "002", url=url).already_applied is not None


def test_reader_without_any_right_is_told_so(database, migrations, roles) -> None:
    write_steps(migrations, 1)
    apply(database, migrations)
    with pytest.raises(InsufficientPrivilege):
        entries(database, migrations, database.url_as(roles.create()))


# Its facts


def test_history_knows_everything_about_a_migration_that_is_in(database, migrations) -> None:
    text = "\ufeff-- Größe: 100%\r\nCREATE TABLE \"größe\" (a text DEFAULT '$1 \\ :x ?');\r\n-- the end"
    migrations.write("017_größe-of_it.sql", text)
    before = datetime.now(UTC)
    apply(database, migrations, execution="nightly-17", requested_by="Ana <ana@example.com>")
    kept = text.removeprefix("\ufeff").replace("\r\n", "\n")
    [(version, name, sha256, sql, attempt, execution, requested_by, at)] = database.query(
        f"SELECT version, name, sha256, sql, attempt, execution, requested_by, applied_at FROM {SCHEMA}.applied"
    )
    assert (int(version), name, sql) == (17, "017_größe-of_it.sql", kept)
    assert sha256 == hashlib.sha256(kept.encode()).hexdigest()
    assert (execution, requested_by) == ("nightly-17", "Ana <ana@example.com>")
    assert database.query(f"SELECT id FROM {SCHEMA}.attempts") == [(attempt,)]
    assert before - timedelta(seconds=5) < at < datetime.now(UTC) + timedelta(seconds=5)


def test_history_knows_everything_about_an_attempt(database, migrations, roles) -> None:
    runner = roles.create("LOGIN SUPERUSER")
    write_steps(migrations, 2, "SELECT pg_sleep(0.1);")
    package = discover(migrations.dir)
    apply(database, migrations, execution="nightly-17", requested_by="ana", url=database.url_as(runner))
    roll_back(database, migrations, "002", "002", execution="undo-18", requested_by="bob")
    found = database.query(
        f"SELECT action, version::int, name, sha256, package, execution, requested_by, database_user, result, error "
        f"FROM {SCHEMA}.attempts ORDER BY id"
    )
    one, two = package.migrations
    same = package.digest, "nightly-17", "ana", runner.name, "applied", None
    assert found == [
        ("apply", 1, one.name, one.sha256, *same),
        ("apply", 2, two.name, two.sha256, *same),
        ("rollback", 2, two.name, two.sha256, package.digest, "undo-18", "bob", "postgres", "rolled back", None),
    ]
    took = f"SELECT extract(epoch FROM finished_at - started_at)::float FROM {SCHEMA}.attempts WHERE action = 'apply'"
    assert all(0.1 <= seconds < 10 for (seconds,) in database.query(took))


def test_failed_attempt_keeps_the_error_as_it_was_told(database, migrations) -> None:
    migrations.write("001_broken.sql", "SELECT 1;\nSELECT nowhere;")
    with pytest.raises(MigrationFailed) as caught:
        apply(database, migrations)
    kept = last_error(database)
    told = caught.value.to_dict()
    assert kept == {key: value for key, value in told.items() if key != "applied"}
    assert kept["error"] == "MigrationFailed"
    assert (kept["line"], kept["sqlstate"]) == (2, "42703")
    with Session(database.url, "looks") as session:
        [attempt] = history.read_attempts(session, 10)
        overview = read_overview(session, Compiler(discover(migrations.dir)))
    assert attempt.error == kept
    assert overview.last == attempt
    assert (attempt.result, attempt.finished_at is not None) == ("failed", True)
    assert json.dumps(attempt.error)


LEAKS = {
    "unique violation": "ALTER TABLE people ADD UNIQUE (kind);",
    "not null violation": "UPDATE people SET kind = NULL;",
    "check violation": "ALTER TABLE people ADD CHECK (name = '');",
    "foreign key violation": "CREATE TABLE names (name text UNIQUE);\n"
    "ALTER TABLE people ADD FOREIGN KEY (name) REFERENCES names (name);",
    "exclusion violation": "ALTER TABLE people ADD EXCLUDE (kind WITH =);",
    "deferred unique violation": "CREATE TABLE once (name text UNIQUE DEFERRABLE INITIALLY DEFERRED);\n"
    "INSERT INTO once SELECT name FROM people; INSERT INTO once SELECT name FROM people;",
    "cast to integer": "ALTER TABLE people ALTER name TYPE integer USING name::integer;",
    "cast of a value with a quote": "SELECT ('x\"' || name)::integer FROM people;",
    "cast of a value with two quotes": "SELECT ('\"' || name || '\"')::integer FROM people;",
    "cast of a value of two lines": "SELECT (name || E'\\nx')::integer FROM people;",
    "cast of a value in two lines with quotes": "SELECT (name || E'\"\\nx')::date FROM people;",
    "cast to an enum": "CREATE TYPE mood AS ENUM ('sad'); SELECT name::mood FROM people;",
    "cast to json": "SELECT name::json FROM people;",
    "cast to an array": "SELECT ('{' || name)::text[] FROM people;",
    "cast to a date": "SELECT ('2026-13-45 ' || name)::date FROM people;",
    "cast to uuid": "SELECT name::uuid FROM people;",
    "cast to inet": "SELECT name::inet FROM people;",
    "too long": "ALTER TABLE people ALTER name TYPE varchar(3);",
    "value of a column's own name": "UPDATE people SET name = 'name'; SELECT name::integer FROM people;",
    "wrong pattern": "SELECT 'x' ~ ('(' || name) FROM people;",
    "wrong time zone": "SELECT now() AT TIME ZONE name FROM people;",
    "wrong format": "SELECT to_date(name, 'YYYY-MM-DD') FROM people;",
    "wrong encoding": "SELECT convert_from(name::bytea, name) FROM people;",
    "wrong setting": "SELECT set_config('work_mem', name, true) FROM people;",
    "inside a function": "DO $$ DECLARE n integer; BEGIN SELECT name INTO n FROM people; END $$;",
    "inside a trigger": "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS\n"
    "'BEGIN RETURN NEW.name::integer; END';\n"
    "CREATE TRIGGER t BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION f(); UPDATE people SET kind = 2;",
}


def test_values_of_rows_are_told_nowhere(database, migrations, subtests) -> None:
    database.execute("CREATE TABLE people (kind integer NOT NULL, name text)")
    database.execute(f"INSERT INTO people VALUES (1, '{CANARY}'), (1, '{CANARY}')")
    for name, leak in LEAKS.items():
        with subtests.test(name):
            migrations.write("001_leaks.sql", leak)
            with pytest.raises(MigrationFailed) as caught:
                apply(database, migrations)
            assert CANARY not in str(caught.value)
            assert CANARY not in json.dumps(caught.value.to_dict())
            assert CANARY not in str(last_error(database))
            assert caught.value.facts["sqlstate"] is not None
    assert len(attempts(database)) == len(LEAKS)


def test_values_of_rows_are_not_printed_by_the_command_line(database, migrations) -> None:
    database.execute(f"CREATE TABLE people AS SELECT '{CANARY}' AS name FROM generate_series(1, 2)")
    migrations.write("001_leaks.sql", "ALTER TABLE people ADD UNIQUE (name);")
    with start_runner(database, migrations) as runner:
        out, err = runner.process.communicate(timeout=30)
    assert "23505" in out
    assert CANARY not in out + err
    [saved] = migrations.dir.parent.glob("migration-*-output.json")
    assert CANARY not in saved.read_text()


def test_values_of_rows_are_in_no_traceback(database, migrations) -> None:
    """A program that logs the error with its traceback prints the errors below it as well."""
    database.execute(f"CREATE TABLE people AS SELECT '{CANARY}' AS name FROM generate_series(1, 2)")
    migrations.write("001_leaks.sql", "ALTER TABLE people ADD UNIQUE (name);")
    with pytest.raises(MigrationFailed) as caught:
        apply(database, migrations)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_names_in_the_message_of_a_constraint_are_told(database, migrations) -> None:
    database.execute("CREATE TABLE people AS SELECT 1 AS kind FROM generate_series(1, 2)")
    migrations.write("001_unique.sql", "ALTER TABLE people ADD CONSTRAINT one_of_a_kind UNIQUE (kind);")
    with pytest.raises(MigrationFailed, match='"one_of_a_kind"'):
        apply(database, migrations)
    migrations.write("001_unique.sql", "CREATE TABLE things (kind integer NOT NULL); INSERT INTO things VALUES (NULL);")
    with pytest.raises(MigrationFailed, match='column "kind" of relation "things"'):
        apply(database, migrations)


def test_attempt_nobody_finished_is_closed_by_the_next_run_that_has_the_lock(database, migrations) -> None:
    write_steps(migrations, 2)
    apply(database, migrations, "001")
    insert = f"""
        INSERT INTO {SCHEMA}.attempts (action, version, name, sha256, package, execution, requested_by, lock_holder)
        VALUES ('apply', 2, '002_step.sql', '', '', 'died', '', 1)"""
    database.execute(insert)
    apply(database, migrations, "001")  # nothing to do: writes nothing
    assert attempts(database) == [("001", "applied"), ("002", None)]
    apply(database, migrations)
    assert attempts(database) == [("001", "applied"), ("002", "interrupted"), ("002", "applied")]


def test_row_without_the_run_lock_cant_be_written(database, migrations) -> None:
    """Whatever else goes wrong: a session that hasn't got the lock gets no record, so none of its files commits."""
    write_steps(migrations, 1)
    source = Compiler(discover(migrations.dir))
    (migration,) = source.package.migrations
    job = Job("apply", migration, source.script("apply", migration), b"", 0, source.digest, "nobody", Limits())
    with Session(database.url, "no-lock") as session:
        session.prepare_to_write()
        history_format.upgrade(session)
        intent = history.begin_attempt(session, job)
        with pytest.raises(MigrationFailed, match="lock_holder"):
            session.execute(intent[2])
    assert attempts(database) == []


# Its format


def test_older_history_is_brought_up_to_date_under_the_lock_with_its_rows(database, migrations, monkeypatch) -> None:
    write_steps(migrations, 2)
    apply(database, migrations)
    before = database.query(f"SELECT version, name, sha256, sql, attempt, execution, applied_at FROM {SCHEMA}.applied")
    formats = [
        *history_format.FORMATS,
        (
            f"ALTER TABLE {SCHEMA}.applied ADD COLUMN extra text NOT NULL DEFAULT 'old'",
            f"UPDATE {SCHEMA}.attempts SET requested_by = requested_by || '!'",
        ),
        (f"CREATE TABLE {SCHEMA}.more (id integer)",),
    ]
    monkeypatch.setattr(history_format, "FORMATS", formats)

    assert apply(database, migrations).applied == ()  # nothing to do: the old format will do
    assert not exists(database, f"{SCHEMA}.more")

    write_steps(migrations, 3)
    with holding_run_lock(database.url), pytest.raises(Exception, match="Another run"):
        apply(database, migrations, wait=0)
    assert not exists(database, f"{SCHEMA}.more")

    assert labels(apply(database, migrations)) == ["003"]
    assert exists(database, f"{SCHEMA}.more")
    after = f"SELECT version, name, sha256, sql, attempt, execution, applied_at FROM {SCHEMA}.applied"
    assert database.query(f"{after} WHERE version < 3") == before
    assert database.query(f"SELECT DISTINCT extra FROM {SCHEMA}.applied") == [("old",)]
    assert {who for (who,) in database.query(f"SELECT requested_by FROM {SCHEMA}.attempts WHERE version < 3")} == {
        "tester@here!"
    }
    with Session(database.url, "looks") as session:
        assert history_format.read_format(session) == len(formats)


def test_upgrade_that_fails_changes_nothing(database, migrations, monkeypatch) -> None:
    write_steps(migrations, 1)
    apply(database, migrations)
    made = shape(database), rows(database)
    steps = (f"ALTER TABLE {SCHEMA}.applied ADD COLUMN extra text", "SELECT 1 / 0")
    monkeypatch.setattr(history_format, "FORMATS", [*history_format.FORMATS, steps])
    write_steps(migrations, 2)
    with pytest.raises(MigrationFailed):
        apply(database, migrations)
    assert (shape(database), rows(database)) == made
    assert applied(database) == ["001"]


def test_history_of_a_newer_product_is_left_alone(database, migrations) -> None:
    write_steps(migrations, 1)
    apply(database, migrations)
    database.execute(f"COMMENT ON TABLE {SCHEMA}.applied IS 'aurora-migrations history, format 99'")
    made = shape(database), rows(database)
    write_steps(migrations, 2)
    for work in (lambda: apply(database, migrations), lambda: entries(database, migrations)):
        with pytest.raises(HistoryUnreadable, match="format 99"):
            work()
    with pytest.raises(HistoryUnreadable):
        roll_back(database, migrations, "001", "001")
    assert (shape(database), rows(database)) == made
    assert not exists(database, "t002")


@pytest.mark.parametrize(
    "foreign",
    [
        "CREATE TABLE aurora_migrations.applied (id integer)",
        "CREATE TABLE aurora_migrations.applied (id integer); COMMENT ON TABLE aurora_migrations.applied IS 'mine'",
        "CREATE VIEW aurora_migrations.applied AS SELECT 1 AS version",
        "CREATE SEQUENCE aurora_migrations.applied",
        "CREATE TABLE aurora_migrations.applied (id integer); "
        "COMMENT ON TABLE aurora_migrations.applied IS 'aurora-migrations history, format x'",
    ],
    ids=["table", "table with a comment", "view", "sequence", "format that is no number"],
)
def test_table_of_somebody_else_is_left_alone(database, migrations, foreign: str) -> None:
    write_steps(migrations, 1)
    database.execute(f"CREATE SCHEMA {SCHEMA}; {foreign}")
    made = shape(database)
    for work in (lambda: apply(database, migrations), lambda: entries(database, migrations)):
        with pytest.raises(HistoryUnreadable, match="isn't a history of this product"):
            work()
    assert shape(database) == made
    assert tables(database) == []


def test_attempts_of_somebody_else_are_left_alone(database, migrations) -> None:
    write_steps(migrations, 1)
    database.execute(f"CREATE SCHEMA {SCHEMA}; CREATE TABLE {SCHEMA}.attempts (id integer)")
    made = shape(database)
    with pytest.raises(Exception, match="attempts"):
        apply(database, migrations)
    assert shape(database) == made
    assert tables(database) == []


# Rights


def test_role_that_may_not_make_the_schema_is_told_the_grant(database, migrations, roles) -> None:
    runner = roles.create()
    database.execute(f"GRANT CREATE ON SCHEMA public TO {runner.name}")
    write_steps(migrations, 1)
    with pytest.raises(InsufficientPrivilege) as caught:
        apply(database, migrations, url=database.url_as(runner))
    assert tables(database) == []
    [grant] = re.findall(r"GRANT [^;]+;", caught.value.solution)
    database.execute(grant)
    assert labels(apply(database, migrations, url=database.url_as(runner))) == ["001"]


def test_schema_made_beforehand_is_enough_for_a_role_without_create_on_the_database(
    database, migrations, roles
) -> None:
    runner = roles.create()
    database.execute(f"GRANT CREATE ON SCHEMA public TO {runner.name}")
    write_steps(migrations, 2)
    with pytest.raises(InsufficientPrivilege) as caught:
        apply(database, migrations, url=database.url_as(runner))
    [made] = re.findall(r"CREATE SCHEMA [^;]+;", caught.value.solution)
    database.execute(made)  # as the solution says, word for word
    assert labels(apply(database, migrations, url=database.url_as(runner))) == ["001", "002"]
    assert database.query(f"SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = '{SCHEMA}'") == [
        (runner.name,)
    ]
    assert [entry.state for entry in entries(database, migrations, database.url_as(runner))] == ["applied"] * 2


def test_another_role_with_the_needed_grants_can_go_on(database, migrations, roles) -> None:
    write_steps(migrations, 1)
    apply(database, migrations)
    runner = roles.create()
    database.execute(
        f"GRANT CREATE ON SCHEMA public TO {runner.name}; GRANT ALL ON ledger TO {runner.name};"
        f"GRANT USAGE ON SCHEMA {SCHEMA} TO {runner.name};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {runner.name}"
    )
    write_steps(migrations, 2)
    (migrations.dir / "002_step.sql").write_text("CREATE TABLE t002 (id integer);")
    assert labels(apply(database, migrations, url=database.url_as(runner))) == ["002"]


# States


def test_states_are_told_for_what_they_are(database, migrations) -> None:
    for number in (1, 2, 3, 5, 6):
        migrations.write(f"00{number}_step.sql", f"CREATE TABLE t{number} (id integer);")
    apply(database, migrations)
    migrations.write("002_step.sql", "CREATE TABLE t2 (id bigint);")
    (migrations.dir / "003_step.sql").unlink()
    migrations.write("004_late.sql", "CREATE TABLE t4 (id integer);")
    assert [(entry.migration, entry.state) for entry in entries(database, migrations)] == [
        ("001", "applied"),
        ("002", "changed"),
        ("003", "missing"),
        ("004", "out of order"),
        ("005", "applied"),
        ("006", "applied"),
    ]
    for path in (*migrations.dir.glob("005*"), *migrations.dir.glob("006*")):
        path.unlink()
    assert [(entry.migration, entry.state) for entry in entries(database, migrations)][-2:] == [
        ("005", "ahead"),
        ("006", "ahead"),
    ]
    migrations.write("007_new.sql", "SELECT 7;")
    states = {entry.migration: entry for entry in entries(database, migrations)}
    assert [states[label].state for label in ("005", "006", "007")] == ["missing", "missing", "pending"]
    assert states["001"].applied_at is not None
    assert states["001"].execution == "test-1"
    assert states["007"].applied_at is None


def test_overview_says_who_is_at_work(database, migrations) -> None:
    write_steps(migrations, 1)
    with Session(database.url, "looks") as session:
        assert read_overview(session, Compiler(discover(migrations.dir))).running is None
        with holding_run_lock(database.url) as other:
            running = read_overview(session, Compiler(discover(migrations.dir))).running
            assert running is not None
            assert running.pid == other.info.backend_pid
        until(lambda: read_overview(session, Compiler(discover(migrations.dir))).running is None, "it is free again")
    assert not backends(database)

"""A file of several units that didn't get to its end: the next run goes on where it ended, each unit exactly once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from aurora_migrations.compiler.folder_source import Compiler
from aurora_migrations.engine import Session, discover, history_format
from aurora_migrations.engine.errors import (
    Cancelled,
    MigrationFailed,
    MigrationMissing,
    MigratorError,
    VerificationFailed,
)
from aurora_migrations.engine.postgres.protocol import Command, Row, Wire
from aurora_migrations.engine.postgres.session import acquire_run_lock
from tests.database.helpers import (
    applied,
    apply,
    ask,
    attempts,
    entries,
    labels,
    last_error,
    roll_back,
    tables,
    units,
)
from tests.servers import Database, Migrations

OFF = "-- migration: transaction = off\n"


def failing(database: Database, migrations: Migrations, kind: type[MigratorError] = MigrationFailed) -> MigratorError:
    with pytest.raises(kind) as caught:
        apply(database, migrations)
    return caught.value


# ---- the file was edited meanwhile ----------------------------------------------------------------------------------

FAILS = """\
CREATE TABLE {0} (id int);
BEGIN;
  INSERT INTO {0} VALUES (1);
COMMIT;
INSERT INTO {0} VALUES (2);
SELECT nowhere;
INSERT INTO {0} VALUES (4);
"""
BROKEN = "SELECT nowhere;\n"
REST = BROKEN + "INSERT INTO {0} VALUES (4);\n"
Edit = Callable[[str], str]


def instead(before: str, after: str) -> Edit:
    def edit(text: str) -> str:
        assert before in text
        return text.replace(before, after)

    return edit


ACCEPTED: dict[str, tuple[Edit, list[int]]] = {
    "corrected": (instead(BROKEN, "INSERT INTO {0} VALUES (3);\n"), [1, 2, 3, 4]),
    "taken out": (instead(BROKEN, ""), [1, 2, 4]),
    "put into a block": (instead(BROKEN, "BEGIN;\nINSERT INTO {0} VALUES (3);\nCOMMIT;\n"), [1, 2, 3, 4]),
    "two instead": (instead(BROKEN, "INSERT INTO {0} VALUES (30);\nINSERT INTO {0} VALUES (31);\n"), [1, 2, 4, 30, 31]),
    "more at the end": (lambda text: text.replace(BROKEN, "") + "INSERT INTO {0} VALUES (5)", [1, 2, 4, 5]),
    "another rest": (instead(REST, "BEGIN; INSERT INTO {0} VALUES (6); COMMIT;"), [1, 2, 6]),
    "no rest": (instead(REST, ""), [1, 2]),
    "comments": (lambda text: "-- why\n" + text.replace(BROKEN, "").replace("INSERT", "/* é */ INSERT"), [1, 2, 4]),
    "white space": (lambda text: text.replace(BROKEN, "").replace("\n", "\n\n\t").replace("(1)", "( 1 )"), [1, 2, 4]),
    "line ends": (lambda text: text.replace(BROKEN, "").replace("\n", "\r\n"), [1, 2, 4]),
    "case": (lambda text: text.replace(BROKEN, "").lower(), [1, 2, 4]),
    "BEGIN in other words": (lambda text: text.replace(BROKEN, "").replace("BEGIN;", "START TRANSACTION ;"), [1, 2, 4]),
    "options": (lambda text: "-- migration: lock_timeout = 3s\n" + text.replace(BROKEN, ""), [1, 2, 4]),
    "transaction = off": (lambda text: OFF + text.replace(BROKEN, ""), [1, 2, 4]),
}


def test_next_run_goes_on_whatever_became_of_the_rest(database, migrations, subtests) -> None:
    for number, (what, (edit, rows)) in enumerate(ACCEPTED.items(), 101):
        with subtests.test(what):
            table, file, text = f"a{number}", f"{number}_a.sql", edit(FAILS)
            migrations.write(file, FAILS.format(table))
            failing(database, migrations)
            migrations.write(file, text.format(table))
            assert labels(apply(database, migrations)) == [str(number)]
            assert [row for (row,) in ask(database, f"SELECT id FROM {table} ORDER BY id")] == rows
            assert units(database)[-2] == ("failed", 3)
            assert units(database)[-1][0] == "applied"
            kept = ask(database, "SELECT sql FROM aurora_migrations.applied WHERE version = %s", (number,))
            assert kept == [(text.format(table).replace("\r\n", "\n"),)]
            assert labels(apply(database, migrations)) == []
        if applied(database)[-1:] != [str(number)]:  # so that it stands in nobody's way
            (migrations.dir / file).unlink()


REFUSED: dict[str, Edit] = {
    "a literal": instead("VALUES (1)", "VALUES (7)"),
    "a name": instead("CREATE TABLE {0} (id", "CREATE TABLE {0} (no"),
    "a part less": instead("INSERT INTO {0} VALUES (2);\n", ""),
    "a part more": instead("BEGIN;\n", "SELECT 1;\nBEGIN;\n"),
    "a part before all": lambda text: "SELECT 1;\n" + text,
    "a part more in a block": instead("COMMIT;\n", "SELECT 1;\nCOMMIT;\n"),
    "two parts made one": instead("COMMIT;\nINSERT INTO {0} VALUES (2);", "INSERT INTO {0} VALUES (2);\nCOMMIT;"),
    "order": lambda text: "BEGIN;" + text.partition("BEGIN;")[2] + text.partition("BEGIN;")[0],
    "one transaction": lambda text: text.replace("BEGIN;\n", "").replace("COMMIT;\n", ""),
    "one block around all": lambda text: (
        f"BEGIN;\n{text.replace('BEGIN;', '').replace('COMMIT;', '').replace(BROKEN, '')}COMMIT;"
    ),
    "isolation level": instead("BEGIN;", "BEGIN ISOLATION LEVEL SERIALIZABLE;"),
    "cut before its time": lambda text: text.partition("INSERT INTO {0} VALUES (2)")[0],
    "nothing left": lambda text: "-- nothing\n",
}


@pytest.mark.parametrize("corrected", [True, False], ids=["", "failing part left as it was"])
def test_change_of_a_part_that_is_in_is_refused_and_nothing_runs(database, migrations, corrected: bool) -> None:
    migrations.write("001_a.sql", FAILS.format("a"))
    failing(database, migrations)
    for what, edit in REFUSED.items():
        text = edit(FAILS)
        migrations.write("001_a.sql", (text.replace(BROKEN, "SELECT 3;\n") if corrected else text).format("a"))
        error = failing(database, migrations, MigratorError)
        assert (what, error.name) == (what, "MigrationChanged")
        assert "partly applied (3 units" in error.message
        assert (error.facts["file"], error.facts["migration"]) == ("001_a.sql", "001")
        assert ask(database, "SELECT id FROM a ORDER BY id") == [(1,), (2,)]
    assert units(database) == [("failed", 3)]
    migrations.write("001_a.sql", FAILS.format("a").replace(BROKEN, ""))
    assert labels(apply(database, migrations)) == ["001"]
    assert ask(database, "SELECT id FROM a ORDER BY id") == [(1,), (2,), (4,)]


def test_failing_again_and_again_keeps_what_is_in(database, migrations) -> None:
    text = FAILS.format("a")
    migrations.write("001_a.sql", text)
    for _ in range(2):
        error = failing(database, migrations)
        assert (error.facts["line"], error.facts["statement"]) == (6, 6)
        assert "units 1 to 3 are applied" in error.state
    migrations.write("001_a.sql", text.replace(BROKEN, "") + "SELECT nowhere")
    assert "units 1 to 4 are applied" in failing(database, migrations).state
    migrations.write("001_a.sql", text.replace(BROKEN, "") + "INSERT INTO a VALUES (5)")
    assert labels(apply(database, migrations)) == ["001"]
    assert units(database) == [("failed", 3), ("failed", 3), ("failed", 4), ("applied", 4)]
    assert ask(database, "SELECT id FROM a ORDER BY id") == [(1,), (2,), (4,), (5,)]


@pytest.mark.parametrize("top", ["", OFF], ids=["", "transaction = off"])
def test_rest_may_go_even_if_one_part_is_left(database, migrations, top: str) -> None:
    migrations.write("001_a.sql", f"{top}CREATE TABLE a ();\nBEGIN;\n{BROKEN}COMMIT;\n")
    failing(database, migrations)
    migrations.write("001_a.sql", f"{top}CREATE TABLE a ();\n")
    assert labels(apply(database, migrations)) == ["001"]
    assert units(database) == [("failed", 1), ("applied", 1)]


def test_promises_are_checked_though_all_parts_are_in(database, migrations) -> None:
    migrations.write("001_a.sql", FAILS.format("a"))
    failing(database, migrations)
    migrations.write("001_a.sql", "-- verify: rows a = 3\n" + FAILS.replace(REST, "").format("a"))
    assert "All units of 001_a.sql are applied" in failing(database, migrations, VerificationFailed).state
    migrations.write("001_a.sql", "-- verify: rows a = 2\n" + FAILS.replace(REST, "").format("a"))
    assert [check.true for check in apply(database, migrations).applied[0].checks] == [True]
    assert units(database) == [("failed", 3), ("failed", 3), ("applied", 3)]


def test_place_of_an_error_is_that_in_the_file_as_it_is_now(database, migrations) -> None:
    migrations.write("001_a.sql", FAILS.format("a"))
    failing(database, migrations)
    migrations.write(
        "001_a.sql", "-- é\n\n" + FAILS.format("a").replace(BROKEN, "BEGIN;\n\tSELECT 'é', elsewhere;\nCOMMIT;\n")
    )
    error = failing(database, migrations)
    assert (error.facts["line"], error.facts["column"], error.facts["statement"]) == (9, 14, 7)
    assert error.facts["excerpt"] == " SELECT 'é', elsewhere;\n             ^"


def test_files_after_the_resumed_one_are_applied_too(database, migrations) -> None:
    migrations.write("001_a.sql", FAILS.format("a"))
    migrations.write("002_b.sql", FAILS.format("b").replace(BROKEN, ""))
    failing(database, migrations)
    migrations.write("001_a.sql", FAILS.format("a").replace(BROKEN, ""))
    assert labels(apply(database, migrations)) == ["001", "002"]
    assert ask(database, "SELECT id FROM b ORDER BY id") == [(1,), (2,), (4,)]


# ---- settings of the units that are in ------------------------------------------------------------------------------


def resumed(database: Database, migrations: Migrations, before: str, rest: str, number: int = 1) -> None:
    """Runs `before`, fails, and runs the rest in a session of its own."""
    file = f"{number:03}_a.sql"
    migrations.write(file, f"{OFF}{before}\nSELECT nowhere;\n")
    failing(database, migrations)
    migrations.write(file, f"{OFF}{before}\n{rest}\n")
    assert labels(apply(database, migrations)) == [f"{number:03}"]


def setting(name: str, table: str = "t") -> str:
    return f"CREATE TABLE public.{table} AS SELECT current_setting('{name}') AS value;"


SETTINGS = [
    ("SET search_path = s;", "search_path", "s"),
    ("SET search_path TO s -- why\n;\nSET work_mem = '5MB';", "work_mem", "5MB"),
    ("SET search_path = s /* why */ ;\nSET work_mem = '5MB';", "search_path", "s"),
    ("BEGIN;\nSELECT 1;\nSET work_mem = '5MB';\nCOMMIT;", "work_mem", "5MB"),
    ("SET work_mem = '5MB';\nRESET work_mem;", "work_mem", "4MB"),
    ("SET work_mem = '5MB';\nRESET ALL;", "work_mem", "4MB"),
    ("SET work_mem = '5MB';\nBEGIN;\nSET LOCAL work_mem = '7MB';\nCOMMIT;", "work_mem", "5MB"),
    ("BEGIN;\nSET TRANSACTION ISOLATION LEVEL SERIALIZABLE;\nCOMMIT;", "transaction_isolation", "read committed"),
    ("SET TIME ZONE 'Asia/Tokyo';", "timezone", "Asia/Tokyo"),
    ("SET my.own = 'it''s; é';", "my.own", "it's; é"),
    ("SET lock_timeout = '7s';", "lock_timeout", "7s"),
    ("SET statement_timeout = '70s';", "statement_timeout", "70s"),
    ("SELECT pg_catalog.set_config('search_path', 's', false);", "search_path", "s"),
]


def test_settings_hold_for_the_resumed_rest(database, migrations, subtests) -> None:
    for number, (before, name, value) in enumerate(SETTINGS, 1):
        with subtests.test(before):
            resumed(database, migrations, before, setting(name, f"t{number}"), number)
            assert ask(database, f"SELECT value FROM public.t{number}") == [(value,)]


def test_setting_again_does_nothing_else_again(database, migrations, subtests) -> None:
    database.execute(
        "CREATE TABLE done (a int); "
        "CREATE FUNCTION once(a int) RETURNS void LANGUAGE sql AS 'INSERT INTO public.done VALUES (a)'"
    )
    statements = [
        "WITH x AS (INSERT INTO public.done VALUES ({})) SELECT set_config('search_path', 's', false);",
        "INSERT INTO public.done VALUES ({}) RETURNING set_config('search_path', 's', false);",
        "SELECT set_config('search_path', 's', false), public.once({});",
        "SELECT public.once({}), 'not set_config';",
        "SELECT public.once({}) /* set_config */;",
    ]
    for number, statement in enumerate(statements, 1):
        with subtests.test(statement):
            resumed(database, migrations, statement.format(number), "SELECT 1;", number)
            assert ask(database, "SELECT count(*) FROM done WHERE a = %s", (number,)) == [(1,)]


def test_limits_of_the_file_hold_for_the_resumed_rest(database, migrations) -> None:
    text = "-- migration: lock_timeout = 3s\nCREATE TABLE a ();\nBEGIN;\n{}\nCOMMIT;"
    migrations.write("001_a.sql", text.format("SELECT nowhere;"))
    failing(database, migrations)
    migrations.write("001_a.sql", text.format(setting("lock_timeout")))
    apply(database, migrations)
    assert ask(database, "SELECT value FROM t") == [("3s",)]


def test_settings_of_a_resumed_file_do_not_reach_the_next_one(database, migrations) -> None:
    migrations.write("002_b.sql", setting("search_path"))
    migrations.write("001_a.sql", f"{OFF}SET search_path = s;\nSELECT nowhere;\n")
    failing(database, migrations)
    migrations.write("001_a.sql", f"{OFF}SET search_path = s;\nSELECT 1;\n")
    assert labels(apply(database, migrations)) == ["001", "002"]
    assert ask(database, "SELECT value FROM public.t") == [('"$user", public',)]


@pytest.mark.parametrize("how", ["SET ROLE {}", "SET SESSION AUTHORIZATION {}"])
def test_role_holds_for_the_resumed_rest_and_the_history_is_written_all_the_same(
    database, migrations, roles, how: str
) -> None:
    role = roles.create()
    database.execute(f"GRANT CREATE ON SCHEMA public TO {role.name}")
    resumed(database, migrations, f"{how.format(role.name)};\nCREATE TABLE a ();", "CREATE TABLE b ();")
    owners = ask(database, "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    assert owners == [("a", role.name), ("b", role.name)]


def test_setting_that_can_not_be_made_again_is_told_with_its_place(database, migrations, roles) -> None:
    role = roles.create()
    migrations.write("001_a.sql", f"{OFF}SELECT 1;\nSET ROLE {role.name};\nSELECT nowhere;\n")
    failing(database, migrations)
    roles.drop_all()
    migrations.write("001_a.sql", f"{OFF}SELECT 1;\nSET ROLE {role.name};\nSELECT 2;\n")
    error = failing(database, migrations)
    assert "does not exist" in error.message
    assert (error.facts["line"], error.facts["statement"]) == (3, 2)


# ---- what is told ----------------------------------------------------------------------------------------------------


def test_error_of_a_resumed_unit_is_recorded(database, migrations) -> None:
    migrations.write("001_a.sql", FAILS.format("a"))
    failing(database, migrations)
    assert last_error(database)["state"].startswith("001_a.sql has 5 units that commit separately")
    assert last_error(database)["line"] == 6


# ---- an older version of the product had begun it ------------------------------------------------------------------


def begun_by_format(number: int, database: Database, migrations: Migrations, done: int, action: str = "apply") -> None:
    """What a version with that format of the history leaves behind when a file fails after `done` units."""
    migration = discover(migrations.dir).migrations[0]
    script = Compiler(discover(migrations.dir)).script(action, migration)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as older:
        older.setattr(history_format, "FORMATS", history_format.FORMATS[:number])
        with Session(database.url, "older-1") as session:
            acquire_run_lock(session, 5, lambda holder: None)
            history_format.upgrade(session)
    with database.connect() as connection:
        for tried in range(1, done + 1):
            connection.execute(
                "INSERT INTO aurora_migrations.attempts (action, version, name, sha256, package, execution, "
                "requested_by, lock_holder, finished_at, result, units) "
                "VALUES (%s, 1, '001_a.sql', '', '', 'older-1', '', 0, now(), 'failed', %s)",
                (action, [unit.tokens for unit in script.units[:tried]]),
            )


@pytest.mark.parametrize("number", [2, 3])
def test_file_that_an_older_version_had_begun_is_gone_on_with(database, migrations, roles, number: int) -> None:
    text = (
        "CREATE TABLE a (id int);\nINSERT INTO a VALUES (1);\nBEGIN;\n{}INSERT INTO a VALUES (2);\nCOMMIT;\nSELECT 3;\n"
    )
    migrations.write("001_a.sql", text.format(""))
    database.execute("CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
    begun_by_format(number, database, migrations, 2)
    assert [(entry.state, entry.parts) for entry in entries(database, migrations)] == [("partly applied", 2)]
    migrations.write("001_a.sql", text.format(BROKEN))
    assert "units 1 to 2 are applied" in failing(database, migrations).state
    migrations.write("001_a.sql", text.format("").replace("(1)", "(9)"))
    assert failing(database, migrations, MigratorError).name == "MigrationChanged"
    migrations.write("001_a.sql", text.format(""))
    assert labels(apply(database, migrations)) == ["001"]
    assert ask(database, "SELECT id FROM a ORDER BY id") == [(1,), (2,)]
    assert units(database) == [("failed", 1), ("failed", 2), ("failed", 2), ("applied", 3)]


def test_down_file_that_an_older_version_had_begun_is_gone_on_with(database, migrations) -> None:
    migrations.write("001_a.sql", "CREATE TABLE a ();\nCREATE TABLE b ();\n")
    migrations.write("001_a.down.sql", f"{OFF}DROP TABLE a;\nDROP TABLE b;\n")
    begun_by_format(3, database, migrations, 1, "rollback")
    database.execute(
        "INSERT INTO aurora_migrations.applied (version, name, sha256, sql, attempt, execution, requested_by) "
        "VALUES (1, '001_a.sql', '', '', 1, 'older-1', ''); CREATE TABLE b ()"
    )
    assert labels(roll_back(database, migrations, "001", "001")) == ["001"]
    assert (tables(database), units(database)) == ([], [("failed", 1), ("rolled back", 1)])


def test_rights_on_the_history_hold_for_the_table_of_units_too(database, migrations, roles) -> None:
    """Roles that were granted the two tables of an older format."""
    runner, reader = roles.create(), roles.create()
    migrations.write("001_a.sql", "CREATE TABLE a ();\nBEGIN;\nSELECT 1;\nCOMMIT;\n")
    begun_by_format(3, database, migrations, 0)
    database.execute(
        f"GRANT CREATE ON SCHEMA public TO {runner.name};"
        f"GRANT USAGE ON SCHEMA aurora_migrations TO {runner.name}, {reader.name};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA aurora_migrations TO {runner.name};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA aurora_migrations TO {reader.name}"
    )
    apply(database, migrations)
    migrations.write("002_b.sql", "CREATE TABLE b ();\nBEGIN;\nSELECT 2;\nCOMMIT;\n")
    assert labels(apply(database, migrations, url=database.url_as(runner))) == ["002"]
    assert [entry.state for entry in entries(database, migrations, database.url_as(reader))] == ["applied"] * 2


# ---- what can't be gone on with -------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [("001", "002"), ("002", "001")], ids=["up", "down"])
def test_partly_applied_file_that_is_renumbered_is_refused(database, migrations, numbers) -> None:
    before, after = numbers
    path = migrations.write(f"{before}_a.sql", "CREATE TABLE a ();\nBEGIN;\nSELECT nowhere;\nCOMMIT;\n")
    failing(database, migrations)
    path.rename(migrations.dir / f"{after}_a.sql")
    error = failing(database, migrations, MigrationMissing)
    assert f"{before}_a.sql is partly applied (1 unit), but not in this folder" in error.message
    assert before in error.solution
    assert tables(database) == ["a"]
    assert not set(attempts(database)) - {(before, "failed"), (after, "failed")}
    (migrations.dir / f"{after}_a.sql").unlink()
    migrations.write(f"{before}_a.sql", "CREATE TABLE a ();\nBEGIN;\nCREATE TABLE b ();\nCOMMIT;\n")
    assert labels(apply(database, migrations)) == [before]


def test_partly_applied_file_that_is_gone_is_missed(database, migrations) -> None:
    path = migrations.write("001_a.sql", "CREATE TABLE a ();\nBEGIN;\nSELECT nowhere;\nCOMMIT;\n")
    migrations.write("002_b.sql", "CREATE TABLE b ();")
    failing(database, migrations)
    path.unlink()
    assert "001_a.sql is partly applied (1 unit)" in failing(database, migrations, MigrationMissing).message
    migrations.write("001_a.sql", "CREATE TABLE a ();\n-- what followed isn't needed any more\nBEGIN;\nCOMMIT;\n")
    assert labels(apply(database, migrations)) == ["001", "002"]
    assert tables(database) == ["a", "b"]


def test_state_of_a_file_that_is_partly_in_is_shown(database, migrations) -> None:
    migrations.write("001_a.sql", "CREATE TABLE a ();\nCREATE TABLE b ();\nBEGIN;\nSELECT nowhere;\nCOMMIT;\n")
    failing(database, migrations)
    (entry,) = entries(database, migrations)
    assert (entry.state, entry.parts, entry.applied_at) == ("partly applied", 2, None)


def test_what_a_part_had_left_in_its_session_is_named_when_the_rest_misses_it(database, migrations) -> None:
    text = "CREATE TEMP TABLE work (id int);\nPREPARE q AS SELECT 1;\nBEGIN;\n{}EXECUTE q;\nCOMMIT;\n"
    migrations.write("001_a.sql", text.format("SELECT nowhere;\n"))
    assert "gone" not in failing(database, migrations).cause
    migrations.write("001_a.sql", text.format(""))
    error = failing(database, migrations)
    assert error.facts["sqlstate"] == "26000"
    assert "is gone: line 1 made a temporary table, line 2 made a prepared statement." in error.cause


def test_ctrl_c_between_two_parts_stops_there(database, migrations) -> None:
    migrations.write("001_a.sql", "CREATE TABLE a ();\nBEGIN;\nCREATE TABLE b ();\nCOMMIT;\n")
    original = Wire.execute_pipeline

    def pressed(wire: Wire, commands: Sequence[Command], *more: Any, **ahead: Any) -> list[list[Row]]:
        answers = original(wire, commands, *more, **ahead)
        if any("INTO aurora_migrations.units (" in command.sql for command in commands):
            wire.interrupted = True  # as Ctrl-C leaves it that came while the first part was committing
        return answers

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Wire, "execute_pipeline", pressed)
        error = failing(database, migrations, Cancelled)
    assert "between two units" in error.message
    assert "unit 1 is applied" in error.state
    assert tables(database) == ["a"]
    assert labels(apply(database, migrations)) == ["001"]

"""Apply stops in time and goes on in the next call."""

from __future__ import annotations

import threading
import time

import pytest

from aurora_migrations.engine.errors import (
    AnotherRunInProgress,
    LockTimeout,
    MigrationFailed,
    StatementTimeout,
)
from aurora_migrations.engine.steps.step import RESERVE
from tests.database.helpers import agreed, applied, ask, backend, holding, holding_run_lock, tables, write_steps
from tests.functions.helpers import Context, Machine, story

pytestmark = pytest.mark.alone


def short(milliseconds: float) -> Context:
    """A call that leaves its files so much time."""
    return Context(timeout=RESERVE + milliseconds)


@pytest.fixture
def slow(machine: Machine) -> Machine:
    """Five files of 300 ms."""
    write_steps(machine.migrations, 5, more="SELECT pg_sleep(0.3);\n")
    machine.write_manifest()
    return machine


# ---- between files --------------------------------------------------------------------------------------------------


def test_apply_stops_between_files_and_says_what_remains(slow, database) -> None:
    first = slow.call("apply", context=short(900))
    assert (first["outcome"], first["remaining"]) == ("more", 5 - first["applied_count"])
    assert 1 <= first["applied_count"] < 5
    assert applied(database) == [file["migration"] for file in first["applied"]]


def test_next_calls_go_on_and_the_answer_tells_of_all_of_them(slow, database) -> None:
    answer = slow.run({}, contexts=[short(900)] * 5)
    assert len(slow.calls) >= 2
    assert [call["outcome"] for call in slow.calls[:-1]] == ["more"] * (len(slow.calls) - 1)
    assert slow.calls[-1]["applied_count"] == 5
    assert [file["migration"] for file in answer["applied"]] == ["001", "002", "003", "004", "005"]
    assert answer["message"] == "5 migrations executed successfully, 001 to 005"
    assert agreed(database) == ["001", "002", "003", "004", "005"]


def test_first_file_begins_however_little_time_is_left(slow) -> None:
    assert slow.call("apply", context=short(500))["applied_count"] == 1


def test_target_is_reached_over_several_calls(slow, database) -> None:
    answer = slow.run({"target": "003"}, contexts=[short(600)] * 3)
    assert (answer["migration"], answer["message"]) == ("003", "Migration 003 executed successfully")
    assert applied(database) == ["001", "002", "003"]


def test_rollback_goes_on_where_a_call_stopped(slow, database) -> None:
    slow.run({})
    for path in slow.migrations.dir.glob("*.down.sql"):
        path.write_text(path.read_text() + "SELECT pg_sleep(0.3);\n")
    slow.write_manifest()
    slow.execution = "undo"
    answer = slow.run({"action": "rollback", "target": "002", "confirm": "005"}, contexts=[short(700)] * 4)
    assert len(slow.calls) >= 2
    assert answer["message"] == "Migrations 005, 004, 003, 002 rolled back successfully"
    assert agreed(database) == ["001"]


def test_call_whose_answer_was_lost_is_in_the_answer_all_the_same(slow) -> None:
    slow.call("apply", context=short(700))  # and the state machine never hears of it
    answer = slow.run({})
    assert [file["migration"] for file in answer["applied"]] == ["001", "002", "003", "004", "005"]


def test_failure_names_what_earlier_calls_had_applied(slow) -> None:
    slow.migrations.write("005_step.sql", "SELECT nothing;")
    package = slow.write_manifest()
    first = slow.call("apply", context=short(600), package=package)
    assert first["outcome"] == "more"
    told = slow.refused("apply", MigrationFailed, package=package, so_far=first)
    assert told["applied"] == ["001", "002", "003", "004"]


# ---- within a file --------------------------------------------------------------------------------------------------


def test_statement_ends_before_the_call_does(machine, database) -> None:
    machine.migrations.write("001_a.sql", "CREATE TABLE a (id int);\nSELECT pg_sleep(60);")
    package = machine.write_manifest()
    began = time.monotonic()
    told = machine.refused("apply", StatementTimeout, package=package, context=short(1_500))
    assert time.monotonic() - began < 5
    assert "The time limit of the apply function ended the statement" in told["cause"]
    assert "longer timeout" in told["solution"]
    assert tables(database) == []


@pytest.mark.parametrize(("timeout", "advice"), [(900_000, "statement_timeout = 2s`"), (RESERVE + 1_200, None)])
def test_more_time_is_advised_only_where_the_call_has_it(machine, timeout: float, advice: str | None) -> None:
    machine.variables.update(STATEMENT_TIMEOUT_MS="600", LOCK_TIMEOUT_MS="100")
    machine.migrations.write("001_a.sql", "SELECT pg_sleep(60);")
    package = machine.write_manifest()
    told = machine.refused("apply", StatementTimeout, package=package, context=Context(timeout))
    assert ("statement_timeout =" in told["solution"]) == (advice is not None)
    assert (advice or "Split the work into several files or batches.") in told["solution"]


def test_limit_that_the_file_sets_itself_is_told_as_such(machine) -> None:
    machine.migrations.write("001_a.sql", "SET statement_timeout = '300ms';\nSELECT pg_sleep(60);")
    told = machine.refused("apply", StatementTimeout, package=machine.write_manifest())
    assert "that the file itself set" in told["cause"]
    assert told["solution"].startswith("Raise it where the file sets it, or split the work")


def test_file_that_had_only_the_rest_of_a_call_gets_a_whole_one(machine, database) -> None:
    machine.migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    machine.migrations.write("002_b.sql", "CREATE TABLE b (id int);\nSELECT pg_sleep(1.3);")
    machine.write_manifest()
    machine.run({}, contexts=[short(1_250)])
    assert [(call["outcome"], call["applied_count"]) for call in machine.calls] == [("more", 1), ("done", 2)]
    assert machine.calls[0]["remaining"] == 1
    assert tables(database) == ["a", "b"]


def test_limit_of_the_file_itself_is_its_own_fault(machine) -> None:
    limits = "-- migration: lock_timeout = 100ms\n-- migration: statement_timeout = 200ms\n"
    machine.migrations.write("001_a.sql", f"{limits}SELECT pg_sleep(60);")
    package = machine.write_manifest()
    told = machine.refused("apply", StatementTimeout, package=package)
    assert "200 ms" in told["cause"]


def test_statements_that_are_short_each_but_not_together_end_in_time_too(machine, database) -> None:
    machine.migrations.write("001_a.sql", "CREATE TABLE a (id int);\n" + "SELECT pg_sleep(1);\n" * 30)
    package = machine.write_manifest()
    began = time.monotonic()
    told = machine.refused("apply", StatementTimeout, package=package, context=short(1_500))
    assert time.monotonic() - began < 6
    assert "The time limit of the apply function ended the statement" in told["cause"]
    assert tables(database) == []


def test_wait_for_another_run_leaves_time_to_say_so(slow, database) -> None:
    slow.variables["LOCK_WAIT_MS"] = "600000"
    began = time.monotonic()
    with holding_run_lock(database.url):
        slow.refused("apply", AnotherRunInProgress, context=short(1_000))
    assert time.monotonic() - began < 5


# ---- others in the way ----------------------------------------------------------------------------------------------


def test_others_locks_are_waited_out_and_the_answer_tells_whose_they_were(machine, database) -> None:
    database.execute("CREATE TABLE a (id int)")
    machine.migrations.write("001_a.sql", "ALTER TABLE a ADD COLUMN x int;")
    machine.write_manifest()
    with holding(database.url, "SELECT FROM a") as other:
        threading.Timer(1.0, other.close).start()
        answer = machine.run({})
    for file in (machine.calls[0]["applied"][0], answer["applied"][0]):
        (way,) = file["in_the_way"]
        assert (way["table"], way["mode"], file["tries"]) == ("public.a", "ACCESS EXCLUSIVE", 2)
        assert "idle in transaction" in way["by"][0]
        (lock,) = file["locks"]
        assert (lock["table"], lock["mode"]) == ("a", "ACCESS EXCLUSIVE")
        assert lock["held_ms"] > 0


def test_wait_for_others_locks_ends_while_the_call_can_still_say_whose_they_are(machine, database) -> None:
    database.execute("CREATE TABLE a (id int)")
    machine.migrations.write("001_a.sql", "ALTER TABLE a ADD COLUMN x int;")
    package = machine.write_manifest()
    began = time.monotonic()
    with holding(database.url, "SELECT FROM a") as other:
        told = machine.refused("apply", LockTimeout, package=package, context=short(2_000))
        assert [blocker["pid"] for blocker in told["blockers"]] == [other.info.backend_pid]
    assert time.monotonic() - began < 3


def test_session_that_takes_a_lost_ones_place_ends_in_time_too_and_is_told(machine, database, capsys) -> None:
    machine.migrations.write("001_a.sql", "CREATE TABLE a (id int);\n" + "SELECT pg_sleep(1);\n" * 30)
    package = machine.write_manifest()
    began = time.monotonic()
    killer = threading.Thread(
        target=lambda: ask(database, "SELECT pg_terminate_backend(%s)", (backend(database, "pg_sleep"),))
    )
    killer.start()
    told = machine.refused("apply", StatementTimeout, package=package, context=short(4_000))
    killer.join()
    assert time.monotonic() - began < 8
    assert "The time limit of the apply function ended the statement" in told["cause"]
    lines = [
        line for line in story(capsys.readouterr().out) if line != "At work"
    ]  # may be told, if time is left for it
    assert lines[2:-1] == [
        "Connected",
        "Executing migration 001",
        "Connection closed",
        "Connected",
        "Connection closed",
    ]

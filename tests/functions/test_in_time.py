"""Apply stops in time and goes on in the next call; what it hands on stays small."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest

from aurora_migrations.engine.errors import (
    AnotherRunInProgress,
    InvalidInput,
    LockTimeout,
    MigrationFailed,
    StatementTimeout,
)
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.steps.step import RESERVE, Deadline
from functions.apply import handler
from tests.database.helpers import agreed, applied, ask, backend, holding, holding_run_lock, tables, write_steps
from tests.functions.helpers import Context, Machine, story

pytestmark = pytest.mark.alone

SMALL = 32 * 1024  # bytes of what a call of apply hands on


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


def test_deadline_asks_for_a_fair_share_of_time_for_a_file_that_nobody_knows() -> None:
    left = [60_000.0 + RESERVE]
    deadline = Deadline(lambda: left[0])
    left[0] = 16_000 + RESERVE
    assert deadline.allows_another_file()
    deadline.file_done(9_000)
    assert not deadline.allows_another_file()
    deadline = Deadline(lambda: left[0])
    left[0] = 3_000 + RESERVE
    assert not deadline.allows_another_file()
    left[0] = 0
    assert deadline.left > 0


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


LONG = "-- migration: statement_timeout = 20min\n"


@pytest.mark.parametrize(
    ("text", "may_detach"),
    [("CREATE TABLE a ();", True), ("VACUUM;\nCREATE TABLE a ();", False), ("CALL fill();\nCALL fill();", False)],
)
def test_file_that_allows_more_than_a_call_has_is_refused_before_it_starts(machine, text: str, may_detach) -> None:
    machine.migrations.write("001_a.sql", f"{LONG}-- migration: transaction = {'on' if may_detach else 'off'}\n{text}")
    package = machine.write_manifest()
    told = machine.refused("apply", InvalidInput, package=package)
    assert told["message"].startswith("001_a.sql allows a statement 20min, but a function call lasts 14 min")
    assert ("detach = on" in told["solution"]) == may_detach


@pytest.mark.parametrize(("option", "text"), [("detach = on", "CREATE TABLE a ();"), ("transaction = off", "VACUUM;")])
def test_file_that_outlives_its_call_may_allow_more_than_a_call_has(machine, database, option: str, text) -> None:
    machine.migrations.write("001_a.sql", f"{LONG}-- migration: {option}\n{text}")
    machine.write_manifest()
    machine.run({})
    assert applied(database) == ["001"]


def test_statements_that_are_short_each_but_not_together_end_in_time_too(machine, database) -> None:
    machine.migrations.write("001_a.sql", "CREATE TABLE a (id int);\n" + "SELECT pg_sleep(1);\n" * 30)
    package = machine.write_manifest()
    began = time.monotonic()
    told = machine.refused("apply", StatementTimeout, package=package, context=short(1_500))
    assert time.monotonic() - began < 6
    assert "The time limit of the apply function ended the statement" in told["cause"]
    assert tables(database) == []


LIMITS = [
    ("", 2_500, 700_000),
    ("-- migration: lock_timeout = 5s\n", 5_000, 700_000),
    ("-- migration: lock_timeout = 2s\n", 2_000, 700_000),
    ("-- migration: statement_timeout = 10s\n", 2_500, 10_000),
]


@pytest.mark.parametrize(("options", "lock", "statement"), LIMITS)
def test_limits_are_the_files_own_before_the_environments(machine, database, options, lock, statement) -> None:
    machine.variables |= {"LOCK_TIMEOUT_MS": "2500", "STATEMENT_TIMEOUT_MS": "700000"}
    machine.migrations.write(
        "001_a.sql",
        f"{options}CREATE TABLE a AS SELECT name, setting FROM pg_settings WHERE name ~ '^(lock|statement)_timeout$';",
    )
    machine.write_manifest()
    machine.run({})
    assert dict(ask(database, "SELECT name, setting::int FROM a")) == {
        "lock_timeout": lock,
        "statement_timeout": statement,
    }


def test_no_limit_outlasts_the_call_and_a_locks_stays_below_a_statements() -> None:
    left = [4_000.0 + RESERVE]
    deadline = Deadline(lambda: left[0])
    wanted = Limits(lock_timeout=3_600_000, statement_timeout=0, lock_wait=600_000)
    assert deadline.limits(wanted) == Limits(2_000, 4_000, lock_wait=3_000, longest=4_000)
    assert not deadline.is_over
    left[0] = 500 + RESERVE
    assert deadline.limits(wanted) == Limits(500, 1_000, lock_wait=0, longest=4_000)
    short_ones = Limits(lock_timeout=100, statement_timeout=200, lock_wait=0)
    assert deadline.limits(short_ones) == replace(short_ones, longest=4_000)
    left[0] = RESERVE
    assert deadline.is_over


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


# ---- size -----------------------------------------------------------------------------------------------------------


def test_state_stays_small_at_many_migrations(machine) -> None:
    for number in range(1, 301):
        machine.migrations.write(f"{number:05}_{'long_description_' * 5}.sql", f"CREATE TABLE {'t' * 50}{number} ();")
    machine.write_manifest()
    answer = machine.run({})
    (only,) = machine.calls
    assert only["applied_count"] == answer["applied_count"] == 300
    assert len(json.dumps(only)) < SMALL
    assert len(json.dumps(answer)) < 3 * SMALL
    assert answer["verified"]["tables_count"] == 300
    assert only["applied"][-1]["migration"] == "00300"


def test_answer_of_ten_thousand_files_before_is_no_larger(machine) -> None:
    machine.migrations.write("10001_last.sql", "SELECT 1;")
    package = machine.write_manifest()
    name = "description_" * 10
    file = {"migration": "09999", "file": f"09999_{name}.sql", "duration_ms": 12345.6, "verified": []}
    so_far = {"applied": [file] * 90, "applied_count": 10_000, "calls": 400}
    answer = machine.call("apply", package=package, so_far=so_far)
    assert (answer["applied_count"], answer["calls"]) == (10_001, 401)
    assert answer["applied"][-1]["migration"] == "10001"
    assert len(json.dumps(answer)) < SMALL


def test_handler_is_what_lambda_calls() -> None:
    assert callable(handler)

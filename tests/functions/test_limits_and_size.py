"""What a call of apply may take, and how small what it hands on is; in contrast to test_in_time.py without a clock."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from aurora_migrations.engine.errors import InvalidInput
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.steps.step import RESERVE, Deadline
from functions.apply import handler
from tests.database.helpers import applied, ask

SMALL = 32 * 1024  # bytes of what a call of apply hands on


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

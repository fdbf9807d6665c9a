"""Preflight and verify keep the environment's limits, and end before their call does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from aurora_migrations.engine.errors import LockTimeout, StatementTimeout
from aurora_migrations.engine.steps.step import RESERVE
from tests.database.helpers import holding
from tests.functions.helpers import Context, Machine
from tests.servers import Database

pytestmark = pytest.mark.alone

SLOW = "CREATE VIEW slow{n} AS SELECT pg_catalog.pg_sleep(seconds) IS NULL AS x FROM pace;\n"
IN_BOTH = pytest.mark.parametrize("step", ["preflight", "verify"])


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@pytest.fixture
def promising(machine: Machine, database: Database) -> Machine:
    """A migration that is in, with ten promises that hold for ever, on views that are fast until now."""
    database.execute("CREATE TABLE pace (seconds float8); INSERT INTO pace VALUES (0)")
    promises = "".join(f"-- verify always: rows slow{n} = 1\n" for n in range(10))
    machine.migrations.write("001_slow.sql", promises + "".join(SLOW.format(n=n) for n in range(10)))
    machine.write_manifest()
    machine.run({})
    machine.execution = "later"
    return machine


@IN_BOTH
def test_history_that_others_lock_is_waited_for_as_long_as_the_environment_says(promising, database, step) -> None:
    promising.variables |= {"LOCK_TIMEOUT_MS": "200"}
    with holding(database.url, "LOCK TABLE aurora_migrations.applied"), within(1.8):
        promising.refused(step, LockTimeout, {"action": "verify"})


@IN_BOTH
def test_history_that_takes_too_long_to_read_is_a_timeout_and_nobodys_wish(promising, database, step) -> None:
    promising.variables |= {"LOCK_TIMEOUT_MS": "200", "STATEMENT_TIMEOUT_MS": "400"}
    database.execute("ALTER TABLE aurora_migrations.attempts RENAME TO kept")
    database.execute(
        "CREATE VIEW aurora_migrations.attempts AS "
        "SELECT * FROM aurora_migrations.kept WHERE pg_catalog.pg_sleep(60) IS NOT NULL OFFSET 0"
    )
    with within(4):
        told = promising.refused(step, StatementTimeout, {"action": "verify"})
    assert "raise the environment's `limits.statement_timeout`" in told["solution"]


def test_promise_that_takes_longer_than_the_environment_allows_is_a_timeout(promising, database) -> None:
    promising.variables |= {"LOCK_TIMEOUT_MS": "200", "STATEMENT_TIMEOUT_MS": "400"}
    database.execute("UPDATE pace SET seconds = 60")
    with within(4):
        told = promising.refused("verify", StatementTimeout, {"action": "verify"})
    assert told["message"].startswith("001_slow.sql: rows slow0 = 1: canceling statement due to statement timeout")
    assert told["solution"].startswith("Expect fewer rows, or raise the environment's")
    assert told["state"].startswith("The migrations stay applied")


def test_promise_about_a_table_that_others_lock_is_not_broken_and_may_be_asked_again(promising, database) -> None:
    promising.variables |= {"LOCK_TIMEOUT_MS": "200"}
    with holding(database.url, "LOCK TABLE pace"), within(4):
        told = promising.refused("verify", LockTimeout, {"action": "verify"})
    assert told["message"].startswith("001_slow.sql: rows slow0 = 1: canceling statement due to lock timeout")
    assert promising.run({"action": "verify"})["verified"]["always_count"] == 10


def test_promise_that_outlasts_the_call_ends_with_it(promising, database) -> None:
    database.execute("UPDATE pace SET seconds = 60")
    with within(4):
        told = promising.refused("verify", StatementTimeout, {"action": "verify"}, context=Context(RESERVE + 1_500))
    assert "The time limit of the verify function ended the statement" in told["cause"]
    assert "limits.function_timeout" in told["solution"]


def test_promises_that_outlast_the_call_together_end_with_it_too(promising, database) -> None:
    """Each is short enough."""
    database.execute("UPDATE pace SET seconds = 0.6")
    with within(4):
        told = promising.refused("verify", StatementTimeout, {"action": "verify"}, context=Context(RESERVE + 1_500))
    assert "The time limit of the verify function ended the statement" in told["cause"]
    assert told["state"].startswith("The migrations stay applied")


def test_promises_that_all_fit_into_the_call_are_asked(promising, database) -> None:
    database.execute("UPDATE pace SET seconds = 0.1")
    answer = promising.call("verify", {"action": "verify"}, context=Context(RESERVE + 10_000))
    assert answer["verified"]["always_count"] == 10

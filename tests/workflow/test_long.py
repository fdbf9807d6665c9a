"""Statements that take longer than a function may run: the server goes on with them, call after call watches."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.database.helpers import holding
from tests.workflow.helpers import DATABASE, Ended, Execution, Workflow, until
from tests.workflow.test_failures import in_the_middle_of, only_posix

CALL = 12  # seconds; a call keeps 10 of them for its end
BUILD = 20  # seconds: ten times what a call has for its work
MOST_EVENTS = 25_000  # of an execution, by Step Functions' quotas
CALLS_A_WEEK = 7 * 24 * 4  # of the usual function, which has a quarter of an hour
BUILDING = "SELECT FROM pg_stat_progress_create_index"


@pytest.fixture
def busy(workflow: Workflow) -> Iterator[psycopg.Connection[Any]]:
    """A session that uses a table until its transaction ends; and a function that has two seconds for its work."""
    workflow.deploy(_001_book="CREATE TABLE book (title text);")
    workflow.run()
    with (
        workflow.configured("apply", timeout=CALL),
        holding(workflow.server.url(DATABASE), "LOCK TABLE book IN ROW EXCLUSIVE MODE") as holder,
    ):
        yield holder


def calls(workflow: Workflow, execution: Execution) -> int:
    """How often the execution has entered Apply."""
    entered = [each.get("stateEnteredEventDetails", {}).get("name") for each in workflow.history(execution.arn)]
    return entered.count("Apply")


def events_of_a_week(ended: Ended) -> float:
    """How many events a week of waiting would have, by those of this execution's calls."""
    events = len(ended.history) / ended.entered.count("Apply")
    print(f"{events:.1f} events per call")
    return events * CALLS_A_WEEK


@only_posix
def test_an_index_build_ten_times_as_long_as_a_call_is_built_once(workflow: Workflow) -> None:
    workflow.deploy(
        _001_book="CREATE TABLE book (title text);",
        _002_index="CREATE INDEX CONCURRENTLY book_title_idx ON book (title);",
        _003_after="CREATE TABLE after ();",
    )
    workflow.run({"target": "001"})
    with (
        workflow.configured("apply", timeout=CALL),
        holding(workflow.server.url(DATABASE), "LOCK TABLE book IN ROW EXCLUSIVE MODE") as holder,
    ):
        began = time.monotonic()
        execution = workflow.start()
        os.kill(in_the_middle_of(workflow, execution, "CREATE INDEX"), signal.SIGKILL)
        (index,) = until(
            lambda: workflow.query("SELECT oid FROM pg_class WHERE relname = 'book_title_idx'"), "the index"
        )
        time.sleep(max(0.0, began + BUILD - time.monotonic()))
        assert execution.status == "RUNNING"
        holder.rollback()
        ended = execution.ended()
    assert ended.status == "SUCCEEDED", ended.error
    assert ended.entered.count("Apply") > 3
    assert events_of_a_week(ended) < MOST_EVENTS
    assert workflow.query("SELECT oid FROM pg_class WHERE relname = 'book_title_idx'") == [index], "built once"
    assert workflow.query("SELECT indisvalid FROM pg_index WHERE indexrelid = 'book_title_idx'::regclass") == [(True,)]
    assert workflow.applied == ["001", "002", "003"]
    assert ended.mails == []


@only_posix
def test_a_detached_transaction_outlives_functions_that_time_out(workflow: Workflow, busy: object) -> None:
    workflow.deploy(_002_a="-- migration: detach = on\nCREATE TABLE a ();\nSELECT pg_sleep(20);\nCREATE TABLE b ();")
    execution = workflow.start()
    until(lambda: calls(workflow, execution) > 2, "two calls that ended before it")
    assert (execution.status, workflow.tables) == ("RUNNING", ["book"])
    ended = execution.ended()
    assert ended.status == "SUCCEEDED", ended.error
    assert events_of_a_week(ended) < MOST_EVENTS
    assert (workflow.applied, workflow.tables) == (["001", "002"], ["a", "b", "book"])
    (report, *_) = [line for line in ended.log if line.get("event") == "statement_running" and "holder" in line]
    assert report["statement"] == "the transaction of 002_a.sql"


BOOKS = """
    CREATE TABLE book (title text);
    INSERT INTO book SELECT repeat('x', 50) FROM generate_series(1, 3);
    CREATE INDEX book_title_idx ON book (title);
    CREATE TABLE sale (at date) PARTITION BY RANGE (at);
    CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE FUNCTION slow(text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT pg_sleep(3) IS NOT NULL';
    ALTER TABLE book ADD CONSTRAINT slow CHECK (slow(title)) NOT VALID;
"""
# A statement, what it waits for until that transaction ends, and a query with a row once it is done.
LONG = {
    "REINDEX TABLE CONCURRENTLY book": (
        "LOCK TABLE book IN ROW EXCLUSIVE MODE",
        "SELECT FROM pg_class r, pg_constraint c WHERE relname ~ 'title_idx$' AND conname = 'slow' AND r.oid > c.oid",
    ),
    "DROP INDEX CONCURRENTLY book_title_idx": (
        "LOCK TABLE book IN ROW EXCLUSIVE MODE",
        "SELECT FROM pg_class WHERE relname = 'book_title_idx' HAVING count(*) = 0",
    ),
    "ALTER TABLE sale DETACH PARTITION sale_1 CONCURRENTLY": (
        "LOCK TABLE ONLY sale IN ACCESS SHARE MODE",
        "SELECT FROM pg_inherits WHERE inhparent = 'sale'::regclass HAVING count(*) = 0",
    ),
    "VACUUM (FREEZE) book": (
        "DECLARE pin CURSOR FOR TABLE book; FETCH 1 FROM pin",
        "SELECT FROM pg_class WHERE relname = 'book' AND relallvisible > 0",
    ),
    "ALTER TABLE book VALIDATE CONSTRAINT slow": (
        "SELECT 1",
        "SELECT FROM pg_constraint WHERE convalidated AND conname = 'slow'",
    ),
}


@only_posix
@pytest.mark.timeout(600)
def test_a_long_statement_of_any_kind_outlives_functions_that_time_out(workflow: Workflow) -> None:
    """One of them, another each time; all with LONG=all in the environment."""
    chosen = list(LONG) if os.environ.get("LONG") == "all" else [random.choice(list(LONG))]
    print(chosen)
    files = {f"_{number:03}_long": f"{statement};" for number, statement in enumerate(chosen, 2)}
    workflow.deploy(_001_book=BOOKS, **files)
    workflow.run({"target": "001"})
    for number, statement in enumerate(chosen, 2):
        waits_for, done = LONG[statement]
        with workflow.configured("apply", timeout=CALL), holding(workflow.server.url(DATABASE), waits_for) as holder:
            execution = workflow.start({"target": f"{number:03}"})
            until(lambda execution=execution: calls(workflow, execution) > 2, "two calls that ended before it")
            assert (execution.status, workflow.query(done)) == ("RUNNING", []), statement
            holder.rollback()
            ended = execution.ended()
        assert ended.status == "SUCCEEDED", (statement, ended.error)
        assert (len(workflow.applied), len(workflow.query(done))) == (number, 1), statement
        assert workflow.query("SELECT FROM aurora_migrations.intents") == []


@only_posix
def test_cancel_ends_a_build_that_an_execution_waits_for(workflow: Workflow, busy: Any) -> None:
    workflow.deploy(_002_index="CREATE INDEX CONCURRENTLY book_title_idx ON book (title);")
    execution = workflow.start()
    until(lambda: calls(workflow, execution) > 1, "a call that waits")
    shown = workflow.run({"action": "status"}).output["running"]["doing"]
    assert shown.startswith("CREATE INDEX CONCURRENTLY book_title_idx: waiting for writers before build: ")
    cancelling = workflow.start({"action": "cancel"})
    until(lambda: not workflow.query(BUILDING), "the end of the build")
    busy.rollback()
    cancelled, ended = cancelling.ended(), execution.ended(mails=1)
    assert (cancelled.status, cancelled.output["action"]) == ("SUCCEEDED", "cancel"), cancelled.error
    assert cancelled.output["message"].startswith("Cancelled CREATE INDEX CONCURRENTLY book_title_idx")
    assert (ended.status, ended.error) == ("FAILED", "Cancelled")
    assert workflow.query("SELECT FROM pg_class WHERE relname = 'book_title_idx'") == []
    assert workflow.run().status == "SUCCEEDED"
    assert workflow.applied == ["001", "002"]


@only_posix
def test_a_block_whose_function_was_killed_is_resolved_by_a_person(workflow: Workflow, busy: Any) -> None:
    workflow.deploy(
        _002_fill="-- migration: transaction = off\nCREATE TABLE step (n int);\n"
        "DO $$ BEGIN INSERT INTO step VALUES (1); COMMIT; LOCK TABLE book; END $$;\n"
    )
    execution = workflow.start()
    os.kill(in_the_middle_of(workflow, execution, "DO $$"), signal.SIGKILL)
    ended = execution.ended(mails=1)
    assert (ended.status, ended.error) == ("FAILED", "InDoubt")
    assert "resolve 002 again" in ended.mails[0].body
    done = workflow.run({"action": "resolve", "target": "2", "confirm": "applied"})
    assert (done.status, done.output["message"]) == ("SUCCEEDED", "The DO of migration 002 is recorded as done")
    busy.rollback()
    assert workflow.run().status == "SUCCEEDED"
    assert (workflow.applied, workflow.query("SELECT count(*) FROM step")) == (["001", "002"], [(1,)])

"""The actions resolve and cancel, and the progress of what a call has left to the server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from aurora_migrations.engine.errors import Cancelled, InvalidInput, StatementTimeout, VerificationFailed
from aurora_migrations.engine.postgres.session import RUN_LOCK
from aurora_migrations.engine.steps.step import RESERVE
from tests.database.helpers import Task, applied, backend, exists, holding, until
from tests.functions.helpers import Context, Machine, lines
from tests.servers import Database

INDEX = "CREATE INDEX CONCURRENTLY book_idx ON book (id);"
FILL = """-- migration: transaction = off
CREATE TABLE step (n int);
DO $$ BEGIN INSERT INTO step VALUES (1); COMMIT; LOCK TABLE book; END $$;
CREATE TABLE after ();
"""
CANCEL = {"action": "cancel"}


@pytest.fixture
def busy(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A session that a build on the table waits for, until its transaction ends."""
    database.execute("CREATE TABLE book (id int)")
    with holding(database.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE") as holder:
        yield holder
        holder.rollback()
        until(lambda: not database.query("SELECT FROM pg_stat_progress_create_index"), "the end of the build")


@pytest.fixture
def building(machine: Machine, busy: object) -> Machine:
    """A call of apply has ended before its index build has."""
    machine.migrations.write("001_a.sql", INDEX)
    machine.write_manifest()
    answer = machine.call("apply", context=Context(RESERVE + 4_000))
    assert (answer["outcome"], answer["remaining"]) == ("more", 1)
    assert "waiting for writers before build" in answer["running"]
    return machine


def test_status_shows_what_was_left_to_the_server_and_whom_it_waits_for(building, capsys) -> None:
    running = building.run({"action": "status"})["running"]
    assert running["doing"].startswith("CREATE INDEX CONCURRENTLY book_idx: waiting for writers before build: ")
    assert "idle in transaction" in running["doing"]
    capsys.readouterr()
    building.call("apply", context=Context(RESERVE + 6_000))
    reports = [line for line in lines(capsys.readouterr().out) if line.get("event") == "statement_running"]
    assert 1 <= len(reports) <= 3, "two seconds apart, then four"
    assert reports[0]["statement"].startswith("CREATE INDEX CONCURRENTLY book_idx: waiting for writers before build: ")


def test_cancel_ends_what_was_left_to_the_server(building, busy, database) -> None:
    found = building.call("preflight", CANCEL)
    assert (found["next"], found["pending"]) == ("apply", 0)
    assert "running CREATE INDEX CONCURRENTLY book_idx" in found["running"]
    assert exists(database, "book_idx"), "preflight changes nothing"
    cancelling = Task(building.call, "apply", CANCEL)
    until(lambda: not database.query("SELECT FROM pg_stat_progress_create_index"), "the end of the build")
    busy.rollback()  # for the DROP INDEX CONCURRENTLY
    done = cancelling.result()
    assert (done["outcome"], done["applied_count"]) == ("done", 0)
    for holder in ("SELECT 1", f"SELECT pg_advisory_lock({RUN_LOCK})"):  # nobody, or a run that has begun since
        with holding(database.url, holder) as other:
            again = building.call("apply", CANCEL)  # as the answer was lost
            other.execute("SELECT 1")
        assert done["message"].startswith(again["message"])
    assert building.call("preflight", CANCEL)["next"] == "apply", "if another package is deployed in its middle"
    answer = building.call("verify", CANCEL, so_far=done)
    assert (answer["status"], answer["action"], answer["applied"]) == ("success", "cancel", [])
    assert answer["message"].startswith("Cancelled CREATE INDEX CONCURRENTLY book_idx: ")
    assert not exists(database, "book_idx")
    with pytest.raises(Cancelled, match="was cancelled while this run waited for its end"):
        building.call("apply")  # of the execution that had begun it
    building.execution, building.started_at = "later", "2030-01-01T00:00:00Z"
    building.run({})
    assert applied(database) == ["001"]


LONG = "-- migration: statement_timeout = {}\n-- migration: lock_timeout = 1s\n"
LASTING = [INDEX, "-- migration: detach = on\nCREATE TABLE made ();\nSELECT pg_sleep({});"]


@pytest.mark.parametrize("text", LASTING)
def test_a_limit_of_the_file_is_not_cut_to_the_time_of_a_call(machine, busy, database, text: str) -> None:
    machine.migrations.write("001_a.sql", LONG.format("20s") + text.format(5))
    machine.write_manifest()
    assert machine.call("apply", context=Context(RESERVE + 2_000))["outcome"] == "more"
    pid = backend(database, text.splitlines()[-1][:15])
    time.sleep(1)
    assert backend(database, text.splitlines()[-1][:15]) == pid, "the server goes on"
    busy.rollback()
    assert machine.call("apply")["outcome"] == "done"
    assert applied(database) == ["001"]


@pytest.mark.parametrize("text", LASTING)
def test_a_limit_of_the_file_that_ends_a_statement_between_two_calls_is_an_error(machine, busy, database, text) -> None:
    """Otherwise each call would begin it again, for ever."""
    machine.migrations.write("001_a.sql", LONG.format("3s") + text.format(60))
    machine.write_manifest()
    assert machine.call("apply", context=Context(RESERVE + 1_500))["outcome"] == "more"
    until(lambda: not database.query("SELECT FROM pg_locks WHERE locktype = 'advisory'"), "the end of the statement")
    busy.rollback()
    with pytest.raises(StatementTimeout, match=r"001_a.sql:\d took longer than statement_timeout allows \(3\.0 s\)"):
        machine.call("apply")
    assert (exists(database, "book_idx"), exists(database, "made")) == (False, False)
    assert database.query("SELECT FROM aurora_migrations.intents") == []
    machine.migrations.write("001_a.sql", text.format(0))
    machine.write_manifest()
    machine.run({})
    assert applied(database) == ["001"]


def test_nothing_to_cancel_is_refused_by_preflight(machine, database) -> None:
    machine.migrations.write("001_a.sql", "SELECT 1;")
    machine.write_manifest()
    for step in ("preflight", "apply"):
        assert machine.refused(step, InvalidInput, CANCEL)["message"] == "No run is in progress."


def test_a_lasting_expectation_of_another_file_fails_no_cancel(machine, database) -> None:
    machine.migrations.write("001_a.sql", "-- verify always: rows a = 0\nCREATE TABLE a ();")
    machine.write_manifest()
    machine.run()
    database.execute("INSERT INTO a DEFAULT VALUES")
    assert machine.call("verify", CANCEL, so_far={"message": "Cancelled it"})["message"] == "Cancelled it"
    machine.refused("verify", VerificationFailed, {"action": "verify"})


@pytest.mark.parametrize(("outcome", "steps"), [("applied", 1), ("again", 2)])
def test_a_block_in_doubt_is_resolved(machine, database, outcome: str, steps: int) -> None:
    asked = {"action": "resolve", "target": "1", "confirm": outcome}
    database.execute("CREATE TABLE book (id int)")
    machine.migrations.write("001_fill.sql", FILL)
    machine.write_manifest()
    assert machine.refused("preflight", InvalidInput, asked)["message"] == "Nothing of migration 001 is in doubt."
    with holding(database.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE"):
        run = Task(machine.call, "apply")
        blocked = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DO %'"
        ((pid,),) = until(lambda: database.query(blocked), "the block")
        database.query("SELECT pg_terminate_backend(%s)", (pid,))
        with contextlib.suppress(Exception):
            run.result()
    found = machine.call("preflight", asked)
    assert (found["next"], found["in_doubt"]) == ("apply", "DO of 001_fill.sql")
    assert database.query("SELECT count(*) FROM step") == [(1,)]
    first = machine.call("apply", asked)
    assert machine.call("apply", asked) == first, "a call whose answer was lost is repeated"
    assert machine.call("preflight", asked)["next"] == "apply", "and so is the step before, if a package was deployed"
    answer = machine.run(asked)
    done = "recorded as done" if outcome == "applied" else "to be started again from its beginning by the next run"
    assert answer["message"] == f"The DO of migration 001 is {done}"
    assert (answer["migration"], answer["action"], answer["applied"]) == ("001", "resolve", [])
    assert database.query("SELECT error ->> 'error' FROM aurora_migrations.attempts") == [("InDoubt",)]
    machine.execution = "next"
    assert machine.refused("apply", InvalidInput, asked)["message"] == "Nothing of migration 001 is in doubt."
    machine.run({})
    assert (applied(database), exists(database, "after")) == (["001"], True)
    assert database.query("SELECT count(*) FROM step") == [(steps,)]


def test_an_hour_of_progress_takes_less_than_a_hundred_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    from functions.telemetry import Telemetry

    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reported = 0
    for _ in range(4):  # calls of a quarter of an hour
        telemetry = Telemetry("apply")
        for _ in range(900):
            now[0] += 1
            reported += telemetry._is_time_for_progress()
    assert 60 < reported < 100

"""`aurora-migrations resolve` and `cancel`: they ask first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.cloud import Cloud, answering
from tests.cli.conftest import Call
from tests.cli.test_remote_run import Keyboard
from tests.cli.test_schemas import fits
from tests.database.helpers import Task, applied, holding, start_runner, until
from tests.servers import Database, Migrations

FILL = """-- migration: transaction = off
CREATE TABLE step (n int);
DO $$ BEGIN INSERT INTO step VALUES (1); COMMIT; LOCK TABLE book; END $$;
"""


@pytest.fixture
def in_doubt(database: Database, here: Migrations) -> Migrations:
    """A run was killed in a block that commits by itself."""
    database.execute("CREATE TABLE book (id int)")
    here.write("001_fill.sql", FILL)
    with holding(database.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE"), start_runner(database, here) as runner:
        blocked = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DO %'"
        until(lambda: database.query(blocked), "the block")
        runner.kill()
        until(lambda: not database.query(blocked), "its end")
    return here


def test_resolve_asks_for_its_word_and_does_what_was_typed(on: Call, in_doubt, database, monkeypatch) -> None:
    assert on("run", "--output", "json").json["error"] == "InDoubt"
    assert "Pending    0; 1 partly applied" in on("status").out
    monkeypatch.setattr("sys.stdin", Keyboard("yes\n"))
    answer = on("resolve", "1", "applied")
    assert (answer.code, "In doubt: DO of 001_fill.sql." in answer.err) == (1, True)
    assert "was not confirmed, so nothing was done" in answer.err
    monkeypatch.setattr("sys.stdin", Keyboard("applied\n"))
    answer = on("resolve", "1", "applied")
    assert (answer.code, answer.out) == (0, "The DO of migration 001 is recorded as done\n")
    assert on("run").code == 0
    assert applied(database) == ["001"]


def test_resolve_without_a_terminal_needs_the_word_twice(on: Call, in_doubt, monkeypatch) -> None:
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        answer = on("resolve", "1", "again")
        assert (answer.code, "resolve 1 again --confirm again" in answer.err) == (2, True)
        answer = on("resolve", "1", "again", "--confirm", "again", "--output", "json")
    fits("resolve", answer.json)
    fits("resolve", on("resolve", "1", "again", "--confirm", "again", "--output", "json").json, failed=True)


def test_cancel_shows_what_it_ends_and_asks(on: Call, here: Migrations, database: Database, monkeypatch) -> None:
    database.execute("CREATE TABLE book (id int)")
    here.write("001_a.sql", "CREATE INDEX CONCURRENTLY book_idx ON book (id);")
    with holding(database.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE") as holder:
        with start_runner(database, here) as runner:
            until(lambda: database.query("SELECT FROM pg_stat_progress_create_index"), "the build")
            runner.kill()
        shown = on("status").out
        assert "running CREATE INDEX CONCURRENTLY book_idx: waiting for writers before build: " in shown
        monkeypatch.setattr("sys.stdin", Keyboard("\n"))
        assert on("cancel").code == 1
        assert database.query("SELECT FROM pg_stat_progress_create_index"), "nothing was ended"
        building = "SELECT FROM pg_stat_progress_create_index"
        ending = Task(lambda: (until(lambda: not database.query(building), "its end"), holder.rollback()))
        answer = on("cancel", "--yes", "--output", "json")
        ending.result()
    fits("cancel", answer.json)
    assert answer.json["message"].endswith("dropped public.book_idx, which it had left invalid")
    fits("cancel", on("cancel", "--yes", "--output", "json").json, failed=True)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("resolve 17 again --confirm again", {"action": "resolve", "target": "17", "confirm": "again"}),
        ("cancel --yes", {"action": "cancel"}),
    ],
)
def test_an_environment_gets_them_as_actions(cloud: Cloud, call: Call, words: str, asked: dict[str, str]) -> None:
    result = {"status": "success", "migration": None, "message": "Done"}
    cloud.deploy(answering({asked["action"]: result}))
    answer = call(*words.split(), "--env", "dev")
    assert (answer.code, answer.out) == (0, "Done\n")
    (execution,) = cloud.executions()
    assert asked.items() <= execution["input"].items()

"""An apply that stalls nobody: it queues for a short time, waits outside the queue, and names who was in the way.

The margins are wide: a busy machine may take ten times as long as an idle one. `python -m benchmarks.stall` measures.
"""

from __future__ import annotations

import json
import threading
import time

import pytest

from aurora_migrations.engine.errors import LockTimeout, StatementTimeout
from aurora_migrations.engine.locks.blockers import LockWait
from aurora_migrations.engine.options import Limits
from tests.database.helpers import (
    Task,
    Watcher,
    applied,
    apply,
    ask,
    attempts,
    holding,
    labels,
    on_server,
    released_after,
    tables,
    until,
)
from tests.servers import Database

pytestmark = pytest.mark.alone

PATIENT = Limits(lock_wait=60_000)
ADD = "ALTER TABLE busy ADD COLUMN x integer;"


class Heard(Watcher):
    """Keeps what was in the way."""

    def __init__(self) -> None:
        super().__init__()
        self.in_our_way: list[LockWait] = []

    def blocked(self, wait: LockWait) -> None:
        self.in_our_way.append(wait)


class Application(threading.Thread):
    """Reads a table again and again, as an application does; keeps the longest it had to wait, in seconds."""

    def __init__(self, database: Database, table: str = "busy") -> None:
        super().__init__(daemon=True)
        self.longest = 0.0
        self.reads = 0
        self._connection = database.connect()
        self._query = f"SELECT count(*) FROM {table}"
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.005):
            began = time.monotonic()
            self._connection.execute(self._query)
            self.longest = max(self.longest, time.monotonic() - began)
            self.reads += 1

    def __enter__(self) -> Application:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join(30)
        self._connection.close()


# ---- behind a transaction that goes on for long ---------------------------------------------------------------------


def test_long_transaction_costs_the_application_one_short_stall(busy, migrations) -> None:
    migrations.write("001_add.sql", ADD)
    heard = Heard()
    with released_after(busy, "SELECT 'hunter2', 17 FROM busy", 2) as other, Application(busy) as application:
        began = time.monotonic()
        result = apply(busy, migrations, limits=PATIENT, listener=heard)
        took = time.monotonic() - began
        pid = other.info.backend_pid
    assert labels(result) == ["001"]
    assert application.longest < 0.8  # a queue of 0.1 s; the transaction is 2 s long
    assert application.reads > 20
    assert 1.0 < took < 5
    (wait,) = result.applied[0].waits
    (blocker,) = wait.blockers
    assert (wait.table, wait.mode) == ("public.busy", "ACCESS EXCLUSIVE")
    assert (blocker.pid, blocker.state, blocker.mode, blocker.kind) == (
        pid,
        "idle in transaction",
        "ACCESS SHARE",
        None,
    )
    assert blocker.query == "SELECT ?, ? FROM busy"
    assert heard.in_our_way == [wait]
    assert attempts(busy) == [("001", "failed"), ("001", "applied")]  # never twice behind the same transaction
    assert "hunter2" not in json.dumps(result.to_dict())


# ---- a hot table ----------------------------------------------------------------------------------------------------


def test_table_that_others_hold_in_turns_is_got_within_the_promise(busy, migrations) -> None:
    migrations.write("001_add.sql", f"-- migration: lock_timeout = 3s\n{ADD}")
    over = threading.Event()

    def hold_in_turns(number: int) -> None:
        with busy.connect() as connection:
            while not over.is_set():
                connection.execute(f"BEGIN; SELECT count(*) FROM busy; SELECT pg_sleep({0.1 + number * 0.05}); COMMIT")

    holders = [Task(hold_in_turns, number) for number in range(6)]
    try:
        with Application(busy) as application:
            assert labels(apply(busy, migrations, limits=PATIENT)) == ["001"]
    finally:
        over.set()
        for holder in holders:
            holder.result()
    assert application.longest < 3


# ---- a budget a transaction, not a statement ------------------------------------------------------------------------

THREE = "CREATE TABLE a (id int); CREATE TABLE b (id int); CREATE TABLE c (id int)"


@pytest.mark.parametrize(
    "text",
    ["ALTER TABLE a ADD x int;\nALTER TABLE b ADD x int;\nALTER TABLE c ADD x int;", "DROP TABLE a, b, c;"],
    ids=["three statements", "one statement"],
)
def test_waits_for_several_tables_are_one_wait(database, migrations, text: str) -> None:
    """Each is free in less than lock_timeout, all three in a row only in more; `a` would stand still for so long."""
    database.execute(THREE)
    migrations.write("001_x.sql", f"-- migration: lock_timeout = 1s\n{text}")
    lock = "LOCK TABLE {} IN ACCESS SHARE MODE"
    with (
        released_after(database, lock.format("a"), 0.7),
        released_after(database, lock.format("b"), 1.4),
        released_after(database, lock.format("c"), 2.1),
        Application(database, "a") as application,
        pytest.raises(LockTimeout),
    ):
        apply(database, migrations)
    assert application.longest < 1.7
    assert tables(database) == ["a", "b", "c"]
    assert labels(apply(database, migrations)) == ["001"]


def test_locks_are_not_held_for_longer_than_was_promised(busy, migrations) -> None:
    migrations.write("001_x.sql", f"-- migration: lock_timeout = 1s\nSELECT 1;\n{ADD}\nSELECT pg_sleep(20);\n")
    with Application(busy) as application, pytest.raises(StatementTimeout) as caught:
        apply(busy, migrations, limits=PATIENT)
    assert application.longest < 3
    assert "held locks that block the application for 1.0 s" in caught.value.message
    assert caught.value.facts["line"] == 4
    assert "lock_timeout = 30s" in caught.value.solution
    assert attempts(busy) == [("001", "failed")]  # it would be so again


def test_promise_that_takes_long_to_check_is_stopped_too(busy, migrations) -> None:
    migrations.write("001_x.sql", f"-- migration: lock_timeout = 1s\n{ADD}\n")
    migrations.write("001_x.verify.sql", "SELECT pg_sleep(20) IS NOT NULL;")
    with Application(busy) as application, pytest.raises(StatementTimeout):
        apply(busy, migrations, limits=PATIENT)
    assert application.longest < 3


def test_statement_that_holds_its_lock_for_long_by_nature_may_and_the_result_says_so(busy, migrations) -> None:
    busy.execute(
        "CREATE FUNCTION slow(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(0.012); RETURN $1; END'"
    )
    text = "CREATE INDEX slow_idx ON busy (slow(id));\nALTER TABLE busy ADD COLUMN x integer;"
    migrations.write("001_x.sql", f"-- migration: lock_timeout = 500ms\n{text}")
    result = apply(busy, migrations)
    (held,) = result.applied[0].held
    assert (held.table, held.mode, held.work) == ("busy", "SHARE", "scans it")
    assert held.held_ms > 1_000
    told = result.to_dict()["applied"][0]["locks"]  # type: ignore[index]
    assert told[0]["table"] == "busy"


def test_waited_and_held_are_told_by_table(busy, migrations) -> None:
    migrations.write("001_x.sql", f"-- migration: lock_timeout = 5s\n{ADD}\nSELECT pg_sleep(0.3);")
    with released_after(busy, "LOCK TABLE busy IN SHARE MODE", 0.8):
        result = apply(busy, migrations)
    (held,) = result.applied[0].held
    assert (held.table, held.mode, held.work) == ("busy", "ACCESS EXCLUSIVE", "")
    assert 300 < held.waited_ms < 3_000
    assert 290 < held.held_ms < 3_000


# ---- autovacuum -----------------------------------------------------------------------------------------------------


def test_autovacuum_gives_way(own_server, migrations) -> None:
    server = own_server({"autovacuum": "on", "autovacuum_naptime": "1s"})
    database = on_server(server)
    database.execute(
        "CREATE TABLE busy (id integer, note text) WITH (autovacuum_vacuum_threshold = 1, "
        "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"
    )
    database.execute("INSERT INTO busy SELECT n, repeat('x', 500) FROM generate_series(1, 20000) n")
    database.execute("DELETE FROM busy WHERE id % 2 = 0")
    at_work = "SELECT 1 FROM pg_stat_progress_vacuum WHERE relid = 'busy'::regclass"
    until(lambda: ask(database, at_work), "autovacuum is at work", 60)
    migrations.write("001_add.sql", ADD)
    began = time.monotonic()
    result = apply(database, migrations, limits=PATIENT)
    assert time.monotonic() - began < 20  # it would take minutes
    assert labels(result) == ["001"]
    kinds = [blocker.kind for wait in result.applied[0].waits for blocker in wait.blockers]
    assert kinds == ["autovacuum worker"] * len(kinds)
    assert kinds


# ---- what a review found --------------------------------------------------------------------------------------------


def test_waiting_counts_though_a_statement_takes_long_by_nature(database, migrations) -> None:
    database.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int)")
    migrations.write("001_x.sql", "-- migration: lock_timeout = 1s\nALTER TABLE b ADD FOREIGN KEY (id) REFERENCES a;")
    lock = "LOCK TABLE {} IN ROW EXCLUSIVE MODE"
    with (
        released_after(database, lock.format("b"), 0.8),
        released_after(database, lock.format("a"), 2.5),
        Application(database, "b") as application,
        pytest.raises(LockTimeout),
    ):
        apply(database, migrations)
    assert application.reads > 5  # ROW EXCLUSIVE lets readers through
    assert applied(database) == []


def test_promise_holds_again_after_a_statement_that_takes_long_by_nature(busy, migrations) -> None:
    busy.execute("CREATE TABLE other (id int)")
    text = "CREATE INDEX other_idx ON other (id);\nALTER TABLE busy ADD x int;\nSELECT pg_sleep(20);"
    migrations.write("001_x.sql", f"-- migration: lock_timeout = 1s\n{text}")
    with Application(busy) as application, pytest.raises(StatementTimeout, match=r"001_x\.sql:4:1"):
        apply(busy, migrations)
    assert application.longest < 3


def test_very_many_short_statements_are_stopped_between_two(busy, migrations) -> None:
    text = "".join(f"ALTER TABLE busy ADD c{n} int, DROP COLUMN c{n - 1};\n" for n in range(1, 1_000))
    migrations.write("001_x.sql", f"-- migration: lock_timeout = 200ms\nALTER TABLE busy ADD c0 int;\n{text}")
    with Application(busy) as application, pytest.raises((StatementTimeout, LockTimeout)):
        apply(busy, migrations)
    assert application.longest < 3


def test_mention_of_lock_timeout_sets_nothing(busy, migrations) -> None:
    text = f"SHOW lock_timeout;\nSELECT 'lock_timeout';\n{ADD}\nSELECT pg_sleep(20);"
    migrations.write("001_x.sql", f"-- migration: lock_timeout = 1s\n{text}")
    with Application(busy) as application, pytest.raises(StatementTimeout):
        apply(busy, migrations)
    assert application.longest < 3


def test_locked_history_stalls_nobody_for_longer_than_was_promised(busy, migrations) -> None:
    migrations.write("000_first.sql", "SELECT 1;")
    apply(busy, migrations)
    migrations.write("001_x.sql", f"-- migration: lock_timeout = 500ms\n{ADD}")
    with holding(busy.url, "LOCK TABLE aurora_migrations.applied IN SHARE MODE"), Application(busy) as application:
        with pytest.raises(LockTimeout):
            apply(busy, migrations)
        assert application.longest < 1.7

"""An apply that stalls nobody: it queues for a short time, waits outside the queue, and names who was in the way.

The margins are wide: a busy machine may take ten times as long as an idle one. `python -m benchmarks.stall` measures.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Sequence

import psycopg
import pytest

from functions.migrator import blockers
from functions.migrator.blockers import LockWait
from functions.migrator.errors import Cancelled, DatabaseBusy, LockTimeout, StatementTimeout
from functions.migrator.options import Limits
from functions.migrator.wire import Command, Row, Wire
from tests.database.helpers import (
    ROLLED_BACK,
    Task,
    Watcher,
    applied,
    apply,
    ask,
    at,
    attempts,
    backend,
    backends,
    exists,
    holding,
    labels,
    last_error,
    on_server,
    start_runner,
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

    def in_the_way(self, wait: LockWait) -> None:
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


@contextlib.contextmanager
def released_after(database: Database, statement: str, seconds: float) -> Iterator[psycopg.Connection[object]]:
    """Somebody else's transaction with a lock, which ends by itself after a while."""
    with holding(database.url, statement) as connection:
        timer = threading.Timer(seconds, lambda: connection.execute("ROLLBACK"))
        timer.start()
        yield connection
        timer.join()


@pytest.fixture
def busy(database: Database) -> Database:
    database.execute("CREATE TABLE busy (id integer); INSERT INTO busy SELECT generate_series(1, 100)")
    return database


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


def test_who_was_in_the_way_is_in_the_history(busy, migrations) -> None:
    migrations.write("001_add.sql", ADD)
    with holding(busy.url, "LOCK TABLE busy IN SHARE MODE") as other:
        with pytest.raises(LockTimeout) as caught:
            apply(busy, migrations, limits=Limits(lock_wait=1_000))
        pid = other.info.backend_pid
    error = caught.value
    assert f"pid {pid}" in error.message
    assert "Tried" in error.message
    assert f"pg_terminate_backend({pid})" in error.solution
    assert error.state == ROLLED_BACK
    assert error.facts["blockers"][0]["pid"] == last_error(busy)["blockers"][0]["pid"] == pid
    assert (error.facts["line"], error.facts["column"], error.facts["sqlstate"]) == (1, 1, "55P03")
    assert labels(apply(busy, migrations)) == ["001"]


def test_run_that_is_to_try_once_waits_as_long_as_was_promised(busy, migrations) -> None:
    migrations.write("001_add.sql", f"-- migration: lock_timeout = 5s\n{ADD}")
    with released_after(busy, "LOCK TABLE busy IN SHARE MODE", 1):
        assert labels(apply(busy, migrations, limits=Limits(lock_wait=0))) == ["001"]
    assert attempts(busy) == [("001", "applied")]


def test_ctrl_c_while_waiting_outside_stops_the_run(busy, migrations) -> None:
    migrations.write("001_add.sql", ADD)
    with (
        holding(busy.url, "LOCK TABLE busy IN SHARE MODE"),
        start_runner(busy, migrations, "--lock-wait", "60s") as run,
    ):
        until(lambda: exists(busy, "aurora_migrations.attempts") and ("001", "failed") in attempts(busy), "it waits")
        run.interrupt()
        code, answer = run.finish(10)
    assert (code, answer["error"]) == (1, "Cancelled")
    until(lambda: not backends(busy), "its session is gone")


def test_ctrl_c_is_not_forgotten_over_a_connection_lost_while_waiting(busy, migrations) -> None:
    migrations.write("001_add.sql", ADD)
    original, left = Wire.batch, [blockers._LEFT]

    def pressed(wire: Wire, commands: Sequence[Command]) -> list[list[Row]]:
        if left and any(command.sql == left[0] for command in commands):
            left.clear()
            wire.interrupted = True  # as Ctrl-C leaves it that came while the server was asked
            ask(busy, "SELECT pg_terminate_backend(%s)", (wire.connection.info.backend_pid,))
        return original(wire, commands)

    with holding(busy.url, "LOCK TABLE busy IN SHARE MODE"), pytest.MonkeyPatch.context() as patched:
        patched.setattr(Wire, "batch", pressed)
        with pytest.raises(Cancelled):
            apply(busy, migrations, limits=Limits(lock_wait=20_000))
    assert left == []
    assert attempts(busy)[0] == ("001", "failed")
    assert labels(apply(busy, migrations)) == ["001"]


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


def test_what_takes_long_before_the_lock_may_take_long(busy, migrations) -> None:
    migrations.write("001_x.sql", f"-- migration: lock_timeout = 500ms\nSELECT pg_sleep(1.5);\n{ADD}")
    assert labels(apply(busy, migrations)) == ["001"]


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


def test_file_that_sets_lock_timeout_itself_goes_by_that(busy, migrations) -> None:
    migrations.write("001_x.sql", f"SET LOCAL lock_timeout = '150ms';\n{ADD}\nSELECT pg_sleep(2.5);")
    with holding(busy.url, "LOCK TABLE busy IN SHARE MODE"), pytest.raises(LockTimeout):
        apply(busy, migrations)
    assert labels(apply(busy, migrations)) == ["001"]


def test_waited_and_held_are_told_by_table(busy, migrations) -> None:
    migrations.write("001_x.sql", f"-- migration: lock_timeout = 5s\n{ADD}\nSELECT pg_sleep(0.3);")
    with released_after(busy, "LOCK TABLE busy IN SHARE MODE", 0.8):
        result = apply(busy, migrations)
    (held,) = result.applied[0].held
    assert (held.table, held.mode, held.work) == ("busy", "ACCESS EXCLUSIVE", "")
    assert 300 < held.waited_ms < 3_000
    assert 290 < held.held_ms < 3_000


def test_new_tables_cost_no_second_session_and_no_round_trips(database, migrations) -> None:
    migrations.write("001_x.sql", "CREATE TABLE a (id int);\nCREATE INDEX ON a (id);\nALTER TABLE a ADD x int;")
    seen: list[int] = []
    look = at("001", lambda: seen.append(backends(database)))
    result = apply(database, migrations, listener=Watcher(executing=look))
    watch = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'aurora-migrations-watch%'"
    assert (seen, ask(database, watch)) == ([1], [(0,)])
    assert result.applied[0].held == ()


# ---- who may be seen, who may be ended ------------------------------------------------------------------------------


def test_without_the_grant_it_is_said_which_one_is_missing(busy, migrations, roles) -> None:
    role = roles.create("LOGIN")
    busy.execute(f'GRANT CREATE ON DATABASE "{busy.name}" TO {role.name}; ALTER TABLE busy OWNER TO {role.name}')
    migrations.write("001_add.sql", ADD)
    url = busy.url_as(role)
    with holding(busy.url, "LOCK TABLE busy IN SHARE MODE") as other:
        pid = other.info.backend_pid
        with pytest.raises(LockTimeout) as caught:
            apply(busy, migrations, url=url, limits=Limits(lock_wait=500))
    (blocker,) = caught.value.facts["blockers"]
    assert (blocker["pid"], blocker["query"], blocker["state"]) == (pid, None, None)
    assert "GRANT pg_read_all_stats TO" in caught.value.cause


def test_idle_transaction_in_the_way_is_ended_only_where_asked_to(busy, migrations) -> None:
    migrations.write("001_add.sql", ADD)
    with holding(busy.url, "LOCK TABLE busy IN SHARE MODE") as other:
        with pytest.raises(LockTimeout):
            apply(busy, migrations, limits=Limits(lock_wait=1_500))
        assert labels(apply(busy, migrations, limits=Limits(lock_wait=30_000, end_idle=300))) == ["001"]
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")


def test_transaction_at_work_is_never_ended(busy, migrations) -> None:
    migrations.write("001_add.sql", ADD)
    with busy.connect() as other:
        work = Task(lambda: other.execute("BEGIN; SELECT count(*) FROM busy; SELECT pg_sleep(1.5); COMMIT"))
        until(lambda: ask(busy, "SELECT 1 FROM pg_locks WHERE relation = 'busy'::regclass"), "it is at work")
        assert labels(apply(busy, migrations, limits=Limits(lock_wait=30_000, end_idle=0))) == ["001"]
        work.result()


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


# ---- other transient faults, and what isn't one ---------------------------------------------------------------------


def test_deadlock_is_tried_again(database, migrations) -> None:
    database.execute("CREATE TABLE a (id int); CREATE TABLE b (id int)")
    limits = "-- migration: lock_timeout = 20s\n"
    migrations.write("001_x.sql", f"{limits}ALTER TABLE a ADD x int;\nSELECT pg_sleep(0.5);\nALTER TABLE b ADD x int;")
    with database.connect() as other:
        other.execute("SET deadlock_timeout = '30s'")  # so that it is us whom the server ends

        def cross() -> None:
            other.execute("BEGIN; LOCK TABLE b IN SHARE MODE")
            until(
                lambda: ask(database, "SELECT 1 FROM pg_locks WHERE relation = 'a'::regclass AND granted"), "a is held"
            )
            other.execute("LOCK TABLE a IN SHARE MODE; COMMIT")

        crossing = Task(cross)
        assert labels(apply(database, migrations, limits=PATIENT)) == ["001"]
        crossing.result()
    assert {result for _, result in attempts(database)} == {"failed", "applied"}


def test_lost_connection_is_replaced_and_the_file_tried_again(database, migrations) -> None:
    database.execute("CREATE TABLE slow AS SELECT 30 AS seconds")
    migrations.write("001_x.sql", "CREATE TABLE a (id int);\nSELECT pg_sleep(seconds) FROM slow;")
    run = Task(apply, database, migrations, limits=PATIENT)
    pid = backend(database, "pg_sleep")
    database.execute("UPDATE slow SET seconds = 0")
    ask(database, "SELECT pg_terminate_backend(%s)", (pid,))
    assert labels(run.result()) == ["001"]
    assert attempts(database) == [("001", "interrupted"), ("001", "applied")]


def test_file_of_several_parts_goes_on_after_a_lost_connection(database, migrations) -> None:
    database.execute("CREATE TABLE slow AS SELECT 30 AS seconds")
    migrations.write("001_x.sql", "CREATE TABLE a (id int);\nBEGIN;\nSELECT pg_sleep(seconds) FROM slow;\nCOMMIT;")
    run = Task(apply, database, migrations, limits=PATIENT)
    pid = backend(database, "pg_sleep")
    database.execute("UPDATE slow SET seconds = 0")
    ask(database, "SELECT pg_terminate_backend(%s)", (pid,))
    assert labels(run.result()) == ["001"]
    assert "a" in tables(database)


def test_what_a_person_cancelled_is_not_tried_again(busy, migrations) -> None:
    migrations.write("001_x.sql", "SELECT pg_sleep(30);")
    run = Task(apply, busy, migrations, limits=PATIENT)
    ask(busy, "SELECT pg_cancel_backend(%s)", (backend(busy, "pg_sleep"),))
    with pytest.raises(Cancelled):
        run.result()
    assert attempts(busy) == [("001", "failed")]


def test_server_that_takes_no_connection_is_asked_again(database, migrations, roles) -> None:
    role = roles.create("LOGIN CONNECTION LIMIT 1")
    database.execute(f'GRANT CREATE ON DATABASE "{database.name}" TO {role.name}')
    url = database.url_as(role)
    migrations.write("001_x.sql", "SELECT 1;")
    with psycopg.connect(url) as only:
        with pytest.raises(DatabaseBusy):
            apply(database, migrations, url=url)
        threading.Timer(1.5, only.close).start()
        assert labels(apply(database, migrations, url=url, limits=PATIENT)) == ["001"]


def test_statement_timeout_of_the_environment_holds_for_files_that_say_nothing(database, migrations) -> None:
    migrations.write("001_x.sql", "SELECT pg_sleep(30);")
    with pytest.raises(StatementTimeout, match="57014"):
        apply(database, migrations, limits=Limits(lock_timeout=100, statement_timeout=300, lock_wait=0))
    migrations.write("001_x.sql", "-- migration: statement_timeout = 10s\nSELECT pg_sleep(0.6);")
    limits = Limits(lock_timeout=100, statement_timeout=300, lock_wait=0)
    assert labels(apply(database, migrations, limits=limits)) == ["001"]
    assert applied(database) == ["001"]


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
    text = "".join(f"ALTER TABLE busy ADD c{n} int, DROP COLUMN c{n - 1};\n" for n in range(1, 8_000))
    migrations.write("001_x.sql", f"-- migration: lock_timeout = 500ms\nALTER TABLE busy ADD c0 int;\n{text}")
    with Application(busy) as application, pytest.raises((StatementTimeout, LockTimeout)):
        apply(busy, migrations)
    assert application.longest < 3


def test_try_that_was_rolled_back_leaves_nothing_in_the_session(busy, migrations) -> None:
    text = f"PREPARE p AS SELECT 1;\nSELECT pg_advisory_lock(42), pg_advisory_lock_shared(-1, -2);\n{ADD}"
    migrations.write("001_x.sql", f"{text}\nSELECT pg_advisory_unlock(42), pg_advisory_unlock_shared(-1, -2);")
    with released_after(busy, "LOCK TABLE busy IN SHARE MODE", 1.5):
        run = Task(apply, busy, migrations, limits=PATIENT)
        until(lambda: exists(busy, "aurora_migrations.attempts") and ("001", "failed") in attempts(busy), "it waits")
        free = "SELECT pg_try_advisory_lock(42), pg_try_advisory_lock(-1, -2)"
        until(lambda: ask(busy, free) == [(True, True)], "nobody has its advisory locks")
        ask(busy, "SELECT pg_advisory_unlock_all()")
        assert labels(run.result()) == ["001"]


def test_file_of_several_parts_with_a_role_is_tried_again(busy, migrations, roles) -> None:
    role = roles.create("NOLOGIN")
    busy.execute(f"ALTER TABLE busy OWNER TO {role.name}; GRANT CREATE ON SCHEMA public TO {role.name}")
    text = f"SET ROLE {role.name};\nCREATE TABLE mine (id int);\nBEGIN;\n{ADD}\nCREATE TABLE also (id int);\nCOMMIT;\n"
    migrations.write("001_x.sql", text)
    with released_after(busy, "LOCK TABLE busy IN SHARE MODE", 1):
        assert labels(apply(busy, migrations, limits=PATIENT)) == ["001"]
    owners = ask(busy, "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename IN ('mine', 'also')")
    assert owners == [(role.name,)]


def test_connection_lost_while_waiting_outside_is_replaced(busy, migrations) -> None:
    migrations.write("001_x.sql", ADD)
    with released_after(busy, "LOCK TABLE busy IN SHARE MODE", 4):
        run = Task(apply, busy, migrations, limits=PATIENT)
        until(lambda: exists(busy, "aurora_migrations.attempts") and ("001", "failed") in attempts(busy), "it waits")
        time.sleep(0.3)
        ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND "
        ask(busy, f"{ours} application_name LIKE 'aurora-migrations%%'", ())
        assert labels(run.result()) == ["001"]


def test_frozen_runner_does_not_hold_its_locks_for_long(busy, migrations) -> None:
    busy.execute(
        "CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('x.y', "
        "current_setting('idle_in_transaction_session_timeout'), false); END $$; "
        "CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION note()"
    )
    busy.execute("CREATE TABLE noted (v text)")
    migrations.write(
        "001_x.sql", f"{ADD}\nALTER TABLE busy ADD y int;\nINSERT INTO noted SELECT current_setting('x.y');"
    )
    apply(busy, migrations)
    assert ask(busy, "SELECT v FROM noted") == [("2s",)]


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

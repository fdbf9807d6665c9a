"""A runner that dies, or is stopped by Ctrl-C, at any moment of an apply or a rollback: within two seconds the server
releases its locks and rolls back what wasn't committed, and the next run continues."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurora_migrations.engine import interrupts
from aurora_migrations.engine.errors import Cancelled
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.postgres import session
from aurora_migrations.engine.postgres.protocol import Command
from tests.database.helpers import Task, Watcher, ask, backend, backends, holding, holding_run_lock, locks, until
from tests.database.work import Moments, Work
from tests.servers import Database

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither kill -9 nor fork")

RELEASE = 2.0  # seconds in which a dead runner's locks are gone
SLEEPS = "SELECT pg_sleep(seconds) FROM tests.pace;"


def all_released(database: Database) -> None:
    """Within two seconds the server has ended what the dead runner had begun."""
    until(lambda: not backends(database), "the dead runner's session is gone", RELEASE)
    assert locks(database) == []


@pytest.fixture
def slow(work: Work) -> Work:
    """Three steps; what is slow takes 30 seconds until `at_once` is called."""
    work.write(3)
    work.database.execute("CREATE TABLE tests.busy (id integer); CREATE TABLE tests.pace AS SELECT 30.0 AS seconds")
    return work


def at_once(work: Work) -> None:
    work.database.execute("UPDATE tests.pace SET seconds = 0")


def assert_rest_is_done(work: Work) -> None:
    """The step in the middle had been interrupted; the next run does it and what is left."""
    first, *rest = work.steps
    assert work.done == [first]
    assert work.attempts == [(first, work.result), (rest[0], None)]
    at_once(work)
    assert work.rest() == rest
    assert work.attempts[1:] == [(rest[0], "interrupted"), *((step, work.result) for step in rest)]


# kill -9

LONG = {
    "sleeping": SLEEPS,
    "computing": "SELECT count(*) FROM tests.pace, generate_series(1, (seconds * 100000000)::bigint);",
    "writing": "INSERT INTO tests.busy SELECT n FROM tests.pace, generate_series(1, (seconds * 20000000)::bigint) n;",
}


@pytest.mark.parametrize("long", LONG.values(), ids=LONG)
def test_runner_killed_inside_a_file_leaves_nothing_behind(slow, long: str) -> None:
    slow.add("002", f"LOCK TABLE tests.busy IN ACCESS EXCLUSIVE MODE;\n{long}")
    with slow.fork() as runner:
        until(lambda: any("tests.busy" in row for row in locks(slow.database)), "it has its lock")
        runner.kill()
        all_released(slow.database)
    assert ask(slow.database, "SELECT count(*) FROM tests.busy") == [(0,)]
    assert_rest_is_done(slow)


def test_runner_killed_while_its_file_waits_for_a_lock_no_longer_waits(slow) -> None:
    """A waiting ACCESS EXCLUSIVE request stops everybody behind it, so it must be gone with its runner."""
    slow.add("002", "ALTER TABLE tests.busy ADD COLUMN x integer;", before="-- migration: lock_timeout = 60s")
    with holding(slow.database.url, "LOCK TABLE tests.busy IN ACCESS SHARE MODE") as other:
        with slow.fork() as runner:
            until(lambda: ask(slow.database, "SELECT FROM pg_locks WHERE NOT granted"), "it waits")
            runner.kill()
            until(lambda: not backends(slow.database), "the dead runner's session is gone", RELEASE)
        assert {row[0] for row in locks(slow.database)} == {other.info.backend_pid}
        other.execute("SET LOCAL lock_timeout = '1s'")
        assert ask(slow.database, "SELECT count(*) FROM tests.busy") == [(0,)]  # behind the request it would wait
    assert_rest_is_done(slow)


def test_runner_killed_while_it_waits_for_the_run_lock_leaves_nothing_behind(work) -> None:
    work.write(1)
    with holding_run_lock(work.database.url) as other, work.fork() as runner:
        until(lambda: backends(work.database), "it waits")
        runner.kill()
        until(lambda: not backends(work.database), "its session is gone", RELEASE)
        assert {row[0] for row in locks(work.database)} == {other.info.backend_pid}


# What a file may leave to its COMMIT; PL/pgSQL, as a trigger is
LATE = """
CREATE FUNCTION tests.late() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_sleep(seconds) FROM tests.pace; RETURN NULL; {} END';
CREATE TABLE tests.late (id integer);
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON tests.late DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tests.late();
"""


@pytest.mark.parametrize("where", ["in a promise", "at COMMIT"])
def test_runner_killed_at_the_end_of_a_file_leaves_nothing_behind(slow, where: str) -> None:
    slow.database.execute(LATE.format(""))
    if where == "in a promise":
        sleeps = "SELECT seconds FROM tests.pace WHERE pg_sleep(seconds) IS NOT NULL"
        slow.database.execute(f"CREATE VIEW tests.slow AS {sleeps}")
        slow.add("002", before="-- verify: rows tests.slow = 1")
    else:
        slow.add("002", "INSERT INTO tests.late VALUES (1);")
    with slow.fork() as runner:
        backend(slow.database, "tests.slow" if where == "in a promise" else "SET CONSTRAINTS")
        runner.kill()
        all_released(slow.database)
    assert_rest_is_done(slow)


def run_and_die(work: Work, number: int) -> bool:
    """Runs in a process that is killed while the server is at that message; False if the run had ended before."""
    dies = Moments(number, "before the answer", lambda message: os.kill(os.getpid(), signal.SIGKILL))
    with work.fork(lambda: dies.install(pytest.MonkeyPatch())) as process:
        process.join(30)
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode != 0


def test_runner_killed_at_every_message_never_leaves_a_half_done_file(work) -> None:
    """Every message of a run; one that applies makes the history, too."""
    work.write_all_kinds()
    number, reached = 0, set()
    while run_and_die(work, number := number + 1):
        all_released(work.database)
        reached.add((done := len(work.done), parts := len(work.parts)))
        assert work.parts == [1, 2][:parts]
        assert work.rest() == work.steps[done:]
        work.assert_done_once()
        work.start_over()
    assert reached >= {(0, 0), (0, 1), (0, 2), (1, 2)}
    work.assert_done_once()  # the last one wasn't killed


# Ctrl-C


@contextlib.contextmanager
def ctrl_c_taken() -> Iterator[None]:
    """In this process, as the command line takes it, also where the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interrupts.deferred():
            yield
    finally:
        signal.signal(signal.SIGINT, before)


def asleep(database: Database) -> None:
    """Waits until a run's statement is at pg_sleep, and so inside the block that catches its cancelling."""
    until(lambda: ask(database, "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'"), "it sleeps")


def test_ctrl_c_inside_a_file_cancels_its_statement_and_rolls_back(slow) -> None:
    slow.add("002", f"LOCK TABLE tests.busy;\n{SLEEPS}")
    line = slow.path("002").read_text().count("\n")
    with slow.start() as runner:
        backend(slow.database, "pg_sleep")
        runner.interrupt()
        code, answer = runner.finish(10)
    assert code == 1
    assert (answer["error"], answer["sqlstate"], answer["line"]) == ("Cancelled", "57014", line)
    assert answer[slow.result.replace(" ", "_")] == slow.steps[:1] == slow.done
    assert slow.attempts == [(slow.steps[0], slow.result), ("002", "failed")]
    all_released(slow.database)
    at_once(slow)
    assert slow.rest() == slow.steps[1:]


def test_second_ctrl_c_ends_the_run_at_once(slow) -> None:
    """For a statement that goes on though it was cancelled: its process is frozen, with the cancel request pending."""
    slow.add("002", "SELECT pg_sleep(20);")
    frozen: list[int] = []

    def press_twice() -> None:
        frozen.append(backend(slow.database, "pg_sleep"))
        os.kill(frozen[0], signal.SIGSTOP)
        until(lambda: is_stopped(frozen[0]), "it is frozen")  # or it may still take the request to cancel
        os.kill(os.getpid(), signal.SIGINT)
        until(lambda: has_pending(frozen[0], signal.SIGINT), "it was cancelled")
        os.kill(os.getpid(), signal.SIGINT)

    with ctrl_c_taken():
        pressing = Task(press_twice)
        try:
            with pytest.raises(KeyboardInterrupt):
                slow.run()
            pressing.result()
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
    all_released(slow.database)
    assert slow.done == slow.steps[:1]


def test_ctrl_c_while_the_second_session_opens_stops_the_statement(slow, monkeypatch) -> None:
    slow.add("002", "SELECT pg_sleep(20);")
    introduce, presses = session.Session._read_server, []

    def press() -> None:
        second = "application_name LIKE 'aurora-migrations-watch%' AND wait_event = 'PgSleep'"
        until(lambda: ask(slow.database, f"SELECT 1 FROM pg_stat_activity WHERE {second}"), "the second session opens")
        os.kill(os.getpid(), signal.SIGINT)

    def slowly(opened: session.Session) -> session.Server:
        """The second session's query about itself takes as long as a busy server makes it."""
        if not opened.wire.connection.info.get_parameters()["application_name"].startswith("aurora-migrations-watch"):
            return introduce(opened)
        presses.append(Task(press))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(session, "Command", lambda sql: Command(f"{sql}, pg_sleep(20)"))
            return introduce(opened)

    monkeypatch.setattr(session.Session, "_read_server", slowly)
    with ctrl_c_taken(), pytest.raises(Cancelled, match=r"(?i)stopped by Ctrl-C"):
        slow.run()
    for each in presses:
        each.result()
    assert len(presses) == 1
    all_released(slow.database)
    assert slow.done == slow.steps[:1]


def is_stopped(pid: int) -> bool:
    return bool(re.search(r"^State:\s*T", Path(f"/proc/{pid}/status").read_text(), re.M))


def has_pending(pid: int, wanted: signal.Signals) -> bool:
    """Whether a signal waits to be delivered to a process. https://man7.org/linux/man-pages/man5/proc_pid_status.5.html"""
    (mask,) = re.findall(r"^ShdPnd:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.M)
    return bool(int(mask, 16) & 1 << wanted - 1)


def test_ctrl_c_at_every_message_is_heard_and_never_leaves_a_half_done_file(work) -> None:
    """What is under way is cancelled, or just ends; nothing is begun after it."""
    work.write_all_kinds()
    number, reached, stopped = 0, True, 0
    while reached:
        number += 1
        with pytest.MonkeyPatch.context() as patch, ctrl_c_taken():
            moments = Moments(number, "before it is sent", lambda message: signal.raise_signal(signal.SIGINT))
            moments.install(patch)
            outcome = work.outcome()
        reached = moments.reached
        done = len(work.done)
        if isinstance(outcome, Cancelled):
            stopped += 1
            assert work.told(outcome) == work.steps[:done]
        else:
            assert done == len(work.steps)
        assert len(work.done) < len(work.steps) or moments.sent < number + 5, "pressed in the last file, it is too late"
        all_released(work.database)
        assert work.rest() == work.steps[done:]
        work.assert_done_once()
        work.start_over()
    assert stopped > 15


def test_ctrl_c_while_waiting_for_the_run_lock_ends_the_wait(work) -> None:
    work.write(1)
    presses = Watcher(waiting=lambda holder: signal.raise_signal(signal.SIGINT))
    with (
        holding_run_lock(work.database.url),
        ctrl_c_taken(),
        pytest.raises(Cancelled, match="while waiting for another run to end"),
    ):
        work.run(listener=presses)
    assert presses.waited_for
    assert work.done == []


def test_ctrl_c_while_others_are_waited_for_stops_the_run(slow) -> None:
    slow.add("002", "ALTER TABLE tests.busy ADD COLUMN x integer;")
    presses = Watcher(blocked=lambda wait: signal.raise_signal(signal.SIGINT))
    with (
        holding(slow.database.url, "LOCK TABLE tests.busy IN SHARE MODE"),
        ctrl_c_taken(),
        pytest.raises(Cancelled, match="while waiting for other sessions to release their locks") as caught,
    ):
        slow.run(listener=presses, limits=Limits(lock_wait=60_000))
    assert slow.told(caught.value) == slow.steps[:1] == slow.done
    assert slow.attempts[-1] == ("002", "failed")
    assert slow.rest() == slow.steps[1:]


def test_ctrl_c_is_not_forgotten_over_a_lost_commit(work, proxy) -> None:
    """The trigger doesn't let itself be cancelled, so the file is done; but nothing after it may be. PostgreSQL before
    18 signals the process and its group, so one request may cancel twice."""
    work.write(2)
    again = "BEGIN PERFORM pg_sleep(0.2); EXCEPTION WHEN query_canceled THEN NULL; END;"
    work.database.execute("CREATE TABLE tests.pace AS SELECT 30 AS seconds")
    work.database.execute(LATE.format(f"EXCEPTION WHEN query_canceled THEN {again} RETURN NULL;"))
    work.add(work.steps[0], "INSERT INTO tests.late VALUES (1);")
    proxy.cut_after(work.record)

    def press_at_commit() -> None:
        asleep(work.database)
        os.kill(os.getpid(), signal.SIGINT)

    with ctrl_c_taken():
        pressing = Task(press_at_commit)
        try:
            with pytest.raises(Cancelled) as caught:
                work.run(url=proxy.url(work.database.url))
        finally:
            pressing.result()
    assert proxy.wait()
    assert work.told(caught.value) == work.steps[:1] == work.done


# What makes the server notice


def test_server_looks_for_its_client_in_every_file(work) -> None:
    names = "client_connection_check_interval", "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count"
    shown = ", ".join(f"current_setting('{name}')" for name in names)
    first, second, third = work.write(3)
    work.database.execute("CREATE TABLE tests.shown (settings text[])")
    for step in (first, third):
        work.add(step, f"INSERT INTO tests.shown SELECT ARRAY[{shown}];")
    work.add(second, "RESET ALL; SET client_connection_check_interval = 0; SET tcp_keepalives_idle = 60;")
    work.run()
    assert ask(work.database, "TABLE tests.shown") == [(["500ms", "1", "1", "2"],)] * 2
    assert "500ms" in session.CHECK_INTERVAL

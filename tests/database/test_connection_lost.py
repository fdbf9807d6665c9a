"""A connection that breaks during an apply or a rollback: what had not been committed is rolled back, what had been is
found out and counted once, and what is said of it is true."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from aurora_migrations.engine import RunResult, interrupts
from aurora_migrations.engine.errors import (
    AnotherRunInProgress,
    Cancelled,
    ConnectionLost,
    InDoubt,
    MigrationFailed,
    MigratorError,
)
from aurora_migrations.engine.locks import locked_session, retry
from aurora_migrations.engine.locks.blockers import LockWait
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.postgres import connect
from aurora_migrations.engine.script import Action
from tests.database.helpers import (
    ROLLED_BACK,
    Task,
    Watcher,
    agreed,
    ask,
    at,
    backend,
    backends,
    holding,
    holding_run_lock,
    labels,
    locks,
    on_server,
    until,
)
from tests.database.work import ENDS, ENDS_AT_COMMIT, MAKES_IT_END, Moments, Work
from tests.proxy import Proxy

SYNC = b"S\x00\x00\x00\x04"  # what a batch of our own statements ends with
CLOSES = b"SET result = 'interrupted'"  # what a new session sends to close the attempt of the lost one
PATIENT = Limits(lock_wait=60_000)


@pytest.fixture
def _quick_to_doubt(monkeypatch) -> None:
    monkeypatch.setattr(locked_session, "SETTLE_TIME", 0.6)


# The session ends inside a file, or at a COMMIT that doesn't happen


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("where", ["inside the file", "at its COMMIT", "in its first unit", "in its last unit"])
def test_file_whose_session_ended_is_told_as_not_done_or_is_tried_again(work, between, where: str) -> None:
    steps, again = work.write(3), []
    between(lambda: again.append("connected"))
    file = work.path(steps[1]).name
    work.database.execute(f"{MAKES_IT_END}; CREATE TABLE tests.shown (interval text)")
    if where == "in its first unit":
        work.divide(steps[1], f"FROM (SELECT) AS one LEFT JOIN ({ENDS}) AS it ON true")
    else:
        work.add(steps[1], f"{ENDS_AT_COMMIT if where == 'at its COMMIT' else ENDS};")
        if where == "in its last unit":
            work.divide(steps[1])
    work.add(steps[2], "INSERT INTO tests.shown SELECT current_setting('client_connection_check_interval');")

    with pytest.raises(ConnectionLost) as caught:
        work.run()
    assert again == (["connected"] if where == "at its COMMIT" else [])  # to ask what became of it
    assert f"The connection was lost while {file} was running: " in caught.value.message
    if where == "inside the file":
        assert "terminating connection due to administrator command" in caught.value.message
        assert caught.value.facts["sqlstate"] == "57P01"
    assert caught.value.retryable
    parts = f"{file} has 3 units that commit separately: units 1 to 2 are applied; the rest isn't. The next "
    parts += f"{'run' if work.action == 'apply' else 'rollback'} continues there."
    assert caught.value.state == (parts if where == "in its last unit" else ROLLED_BACK)
    assert work.told(caught.value) == steps[:1] == work.done

    assert work.rest(limits=PATIENT) == steps[1:]
    assert work.done == steps
    assert work.parts == ([1, 2] if "unit" in where else [])
    tries = [(steps[1], result) for result in ("interrupted", "interrupted", work.result)]
    assert work.attempts == [(steps[0], work.result), *tries, (steps[2], work.result)]
    assert ask(work.database, "TABLE tests.shown") == [("500ms",)]  # also the new session looks for its client


def test_connection_cut_inside_a_statement_leaves_nothing_behind(work, proxy) -> None:
    steps = work.write(2)
    work.database.execute("CREATE TABLE tests.busy (id integer)")
    work.add(steps[0], "LOCK TABLE tests.busy; SELECT pg_sleep(30);")
    run = Task(work.run, url=proxy.url(work.database.url))
    backend(work.database, "pg_sleep")
    proxy.cut_now()
    with pytest.raises(ConnectionLost, match=work.path(steps[0]).name):
        run.result(5)
    until(lambda: not backends(work.database), "the server has noticed", 2)
    assert locks(work.database) == []
    assert work.done == []


# At a COMMIT that happens, though its answer is lost


@pytest.mark.parametrize("how", ["cut_after", "garble"])
def test_answers_lost_at_every_commit_of_a_run_are_all_found_out(work, proxy, how: str) -> None:
    steps = work.write(4)
    work.add(steps[1], before="-- verify: rows ledger = 2")
    cut = Watcher(executing=lambda migration: getattr(proxy, how)(work.record))
    result = work.run(url=proxy.url(work.database.url), listener=cut)
    assert proxy.wait()
    assert labels(result) == work.done == steps
    assert [check.found for check in result.applied[1].checks] == ["2"]
    assert cut.heard == [(word, step) for step in steps for word in ("executing", "executed")]
    # The next file begins in the round trip whose answer is lost.
    later = [(step, result) for step in steps[1:] for result in ("interrupted", work.result)]
    assert work.attempts == [(steps[0], work.result), *later]


@pytest.mark.parametrize("last", [False, True])
def test_connection_lost_again_once_a_commit_was_found_out_hides_nothing(work, proxy, between, last: bool) -> None:
    """The file counts; where another follows, that is what the connection was lost in."""
    steps = work.write(2)
    between(lambda: proxy.cut_before(CLOSES))
    cut = Watcher(at(steps[last], lambda: proxy.cut_after(work.record)))
    outcome = work.outcome(url=proxy.url(work.database.url), listener=cut)
    assert proxy.wait()
    assert work.done == steps[: last + 1]
    if last:
        assert isinstance(outcome, RunResult)
        assert labels(outcome) == steps
    else:
        assert isinstance(outcome, ConnectionLost)
        assert work.told(outcome) == steps[:1]
        assert work.path(steps[1]).name in outcome.message
        assert outcome.state == ROLLED_BACK
    assert work.rest() == steps[last + 1 :]


@pytest.mark.parametrize("then", ["the connection is lost again", "Ctrl-C"])
def test_run_that_ends_after_it_lost_its_connection_says_which_parts_are_in(
    work, proxy, between, monkeypatch, then: str
) -> None:
    steps = work.write(1)
    work.divide(steps[0])
    cut = Watcher(at(steps[0], lambda: proxy.cut_before(b"INSERT INTO tests.parts VALUES (2)")))
    if then == "Ctrl-C":
        monkeypatch.setattr(interrupts, "pause", lambda seconds, meanwhile: press_ctrl_c(meanwhile))
    else:
        monkeypatch.setattr(retry, "MOST_CONNECTIONS", 1)
        between(lambda: proxy.cut_before(CLOSES))
    with pytest.raises(Cancelled if then == "Ctrl-C" else ConnectionLost) as caught:
        work.run(url=proxy.url(work.database.url), listener=cut, limits=PATIENT)
    assert proxy.wait()
    assert caught.value.state.startswith(f"{work.path(steps[0]).name} has 3 units that commit separately: unit 1 is")
    assert work.parts == [1]
    monkeypatch.undo()
    assert work.rest() == steps
    assert work.parts == [1, 2]


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("overtaken", [False, True], ids=["alone", "overtaken"])
def test_connection_lost_between_two_attempts_is_replaced(work, proxy, between, overtaken: bool) -> None:
    """Also where that shows only when the next attempt begins."""
    steps = work.write(1)
    work.divide(steps[0])
    cut = Watcher(at(steps[0], lambda: proxy.cut_before(b"INSERT INTO tests.parts VALUES (2)")))
    with contextlib.ExitStack() as stack:

        def lose_it_again() -> None:
            proxy.cut_before(CLOSES)
            if overtaken:
                between(lambda: stack.enter_context(holding_run_lock(work.database.url)))

        between(lose_it_again)
        outcome = work.outcome(url=proxy.url(work.database.url), listener=cut, limits=PATIENT)
    assert proxy.wait()
    if overtaken:
        assert isinstance(outcome, AnotherRunInProgress)
        assert f"while {work.path(steps[0]).name} was about to begin" in outcome.message
        assert work.parts == [1]
    else:
        assert labels(outcome) == steps
        assert work.parts == [1, 2]


def press_ctrl_c(meanwhile: str) -> None:
    raise interrupts.cancelled(f"while {meanwhile}")


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("happened", [True, False], ids=["happened", "didn't happen"])
@pytest.mark.parametrize("other", ["apply", "rollback"], ids=["another applies", "another rolls back"])
def test_run_whose_commit_was_lost_goes_on_only_if_what_another_did_meanwhile_leaves_it_right(
    work, proxy, between, other: Action, happened: bool
) -> None:
    """While we find out about our commit, somebody else may get the lock first. An apply goes on if more is applied by
    then; what lies above must not be there when what lies below is rolled back, nor a hole be left."""
    steps = work.write(4)
    locks = "SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE datname = current_database()"

    def another() -> None:
        work.by_another(other)
        until(lambda: not ask(work.database, f"{locks} AND locktype = 'advisory'"), "its session is gone")

    between(another)
    cut = proxy.cut_after if happened else proxy.cut_before
    cuts = Watcher(at(steps[1], lambda: cut(work.record)))
    outcome = work.outcome(url=proxy.url(work.database.url), listener=cuts, limits=PATIENT)
    assert agreed(work.database) == (sorted(steps) if other == "apply" else [])
    if work.action == other == "apply":
        assert isinstance(outcome, RunResult)
        assert labels(outcome) == steps[:2]
    else:
        assert isinstance(outcome, AnotherRunInProgress)
        assert work.told(outcome) == steps[:1]
        file = work.path(steps[1]).name
        through = work.action == other  # whatever became of our commit: by now that is what there is
        assert outcome.state.startswith(f"{file} is rolled back." if through else f"Nothing of {file} was committed.")


@pytest.mark.usefixtures("_quick_to_doubt")
@pytest.mark.parametrize("at_commit", [True, False], ids=["at COMMIT", "inside the file"])
def test_server_gone_for_good_leaves_the_run_in_doubt_only_at_commit(work, server, between, at_commit: bool) -> None:
    steps = work.write(3)
    work.add("002", "SELECT 1;")  # so that it is sent alone, not with the COMMIT of the one before
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(Proxy(server.port))
        between(stack.close)  # from then on connections are refused
        cut = Watcher(at("002", lambda: proxy.cut_after(work.record) if at_commit else proxy.cut_before(b"TABLE t002")))
        with pytest.raises(InDoubt if at_commit else ConnectionLost) as caught:
            work.run(url=proxy.url(work.database.url), listener=cut, limits=PATIENT)
    assert work.told(caught.value) == steps[:1]
    assert caught.value.facts["file"] == (file := work.path("002").name)
    assert f"{file} was {'committing' if at_commit else 'running'}" in caught.value.message
    assert at_commit or caught.value.state == ROLLED_BACK
    assert work.done == steps[: 2 if at_commit else 1]
    assert work.rest() == steps[2 if at_commit else 1 :]


def test_database_that_lets_nobody_in_after_a_lost_commit_is_not_asked_for_long(work, server, proxy, between) -> None:
    steps = work.write(3)
    role = f"{work.database.name}_runner"
    admin = psycopg.connect(server.url(), autocommit=True)
    admin.execute(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'before'")
    between(lambda: admin.execute(f"ALTER ROLE {role} PASSWORD 'after'"))
    cut = Watcher(at("002", lambda: proxy.cut_after(work.record)))
    began = time.monotonic()
    with admin, pytest.raises(InDoubt, match="refused the login"):
        work.run(url=proxy.url(server.url(work.database.name, role, "before")), listener=cut)
    assert time.monotonic() - began < locked_session.SETTLE_TIME / 2
    assert work.done == steps[:2]


@pytest.mark.usefixtures("_quick_to_doubt")
@pytest.mark.parametrize(
    ("happened", "seen", "kind"),
    [(True, True, AnotherRunInProgress), (False, True, ConnectionLost), (True, False, InDoubt)],
    ids=["happened", "didn't happen", "nobody seen"],
)
def test_lock_that_somebody_else_has_after_a_lost_commit_leaves_doubt_only_where_nobody_sees_who(
    work, proxy, between, monkeypatch, happened: bool, seen: bool, kind: type[MigratorError]
) -> None:
    """Whoever else has the lock proves that our old session is gone, and with it every doubt: ask at once."""
    steps = work.write(3)
    if not seen:
        # another each time, and gone when we look
        monkeypatch.setattr("aurora_migrations.engine.postgres.session.find_holder", lambda session: None)
    with contextlib.ExitStack() as stack:
        between(lambda: stack.enter_context(holding_run_lock(work.database.url)))
        cut = proxy.cut_after if happened else proxy.cut_before
        cuts = Watcher(at("002", lambda: cut(work.record)))
        with pytest.raises(MigratorError) as caught:
            work.run(url=proxy.url(work.database.url), listener=cuts, wait=0.5, limits=PATIENT)
    assert type(caught.value) is kind
    assert work.told(caught.value) == steps[:1]
    assert work.done == steps[: 2 if happened else 1]


# After an error, and while others are waited for


@pytest.mark.parametrize("needle", [b"ROLLBACK", b"SET finished_at"], ids=["rolled back", "recorded"])
def test_connection_lost_when_a_failed_file_is_rolled_back_does_not_hide_its_error(work, proxy, needle: bytes) -> None:
    steps = work.write(2)
    work.add(steps[1], "SELECT nowhere;")
    cut = Watcher(at(steps[1], lambda: proxy.cut_before(needle)))
    with pytest.raises(MigrationFailed, match="nowhere") as caught:
        work.run(url=proxy.url(work.database.url), listener=cut)
    assert proxy.wait()
    assert caught.value.state == ROLLED_BACK
    assert work.told(caught.value) == steps[:1] == work.done
    assert work.attempts == [(steps[0], work.result), (steps[1], None)]


@pytest.fixture
def queueing(work: Work) -> Iterator[tuple[Work, psycopg.Connection[Any]]]:
    """Two steps, and somebody who has a lock that the second needs."""
    work.write(2)
    work.database.execute("CREATE TABLE tests.busy (id integer)")
    work.add(work.steps[1], "ALTER TABLE tests.busy ADD COLUMN x integer;")
    with holding(work.database.url, "LOCK TABLE tests.busy IN SHARE MODE") as other:
        yield work, other


OURS = "datname = current_database() AND application_name LIKE 'aurora-migrations %%'"


def end_our_session(work: Work) -> None:
    ask(work.database, f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {OURS}", ())


@pytest.mark.usefixtures("brisk")
def test_connection_lost_while_others_are_waited_for_is_replaced(queueing, proxy) -> None:
    """Twice: when what the failed try has left in the session is taken back, and in the wait after the next one."""
    work, other = queueing
    waits = 0

    def lose(wait: LockWait) -> None:
        nonlocal waits
        waits += 1
        end_our_session(work)
        other.execute("ROLLBACK")

    loses = Watcher(at(work.steps[1], lambda: proxy.cut_before(b"RESET SESSION AUTHORIZATION")), blocked=lose)
    result = work.run(url=proxy.url(work.database.url), listener=loses, limits=PATIENT)
    assert proxy.wait()
    assert waits == 1
    assert labels(result) == work.done == work.steps
    first, *failed, last = (result for _, result in work.attempts)
    assert (first, last) == (work.result, work.result)
    assert failed == ["failed"] * max(2, len(failed))


@pytest.mark.usefixtures("brisk")
def test_connection_lost_while_others_are_waited_for_is_told_if_no_more_are_replaced(
    queueing, between, monkeypatch
) -> None:
    (work, _), again = queueing, []
    work.divide(work.steps[1])
    between(lambda: again.append("connected"))
    monkeypatch.setattr(retry, "MOST_CONNECTIONS", 0)
    with pytest.raises(ConnectionLost) as caught:
        work.run(listener=Watcher(blocked=lambda wait: end_our_session(work)), limits=PATIENT)
    assert again == []
    assert "3 units that commit separately: units 1 to 2 are applied" in caught.value.state
    assert work.told(caught.value) == work.steps[:1] == work.done


@pytest.mark.usefixtures("brisk")
def test_run_that_another_overtook_while_it_waited_stops(queueing) -> None:
    work, other = queueing

    def overtake(wait: LockWait) -> None:
        end_our_session(work)
        other.execute("ROLLBACK")
        assert work.by_another(work.action) == work.steps[1:]

    with pytest.raises(AnotherRunInProgress, match="was waiting for its next try") as caught:
        work.run(listener=Watcher(blocked=overtake), limits=PATIENT)
    assert work.told(caught.value) == work.steps[:1]
    assert work.done == work.steps
    file, through = work.path(work.steps[1]).name, "applied" if work.action == "apply" else "rolled back"
    assert caught.value.state.startswith(f"{file} is {through}.")


@pytest.mark.usefixtures("brisk")
def test_session_that_ends_again_and_again_is_not_replaced_for_ever(work) -> None:
    steps = work.write(1)
    work.add(steps[0], "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(9);")
    with pytest.raises(ConnectionLost):
        work.run(limits=PATIENT)
    assert work.done == []
    assert [result for _, result in work.attempts] == ["interrupted"] * retry.MOST_CONNECTIONS + [None]


# At every message


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_connection_lost_at_every_message_never_leaves_a_half_done_file(work, proxy, moment: str) -> None:
    """Every message of a run, and its answer. What is lost inside a file the run makes good by itself."""
    work.write_all_kinds()
    number, reached, made_good = 0, True, 0

    def cut(message: object) -> None:
        needle = message[:30] if isinstance(message, bytes) else SYNC
        (proxy.cut_before if moment == "before" else proxy.cut_after)(needle)

    while reached:
        number += 1
        with pytest.MonkeyPatch.context() as patch:
            moments = Moments(number, "before it is sent", cut)
            moments.install(patch)
            outcome = work.outcome(url=proxy.url(work.database.url), limits=PATIENT)
        reached = moments.reached
        done = work.done
        if isinstance(outcome, RunResult):
            made_good += reached
            assert labels(outcome) == done == work.steps
        else:
            assert isinstance(outcome, ConnectionLost)
            assert work.told(outcome) == done
            assert len(done) < len(work.steps)
        until(lambda: not backends(work.database), "the old session is gone")
        assert work.rest() == work.steps[len(done) :]
        work.assert_done_once()
        work.start_over()
    assert made_good >= 10


# The server restarts, or fails over


@pytest.mark.parametrize(
    ("action", "inside", "afterwards"), [("apply", "immediate", "fast"), ("rollback", "fast", "immediate")]
)
def test_server_restarted_inside_and_between_files(
    own_server, migrations, action: Action, inside: str, afterwards: str
) -> None:
    server = own_server()
    work = Work(action, on_server(server), migrations)
    steps = work.write(3)
    work.database.execute("CREATE TABLE tests.nap AS SELECT 30 AS naps")
    work.add("002", "SELECT pg_sleep(naps) FROM tests.nap;")
    run = Task(work.outcome)
    backend(work.database, "pg_sleep")
    server.restart(inside)
    error = run.result()
    assert isinstance(error, ConnectionLost)
    assert error.state == ROLLED_BACK
    assert work.told(error) == steps[:1] == work.done

    # between two files: the run meets a closed connection when it begins the next
    work.database.execute("UPDATE tests.nap SET naps = 0")
    restarts = Watcher(executed=at("002", lambda: server.restart(afterwards)))
    with pytest.raises(ConnectionLost) as caught:
        work.rest(listener=restarts)
    assert work.told(caught.value) == ["002"]
    assert work.done == steps[:2]
    assert work.rest() == steps[2:]


@pytest.mark.usefixtures("brisk")
def test_failover_inside_a_file_is_waited_for(work, between) -> None:
    """The server says that it is a reader from the middle of a file on, until a while after the next connection."""
    steps = work.write(2)
    work.database.execute(
        """
        CREATE TABLE tests.failover AS SELECT false AS reader;
        ALTER FUNCTION pg_catalog.pg_is_in_recovery() RENAME TO pg_is_really_in_recovery;
        CREATE FUNCTION pg_catalog.pg_is_in_recovery() RETURNS boolean
            LANGUAGE sql AS 'SELECT reader FROM tests.failover';
        """
    )
    read_only = "SELECT set_config('transaction_read_only', reader::text, true) FROM tests.failover;"
    work.add(steps[1], before=read_only)
    over = threading.Timer(0.3, lambda: work.database.execute("UPDATE tests.failover SET reader = false"))
    between(over.start)
    fails = Watcher(at(steps[1], lambda: work.database.execute("UPDATE tests.failover SET reader = true")))
    assert labels(work.run(limits=PATIENT, listener=fails)) == steps
    over.join()
    assert work.done == steps
    assert work.attempts[1:] == [(steps[1], "interrupted"), (steps[1], work.result)]


# The network falls silent


def test_session_whose_runner_fell_silent_is_ended_by_the_server(work, proxy, monkeypatch) -> None:
    """On loopback keepalives are answered, so what holds here is the limit on idle transactions."""
    limit = "idle_in_transaction_session_timeout"
    assert 0 < int(connect.STARTUP_SETTINGS[limit]) <= 60_000
    monkeypatch.setitem(connect.STARTUP_SETTINGS, limit, "500")
    steps = work.write(1)
    work.database.execute("CREATE TABLE tests.busy (id integer)")
    work.add(steps[0], "INSERT INTO tests.busy VALUES (1); SELECT 'the end';")
    silent = Watcher(executing=lambda migration: proxy.black_hole(after=b"the end"))
    run = Task(work.run, url=proxy.url(work.database.url), listener=silent)
    assert proxy.wait()
    until(lambda: not backends(work.database), "the server has ended the session", 10)
    assert locks(work.database) == []
    assert work.done == []
    proxy.forward()
    with pytest.raises(ConnectionLost) as caught:
        run.result()
    assert caught.value.retryable
    assert work.rest() == steps

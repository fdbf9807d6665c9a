"""A connection that breaks: what had not been committed is rolled back, what had been is found out and counted once."""

import contextlib
import random
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from functions.migrator import Request, RunResult, Session, run, takeover
from functions.migrator.errors import (
    AnotherRunInProgress,
    ConnectionLost,
    DatabaseBusy,
    DatabaseUnreachable,
    InDoubt,
    MigratorError,
)
from functions.migrator.wire import Command, Wire
from tests.database.helpers import (
    ROLLED_BACK,
    Task,
    Watcher,
    agreed,
    applied,
    apply,
    at,
    attempts,
    backend,
    backends,
    holding_run_lock,
    labels,
    locks,
    on_server,
    roll_back,
    start_runner,
    tables,
    until,
    write_steps,
)
from tests.proxy import Proxy

RECORD = b"INSERT INTO aurora_migrations.applied"  # in the message whose last part is COMMIT
SYNC, QUERY = b"S\x00\x00\x00\x04", b"CREATE TABLE t"  # in what our own statements, and what files, are sent by


@pytest.fixture
def proxy(server) -> Iterator[Proxy]:
    with Proxy(server.port) as made:
        yield made


@pytest.fixture
def between(monkeypatch) -> Callable[[Callable[[], object]], None]:
    """`between(do)`: does it once a run has lost its connection at COMMIT and before it opens the next."""

    def set_up(do: Callable[[], object]) -> None:
        reconnect, left = run.reconnect, [do]

        def first(request: Request) -> Session:
            while left:
                left.pop()()
            return reconnect(request)

        monkeypatch.setattr(run, "reconnect", first)

    return set_up


@pytest.fixture
def _quick_to_doubt(monkeypatch) -> None:
    monkeypatch.setattr(takeover, "SETTLE_TIME", 0.6)


# At COMMIT


def test_commit_that_never_reached_the_server_is_not_applied_and_said_so(database, migrations, proxy) -> None:
    steps = write_steps(migrations, 3)
    url = proxy.url(database.url)
    cut = Watcher(at("002", lambda: proxy.cut_before(RECORD)))
    with pytest.raises(ConnectionLost) as caught:
        apply(database, migrations, url=url, listener=cut)
    assert caught.value.state == ROLLED_BACK
    assert caught.value.facts["applied"] == ["001"]
    assert caught.value.facts["file"] == "002_step.sql"
    assert caught.value.retryable
    assert agreed(database) == ["001"]
    assert labels(apply(database, migrations, url=url)) == steps[1:]
    assert agreed(database) == steps
    assert attempts(database)[1:3] == [("002", "interrupted"), ("002", "applied")]


def test_commit_whose_answer_was_lost_counts_and_the_run_goes_on(database, migrations, proxy) -> None:
    steps = write_steps(migrations, 4)
    migrations.write("002_step.verify.sql", "SELECT true;")
    cut = Watcher(at("002", lambda: proxy.cut_after(RECORD)))
    result = apply(database, migrations, url=proxy.url(database.url), listener=cut)
    assert proxy.wait()
    assert labels(result) == steps
    assert [check.promise for check in result.applied[1].checks] == ["SELECT true"]
    assert cut.heard == [(word, step) for step in steps for word in ("executing", "executed")]
    assert agreed(database) == steps
    assert attempts(database) == [(step, "applied") for step in steps]


def test_answers_lost_at_every_commit_of_a_run_are_all_found_out(database, migrations, proxy) -> None:
    steps = write_steps(migrations, 4)
    cut = Watcher(executing=lambda migration: proxy.cut_after(RECORD))
    assert labels(apply(database, migrations, url=proxy.url(database.url), listener=cut)) == steps
    assert agreed(database) == steps


def test_answer_lost_at_the_last_commit_is_success(database, migrations, proxy) -> None:
    write_steps(migrations, 2)
    cut = Watcher(at("002", lambda: proxy.cut_after(RECORD)))
    result = apply(database, migrations, "002", url=proxy.url(database.url), listener=cut)
    assert result.message == "Migration 002 executed successfully"
    assert agreed(database) == ["001", "002"]


def test_run_that_took_over_during_a_lost_commit_is_no_trouble(database, migrations, proxy, between) -> None:
    """While we find out about our commit, somebody else may get the lock first and apply all the rest."""
    steps = write_steps(migrations, 4)
    others: list[RunResult] = []
    between(lambda: others.append(apply(database, migrations, execution="other")))
    cut = Watcher(at("002", lambda: proxy.cut_after(RECORD)))
    result = apply(database, migrations, url=proxy.url(database.url), listener=cut)
    assert labels(others[0]) == ["003", "004"]
    assert labels(result) == ["001", "002"]
    assert agreed(database) == steps


def test_rollback_that_took_place_during_a_lost_commit_leaves_no_hole(database, migrations, proxy, between) -> None:
    """Ours went through, and was undone at once by a person: 003 without 002 must not be."""
    write_steps(migrations, 3)
    between(lambda: roll_back(database, migrations, "002", "002", execution="other"))
    cut = Watcher(at("002", lambda: proxy.cut_after(RECORD)))
    with contextlib.suppress(MigratorError):
        apply(database, migrations, url=proxy.url(database.url), listener=cut)
    assert agreed(database) in (["001"], ["001", "002", "003"])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no Ctrl-C to a single process")
def test_ctrl_c_is_not_forgotten_over_a_lost_commit(database, migrations, proxy) -> None:
    """The trigger doesn't let itself be cancelled, so the file goes in; but nothing after it may."""
    migrations.write(
        "001_slow.sql",
        """
        CREATE TABLE a (id integer);
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_sleep(30); RETURN NULL; EXCEPTION WHEN query_canceled THEN RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON a DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION slow();
        INSERT INTO a VALUES (1);
        """,
    )
    migrations.write("002_after.sql", "CREATE TABLE b (id integer);")
    proxy.cut_after(RECORD)
    with start_runner(database, migrations, url=proxy.url(database.url)) as runner:
        backend(database, "SET CONSTRAINTS")
        runner.interrupt()
        code, answer = runner.finish(10)
    assert proxy.wait()
    assert (code, answer.get("error")) == (1, "Cancelled"), answer
    assert answer["applied"] == ["001"]
    assert applied(database) == ["001"]
    assert tables(database) == ["a"]


@pytest.mark.usefixtures("_quick_to_doubt")
def test_server_gone_for_good_at_commit_leaves_the_run_in_doubt(server, database, migrations, between) -> None:
    write_steps(migrations, 3)
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(Proxy(server.port))
        between(stack.close)  # from then on connections are refused
        cut = Watcher(at("002", lambda: proxy.cut_after(RECORD)))
        with pytest.raises(InDoubt) as caught:
            apply(database, migrations, url=proxy.url(database.url), listener=cut)
    assert caught.value.facts["applied"] == ["001"]
    assert caught.value.facts["file"] == "002_step.sql"
    assert "002_step.sql was committing" in caught.value.message
    assert agreed(database) == ["001", "002"]  # it had gone through
    assert labels(apply(database, migrations)) == ["003"]


@pytest.mark.usefixtures("_quick_to_doubt")
def test_lock_taken_for_long_by_somebody_else_during_a_lost_commit_leaves_no_doubt(
    database, migrations, proxy, between
) -> None:
    """Whoever else has the lock proves that our old session is gone, and with it every doubt: ask at once."""
    write_steps(migrations, 3)
    with contextlib.ExitStack() as stack:
        between(lambda: stack.enter_context(holding_run_lock(database.url)))
        cut = Watcher(at("002", lambda: proxy.cut_after(RECORD)))
        with pytest.raises((AnotherRunInProgress, InDoubt)) as caught:
            apply(database, migrations, url=proxy.url(database.url), listener=cut, wait=0.5)
    assert not isinstance(caught.value, InDoubt)
    assert agreed(database) == ["001", "002"]


def test_commit_of_a_rollback_whose_answer_was_lost_counts(database, migrations, proxy) -> None:
    write_steps(migrations, 4)
    apply(database, migrations)
    cut = Watcher(at("003", lambda: proxy.cut_after(b"DELETE FROM aurora_migrations.applied")))
    result = roll_back(database, migrations, "002", "004", url=proxy.url(database.url), listener=cut)
    assert proxy.wait()
    assert labels(result) == ["004", "003", "002"]
    assert agreed(database) == ["001"]
    assert [result for _, result in attempts(database)[4:]] == ["rolled back"] * 3


def test_rollback_goes_no_further_if_somebody_applied_during_its_lost_commit(
    database, migrations, proxy, between
) -> None:
    """What lies above must not be there when what lies below is undone."""
    write_steps(migrations, 4)
    apply(database, migrations)
    between(lambda: apply(database, migrations, execution="other"))
    cut = Watcher(at("004", lambda: proxy.cut_after(b"DELETE FROM aurora_migrations.applied")))
    with pytest.raises(MigratorError):
        roll_back(database, migrations, "002", "004", url=proxy.url(database.url), listener=cut)
    assert agreed(database) == ["001", "002", "003", "004"]


# At every message


class Cuts:
    """Counts what a run sends in its own session, and breaks that connection at one of them. The second session, which
    looks on where a statement takes long, may lose its connection without any harm."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, proxy: Proxy, number: int, moment: str) -> None:
        self.sent = 0
        self.recorded = False
        self._proxy = proxy
        self._number = number
        self._moment = moment
        monkeypatch.setattr(Wire, "batch", self._counted(Wire.batch, SYNC))
        monkeypatch.setattr(Wire, "script", self._counted(Wire.script, QUERY))

    def _counted(self, send: Callable[..., object], needle: bytes) -> Callable[..., object]:
        def sends(wire: Wire, what: list[Command] | bytes, *more: object) -> object:
            looks_on = "-watch " in (wire.connection.info.parameter_status("application_name") or "")
            self.sent += not looks_on
            if self.sent == self._number and not looks_on:
                self.recorded = isinstance(what, list) and any(RECORD.decode() in command.sql for command in what)
                cut = self._proxy.cut_before if self._moment == "before" else self._proxy.cut_after
                cut(needle)
            return send(wire, what, *more)

        return sends


@pytest.mark.parametrize("moment", ["before", "after"])
def test_connection_lost_at_every_message_never_leaves_a_half_done_file(
    database, migrations, proxy, moment: str
) -> None:
    """Every message of a run that makes the history and applies three files, one with promises."""
    steps = write_steps(migrations, 3)
    migrations.write("002_step.verify.sql", "SELECT count(*) = 2 FROM ledger;")
    number = 0
    while True:
        number += 1
        with pytest.MonkeyPatch.context() as monkeypatch:
            cuts = Cuts(monkeypatch, proxy, number, moment)
            outcome = outcome_of(apply, database, migrations, url=proxy.url(database.url))
        if cuts.sent < number:
            break
        assert proxy.wait()
        until(lambda: not backends(database), "the old session is gone")
        known = agreed(database)
        if isinstance(outcome, RunResult):
            assert (moment, cuts.recorded, known) == ("after", True, steps)
        else:
            assert isinstance(outcome, ConnectionLost)
            assert outcome.facts.get("applied", []) == known
        apply(database, migrations)
        assert agreed(database) == steps
        assert [step for step, result in attempts(database) if result == "applied"] == steps
        database.execute("DROP SCHEMA aurora_migrations CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert number > 20


def outcome_of(work: Callable[..., RunResult], *arguments: object, **more: object) -> RunResult | MigratorError:
    """What it returned, or the error it raised."""
    try:
        return work(*arguments, **more)
    except MigratorError as error:
        return error


def test_connection_cut_inside_a_statement_is_told_with_its_file(database, migrations, proxy) -> None:
    database.execute("CREATE TABLE busy (id integer)")
    migrations.write("001_long.sql", "CREATE TABLE a (id integer); LOCK TABLE busy; SELECT pg_sleep(30);")
    run_ = Task(apply, database, migrations, url=proxy.url(database.url))
    backend(database, "pg_sleep")
    proxy.cut_now()
    with pytest.raises(ConnectionLost, match=r"001_long\.sql"):
        run_.result(5)
    until(lambda: not backends(database), "the server has noticed", 2)
    assert locks(database) == []
    assert tables(database) == ["busy"]


# The server restarts


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_server_restarted_inside_and_between_files(own_server, migrations, mode: str) -> None:
    server = own_server()
    database = on_server(server)
    steps = write_steps(migrations, 3)
    apply(database, migrations, "001")

    # inside a file, run by a process of its own
    migrations.write(
        "002_step.sql", f"{(migrations.dir / '002_step.sql').read_text()}\nSELECT pg_sleep(naps) FROM nap;"
    )
    database.execute("CREATE SCHEMA tests; CREATE TABLE tests.nap AS SELECT 30 AS naps")
    database.execute(f"ALTER DATABASE {database.name} SET search_path = public, tests")
    with start_runner(database, migrations) as runner:
        backend(database, "pg_sleep")
        server.restart(mode)
        code, answer = runner.finish()
    assert (code, answer["error"]) == (1, "ConnectionLost")
    assert answer["state"] == ROLLED_BACK
    assert agreed(database) == ["001"]

    # between two files: the run meets a closed connection when it begins the next
    database.execute("UPDATE tests.nap SET naps = 0")
    restarts = Watcher(executed=at("002", lambda: server.restart(mode)))
    with pytest.raises(ConnectionLost) as caught:
        apply(database, migrations, listener=restarts)
    assert caught.value.facts["applied"] == ["002"]
    assert agreed(database) == ["001", "002"]

    assert labels(apply(database, migrations)) == ["003"]
    assert agreed(database) == steps


def test_server_that_crashes_at_random_moments_never_has_a_half_done_file(own_server, migrations) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    server = own_server({"fsync": "on"})
    database = on_server(server)
    steps = write_steps(migrations, 40, "SELECT pg_sleep(0.01);")
    for _ in range(3):
        run_ = Task(outcome_of, apply, database, migrations)
        until(lambda r=run_: not r.is_alive() or backends(database), "it has begun")
        time.sleep(chance.uniform(0, 0.25))
        server.restart("immediate")
        outcome = run_.result()
        if isinstance(outcome, MigratorError):
            assert isinstance(outcome, ConnectionLost | DatabaseBusy | DatabaseUnreachable), outcome
        known = agreed(database)
        assert known == steps[: len(known)]
    apply(database, migrations)
    assert agreed(database) == steps

"""A runner that dies, at any moment: the server lets go of everything within two seconds, and the next run goes on."""

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable

import pytest

from functions.migrator import session
from functions.migrator.wire import Wire
from tests.database.helpers import (
    agreed,
    applied,
    apply,
    attempts,
    backend,
    backends,
    exists,
    holding,
    holding_run_lock,
    labels,
    locks,
    start_runner,
    tables,
    until,
    write_steps,
)
from tests.servers import Database, Migrations

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither kill -9 nor fork")

RELEASE = 2.0  # seconds in which a dead runner's locks are gone
PACE = "CREATE TABLE IF NOT EXISTS pace (seconds float); DELETE FROM pace; INSERT INTO pace VALUES ({});"
WAITS = "SELECT pg_sleep(seconds) FROM pace;"


def all_released(database: Database) -> None:
    """Within two seconds the server has ended what the dead runner had begun."""
    until(lambda: not backends(database), "the dead runner's session is gone", RELEASE)
    assert locks(database) == []


def pace(database: Database, seconds: float) -> None:
    """How long the files take from now on."""
    database.execute(f"CREATE SCHEMA IF NOT EXISTS tests; SET search_path = tests; {PACE.format(seconds)}")


# kill -9 inside a file

LONG = {
    "sleeping": "SELECT pg_sleep(seconds) FROM tests.pace;",
    "computing": "SELECT count(*) FROM tests.pace, generate_series(1, (seconds * 100000000)::bigint);",
    "writing": "INSERT INTO busy SELECT n FROM tests.pace, generate_series(1, (seconds * 20000000)::bigint) AS n;",
}


@pytest.mark.parametrize("long", LONG.values(), ids=LONG)
def test_runner_killed_inside_a_file_leaves_nothing_behind(database, migrations, long: str) -> None:
    pace(database, 30)
    migrations.write("001_before.sql", "CREATE TABLE busy (id integer);")
    migrations.write("002_long.sql", f"CREATE TABLE a (id integer);\nLOCK TABLE busy IN ACCESS EXCLUSIVE MODE;\n{long}")
    migrations.write("003_after.sql", "CREATE TABLE b (id integer);")
    with start_runner(database, migrations) as runner:
        until(lambda: any("busy" in row for row in locks(database)), "it has its lock")
        runner.kill()
        all_released(database)

    assert tables(database) == ["busy"]
    assert applied(database) == ["001"]
    assert attempts(database) == [("001", "applied"), ("002", None)]
    assert database.query("SELECT count(*) FROM busy") == [(0,)]

    pace(database, 0)
    assert labels(apply(database, migrations)) == ["002", "003"]
    assert attempts(database) == [("001", "applied"), ("002", "interrupted"), ("002", "applied"), ("003", "applied")]


def test_runner_killed_while_its_file_waits_for_a_lock_no_longer_waits(database, migrations) -> None:
    """A waiting ACCESS EXCLUSIVE request stops everybody behind it, so it must be gone with its runner."""
    database.execute("CREATE TABLE busy (id integer)")
    migrations.write("001_waits.sql", "-- migration: lock_timeout = 60s\nALTER TABLE busy ADD COLUMN x integer;")
    with holding(database.url, "LOCK TABLE busy IN ACCESS SHARE MODE") as other:
        with start_runner(database, migrations) as runner:
            until(lambda: any("AccessExclusiveLock" in row for row in locks(database)), "it waits")
            runner.kill()
        until(lambda: not backends(database), "the dead runner's session is gone", RELEASE)
        other.execute("SET LOCAL lock_timeout = '1s'")
        assert {row[0] for row in locks(database)} == {other.info.backend_pid}
        assert database.query("SELECT count(*) FROM busy") == [(0,)]  # behind the request it would wait
    assert labels(apply(database, migrations)) == ["001"]


@pytest.mark.parametrize("where", ["in a promise", "at COMMIT"])
def test_runner_killed_at_the_end_of_a_file_leaves_nothing_behind(database, migrations, where: str) -> None:
    pace(database, 30)
    text = "CREATE TABLE a (id integer);"
    if where == "in a promise":
        migrations.write("001_long.verify.sql", "SELECT pg_sleep(seconds) IS NOT NULL FROM tests.pace;")
    else:
        text += """
            CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN PERFORM pg_sleep(seconds) FROM tests.pace; RETURN NULL; END';
            CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON a DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION slow();
            INSERT INTO a VALUES (1);"""
    migrations.write("001_long.sql", text)
    with start_runner(database, migrations) as runner:
        backend(database, "pg_sleep" if where == "in a promise" else "SET CONSTRAINTS")
        runner.kill()
        all_released(database)
    assert tables(database) == []
    pace(database, 0)
    assert labels(apply(database, migrations)) == ["001"]
    assert attempts(database) == [("001", "interrupted"), ("001", "applied")]


def test_runner_killed_while_it_waits_for_the_run_lock_leaves_nothing_behind(database, migrations) -> None:
    write_steps(migrations, 1)
    with holding_run_lock(database.url) as other, start_runner(database, migrations) as runner:
        until(lambda: backends(database), "it waits")
        runner.kill()
        until(lambda: not backends(database), "its session is gone", RELEASE)
        assert {row[0] for row in locks(database)} == {other.info.backend_pid}


def test_runner_killed_while_it_rolls_back_leaves_nothing_behind(database, migrations) -> None:
    pace(database, 30)
    steps = write_steps(migrations, 3)
    down = migrations.dir / "002_step.down.sql"
    down.write_text(f"{down.read_text()}\nSELECT pg_sleep(seconds) FROM tests.pace;")
    apply(database, migrations)
    with start_runner(database, migrations, "001", "--confirm", "003", verb="rollback") as runner:
        backend(database, "pg_sleep")
        runner.kill()
        all_released(database)
    assert agreed(database) == steps[:2]
    assert labels(apply(database, migrations)) == ["003"]
    assert attempts(database)[3:] == [("003", "rolled back"), ("002", "interrupted"), ("003", "applied")]


# kill -9 at any moment


def test_runner_killed_at_random_moments_never_leaves_a_half_done_file(database, migrations) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    steps = write_steps(migrations, 60, "SELECT pg_sleep(0.01);")
    known: list[str] = []
    for _ in range(4):
        with start_runner(database, migrations) as runner:
            until(lambda r=runner: backends(database) or not r.running, "it has begun")
            time.sleep(chance.uniform(0, 0.3) * chance.getrandbits(1))
            runner.kill()
            all_released(database)
        before, known = known, agreed(database)
        assert known[: len(before)] == before
        assert known == steps[: len(known)]
    apply(database, migrations)
    assert agreed(database) == steps
    assert sorted(step for step, result in attempts(database) if result == "applied") == steps
    assert {result for _, result in attempts(database)} <= {"applied", "interrupted"}


class Dies:
    """Counts what a run sends to the server, and kills its own process at one of these moments."""

    def __init__(self, number: int, moment: str) -> None:
        self.sent = 0
        self._number = number
        self._moment = moment

    def install(self) -> None:
        for name in ("batch", "script"):
            setattr(Wire, name, self._counted(getattr(Wire, name)))
        Wire._results = self._flushed(Wire._results)  # type: ignore[method-assign]

    def _counted(self, send: Callable[..., object]) -> Callable[..., object]:
        def sends(wire: Wire, *arguments: object) -> object:
            self.sent += 1
            self._die_at("before it is sent")  # which is also after the answer to the one before
            return send(wire, *arguments)

        return sends

    def _flushed(self, results: Callable[..., object]) -> Callable[..., object]:
        def after_sending(wire: Wire) -> object:
            while wire._pgconn.flush():
                pass
            self._die_at("before the answer")
            return results(wire)

        return after_sending

    def _die_at(self, moment: str) -> None:
        if (self.sent, moment) == (self._number, self._moment):
            os.kill(os.getpid(), signal.SIGKILL)


def run_and_die(database: Database, migrations: Migrations, number: int, moment: str) -> bool:
    """Run in a process that is killed at that moment; False if the run had ended before."""

    def child() -> None:
        Dies(number, moment).install()
        apply(database, migrations)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.parametrize("moment", ["before it is sent", "before the answer"])
def test_runner_killed_at_every_message_never_leaves_a_half_done_file(database, migrations, moment: str) -> None:
    """Every message of a run that makes the history and applies three files, one with promises."""
    steps = write_steps(migrations, 3)
    migrations.write("002_step.verify.sql", "SELECT count(*) = 2 FROM ledger;")
    number, reached = 0, set()
    while run_and_die(database, migrations, number := number + 1, moment):
        all_released(database)
        known = agreed(database)
        reached.add(len(known))
        assert labels(apply(database, migrations)) == steps[len(known) :]
        assert agreed(database) == steps
        assert [step for step, result in attempts(database) if result == "applied"] == steps
        assert {result for _, result in attempts(database)} <= {"applied", "interrupted"}
        database.execute("DROP SCHEMA aurora_migrations CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert number > 20
    assert reached >= {0, 1, 2}
    assert agreed(database) == steps  # the last one wasn't killed


# Ctrl-C


def test_ctrl_c_inside_a_file_cancels_its_statement_and_rolls_back(database, migrations) -> None:
    pace(database, 30)
    migrations.write("001_before.sql", "CREATE TABLE busy (id integer);")
    migrations.write(
        "002_long.sql", "LOCK TABLE busy;\nCREATE TABLE a (id integer);\nSELECT pg_sleep(seconds) FROM tests.pace;"
    )
    with start_runner(database, migrations) as runner:
        backend(database, "pg_sleep")
        runner.interrupt()
        code, answer = runner.finish(10)
    assert code == 1
    assert (answer["error"], answer["sqlstate"], answer["line"]) == ("Cancelled", "57014", 3)
    assert answer["applied"] == ["001"]
    assert tables(database) == ["busy"]
    assert attempts(database) == [("001", "applied"), ("002", "failed")]
    all_released(database)
    pace(database, 0)
    assert labels(apply(database, migrations)) == ["002"]


def test_ctrl_c_in_a_promise_rolls_back(database, migrations) -> None:
    migrations.write("001_long.sql", "CREATE TABLE a (id integer);")
    migrations.write("001_long.verify.sql", "SELECT pg_sleep(30) IS NOT NULL;")
    with start_runner(database, migrations) as runner:
        backend(database, "pg_sleep")
        runner.interrupt()
        code, answer = runner.finish(10)
    assert code == 1
    assert answer["error"] == "Cancelled"
    assert tables(database) == []
    all_released(database)


def test_ctrl_c_while_waiting_for_the_run_lock_ends_the_wait(database, migrations) -> None:
    write_steps(migrations, 1)
    with holding_run_lock(database.url), start_runner(database, migrations) as runner:
        until(lambda: backends(database), "it is connected")
        time.sleep(1)
        runner.interrupt()
        code, answer = runner.finish(10)
    assert (code, answer["error"]) == (1, "Cancelled")
    assert "waiting for another run" in answer["message"]
    assert not exists(database, "aurora_migrations.applied")


def test_ctrl_c_while_files_are_read_is_heard_between_two_of_them(database, migrations) -> None:
    """Reading them all takes many seconds."""
    for number in range(1, 41):
        made = (f"CREATE TABLE t{number}_{each} (id integer);\n" for each in range(3_000))
        migrations.write(f"{number:03}_many.sql", "".join(made))
    with start_runner(database, migrations) as runner:
        until(lambda: backends(database), "it is connected")
        time.sleep(1)
        began = time.monotonic()
        runner.interrupt()
        code, answer = runner.finish(10)
    assert (code, answer["error"]) == (1, "Cancelled"), answer
    assert answer["message"] == "Stopped by Ctrl-C while reading the files."
    assert time.monotonic() - began < 5
    assert not exists(database, "aurora_migrations.applied")


def test_ctrl_c_at_random_moments_never_leaves_a_half_done_file(database, migrations) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    steps = write_steps(migrations, 60, "SELECT pg_sleep(0.01);")
    for _ in range(4):
        with start_runner(database, migrations) as runner:
            until(lambda r=runner: backends(database) or not r.running, "it has begun")
            time.sleep(chance.uniform(0, 0.3))
            runner.interrupt()
            code, answer = runner.finish(10)
        assert (code, answer.get("error")) in ((1, "Cancelled"), (0, None)), answer
        all_released(database)
        known = agreed(database)
        assert known == steps[: len(known)]
    apply(database, migrations)
    assert agreed(database) == steps


# What makes the server notice


def test_server_looks_for_its_client_in_every_file(database, migrations) -> None:
    names = "client_connection_check_interval", "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count"
    shown = ", ".join(f"current_setting('{name}')" for name in names)
    for number in (1, 3):
        migrations.write(f"00{number}_show.sql", f"CREATE TABLE t{number} AS SELECT ARRAY[{shown}];")
    migrations.write(
        "002_reset.sql", "RESET ALL; SET client_connection_check_interval = 0; SET tcp_keepalives_idle = 60;"
    )
    apply(database, migrations)
    assert database.query("TABLE t1") == database.query("TABLE t3") == [(["500ms", "1", "1", "2"],)]
    assert "500ms" in session._CHECK_INTERVAL

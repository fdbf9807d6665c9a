"""What a run does that can't go on at once: it waits where it stalls nobody, tries again, gives up, or is stopped."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from aurora_migrations.engine import Session
from aurora_migrations.engine.errors import Cancelled, DatabaseBusy, Deadlock, LockTimeout, StatementTimeout
from aurora_migrations.engine.locks import blockers
from aurora_migrations.engine.locks.blockers import Blocker, LockWait
from aurora_migrations.engine.locks.retry import RetryPolicy
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.postgres.protocol import Command, Row, Wire
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
    released_after,
    start_runner,
    until,
)

PATIENT = Limits(lock_wait=60_000)
ADD = "ALTER TABLE busy ADD COLUMN x integer;"


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
    with released_after(busy, "LOCK TABLE busy IN SHARE MODE", 0.4):
        assert labels(apply(busy, migrations, limits=Limits(lock_wait=0))) == ["001"]
    assert attempts(busy) == [("001", "applied")]


def test_what_takes_long_before_the_lock_may_take_long(busy, migrations) -> None:
    migrations.write("001_x.sql", f"-- migration: lock_timeout = 300ms\nSELECT pg_sleep(0.6);\n{ADD}")
    assert labels(apply(busy, migrations)) == ["001"]


def test_file_that_sets_lock_timeout_itself_goes_by_that(busy, migrations) -> None:
    migrations.write("001_x.sql", f"SET LOCAL lock_timeout = '150ms';\n{ADD}\nSELECT pg_sleep(0.7);")
    limits = Limits(lock_timeout=400, lock_wait=0)
    with holding(busy.url, "LOCK TABLE busy IN SHARE MODE"), pytest.raises(LockTimeout):
        apply(busy, migrations, limits=limits)
    assert labels(apply(busy, migrations, limits=limits)) == ["001"]


def test_new_tables_cost_no_second_session_and_no_round_trips(database, migrations) -> None:
    migrations.write("001_x.sql", "CREATE TABLE a (id int);\nCREATE INDEX ON a (id);\nALTER TABLE a ADD x int;")
    seen: list[int] = []
    look = at("001", lambda: seen.append(backends(database)))
    result = apply(database, migrations, listener=Watcher(executing=look))
    watch = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'aurora-migrations-watch%'"
    assert (seen, ask(database, watch)) == ([1], [(0,)])
    assert result.applied[0].held == ()


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
            apply(busy, migrations, limits=Limits(lock_wait=500))
        assert labels(apply(busy, migrations, limits=Limits(lock_wait=30_000, end_idle=300))) == ["001"]
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")


def test_transaction_at_work_is_never_ended(busy, migrations) -> None:
    migrations.write("001_add.sql", ADD)
    with busy.connect() as other:
        work = Task(lambda: other.execute("BEGIN; SELECT count(*) FROM busy; SELECT pg_sleep(0.8); COMMIT"))
        until(lambda: ask(busy, "SELECT 1 FROM pg_locks WHERE relation = 'busy'::regclass"), "it is at work")
        assert labels(apply(busy, migrations, limits=Limits(lock_wait=30_000, end_idle=0))) == ["001"]
        work.result()


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
        threading.Timer(0.2, only.close).start()
        assert labels(apply(database, migrations, url=url, limits=PATIENT)) == ["001"]


def test_statement_timeout_of_the_environment_holds_for_files_that_say_nothing(database, migrations) -> None:
    migrations.write("001_x.sql", "SELECT pg_sleep(30);")
    with pytest.raises(StatementTimeout, match="57014"):
        apply(database, migrations, limits=Limits(lock_timeout=100, statement_timeout=300, lock_wait=0))
    migrations.write("001_x.sql", "-- migration: statement_timeout = 10s\nSELECT pg_sleep(0.6);")
    limits = Limits(lock_timeout=100, statement_timeout=300, lock_wait=0)
    assert labels(apply(database, migrations, limits=limits)) == ["001"]
    assert applied(database) == ["001"]


def test_file_of_several_parts_with_a_role_is_tried_again(busy, migrations, roles) -> None:
    role = roles.create("NOLOGIN")
    busy.execute(f"ALTER TABLE busy OWNER TO {role.name}; GRANT CREATE ON SCHEMA public TO {role.name}")
    text = f"SET ROLE {role.name};\nCREATE TABLE mine (id int);\nBEGIN;\n{ADD}\nCREATE TABLE also (id int);\nCOMMIT;\n"
    migrations.write("001_x.sql", text)
    with released_after(busy, "LOCK TABLE busy IN SHARE MODE", 0.3):
        assert labels(apply(busy, migrations, limits=PATIENT)) == ["001"]
    owners = ask(busy, "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename IN ('mine', 'also')")
    assert owners == [(role.name,)]


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


def test_try_that_was_rolled_back_leaves_nothing_in_the_session(busy, migrations) -> None:
    """Of every kind of advisory lock, one; a second PREPARE of the same name would fail."""
    keys = {"": "42", "_shared": "-43", "/two": "-1, 2", "_shared/two": "3, -4"}
    locks, unlocks = (
        ", ".join(f"pg_advisory_{verb}{kind.partition('/')[0]}({key})" for kind, key in keys.items())
        for verb in ("lock", "unlock")
    )
    migrations.write("001_x.sql", f"PREPARE p AS SELECT 1;\nSELECT {locks};\n{ADD}\nSELECT {unlocks};")
    free = "SELECT " + ", ".join(f"pg_try_advisory_xact_lock({key})" for key in keys.values())
    seen: list[object] = []

    with holding(busy.url, "LOCK TABLE busy IN SHARE MODE") as other:

        def look(wait: LockWait) -> None:
            seen.extend(ask(busy, free))
            other.execute("ROLLBACK")

        assert labels(apply(busy, migrations, limits=PATIENT, listener=Watcher(blocked=look))) == ["001"]
    assert seen == [(True, True, True, True)]


def test_application_may_catch_up_between_two_tries(busy, migrations) -> None:
    """Though whoever was in the way is gone at once."""
    migrations.write("001_x.sql", ADD)
    with holding(busy.url, "LOCK TABLE busy IN SHARE MODE") as other:
        gone = Watcher(blocked=lambda wait: other.execute("ROLLBACK"))
        apply(busy, migrations, limits=PATIENT, listener=gone)
    # Each has recorded its own end: one that the next has closed as interrupted would show no pause.
    assert {result for _, result in attempts(busy)} == {"failed", "applied"}
    query = (
        "SELECT extract(epoch FROM started_at - lag(finished_at) OVER (ORDER BY id)) FROM aurora_migrations.attempts"
    )
    pauses = [pause for (pause,) in ask(busy, query) if pause is not None]
    assert pauses
    assert min(pauses) >= 0.1  # as long as the first try may have stalled it


def retry_policy_of(limits: Limits) -> RetryPolicy:
    return RetryPolicy(limits, lambda wanted: wanted, lambda wait: None)


@pytest.mark.usefixtures("brisk")
def test_try_after_a_deadlock_gives_way_before_the_server_has_to_end_somebody(database) -> None:
    policy, error = retry_policy_of(Limits(lock_timeout=20_000, lock_wait=60_000)), Deadlock("a deadlock")
    policy.attempt_ms = 3_000
    with Session(database.url, "waits") as session:
        policy.on_failure(error)
        policy.wait(session, error)
    assert policy.attempt_ms == 800  # of deadlock_timeout, which is one second


def timed_out(kind: str | None) -> LockTimeout:
    """A try that found an autovacuum in its way, or another kind of session."""
    blocker = Blocker(17, None, None, None, None, "SHARE UPDATE EXCLUSIVE", "9/9", None, kind)
    return LockTimeout("waited too long", about=LockWait("busy", "ACCESS EXCLUSIVE", 100.0, (blocker,)))


@pytest.mark.usefixtures("brisk")
def test_autovacuum_that_had_its_chance_to_give_way_is_waited_for_as_others_are(database, monkeypatch) -> None:
    """One against wraparound never gives way, and our role may not see that it is one. It has its chance once a try
    was longer than the server takes to ask it."""
    waited_for: list[set[str]] = []
    monkeypatch.setattr(blockers, "find_open", lambda session, found: waited_for.append(set(found)) or set())
    policy = retry_policy_of(Limits(lock_timeout=5_000, lock_wait=60_000))
    tried: list[float] = []
    with Session(database.url, "waits") as session:
        while not waited_for:
            tried.append(policy.attempt_ms)
            policy.on_failure(error := timed_out("autovacuum worker"))
            policy.wait(session, error)
    assert waited_for == [{"9/9"}]
    assert tried == [100, 1_300, 2_600]


def test_last_error_names_who_an_earlier_try_had_waited_for() -> None:
    """The last try may have been too short to see them."""
    left = 1_000
    policy = RetryPolicy(Limits(), lambda wanted: replace(wanted, lock_wait=left), lambda wait: None)
    policy.on_failure(timed_out(None))
    left = 0
    with pytest.raises(LockTimeout) as caught:
        policy.on_failure(LockTimeout("Waited too long."))
    assert "Tried 2 times" in caught.value.message
    assert "An earlier try waited for ACCESS EXCLUSIVE on busy, held by a session" in caught.value.message
    assert [blocker["pid"] for blocker in caught.value.facts["blockers"]] == [17]  # type: ignore[index,union-attr]


# ---- Ctrl-C ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize(
    ("asked", "lost", "limits"),
    [
        (blockers._LOCK_WAIT, False, Limits(lock_timeout=30_000, lock_wait=0)),
        (blockers._STILL_OPEN, False, Limits(lock_wait=30_000)),
        (blockers._STILL_OPEN, True, Limits(lock_wait=30_000)),
    ],
    ids=["who is in the way", "whether they are gone", "the same, and the connection is lost"],
)
def test_ctrl_c_while_the_server_is_asked_stops_the_run(
    busy, migrations, asked: str, lost: bool, limits: Limits
) -> None:
    migrations.write("001_add.sql", ADD)
    original, left = Wire.execute_pipeline, [asked]

    def pressed(wire: Wire, commands: Sequence[Command], *more: Any, **ahead: Any) -> list[list[Row]]:
        if left and any(command.sql == left[0] for command in commands):
            left.clear()
            wire.interrupted = True  # as Ctrl-C leaves it that came while the server was asked
            if lost:
                ask(busy, "SELECT pg_terminate_backend(%s, 5000)", (wire.connection.info.backend_pid,))
        return original(wire, commands, *more, **ahead)

    with holding(busy.url, "LOCK TABLE busy IN SHARE MODE"), pytest.MonkeyPatch.context() as patched:
        patched.setattr(Wire, "execute_pipeline", pressed)
        began = time.monotonic()
        with pytest.raises(Cancelled):
            apply(busy, migrations, limits=limits)
        assert time.monotonic() - began < 10
    assert left == []
    assert attempts(busy)[0] == ("001", "failed")
    assert labels(apply(busy, migrations)) == ["001"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no Ctrl-C to a single process")
def test_ctrl_c_while_files_are_read_is_heard_between_two_of_them(database, migrations) -> None:
    """Reading them all takes many seconds."""
    for number in range(1, 41):
        made = (f"CREATE TABLE t{number}_{each} (id integer);\n" for each in range(3_000))
        migrations.write(f"{number:03}_many.sql", "".join(made))
    with start_runner(database, migrations) as runner:
        until(lambda: backends(database), "it is connected")
        time.sleep(0.5)
        began = time.monotonic()
        runner.interrupt()
        code, answer = runner.finish(10)
    assert (code, answer["error"]) == (1, "Cancelled"), answer
    assert answer["message"] == "Stopped by Ctrl-C while reading the files."
    assert time.monotonic() - began < 5
    assert not exists(database, "aurora_migrations.applied")

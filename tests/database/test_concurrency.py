"""Many runs at once: one works, the others wait for it without being in its way, and say whom they wait for."""

import contextlib
import time

import psycopg
import pytest

from aurora_migrations.engine import RunResult, Session, history_format
from aurora_migrations.engine.errors import AnotherRunInProgress, ConnectionLost
from aurora_migrations.engine.postgres.session import RUN_LOCK, acquire_run_lock, application_name
from tests.database.helpers import (
    Task,
    Watcher,
    agreed,
    applied,
    apply,
    attempts,
    backend,
    exists,
    holding_run_lock,
    labels,
    on_server,
    start_runner,
    tables,
    until,
    write_steps,
)
from tests.servers import Database

WAITING = """
SELECT state, backend_xid, backend_xmin, pid FROM pg_stat_activity
 WHERE application_name LIKE 'aurora-migrations %' AND datname = current_database()
"""


# Races


def test_two_runners_at_once_apply_each_migration_once(database, migrations) -> None:
    steps = write_steps(migrations, 24)
    with start_runner(database, migrations) as one, start_runner(database, migrations) as two:
        answers = [one.finish(60), two.finish(60)]
    assert [code for code, _ in answers] == [0, 0], answers
    assert sorted(file["migration"] for _, answer in answers for file in answer["applied"]) == steps
    assert agreed(database) == steps
    assert attempts(database) == [(step, "applied") for step in steps]


def test_sixteen_runners_at_once_apply_each_migration_once(database, migrations) -> None:
    steps = write_steps(migrations, 24)
    runs = [Task(apply, database, migrations, execution=f"test-{n}") for n in range(16)]
    results: list[RunResult] = [run.result(60) for run in runs]
    assert sorted(label for result in results for label in labels(result)) == steps
    assert agreed(database) == steps
    assert attempts(database) == [(step, "applied") for step in steps]


def test_runners_with_different_targets_agree(database, migrations) -> None:
    steps = write_steps(migrations, 12)
    runs = [Task(apply, database, migrations, step) for step in steps]
    results: list[RunResult] = [run.result(60) for run in runs]
    assert sorted(label for result in results for label in labels(result)) == steps
    assert agreed(database) == steps


def test_history_in_the_making_is_never_taken_for_something_else(database) -> None:
    """A run that begins while another makes the history sees either no history or a whole one."""
    ended = False

    def read() -> set[int]:
        seen = set()
        with Session(database.url, "reads") as session:
            while not ended:
                seen.add(history_format.read_format(session))
        return seen

    readers = [Task(read) for _ in range(3)]
    try:
        with Session(database.url, "makes") as session, database.connect() as other:
            acquire_run_lock(session, 1, lambda holder: None)
            for _ in range(60):
                history_format.upgrade(session)
                other.execute("DROP SCHEMA aurora_migrations CASCADE")
    finally:
        ended = True
    assert set.union(*(reader.result() for reader in readers)) == {0, len(history_format.FORMATS)}


# Somebody else has the lock


def test_run_gives_up_within_its_budget_and_says_who_has_the_lock(database, migrations, roles) -> None:
    migrations.write("001_first.sql", "CREATE TABLE a (id integer);")
    other = roles.create()
    watcher = Watcher()
    with holding_run_lock(database.url_as(other), application_name="psql of Ana") as connection:
        pid = connection.info.backend_pid
        shown = "SELECT to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') FROM pg_stat_activity"
        [(since,)] = database.query(f"{shown} WHERE pid = %s", (pid,))
        began = time.monotonic()
        with pytest.raises(AnotherRunInProgress) as caught:
            apply(database, migrations, wait=0.7, listener=watcher)
        took = time.monotonic() - began
    error = caught.value
    assert 0.7 <= took < 5
    assert (
        f"psql of Ana (pid {pid}, user {other.name}), connected since {since[:19].replace(' ', 'T')}Z" in error.message
    )
    assert "isn't a run of this product" in error.cause
    assert f"pg_terminate_backend({pid})" in error.solution
    assert error.facts["holder"]["pid"] == pid  # type: ignore[index]
    assert error.retryable
    assert [holder.pid for holder in watcher.waited_for if holder] == [pid]
    assert not exists(database, "aurora_migrations.applied")
    assert tables(database) == []


def test_run_that_may_not_see_since_when_says_which_grant_it_lacks(database, migrations, roles) -> None:
    runner = roles.create()
    database.execute(f"GRANT CREATE ON DATABASE {database.name} TO {runner.name}")
    migrations.write("001_first.sql", "SELECT 1;")
    with holding_run_lock(database.url) as other:
        pid = other.info.backend_pid
        with pytest.raises(AnotherRunInProgress) as caught:
            apply(database, migrations, wait=0, url=database.url_as(runner))
    assert f"pid {pid}, user postgres" in caught.value.message
    assert "pg_read_all_stats" in caught.value.message

    database.execute(f"GRANT pg_read_all_stats TO {runner.name}")
    with holding_run_lock(database.url), pytest.raises(AnotherRunInProgress) as caught:
        apply(database, migrations, wait=0, url=database.url_as(runner))
    assert "pg_read_all_stats" not in caught.value.message


def test_run_that_waits_for_a_run_names_its_execution(database, migrations) -> None:
    write_steps(migrations, 1)
    with Session(database.url, "nightly-17") as session:
        acquire_run_lock(session, 0, lambda holder: None)
        with pytest.raises(AnotherRunInProgress, match="nightly-17") as caught:
            apply(database, migrations, wait=0)
    assert caught.value.cause == AnotherRunInProgress.cause
    assert application_name("nightly-17") in caught.value.message


def test_run_goes_on_as_soon_as_the_lock_is_free_and_looks_again_at_what_is_pending(database, migrations) -> None:
    steps = write_steps(migrations, 3)
    watcher = Watcher()
    with holding_run_lock(database.url):
        run = Task(apply, database, migrations, listener=watcher)
        until(lambda: watcher.waited_for, "it waits")
    assert labels(run.result()) == steps

    write_steps(migrations, 5)
    watcher = Watcher()
    with Session(database.url, "other") as other:
        acquire_run_lock(other, 0, lambda holder: None)
        run = Task(apply, database, migrations, listener=watcher)
        until(lambda: watcher.waited_for, "it waits")
        other.close()
        others = labels(apply(database, migrations))
    assert sorted(others + labels(run.result())) == ["004", "005"]
    assert agreed(database) == [*steps, "004", "005"]


def test_listener_is_told_of_each_holder_in_turn(database, migrations) -> None:
    write_steps(migrations, 1)
    watcher = Watcher()
    with contextlib.ExitStack() as first:
        one = first.enter_context(holding_run_lock(database.url)).info.backend_pid
        run = Task(apply, database, migrations, listener=watcher)
        until(lambda: watcher.waited_for, "it waits")
        with psycopg.connect(database.url, autocommit=True) as two:
            takes = Task(two.execute, "SELECT pg_advisory_lock(%s)", [RUN_LOCK])
            until(
                lambda: database.query("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"), "queued"
            )
            first.close()
            takes.result()
            until(lambda: len(watcher.waited_for) == 2, "it waits for the second")
            assert [holder.pid for holder in watcher.waited_for if holder] == [one, two.info.backend_pid]
    assert labels(run.result()) == ["001"]


def test_a_session_that_queues_for_the_lock_does_not_take_it_from_a_run(database, migrations) -> None:
    """As one in psql does."""
    write_steps(migrations, 3, more="SELECT pg_sleep(0.3);")
    run = Task(apply, database, migrations)
    backend(database, "pg_sleep")
    with psycopg.connect(database.url, autocommit=True) as other:
        takes = Task(other.execute, "SELECT pg_advisory_lock(%s)", [RUN_LOCK])
        assert labels(run.result()) == ["001", "002", "003"]
        takes.result()


def test_lock_in_another_database_is_another_lock(server, database, migrations) -> None:
    write_steps(migrations, 1)
    other = on_server(server)
    try:
        with holding_run_lock(other.url):
            assert labels(apply(database, migrations, wait=0)) == ["001"]
    finally:
        other.drop()


def test_nothing_to_do_needs_no_lock(database, migrations) -> None:
    write_steps(migrations, 2)
    apply(database, migrations)
    with holding_run_lock(database.url):
        assert apply(database, migrations, wait=0).applied == ()
        assert apply(database, migrations, "001", wait=0).already_applied is not None


# Waiting is in nobody's way


def test_waiting_run_holds_no_snapshot(database, migrations) -> None:
    write_steps(migrations, 1)
    watcher = Watcher()
    with holding_run_lock(database.url) as other:
        run = Task(apply, database, migrations, listener=watcher)
        until(lambda: watcher.waited_for, "it waits")
        idle = 0
        while idle < 100:
            [(state, xid, xmin, _)] = other.execute(WAITING).fetchall()
            if state == "idle":
                assert (xid, xmin) == (None, None)
                idle += 1
            assert state != "idle in transaction"
            time.sleep(0.005)
    run.result()


def test_index_is_built_concurrently_while_runs_wait(database, migrations) -> None:
    """It waits for every snapshot older than itself, so a run that waited holding one would make it wait for ever."""
    database.execute("CREATE TABLE big AS SELECT generate_series(1, 1000) AS id")
    write_steps(migrations, 3)
    with holding_run_lock(database.url) as other:
        watchers = [Watcher() for _ in range(4)]
        runs = [Task(apply, database, migrations, listener=watcher) for watcher in watchers]
        until(lambda: all(watcher.waited_for for watcher in watchers), "all wait")
        other.execute("SET statement_timeout = '20s'")
        other.execute("CREATE INDEX CONCURRENTLY big_idx ON big (id)")
    assert sorted(label for run in runs for label in labels(run.result())) == ["001", "002", "003"]


def test_waiting_run_whose_session_is_ended_is_a_lost_connection(database, migrations) -> None:
    write_steps(migrations, 1)
    watcher = Watcher()
    with holding_run_lock(database.url) as other:
        run = Task(apply, database, migrations, listener=watcher)
        until(lambda: watcher.waited_for, "it waits")
        [(_, _, _, pid)] = other.execute(WAITING).fetchall()
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
        with pytest.raises(ConnectionLost) as caught:
            run.result()
    assert caught.value.retryable
    assert applied(database) == []


def test_readers_see_only_whole_files_while_a_run_is_under_way(database: Database, migrations) -> None:
    steps = write_steps(migrations, 30)
    run = Task(apply, database, migrations)
    looks = 0
    with psycopg.connect(database.url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        until(lambda: exists(database, "aurora_migrations.applied"), "the history is made")
        while run.is_alive():
            with connection.transaction():
                rows = connection.execute(
                    "SELECT 't' || split_part(name, '_', 1) FROM aurora_migrations.applied"
                ).fetchall()
                made = connection.execute("SELECT relname::text FROM pg_class WHERE relname ~ '^t[0-9]{3}$'").fetchall()
            assert sorted(rows) == sorted(made)
            looks += 1
    assert labels(run.result()) == steps
    assert looks > 0

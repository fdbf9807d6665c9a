"""Family contention: others hold locks, or another run is at work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from aurora_migrations.engine import Request, errors
from aurora_migrations.engine.locks import locked_session
from aurora_migrations.engine.postgres import connect as connecting
from tests.cli.conftest import Answer
from tests.cli.scenes import adopted
from tests.cli.stage import Stage
from tests.database.helpers import Task, attempts, backend, holding, holding_run_lock, last_error, until

ADD = "ALTER TABLE busy ADD COLUMN note text;\n"
RECORD = b"INSERT INTO aurora_migrations.applied"
AT_ONCE = ("run", "--lock-wait", "0s")
SHORT = ("run", "--lock-wait", "0s", "--lock-timeout", "200ms")


def busy(stage: Stage, mode: str = "ACCESS SHARE") -> Stage:
    """Somebody sits in a transaction, and has a lock that the next file needs."""
    stage.sql("CREATE TABLE busy (id integer)").ran().write(f003_c=ADD)
    stage.enter(holding(stage.database.url, f"LOCK TABLE busy IN {mode} MODE"))
    return stage


# ---- locks ----------------------------------------------------------------------------------------------------------


def _locked(stage: Stage, *words: str) -> Answer:
    busy(stage)
    answer = stage.on("run", *words)
    for _ in range(4):  # a slow machine may end a try before it was seen who is in the way
        if "1:1: waited" in answer.err:
            break
        answer = stage.on("run", *words)
    return answer


def _hidden(stage: Stage) -> Answer:
    """Our role may not see what others do."""
    role = stage.roles.create()
    stage.sql("CREATE TABLE busy (id integer)")
    stage.sql(f'GRANT CREATE ON DATABASE "{stage.database.name}" TO {role.name}; ALTER TABLE busy OWNER TO {role.name}')
    stage.write(f001_users=ADD, f001_users_down=None, f002_orders=None, f002_orders_down=None)
    stage.enter(holding(stage.database.url, "LOCK TABLE busy IN SHARE MODE"))
    return stage.on("run", "--lock-wait", "0s", "--lock-timeout", "3s", url=stage.database.url_as(role))


def _nobody_looks(stage: Stage) -> Answer:
    """There is no connection left for the second session, which looks who is in the way."""
    role = stage.roles.create("LOGIN CONNECTION LIMIT 1")
    stage.sql("CREATE TABLE busy (id integer)")
    stage.sql(f'GRANT CREATE ON DATABASE "{stage.database.name}" TO {role.name}; ALTER TABLE busy OWNER TO {role.name}')
    stage.write(f001_users=ADD, f001_users_down=None, f002_orders=None, f002_orders_down=None)
    stage.enter(holding(stage.database.url, "LOCK TABLE busy IN SHARE MODE"))
    return stage.on(*SHORT, url=stage.database.url_as(role))


def _history_locked(stage: Stage, *words: str) -> Answer:
    """Somebody works on the history in psql, or VACUUM FULL does."""
    stage.patch.setitem(connecting.STARTUP_SETTINGS, "lock_timeout", "200")
    stage.ran().enter(holding(stage.database.url, "LOCK TABLE aurora_migrations.applied"))
    return stage.on(*words)


def _record_locked(stage: Stage) -> Answer:
    """The same, of the other table, while a file runs."""
    stage.patch.setitem(connecting.STARTUP_SETTINGS, "lock_timeout", "200")
    stage.ran().write(f003_c="CREATE TABLE c (id integer);\nSELECT pg_sleep(0.4);\n")
    done = threading.Event()

    def lock() -> None:
        backend(stage.database, "pg_sleep")
        with holding(stage.database.url, "LOCK TABLE aurora_migrations.applied IN SHARE MODE"):
            done.wait(20)

    other = Task(lock)
    answer = stage.on(*SHORT)
    done.set()
    other.result()
    return answer


def _deadlock(stage: Stage) -> Answer:
    """Two sessions take the same two locks, each in its order."""
    stage.sql("CREATE TABLE one (id integer); CREATE TABLE two (id integer)").ran()
    stage.write(
        f003_c="-- migration: lock_timeout = 20s\nSET LOCAL deadlock_timeout = '50ms';\n"
        "LOCK TABLE one;\nSELECT pg_sleep(0.3);\nLOCK TABLE two;\n"
    )

    def cross() -> None:
        with holding(stage.database.url, "SET LOCAL deadlock_timeout = '60s'; LOCK TABLE two") as other:
            held = "SELECT 1 FROM pg_locks WHERE relation = 'one'::regclass AND granted"
            until(lambda: stage.database.query(held), "the file has its lock")
            other.execute("LOCK TABLE one")

    return stage.beside(cross, *AT_ONCE)


def _several_locks(stage: Stage) -> Answer:
    """Others let go of the first table soon, and not of the second."""
    stage.sql("CREATE TABLE busy (id integer); CREATE TABLE second (id integer)").ran()
    stage.write(f003_c="-- migration: lock_timeout = 1s\nLOCK TABLE busy, second;\n")
    stage.enter(holding(stage.database.url, "LOCK TABLE second"))

    def hold() -> None:
        with holding(stage.database.url, "LOCK TABLE busy"):
            waits = "SELECT 1 FROM pg_locks WHERE relation = 'busy'::regclass AND NOT granted"
            until(lambda: stage.database.query(waits), "the file waits")
            time.sleep(0.6)

    return stage.beside(hold, *AT_ONCE)


def slow_promises(stage: Stage, seconds: float) -> Stage:
    """Two promises that hold for ever, of views that take their time since now."""
    views = "".join(f"CREATE VIEW slow{n} AS SELECT pg_sleep(seconds) IS NULL AS x FROM pace;\n" for n in (1, 2))
    promises = "".join(f"-- verify always: rows slow{n} = 1\n" for n in (1, 2))
    stage.sql("CREATE TABLE pace (seconds float8); INSERT INTO pace VALUES (0)")
    stage.write(f003_c=promises + views).ran()
    return stage.sql(f"UPDATE pace SET seconds = {seconds}")


def _locked_promise(stage: Stage) -> Answer:
    slow_promises(stage, 0).machine.variables.update(LOCK_TIMEOUT_MS="100")
    stage.enter(holding(stage.database.url, "LOCK TABLE pace"))
    return stage.refused(errors.LockTimeout, {"action": "verify"}, step="verify")


# ---- other runs -----------------------------------------------------------------------------------------------------


def another_run(stage: Stage, application: str) -> Answer:
    stage.enter(holding_run_lock(stage.database.url, application_name=application))
    return stage.on("run", "--wait", "100ms")


def _between(stage: Stage, do: Callable[[], object]) -> None:
    """Somebody does this once the run has lost its connection, and before it opens the next."""
    connect, left = locked_session.connect, [do]

    def first(request: Request, again: bool = False) -> Any:
        while again and left:
            left.pop()()
        return connect(request, again)

    stage.patch.setattr(locked_session, "connect", first)


def _overtaken_at_commit(stage: Stage) -> Answer:
    stage.ran().write(f003_c="SELECT 1;\n", f004_d="SELECT 2;\n")
    _between(stage, lambda: stage.enter(holding_run_lock(stage.database.url)))
    stage.proxy.cut_after(RECORD)
    return stage.on("run", "--wait", "100ms", url=stage.by_proxy)


def _overtaken_while_waiting(stage: Stage, meanwhile: Callable[[], object]) -> Answer:
    """The run waits for others to let go of their locks, and its connection is ended."""
    busy(stage)
    _between(stage, meanwhile)

    def end() -> None:
        until(lambda: ("003", "failed") in attempts(stage.database), "its first try has failed")
        # Only where it has seen who has the lock does it wait for those; else it soon tries again.
        until(lambda: (last_error(stage.database) or {}).get("blockers"), "it waits for them")
        time.sleep(0.1)
        ours = "datname = current_database() AND application_name LIKE 'aurora-migrations cli%'"
        between_tries = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours} AND state = 'idle'"
        until(lambda: stage.database.query(between_tries), "it is between two tries")

    return stage.beside(end, "run", "--lock-wait", "20s", "--lock-timeout", "200ms")


def _held_by_another(stage: Stage) -> Answer:
    return _overtaken_while_waiting(stage, lambda: stage.enter(holding_run_lock(stage.database.url)))


def _changed_by_another(stage: Stage) -> Answer:
    gone = "DELETE FROM aurora_migrations.applied WHERE version = 2"
    return _overtaken_while_waiting(stage, lambda: stage.sql(gone))


SCENES = {
    "LockTimeout": [
        ("others hold a lock on its table", lambda s: _locked(s, "--lock-timeout", "1s", "--lock-wait", "2s")),
        ("several tables, one after the other", _several_locks),
        ("the role may not see who holds it", _hidden),
        ("there is no connection left to see who holds it", _nobody_looks),
        ("others hold a lock on the history", lambda s: _history_locked(s, "status")),
        ("others take a lock while a file runs", _record_locked),
        ("others hold a lock on the table of a lasting expectation", _locked_promise),
    ],
    "Deadlock": [("another session takes the same locks in another order", _deadlock)],
    "AnotherRunInProgress": [
        ("another run has the lock", lambda s: another_run(s, "aurora-migrations cli-other")),
        ("somebody holds it in psql", lambda s: another_run(s, "psql")),
        ("another run took the lock when the reply to COMMIT was lost", _overtaken_at_commit),
        ("another run took the lock when the connection was lost", _held_by_another),
        ("the database was changed when the connection was lost", _changed_by_another),
        *adopted.AT_WORK,
    ],
}

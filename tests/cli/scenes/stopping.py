"""Somebody stops a run: Ctrl-C, an administrator, a person at the console."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from aurora_migrations.compiler import check
from aurora_migrations.engine import interrupts
from aurora_migrations.engine.locks.retry import RetryPolicy
from tests.cli.cloud import stops_explained, waiting
from tests.cli.conftest import Answer
from tests.cli.scenes import adopted, imported
from tests.cli.scenes.contention import busy
from tests.cli.stage import Stage
from tests.database.helpers import Task, backend, holding, holding_run_lock, until

# A trigger that doesn't let itself be cancelled, at COMMIT.
STUBBORN = """\
CREATE TABLE c (id integer);
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_sleep(30); RETURN NULL; EXCEPTION WHEN query_canceled THEN RETURN NULL; END';
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON c DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow();
INSERT INTO c VALUES (1);
"""


# ---- Ctrl-C ---------------------------------------------------------------------------------------------------------


def _press(stage: Stage, when: Callable[[], object], *words: str, url: str | None = None) -> Answer:
    """Ctrl-C is pressed once this is so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    stage.closing.callback(signal.signal, signal.SIGINT, before)
    main = threading.main_thread().ident or 0

    def press() -> None:
        until(when, "the moment")
        signal.pthread_kill(main, signal.SIGINT)

    return stage.beside(press, *words, url=url)


def _press_before(stage: Stage, step: str) -> Answer:
    """Ctrl-C is pressed when the check of the files comes to this step first."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    stage.closing.callback(signal.signal, signal.SIGINT, before)
    real, left = getattr(check, step), [signal.SIGINT]

    def pressed(*given: Any) -> Any:
        while left:
            signal.raise_signal(left.pop())
        return real(*given)

    stage.patch.setattr(check, step, pressed)
    return stage.on("run")


def _in_a_statement(stage: Stage) -> Answer:
    stage.write(f003_c="SELECT pg_sleep(60);\n")
    return _press(stage, lambda: backend(stage.database, "pg_sleep"), "run")


def _at_commit(stage: Stage, text: str) -> Answer:
    # A large file doesn't begin with the COMMIT of the one before.
    stage.ran().write(f003_c=text, f004_d="SELECT 1;\n" + "-- large\n" * 10_000)
    asleep = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    return _press(stage, lambda: stage.database.query(asleep), "run")


def _pauses(of: Callable[..., object] | None = None) -> bool:
    """Whether the run sleeps at this moment, and not within a query; on behalf of this function, if one is named."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None or frame.f_code is not interrupts.pause.__code__:
        return False
    return of is None or (frame.f_back is not None and frame.f_back.f_code is of.__code__)  # type: ignore[attr-defined]


def _while_connecting(stage: Stage) -> Answer:
    """To a server that takes the connection and says nothing."""
    silent = stage.enter(socket.create_server(("127.0.0.1", 0)))
    url = f"postgresql://app@127.0.0.1:{silent.getsockname()[1]}/shop"
    return _press(stage, lambda: interrupts._State.waiting, "run", url=url)


def _while_the_database_is_away(stage: Stage) -> Answer:
    """The session is ended while a file runs, and the run waits before it begins that anew."""
    stage.write(f003_c="SELECT pg_sleep(60);\n")
    end = stage.end("pg_sleep")

    def away() -> bool:
        end()
        until(lambda: _pauses(RetryPolicy.on_connection_lost), "the run waits")
        return True

    return _press(stage, away, "run")


def _while_another_runs(stage: Stage) -> Answer:
    stage.enter(holding_run_lock(stage.database.url, application_name="aurora-migrations cli-other"))
    return _press(stage, _pauses, "run")


def _while_others_hold_locks(stage: Stage) -> Answer:
    busy(stage)
    return _press(stage, _pauses, "run", "--lock-timeout", "200ms")


def _cancelled_look(stage: Stage) -> Answer:
    stage.ran().enter(holding(stage.database.url, "LOCK TABLE aurora_migrations.applied"))
    return stage.beside(stage.end("aurora_migrations.applied ORDER", "pg_cancel_backend"), "status")


def _cancelled_file(stage: Stage) -> Answer:
    stage.write(f003_c="SELECT pg_sleep(60);\n")
    return stage.beside(stage.end("pg_sleep", "pg_cancel_backend"), "run")


def _stopped(stage: Stage) -> Answer:
    """Somebody stops the execution in the console."""
    cloud = stage.cloud.deploy_bare(waiting())
    stops_explained(stage.patch)

    def stop() -> None:
        states = cloud.client("stepfunctions")
        arn = ""
        while not arn or len(states.get_execution_history(executionArn=arn)["events"]) < 2:
            time.sleep(0.02)  # moto doesn't hear a stop before the first state
            arn = next((each["executionArn"] for each in cloud.executions()), "")
        states.stop_execution(executionArn=arn, error="Stopped", cause="by the on-call person")

    other = Task(stop)
    answer = stage.env("run")
    other.result()
    return answer


def _not_confirmed(stage: Stage) -> Answer:
    stage.enter(holding_run_lock(stage.database.url, application_name="aurora-migrations run-1"))
    return stage.types("no").on("cancel")


SCENES = {
    "Cancelled": [
        ("nothing was typed", lambda s: s.ran().types("").on("rollback", "2")),
        *imported.CANCELLED,
        *adopted.CANCELLED,
        ("a cancel wasn't confirmed", _not_confirmed),
        ("Ctrl-C in a statement", _in_a_statement),
        ("Ctrl-C at a COMMIT that goes through", lambda s: _at_commit(s, STUBBORN)),
        ("the same, in a unit", lambda s: _at_commit(s, f"BEGIN;\n{STUBBORN}COMMIT;\nBEGIN;\nSELECT 1;\nCOMMIT;\n")),
        ("Ctrl-C while waiting for another run", _while_another_runs),
        ("Ctrl-C while waiting for locks", _while_others_hold_locks),
        ("Ctrl-C while reading files", lambda s: _press_before(s, "compile_migration")),
        ("Ctrl-C while finding hazards", lambda s: _press_before(s, "find_hazards")),
        ("Ctrl-C while the run connects", _while_connecting),
        ("Ctrl-C while waiting for an unreachable database", _while_the_database_is_away),
        ("an administrator cancels a file's statement", _cancelled_file),
        ("an administrator cancels a read-only command", _cancelled_look),
        ("an execution is stopped", _stopped),
    ],
}

"""A run's sessions: the first, and the one that takes its place where the connection was lost."""

from __future__ import annotations

import random
import time

from aurora_migrations.engine import interrupts
from aurora_migrations.engine.diagnostics.file_errors import partly_in
from aurora_migrations.engine.errors import AnotherRunInProgress, DatabaseBusy, MigratorError
from aurora_migrations.engine.interface import Request
from aurora_migrations.engine.job import Job
from aurora_migrations.engine.postgres import advisory_lock
from aurora_migrations.engine.postgres.session import Session

SETTLE_TIME = 30.0  # seconds in which a commit's fate must be found out
_CONNECTING = "connecting to the database"


def reconnect(request: Request) -> Session:
    """A new session, as soon as the server takes one; a failover or a restart takes some seconds."""
    deadline = time.monotonic() + SETTLE_TIME
    while True:
        try:
            with interrupts.stopped(_CONNECTING), interrupts.heard():
                session = Session(request.url, request.execution)
            session.prepare_to_write()
            return session
        except MigratorError as error:
            if not error.retryable or time.monotonic() > deadline:
                raise
            interrupts.pause(0.2, _CONNECTING)


def connect(request: Request) -> Session:
    """A first session; a server that takes no connection at this moment is asked again for a while."""
    deadline = time.monotonic() + min(SETTLE_TIME, request.limits.lock_wait / 1_000)
    while True:
        try:
            with interrupts.stopped(_CONNECTING), interrupts.heard():
                return Session(request.url, request.execution)
        except DatabaseBusy:
            if time.monotonic() > deadline:
                raise
            interrupts.pause(random.uniform(0.5, 1.5), _CONNECTING)


def take_over(session: Session, request: Request, before: int) -> AnotherRunInProgress | None:
    """Has a new session take the run lock; returns the error if another session than ours has it.

    Args:
        before: the process id of the session that was lost.

    Raises:
        AnotherRunInProgress: nobody can say who has it, or the lost session still does.
    """
    try:
        advisory_lock.acquire(session, SETTLE_TIME, request.listener.waiting, yields_to_others=before)
    except AnotherRunInProgress as error:
        if error.facts.get("holder_pid") in (None, before):
            raise
        return error
    return None


def overtaken(job: Job, doing: str, parts: int | None, busy: AnotherRunInProgress | None) -> AnotherRunInProgress:
    """What to say where somebody else took the lock in the moment in which we had lost it.

    Args:
        doing: what the file did then.
        parts: how many of its parts are through by now; None: all of it, and its record.
    """
    return AnotherRunInProgress(
        f"The connection was lost while {job.file} {doing}, and another run has worked on the database since.",
        cause=busy.cause if busy else "Another run began in the moment in which this one had lost its connection.",
        solution="See `aurora-migrations status`, then run again: the run goes on from what is true.",
        state=f"{_how_far(job, parts)} What came after it in this run was not begun.",
        migration=job.migration.label,
        file=job.file,
    )


def _how_far(job: Job, parts: int | None) -> str:
    if parts is None:
        return f"{job.file} {'is in' if job.action == 'apply' else 'is rolled back'}."
    return partly_in(job, parts) or f"Nothing of {job.file} is through."

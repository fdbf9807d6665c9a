"""The session that holds the run lock, replaced by another one where its connection was lost."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Self

from aurora_migrations.engine import history, history_format, interrupts
from aurora_migrations.engine.errors import (
    AnotherRunInProgress,
    Cancelled,
    DatabaseBusy,
    MigratorError,
    StatementTimeout,
)
from aurora_migrations.engine.interface import Request
from aurora_migrations.engine.nontransactional.limits import LeftToServer
from aurora_migrations.engine.postgres.session import Holder, Session, acquire_run_lock

if TYPE_CHECKING:
    from aurora_migrations.engine.nontransactional.intents import Running

SETTLE_TIME = 30.0  # seconds in which a lost session must be replaced and a commit's fate be found out
_CONNECTING = "connecting to the database"


class LockedSession:
    """A run's session: it takes the run lock, and holds it until it ends."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.has_waited = False  # for another run
        self._adopted: Running | None = None  # what another run has left, and this one waits for
        self.session = connect(request)
        request.listener.connected(self.session)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the session, and with it the lock."""
        self.session.close()
        self._request.listener.closed()

    def take_lock(self) -> None:
        """Takes the run lock, which the session holds until it ends, and brings the history up to date."""
        self.session.prepare_to_write()

        def waiting(holder: Holder | None) -> None:
            self.has_waited = True
            self._request.listener.waiting(holder)

        try:
            acquire_run_lock(self.session, self._request.wait, waiting, doing=self._doing)
        except (Cancelled, StatementTimeout) as error:  # by whoever limits our time
            if self._adopted and self._request.is_time_up():
                raise LeftToServer(str(self._adopted)) from error
            raise
        history_format.upgrade(self.session)
        history.close_interrupted(self.session)

    def reconnect(self) -> AnotherRunInProgress | None:
        """Replaces a lost session by one that holds the run lock.

        As long as the lost session lives, its commit may still happen. So the new one must get the lock, or see that
        another session has it: either proves that the lost session is gone. Returns the error, if another run has the
        lock; raises it, if the holder is unknown, or is still the lost session.
        """
        lost_pid, interrupted = self.session.server.pid, self.session.wire.interrupted
        self.session.close()
        self._request.listener.closed()
        self.session = connect(self._request, again=True)
        self._request.listener.connected(self.session)
        other_run = None
        try:
            waiting = self._request.listener.waiting
            acquire_run_lock(self.session, SETTLE_TIME, waiting, yields_to_others=lost_pid, doing=self._doing)
        except AnotherRunInProgress as error:
            if error.facts.get("holder_pid") in (None, lost_pid):
                raise
            other_run = error
        self.session.wire.interrupted |= interrupted
        return other_run

    def _doing(self, pid: int) -> str | None:
        """What the holder of the run lock runs outside any transaction: a build outlives the run that began it.

        Raises:
            LeftToServer: it does, and this run's time is up.
        """
        # Only a run that waits for another one comes here.
        from aurora_migrations.engine.nontransactional.intents import read_running

        self._adopted = running = read_running(self.session, pid, self._adopted)
        if running and self._request.is_time_up():
            raise LeftToServer(str(running))
        return str(running) if running else None


def connect(request: Request, again: bool = False) -> Session:
    """Opens a session, and retries for a while: `again`, as a restart or a failover may last for some seconds; for the
    first session, only where the server takes no connection at the moment."""
    deadline = time.monotonic() + (SETTLE_TIME if again else min(SETTLE_TIME, request.limits.lock_wait / 1_000))
    while True:
        try:
            with interrupts.as_cancelled(_CONNECTING), interrupts.interruptible():
                session = Session(request.url, request.execution)
            if again:
                session.prepare_to_write()
            return session
        except MigratorError as error:
            transient = error.retryable if again else isinstance(error, DatabaseBusy)
            if not transient or time.monotonic() > deadline:
                raise
            interrupts.pause(0.2 if again else random.uniform(0.5, 1.5), _CONNECTING)

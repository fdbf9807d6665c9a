"""Whether and when a run tries again what a transient fault has stopped: the one place that knows.

Where others hold locks, a try queues for a short time only, and is rolled back. Then we wait where we stall nobody,
until exactly the transactions that were in the way are over, and try again for twice as long, up to what was promised.
So whoever blocks for long costs the application one short stall, and a table that is never free for a moment, as others
hold it in turns, gets the longer try that it needs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from aurora_migrations.engine import interrupts
from aurora_migrations.engine.errors import Cancelled, Deadlock, LockTimeout, MigratorError
from aurora_migrations.engine.locks import blockers
from aurora_migrations.engine.locks.blockers import Blocker, LockWait
from aurora_migrations.engine.options import Limits, format_duration
from aurora_migrations.engine.postgres.session import Session

FIRST_TRY = 100  # ms
MOST_TRIES = 500
MOST_CONNECTIONS = 5  # lost ones that a run replaces
_BEYOND_DEADLOCK_TIMEOUT = 300  # ms; when an autovacuum has been asked to give way, it takes a moment to do so
_POLL = (0.05, 0.5)  # seconds, the first and the longest, between two looks whether they are gone
MEANWHILE = "waiting for others to let go of their locks"
_PAUSE = (0.2, 10.0)  # the same, where nobody was seen in the way


class RetryPolicy:
    """A run's patience, which is one for all its files.

    Attributes:
        attempt_ms: how long the next try of the file may queue for locks that block the application.
        waits: what tries of the file that failed had waited for, in order.
    """

    def __init__(
        self, limits: Limits, limits_now: Callable[[Limits], Limits], on_wait: Callable[[LockWait], None]
    ) -> None:
        """Begins a run.

        Args:
            limits_now: gives what is left of limits at the moment; never more than they are.
            on_wait: told whenever others are waited for.
        """
        self._kept = limits.lock_wait / 1_000  # seconds
        self._limits_now = limits_now
        self._on_wait = on_wait
        self._connections = 0
        self.begin_file(limits)

    def begin_file(self, limits: Limits) -> None:
        """A file's turn has come."""
        self._limits = limits
        self._began = time.monotonic()
        self._counted = time.monotonic()
        self._asked: set[str] = set()
        self._tries = 0
        self.attempt_ms = min(FIRST_TRY, limits.lock_timeout) if limits.lock_wait else limits.lock_timeout
        self.waits: list[LockWait] = []

    def on_failure(self, error: MigratorError) -> None:
        """Takes note of a try that failed.

        Raises:
            MigratorError: the error itself, if there is to be no other try.
        """
        self._tries += 1
        self._count()
        wait: LockWait | None = getattr(error, "wait", None)
        if wait is not None:
            self.waits.append(wait)
        if not isinstance(error, LockTimeout | Deadlock) or self._limits.lock_wait == 0:
            raise error
        if self._left <= 0 or self._tries >= MOST_TRIES:
            raise self._given_up(error)

    def wait(self, session: Session, error: MigratorError) -> None:
        """Waits, after a try that failed, until the next one makes sense.

        Raises:
            Cancelled: Ctrl-C was pressed meanwhile.
            ConnectionLost: the connection broke meanwhile.
        """
        wait: LockWait | None = getattr(error, "wait", None)
        with interrupts.stopped(MEANWHILE):
            self._pause(session, wait)
            self._take_longer(session, wait)
            if isinstance(error, Deadlock):  # a shorter try gives way before the server has to end somebody
                self.attempt_ms = min(self.attempt_ms, blockers.deadlock_timeout_ms(session) * 8 // 10)
        self._count()

    def _count(self) -> None:
        """What has passed since a file's beginning, or since it was counted last, is gone."""
        now = time.monotonic()
        self._kept -= now - self._counted
        self._counted = now

    def on_connection_lost(self, error: MigratorError) -> None:
        """Waits after a connection was lost; the lost one's transaction is known not to be in.

        Raises:
            MigratorError: the error itself, if it isn't tried again.
        """
        if not self.may_reconnect:
            raise error
        self._connections += 1
        pause = min(self._left, 0.5 * 2**self._connections) * random.uniform(0.5, 1)
        try:
            interrupts.pause(pause, "waiting for the database to be there again")
        except Cancelled as stopped:
            stopped.state = error.state
            raise
        self._count()

    @property
    def may_reconnect(self) -> bool:
        """Whether a lost connection may be replaced."""
        return self._left > 0 and self._connections < MOST_CONNECTIONS

    @property
    def _left(self) -> float:
        """Seconds that may still be waited."""
        return min(self._kept, self._limits_now(self._limits).lock_wait / 1_000)

    def _pause(self, session: Session, wait: LockWait | None) -> None:
        began = time.monotonic()
        if wait is not None and wait.blockers:
            self._on_wait(wait)
            self._wait_for(session, wait.blockers)
            _sleep(session, began + self._breath() - time.monotonic())
        else:
            first, longest = _PAUSE
            _sleep(session, min(self._left, longest, first * 2 ** min(self._tries, 10)) * random.uniform(0.5, 1))

    def _breath(self) -> float:
        """Seconds between two tries: as long as the last one may have stalled the application, which has to catch up.
        What waited then would else be stalled again before its turn comes."""
        return min(self._left, self.attempt_ms / 1_000 * random.uniform(1, 1.5))

    def _wait_for(self, session: Session, found: Sequence[Blocker]) -> None:
        """Waits until these are gone, but for those who give way only to somebody who is in the queue."""
        yielding = self._is_long_enough(session)
        asked = {blocker.transaction for blocker in found if blocker.yields and yielding} - self._asked
        if self.attempt_ms > blockers.deadlock_timeout_ms(session):
            self._asked |= asked  # it had its chance: one against wraparound, which our role may not see, never yields
        waited_for = {blocker.transaction for blocker in found} - asked
        deadline, (pause, longest) = time.monotonic() + self._left, _POLL
        while waited_for and time.monotonic() < deadline:
            self._end_idle(session, found)
            waited_for &= blockers.still_there(session, waited_for)
            if waited_for:
                _sleep(session, random.uniform(pause / 2, pause))
                pause = min(longest, pause * 1.3)

    def _end_idle(self, session: Session, found: Sequence[Blocker]) -> None:
        if self._limits.end_idle is not None:
            for blocker in found:
                blockers.end_idle(session, blocker, self._limits.end_idle)

    def _is_long_enough(self, session: Session) -> bool:
        """Whether a try may last until an autovacuum in the way has been asked to give way."""
        return self._limits.lock_timeout * 0.9 > blockers.deadlock_timeout_ms(session) + _BEYOND_DEADLOCK_TIMEOUT / 2

    def _take_longer(self, session: Session, wait: LockWait | None) -> None:
        self.attempt_ms = min(self.attempt_ms * 2, self._limits.lock_timeout)
        if wait is not None and any(blocker.yields for blocker in wait.blockers):
            needed = blockers.deadlock_timeout_ms(session) + _BEYOND_DEADLOCK_TIMEOUT
            self.attempt_ms = min(max(self.attempt_ms, needed), self._limits.lock_timeout)

    def _given_up(self, error: MigratorError) -> MigratorError:
        elapsed = format_duration((time.monotonic() - self._began) * 1_000)
        error.message += f" Tried {self._tries} times in {elapsed}, as lock_wait allows."
        if self.waits and "blockers" not in error.facts:  # the last try may have been too short to see them
            error.message += f" An earlier try waited for {self.waits[-1]}."
            error.facts["blockers"] = [asdict(blocker) for blocker in self.waits[-1].blockers]
        error.facts["tries"] = self._tries
        return error


def _sleep(session: Session, seconds: float) -> None:
    interrupts.pause(seconds, MEANWHILE)
    if session.wire.interrupted:
        raise interrupts.cancelled(f"while {MEANWHILE}")

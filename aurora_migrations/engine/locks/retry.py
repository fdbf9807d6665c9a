"""Retry policy for transient faults.

Where other sessions hold locks, an attempt queues only for a short time and is rolled back. Then the run waits outside
the lock queue, where it blocks no other session, until the blocking transactions have ended, and tries again for twice
as long, up to lock_timeout. So a session that blocks for long costs the application one short stall, and a table that
is never free, because several sessions hold it in turn, gets the longer attempt that it needs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from aurora_migrations.engine import interrupts
from aurora_migrations.engine.errors import Cancelled, Deadlock, LockTimeout, MigratorError
from aurora_migrations.engine.locks import blockers
from aurora_migrations.engine.locks.blockers import Blocker, LockWait
from aurora_migrations.engine.options import Limits, format_duration
from aurora_migrations.engine.postgres.session import Session

FIRST_TRY = 100  # ms
MOST_TRIES = 500
MOST_CONNECTIONS = 5  # lost ones that a run replaces
_BEYOND_DEADLOCK_TIMEOUT = 300  # ms; an autovacuum that was cancelled takes a moment to end
_BETWEEN_CHECKS = (0.05, 0.5)  # seconds, the first and the longest, between two checks whether the blockers have ended
MEANWHILE = "waiting for other sessions to release their locks"
_PAUSE = (0.2, 10.0)  # the same, where no blocker was seen


class RetryPolicy:
    """Decides whether a failed attempt is retried, and when. All files of a run share the time for it."""

    def __init__(
        self, limits: Limits, limits_now: Callable[[Limits], Limits], on_wait: Callable[[LockWait], None]
    ) -> None:
        """Begins a run. `limits_now` returns what is left of limits at the moment; never more than they are."""
        self._kept = limits.lock_wait / 1_000  # seconds
        self._limits_now = limits_now
        self._on_wait = on_wait
        self._connections = 0
        self.begin_file(limits)

    def begin_file(self, limits: Limits) -> None:
        """A file begins."""
        self._limits = limits
        self._began = time.monotonic()
        self._counted = time.monotonic()
        self._queued_for: set[str] = set()
        self._tries = 0
        # How long the next attempt may queue for locks that block the application.
        self.attempt_ms = min(FIRST_TRY, limits.lock_timeout) if limits.lock_wait else limits.lock_timeout
        self.waits: list[LockWait] = []  # what failed attempts of the file had waited for, in order

    def on_failure(self, error: MigratorError) -> None:
        """Raises the error of a failed attempt, if it isn't retried; after several attempts, with their number."""
        self._tries += 1
        self._count()
        wait: LockWait | None = getattr(error, "wait", None)
        if wait is not None:
            self.waits.append(wait)
        if not isinstance(error, LockTimeout | Deadlock) or self._limits.lock_wait == 0:
            raise error
        if self._remaining_s <= 0 or self._tries >= MOST_TRIES:
            elapsed = format_duration((time.monotonic() - self._began) * 1_000)
            message = f"{error.message} Tried {self._tries} times in {elapsed}, as lock_wait allows."
            facts: dict[str, Any] = {"tries": self._tries}
            if self.waits and "blockers" not in error.facts:  # the last attempt may have been too short to see them
                message += f" An earlier try waited for {self.waits[-1]}."
                facts["blockers"] = [asdict(blocker) for blocker in self.waits[-1].blockers]
            raise error.but(message=message, **facts)

    def wait(self, session: Session, error: MigratorError) -> None:
        """Waits, after a failed attempt, until the next one has a chance."""
        wait: LockWait | None = getattr(error, "wait", None)
        began, lock_timeout = time.monotonic(), self._limits.lock_timeout
        with interrupts.as_cancelled(MEANWHILE):
            if wait is not None and wait.blockers:
                self._on_wait(wait)
                self._wait_for(session, wait.blockers)
                # The application has to catch up for as long as the attempt may have stalled it. What waited then would
                # otherwise be stalled again before its turn comes.
                pause_s = min(self._remaining_s, self.attempt_ms / 1_000 * random.uniform(1, 1.5))
                session.pause(began + pause_s - time.monotonic(), MEANWHILE)
            else:
                first, longest = _PAUSE
                pause = min(self._remaining_s, longest, first * 2 ** min(self._tries, 10)) * random.uniform(0.5, 1)
                session.pause(pause, MEANWHILE)
            self.attempt_ms = min(self.attempt_ms * 2, lock_timeout)
            if wait is not None and any(blocker.yields for blocker in wait.blockers):
                needed = blockers.deadlock_timeout_ms(session) + _BEYOND_DEADLOCK_TIMEOUT
                self.attempt_ms = min(max(self.attempt_ms, needed), lock_timeout)
            if isinstance(error, Deadlock):  # a shorter attempt ends before the server has to resolve the deadlock
                self.attempt_ms = min(self.attempt_ms, blockers.deadlock_timeout_ms(session) * 8 // 10)
        self._count()

    def _count(self) -> None:
        """Takes what has passed since the file began, or since the last call, off the time that is left."""
        now = time.monotonic()
        self._kept -= now - self._counted
        self._counted = now

    def on_connection_lost(self, error: MigratorError) -> None:
        """Waits after a connection was lost whose transaction is known to be rolled back; else raises the error."""
        if not self.may_reconnect:
            raise error
        self._connections += 1
        pause = min(self._remaining_s, 0.5 * 2**self._connections) * random.uniform(0.5, 1)
        try:
            interrupts.pause(pause, "waiting for the database to come back")
        except Cancelled as stopped:
            raise stopped.but(state=error.state) from None
        self._count()

    @property
    def may_reconnect(self) -> bool:
        """Whether a lost connection may be replaced."""
        return self._remaining_s > 0 and self._connections < MOST_CONNECTIONS

    @property
    def _remaining_s(self) -> float:
        """Seconds that may still be waited."""
        return min(self._kept, self._limits_now(self._limits).lock_wait / 1_000)

    def _wait_for(self, session: Session, found: Sequence[Blocker]) -> None:
        """Waits until these have ended, except for an autovacuum, which gives way only to a session in the queue."""
        deadlock_timeout = blockers.deadlock_timeout_ms(session)  # after which the server cancels the autovacuum
        long_enough = self._limits.lock_timeout * 0.9 > deadlock_timeout + _BEYOND_DEADLOCK_TIMEOUT / 2
        to_queue_for = {blocker.transaction for blocker in found if blocker.yields and long_enough} - self._queued_for
        if self.attempt_ms > deadlock_timeout:
            # Once only: an autovacuum against wraparound never yields, and our role may not see that it is one.
            self._queued_for |= to_queue_for
        waited_for = {blocker.transaction for blocker in found} - to_queue_for
        deadline, (pause, longest) = time.monotonic() + self._remaining_s, _BETWEEN_CHECKS
        while waited_for and time.monotonic() < deadline:
            if self._limits.end_idle is not None:
                for blocker in found:
                    blockers.end_idle(session, blocker, self._limits.end_idle)
            waited_for &= blockers.find_open(session, waited_for)
            if waited_for:
                session.pause(random.uniform(pause / 2, pause), MEANWHILE)
                pause = min(longest, pause * 1.3)

"""Deadline of a call: how much time is left, and how much of it a file may take."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace

import psycopg

from aurora_migrations.engine.errors import MigratorError, StatementTimeout
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.postgres.session import Session

RESERVE = 10_000  # milliseconds kept for rolling back, the history, closing, and saying what happened
_LEAST = 1_000  # milliseconds that any file gets, whatever is left
_CLOCKS = 100  # milliseconds by which the server's clock may be ahead of ours
_LOCK_SHARE = 2  # a lock's limit is at most half of a statement's, so that the blockers are reported
_GRACE = 0.5  # seconds in which a statement's own limit may end it first: that error is more precise
_AGAIN = 2.0  # seconds; a cancel request that arrives between two statements is lost


class Deadline:
    """The end of a call, by the clock of the service that limits it."""

    def __init__(self, remaining_ms: Callable[[], float]) -> None:
        """Begins to count. `remaining_ms` returns the milliseconds until the call is ended from outside."""
        self._remaining_ms = remaining_ms
        self._at_first = self._left
        self._longest = 0.0

    @property
    def left(self) -> int:
        """Milliseconds that a file may take now."""
        return max(_LEAST, self._left)

    @property
    def _left(self) -> int:
        return int(self._remaining_ms()) - RESERVE

    @property
    def is_over(self) -> bool:
        """Whether a file's time is up: nothing but the call's end has to have stopped it."""
        return self._left <= _CLOCKS

    def limits(self, wanted: Limits) -> Limits:
        """What is left of these limits. None may outlast the call: the next run would meet a server that still works
        for a caller which is gone. Blockers are waited for only while another attempt would have a fair chance."""
        ends_sooner = 0 < wanted.statement_timeout <= self.left
        statement = wanted.statement_timeout if ends_sooner else self.left
        return replace(
            wanted,
            lock_timeout=min(wanted.lock_timeout, max(1, statement // _LOCK_SHARE)),
            statement_timeout=statement,
            lock_wait=min(wanted.lock_wait, max(0, self._left - self._fair)),
            longest=self._at_first,
        )

    def file_done(self, duration_ms: float) -> None:
        """Records how long a file took."""
        self._longest = max(self._longest, duration_ms)

    def allows_another_file(self) -> bool:
        """Whether the next file, whose duration is unknown, has a fair chance in the time left: a quarter
        of what the call began with, and twice what the longest file has taken so far."""
        return self._left >= max(self._fair, 2 * self._longest)

    @property
    def _fair(self) -> int:
        """The least time that a file of unknown duration must have."""
        return self._at_first // 4


def out_of_time(error: MigratorError, step: str, cause: str = "", solution: str = "") -> StatementTimeout:
    """The error where the end of a call, and no limit of a statement, ended a statement."""
    return StatementTimeout(
        error.message,
        cause=f"One call of {step} has only so much time. Its end, not a limit of the statement, ended it{cause}.",
        solution=f"Give the {step} function a longer timeout (`limits.function_timeout`), up to Lambda's limit of 15min"
        f"{solution}.",
        state=error.state,
        **error.facts,
    )


class Guard:
    """Cancels a session's statements when the time is up: a file of many short statements has no limit as a whole."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._over = threading.Event()

    def watch(self, session: Session) -> None:
        """Begins to watch a session."""
        self._over = threading.Event()
        seconds = self._deadline.left / 1_000 + _GRACE
        threading.Thread(target=self._cancel, args=(session, seconds, self._over), daemon=True).start()

    def rest(self) -> None:
        """Stops watching."""
        self._over.set()

    def _cancel(self, session: Session, seconds: float, over: threading.Event) -> None:
        while not over.wait(seconds):
            with contextlib.suppress(psycopg.Error):
                session.wire.connection.cancel_safe(timeout=_AGAIN)
            seconds = _AGAIN

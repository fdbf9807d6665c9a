"""One call of one function of the workflow: its input, the time that it has left, and its read-only session."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import psycopg

from aurora_migrations.engine.diagnostics.file_errors import CLOCKS
from aurora_migrations.engine.errors import (
    Cancelled,
    InvalidInput,
    MigratorError,
    NextCommand,
    NotAWriter,
    PackageChanged,
    StatementTimeout,
)
from aurora_migrations.engine.interface import Listener
from aurora_migrations.engine.manifest import Manifest
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.postgres.protocol import Command
from aurora_migrations.engine.postgres.session import Session
from aurora_migrations.engine.script import PAST, Action, Source
from aurora_migrations.engine.steps.execution import ExecutionInput
from aurora_migrations.engine.steps.settings import Settings

RESERVE = 10_000  # milliseconds kept for rolling back, the history, closing, and reporting what happened
_LEAST = 1_000  # milliseconds that any file gets, whatever is left
_LOCK_SHARE = 2  # a lock's limit is at most half of a statement's, so that the blockers are reported
_GRACE = 0.5  # seconds in which a statement's own limit may end it first: that error is more precise
_AGAIN = 2.0  # seconds; a cancel request that arrives between two statements is lost
_LONGEST_NUMBER = 255  # characters: as long as a file's name can be


class Deadline:
    """The end of a call, by the clock of the service that limits it."""

    def __init__(self, remaining_ms: Callable[[], float]) -> None:
        """Begins to count. `remaining_ms` returns the milliseconds until the call is ended from outside."""
        self._remaining_ms = remaining_ms
        self._at_first = self._left
        self._fair = self._at_first // 4  # the least time that a file of unknown duration must have
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
        return self._left <= CLOCKS

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

    def allows_another_file(self, running_ms: float = 0) -> bool:
        """Whether the next file, whose duration is unknown, has a fair chance in the time left: a quarter of the call's
        time, and twice what the longest file has taken so far, with the one that is still running."""
        return self._left >= max(self._fair, 2 * self._longest, 2 * running_ms)


@dataclass(frozen=True)
class Step:
    """A call of a step."""

    settings: Settings
    input: ExecutionInput
    execution: str  # the name of the execution that this is a call of
    started_at: str  # when that began, ISO 8601; the same in all its calls
    package: str  # the digest of the package that the execution began with; empty in its first step
    so_far: Mapping[str, Any]  # the answer of the last call of apply; empty before
    deadline: Deadline
    listener: Listener = field(default_factory=Listener)  # notified of events as they happen
    url: str = field(default="", repr=False)  # the database, password included: not shown where the step is printed
    folder: Source | None = None  # migrations to use instead of the package's

    @property
    def action(self) -> Action:
        """Whether the execution applies files or rolls them back."""
        return "rollback" if self.input.action == "rollback" else "apply"

    @cached_property
    def source(self) -> Source:
        """The package, which must be the one that the execution began with."""
        manifest = self.folder or Manifest(self.settings.migrations)
        if self.package not in ("", manifest.digest):
            raise PackageChanged(
                "The package isn't the one that this execution began with: another was deployed meanwhile.",
                state="What this execution has applied so far stays applied.",
                began_with=self.package,
                found=manifest.digest,
            )
        return manifest


def out_of_time(error: MigratorError, step: str, cause: str = "", solution: str = "") -> StatementTimeout:
    """The error where the end of a call, and no limit of a statement, ended a statement."""
    return StatementTimeout(
        error.message,
        cause=f"The time limit of the {step} function ended the statement, not a limit of the statement itself{cause}.",
        solution=f"Give the {step} function a longer timeout (`limits.function_timeout`), up to Lambda's limit of 15min"
        f"{solution}.",
        state=error.state,
        **error.facts,
    )


class Guard:
    """Cancels a session's statements when the time is up: a file of many short statements has no limit as a whole. Not
    one that may outlive the call: whoever watches that leaves it to the server."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._over = threading.Event()

    def watch(self, session: Session) -> None:
        """Begins to watch a session."""
        self._over = over = threading.Event()
        first = self._deadline.left / 1_000 + _GRACE

        def cancel() -> None:
            seconds = first
            while not over.wait(seconds):
                seconds = _AGAIN
                if session.outlives:
                    continue
                with contextlib.suppress(psycopg.Error):
                    session.wire.connection.cancel_safe(timeout=_AGAIN)

        threading.Thread(target=cancel, daemon=True).start()

    def rest(self) -> None:
        """Stops watching."""
        self._over.set()


@contextlib.contextmanager
def read_only_session(step: Step, function: str) -> Iterator[Session]:
    """Opens a read-only session on the writer, with the environment's limits, that ends before the call does. Raises
    NotAWriter on a standby, and StatementTimeout when the time of the call is over."""
    session, guard = Session(step.url, step.execution), Guard(step.deadline)
    step.listener.connected(session)
    try:
        if session.server.in_recovery:
            raise NotAWriter("The server is a standby (a reader): migrations need the writer.")
        guard.watch(session)
        limits = step.deadline.limits(step.settings.limits)
        session.execute(
            Command("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"),
            Command(f"SET statement_timeout = {limits.statement_timeout}"),
            Command(f"SET lock_timeout = {limits.lock_timeout}"),
        )
        yield session
    except (StatementTimeout, Cancelled) as error:
        if not step.deadline.is_over:
            raise
        raise out_of_time(error, function) from error
    finally:
        guard.rest()
        session.close()
        step.listener.closed()


def read_event_text(payload: Mapping[str, Any], key: str, longest: int) -> str:
    """A text of the event with which the state machine calls a function; empty where it is missing."""
    value = payload.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise _malformed(key, f"a text of at most {longest} printable characters")
    return value


def read_so_far(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer of the last call of apply, as the state machine passes it on; empty if there was none."""
    data = payload.get("so_far")
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise _malformed("so_far", "an object")
    given = {key: value for key, value in data.items() if value is not None}
    counts = {"calls", *(f"{key}_count" for key in PAST.values())}
    for key, value in given.items():
        if key in PAST.values():
            what = "a list of objects, each with the number of a migration"
            is_right = isinstance(value, list) and all(map(_has_number, value))
        elif key in counts:
            is_right, what = isinstance(value, int) and not isinstance(value, bool) and value >= 0, "a whole number"
        else:
            continue
        if not is_right:
            raise _malformed(f"so_far.{key}", what)
    return given


def _has_number(file: object) -> bool:
    number = file.get("migration") if isinstance(file, Mapping) else None
    return isinstance(number, str) and len(number) <= _LONGEST_NUMBER


def _malformed(key: str, what: str) -> InvalidInput:
    return InvalidInput(
        f"The event's key {key} must be {what}.",
        cause="The state machine and its functions are of different versions, or the function was called by hand.",
        solution="Start a new execution of the state machine; if that fails in the same way, deploy the stack again.",
        state="This call changed nothing. Earlier calls of the execution may have changed something; see the history.",
        next_command=NextCommand("status"),
    )

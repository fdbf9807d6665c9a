"""One call of one step of the workflow: what it is given, and what all steps do alike."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from functions.migrator.ask import Ask
from functions.migrator.deadline import Deadline, Guard, out_of_time
from functions.migrator.errors import Cancelled, NotAWriter, PackageChanged, StatementTimeout
from functions.migrator.manifest import Manifest
from functions.migrator.request import Listener
from functions.migrator.script import Action, Source
from functions.migrator.session import Session
from functions.migrator.settings import Settings
from functions.migrator.sqlstate import named_error
from functions.migrator.wire import BatchError, Command

_Item = TypeVar("_Item")
_READ_ONLY = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"


@dataclass(frozen=True)
class Step:
    """A call of a step.

    Attributes:
        url: the database, password included: not shown where the step is printed.
        execution: the name of the execution that this is a call of.
        started_at: when that began, ISO 8601; the same in all its calls.
        package: the digest that the execution goes by; empty in its first step.
        so_far: what the last call of apply answered; empty before.
        listener: told what happens as it happens.
        folder: migrations to go by instead of the package's.
    """

    settings: Settings
    ask: Ask
    execution: str
    started_at: str
    package: str
    so_far: Mapping[str, Any]
    deadline: Deadline
    listener: Listener = field(default_factory=Listener)
    url: str = field(default="", repr=False)
    folder: Source | None = None

    @property
    def action(self) -> Action:
        """What is done with files."""
        return "rollback" if self.ask.action == "rollback" else "apply"

    @cached_property
    def source(self) -> Source:
        """The package, which must be the one that the execution began with.

        Raises:
            InvalidManifest: it has no manifest, or a damaged one.
            PackageChanged: it is another one.
        """
        manifest = self.folder or Manifest(self.settings.migrations)
        if self.package not in ("", manifest.digest):
            raise PackageChanged(
                "The package isn't the one that this execution began with: another was deployed meanwhile.",
                state="What this execution has applied so far stays and is in the history.",
                began_with=self.package,
                found=manifest.digest,
            )
        return manifest


@contextlib.contextmanager
def looking(step: Step, function: str) -> Iterator[Session]:
    """A session on the writer that can change nothing, waits no longer than the environment says, and ends in time.

    Args:
        function: whose call this is, for whoever must give it more time: `verify`.

    Raises:
        NotAWriter: the server is a standby.
        StatementTimeout: a statement took too long, or the time of the call is over.
        LockTimeout: others hold a lock on the history.
        MigratorError: of the family connection: there is no session.
    """
    session, guard = Session(step.url, step.execution), Guard(step.deadline)
    step.listener.connected(session)
    try:
        if session.server.in_recovery:
            raise NotAWriter("The server is a standby (a reader): migrations need the writer.")
        guard.watch(session)
        _limit(session, step)
        yield session
    except (StatementTimeout, Cancelled) as error:
        if not step.deadline.is_over:
            raise
        raise out_of_time(error, function) from error
    finally:
        guard.rest()
        session.close()
        step.listener.closed()


def _limit(session: Session, step: Step) -> None:
    limits = step.deadline.limits(step.settings.limits)
    send(session, _READ_ONLY)
    send(session, f"SET statement_timeout = {limits.statement_timeout}")
    send(session, f"SET lock_timeout = {limits.lock_timeout}")


def send(session: Session, sql: str) -> None:
    """A statement of ours outside any transaction."""
    try:
        session.wire.batch([Command(sql)])
    except BatchError as error:
        raise named_error(error.error) from error


def newest(items: Sequence[_Item], budget: int) -> list[_Item]:
    """The last items whose JSON takes no more than `budget` bytes in all: the state that steps hand on is limited."""
    kept: list[_Item] = []
    for item in reversed(items):
        budget -= len(json.dumps(item).encode()) + 2
        if budget < 0:
            break
        kept.append(item)
    return kept[::-1]

"""Apply, as a step of the workflow: as many files as the time of a call allows, and what that leaves to do."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from aurora_migrations.engine.errors import Cancelled, InvalidInput, MigratorError, StatementTimeout
from aurora_migrations.engine.executions import read_done
from aurora_migrations.engine.interface import Listener, Request
from aurora_migrations.engine.job import AtWork
from aurora_migrations.engine.locks.blockers import LockWait
from aurora_migrations.engine.migrations import Migration
from aurora_migrations.engine.postgres.advisory_lock import Holder
from aurora_migrations.engine.postgres.session import Session
from aurora_migrations.engine.results import FileDone, RunResult
from aurora_migrations.engine.runner import apply as apply_files
from aurora_migrations.engine.runner import roll_back
from aurora_migrations.engine.script import PAST, Action, Hazard
from aurora_migrations.engine.steps.deadline import Guard, out_of_time
from aurora_migrations.engine.steps.step import Step, newest

_FILES_BUDGET = 12_000  # bytes of JSON; a run's state stays below 32 KiB (Step Functions allows 256)
_LABELS_BUDGET = 2_000  # bytes
_CHECKS, _LOCKS, _WAITS = 10, 5, 3  # of one file


@dataclass(frozen=True)
class Progress:
    """What this call and those before it have done.

    Attributes:
        done: the files of this call.
        remaining: files that are left to do; 0 when the run is through.
    """

    step: Step
    done: tuple[FileDone, ...]
    remaining: int

    def to_dict(self) -> dict[str, object]:
        """The answer to the state machine; of many files the newest, so that it stays small."""
        key, so_far = PAST[self.step.action], self.step.so_far
        files = [*so_far.get(key, []), *map(_told, self.done)]
        return {
            "outcome": "more" if self.remaining else "done",
            "remaining": self.remaining,
            key: newest(files, _FILES_BUDGET),
            f"{key}_count": int(so_far.get(f"{key}_count", 0)) + len(self.done),
            "calls": int(so_far.get("calls", 0)) + 1,
        }


def apply(step: Step) -> Progress:
    """Runs what is pending (or rolls back what was asked for), and ends in time.

    The first file always begins. A file that the end of the call cut short, after others had taken their part of it,
    is rolled back and left to the next call, which gives it all of its time.

    Raises:
        MigratorError: of any family; its fact `applied` (or `rolled_back`) names what the execution had done before.
    """
    guard = Guard(step.deadline)
    notes = _Notes(step, guard)
    request = Request(
        url=step.url,
        source=step.source,
        execution=step.execution,
        execution_start=step.started_at,
        requested_by=step.ask.requested_by,
        wait=min(step.settings.limits.lock_wait, step.deadline.left / 2) / 1_000,
        limits=step.settings.limits,
        limits_now=step.deadline.limits,
        listener=notes,
        hazards=step.settings.hazards,
        may_begin=step.deadline.allows_another_file,
        resumes=True,
    )
    try:
        result = _run(step, request)
    except MigratorError as error:
        if not (step.deadline.is_over and isinstance(error, StatementTimeout | Cancelled)):
            raise notes.complete(error) from error
        if not notes.done:
            raise notes.complete(_out_of_time(error)) from error
        return Progress(step, tuple(notes.done), len(notes.asked) - len(notes.done))
    return Progress(step, result.applied, result.remaining)


def _run(step: Step, request: Request) -> RunResult:
    ask = step.ask
    if step.action == "apply":
        return apply_files(request, ask.target)
    if ask.target is None or ask.confirm is None:
        raise InvalidInput("A rollback needs a target and confirm.")
    return roll_back(request, ask.target, ask.confirm)


def _told(file: FileDone) -> dict[str, Any]:
    """A file that is done, of limited size. What it held and waited for is told only where there is something."""
    locks = sorted(file.held, key=lambda held: held.held_ms, reverse=True)[:_LOCKS]
    waits = sorted(file.waits, key=lambda wait: wait.waited_ms, reverse=True)[:_WAITS]
    more = {
        "locks": [{"table": h.table, "mode": h.mode, "waited_ms": h.waited_ms, "held_ms": h.held_ms} for h in locks],
        "in_the_way": [_way(wait) for wait in waits],
        "tries": len(file.waits) + 1 if file.waits else None,
    }
    verified = [{"promise": check.promise[:200], "found": check.found} for check in file.checks[:_CHECKS]]
    return {
        "migration": file.migration,
        "file": file.file,
        "duration_ms": round(file.duration_ms, 1),
        "verified": verified,
        **{key: value for key, value in more.items() if value},
    }


def _way(wait: LockWait) -> dict[str, Any]:
    blockers = [str(blocker)[:200] for blocker in wait.blockers[:_WAITS]]
    return {"table": wait.table, "mode": wait.mode, "waited_ms": round(wait.waited_ms, 1), "by": blockers}


def _out_of_time(error: MigratorError) -> MigratorError:
    split = ", or split the work into several files or batches"
    return out_of_time(error, "apply", cause=", though the file was the first of its call", solution=split)


class _Notes(Listener):
    """Passes on what it is told, and keeps what the call has done: a run that fails has no result."""

    def __init__(self, step: Step, guard: Guard) -> None:
        self._step = step
        self._guard = guard
        self._before = [str(file["migration"]) for file in step.so_far.get(PAST[step.action], [])]
        self._asked = False
        self.asked: Sequence[Migration] = ()
        self.done: list[FileDone] = []

    @property
    def left(self) -> list[str]:
        """The names of the files that aren't done, in order: the first is the one that failed, if one has."""
        done = {file.migration for file in self.done}
        return [migration.name for migration in self.asked if migration.label not in done]

    def connected(self, session: Session) -> None:
        self._guard.watch(session)
        self._step.listener.connected(session)
        if not self._asked:
            self._ask_for_those_before(session)

    def complete(self, error: MigratorError) -> MigratorError:
        """The error, telling what calls before this one had done, too, and what is left to do."""
        fact = PAST[self._step.action]
        labels = [*self._before, *cast(list[str], error.facts.get(fact, []))]
        error.facts[fact] = newest(labels, _LABELS_BUDGET)
        if self.left:
            error.facts["not_done"] = newest(self.left[::-1], _LABELS_BUDGET)[::-1]
            error.facts["not_done_count"] = len(self.left)
        return error

    def _ask_for_those_before(self, session: Session) -> None:
        """What calls before this one have done: the history knows of those that failed, too. Where it can't be read,
        the run itself will say why."""
        self._asked = True
        with contextlib.suppress(MigratorError):
            done = read_done(session, self._step.execution, self._step.started_at, self._step.action)
            self._before = [each.label for each in done]

    def closed(self) -> None:
        self._guard.rest()
        self._step.listener.closed()

    def waiting(self, holder: Holder | None) -> None:
        self._step.listener.waiting(holder)

    def may_hurt(self, hazard: Hazard) -> None:
        self._step.listener.may_hurt(hazard)

    def in_the_way(self, wait: LockWait) -> None:
        self._step.listener.in_the_way(wait)

    def at_work(self, at: AtWork) -> None:
        self._step.listener.at_work(at)

    def planned(self, action: Action, migrations: Sequence[Migration]) -> None:
        self.asked = migrations
        self._step.listener.planned(action, migrations)

    def begins(self, action: Action, migrations: Sequence[Migration]) -> None:
        self.asked = migrations
        self._step.listener.begins(action, migrations)

    def executing(self, action: Action, migration: Migration) -> None:
        self._step.listener.executing(action, migration)

    def executed(self, action: Action, migration: Migration, done: FileDone) -> None:
        self.done.append(done)
        self._step.deadline.file_done(done.duration_ms)
        self._step.listener.executed(action, migration, done)

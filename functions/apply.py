"""Apply: runs migrations (or their down files), each in a transaction of its own, as many as a call's time allows."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from aurora_migrations.engine.errors import Cancelled, MigratorError, StatementTimeout
from aurora_migrations.engine.history import read_done
from aurora_migrations.engine.interface import FileDone, Listener, Listeners, Request
from aurora_migrations.engine.migrations import Migration
from aurora_migrations.engine.postgres.session import Session
from aurora_migrations.engine.runner import apply as apply_files
from aurora_migrations.engine.runner import roll_back
from aurora_migrations.engine.runner import undo as undo_own
from aurora_migrations.engine.script import PAST, Action
from aurora_migrations.engine.status import first, newest
from aurora_migrations.engine.steps.execution import ADOPTIONS
from aurora_migrations.engine.steps.step import Guard, Step, out_of_time
from functions.entrypoint import Call, Deployment, lambda_handler

_FILES_BUDGET = 12_000  # bytes of JSON; a run's state stays below 32 KiB (Step Functions allows 256)
_LABELS_BUDGET = 2_000  # bytes
_CHECKS, _LOCKS, _ROWS, _WAITS = 10, 5, 5, 3  # of one file


def handler(event: Any, context: Any, deployment: Deployment | None = None) -> dict[str, Any]:
    """Lambda's entry point. Tests pass a `deployment` of their own."""
    return lambda_handler("apply", _apply, event, context, deployment)


def _apply(call: Call) -> dict[str, Any]:
    """Returns `outcome` (more or done), what remains, and what this call and those before it have done. The first thing
    that goes wrong ends it with its error: that file is rolled back, those before it stay."""
    if call.report.get("about") == "undo":
        from functions.undo import undo  # with what verify needs

        return undo(call, apply)
    progress = call.with_database_login(apply)
    call.telemetry.count("MigrationsRemaining", progress.remaining)
    return progress.to_dict()


@dataclass(frozen=True)
class Batch:
    """What this call and those before it have done."""

    step: Step
    done: tuple[FileDone, ...]  # the files of this call
    remaining: int  # files that are still to be done; 0 when the run is complete
    running: str | None = None  # the statement that the server goes on with after this call
    message: str | None = None  # what was done that isn't a file

    def to_dict(self) -> dict[str, object]:
        """The answer to the state machine; of many files the newest, so that it stays small."""
        key, so_far = PAST[self.step.action], self.step.so_far
        files = [*so_far.get(key, []), *map(_describe_file, self.done)]
        return {
            "outcome": "more" if self.remaining else "done",
            "remaining": self.remaining,
            **({"running": self.running} if self.running else {}),
            **({"message": self.message} if self.message else {}),
            key: newest(files, _FILES_BUDGET),
            f"{key}_count": int(so_far.get(f"{key}_count", 0)) + len(self.done),
            "calls": int(so_far.get("calls", 0)) + 1,
        }


def apply(step: Step) -> Batch:
    """Applies what is pending, or rolls back what the input names, and ends in time. The first file always begins. A
    later one that the end of the call cuts off is rolled back and left to the next call."""
    record = _CallRecord(step)
    request = Request(
        url=step.url,
        source=step.source,
        execution=step.execution,
        execution_start=step.started_at,
        requested_by=step.input.requested_by,
        wait=min(step.settings.limits.lock_wait, step.deadline.left / 2) / 1_000,
        limits=step.settings.limits,
        limits_now=step.deadline.limits,
        listener=Listeners(step.listener, record),
        hazards=step.settings.hazards,
        may_begin=step.deadline.allows_another_file,
        is_time_up=lambda: step.deadline.is_over,
        resumes=True,
    )
    try:
        if step.input.action == "cancel":
            from aurora_migrations.engine.nontransactional.decisions import cancel

            return Batch(step, (), 0, message=cancel(request).message)
        if step.input.action == "resolve":
            from aurora_migrations.engine.nontransactional.decisions import resolve

            outcome: Any = step.input.confirm
            return Batch(step, (), 0, message=resolve(request, step.input.target or "", outcome).message)
        if step.input.action in ADOPTIONS:
            from aurora_migrations.engine.adoption.adopt import adopt, wanted_by
            from aurora_migrations.engine.adoption.proof import expectations_of

            confirm, expect = step.input.confirm or "", expectations_of(step.source)
            return Batch(step, (), 0, message=adopt(request, wanted_by(step.input), confirm, expect).message)
        if step.action == "apply":
            result = apply_files(request, step.input.target)
        elif step.input.target is None:  # see functions/undo.py
            result = undo_own(request)
        else:
            result = roll_back(request, step.input.target, step.input.confirm or "")
    except MigratorError as error:
        by_deadline = step.deadline.is_over and isinstance(error, StatementTimeout | Cancelled)
        if not by_deadline or "ended_by" in error.facts:
            raise record.complete(error) from error
        if not record.done:
            why = ", though the file was the first of its call"
            split = ", or split the work into several files or batches"
            raise record.complete(out_of_time(error, "apply", cause=why, solution=split)) from error
        return Batch(step, tuple(record.done), len(record.planned_files) - len(record.done))
    return Batch(step, result.applied, result.remaining, result.running)


class _CallRecord(Listener):
    """What a call was to do and has done: a run that fails has no result. Cancels it at the end of the call's time."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._guard = Guard(step.deadline)
        self._before = [str(file["migration"]) for file in step.so_far.get(PAST[step.action], [])]
        self._history_read = False
        self.planned_files: Sequence[Migration] = ()
        self.done: list[FileDone] = []

    def connected(self, session: Session) -> None:
        self._guard.watch(session)
        if not self._history_read:
            self._history_read, step = True, self._step
            # It has what calls did that failed, too. Where it can't be read, the run itself fails with the reason.
            with contextlib.suppress(MigratorError):
                done = read_done(session, step.execution, step.started_at, step.action)
                self._before = [each.label for each in done]

    def closed(self) -> None:
        self._guard.rest()

    def planned(self, action: Action, migrations: Sequence[Migration]) -> None:
        self.planned_files = migrations

    begins = planned

    def executed(self, action: Action, migration: Migration, done: FileDone) -> None:
        self.done.append(done)
        self._step.deadline.file_done(done.duration_ms)

    def complete(self, error: MigratorError) -> MigratorError:
        """The error with what the execution has done before it, and what is left to do."""
        fact = PAST[self._step.action]
        labels = [*self._before, *cast(list[str], error.facts.get(fact, []))]
        facts: dict[str, Any] = {fact: newest(labels, _LABELS_BUDGET)}
        done = {file.migration for file in self.done}
        left = [migration.name for migration in self.planned_files if migration.label not in done]
        if left:  # the first is the one that failed, if one has
            facts |= {"not_done": first(left, _LABELS_BUDGET), "not_done_count": len(left)}
        return error.but(**facts)


def _describe_file(file: FileDone) -> dict[str, Any]:
    """A file that is done, of limited size. Rows, locks, waits and attempts are left out where there are none."""
    locks = sorted(file.held, key=lambda held: held.held_ms, reverse=True)[:_LOCKS]
    waits = sorted(file.waits, key=lambda wait: wait.waited_ms, reverse=True)[:_WAITS]
    known = {
        "migration": file.migration,
        "file": file.file,
        "duration_ms": round(file.duration_ms, 1),
        "verified": [{"promise": check.promise[:200], "found": check.found} for check in file.checks[:_CHECKS]],
    }
    more = {
        "rows": [asdict(rows) for rows in file.rows[:_ROWS]],
        "differs": [warning[:300] for warning in file.warnings[:_CHECKS]],
        "locks": [{"table": h.table, "mode": h.mode, "waited_ms": h.waited_ms, "held_ms": h.held_ms} for h in locks],
        "in_the_way": [
            {
                "table": wait.table,
                "mode": wait.mode,
                "waited_ms": round(wait.waited_ms, 1),
                "by": [str(blocker)[:200] for blocker in wait.blockers[:_WAITS]],
            }
            for wait in waits
        ],
        "tries": len(file.waits) + 1 if file.waits else None,
    }
    return known | {key: value for key, value in more.items() if value}

"""The runner: applies pending migrations, or rolls back applied ones, under the run lock.

`apply`, `roll_back` and `undo` plan, take the lock, plan again and give the files to `running/files`, which runs one
after another.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

from aurora_migrations.engine import history, interrupts
from aurora_migrations.engine.adoption.guard import check_foreign_histories, check_not_applied_by_others
from aurora_migrations.engine.diagnostics.file_errors import check_limits, hazards_refused
from aurora_migrations.engine.history import NOTHING_UNDONE, read_done, read_undone
from aurora_migrations.engine.interface import FileDone, Request, RunResult, rollback_message, success_message
from aurora_migrations.engine.locks.locked_session import LockedSession
from aurora_migrations.engine.migrations import Migration, invalid_files
from aurora_migrations.engine.nontransactional.limits import LeftToServer
from aurora_migrations.engine.plan import Plan, build_plan, find_target, plan_rollback, plan_undo, read_edits
from aurora_migrations.engine.postgres.session import Session

if TYPE_CHECKING:
    from aurora_migrations.engine.script import Action, Hazard, Script


def apply(request: Request, target: str | None = None) -> RunResult:
    """Applies what is pending, up to and including `target`, or all; each file in a transaction of its own.

    The first error (a MigratorError) ends the run: its file is rolled back, those before it stay, and its fact
    `applied` names them. With nothing to do, nothing is locked and nothing written.
    """
    with _Runner(request) as runner:
        plan = runner.build_plan(target)
        request.listener.planned("apply", plan.pending)
        if plan.pending:
            runner.check("apply", plan.pending)  # refuses before it waits for the lock and writes anything
            with runner.leaving_to_server():
                runner.locked.take_lock()
                plan = runner.build_plan(target)  # again: another run may have had its turn
                runner.run_files("apply", plan.pending)
        since = plan.target_applied
        labels = [file.migration for file in runner.done]
        return runner.result(
            migration=plan.target.label if plan.target else labels[-1] if labels else None,
            message=success_message(labels, plan.target.label if plan.target else None, since),
            notices=tuple(plan.warnings),
            already_applied=since.applied_at if since else None,
            remaining=runner.remaining("apply", plan.pending),
        )


def roll_back(request: Request, target: str, confirm: str) -> RunResult:
    """Runs the down files of every applied migration from the newest down to and including `target`.

    `confirm` is the number of the newest applied migration, as the initiator knows it. It is compared with the history
    under the lock: if another one was applied since, nothing is rolled back. The fact `rolled_back` of an error names
    what this run had rolled back before.
    """
    with _Runner(request) as runner:
        return _roll_back(runner, request, lambda: runner.plan_rollback(target, confirm), target)


def undo(request: Request) -> RunResult:
    """Runs the down files of what this execution has applied, newest first, unless others were applied after it, which
    is checked under the lock. With nothing to undo, nothing is locked and nothing written.

    The fact `rolled_back` of an error names what this run had rolled back before.
    """
    with _Runner(request) as runner:
        return _roll_back(runner, request, runner.plan_undo)


def _roll_back(
    runner: _Runner, request: Request, plan: Callable[[], list[Migration]], target: str | None = None
) -> RunResult:
    chosen = plan()
    request.listener.planned("rollback", chosen)
    if chosen:
        runner.check("rollback", chosen)  # refuses before it waits for the lock
        with runner.leaving_to_server():
            runner.locked.take_lock()
            chosen = plan()
            runner.run_files("rollback", chosen)
    labels = [file.migration for file in runner.done]
    if not labels and target is not None:
        labels = [find_target(request.source.package, target).label]
    return runner.result(
        migration=labels[-1] if labels else None,
        message=rollback_message(labels),
        action="rollback",
        remaining=runner.remaining("rollback", chosen),
    )


class _Runner:
    """One run: its session, what it knows of the history, and its clock."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._listener = request.listener
        self._started = time.monotonic()
        self._state = history.State({}, {})
        self._applied: set[int] = set()  # versions
        self._checked: set[int] = set()  # versions, of the one action that a run has
        self._hazards: list[str] = []
        self.done: list[FileDone] = []
        self._running: str | None = None  # what was left to the server
        self.locked = LockedSession(request)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.locked.close()

    @property
    def _session(self) -> Session:
        return self.locked.session

    def build_plan(self, target: str | None) -> Plan:
        """What to apply, by the history as it is now."""
        source, state = self._request.source, self._read_state()
        check_foreign_histories(self._session, state)
        check_not_applied_by_others(self._session, state, source.package)
        return build_plan(source.package, state, read_edits(self._session, source, state.applied), target)

    def plan_rollback(self, target: str, confirm: str) -> list[Migration]:
        """What to roll back, by the history as it is now."""
        request, state, undone = self._request, self._read_state(), NOTHING_UNDONE
        check_foreign_histories(self._session, state)
        if request.resumes:
            undone = read_undone(self._session, request.execution, request.execution_start)
        return plan_rollback(request.source.package, state.applied, target, confirm, undone)

    def plan_undo(self) -> list[Migration]:
        """What of this execution's migrations to roll back, by the history as it is now."""
        session, (execution, began) = self._session, (self._request.execution, self._request.execution_start)
        state = self._read_state()
        check_foreign_histories(session, state)
        done, undone = read_done(session, execution, began, "apply"), read_undone(session, execution, began)
        return plan_undo(self._request.source.package, state.applied, done, execution, undone)

    @contextlib.contextmanager
    def leaving_to_server(self) -> Iterator[None]:
        """The block ends where the run's time is up and the server goes on with a statement."""
        try:
            yield
        except LeftToServer as left:
            self._running = str(left)

    def run_files(self, action: Action, migrations: Sequence[Migration]) -> None:
        """Runs files in order, and keeps what is done in `done`. All are checked before the first runs."""
        # Loading it takes longer than finding out that there is nothing to do.
        from aurora_migrations.engine.running.files import Files

        self.check(action, migrations)
        with contextlib.closing(Files(self._request, self.locked, self._state, self.done)) as files:
            try:
                files.run(action, migrations)
            finally:
                self._applied = files.applied

    def check(self, action: Action, migrations: Sequence[Migration]) -> None:
        """Refuses files that can't be run as they are, and hazards where those are refused."""
        source, limits = self._request.source, self._request.limits
        fresh = [migration for migration in migrations if migration.version not in self._checked]
        problems = source.problems(action, fresh)
        # First: Ctrl-C may have ended the linter, and with it cut its findings short.
        interrupts.raise_if_pressed("checking for hazards")
        if problems:
            raise invalid_files(problems)
        self._checked |= {migration.version for migration in fresh}
        _ = source.digest
        found: list[Hazard] = []

        def scripts() -> Iterator[Script]:  # one after another: a thousand take megabytes
            for script in source.scripts(action, fresh):
                found.extend(script.open_hazards)
                yield script

        check_limits(limits, scripts(), self._request.limits_now(limits).longest)
        if found and self._request.hazards == "refuse":
            raise hazards_refused(found)
        self._hazards += map(str, found)
        for hazard in found:
            self._listener.hazard_found(hazard)

    def result(self, **fields: Any) -> RunResult:
        """The result of a run that ended well."""
        return RunResult(
            applied=tuple(self.done),
            hazards=tuple(self._hazards),
            running=self._running,
            execution=self._request.execution,
            database=self._session.server.database,
            duration_ms=(time.monotonic() - self._started) * 1_000,
            **fields,
        )

    def remaining(self, action: Action, migrations: Sequence[Migration]) -> int:
        """How many of these are still to be done."""
        return sum((migration.version in self._applied) == (action == "rollback") for migration in migrations)

    def _read_state(self) -> history.State:
        self._state = state = history.read_state(self._session)
        self._applied = set(state.applied)
        return state

"""The two things that change a database: apply what is pending, roll back what is newest. Both under the run lock."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Self

from aurora_migrations.engine import history, interrupts
from aurora_migrations.engine.diagnostics.file_errors import (
    hazards_refused,
    in_doubt,
    partly_in,
    refuse_contradictions,
)
from aurora_migrations.engine.drift import read_edits
from aurora_migrations.engine.errors import (
    AnotherRunInProgress,
    Cancelled,
    ConnectionLost,
    InDoubt,
    MigrationChanged,
    MigratorError,
    PackageChanged,
)
from aurora_migrations.engine.executions import NOTHING_UNDONE, Undone, read_undone
from aurora_migrations.engine.interface import Request
from aurora_migrations.engine.job import Job
from aurora_migrations.engine.locks.blockers import Observer
from aurora_migrations.engine.locks.retry import MEANWHILE, Patience
from aurora_migrations.engine.migrations import Migration, invalid_files, read_text
from aurora_migrations.engine.plan import (
    Plan,
    count_parts,
    find_target,
    make_plan,
    partly_missing,
    plan_rollback,
)
from aurora_migrations.engine.postgres import advisory_lock
from aurora_migrations.engine.results import FileDone, RunResult, rollback_message, success_message
from aurora_migrations.engine.script import PAST, Action, Script
from aurora_migrations.engine.takeover import connect, overtaken, reconnect, take_over
from aurora_migrations.engine.transaction import CommitUnknown, Ran, run_file


def apply(request: Request, target: str | None = None) -> RunResult:
    """Applies what is pending, up to and including `target`, or all; each file in a transaction of its own.

    The first error ends the run: its file is rolled back, those before it stay. With nothing to do, nothing is locked
    and nothing written.

    Raises:
        MigratorError: of any family; its fact `applied` names the files that this run had applied before.
    """
    with _Run(request) as run:
        plan = run.read_plan(target)
        request.listener.planned("apply", plan.pending)
        done: list[FileDone] = []
        if plan.pending:
            run.check("apply", plan.pending)  # refuses before it waits for the lock and writes anything
            run.take_lock()
            plan = run.read_plan(target)
            done = run.files("apply", plan.pending)
        since = plan.target_applied
        return run.result(
            migration=plan.target.label if plan.target else done[-1].migration if done else None,
            message=_message(plan, done),
            applied=tuple(done),
            notices=tuple(plan.warnings),
            already_applied=since.applied_at if since else None,
            remaining=run.remaining("apply", plan.pending),
        )


def roll_back(request: Request, target: str, confirm: str) -> RunResult:
    """Runs the down files of every applied migration from the newest down to and including `target`.

    Args:
        confirm: the number of the newest applied migration, as whoever asks knows it. Held against the history under
            the lock: if somebody has applied another since, nothing is rolled back.

    Raises:
        InvalidInput: the target isn't applied, `confirm` isn't the newest, or a down file is missing.
        MigratorError: of any other family; its fact `rolled_back` names what this run had rolled back before.
    """
    with _Run(request) as run:
        chosen = run.read_rollback(target, confirm)
        request.listener.planned("rollback", chosen)
        done: list[FileDone] = []
        if chosen:
            run.check("rollback", chosen)  # refuses before it waits for the lock
            run.take_lock()
            chosen = run.read_rollback(target, confirm)
            done = run.files("rollback", chosen)
        labels = [file.migration for file in done] or [find_target(request.source.package, target).label]
        return run.result(
            migration=labels[-1],
            message=rollback_message(labels),
            applied=tuple(done),
            action="rollback",
            remaining=run.remaining("rollback", chosen),
        )


class _Run:
    """One run: its session, which is replaced where a commit's fate had to be found out, and its clock."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._started = time.monotonic()
        self._unfinished: dict[int, history.Progress] = {}
        self._checked: set[tuple[Action, int]] = set()
        self._known: set[int] = set()  # what is applied, as this run knows it
        self._hazards: list[str] = []
        self._patience = Patience(request.limits, request.limits_now, request.listener.in_the_way)
        self._observer = Observer(request.url, request.execution)
        self._session = connect(request)
        request.listener.connected(self._session)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._observer.close()
        self._session.close()
        self._request.listener.closed()

    def read_plan(self, target: str | None) -> Plan:
        source, state = self._request.source, self._read_state()
        return make_plan(source.package, state, read_edits(self._session, source, state.applied), target)

    def read_rollback(self, target: str, confirm: str) -> list[Migration]:
        request, applied = self._request, self._read_state().applied
        undone = self._read_undone() if request.resumes else NOTHING_UNDONE
        return plan_rollback(request.source.package, applied, target, confirm, undone)

    def _read_undone(self) -> Undone:
        return read_undone(self._session, self._request.execution, self._request.execution_start)

    def _read_state(self) -> history.State:
        state = history.read_state(self._session)
        self._known, self._unfinished = set(state.applied), state.unfinished
        return state

    def take_lock(self) -> None:
        self._session.prepare_to_write()
        advisory_lock.acquire(self._session, self._request.wait, self._request.listener.waiting)
        history.upgrade(self._session)
        history.close_interrupted(self._session)

    def check(self, action: Action, migrations: Sequence[Migration]) -> None:
        """Refuses files that can't be run as they are, or may hurt where that is refused, and a package that can't be
        read."""
        fresh = [migration for migration in migrations if (action, migration.version) not in self._checked]
        problems = self._request.source.problems(action, fresh)
        interrupts.hear("looking for hazards")  # before a judgement of which Ctrl-C may have ended a part
        if problems:
            raise invalid_files(problems)
        self._checked |= {(action, migration.version) for migration in fresh}
        _ = self._request.source.digest
        scripts = [self._request.source.script(action, migration) for migration in fresh]
        refuse_contradictions(self._request.limits, scripts)
        self._look_at_hazards(scripts)

    def _look_at_hazards(self, scripts: Iterable[Script]) -> None:
        found = [hazard for script in scripts for hazard in script.hazards if hazard.allowed_because is None]
        if found and self._request.hazards == "refuse":
            raise hazards_refused(found)
        self._hazards += map(str, found)
        for hazard in found:
            self._request.listener.may_hurt(hazard)

    def files(self, action: Action, migrations: Sequence[Migration]) -> list[FileDone]:
        """Runs files in order. All are checked before the first runs."""
        self.check(action, migrations)
        self._request.listener.begins(action, migrations)
        done: list[FileDone] = []
        for migration in migrations:
            if action == "apply" and migration.version in self._known:
                continue  # another run did it, while we found out what had become of a commit
            if done and not self._request.may_begin():
                break
            try:
                done.append(self._file(action, migration))
            except MigratorError as error:
                error.facts[PAST[action]] = [file.migration for file in done]
                raise
        return done

    def remaining(self, action: Action, migrations: Sequence[Migration]) -> int:
        """How many of these the run has left to do."""
        return sum((migration.version in self._known) == (action == "rollback") for migration in migrations)

    def result(self, **parts: Any) -> RunResult:
        return RunResult(
            hazards=tuple(self._hazards),
            execution=self._request.execution,
            database=self._session.server.database,
            duration_ms=(time.monotonic() - self._started) * 1_000,
            **parts,
        )

    def _file(self, action: Action, migration: Migration) -> FileDone:
        if self._session.wire.interrupted:
            raise interrupts.cancelled("between two files")
        self._request.listener.executing(action, migration)
        started = time.monotonic()
        job = _job(self._request, action, migration)
        self._patience.begin(job.limits)
        ran = self._until_done(job)
        self._known ^= {migration.version}
        done = FileDone(
            migration.label,
            job.file,
            (time.monotonic() - started) * 1_000,
            tuple(ran.checks),
            tuple(ran.held),
            tuple(self._patience.waits),
        )
        self._request.listener.executed(action, migration, done)
        return done

    def _until_done(self, job: Job) -> Ran:
        """Runs a file from the first unit that isn't in; again, if others were in the way or the connection broke."""
        wanted = job.limits
        while True:
            job = replace(job, done=self._units_done(job), limits=self._request.limits_now(wanted))
            try:
                return run_file(
                    self._session, job, self._observer, self._patience.attempt_ms, self._request.listener.at_work
                )
            except CommitUnknown as unknown:
                if self._settle(unknown, job):
                    return unknown.ran
            except MigratorError as error:
                self._patience.after(error)
                try:
                    self._wait(job, error)
                except ConnectionLost as lost:
                    lost.state = error.state
                    self._replace(job, lost)

    def _wait(self, job: Job, error: MigratorError) -> None:
        """Waits for the next try, with nothing of the last one left in the session."""
        try:
            self._session.clean(wholly=False)  # the history is read as ourselves
            self._unfinished = history.read_state(self._session).unfinished
            if not self._units_done(job):
                self._session.clean(wholly=True)
            self._patience.wait(self._session, error)
        except Cancelled as cancelled:
            by_ctrl_c = self._session.wire.interrupted  # also where it hit a statement of ours
            stopped = interrupts.cancelled(f"while {MEANWHILE}") if by_ctrl_c else cancelled
            stopped.state = error.state
            raise stopped from None

    def _replace(self, job: Job, lost: ConnectionLost) -> None:
        """Goes on in a new session after the connection was lost while nothing of ours was under way.

        Raises:
            ConnectionLost: it isn't tried again.
            AnotherRunInProgress: another run has worked on the database since.
        """
        if not self._patience.forgives_connections:
            raise lost
        before, interrupted = self._session.server.pid, self._session.wire.interrupted
        self._session.close()
        self._request.listener.closed()
        try:
            busy = self._take_over(before)
            self._session.wire.interrupted |= interrupted
            state = history.read_state(self._session)
        except MigratorError as error:
            raise lost from error
        self._patience.after_connection(lost)
        self._unfinished = state.unfinished
        if busy or set(state.applied) != self._known:
            raise overtaken(job, "was waiting for its next try", self._parts_through(job, state), busy)
        self._close_interrupted()

    def _units_done(self, job: Job) -> int:
        """How many of the file's units are in, from an attempt that didn't get to the end.

        Raises:
            MigrationChanged: those aren't the units that the file begins with.
        """
        progress = self._unfinished.get(job.migration.version)
        ours = [unit.tokens for unit in job.script.units]
        if progress is None or progress.action != job.action:
            self._refuse_renumbered(job, ours)
            return 0
        if list(progress.units) != ours[: len(progress.units)]:
            raise MigrationChanged(
                f"{job.file} is partly in ({count_parts(progress)}), but doesn't begin with what is in any more.",
                cause="It was edited above the place where an earlier attempt had failed.",
                solution="Put its beginning back as it was; what comes after the part that failed may change.",
                migration=job.migration.label,
                file=job.file,
            )
        return len(progress.units)

    def _parts_through(self, job: Job, state: history.State) -> int | None:
        """How many of the file's units are done by now, whoever did them; None: the file is."""
        whole = (job.migration.version in state.applied) == (job.action == "apply")
        return None if whole else self._units_done(job)

    def _refuse_renumbered(self, job: Job, ours: Sequence[str]) -> None:
        """Refuses a file whose first parts are in under another number, which the folder hasn't got any more."""
        package = self._request.source.package.by_version
        for version, progress in self._unfinished.items():
            renamed = progress.action == job.action == "apply" and version not in package
            if renamed and list(progress.units) == ours[: len(progress.units)]:
                raise partly_missing(progress, job.file)

    def _settle(self, unknown: CommitUnknown, job: Job) -> bool:
        """Finds out what became of a commit whose answer never came, in a new session that takes the old one's place.

        As long as the old session lives, its commit may still happen. So the new one must get the run lock, or see
        that somebody else has it: either proves that the old session is gone.

        Returns:
            Whether the file is done: wholly in, or rolled back. If not, its next unit can begin.

        Raises:
            MigratorError: the commit didn't happen and isn't tried again (why the connection broke); or it did, but
                another run is at work; or nobody can be asked (InDoubt).
        """
        if not (unknown.commit_sent or self._patience.forgives_connections):
            raise unknown.error
        before, interrupted = self._session.server.pid, self._session.wire.interrupted
        self._session.close()
        self._request.listener.closed()
        try:
            busy = self._take_over(before)
            self._session.wire.interrupted |= interrupted
            progress = history.read_attempt(self._session, unknown.attempt, job)
            state = history.read_state(self._session)
        except MigratorError as error:
            if not unknown.commit_sent:
                raise unknown.error from error
            if not unknown.error.retryable:
                unknown.error.state = in_doubt(job, unknown.units) or unknown.error.state
                raise unknown.error from error
            raise InDoubt(
                f"The connection was lost while {job.file} was committing, and then: {error.message}",
                state=in_doubt(job, unknown.units),
                migration=job.migration.label,
                file=job.file,
            ) from error
        applied, self._unfinished = set(state.applied), state.unfinished
        done = progress is not None and progress.result == job.result
        if not done and (progress is None or len(progress.units) <= unknown.units):
            unknown.error.state = partly_in(job, unknown.units) or unknown.error.state
            if busy or not unknown.error.retryable:
                raise unknown.error
            self._patience.after_connection(unknown.error)
        if busy or not self._may_go_on(job, done, applied):
            raise overtaken(job, "was committing", self._parts_through(job, state), busy)
        self._close_interrupted()
        return done or (job.action == "apply" and job.migration.version in applied)  # by another run

    def _close_interrupted(self) -> None:
        """In a new session. If that fails, the next run does it: what this one has found out is told all the same."""
        with contextlib.suppress(MigratorError):
            history.close_interrupted(self._session)

    def _may_go_on(self, job: Job, done: bool, applied: set[int]) -> bool:
        """Whether what others did meanwhile leaves what is left of this run right: more may be in, nothing less."""
        expected = self._known ^ {job.migration.version} if done else self._known
        more = applied - expected
        self._known = (
            (applied - {job.migration.version}) if job.action == "apply" else (applied | {job.migration.version})
        )
        return expected <= applied and (job.action == "apply" or not more)

    def _take_over(self, before: int) -> AnotherRunInProgress | None:
        """Connects anew and takes the run lock; returns the error if another session than ours has it."""
        self._session = reconnect(self._request)
        self._request.listener.connected(self._session)
        return take_over(self._session, self._request, before)


def _job(request: Request, action: Action, migration: Migration) -> Job:
    """A migration's file as it is now, held against what the source understood of it."""
    script = request.source.script(action, migration)
    path = migration.path if action == "apply" else migration.down
    text = read_text(path) if path else b""
    if hashlib.sha256(text).hexdigest() != script.sha256:
        raise PackageChanged(f"{script.file} was changed while the run was under way.", file=script.file)
    limits = request.limits.of(script.options)
    who = request.requested_by
    return Job(action, migration, script, text, 0, request.source.digest, who, limits, request.execution_start)


def _message(plan: Plan, done: Sequence[FileDone]) -> str:
    target = plan.target.label if plan.target else None
    return success_message([file.migration for file in done], target, plan.target_applied)

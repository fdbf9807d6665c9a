"""The runner: applies pending migrations, or rolls back applied ones, under the run lock.

Read it from top to bottom. `apply`, `roll_back` and `undo` plan, take the lock, plan again and give the files to
`run_all`, which calls `run_one` for each. That calls `run_with_retries`, where an attempt ends in one of three ways:

    committed   the file's changes and its record are in the database, in one transaction
    failed      the attempt is rolled back; the retry policy decides whether there is another
    unknown     the connection was lost at COMMIT; `resolve_unknown_commit` reads in the history whether it went through

What only a file that runs needs is loaded by `run_all` and below it: loading it takes longer than finding out that
there is nothing to do.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from aurora_migrations.engine import history, history_format, interrupts, nontransactional
from aurora_migrations.engine.adoption.guard import check_foreign_histories, check_not_applied_by_others
from aurora_migrations.engine.diagnostics.file_errors import (
    check_limits,
    hazards_refused,
    in_doubt,
    partial_state,
)
from aurora_migrations.engine.errors import (
    AnotherRunInProgress,
    Cancelled,
    ConnectionLost,
    DatabaseBusy,
    InDoubt,
    MigrationChanged,
    MigratorError,
    PackageChanged,
    StatementTimeout,
)
from aurora_migrations.engine.history import NOTHING_UNDONE, read_done, read_undone
from aurora_migrations.engine.interface import FileDone, Request, RunResult, rollback_message, success_message
from aurora_migrations.engine.migrations import Migration, invalid_files, read_text
from aurora_migrations.engine.nontransactional.limits import LeftToServer
from aurora_migrations.engine.plan import (
    Plan,
    build_plan,
    count_units,
    find_target,
    partly_missing,
    plan_rollback,
    plan_undo,
    read_edits,
)
from aurora_migrations.engine.postgres.session import Holder, Session, acquire_run_lock, find_holder

if TYPE_CHECKING:
    from aurora_migrations.engine.locks.blockers import Observer
    from aurora_migrations.engine.locks.retry import RetryPolicy
    from aurora_migrations.engine.nontransactional.intents import Running
    from aurora_migrations.engine.script import Action, Job
    from aurora_migrations.engine.transaction import AttemptResult, CommitUnknown

SETTLE_TIME = 30.0  # seconds in which a lost session must be replaced and a commit's fate be found out
_CONNECTING = "connecting to the database"
_SMALL = 1 << 16  # bytes; to read a larger file takes longer than most statements, and they hold locks


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
                runner.take_lock()
                plan = runner.build_plan(target)  # again: another run may have had its turn
                runner.run_all("apply", plan.pending)
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
            runner.take_lock()
            chosen = plan()
            runner.run_all("rollback", chosen)
    labels = [file.migration for file in runner.done]
    if not labels and target is not None:
        labels = [find_target(request.source.package, target).label]
    return runner.result(
        migration=labels[-1] if labels else None,
        message=rollback_message(labels),
        action="rollback",
        remaining=runner.remaining("rollback", chosen),
    )


def resolve(request: Request, target: str, outcome: Literal["applied", "again"]) -> RunResult:
    """Settles a statement that commits on its own (CALL, DO) and whose run ended before it did, as a person has found
    out: it is done, or the next run starts it from its beginning.

    Raises:
        InvalidInput: nothing of this migration is in doubt, or there is no such migration.
        MigratorError: of the families connection, contention or history.
    """
    migration = find_target(request.source.package, target)
    with _Runner(request) as runner:
        runner.take_lock()
        name = runner.resolve(migration, outcome)
        done = "recorded as done" if outcome == "applied" else "to be started again from its beginning by the next run"
        message = f"The {name} of migration {migration.label} is {done}"
        return runner.result(migration=migration.label, message=message, action="resolve")


def cancel(request: Request) -> RunResult:
    """Ends the statement of the run that holds the run lock, also where that run is gone and the server goes on with
    it; and drops what it leaves invalid. What is committed stays.

    Raises:
        InvalidInput: nothing is running.
        InsufficientPrivilege: our role may not end another role's statement.
        AnotherRunInProgress: it doesn't end.
    """
    with _Runner(request) as runner:
        message = runner.cancel()
        return runner.result(migration=None, message=message, action="cancel")


class _Runner:
    """One run: its session, which holds the run lock and is replaced where the connection was lost, and its clock."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._listener = request.listener
        self._started = time.monotonic()
        self._applied: set[int] = set()  # versions, as this run knows the history
        self._unfinished: dict[int, history.Progress] = {}
        self._checked: set[tuple[Action, int]] = set()
        self._next: Job | None = None  # the file after the one that is running, if it may begin with that one's COMMIT
        self._begun: set[tuple[str, int]] = set()  # files of which earlier runs have begun a statement
        self._hazards: list[str] = []
        self.done: list[FileDone] = []
        self._running: str | None = None  # what was left to the server
        self._has_waited = False  # for another run
        self._adopted: Running | None = None  # what another run has left, and this one waits for
        self._retry: RetryPolicy  # both from `run_all` on
        self._observer: Observer
        self._closing = contextlib.ExitStack()
        self._session = connect(request)
        self._listener.connected(self._session)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
        self._session.close()
        self._listener.closed()

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

    def take_lock(self) -> None:
        """Takes the run lock, which the session holds until it ends, and brings the history up to date."""
        self._session.prepare_to_write()

        def waiting(holder: Holder | None) -> None:
            self._has_waited = True
            self._listener.waiting(holder)

        try:
            acquire_run_lock(self._session, self._request.wait, waiting, doing=self.doing)
        except (Cancelled, StatementTimeout) as error:  # by whoever limits our time
            if self._adopted and self._request.is_time_up():
                raise LeftToServer(str(self._adopted)) from error
            raise
        history_format.upgrade(self._session)
        history.close_interrupted(self._session)

    def resolve(self, migration: Migration, outcome: Literal["applied", "again"]) -> str:
        """Settles the migration's statement in doubt, and returns its name."""
        return nontransactional.intents.resolve(self._session, migration, outcome, self._request.execution_start)

    def cancel(self) -> str:
        """Ends the statement of the run that holds the lock, clears what it left, and reports what was done. A call
        whose answer was lost is repeated for the same run only."""
        session, began = self._session, self._request.execution_start
        begun = nontransactional.intents.find_own_cancel(session, began)
        if begun is None:
            found = nontransactional.intents.find_what_to_cancel(session)
            begun = found.pid, f"Cancelled {found.doing or 'the statement'} of {replace(found, doing=None)}"
            session.prepare_to_write()
            nontransactional.intents.mark_cancelled(session, *begun, began)
        pid, done = begun
        holder = find_holder(session)
        if holder and holder.pid != pid:
            return done  # another run has begun since: it clears what that one has left
        if holder:
            session.query("SELECT pg_catalog.pg_cancel_backend($1::int)", pid)
        session.prepare_to_write()
        acquire_run_lock(session, SETTLE_TIME, self._listener.waiting)
        history_format.upgrade(session)
        history.close_interrupted(session)
        dropped = nontransactional.settlement.clear_all(session)
        return f"{done}; dropped {', '.join(dropped)}, which it had left invalid" if dropped else done

    def doing(self, pid: int) -> str | None:
        """What the holder of the run lock runs outside any transaction: a build outlives the run that began it.

        Raises:
            LeftToServer: it does, and this run's time is up.
        """
        self._adopted = running = nontransactional.intents.read_running(self._session, pid, self._adopted)
        if running and self._request.is_time_up():
            raise LeftToServer(str(running))
        return str(running) if running else None

    @contextlib.contextmanager
    def leaving_to_server(self) -> Iterator[None]:
        """The block ends where the run's time is up and the server goes on with a statement."""
        try:
            yield
        except LeftToServer as left:
            self._running = str(left)

    def run_all(self, action: Action, migrations: Sequence[Migration]) -> None:
        """Runs files in order, and keeps what is done in `done`. All are checked before the first runs."""
        from aurora_migrations.engine.locks.blockers import Observer
        from aurora_migrations.engine.locks.retry import RetryPolicy
        from aurora_migrations.engine.script import PAST

        self.check(action, migrations)
        self._listener.begins(action, migrations)
        request = self._request
        self._retry = RetryPolicy(request.limits, request.limits_now, request.listener.blocked)
        self._observer = self._closing.enter_context(contextlib.closing(Observer(request.url, request.execution)))
        done, self._begun = self.done, nontransactional.intents.read_begun(self._session)
        if gone := {version for _, version in self._begun} - request.source.package.by_version.keys():
            with contextlib.suppress(MigratorError):  # what can't be dropped, such as by this role, is in nobody's way
                # Of files with another number now.
                nontransactional.settlement.clear_all(self._session, gone, request.is_time_up)
        for migration, following in zip(migrations, [*migrations[1:], None], strict=False):
            if action == "apply" and migration.version in self._applied:
                continue  # another run applied it, while this one resolved a lost commit
            if done and not self._session.begun and not request.may_begin(0):
                break
            try:
                done.append(self.run_one(action, migration, following))
            except MigratorError as error:
                so_far: dict[str, Any] = {PAST[action]: [file.migration for file in done]}
                raise error.but(**so_far) from error

    def run_one(self, action: Action, migration: Migration, following: Migration | None) -> FileDone:
        """Runs a migration's file to its end, and begins the following one with its COMMIT, if that is possible."""
        begun, self._next = self._next if self._session.begun else None, None
        if self._session.wire.interrupted and not begun:
            raise interrupts.cancelled("between two files")
        self._listener.executing(action, migration)
        started = time.monotonic()
        job = begun or self._read_job(action, migration)
        if (action, migration.version) in self._begun:
            nontransactional.settlement.clear_changed(self._session, job)
        if self._has_waited:
            nontransactional.intents.check_cancelled(self._session, job, 0)
        self._retry.begin_file(job.limits)
        read, begin = partial(self.read_next, action, following), partial(self.begin_next, started)
        result = self.run_with_retries(job, read, begin)
        (self._applied.add if action == "apply" else self._applied.discard)(migration.version)
        duration_ms = (time.monotonic() - started) * 1_000
        checks, held, waits = tuple(result.checks), tuple(result.held), tuple(self._retry.waits)
        effects = result.effects
        done = FileDone(migration.label, job.file, duration_ms, checks, held, waits, effects.rows, effects.warnings)
        self._listener.executed(action, migration, done)
        return done

    def read_next(self, action: Action, migration: Migration | None) -> None:
        """Reads the file after the one that is running, if it may begin in the round trip in which that one is
        committed: a small one that nothing is known to be left of."""
        self._next, request = None, self._request
        if migration is None or not request.begins_ahead or (action, migration.version) in self._begun:
            return
        if self._has_waited:  # the file may have been cancelled meanwhile, which is found out before it begins
            return
        path = migration.path if action == "apply" else migration.down
        with contextlib.suppress(MigratorError, OSError):  # found again where the file's turn comes
            if path and path.stat().st_size <= _SMALL:
                job = self._read_job(action, migration)
                self._next = None if self._units_done(job) else job

    def begin_next(self, started: float) -> Job | None:
        """The next file, where it begins with the COMMIT of the one that has run since `started`: with what is left of
        its limits then."""
        taken_ms = (time.monotonic() - started) * 1_000
        if self._next is not None and self._request.may_begin(taken_ms):
            self._next = replace(self._next, limits=self._request.limits_now(self._next.limits))
        else:
            self._next = None
        return self._next

    def run_with_retries(
        self, job: Job, read_next: Callable[[], None], begin_next: Callable[[], Job | None]
    ) -> AttemptResult:
        """Runs a file from its first unit that isn't committed yet; again, where the retry policy allows it."""
        from aurora_migrations.engine.transaction import CommitUnknown, RunningAttempt

        wanted = job.limits
        while True:
            if not self._session.begun:
                job = replace(job, done=self._units_done(job), limits=self._request.limits_now(wanted))
            can_keep = self._session.wire.can_keep
            attempt_ms, on_running = self._retry.attempt_ms, self._listener.statement_running
            following = read_next, begin_next
            try:
                return RunningAttempt(self._session, job, self._observer, attempt_ms, on_running, *following).run()
            except CommitUnknown as unknown:
                if self.resolve_unknown_commit(unknown, job):
                    return unknown.result
            except ConnectionLost as lost:  # before the attempt had begun; later it is a CommitUnknown
                self.replace_session(job, lost, "was about to begin")
            except MigratorError as error:
                if can_keep and not self._session.wire.can_keep:
                    self.reset_after(job)  # a function called by the file has deallocated our prepared statements
                    continue
                self._retry.on_failure(error)  # raises it, if there is no other attempt
                self.wait_for_next_attempt(job, error)

    def wait_for_next_attempt(self, job: Job, error: MigratorError) -> None:
        """Waits outside the lock queue, with nothing of the failed attempt left in the session. A connection
        that is lost meanwhile is replaced: no transaction of ours was open."""
        from aurora_migrations.engine.locks.retry import MEANWHILE

        try:
            self.reset_after(job)
            self._retry.wait(self._session, error)
        except Cancelled as cancelled:
            by_ctrl_c = self._session.wire.interrupted  # also where it hit a statement of ours
            stopped = interrupts.cancelled(f"while {MEANWHILE}") if by_ctrl_c else cancelled
            raise stopped.but(state=error.state) from None
        except ConnectionLost as broken:
            self.replace_session(job, broken.but(state=error.state), "was waiting for its next try")

    def reset_after(self, job: Job) -> None:
        """Removes what a failed attempt has left in the session, and finds out which units are committed."""
        self._session.reset_session(complete=False)  # so that the history is read as our own role
        self._unfinished = history.read_state(self._session).unfinished
        if not self._units_done(job):
            self._session.reset_session(complete=True)

    def replace_session(self, job: Job, lost: ConnectionLost, doing: str) -> None:
        """Continues in a new session where the connection was lost between two attempts: no transaction of ours was
        open. Raises AnotherRunInProgress if another run has worked on the database since."""
        if not self._retry.may_reconnect:
            raise lost
        try:
            other_run = self.reconnect()
            state = history.read_state(self._session)
        except MigratorError as failed:
            raise lost from failed
        self._retry.on_connection_lost(lost)
        self._unfinished = state.unfinished
        if other_run or set(state.applied) != self._applied:
            raise self._overtaken(job, doing, state, other_run) from None
        self._close_interrupted()

    def resolve_unknown_commit(self, unknown: CommitUnknown, job: Job) -> bool:
        """Finds out whether a commit whose answer never came went through, in a session that replaces the lost one.

        Returns whether the file is done: applied, or rolled back. If not, its next unit can begin. Raises the error
        with which the connection broke, if the commit didn't go through and isn't retried; or an error if it did, but
        another run is at work, or if the history can't be read (InDoubt).
        """
        if not (unknown.commit_sent or self._retry.may_reconnect):
            raise unknown.error
        doing = "was running" if job.unit(unknown.units).nontransactional else "was committing"
        try:
            other_run = self.reconnect()
            progress = history.read_attempt(self._session, unknown.attempt, job)
            state = history.read_state(self._session)
        except MigratorError as error:
            if not unknown.commit_sent:
                raise unknown.error from error
            if not unknown.error.retryable:
                raise unknown.error.but(state=in_doubt(job, unknown.units)) from error
            raise InDoubt(
                f"The connection was lost while {job.file} {doing}, and then: {error.message}",
                state=in_doubt(job, unknown.units),
                **job.facts,
            ) from error
        version, applied, self._unfinished = job.migration.version, set(state.applied), state.unfinished
        file_done = progress is not None and progress.result == job.result
        unit_done = progress is not None and len(progress.units) > unknown.units
        if not (file_done or unit_done):
            lost = unknown.error.but(state=partial_state(job, unknown.units))
            if other_run or not lost.retryable:
                raise lost
            self._retry.on_connection_lost(lost)  # raises it, if there is no other attempt
        # Another run may have had the lock in between. If it has applied more, a run that applies can continue; any
        # other change makes what is left of this run wrong.
        expected = self._applied ^ {version} if file_done else self._applied
        self._applied = applied
        as_expected = expected <= applied if job.action == "apply" else expected == applied
        if other_run or not as_expected:
            raise self._overtaken(job, doing, state, other_run)
        self._close_interrupted()
        return file_done or (job.action == "apply" and version in applied)  # by another run

    def reconnect(self) -> AnotherRunInProgress | None:
        """Replaces a lost session by one that holds the run lock.

        As long as the lost session lives, its commit may still happen. So the new one must get the lock, or see that
        another session has it: either proves that the lost session is gone. Returns the error, if another run has the
        lock; raises it, if the holder is unknown, or is still the lost session.
        """
        lost_pid, interrupted = self._session.server.pid, self._session.wire.interrupted
        self._session.close()
        self._listener.closed()
        self._session = connect(self._request, again=True)
        self._listener.connected(self._session)
        other_run = None
        try:
            waiting = self._listener.waiting
            acquire_run_lock(self._session, SETTLE_TIME, waiting, yields_to_others=lost_pid, doing=self.doing)
        except AnotherRunInProgress as error:
            if error.facts.get("holder_pid") in (None, lost_pid):
                raise
            other_run = error
        self._session.wire.interrupted |= interrupted
        return other_run

    def check(self, action: Action, migrations: Sequence[Migration]) -> None:
        """Refuses files that can't be run as they are, and hazards where those are refused."""
        source, limits = self._request.source, self._request.limits
        fresh = [migration for migration in migrations if (action, migration.version) not in self._checked]
        problems = source.problems(action, fresh)
        # First: Ctrl-C may have ended the linter, and with it cut its findings short.
        interrupts.raise_if_pressed("checking for hazards")
        if problems:
            raise invalid_files(problems)
        self._checked |= {(action, migration.version) for migration in fresh}
        _ = source.digest
        scripts = [source.script(action, migration) for migration in fresh]
        check_limits(limits, scripts, self._request.limits_now(limits).longest)
        found = [hazard for script in scripts for hazard in script.open_hazards]
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
        state = history.read_state(self._session)
        self._applied, self._unfinished = set(state.applied), state.unfinished
        return state

    def _read_job(self, action: Action, migration: Migration) -> Job:
        """A migration's file as it is now, which must be the one that the source has read."""
        from aurora_migrations.engine.script import Job

        request = self._request
        script = request.source.script(action, migration)
        path = migration.path if action == "apply" else migration.down
        text = read_text(path) if path else b""
        if hashlib.sha256(text).hexdigest() != script.sha256:
            raise PackageChanged(f"{script.file} was changed while the run was under way.", file=script.file)
        limits, digest = request.limits.of(script.options), request.source.digest
        initiator = request.requested_by, limits, request.source.replayed_on, request.execution_start
        return Job(action, migration, script, text, 0, digest, *initiator, request.is_time_up)

    def _units_done(self, job: Job) -> int:
        """How many of the file's units an earlier attempt has committed; they must still be its first ones."""
        progress = self._unfinished.get(job.migration.version)
        ours = [unit.tokens for unit in job.script.units]
        if progress is None or progress.action != job.action:
            for version, other in self._unfinished.items():
                gone = version not in self._request.source.package.by_version
                if other.action == job.action == "apply" and gone and list(other.units) == ours[: len(other.units)]:
                    raise partly_missing(other, job.file)
            return 0
        if list(progress.units) != ours[: len(progress.units)]:
            raise MigrationChanged(
                f"{job.file} is partly applied ({count_units(progress)}), but its applied units were changed.",
                cause="It was edited above the statement at which an earlier attempt failed.",
                solution="Restore the applied units; the unit that failed, and those after it, can be changed.",
                **job.facts,
            )
        return len(progress.units)

    def _close_interrupted(self) -> None:
        """In a new session. If it fails, the next run does it: what this one has found out is reported all the same."""
        with contextlib.suppress(MigratorError):
            history.close_interrupted(self._session)

    def _overtaken(
        self, job: Job, doing: str, state: history.State, other_run: AnotherRunInProgress | None
    ) -> AnotherRunInProgress:
        """The error where another run took the lock in the moment in which this one had lost it."""
        if (job.migration.version in state.applied) == (job.action == "apply"):
            reached = f"{job.file} {'is applied' if job.action == 'apply' else 'is rolled back'}."
        else:
            reached = partial_state(job, self._units_done(job)) or f"Nothing of {job.file} was committed."
        return AnotherRunInProgress(
            f"The connection was lost while {job.file} {doing}, and another run has worked on the database since.",
            cause=other_run.cause
            if other_run
            else "Another run began in the moment in which this one had lost its connection.",
            solution="See `aurora-migrations status`, then run again: the run continues from what is applied.",
            state=f"{reached} The rest of this run was not started.",
            **job.facts,
        )


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

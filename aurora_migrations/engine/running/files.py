"""Runs files, one after another, under the run lock. Each attempt at a file ends in one of three ways:

    committed   the file's changes and its record are in the database, in one transaction
    failed      the attempt is rolled back; the retry policy decides whether there is another
    unknown     the connection was lost at COMMIT; `resolve_unknown_commit` reads in the history whether it went through

`Files.run` calls `run_one` for each file, and that `run_with_retries`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from aurora_migrations.engine import history, interrupts
from aurora_migrations.engine.diagnostics.file_errors import in_doubt, partial_state
from aurora_migrations.engine.errors import (
    AnotherRunInProgress,
    Cancelled,
    ConnectionLost,
    InDoubt,
    MigrationChanged,
    MigratorError,
    PackageChanged,
)
from aurora_migrations.engine.interface import FileDone, Request
from aurora_migrations.engine.locks.blockers import Observer
from aurora_migrations.engine.locks.locked_session import LockedSession
from aurora_migrations.engine.locks.retry import MEANWHILE, RetryPolicy
from aurora_migrations.engine.migrations import Migration, read_text
from aurora_migrations.engine.nontransactional import intents
from aurora_migrations.engine.plan import count_units, partly_missing
from aurora_migrations.engine.postgres.session import Session
from aurora_migrations.engine.running.attempt import AttemptResult, CommitUnknown
from aurora_migrations.engine.running.transaction import RunningAttempt
from aurora_migrations.engine.script import PAST, Action, Job

_SMALL = 1 << 16  # bytes; to read a larger file takes longer than most statements, and they hold locks


class Files:
    """The files of a run, and what is known of the history while they run."""

    def __init__(self, request: Request, locked: LockedSession, state: history.State, done: list[FileDone]) -> None:
        self._request, self._listener, self._locked = request, request.listener, locked
        self.applied = set(state.applied)  # versions
        self._unfinished = state.unfinished
        self._done = done  # what this run has done, also if it then fails
        self._next: Job | None = None  # the file after the one that is running, if it may begin with that one's COMMIT
        self._begun: set[tuple[str, int]] = set()  # files of which earlier runs have begun a statement
        self._retry = RetryPolicy(request.limits, request.limits_now, request.listener.blocked)
        self._observer = Observer(request.url, request.execution)

    def close(self) -> None:
        """Ends the second session, if there is one."""
        self._observer.close()

    @property
    def _session(self) -> Session:
        return self._locked.session

    def run(self, action: Action, migrations: Sequence[Migration]) -> None:
        """Runs files in order."""
        self._listener.begins(action, migrations)
        done, self._begun = self._done, intents.read_begun(self._session)
        if gone := {version for _, version in self._begun} - self._request.source.package.by_version.keys():
            from aurora_migrations.engine.nontransactional import settlement  # few runs need it

            with contextlib.suppress(MigratorError):  # what can't be dropped, such as by this role, is in nobody's way
                settlement.clear_all(self._session, gone, self._request.is_time_up)  # of files with another number now
        for migration, following in zip(migrations, [*migrations[1:], None], strict=False):
            if action == "apply" and migration.version in self.applied:
                continue  # another run applied it, while this one resolved a lost commit
            if done and not self._session.begun and not self._request.may_begin(0):
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
            from aurora_migrations.engine.nontransactional import settlement

            settlement.clear_changed(self._session, job)
        if self._locked.has_waited:
            intents.check_cancelled(self._session, job, 0)
        self._retry.begin_file(job.limits)
        read, begin = partial(self.read_next, action, following), partial(self.begin_next, started)
        result = self.run_with_retries(job, read, begin)
        (self.applied.add if action == "apply" else self.applied.discard)(migration.version)
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
        if self._locked.has_waited:  # the file may have been cancelled meanwhile, which is found out before it begins
            return
        path = migration.place(action)
        with contextlib.suppress(MigratorError, OSError):  # found again where the file's turn comes
            if path and os.stat(path).st_size <= _SMALL:  # noqa: PTH116 - see `Folder.place`
                job = self._read_job(action, migration)
                self._next = None if self._units_done(job) else job

    def begin_next(self, started: float) -> Job | None:
        """The next file, where it begins with the COMMIT of the one that has run since `started`: with what is left of
        its limits then."""
        taken_ms = (time.monotonic() - started) * 1_000
        job, self._next = self._next, None
        if job is not None and self._request.may_begin(taken_ms):
            limits = self._request.limits_now(job.limits)
            self._next = job if limits == job.limits else replace(job, limits=limits)
        return self._next

    def run_with_retries(
        self, job: Job, read_next: Callable[[], None], begin_next: Callable[[], Job | None]
    ) -> AttemptResult:
        """Runs a file from its first unit that isn't committed yet; again, where the retry policy allows it."""
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
            other_run = self._locked.reconnect()
            state = history.read_state(self._session)
        except MigratorError as failed:
            raise lost from failed
        self._retry.on_connection_lost(lost)
        self._unfinished = state.unfinished
        if other_run or set(state.applied) != self.applied:
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
            other_run = self._locked.reconnect()
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
        expected = self.applied ^ {version} if file_done else self.applied
        self.applied = applied
        as_expected = expected <= applied if job.action == "apply" else expected == applied
        if other_run or not as_expected:
            raise self._overtaken(job, doing, state, other_run)
        self._close_interrupted()
        return file_done or (job.action == "apply" and version in applied)  # by another run

    def _read_job(self, action: Action, migration: Migration) -> Job:
        """A migration's file as it is now, which must be the one that the source has read."""
        request = self._request
        script = request.source.script(action, migration)
        path = migration.place(action)
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

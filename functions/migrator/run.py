"""The two things that change a database: apply what is pending, roll back what is newest. Both under the run lock."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from functions.migrator import history, runlock
from functions.migrator.errors import Cancelled, InDoubt, InvalidFile, MigratorError, PackageChanged
from functions.migrator.expectations import Promise
from functions.migrator.files import Migration, Package, Problem, invalid_files, read_text
from functions.migrator.history import read_applied
from functions.migrator.job import PAST, Action, Job, Span
from functions.migrator.options import Options, read_options
from functions.migrator.plan import Plan, make_plan, plan_rollback
from functions.migrator.results import FileDone, RunResult
from functions.migrator.runlock import Holder
from functions.migrator.session import Session
from functions.migrator.transaction import CommitUnknown, run_in_transaction

SETTLE_TIME = 30.0  # seconds in which a commit's fate must be found out


class Grammar(Protocol):
    """What the engine must be told about SQL texts; `compiler.grammar.Grammar` knows it."""

    def problems(self, file: str, text: bytes) -> list[Problem]:
        """What in the text can't run in a transaction of ours."""

    def statements(self, text: bytes) -> Sequence[Span]:
        """Where the statements of a text are; ValueError if it isn't SQL."""

    def queries(self, file: str, text: bytes) -> tuple[list[Promise], list[Problem]]:
        """The queries of a verify file, and what in it is something else."""


class Listener:
    """Is told what happens as it happens; this one keeps quiet."""

    def waiting(self, holder: Holder | None) -> None:
        """Another run has the lock."""

    def executing(self, action: Action, migration: Migration) -> None:
        """A file begins."""

    def executed(self, action: Action, migration: Migration, done: FileDone) -> None:
        """A file is in (or out), committed."""


@dataclass(frozen=True)
class Request:
    """What a run needs to know.

    Attributes:
        url: the database.
        execution: the run's name, in pg_stat_activity and in the history.
        requested_by: who says to have asked for it.
        wait: seconds to wait for another run to end.
        options: what holds for files that say nothing else.
    """

    url: str
    package: Package
    grammar: Grammar
    execution: str
    requested_by: str
    wait: float = 60.0
    options: Options = field(default_factory=Options)
    listener: Listener = field(default_factory=Listener)


def apply(request: Request, target: str | None = None) -> RunResult:
    """Applies what is pending, up to and including `target`, or all; each file in a transaction of its own.

    The first error ends the run: its file is rolled back, those before it stay. With nothing to do, nothing is locked
    and nothing written.

    Raises:
        MigratorError: of any family; its fact `applied` names the files that this run had applied before.
    """
    with _Run(request) as run:
        plan = run.read_plan(target)
        done: list[FileDone] = []
        if plan.pending:
            run.take_lock()
            plan = run.read_plan(target)
            done = run.files("apply", plan.pending)
        since = plan.target_applied
        return run.result(
            migration=plan.target.label if plan.target else done[-1].migration if done else None,
            message=_message(plan, done),
            applied=tuple(done),
            warnings=tuple(plan.warnings),
            already_applied=since.applied_at if since else None,
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
        run.read_rollback(target, confirm)  # refuses before it waits for the lock
        run.take_lock()
        done = run.files("rollback", run.read_rollback(target, confirm))
        labels = ", ".join(file.migration for file in done)
        return run.result(
            migration=done[-1].migration,
            message=f"Migration {labels} rolled back successfully",
            applied=tuple(done),
            action="rollback",
        )


class _Run:
    """One run: its session, which is replaced where a commit's fate had to be found out, and its clock."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._started = time.monotonic()
        self._session = Session(request.url, request.execution)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def read_plan(self, target: str | None) -> Plan:
        return make_plan(self._request.package, read_applied(self._session), target)

    def read_rollback(self, target: str, confirm: str) -> list[Migration]:
        return plan_rollback(self._request.package, read_applied(self._session), target, confirm)

    def take_lock(self) -> None:
        self._session.prepare_to_write()
        runlock.acquire(self._session, self._request.wait, self._request.listener.waiting)
        history.upgrade(self._session)
        history.close_interrupted(self._session)

    def files(self, action: Action, migrations: Sequence[Migration]) -> list[FileDone]:
        """Runs files in order. All are checked before the first runs."""
        problems = [problem for migration in migrations for problem in _problems(self._request, action, migration)]
        if problems:
            raise invalid_files(problems)
        done: list[FileDone] = []
        for migration in migrations:
            try:
                done.append(self._file(action, migration))
            except MigratorError as error:
                error.facts[PAST[action]] = [file.migration for file in done]
                raise
        return done

    def result(self, **parts: Any) -> RunResult:
        return RunResult(
            execution=self._request.execution,
            database=self._session.server.database,
            duration_ms=(time.monotonic() - self._started) * 1_000,
            **parts,
        )

    def _file(self, action: Action, migration: Migration) -> FileDone:
        if self._session.wire.interrupted:
            raise Cancelled("Stopped by Ctrl-C between two files.")
        listener = self._request.listener
        job = _job(self._request, action, migration)
        listener.executing(action, migration)
        started = time.monotonic()
        try:
            checks = run_in_transaction(self._session, job)
        except CommitUnknown as unknown:
            self._settle(unknown, job)
            checks = unknown.checks
        done = FileDone(migration.label, job.file, (time.monotonic() - started) * 1_000, tuple(checks))
        listener.executed(action, migration, done)
        return done

    def _settle(self, unknown: CommitUnknown, job: Job) -> None:
        """Finds out what became of a commit whose answer never came, and goes on in a new session if it went through.

        The new session must get the run lock first: as long as the old one lives, its commit may still happen.

        Raises:
            MigratorError: the commit didn't happen (why the connection broke), or nobody can be asked (InDoubt).
        """
        self._session.close()
        try:
            self._session = _reconnect(self._request)
            self._session.prepare_to_write()
            runlock.acquire(self._session, SETTLE_TIME, self._request.listener.waiting)
            result = history.read_result(self._session, unknown.attempt)
        except MigratorError as error:
            raise InDoubt(
                f"The connection was lost while {job.file} was committing, and then: {error.message}",
                migration=job.migration.label,
                file=job.file,
            ) from error
        if result != job.done:
            raise unknown.error


def _reconnect(request: Request) -> Session:
    """A new session, as soon as the server takes one; a failover or a restart takes some seconds."""
    deadline = time.monotonic() + SETTLE_TIME
    while True:
        try:
            return Session(request.url, request.execution)
        except MigratorError as error:
            if not error.retryable or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _problems(request: Request, action: Action, migration: Migration) -> list[Problem]:
    """Everything wrong with the files of one migration that can be known without the database."""
    path = _path(action, migration)
    try:
        text = read_text(path)
        problems = read_options(path.name, text, request.options)[1] + request.grammar.problems(path.name, text)
        if action == "apply" and migration.verify is not None:
            problems += request.grammar.queries(migration.verify.name, read_text(migration.verify))[1]
    except InvalidFile as error:
        problems = list(error.problems)
    return problems


def _job(request: Request, action: Action, migration: Migration) -> Job:
    path = _path(action, migration)
    text = read_text(path)
    if action == "apply" and hashlib.sha256(text).hexdigest() != migration.sha256:
        raise PackageChanged(f"{path.name} was changed while the run was under way.", file=path.name)
    verify = migration.verify if action == "apply" else None
    return Job(
        action=action,
        migration=migration,
        file=path.name,
        text=text,
        options=read_options(path.name, text, request.options)[0],
        promises=request.grammar.queries(verify.name, read_text(verify))[0] if verify else (),
        locate=request.grammar.statements,
        package=request.package.digest,
        requested_by=request.requested_by,
    )


def _path(action: Action, migration: Migration) -> Path:
    if action == "apply":
        return migration.path
    if migration.down is None:
        raise ValueError(f"{migration.name} has no down file; plan_rollback sees to it that it isn't asked")
    return migration.down


def _message(plan: Plan, done: Sequence[FileDone]) -> str:
    since = plan.target_applied
    if since is not None:
        return f"Migration {since.label} was already applied at {since.applied_at}"
    if not done:
        return "Nothing to do: every migration is applied"
    if plan.target or len(done) == 1:
        return f"Migration {done[-1].migration} executed successfully"
    return f"{len(done)} migrations executed successfully, {done[0].migration} to {done[-1].migration}"

"""One file in one transaction, with its record inside: both are in, or neither.

Three round trips: the intent and BEGIN; the text as written; the record and COMMIT. A file that promises something
costs more, before the commit. Whatever goes wrong before COMMIT is sent rolls back; what goes wrong after is settled
by asking the history.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from functions.migrator import history
from functions.migrator.errors import Cancelled, ConnectionLost, MigrationFailed, MigratorError, NotAWriter
from functions.migrator.expectations import Check, Promise, check_promises
from functions.migrator.files import Migration, position
from functions.migrator.options import Options
from functions.migrator.session import BEGIN, COMMIT, OURS, Session
from functions.migrator.sqlstate import Diagnosis, connection_lost, diagnose, kind_of
from functions.migrator.wire import BatchError, Command, ScriptError

_DEFERRED = Command("SET CONSTRAINTS ALL IMMEDIATE")
Action = Literal["apply", "rollback"]
PAST: dict[Action, str] = {"apply": "applied", "rollback": "rolled_back"}
_BREAKS_OUT = frozenset({"BEGIN", "START TRANSACTION", "COMMIT", "PREPARE TRANSACTION"})


class Span(Protocol):
    """A statement's place in a text: byte offsets."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


@dataclass(frozen=True)
class Job:
    """A file to run in one transaction.

    Attributes:
        migration: what it belongs to.
        file: the name of the file whose text this is (the down file, for a rollback).
        promises: queries of the verify file; each must return one true.
        locate: finds the statements of a text, for pointing at the one that failed.
        package: the package's digest.
    """

    action: Action
    migration: Migration
    file: str
    text: bytes
    options: Options
    promises: Sequence[Promise]
    locate: Callable[[bytes], Sequence[Span]]
    package: str
    requested_by: str

    @property
    def done(self) -> str:
        """The result that the history records for this action."""
        return PAST[self.action].replace("_", " ")


class CommitUnknown(Exception):
    """The connection broke after COMMIT was sent.

    Attributes:
        attempt: what the history must be asked about.
        error: what to say if it didn't go through.
        checks: what had been checked before.
    """

    def __init__(self, attempt: int, error: MigratorError) -> None:
        super().__init__(str(error))
        self.attempt = attempt
        self.error = error
        self.checks: Sequence[Check] = ()


def run_in_transaction(session: Session, job: Job) -> Sequence[Check]:
    """Runs a file: all of it with its record, or nothing. Returns what was checked before the commit.

    Raises:
        MigratorError: of the families sql, contention, verify or connection; the file is rolled back, the try recorded.
        CommitUnknown: the connection broke after COMMIT was sent.
    """
    attempt = _begin(session, job)
    checks: Sequence[Check] = ()
    try:
        _run_text(session, job)
        checks = _check(session, job)
        _commit(session, job, attempt)
    except CommitUnknown as unknown:
        unknown.checks = checks
        raise
    except MigratorError as error:
        _record_failure(session, attempt, error)
        raise
    return checks


def _begin(session: Session, job: Job) -> int:
    """Records the intent and opens the file's transaction. Nothing of it takes a snapshot, so that a file may begin
    with SET TRANSACTION."""
    intent = history.begin_attempt(session, job.action, job.migration, job.package, job.requested_by)
    try:
        answers = session.wire.batch([*intent, BEGIN, *_limits(job.options)])
    except BatchError as error:
        session.roll_back()
        raise _runner_error(session, job, error) from error
    return int(str(answers[3][0][0]))


def _run_text(session: Session, job: Job) -> None:
    started = time.monotonic()
    try:
        tags = session.wire.script(job.text)
    except ScriptError as error:
        raise _file_error(session, job, error, (time.monotonic() - started) * 1_000) from error
    if tags & _BREAKS_OUT or not session.in_transaction:
        raise MigrationFailed(
            f"{job.file} ended its transaction itself ({', '.join(sorted(tags & _BREAKS_OUT)) or 'ROLLBACK'}).",
            cause="The file commits or rolls back by itself, and the check before the run didn't see it.",
            solution="See what of the file is in the database, take it out of the file, and report this.",
            state="What the file committed by itself stays; nothing is recorded as applied.",
            migration=job.migration.label,
            file=job.file,
            rolled_back=False,
        )


def _check(session: Session, job: Job) -> list[Check]:
    """Checks what the file promises, in a session as the next file will find it, but in this file's transaction."""
    if not job.options.rows and not job.promises:
        return []
    try:
        session.wire.batch([_DEFERRED, *session.cleaning, *_limits(job.options)])
    except BatchError as error:
        if error.index == 0 and not connection_lost(error.error):
            raise _file_error(session, job, _at_commit(error), 0) from error
        raise _runner_error(session, job, error) from error
    return check_promises(session, job.file, job.options.rows, job.promises)


def _limits(options: Options) -> list[Command]:
    return [
        Command(f"SET LOCAL lock_timeout = {options.lock_timeout}"),
        Command(f"SET LOCAL statement_timeout = {options.statement_timeout}"),
    ]


def _commit(session: Session, job: Job, attempt: int) -> None:
    record = (
        history.add_applied(session, attempt, job.migration, job.text, job.requested_by)
        if job.action == "apply"
        else history.remove_applied(job.migration)
    )
    # Deferred constraints first, as the file's last statement left the session; then everything else as it was.
    finish = history.finish_attempt(attempt, job.done)
    commands = [_DEFERRED, *session.cleaning, OURS, record, finish, COMMIT]
    try:
        session.wire.batch(commands)
    except BatchError as error:
        if connection_lost(error.error):
            raise CommitUnknown(attempt, _runner_error(session, job, error)) from error
        if error.index in (0, len(commands) - 1):  # what the file deferred; serialization
            raise _file_error(session, job, _at_commit(error), 0) from error
        raise _runner_error(session, job, error) from error


def _at_commit(error: BatchError) -> ScriptError:
    return ScriptError(-1, error.error)


def _record_failure(session: Session, attempt: int, error: MigratorError) -> None:
    """Rolls back and records the failed try. Trouble here must not hide the first error: the next run closes it."""
    session.roll_back()
    if session.wire.lost:
        return
    try:
        session.wire.batch([BEGIN, OURS, history.finish_attempt(attempt, "failed", error), COMMIT])
    except BatchError:
        session.roll_back()


def _runner_error(session: Session, job: Job, error: BatchError) -> MigratorError:
    """An error that a statement of ours met around a file."""
    found = diagnose(error.error)
    if connection_lost(error.error):
        return _lost(job, found)
    if found.sqlstate == "23502" and "lock_holder" in found.message:
        return MigrationFailed(
            f"{job.file} released the run lock.",
            cause="The file unlocks advisory locks that it didn't take (pg_advisory_unlock_all, DISCARD ALL).",
            solution="Unlock by key what the file itself locked, with pg_advisory_unlock(key).",
            state=_ROLLED_BACK,
            **_where(job),
        )
    if found.sqlstate == "25006":
        return _read_only(session, job, found)
    if found.sqlstate == "57014":
        return Cancelled(f"{job.file} was cancelled at its end: {found.message}.", state=_ROLLED_BACK, **_where(job))
    return MigrationFailed(
        f"{job.file}: its record can't be written: {found.message} ({found.sqlstate}).",
        cause="A statement of the runner failed in the file's transaction; the file may have changed the history.",
        solution="Leave the schema aurora_migrations alone in migrations; see what the message says.",
        state=_ROLLED_BACK,
        sqlstate=found.sqlstate,
        **_where(job),
    )


def _read_only(session: Session, job: Job, found: Diagnosis) -> MigratorError:
    try:
        session.roll_back()
        standby = session.query("SELECT pg_catalog.pg_is_in_recovery()") == [("t",)]
    except MigratorError:
        standby = False
    if standby:
        return NotAWriter("The server has become a standby: a failover is under way.", **_where(job))
    return MigrationFailed(
        f"{job.file}: {found.message} (25006).",
        cause="The transaction is read-only: the file, the role or the database says so.",
        solution="Take SET TRANSACTION READ ONLY out of the file, or default_transaction_read_only off the role.",
        state=_ROLLED_BACK,
        sqlstate="25006",
        **_where(job),
    )


def _file_error(session: Session, job: Job, error: ScriptError, elapsed_ms: float) -> MigratorError:
    """An error that a statement of the file met, with its place in the file."""
    found = diagnose(error.error)
    if connection_lost(error.error):
        return _lost(job, found)
    if found.sqlstate == "25006":
        return _read_only(session, job, found)
    place = locate_failure(job, error.completed, found)
    kind = kind_of(found, elapsed_ms, job.options.statement_timeout)
    where = f"{job.file}:{place.line}:{place.column}" if place else f"{job.file}, at COMMIT"
    hint = f" {found.hint.rstrip('.')}." if found.hint else ""
    return kind(
        f"{where}: {found.message} ({found.sqlstate}).",
        cause=_causes(job).get(kind.__name__, f"{kind.cause}{hint}"),
        state=_ROLLED_BACK,
        line=place.line if place else None,
        column=place.column if place else None,
        statement=place.number if place else None,
        excerpt=place.excerpt if place else None,
        sqlstate=found.sqlstate,
        hint=found.hint,
        **_where(job),
    )


@dataclass(frozen=True)
class Place:
    """Where in a file a statement failed; line and column from 1, `number` counts statements from 1."""

    line: int
    column: int
    number: int | None
    excerpt: str


def locate_failure(job: Job, completed: int, found: Diagnosis) -> Place | None:
    """The place that PostgreSQL names, else the beginning of the statement that failed; None at COMMIT."""
    if completed < 0:
        return None
    spans = _spans(job)
    if found.offset is not None:
        offset = len(job.text.decode()[: found.offset].encode())
        number = next((i for i, span in enumerate(spans, 1) if span.start <= offset <= span.end), None)
    elif completed < len(spans):
        offset, number = spans[completed].start, completed + 1
    else:
        return None
    line, column = position(job.text, offset)
    return Place(line, column, number, _excerpt(job.text, offset, column))


def _spans(job: Job) -> Sequence[Span]:
    try:
        return job.locate(job.text)
    except ValueError:
        return ()  # not SQL for our grammar: the server's own position is all there is


def _excerpt(text: bytes, offset: int, column: int) -> str:
    """The line and a caret under the place; a line about a password is not shown."""
    end = text.find(b"\n", offset)
    line = text[text.rfind(b"\n", 0, offset) + 1 : end if end >= 0 else len(text)].decode(errors="replace")
    if "password" in line.lower():
        return ""
    first = max(0, column - 61)
    shown = line[first : first + 100].replace("\t", " ")
    return f"{shown}\n{' ' * (column - 1 - first)}^"


def _causes(job: Job) -> dict[str, str]:
    lock, statement = job.options.lock_timeout, job.options.statement_timeout
    return {
        "LockTimeout": f"Another session holds a lock that the statement needs; lock_timeout is {lock} ms.",
        "StatementTimeout": f"The statement takes longer than statement_timeout allows, which is {statement} ms.",
    }


def _lost(job: Job, found: Diagnosis) -> ConnectionLost:
    return ConnectionLost(
        f"The connection was lost while {job.file} was running: {found.message}.",
        state=_ROLLED_BACK,
        sqlstate=found.sqlstate,
        **_where(job),
    )


def _where(job: Job) -> dict[str, str]:
    return {"migration": job.migration.label, "file": job.file}


_ROLLED_BACK = "The file was rolled back as a whole; the database is as it was before it."

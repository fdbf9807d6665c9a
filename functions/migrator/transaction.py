"""One file in one transaction, with its record inside: both are in, or neither.

Three round trips: the intent and BEGIN; the text as written; the record and COMMIT. A file that promises something
costs more, before the commit. Whatever goes wrong before COMMIT is sent rolls back; what goes wrong after is settled
by asking the history.
"""

from __future__ import annotations

from collections.abc import Sequence

from functions.migrator import history
from functions.migrator.errors import MigrationFailed, MigratorError
from functions.migrator.expectations import Check, check_promises
from functions.migrator.failures import AT_COMMIT, file_error, runner_error
from functions.migrator.job import Job
from functions.migrator.options import Options
from functions.migrator.session import BEGIN, COMMIT, OURS, Session
from functions.migrator.sqlstate import connection_lost
from functions.migrator.wire import BatchError, Command, ScriptError

_DEFERRED = Command("SET CONSTRAINTS ALL IMMEDIATE")
_BREAKS_OUT = frozenset({"BEGIN", "START TRANSACTION", "COMMIT", "PREPARE TRANSACTION"})


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
        raise runner_error(session, job, error) from error
    return int(str(answers[3][0][0]))


def _run_text(session: Session, job: Job) -> None:
    try:
        tags = session.wire.script(job.text)
    except ScriptError as error:
        raise file_error(session, job, error) from error
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
            raise file_error(session, job, ScriptError(AT_COMMIT, error.error, 0)) from error
        raise runner_error(session, job, error) from error
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
            raise CommitUnknown(attempt, runner_error(session, job, error)) from error
        if error.index in (0, len(commands) - 1):  # what the file deferred; serialization
            raise file_error(session, job, ScriptError(AT_COMMIT, error.error, 0)) from error
        raise runner_error(session, job, error) from error


def _record_failure(session: Session, attempt: int, error: MigratorError) -> None:
    """Rolls back and records the failed try. Trouble here must not hide the first error: the next run closes it."""
    session.roll_back()
    if session.wire.lost:
        return
    try:
        session.wire.batch([BEGIN, OURS, history.finish_attempt(attempt, "failed", error), COMMIT])
    except BatchError:
        session.roll_back()

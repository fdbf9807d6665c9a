"""One unit of a file in one transaction, with its record inside: both are in, or neither. Most files are one unit.

Three round trips for such a file: the intent and BEGIN; the text as written; the record and COMMIT. A file that
promises something costs more, before the commit. Whatever goes wrong before COMMIT is sent rolls back; what goes wrong
after is settled by asking the history. A file of several units leaves a record with each; the next attempt goes on
there.
"""

from __future__ import annotations

from collections.abc import Sequence

from functions.migrator import history
from functions.migrator.errors import Cancelled, MigrationFailed, MigratorError
from functions.migrator.expectations import Check, check_promises
from functions.migrator.failures import AT_COMMIT, file_error, gone_with_session, partly_in, runner_error
from functions.migrator.job import Job
from functions.migrator.options import Options
from functions.migrator.session import BEGIN, COMMIT, OURS, Session
from functions.migrator.sqlstate import connection_lost
from functions.migrator.wire import BatchError, Command, ScriptError

_DEFERRED = Command("SET CONSTRAINTS ALL IMMEDIATE")
# Between two units the file's session goes on as it is; only our own record is written as ourselves.
_AS_OURSELVES = (Command("SET LOCAL SESSION AUTHORIZATION DEFAULT"), Command("SET LOCAL ROLE NONE"), OURS)
_UNTOUCHED = "Nothing of the file is in."
_BREAKS_OUT = frozenset({"BEGIN", "START TRANSACTION", "COMMIT", "PREPARE TRANSACTION"})


class CommitUnknown(Exception):
    """The connection broke after COMMIT was sent.

    Attributes:
        attempt: what the history must be asked about.
        units: how many units it knows if this commit didn't go through.
        error: what to say if it didn't go through.
        checks: what had been checked before.
    """

    def __init__(self, attempt: int, units: int, error: MigratorError) -> None:
        super().__init__(str(error))
        self.attempt = attempt
        self.units = units
        self.error = error
        self.checks: Sequence[Check] = ()


def run_file(session: Session, job: Job) -> Sequence[Check]:
    """Runs a file, unit by unit. Returns what was checked before the last commit.

    Raises:
        MigratorError: of the families sql, contention, verify or connection; the unit is rolled back, the try recorded.
        CommitUnknown: the connection broke after COMMIT was sent.
    """
    attempt = _begin(session, job)
    checks: Sequence[Check] = ()
    for number in job.remaining:
        try:
            if session.wire.interrupted:
                raise Cancelled(f"Stopped by Ctrl-C between two parts of {job.file}.", state=_UNTOUCHED)
            if job.done and number == job.done:
                _resume(session, job)
            elif number > job.done:
                _begin_unit(session, job, number)
            _run_text(session, job, number)
            checks = _check(session, job) if job.is_last(number) else ()
            _commit(session, job, number, attempt)
        except CommitUnknown as unknown:
            unknown.checks = checks
            raise
        except MigratorError as error:
            if number:
                error.state = partly_in(job, number)
            if job.done:
                error.cause += gone_with_session(job)
            _record_failure(session, attempt, error)
            raise
    return checks


def _begin(session: Session, job: Job) -> int:
    """Records the intent and opens the first transaction. Nothing in that transaction takes a snapshot, so that a file
    may begin with SET TRANSACTION. The limits are the session's, so that a file's own SET goes before them in all of
    its units; the cleaning at its end takes them back."""
    intent = history.begin_attempt(session, job)
    limits = _limits("SESSION", job.script.options)
    opening = [] if job.done else [_opening(job, 0)]
    try:
        answers = session.wire.batch([*intent[:-1], *limits, COMMIT, *opening])
    except BatchError as error:
        session.roll_back()
        raise runner_error(session, job, error) from error
    return int(str(answers[3][0][0]))


def _resume(session: Session, job: Job) -> None:
    """Makes the settings of units that are in again, and opens the next unit's transaction."""
    first = job.unit(job.done).statements[0]
    for number in job.settings_done:
        statement = job.script.statements[number]
        try:
            session.wire.script(job.text[statement.start : statement.end])
        except ScriptError as error:
            error.completed = number - first
            raise file_error(session, job, job.done, error) from error
    _begin_unit(session, job, job.done)


def _begin_unit(session: Session, job: Job, number: int) -> None:
    try:
        session.wire.batch([_opening(job, number)])
    except BatchError as error:
        raise runner_error(session, job, error) from error


def _opening(job: Job, number: int) -> Command:
    return Command(f"BEGIN {job.unit(number).modes}")


def _limits(scope: str, options: Options) -> list[Command]:
    return [
        Command(f"SET {scope} lock_timeout = {options.lock_timeout}"),
        Command(f"SET {scope} statement_timeout = {options.statement_timeout}"),
    ]


def _run_text(session: Session, job: Job, number: int) -> None:
    try:
        tags = session.wire.script(job.unit_text(number))
    except ScriptError as error:
        raise file_error(session, job, number, error) from error
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
    options, promises = job.script.options, job.script.promises
    if not options.rows and not promises:
        return []
    try:
        session.wire.batch([_DEFERRED, *session.cleaning, *_limits("LOCAL", options)])
    except BatchError as error:
        if error.index == 0 and not connection_lost(error.error):
            raise file_error(session, job, AT_COMMIT, ScriptError(0, error.error, 0)) from error
        raise runner_error(session, job, error) from error
    return check_promises(session, job.migration.label, job.file, options.rows, promises)


def _commit(session: Session, job: Job, number: int, attempt: int) -> None:
    # Deferred constraints first, as the unit's last statement left the session; then everything else as it was.
    commands = [_DEFERRED, *_record(session, job, number, attempt), COMMIT]
    try:
        session.wire.batch(commands)
    except BatchError as error:
        if connection_lost(error.error):
            raise CommitUnknown(attempt, number, runner_error(session, job, error)) from error
        if error.index in (0, len(commands) - 1):  # what the file deferred; serialization
            raise file_error(session, job, AT_COMMIT, ScriptError(0, error.error, 0)) from error
        raise runner_error(session, job, error) from error


def _record(session: Session, job: Job, number: int, attempt: int) -> list[Command]:
    if not job.is_last(number):
        return [*_AS_OURSELVES, history.add_unit(attempt, job.unit(number).tokens)]
    done = (
        history.add_applied(session, attempt, job) if job.action == "apply" else history.remove_applied(job.migration)
    )
    return [*session.cleaning, OURS, done, history.finish_attempt(attempt, job.result)]


def _record_failure(session: Session, attempt: int, error: MigratorError) -> None:
    """Rolls back and records the failed try. Trouble here must not hide the first error: the next run closes it."""
    session.roll_back()
    if session.wire.lost:
        return
    try:
        session.wire.batch([BEGIN, *_AS_OURSELVES, history.finish_attempt(attempt, "failed", error), COMMIT])
    except BatchError:
        session.roll_back()

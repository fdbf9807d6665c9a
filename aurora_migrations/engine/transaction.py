"""Runs one file: each unit in a transaction that also writes its record, so that both are committed or neither.

Most files are one unit and take three round trips: the attempt's row and BEGIN; the text as written; the record and
COMMIT. Expectations take more, before COMMIT, and so does each statement that needs a lock that blocks the application:
its lock_timeout is set before it, and a second session reads who holds the lock. Whatever fails before COMMIT is sent
is rolled back; where the connection is lost after that, the history shows what happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aurora_migrations.engine import history, interrupts
from aurora_migrations.engine.diagnostics.file_errors import (
    file_error,
    held_too_long,
    history_changed,
    not_retried,
    partial_state,
    runner_error,
    with_expectations_state,
    with_unit_state,
)
from aurora_migrations.engine.errors import ConnectionLost, MigrationFailed, MigratorError, NotAWriter
from aurora_migrations.engine.history import Records
from aurora_migrations.engine.locks.blockers import Observer
from aurora_migrations.engine.locks.budget import Budget, Held
from aurora_migrations.engine.postgres.protocol import BatchError, Command, ScriptError, Watch
from aurora_migrations.engine.postgres.session import BEGIN, COMMIT, OURS, Session
from aurora_migrations.engine.postgres.sqlstate import connection_lost
from aurora_migrations.engine.script import Job, Message, RunningStatement
from aurora_migrations.engine.verification.expectations import Check, check_expectations

_DEFERRED = Command("SET CONSTRAINTS ALL IMMEDIATE")
# Between two units the session stays as the file left it; only our own record is written as our own role.
_AS_OURSELVES = (Command("SET LOCAL SESSION AUTHORIZATION DEFAULT"), Command("SET LOCAL ROLE NONE"), OURS)
_A_WHILE = 2.0  # seconds; a statement that takes longer is reported
_IDLE_MS = 1_000  # a client that is only busy must not be taken for a frozen one
_BREAKS_OUT = frozenset({"BEGIN", "START TRANSACTION", "COMMIT", "PREPARE TRANSACTION"})


@dataclass
class AttemptResult:
    """What was observed while a file ran: its expectations, checked before the last COMMIT, and the locks that it held
    and that block the application."""

    checks: Sequence[Check] = ()
    held: list[Held] = field(default_factory=list)


@dataclass(frozen=True)
class _Attempt:
    """What the history contained when the file began."""

    attempt: int  # the id of this attempt
    first: int  # the id of the attempt that began with the file's first unit; the same, unless this one resumes
    records: Records  # of `applied`
    own: int  # the hash of this migration's record

    def after(self, job: Job, number: int) -> Records:
        """What `applied` must contain after a unit."""
        if not job.is_last(number):
            return self.records
        sign = 1 if job.action == "apply" else -1
        return Records(self.records.number + sign, self.records.hashes + sign * self.own)


class CommitUnknown(Exception):
    """The connection was lost, in most cases after COMMIT was sent."""

    def __init__(self, attempt: int, units: int, error: MigratorError, commit_sent: bool = True) -> None:
        super().__init__(str(error))
        self.attempt = attempt  # whose record shows whether the commit went through
        self.units, self.error = units, error  # how many units are recorded if it didn't, and the error
        self.result = AttemptResult()  # what was observed before
        self.commit_sent = commit_sent  # if not, the unit is certainly rolled back


def run_file(
    session: Session, job: Job, observer: Observer, attempt_ms: int, on_running: Callable[[RunningStatement], None]
) -> AttemptResult:
    """Runs a file, unit by unit.

    Args:
        attempt_ms: how long each unit may queue, in this attempt, for locks that block the application.
        on_running: called once for each message that the server has been running for a while.

    Raises:
        MigratorError: of the families sql, contention, verify or connection; the unit is rolled back, the attempt
            recorded.
        CommitUnknown: the connection broke after COMMIT was sent.
    """
    began = _begin(session, job)
    result = AttemptResult()
    for number in job.remaining:
        long = sum(message.alone.is_long for message in job.messages(number) if message.alone)
        budget = Budget(job.limits.lock_timeout, attempt_ms, session.server.pid, observer, long)
        try:
            if session.wire.interrupted:
                raise interrupts.cancelled(f"{'between two parts' if number else 'at the beginning'} of {job.file}")
            if job.done and number == job.done:
                _resume(session, job)
            if job.unit(number).outside:
                _run_outside(session, job, number, began, on_running)
                continue
            _run_text(session, job, number, budget, on_running)
            result.checks = _check(session, job, budget) if job.is_last(number) else ()
            _commit(session, job, number, began, budget)
            result.held += budget.held()
        except CommitUnknown as unknown:
            unknown.result = AttemptResult(result.checks, [*result.held, *budget.held()])
            raise
        except MigratorError as error:
            failed = with_unit_state(job, number, error)
            if isinstance(error, ConnectionLost | NotAWriter):
                raise CommitUnknown(began.attempt, number, failed, commit_sent=False) from error
            _record_failure(session, began.attempt, failed)
            raise failed from error
    session.records = began.after(job, job.remaining[-1])
    return result


def _begin(session: Session, job: Job) -> _Attempt:
    """Records the attempt and opens the first transaction. Nothing in that transaction takes a snapshot, so that a file
    may begin with SET TRANSACTION."""
    intent, (own, *records) = history.begin_attempt(session, job), history.read_records(job)
    known, session.records = session.records, None
    # For the session, so that a SET of the file's own overrides them in all of its units. The reset undoes them.
    limits = _limits("SESSION", job.limits.lock_timeout, job.limits.statement_timeout)
    opening = [] if job.done else _opening(job, 0)
    reading = [own] if known else [own, *records]
    try:
        answers = session.wire.execute_pipeline([*intent[:-1], *reading, *limits, COMMIT, *opening])
    except BatchError as error:
        session.roll_back()
        state = partial_state(job, job.done) if job.done else None
        raise runner_error(session, job, error).but(state=state) from error
    ids, hashes, whole = answers[3:6]
    if not (ids and hashes):
        raise history_changed(session, job, MigratorError.state)
    attempt, first, own_hash = (int(str(number)) for number in (*ids[0], *hashes[0]))
    return _Attempt(attempt, first, Records(*(known or (int(str(number)) for number in whole[0]))), own_hash)


def _resume(session: Session, job: Job) -> None:
    """Repeats the settings that committed units had made in their session, and opens the next unit's transaction."""
    for number in job.settings_done:
        statement = job.script.statements[number]
        try:
            session.wire.execute_script(job.text[statement.start : statement.end])
        except ScriptError as error:
            message = Message(statement.start, statement.end, (number, number + 1))
            raise file_error(session, job, message, error) from error
    try:
        session.wire.execute_pipeline(_opening(job, job.done))
    except BatchError as error:
        raise runner_error(session, job, error) from error


def _opening(job: Job, number: int) -> list[Command]:
    """What opens a unit's transaction; nothing after the last unit, and before one that runs outside."""
    unit = job.unit(number)
    return [] if unit.outside or number not in job.remaining else [Command(f"BEGIN {unit.modes}")]


def _limits(scope: str, lock_timeout: int, statement_timeout: int) -> list[Command]:
    return [
        Command(f"SET {scope} lock_timeout = {lock_timeout}"),
        Command(f"SET {scope} statement_timeout = {statement_timeout}"),
    ]


def _run_text(
    session: Session, job: Job, number: int, budget: Budget, on_running: Callable[[RunningStatement], None]
) -> None:
    tags: set[str] = set()
    for message in job.messages(number):
        if message.alone:
            budget.start()
            session.wire.interrupted |= budget.observer.interrupted
        tags |= _send(session, job, message, budget, on_running)
        if not session.in_transaction:
            break
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


def _run_outside(
    session: Session, job: Job, number: int, began: _Attempt, on_running: Callable[[RunningStatement], None]
) -> None:
    """Runs a unit that may commit by itself, with its record in the same round trip. The record's BEGIN puts what the
    statement did after its own last commit into one transaction with the record. If the statement fails after a commit
    of its own, it has to start again from its beginning: a person must decide that, so no error of it is retried."""
    (message,) = job.messages(number)
    text = job.text[message.start : message.end].decode()
    record = [BEGIN, *_record(session, job, number, began), COMMIT]
    commands = [Command(text), *record, *_opening(job, number + 1)]
    sent = time.monotonic()
    try:
        session.wire.execute_pipeline(commands, _watch(session, None, lambda: on_running(job.at(message))))
    except BatchError as error:
        if connection_lost(error.error):
            raise CommitUnknown(began.attempt, number, not_retried(runner_error(session, job, error))) from error
        if error.index in (0, len(record)):  # the last one is its COMMIT: what the statement deferred
            elapsed_ms = (time.monotonic() - sent) * 1_000
            failed = ScriptError(0, error.error, elapsed_ms)
            raise not_retried(file_error(session, job, None if error.index else message, failed)) from error
        raise not_retried(runner_error(session, job, error)) from error


def _send(
    session: Session, job: Job, message: Message, budget: Budget, on_running: Callable[[RunningStatement], None]
) -> frozenset[str]:
    if budget.is_over:
        raise held_too_long(job, message)
    began = time.monotonic()
    try:
        if budget.is_running:
            # How long it may wait for another lock, and how long the server waits for us, should our process be frozen.
            idle = max(_IDLE_MS, budget.limit_ms)
            session.wire.execute_pipeline(
                [
                    Command(f"SET LOCAL lock_timeout = {budget.remaining_ms()}"),
                    Command(f"SET LOCAL idle_in_transaction_session_timeout = {idle}"),
                ]
            )
        began = time.monotonic()
        watch = _watch(session, budget, lambda: on_running(job.at(message)))
        return session.wire.execute_script(job.text[message.start : message.end], watch)
    except ScriptError as error:
        raise file_error(session, job, message, error, budget) from error
    except BatchError as error:
        raise runner_error(session, job, error) from error
    finally:
        budget.consume(message.alone, (time.monotonic() - began) * 1_000)


def _watch(session: Session, budget: Budget | None, report: Callable[[], None]) -> Watch:
    """Called while a message is running: reports it, once, if it takes long; cancels it at the end of its budget."""
    watch, reported = budget.watch() if budget else None, False

    def check(elapsed: float) -> tuple[bool, float]:
        nonlocal reported
        if elapsed > _A_WHILE and not reported:
            reported = True
            report()
        if budget is None or watch is None:
            return False, _A_WHILE
        answer = watch(elapsed)
        # A Ctrl-C during the second session's query counts for this session at once, so that the next one isn't
        # taken for the first.
        session.wire.interrupted |= budget.observer.interrupted
        return answer

    return check


def _check(session: Session, job: Job, budget: Budget) -> list[Check]:
    """Checks the file's expectations, in its transaction, but with the session reset as for the next file."""
    options, expectations, limits = job.script.options, job.script.expectations, job.limits
    if not options.rows and not expectations:
        return []
    statement = budget.cap_timeout(limits.statement_timeout)
    own_limits = _limits("LOCAL", limits.lock_timeout, statement)
    try:
        session.wire.execute_pipeline([_DEFERRED, *session.reset_commands, *own_limits])
    except BatchError as error:
        if error.index == 0 and not connection_lost(error.error):
            raise file_error(session, job, None, ScriptError(0, error.error, 0)) from error
        raise runner_error(session, job, error) from error
    try:
        return check_expectations(session, job.migration.label, job.file, options.rows, expectations)
    except MigratorError as error:
        raise with_expectations_state(job, error) from error


def _commit(session: Session, job: Job, number: int, began: _Attempt, budget: Budget) -> None:
    """Commits a unit with its record, and opens the next one's transaction in the same round trip."""
    # Deferred constraints first, as the unit's last statement left the session; then everything else as it was.
    statement = budget.cap_timeout(job.limits.statement_timeout)
    limits = _limits("LOCAL", budget.remaining_ms(), statement) if budget.is_running else []
    commands = [*limits, _DEFERRED, *_record(session, job, number, began, limits), COMMIT]
    try:
        session.wire.execute_pipeline([*commands, *_opening(job, number + 1)])
    except BatchError as error:
        if connection_lost(error.error):
            raise CommitUnknown(began.attempt, number, runner_error(session, job, error)) from error
        if error.index in (len(limits), len(commands) - 1):  # what the file deferred; serialization
            raise file_error(session, job, None, ScriptError(0, error.error, 0)) from error
        raise runner_error(session, job, error) from error


def _record(session: Session, job: Job, number: int, began: _Attempt, limits: Sequence[Command] = ()) -> list[Command]:
    attempt, first = began.attempt, began.first
    proof = history.prove(job, number, attempt, first, began.after(job, number))
    if not job.is_last(number):
        return [*_AS_OURSELVES, history.add_unit(attempt, first, number + 1, job.unit(number).tokens), proof]
    applies = job.action == "apply"
    done = history.add_applied(session, attempt, job) if applies else history.remove_applied(job.migration)
    return [*session.reset_commands, *limits, OURS, done, history.finish_attempt(attempt, job.result), proof]


def _record_failure(session: Session, attempt: int, error: MigratorError) -> None:
    """Rolls back and records the failed attempt. If that fails, too, the first error is raised all the same: the next
    run marks the attempt as interrupted."""
    session.roll_back()
    try:
        session.wire.execute_pipeline([BEGIN, *_AS_OURSELVES, history.finish_attempt(attempt, "failed", error), COMMIT])
    except BatchError:
        session.roll_back()

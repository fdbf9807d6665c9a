"""Runs one file: each unit in a transaction that also writes its record, so that both are committed or neither.

Most files are one unit and take two round trips: the text as written; the record and COMMIT, with the attempt's row and
BEGIN of the next file. The first file takes one more. A replayed file takes three: its effects come with the answer to
its record, and COMMIT is sent when they have been compared. Expectations take more, before COMMIT, and so does each
statement that needs a lock that blocks the application: its lock_timeout is set before it, and a second session reads
who holds the lock. Whatever fails before COMMIT is sent is rolled back; where the connection is lost after that, the
history shows what happened.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from aurora_migrations.engine import history, interrupts
from aurora_migrations.engine.catalog.effects import (
    REPORT,
    Effects,
    commands_for,
    judge,
    may_set_limits,
    prepares_nothing,
    writes_rows,
)
from aurora_migrations.engine.catalog.facts import Facts, facts_of, query
from aurora_migrations.engine.diagnostics.file_errors import (
    file_error,
    held_too_long,
    history_changed,
    nobody_knows,
    not_retried,
    partial_state,
    runner_error,
    slot_error,
    with_expectations_state,
    with_unit_state,
)
from aurora_migrations.engine.errors import (
    ConnectionLost,
    MigrationFailed,
    MigratorError,
    NotAWriter,
    VerificationFailed,
)
from aurora_migrations.engine.expectations import Check, check_expectations
from aurora_migrations.engine.history import Records
from aurora_migrations.engine.locks.blockers import Observer
from aurora_migrations.engine.locks.budget import Budget, Held
from aurora_migrations.engine.nontransactional import intents, settlement
from aurora_migrations.engine.nontransactional.limits import LOOK_EVERY, LeftToServer, limits_of, without_limits
from aurora_migrations.engine.postgres.progress import Progress
from aurora_migrations.engine.postgres.protocol import DEALLOCATE, SYNC, BatchError, Command, Row, ScriptError, Watch
from aurora_migrations.engine.postgres.session import AS_OURSELVES, BEGIN, CHECK_INTERVAL, COMMIT, OURS, Session
from aurora_migrations.engine.postgres.sqlstate import connection_lost
from aurora_migrations.engine.script import Job, Message, NontransactionalStatement, RunningStatement

_DEFERRED = Command("SET CONSTRAINTS ALL IMMEDIATE")
_SET_LIMITS = (
    "SELECT pg_catalog.set_config('lock_timeout', $1, true), pg_catalog.set_config('statement_timeout', $2, true)"
)
_A_WHILE = 2.0  # seconds; a statement that takes longer is reported
_BETWEEN_READS = 1.0  # seconds between two reads of its progress
_IDLE_MS = 1_000  # a client that is only busy must not be taken for a frozen one
_BREAKS_OUT = frozenset({"BEGIN", "START TRANSACTION", "COMMIT", "PREPARE TRANSACTION"})


@dataclass
class AttemptResult:
    """What was observed while a file ran: its expectations, checked before the last COMMIT, its effects, and the locks
    that it held and that block the application."""

    checks: Sequence[Check] = ()
    effects: Effects = field(default_factory=Effects)
    held: list[Held] = field(default_factory=list)


class CommitUnknown(Exception):
    """The connection was lost, in most cases after COMMIT was sent."""

    def __init__(self, attempt: int, units: int, error: MigratorError, commit_sent: bool = True) -> None:
        super().__init__(str(error))
        self.attempt = attempt  # whose record shows whether the commit went through
        self.units, self.error = units, error  # how many units are recorded if it didn't, and the error
        self.result = AttemptResult()  # what was observed before
        self.commit_sent = commit_sent  # if not, the unit is certainly rolled back


class RunningAttempt:
    """One attempt to run a file, unit by unit."""

    def __init__(
        self,
        session: Session,
        job: Job,
        observer: Observer,
        attempt_ms: int,
        on_running: Callable[[RunningStatement], None],
        read_next: Callable[[], None],
        begin_next: Callable[[], Job | None],
    ) -> None:
        self._session, self._job, self._observer = session, job, observer
        self._attempt_ms = attempt_ms  # how long each unit may queue for locks that block the application
        self._on_running = on_running  # called once for each message that the server has been running for a while
        self._read_next = read_next  # reads the file after this one
        self._begin_next = begin_next  # returns that file, if it may begin with this one's COMMIT
        self._progress: Progress | None = None  # of a statement that may outlive the run
        self._id = 0  # in the history
        self._first = 0  # the id of the attempt that began with the file's first unit: this one, unless it resumes
        self._records = Records(0, 0)  # of `applied`, as this attempt or the one before has found or left them
        self._proof: Command | None = None  # the last one that was made
        self._sha256 = job.script.sha256  # of the text in this migration's record

    def run(self) -> AttemptResult:
        """Runs the units that aren't committed yet.

        Raises:
            MigratorError: of the families sql, contention, verify or connection; the unit is rolled back, the attempt
                recorded.
            CommitUnknown: the connection broke, in most cases after COMMIT was sent.
            LeftToServer: the run's time is up before a statement has ended that may outlive it.
        """
        session, job, result = self._session, self._job, AttemptResult()
        session.wire.keeps = session.wire.can_keep and prepares_nothing(job)
        self._begin()
        for number in job.remaining:
            messages = job.messages(number)
            long = sum(message.alone.is_long for message in messages if message.alone)
            budget = Budget(job.limits.lock_timeout, self._attempt_ms, session.server.pid, self._observer, long)
            try:
                if session.wire.interrupted:
                    raise interrupts.cancelled(f"{'between two units' if number else 'at the beginning'} of {job.file}")
                if job.done and number == job.done:
                    self._resume()
                if job.detaches or job.unit(number).nontransactional:
                    intents.check_cancelled(session, job, number)
                if job.detaches:
                    self._run_detached(number)
                    continue
                if statement := job.unit(number).nontransactional:
                    self._run_nontransactional(number, statement)
                    continue
                self._run_text(messages, budget, job.is_last(number))
                if job.is_last(number) and self._has_expectations:
                    result.effects = self._check_effects(budget)
                    result.checks = self._check(budget)
                self._commit(number, budget, result)
                result.held += budget.held()
            except CommitUnknown as unknown:
                unknown.result = AttemptResult(result.checks, result.effects, [*result.held, *budget.held()])
                raise
            except MigratorError as error:
                failed = with_unit_state(job, number, error)
                if isinstance(error, ConnectionLost | NotAWriter):
                    raise CommitUnknown(self._id, number, failed, commit_sent=False) from error
                self._record_failure(failed)
                raise failed from error
        if job.detaches:
            result.effects, result.checks = self._check_applied()
        return result

    def _begin(self) -> None:
        """Records the attempt and opens the first transaction. Nothing in that transaction takes a snapshot, so that a
        file may begin with SET TRANSACTION."""
        session, job = self._session, self._job
        known, session.records = session.records, None
        answers, session.begun = session.begun, None
        try:
            answers = answers or session.wire.execute_pipeline(_beginning(session, job, known is not None))
        except BatchError as error:
            session.roll_back()
            state = partial_state(job, job.done) if job.done else None
            raise runner_error(session, job, error).but(state=state) from error
        own = job.action == "rollback"
        ids, *found = answers[2 : 3 + own + (known is None)]
        if not (ids and all(found)):
            raise history_changed(session, job, MigratorError.state)
        self._id, self._first = (int(str(number)) for number in ids[0])
        self._records = Records(*known) if known else _records_in(found[0])
        if own:
            self._sha256 = str(found[-1][0][0])

    def _resume(self) -> None:
        """Repeats the settings that committed units had made in their session, and opens the next transaction."""
        job = self._job
        for number in job.settings_done:
            statement = job.script.statements[number]
            try:
                self._session.wire.execute_script(job.text[statement.start : statement.end])
            except ScriptError as error:
                message = Message(statement.start, statement.end, (number, number + 1))
                raise file_error(self._session, job, message, error) from error
        self._execute(_opening(job, job.done))

    def _run_text(self, messages: Sequence[Message], budget: Budget, last: bool) -> None:
        session, job, tags = self._session, self._job, set[str]()
        meanwhile = self._prepare_end if last else None
        for message in messages:
            if message.alone:
                budget.start()
                session.wire.interrupted |= budget.observer.interrupted
            tags |= self._send(message, budget, meanwhile)
            meanwhile = None
            if not session.in_transaction:
                break
        if tags & _BREAKS_OUT or not session.in_transaction:
            raise MigrationFailed(
                f"{job.file} ended its transaction itself ({', '.join(sorted(tags & _BREAKS_OUT)) or 'ROLLBACK'}).",
                cause="The file commits or rolls back on its own, which the check before the run did not detect.",
                solution="Find out what the file has committed, remove that from the file, and report this.",
                state="What the file committed stays; nothing is recorded as applied.",
                **job.facts,
                rolled_back=False,
            )

    def _prepare_end(self) -> None:
        """What costs nothing while the server is busy: reads the next file, and what to compare at this one's end."""
        self._read_next()
        _ = self._effect_queries

    @cached_property
    def _effect_queries(self) -> list[Command]:
        return commands_for(self._job, self._session.server)

    def _send(self, message: Message, budget: Budget, meanwhile: Callable[[], None] | None) -> frozenset[str]:
        """Sends a message within the lock budget, and returns the command tags of its statements."""
        if budget.is_over:
            raise held_too_long(self._job, message)
        began = time.monotonic()
        try:
            if budget.is_running:  # how long it may wait for another lock
                self._execute([Command(f"SET LOCAL lock_timeout = {budget.remaining_ms()}"), _idle_limit(budget)])
            began = time.monotonic()
            text = self._job.text[message.start : message.end]
            return self._session.wire.execute_script(text, self._watch(message, budget), meanwhile)
        except ScriptError as error:
            raise file_error(self._session, self._job, message, error, budget) from error
        finally:
            budget.consume(message.alone, (time.monotonic() - began) * 1_000)

    def _watch(self, message: Message, budget: Budget | None) -> Watch:
        """Called while a message is running: reports it if it takes long, cancels it at the end of its budget."""
        watch, reported = budget.watch() if budget else None, False

        def check(elapsed: float) -> tuple[bool, float]:
            nonlocal reported
            if elapsed > _A_WHILE and not reported:
                reported = True
                self._on_running(self._job.at(message))
            if watch is None:
                return False, _A_WHILE
            answer = watch(elapsed)
            # A Ctrl-C during the second session's query counts for this session at once, so that the next one isn't
            # taken for the first.
            self._session.wire.interrupted |= self._observer.interrupted
            return answer

        return check

    def _run_nontransactional(self, number: int, statement: NontransactionalStatement) -> None:
        """Runs a unit that is one statement outside any transaction: its intent, the statement, its record. What an
        earlier attempt has left of it is settled first."""
        session, job = self._session, self._job
        known = intents.read_intents(session, job)
        ours = next((intent for intent in known if intent.number == number and intent.matches(job)), None)
        if ours and ours.statement.settlement == "unknown":
            raise nobody_knows(job, number, ours.statement)
        if job.unit(number).may_commit and (missing := intents.find_in_missing_file(session, job, number)):
            raise nobody_knows(job, number, statement, missing=missing)
        ended = intents.find_ended_by_limit(session, job, number) if ours else None  # before what it left is dropped
        text = settlement.settle(session, job, number, statement, ours)
        if text is not None and ended:
            raise self._cleared(number, ended)
        if text is not None:
            facts = ours.facts if ours else settlement.describe(session, statement)
            begun = intents.add_intent(job, number, statement, self._id, facts)
            self._execute([BEGIN, *AS_OURSELVES, begun, COMMIT])
        record = [*self._record(number), intents.remove_intent(job, number)]
        done = [BEGIN, *record, COMMIT, *_opening(job, number + 1)]
        if text is not None and job.unit(number).may_commit:
            self._run_with_record(number, text, done)
            return
        if text is not None:
            self._run_alone(number, text)
        try:
            self._proved(self._execute(done), done)
        except ConnectionLost as lost:
            raise CommitUnknown(self._id, number, lost) from lost

    def _run_with_record(self, number: int, text: bytes, record: Sequence[Command]) -> None:
        """Runs a statement that may commit on its own, with its record in the same round trip. The record's BEGIN puts
        what the statement did after its own last commit into one transaction with the record. If the statement fails
        after a commit of its own, it has to start again from its beginning: a person must decide that, so no error of
        it is retried."""
        session, job = self._session, self._job
        (message,) = job.messages(number)
        commands = [Command(text.decode()), *record]
        sent = time.monotonic()
        try:
            self._proved(session.wire.execute_pipeline(commands, self._watch(message, None)), commands)
        except BatchError as error:
            if connection_lost(error.error):
                raise CommitUnknown(self._id, number, not_retried(runner_error(session, job, error))) from error
            if error.index in (0, commands.index(COMMIT)):  # the statement, or what it deferred
                failed = ScriptError(0, error.error, (time.monotonic() - sent) * 1_000)
                found = file_error(session, job, None if error.index else message, failed)
            else:
                found = runner_error(session, job, error)
            session.roll_back()
            with contextlib.suppress(MigratorError):
                intents.forget(session, job, number)  # it is known how it ended
            raise not_retried(found) from error

    def _run_alone(self, number: int, text: bytes) -> None:
        """Runs a statement that PostgreSQL refuses to run in a transaction. What it has left where it fails is
        dropped."""
        session, job = self._session, self._job
        (message,) = job.messages(number)
        try:
            with without_limits(session, limits_of(job, number)):
                session.wire.execute_script(text, self._watch_progress(message))
        except ScriptError as error:
            failed = file_error(session, job, message, error)
            if statement := job.unit(number).nontransactional:
                failed = slot_error(statement, failed)
            if waits_for := self._progress and self._progress.waits_for:
                failed = failed.but(cause=f"{failed.cause} It was waiting for {waits_for}.", waits_for=waits_for)
            if connection_lost(error.error):
                raise CommitUnknown(self._id, number, failed) from error
            raise self._cleared(number, failed) from error

    def _cleared(self, number: int, error: MigratorError) -> MigratorError:
        """The error of a statement outside any transaction, after what it has left was dropped."""
        session, job = self._session, self._job
        try:
            left = [intent for intent in intents.read_intents(session, job) if intent.number == number]
            # An index that it has begun to drop stays: the next run would find nothing to drop.
            if half := [name for intent in left for name in settlement.find_half_dropped(session, intent)]:
                return error.but(cause=f"{error.cause} It left {half[0]} invalid. The next run drops it.")
            names = ", ".join(name for intent in left for name in settlement.clear(session, intent, job.is_time_up))
            intents.forget(session, job, number)
        except LeftToServer as still:
            session.close()  # the server goes on with it
            left_there = f"What it left is still being dropped ({still}). The next run waits for that."
            return error.but(cause=f"{error.cause} {left_there}")
        except MigratorError as failed:
            left_there = f"What it left couldn't be dropped: {failed.message} The next run does it."
            return error.but(cause=f"{error.cause} {left_there}")
        return error.but(cause=f"{error.cause} It left {names} invalid, which has been dropped.") if names else error

    def _run_detached(self, number: int) -> None:
        """Runs a file's transaction in one message that ends with its record and its COMMIT, so that the server needs
        nobody to finish it. Its intent is only to be seen by others: it goes with the record."""
        session, job, unit = self._session, self._job, self._job.unit(number)
        if ended := intents.find_ended_by_limit(session, job, number):
            intents.forget(session, job, number)
            raise ended
        message = Message(unit.start, unit.end, unit.statements)
        statement = NontransactionalStatement("the transaction of", object=job.file)
        begun = intents.add_intent(job, number, statement, self._id, {})
        self._execute([BEGIN, *AS_OURSELVES, begun, COMMIT])
        try:
            with without_limits(session, limits_of(job, number)):
                self._execute([Command(f"BEGIN {unit.modes}")])
                # The record's reset must not make the server look after its client again before the COMMIT.
                record = [each for each in self._record(number) if each.sql != CHECK_INTERVAL]
                end = [_DEFERRED, *record, intents.remove_intent(job, number), COMMIT]
                text = job.text[unit.start : unit.end] + b"\n;" + session.wire.as_message(end)
                session.wire.execute_script(text, self._watch_progress(message))
        except ScriptError as error:
            in_file = error.completed <= len(job.script.statements)  # or at SET CONSTRAINTS, for what it deferred
            if in_file:
                failed = file_error(session, job, message, error)
            else:
                failed = runner_error(session, job, BatchError(error.completed, error.error))
            if connection_lost(error.error):
                raise CommitUnknown(self._id, number, failed) from error
            session.roll_back()
            with contextlib.suppress(MigratorError):
                intents.forget(session, job, number)
            raise failed from error

    def _watch_progress(self, message: Message) -> Watch:
        """Called while a statement is running that may outlive the run: reports its progress; leaves it to the server
        at the end of the run's time."""
        session, job, at = self._session, self._job, self._job.at(message)
        self._progress, read, reported = None, 0.0, None

        def check(elapsed: float) -> tuple[bool, float]:
            nonlocal read, reported
            if job.is_time_up():
                raise LeftToServer(str(replace(at, progress=self._progress)))
            if elapsed > _A_WHILE and elapsed - read > _BETWEEN_READS:
                read = elapsed
                self._progress = progress = self._observer.read_progress(session.server.pid, self._progress)
                session.wire.interrupted |= self._observer.interrupted
                found = (progress.phase, progress.waits_for, progress.percent) if progress else ()
                if found != reported:
                    reported = found
                    self._on_running(replace(at, progress=progress))
            return False, LOOK_EVERY

        return check

    def _check_applied(self) -> tuple[Effects, list[Check]]:
        """Checks the effects and expectations of a file, if it has any, after the COMMIT of a transaction that could
        outlive the run."""
        job = self._job
        if not (self._effect_queries or self._has_expectations):
            return Effects(), []
        budget = Budget(job.limits.lock_timeout, self._attempt_ms, self._session.server.pid, self._observer)
        state = f"{job.file} is applied: it has `detach = on`, so it is checked after its COMMIT."
        try:
            self._execute([BEGIN])
            return self._check_effects(budget), self._check(budget)
        except MigratorError as error:
            if not error.retryable:
                raise error.but(state=state) from error
            raise VerificationFailed(  # which isn't retried as if the file weren't applied
                f"{job.file}: what it did wasn't checked: {error.message}",
                cause=error.cause,
                solution="Check in the database what the file expects. The next run continues after it.",
                state=state,
                **job.facts,
            ) from error
        finally:
            self._session.roll_back()

    def _check_effects(self, budget: Budget) -> Effects:
        """Compares what the file has done with what its replay did, in its transaction."""
        job = self._job
        if not (reading := self._effect_queries):
            return Effects()
        # As the file's role, which may read catalogues, too: each statement of ours costs time under the file's locks.
        limits = self._limits(budget) if budget.is_running or may_set_limits(job) else []
        return self._judge(self._execute([_DEFERRED, *limits, OURS, *reading], of_file=(0,))[-len(reading) :])

    def _judge(self, answers: Sequence[Sequence[Row]]) -> Effects:
        def read_all() -> Facts:
            return facts_of(self._execute([query()])[0])

        try:
            return judge(self._job, answers, self._session.server, read_all)
        except MigratorError as error:
            raise with_expectations_state(self._job, error) from error

    def _check(self, budget: Budget) -> list[Check]:
        """Checks the file's expectations, in its transaction, but with the session reset as for the next file."""
        session, job = self._session, self._job
        if not self._has_expectations:
            return []
        limits = _time_limits(job.limits.lock_timeout, budget.cap_timeout(job.limits.statement_timeout))
        self._execute([_DEFERRED, *self._reset(), limits], of_file=(0,))
        rows, queries = job.script.options.rows, job.script.expectations
        try:
            return check_expectations(session, job.migration.label, job.file, rows, queries)
        except MigratorError as error:
            raise with_expectations_state(job, error) from error

    def _commit(self, number: int, budget: Budget, result: AttemptResult) -> None:
        """Commits a unit with its record, and begins what comes next in the same round trip: the next unit, or file.
        A file's effects, if they aren't known yet, are compared before its COMMIT is sent."""
        session, job = self._session, self._job
        # Deferred constraints first, as the unit's last statement left the session; then everything else as it was.
        limits = self._limits(budget) if budget.is_running else []
        known = not job.is_last(number) or self._has_expectations
        reading = [] if known else self._effect_queries
        within = [*self._limits(budget), *([_idle_limit(budget)] if limits else [])] if reading else limits
        report = [REPORT] if writes_rows(job, session.server.major) else []
        commands = [*limits, _DEFERRED, *self._record(number, within), *reading, *report]
        of_file = [len(limits)]
        if reading:
            answers = self._execute(commands, of_file)
            self._proved(answers, commands)
            result.effects = self._judge(answers[len(answers) - len(reading) - len(report) :][: len(reading)])
            commands, of_file = [], []
        following = self._begin_next() if job.is_last(number) else None
        # The server reports what the file has written between two transactions only.
        begins = [*([SYNC] if report else []), *_beginning(session, following, True, self._id)] if following else []
        after = begins or _opening(job, number + 1)
        # A failure of COMMIT is the file's, too: what it deferred, or serialization.
        of_file.append(len(commands))
        commands.append(COMMIT)
        try:
            answers = session.wire.execute_pipeline([*commands, *after])
        except BatchError as error:
            if following and error.index >= len(commands) and not connection_lost(error.error):
                # Committed, but the next file couldn't begin: it does so alone, and then the error is its own.
                session.roll_back()
                return
            failed = self._error_of(error, of_file)
            if isinstance(failed, ConnectionLost):
                raise CommitUnknown(self._id, number, failed) from failed
            raise failed from error
        if not reading:
            self._proved(answers, commands)
        session.records = self._records if job.is_last(number) else None
        session.begun = answers[len(commands) + len(report) :] if following else None

    def _proved(self, answers: Sequence[Sequence[Row]], commands: Sequence[Command]) -> None:
        """Keeps what the proof among these commands has found in `applied`."""
        self._records = _records_in(answers[next(n for n, each in enumerate(commands) if each is self._proof)])

    def _execute(self, commands: Sequence[Command], of_file: Sequence[int] = ()) -> list[list[Row]]:
        """Sends statements of our own. The failure of one of those with these indexes is an error of the file."""
        try:
            return self._session.wire.execute_pipeline(commands)
        except BatchError as error:
            raise self._error_of(error, of_file) from error

    def _error_of(self, error: BatchError, of_file: Sequence[int]) -> MigratorError:
        if error.index in of_file and not connection_lost(error.error):
            return file_error(self._session, self._job, None, ScriptError(0, error.error, 0))
        return runner_error(self._session, self._job, error)

    @property
    def _has_expectations(self) -> bool:
        return bool(self._job.script.options.rows or self._job.script.expectations)

    def _limits(self, budget: Budget) -> list[Command]:
        """How long the next statements of ours may wait and take, in the transaction."""
        lock_timeout = budget.remaining_ms() if budget.is_running else self._job.limits.lock_timeout
        return [_time_limits(lock_timeout, budget.cap_timeout(self._job.limits.statement_timeout))]

    def _record(self, number: int, limits: Sequence[Command] = ()) -> list[Command]:
        job, attempt, first = self._job, self._id, self._first
        self._proof = proof = history.prove(job, number, attempt, first, self._records, self._sha256)
        if not job.is_last(number):
            return [*AS_OURSELVES, history.add_unit(attempt, first, number + 1, job.unit(number).tokens), proof]
        applies = job.action == "apply"
        done = history.add_applied(self._session, attempt, job) if applies else history.remove_applied(job.migration)
        return [*self._reset(), *limits, OURS, done, history.finish_attempt(attempt, job.result), proof]

    def _reset(self) -> list[Command]:
        """What undoes everything that the file may have changed in the session. Statements of ours stay prepared."""
        keeps = prepares_nothing(self._job)
        return [each for each in self._session.reset_commands if not (keeps and each.sql == DEALLOCATE)]

    def _record_failure(self, error: MigratorError) -> None:
        """Rolls back and records the failed attempt. If that fails, too, the first error is raised all the same: the
        next run marks the attempt as interrupted."""
        self._session.roll_back()
        with contextlib.suppress(MigratorError):
            done = history.finish_attempt(self._id, "failed", error)
            report = [REPORT] if writes_rows(self._job, self._session.server.major) else []
            self._session.execute(BEGIN, *AS_OURSELVES, done, *report, COMMIT)


def _records_in(rows: Sequence[Row]) -> Records:
    """The last two columns of a row."""
    number, hashes = rows[0][-2:]
    return Records(int(str(number)), int(str(hashes)))


def _time_limits(lock_timeout: int, statement_timeout: int) -> Command:
    return Command(_SET_LIMITS, [lock_timeout, statement_timeout], keep=True)


def _idle_limit(budget: Budget) -> Command:
    """How long the server waits for us, should our process be frozen while it holds locks."""
    return Command(f"SET LOCAL idle_in_transaction_session_timeout = {max(_IDLE_MS, budget.limit_ms)}")


def _beginning(session: Session, job: Job, records_known: bool, after: int | None = None) -> list[Command]:
    """What records an attempt and opens its first transaction. `after`: the attempt with whose COMMIT it is sent."""
    intent, (records, *own) = history.begin_attempt(session, job, after), history.read_records(job)
    reading = own if records_known else [records, *own]
    return [*intent[:-1], *reading, COMMIT, *([] if job.done else _opening(job, 0))]


def _opening(job: Job, number: int) -> list[Command]:
    """What opens a unit's transaction; nothing after the last unit, and before one without or with its own."""
    unit = job.unit(number)
    opens = number in job.remaining and not (unit.nontransactional or job.detaches)
    return [Command(f"BEGIN {unit.modes}")] if opens else []

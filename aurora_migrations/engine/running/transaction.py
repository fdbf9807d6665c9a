"""Runs one file: each unit in a transaction that also writes its record, so that both are committed or neither.

A file that only makes something new takes one round trip: the record and COMMIT, with the attempt's row, BEGIN and the
statements of the next file. Others, and the first one, take two: their text is sent when they have begun. Of a replayed
file the server asserts before COMMIT, in the same round trip, that its effects are those of its replay; where they
aren't to the letter, they are read and judged before COMMIT is sent, which takes two more. Expectations take more,
before COMMIT, and so does each statement that needs a lock that blocks the application: its lock_timeout is set before
it, and a second session reads who holds the lock. Whatever fails before COMMIT is sent is rolled back; where the
connection is lost after that, the history shows what happened.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import cached_property

from psycopg import DataError

from aurora_migrations.engine import interrupts
from aurora_migrations.engine.catalog.effects import (
    REPORT,
    ROLLBACK_TO,
    SAVEPOINT,
    Effects,
    assertions,
    commands_for,
    effects_asserted,
    is_compared,
    judge,
    may_set_limits,
    prepares_nothing,
    writes_rows,
)
from aurora_migrations.engine.catalog.facts import facts_of, query
from aurora_migrations.engine.diagnostics.file_errors import (
    file_error,
    held_too_long,
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
from aurora_migrations.engine.locks.blockers import Observer
from aurora_migrations.engine.locks.budget import Budget
from aurora_migrations.engine.nontransactional import intents
from aurora_migrations.engine.postgres.protocol import SYNC, BatchError, Command, Row, ScriptError
from aurora_migrations.engine.postgres.session import BEGIN, COMMIT, OURS, Session
from aurora_migrations.engine.running.attempt import DEFERRED, Attempt, AttemptResult, CommitUnknown, beginning, opening
from aurora_migrations.engine.script import Job, Message, RunningStatement

_SET_LIMITS = (
    "SELECT pg_catalog.set_config('lock_timeout', $1, true), pg_catalog.set_config('statement_timeout', $2, true)"
)
_IDLE_MS = 1_000  # a client that is only busy must not be taken for a frozen one
_BREAKS_OUT = frozenset({"BEGIN", "START TRANSACTION", "COMMIT", "PREPARE TRANSACTION"})
_MOST_AHEAD = 20  # statements; more of them take longer one by one than a round trip does
# In a text of several statements that is sent as one message, a parameter is an error at its place, and what decides
# how text is read counts from the next message on.
_ONLY_AS_ONE_MESSAGE = re.compile(rb"\$\d|set_config", re.IGNORECASE)
_KINDS_AS_ONE_MESSAGE = frozenset({"CopyStmt", "VariableSetStmt"})  # COPY has a protocol of its own


def sent_ahead(job: Job) -> list[Message]:
    """The statements of a file, if they can be sent with the COMMIT of the file before. The server runs them while the
    end of that file is being printed, which takes long where the terminal is paused: so they must take no lock on what
    was there before that anybody waits for. And they are sent one by one, which must make no difference."""
    script, opens = job.script, opening(job, 0)
    if (
        not opens
        or not job.is_last(0)
        or len(script.statements) > _MOST_AHEAD
        or not script.kinds.isdisjoint(_KINDS_AS_ONE_MESSAGE)
        or not prepares_nothing(job)
        or any(lock.mode != "ACCESS SHARE" for each in script.statements for lock in each.locks)
        or _ONLY_AS_ONE_MESSAGE.search(job.text)
    ):
        return []
    return job.one_by_one


class RunningAttempt(Attempt):
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
        super().__init__(session, job, observer, on_running)
        self._attempt_ms = attempt_ms  # how long each unit may queue for locks that block the application
        self._read_next = read_next  # reads the file after this one
        self._begin_next = begin_next  # returns that file, if it may begin with this one's COMMIT

    def run(self) -> AttemptResult:
        """Runs the units that aren't committed yet.

        Raises:
            MigratorError: of the families sql, contention, verify or connection; the unit is rolled back, the attempt
                recorded.
            CommitUnknown: the connection broke, in most cases after COMMIT was sent.
            LeftToServer: the run's time is up before a statement has ended that may outlive it.
        """
        session, job, result = self.session, self.job, AttemptResult()
        session.wire.keeps = session.wire.can_keep and prepares_nothing(job)
        self.begin()
        for number in job.remaining:
            messages = job.messages(number)
            long = sum(message.alone.is_long for message in messages if message.alone)
            budget = Budget(job.limits.lock_timeout, self._attempt_ms, session.server.pid, self.observer, long)
            try:
                if session.wire.interrupted:
                    raise interrupts.cancelled(f"{'between two units' if number else 'at the beginning'} of {job.file}")
                if job.done and number == job.done:
                    self.resume()
                if job.detaches or job.unit(number).nontransactional:
                    from aurora_migrations.engine.nontransactional.running import Nontransactional  # few files need it

                    intents.check_cancelled(session, job, number)
                    if statement := job.unit(number).nontransactional:
                        Nontransactional(self).run(number, statement)
                    else:
                        Nontransactional(self).run_detached(number)
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
                    raise CommitUnknown(self.id, number, failed, commit_sent=False) from error
                self.record_failure(failed)
                raise failed from error
        if job.detaches:
            result.effects, result.checks = self._check_applied()
        return result

    def _run_text(self, messages: Sequence[Message], budget: Budget, last: bool) -> None:
        session, job, tags = self.session, self.job, set[str]()
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
        if not self._has_expectations:
            _ = self._assertions

    @property
    def _is_compared(self) -> bool:
        return is_compared(self.job, self.session.server)

    @cached_property
    def _assertions(self) -> list[Command]:
        return assertions(self.job, self.session.server)

    def _send(self, message: Message, budget: Budget, meanwhile: Callable[[], None] | None) -> frozenset[str]:
        """Sends a message within the lock budget, and returns the command tags of its statements."""
        if budget.is_over:
            raise held_too_long(self.job, message)
        began = time.monotonic()
        try:
            if budget.is_running:  # how long it may wait for another lock
                self.execute([Command(f"SET LOCAL lock_timeout = {budget.remaining_ms()}"), _idle_limit(budget)])
            began = time.monotonic()
            if self.is_sent:
                return self.session.wire.read_statements(self.watch(message, budget), meanwhile)
            text = self.job.text[message.start : message.end]
            return self.session.wire.execute_script(text, self.watch(message, budget), meanwhile)
        except ScriptError as error:
            if self.is_sent:  # positions are those in the statement
                message = self.job.one_by_one[min(error.completed, len(self.job.one_by_one) - 1)]
                error = ScriptError(0, error.error, error.elapsed_ms)
            raise file_error(self.session, self.job, message, error, budget) from error
        finally:
            budget.consume(message.alone, (time.monotonic() - began) * 1_000)

    def _check_applied(self) -> tuple[Effects, list[Check]]:
        """Checks the effects and expectations of a file, if it has any, after the COMMIT of a transaction that could
        outlive the run."""
        job = self.job
        if not (self._is_compared or self._has_expectations):
            return Effects(), []
        budget = Budget(job.limits.lock_timeout, self._attempt_ms, self.session.server.pid, self.observer)
        state = f"{job.file} is applied: it has `detach = on`, so it is checked after its COMMIT."
        try:
            self.execute([BEGIN])
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
            self.session.roll_back()

    def _check_effects(self, budget: Budget) -> Effects:
        """Compares what the file has done with what its replay did, in its transaction."""
        if not self._is_compared:
            return Effects()
        # As the file's role, which may read catalogues, too: each statement of ours costs time under the file's locks.
        limits = self._limits(budget) if budget.is_running or may_set_limits(self.job) else []
        return self._judge_effects([DEFERRED, *limits, OURS], of_file=(0,))

    def _judge_effects(self, commands: Sequence[Command], of_file: Sequence[int]) -> Effects:
        """Sends these commands, and reads and judges what the file has done."""
        job, server = self.job, self.session.server
        reading = commands_for(job, server)
        answers = self.execute([*commands, *reading], of_file)
        self.proved(answers, commands)
        try:
            return judge(job, answers[len(commands) :], server, lambda: facts_of(self.execute([query()])[0]))
        except MigratorError as error:
            raise with_expectations_state(job, error) from error

    def _check(self, budget: Budget) -> list[Check]:
        """Checks the file's expectations, in its transaction, but with the session reset as for the next file."""
        session, job = self.session, self.job
        if not self._has_expectations:
            return []
        limits = _time_limits(job.limits.lock_timeout, budget.cap_timeout(job.limits.statement_timeout))
        self.execute([DEFERRED, *self.reset_commands(), limits], of_file=(0,))
        rows, queries = job.script.options.rows, job.script.expectations
        try:
            return check_expectations(session, job.migration.label, job.file, rows, queries)
        except MigratorError as error:
            raise with_expectations_state(job, error) from error

    def _commit(self, number: int, budget: Budget, result: AttemptResult) -> None:
        """Commits a unit with its record; the last one only if the file did what its replay did, where that is known
        and isn't checked yet."""
        session, job = self.session, self.job
        # Deferred constraints first, as the unit's last statement left the session; then everything else as it was.
        limits = self._limits(budget) if budget.is_running else []
        compares = job.is_last(number) and not self._has_expectations and self._is_compared
        within = [*self._limits(budget), *([_idle_limit(budget)] if limits else [])] if compares else limits
        commands, of_file = [*limits, DEFERRED, *self.record(number, within)], [len(limits)]
        if not compares:
            self._send_commit(number, commands, of_file)
            return
        if asserting := self._assertions:
            commands.append(SAVEPOINT)
            try:
                answers = self._send_commit(number, commands, of_file, asserting)[len(commands) :]
                result.effects = effects_asserted(job, session.server, answers[: len(asserting)])
                return
            except BatchError as error:  # something may not be as it was in the replay
                self.proved(error.answers, commands)
                # What the assertions have taken is no longer left of the time in which locks may be held.
                commands, of_file = [ROLLBACK_TO, *(self._limits(budget) if limits else [])], []
        result.effects = self._judge_effects(commands, of_file)
        self._send_commit(number)

    def _send_commit(
        self,
        number: int,
        commands: Sequence[Command] = (),
        of_file: Sequence[int] = (),
        asserting: Sequence[Command] = (),
    ) -> list[list[Row]]:
        """Sends COMMIT after these commands and assertions, and in the same round trip begins what comes next: the next
        unit, or file, whose answers are read at its turn. Returns those up to COMMIT; raises BatchError if an assertion
        failed.

        Args:
            of_file: the indexes of the commands whose failure is an error of the file.
        """
        session, job, last = self.session, self.job, self.job.is_last(number)
        report = [REPORT] if writes_rows(job, session.server.major) else []
        following = self._begin_next() if last else None
        ending = [*commands, *asserting, *report, COMMIT]
        at_commit = len(ending) - 1
        if following:
            # The server reports what the file has written between two transactions only.
            ending += [SYNC] if report else []
            ahead = beginning(session, following, True, self.id)
            statements = [following.text[each.start : each.end] for each in sent_ahead(following)]
        else:
            ending, ahead, statements = [*ending, *opening(job, number + 1)], [], []
        try:
            answers = session.wire.execute_pipeline(ending, ahead=ahead, statements=statements)
        except BatchError as error:
            if isinstance(error.error, DataError) and 0 <= error.index - len(commands) < len(asserting):
                raise
            # A failure of COMMIT is the file's, too: what it deferred, or serialization.
            failed = self.error_of(error, [*of_file, at_commit])
            if isinstance(failed, ConnectionLost):
                raise CommitUnknown(self.id, number, failed) from failed  # the rows that it wrote are unknown, too
            raise failed from error
        self.proved(answers, commands)
        session.records = self.records if last else None
        return answers

    @property
    def _has_expectations(self) -> bool:
        return bool(self.job.script.options.rows or self.job.script.expectations)

    def _limits(self, budget: Budget) -> list[Command]:
        """How long the next statements of ours may wait and take, in the transaction."""
        lock_timeout = budget.remaining_ms() if budget.is_running else self.job.limits.lock_timeout
        return [_time_limits(lock_timeout, budget.cap_timeout(self.job.limits.statement_timeout))]


def _time_limits(lock_timeout: int, statement_timeout: int) -> Command:
    return Command(_SET_LIMITS, [lock_timeout, statement_timeout], keep=True)


def _idle_limit(budget: Budget) -> Command:
    """How long the server waits for us, should our process be frozen while it holds locks."""
    return Command(f"SET LOCAL idle_in_transaction_session_timeout = {max(_IDLE_MS, budget.limit_ms)}")

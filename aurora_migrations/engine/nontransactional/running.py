"""Runs a unit that isn't an ordinary transaction: a statement outside any, or a transaction that may outlive the run
(`detach = on`)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace

from aurora_migrations.engine.diagnostics.file_errors import (
    file_error,
    nobody_knows,
    not_retried,
    runner_error,
    slot_error,
)
from aurora_migrations.engine.errors import ConnectionLost, MigratorError
from aurora_migrations.engine.nontransactional import intents, settlement
from aurora_migrations.engine.nontransactional.limits import LOOK_EVERY, LeftToServer, limits_of, without_limits
from aurora_migrations.engine.postgres.progress import Progress
from aurora_migrations.engine.postgres.protocol import BatchError, Command, ScriptError, Watch
from aurora_migrations.engine.postgres.session import AS_OURSELVES, BEGIN, CHECK_INTERVAL, COMMIT
from aurora_migrations.engine.postgres.sqlstate import connection_lost
from aurora_migrations.engine.running.attempt import A_WHILE, DEFERRED, Attempt, CommitUnknown, opening
from aurora_migrations.engine.script import Message, NontransactionalStatement

_BETWEEN_READS = 1.0  # seconds between two reads of its progress


class Nontransactional:
    """Runs such units of an attempt."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt, self._session, self._job = attempt, attempt.session, attempt.job
        self._progress: Progress | None = None  # of a statement that may outlive the run

    def run(self, number: int, statement: NontransactionalStatement) -> None:
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
            begun = intents.add_intent(job, number, statement, self._attempt.id, facts)
            self._attempt.execute([BEGIN, *AS_OURSELVES, begun, COMMIT])
        record = [*self._attempt.record(number), intents.remove_intent(job, number)]
        done = [BEGIN, *record, COMMIT, *opening(job, number + 1)]
        if text is not None and job.unit(number).may_commit:
            self._run_with_record(number, text, done)
            return
        if text is not None:
            self._run_alone(number, text)
        try:
            self._attempt.proved(self._attempt.execute(done), done)
        except ConnectionLost as lost:
            raise CommitUnknown(self._attempt.id, number, lost) from lost

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
            self._attempt.proved(session.wire.execute_pipeline(commands, self._attempt.watch(message, None)), commands)
        except BatchError as error:
            if connection_lost(error.error):
                raise CommitUnknown(self._attempt.id, number, not_retried(runner_error(session, job, error))) from error
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
                raise CommitUnknown(self._attempt.id, number, failed) from error
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

    def run_detached(self, number: int) -> None:
        """Runs a file's transaction in one message that ends with its record and its COMMIT, so that the server needs
        nobody to finish it. Its intent is only to be seen by others: it goes with the record."""
        session, job, unit = self._session, self._job, self._job.unit(number)
        if ended := intents.find_ended_by_limit(session, job, number):
            intents.forget(session, job, number)
            raise ended
        message = Message(unit.start, unit.end, unit.statements)
        statement = NontransactionalStatement("the transaction of", object=job.file)
        begun = intents.add_intent(job, number, statement, self._attempt.id, {})
        self._attempt.execute([BEGIN, *AS_OURSELVES, begun, COMMIT])
        try:
            with without_limits(session, limits_of(job, number)):
                self._attempt.execute([Command(f"BEGIN {unit.modes}")])
                # The record's reset must not make the server look after its client again before the COMMIT.
                record = [each for each in self._attempt.record(number) if each.sql != CHECK_INTERVAL]
                end = [DEFERRED, *record, intents.remove_intent(job, number), COMMIT]
                text = job.text[unit.start : unit.end] + b"\n;" + session.wire.as_message(end)
                session.wire.execute_script(text, self._watch_progress(message))
        except ScriptError as error:
            in_file = error.completed <= len(job.script.statements)  # or at SET CONSTRAINTS, for what it deferred
            if in_file:
                failed = file_error(session, job, message, error)
            else:
                failed = runner_error(session, job, BatchError([], error.error))
            if connection_lost(error.error):
                raise CommitUnknown(self._attempt.id, number, failed) from error
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
            if elapsed > A_WHILE and elapsed - read > _BETWEEN_READS:
                read = elapsed
                self._progress = progress = self._attempt.observer.read_progress(session.server.pid, self._progress)
                session.wire.interrupted |= self._attempt.observer.interrupted
                found = (progress.phase, progress.waits_for, progress.percent) if progress else ()
                if found != reported:
                    reported = found
                    self._attempt.on_running(replace(at, progress=progress))
            return False, LOOK_EVERY

        return check

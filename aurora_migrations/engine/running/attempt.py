"""One attempt to run a file: its row in the history, and what records a unit in the transaction that commits it.

How the file's text is run is in `transaction` and, outside any transaction, in `nontransactional/running`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aurora_migrations.engine import history
from aurora_migrations.engine.catalog.effects import REPORT, Effects, prepares_nothing, writes_rows
from aurora_migrations.engine.diagnostics.file_errors import file_error, history_changed, partial_state, runner_error
from aurora_migrations.engine.errors import MigratorError
from aurora_migrations.engine.expectations import Check
from aurora_migrations.engine.history import Records
from aurora_migrations.engine.locks.blockers import Observer
from aurora_migrations.engine.locks.budget import Budget, Held
from aurora_migrations.engine.postgres.protocol import DEALLOCATE, BatchError, Command, Row, ScriptError, Watch
from aurora_migrations.engine.postgres.session import AS_OURSELVES, BEGIN, COMMIT, OURS, Session
from aurora_migrations.engine.postgres.sqlstate import connection_lost
from aurora_migrations.engine.script import Job, Message, RunningStatement

DEFERRED = Command("SET CONSTRAINTS ALL IMMEDIATE")  # what is deferred fails now
A_WHILE = 2.0  # seconds; a statement that takes longer is reported


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


class Attempt:
    """An attempt: its row in the history, its record, and the statements of ours around the file's own."""

    def __init__(
        self, session: Session, job: Job, observer: Observer, on_running: Callable[[RunningStatement], None]
    ) -> None:
        self.session, self.job, self.observer = session, job, observer
        self.on_running = on_running  # called once for each message that the server has been running for a while
        self.id = 0  # in the history
        self.is_sent = False  # whether the file's statements were sent with its beginning, and are being run
        self._first = 0  # the id of the attempt that began with the file's first unit: this one, unless it resumes
        self.records = Records(0, 0)  # of `applied`, as this attempt or the one before has found or left them
        self._proof: Command | None = None  # the last one that was made
        self._sha256 = job.script.sha256  # of the text in this migration's record

    def begin(self) -> None:
        """Records the attempt and opens the first transaction. Nothing in that transaction takes a snapshot, so that a
        file may begin with SET TRANSACTION."""
        session, job = self.session, self.job
        known, begun, session.records = session.records, session.begun, None
        try:
            if begun:
                answers = session.wire.read_ahead()
            else:
                answers = session.wire.execute_pipeline(beginning(session, job, known is not None))
        except BatchError as error:
            session.roll_back()
            if begun and not connection_lost(error.error):  # it begins alone then, so that the error is its own
                session.records = known
                self.begin()
                return
            state = partial_state(job, job.done) if job.done else None
            raise runner_error(session, job, error).but(state=state) from error
        self.is_sent = session.wire.unread is not None
        own = job.action == "rollback"
        ids, *found = answers[2 : 3 + own + (known is None)]
        if not (ids and all(found)):
            session.roll_back()
            raise history_changed(session, job, MigratorError.state)
        self.id, self._first = (int(str(number)) for number in ids[0])
        self.records = Records(*known) if known else _records_in(found[0])
        if own:
            self._sha256 = str(found[-1][0][0])

    def resume(self) -> None:
        """Repeats the settings that committed units had made in their session, and opens the next transaction."""
        job = self.job
        for number in job.settings_done:
            statement = job.script.statements[number]
            try:
                self.session.wire.execute_script(job.text[statement.start : statement.end])
            except ScriptError as error:
                message = Message(statement.start, statement.end, (number, number + 1))
                raise file_error(self.session, job, message, error) from error
        self.execute(opening(job, job.done))

    def record(self, number: int, limits: Sequence[Command] = ()) -> list[Command]:
        """What records a unit in its transaction, right before COMMIT; after the last one also the file.

        Args:
            limits: what follows the reset of the session, in which they wouldn't hold.
        """
        job, attempt, first = self.job, self.id, self._first
        self._proof = proof = history.prove(job, number, attempt, first, self.records, self._sha256)
        if not job.is_last(number):
            return [*AS_OURSELVES, history.add_unit(attempt, first, number + 1, job.unit(number).tokens), proof]
        applies = job.action == "apply"
        done = history.add_applied(self.session, attempt, job) if applies else history.remove_applied(job.migration)
        return [*self.reset_commands(), *limits, OURS, done, history.finish_attempt(attempt, job.result), proof]

    def reset_commands(self) -> list[Command]:
        """What undoes everything that the file may have changed in the session. Statements of ours stay prepared."""
        keeps = prepares_nothing(self.job)
        return [each for each in self.session.reset_commands if not (keeps and each.sql == DEALLOCATE)]

    def record_failure(self, error: MigratorError) -> None:
        """Rolls back and records the failed attempt. If that fails, too, the first error is raised all the same: the
        next run marks the attempt as interrupted."""
        self.session.roll_back()
        with contextlib.suppress(MigratorError):
            done = history.finish_attempt(self.id, "failed", error)
            report = [REPORT] if writes_rows(self.job, self.session.server.major) else []
            self.session.execute(BEGIN, *AS_OURSELVES, done, *report, COMMIT)

    def proved(self, answers: Sequence[Sequence[Row]], commands: Sequence[Command]) -> None:
        """Keeps what the proof, if it is among these commands, has found in `applied`."""
        for command, rows in zip(commands, answers, strict=False):
            if command is self._proof:
                self.records = _records_in(rows)

    def execute(self, commands: Sequence[Command], of_file: Sequence[int] = ()) -> list[list[Row]]:
        """Sends statements of our own. The failure of one of those with these indexes is an error of the file."""
        try:
            return self.session.wire.execute_pipeline(commands)
        except BatchError as error:
            raise self.error_of(error, of_file) from error

    def error_of(self, error: BatchError, of_file: Sequence[int]) -> MigratorError:
        """The named error of a failed pipeline: the file's own, if one of these commands failed."""
        if error.index in of_file and not connection_lost(error.error):
            return file_error(self.session, self.job, None, ScriptError(0, error.error, 0))
        return runner_error(self.session, self.job, error)

    def watch(self, message: Message, budget: Budget | None) -> Watch:
        """Called while a message is running: reports it if it takes long, cancels it at the end of its budget."""
        watch, reported = budget.watch() if budget else None, False

        def check(elapsed: float) -> tuple[bool, float]:
            nonlocal reported
            if elapsed > A_WHILE and not reported:
                reported = True
                self.on_running(self.job.at(message))
            if watch is None:
                return False, A_WHILE
            answer = watch(elapsed)
            # A Ctrl-C during the second session's query counts for this session at once, so that the next one isn't
            # taken for the first.
            self.session.wire.interrupted |= self.observer.interrupted
            return answer

        return check


def _records_in(rows: Sequence[Row]) -> Records:
    """The last two columns of a row."""
    number, hashes = rows[0][-2:]
    return Records(int(str(number)), int(str(hashes)))


def beginning(session: Session, job: Job, records_known: bool, after: int | None = None) -> list[Command]:
    """What records an attempt and opens its first transaction. `after`: the attempt with whose COMMIT it is sent."""
    intent, (records, *own) = history.begin_attempt(session, job, after), history.read_records(job)
    reading = own if records_known else [records, *own]
    return [*intent[:-1], *reading, COMMIT, *([] if job.done else opening(job, 0))]


def opening(job: Job, number: int) -> list[Command]:
    """What opens a unit's transaction; nothing after the last unit, and before one without or with its own."""
    unit = job.unit(number)
    opens = number in job.remaining and not (unit.nontransactional or job.detaches)
    return [Command(f"BEGIN {unit.modes}")] if opens else []

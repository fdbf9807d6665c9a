"""The protocol: sends a script as one message, or a pipeline of our own statements in one round trip, which may end
with the statements of a small file.

Built on `psycopg.pq`, the documented wrapper of libpq, because a text must reach the server as one simple-protocol
message (its statements belong to one transaction, whatever they are), its results must be dropped one by one (a file
of 100,000 INSERTs has as many), and our own statements around it must not cost a round trip each.

Every wait is a `select` on the socket, so that Ctrl-C works while the server is busy: the statement is cancelled on
the server, again and again, as a cancel request between two statements of a pipeline has no effect; and the server's
answer decides what happened. A second Ctrl-C doesn't wait for it.
"""

from __future__ import annotations

import itertools
import re
import selectors
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import psycopg
from psycopg import errors, pq

from aurora_migrations.engine import interrupts

Connection = psycopg.Connection[tuple[object, ...]]
Row = tuple[str | None, ...]
Param = str | bytes | int | bool | None
# Called with the seconds since the text was sent; returns whether to cancel it, and in how many seconds to call again.
Watch = Callable[[float], tuple[bool, float]]

_FAILED = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE)
_COPYING = (pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH)
DEALLOCATE = "DEALLOCATE ALL"
_LONGEST_WAIT = 1.0  # seconds; Windows delivers Ctrl-C only between waits
_BETWEEN_CANCELS = 0.1  # seconds


@dataclass(slots=True, eq=False)  # a frozen one takes three times as long to make, and each file makes several
class Command:
    """One statement of ours with its parameters ($1, $2 ...)."""

    sql: str
    params: Sequence[Param] = ()
    # Whether the server may keep its plan (see `Wire.keeps`): for what is sent for each file, as planning takes longer
    # than running it.
    keep: bool = False

    def with_literals(self, pgconn: pq.abc.PGconn) -> bytes:
        """The statement with its parameters written into it, for a message that has none."""

        def literal(match: re.Match[bytes]) -> bytes:
            value = _text(self.params[int(match[1]) - 1])
            return b"NULL" if value is None else bytes(pq.Escaping(pgconn).escape_literal(value))

        return re.sub(rb"\$(\d+)", literal, self.sql.encode())


# Divides a pipeline: what comes after it is run even if something before it fails. Outside a transaction the server
# reports its statistics here, too.
SYNC = Command("")


class BatchError(Exception):
    """A command of a pipeline failed, the one after those with `answers`; the others weren't run."""

    def __init__(self, answers: list[list[Row]], error: psycopg.Error) -> None:
        super().__init__(type(error).__name__)  # a traceback shows this, and the message may contain row values
        self.answers, self.index = answers, len(answers)
        self.error = error


class ScriptError(Exception):
    """A statement of a script failed; those after it weren't run."""

    def __init__(self, completed: int, error: psycopg.Error, elapsed_ms: float) -> None:
        super().__init__(type(error).__name__)  # as above
        self.completed = completed  # how many statements had run before it
        self.error = error
        # After the text was sent. The server reports completed statements in bursts, not at once.
        self.elapsed_ms = elapsed_ms


@dataclass(slots=True)
class Pipeline:
    """A pipeline that was sent, and what is still to be read of it."""

    preparing: Iterator[tuple[str, bytes]]  # the statements of ours that it prepares: SQL and name
    syncs: int  # how many `SYNC` there are before its end
    ahead: int  # how many commands were sent ahead
    statements: int  # how many statements of a file follow them
    sent_at: float  # by the monotonic clock


class Wire:
    """A connection that sends scripts and pipelines of statements."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._pgconn = connection.pgconn
        # Ctrl-C was pressed while we waited; what was under way has been cancelled, or had just ended.
        self.interrupted = False
        self._selector = selectors.DefaultSelector()
        self._events = 0
        # keeps: whether statements of ours are prepared, where they may be. can_keep: False from when one was gone.
        self.keeps, self.can_keep = False, True
        self._kept: dict[str, bytes] = {}  # names of prepared statements, by their SQL
        self._names = itertools.count(1)  # never used twice: whether a failed pipeline has prepared one isn't known
        self.unread: Pipeline | None = None  # of which something was sent ahead and isn't read yet
        self._watch: Watch | None = None
        self._watch_timer: tuple[float, float | None] = (0.0, None)  # since when, and when to call next

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return self.connection.closed

    def execute_pipeline(
        self,
        commands: Sequence[Command],
        watch: Watch | None = None,
        ahead: Sequence[Command] = (),
        statements: Sequence[bytes] = (),
    ) -> list[list[Row]]:
        """Runs commands in order, in one round trip, and returns the rows of each as text (or raises BatchError).

        Args:
            ahead: sent with them, and read by `read_ahead`; if one of `commands` fails, they aren't run.
            statements: of a file, sent after those, and read by `read_statements`.
        """
        assert self.unread is None, "what was sent ahead is read first"
        answers: list[list[Row]] = []
        prepared: dict[str, bytes] = {}
        everything = [*commands, *ahead]
        try:
            self._begin_watch(watch)
            self._pgconn.enter_pipeline_mode()
            for command in everything:
                self._pgconn.pipeline_sync() if command is SYNC else self._send(command, prepared)
            if statements:
                self._pgconn.send_flush_request()  # or the answers would come when the first statement has ended
            for statement in statements:
                self._pgconn.send_query_params(statement, [])
            self._pgconn.pipeline_sync()
            syncs, now = everything.count(SYNC), time.monotonic()
            pipeline = Pipeline(iter(prepared.items()), syncs, len(ahead), len(statements), now)
            self._flush()
            failure = self._read_answers(pipeline, answers, len(commands) if ahead else None)
            if ahead and failure is None:
                self.unread = pipeline
                return answers
            self._pgconn.exit_pipeline_mode()
        except psycopg.Error as error:
            raise BatchError(answers, error) from error
        return self._checked(answers, failure)

    def read_ahead(self) -> list[list[Row]]:
        """The answers to the commands that were sent ahead; if one has failed, the statements after them weren't run.
        Raises BatchError."""
        answers: list[list[Row]] = []
        pipeline = self.unread
        assert pipeline is not None
        self._begin_watch(None)
        try:
            failure = self._read_answers(pipeline, answers, pipeline.ahead if pipeline.statements else None)
            if failure is not None or not pipeline.statements:
                self.unread = None
                self._pgconn.exit_pipeline_mode()
        except psycopg.Error as error:
            self.unread = None
            raise BatchError(answers, error) from error
        return self._checked(answers, failure)

    def read_statements(
        self, watch: Watch | None = None, meanwhile: Callable[[], object] | None = None
    ) -> frozenset[str]:
        """The same as `execute_script`, of the statements that were sent ahead."""
        pipeline, tags, completed = self.unread, set[str](), 0
        assert pipeline is not None
        failure: psycopg.Error | None = None
        try:
            self._begin_watch(watch)
            if meanwhile:
                meanwhile()
            for _ in range(pipeline.statements):
                self._pgconn.set_single_row_mode()
                done, failure = self._drop_results(tags)
                completed += done
                if failure is not None:
                    break
            rest = self._read_answers(pipeline, [], None)
            failure = failure or rest
            self._pgconn.exit_pipeline_mode()
        except psycopg.Error as error:
            failure = failure or error
        finally:
            self.unread = None
        if failure is not None:
            raise ScriptError(completed, failure, (time.monotonic() - pipeline.sent_at) * 1_000)
        return frozenset(tags)

    def _checked(self, answers: list[list[Row]], failure: psycopg.Error | None) -> list[list[Row]]:
        if failure is None:
            return answers
        if isinstance(failure, errors.InvalidSqlStatementName):
            self.keeps = self.can_keep = False
        raise BatchError(answers, failure)

    def _send(self, command: Command, prepared: dict[str, bytes]) -> None:
        params = list(map(_text, command.params))
        if command.sql == DEALLOCATE:
            self._kept.clear()
        if not (command.keep and self.keeps):
            self._pgconn.send_query_params(_encoded(command.sql), params)
            return
        name = self._kept.get(command.sql) or prepared.get(command.sql)
        if name is None:
            prepared[command.sql] = name = f"aurora_migrations_{next(self._names)}".encode()
            self._pgconn.send_prepare(name, command.sql.encode())
        self._pgconn.send_query_prepared(name, params)

    def as_message(self, commands: Sequence[Command]) -> bytes:
        """Statements of ours as text, for the end of a script."""
        return b";\n".join(command.with_literals(self._pgconn) for command in commands)

    def execute_script(
        self, text: bytes, watch: Watch | None = None, meanwhile: Callable[[], object] | None = None
    ) -> frozenset[str]:
        """Sends a text as it is, in one message, and returns the command tags of its statements; rows are dropped.
        `meanwhile` is called when it is sent, while the server is running it. Raises ScriptError."""
        assert self.unread is None, "what was sent ahead is read first"
        tags, completed, failure = set[str](), 0, None
        began = time.monotonic()
        try:
            self._begin_watch(watch)
            self._pgconn.send_query(text)
            self._pgconn.set_single_row_mode()  # or libpq would keep all rows of a SELECT until its end
            self._flush()
            if meanwhile:
                meanwhile()
            completed, failure = self._drop_results(tags)
        except psycopg.Error as error:
            failure = error
        if failure is not None:
            raise ScriptError(completed, failure, (time.monotonic() - began) * 1_000)
        return frozenset(tags)

    def _drop_results(self, tags: set[str]) -> tuple[int, psycopg.Error | None]:
        """Reads the results of what was sent, adds their tags and drops their rows. Returns how many statements have
        run, and the failure of the next one."""
        completed = 0
        failure: psycopg.Error | None = None
        try:
            for result in self._results():
                if result.status in _FAILED:
                    failure = failure or errors.error_from_result(result)
                    continue  # not cleared: the error reads its position, hint and names from it, later
                if result.status == pq.ExecStatus.COPY_IN:
                    self._pgconn.put_copy_end(b"a migration file can't carry the data of COPY FROM STDIN")
                elif result.status in _COPYING:  # what COPY TO STDOUT sends is dropped, as rows are
                    while self._pgconn.get_copy_data(0)[0] > 0:
                        pass
                elif result.status not in (pq.ExecStatus.SINGLE_TUPLE, pq.ExecStatus.EMPTY_QUERY) and not failure:
                    completed += 1
                    # `INSERT 0 5` -> `INSERT`; `CREATE TABLE` stays.
                    tags.add((result.command_status or b"").decode().rstrip("0123456789 "))
                result.clear()
        except psycopg.Error as error:
            failure = failure or error
        return completed, failure

    def drop_unread(self) -> None:
        """Ends what was sent ahead and isn't read yet, and drops its answers. Its transaction, if there is one, stays
        open. Raises psycopg.Error."""
        if self.unread is not None:
            pipeline, self.unread = self.unread, None
            self._begin_watch(self._cancel)
            self._read_answers(pipeline, [], None)
            self._pgconn.exit_pipeline_mode()

    def _cancel(self, elapsed: float) -> tuple[bool, float]:
        """A watch that cancels what is running, again and again."""
        self.connection.cancel_safe(timeout=5)
        return False, _BETWEEN_CANCELS

    def _begin_watch(self, watch: Watch | None) -> None:
        now = time.monotonic()
        self._watch, self._watch_timer = watch, (now, now if watch else None)

    def close(self) -> None:
        """Closes the connection; with it go the run lock and every open transaction."""
        self._selector.close()
        self.connection.close()

    def _read_answers(self, pipeline: Pipeline, answers: list[list[Row]], upto: int | None) -> psycopg.Error | None:
        """Collects answers until there are so many, or up to the end of the pipeline, and keeps what was prepared;
        returns the first failure, after which it reads to the end. A loop of its own, as there are a few dozen answers
        for each file, most without rows."""
        pgconn, failure = self._pgconn, None
        single: list[Row] = []
        while True:
            while pgconn.is_busy():
                self._wait(selectors.EVENT_READ)
            result = pgconn.get_result()
            if result is None:  # the end of a command
                if pgconn.status == pq.ConnStatus.BAD:
                    return failure or psycopg.OperationalError("the connection is lost")
                if failure is None and len(answers) == upto:
                    return None
                continue
            status = result.status
            if status == pq.ExecStatus.PIPELINE_SYNC:
                if not pipeline.syncs:
                    return failure
                pipeline.syncs -= 1
                answers += [] if failure else [[]]
                if failure is None and len(answers) == upto:
                    return None
                continue
            if status in _FAILED:
                failure = failure or errors.error_from_result(result)
            elif failure is None and status == pq.ExecStatus.COMMAND_OK and not result.command_status:
                self._kept.update([next(pipeline.preparing)])  # stays prepared, also if its transaction is rolled back
            elif failure is None and result.command_status:
                answers.append([*single, *_rows(result)] if status == pq.ExecStatus.TUPLES_OK else [])
                single = []
            elif failure is None and status == pq.ExecStatus.SINGLE_TUPLE:
                single += _rows(result)  # after a script, libpq leaves the mode on for the first query of a pipeline

    def _flush(self) -> None:
        while self._pgconn.flush():
            self._wait(selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _results(self) -> Iterator[pq.abc.PGresult]:
        """The results of the statements sent, one by one, until the server has no more for now."""
        self._flush()
        while True:
            while self._pgconn.is_busy():
                self._wait(selectors.EVENT_READ)
            result = self._pgconn.get_result()
            if result is None:
                return
            yield result

    def _wait(self, events: int) -> None:
        """Waits for the socket and takes in what arrives."""
        try:
            with interrupts.interruptible():
                ready = self._select(events)
            if ready & selectors.EVENT_READ:
                self._pgconn.consume_input()
        except KeyboardInterrupt:
            if self.interrupted:
                raise
            self.interrupted = True
            self._begin_watch(self._cancel)

    def _select(self, events: int) -> int:
        if events != self._events:
            change = self._selector.modify if self._events else self._selector.register
            change(self._pgconn.socket, events)
            self._events = events
        began, next_call = self._watch_timer
        pause = _LONGEST_WAIT if next_call is None else min(_LONGEST_WAIT, max(0.001, next_call - time.monotonic()))
        if ready := self._selector.select(pause):
            return ready[0][1]
        if self._watch is not None and next_call is not None and time.monotonic() >= next_call:
            stop, pause = self._watch(time.monotonic() - began)
            self._watch_timer = (began, time.monotonic() + pause)
            if stop:
                self._begin_watch(self._cancel)
        return 0


def _rows(result: pq.abc.PGresult) -> list[Row]:
    value, columns = result.get_value, range(result.nfields)
    return [
        tuple([None if (found := value(row, column)) is None else found.decode() for column in columns])
        for row in range(result.ntuples)
    ]


@lru_cache(maxsize=256)  # the same for each file
def _encoded(sql: str) -> bytes:
    return sql.encode()


def _text(param: Param) -> bytes | None:
    if param is None or isinstance(param, bytes):
        return param
    if isinstance(param, bool):
        return b"t" if param else b"f"
    return str(param).encode()

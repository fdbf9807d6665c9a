"""Rehearses pending files: runs them in one transaction that is always rolled back, and measures times, locks and rows.

It holds the run lock, so that no run is disturbed, waits for no lock longer than 100 ms, and holds none that blocks the
application for longer than a run may wait for one. What a rollback doesn't undo is left out or reported.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from aurora_migrations.engine import interrupts
from aurora_migrations.engine.catalog.effects import ROWS, Rows, sums
from aurora_migrations.engine.diagnostics.file_errors import file_error
from aurora_migrations.engine.errors import ConnectionLost, LockTimeout, MigratorError
from aurora_migrations.engine.migrations import Migration, read_text
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.postgres.protocol import BatchError, Command, ScriptError
from aurora_migrations.engine.postgres.session import BEGIN, OURS, Session, acquire_run_lock
from aurora_migrations.engine.script import Job, Message, Script, Source

LONGEST = 60.0  # seconds in all
_LOCK_TIMEOUT_MS = 100
_LOCK_WAIT = 5.0  # seconds for another run to end
_LOOK_EVERY = 0.02  # seconds
_REASON = 300  # characters
_STATEMENTS = 20  # of one file, in an answer
# Those that block readers or writers, from weak to strong.
_BLOCKING = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
_RELATIONS = """
    SELECT c.oid, c.relkind, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f', 'S') AND n.nspname !~ '^pg_'
       AND n.nspname NOT IN ('information_schema', 'aurora_migrations')
"""
# Without `OURS` before it, which would change what the file's next statement means.
_LOCKS = Command(
    "SELECT relation, mode FROM pg_catalog.pg_locks"
    " WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND granted"
)
_DEFERRED = Command("SET CONSTRAINTS ALL IMMEDIATE")
# What may act outside of the database, where a rollback doesn't reach.
_OUTSIDE = re.compile(
    rb"\b(dblink\w*|aws_lambda|aws_s3|lo_export|pg_terminate_backend|pg_cancel_backend|http_\w+|net\.http_\w+|to\s+program"
    rb"|from\s+program)\b",
    re.IGNORECASE,
)
# Statements that may take any lock.
_OPAQUE = frozenset(("CallStmt", "DoStmt", "ExecuteStmt", "SelectStmt"))
_SETS_MODES = re.compile(rb"\s*set\s+(?:local\s+|session\s+)?transaction\b", re.IGNORECASE)
# What is undefined, or an enum's new value, may be of a file that wasn't rehearsed.
_DEPENDENT = frozenset({"42P01", "42703", "42704", "42883", "3F000", "55P04"})

Result = Literal["done", "failed", "blocked", "cut", "skipped"]


@dataclass(frozen=True)
class Timed:
    """A statement that ran: how long, and the locks on existing tables that it was the first to take."""

    line: int
    column: int
    duration_ms: float
    locks: tuple[str, ...] = ()  # such as `ACCESS EXCLUSIVE on public.orders`


@dataclass
class Rehearsed:
    """What became of a file. A file that is `skipped` didn't run; the statement that a `failed`, `blocked` or `cut` one
    ended with is the last."""

    migration: str
    file: str
    result: Result = "done"
    reason: str = ""
    duration_ms: float = 0.0
    statements: list[Timed] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)  # such as `public.orders: 5 updated`

    def to_dict(self) -> dict[str, object]:
        """It as JSON-able data, with the statements that took longest or took locks, in their order."""
        weight = sorted(self.statements, key=lambda each: (bool(each.locks), each.duration_ms))[-_STATEMENTS:]
        shown = [each for each in self.statements if each in weight]
        return {**asdict(self), "statements": [asdict(each) for each in shown]}


@dataclass
class Rehearsal:
    """What a rehearsal has shown."""

    files: list[Rehearsed] = field(default_factory=list)
    blocked_ms: float = 0.0  # for how long it held locks that block the application
    sequences: tuple[str, ...] = ()  # that have moved on, which nothing undoes

    @property
    def succeeded(self) -> bool:
        """Whether no file has failed."""
        return not any(each.result == "failed" for each in self.files)

    def to_dict(self) -> dict[str, object]:
        """It as JSON-able data, but for the files."""
        return {"blocked_ms": round(self.blocked_ms, 1), "sequences": list(self.sequences)}


def rehearse(
    session: Session, jobs: Sequence[Job], partly_applied: Mapping[int, object], block_ms: int, longest: float = LONGEST
) -> Rehearsal:
    """Rehearses files in their order, until one fails.

    Args:
        session: ends with it: what files leave in it isn't cleared.
        partly_applied: the versions of files of which some units are committed.
        block_ms: for how long it may hold locks that block the application.
        longest: seconds in all.

    Raises:
        AnotherRunInProgress: a run is at work.
        MigratorError: of the family connection; Cancelled.
    """
    acquire_run_lock(session, _LOCK_WAIT, lambda holder: None)
    session.prepare_to_write()
    return _Stage(session, block_ms / 1_000, time.monotonic() + longest).perform(jobs, partly_applied)


def jobs_of(source: Source, migrations: Sequence[Migration], limits: Limits) -> list[Job]:
    """The files to rehearse."""
    scripts = {migration: source.script("apply", migration) for migration in migrations}
    return [
        Job("apply", migration, script, read_text(migration.path), 0, "", "", limits.of(script.options))
        for migration, script in scripts.items()
    ]


class _Stage:
    """The transaction in which files are rehearsed."""

    def __init__(self, session: Session, blocks: float, end: float) -> None:
        self._session, self._blocks, self._end = session, blocks, end
        self._known = {str(oid): (str(kind), str(name)) for oid, kind, name in session.query(_RELATIONS)}
        self._held: dict[str, int] = {}  # by relation, how strong a blocking lock is
        self._blocking_since: float | None = None
        self._sequences: set[str] = set()
        self._written: dict[str, Rows] = {}  # by table, all rows written until now
        self._was_cut = False

    def perform(self, jobs: Sequence[Job], partly_applied: Mapping[int, object]) -> Rehearsal:
        made = Rehearsal()
        self._session.execute(BEGIN)
        try:
            for job in jobs:
                made.files.append(self._perform_one(job, partly_applied, made.files))
        finally:
            self._session.roll_back()
        if self._blocking_since is not None:
            made.blocked_ms = (time.monotonic() - self._blocking_since) * 1_000
        made.sequences = tuple(sorted(self._sequences))
        return made

    def _perform_one(self, job: Job, partly_applied: Mapping[int, object], before: Sequence[Rehearsed]) -> Rehearsed:
        found = Rehearsed(job.migration.label, job.file)
        ended = next((each for each in before if each.result not in ("done", "skipped")), None)
        skipped = next((each for each in before if each.result == "skipped"), None)
        reason = f"the rehearsal ended in {ended.file}" if ended else _why_not(job)
        if job.migration.version in partly_applied:
            reason = "some of its units are applied already"
        if reason:
            found.result, found.reason = "skipped", reason
            return found
        session = self._session
        session.execute(*session.reset_commands, Command("SAVEPOINT rehearsal"))
        began = time.monotonic()
        try:
            for number in _statements(job.script):
                found.statements.append(self._run(job, number))
            self._run_deferred(job)
            found.duration_ms = round((time.monotonic() - began) * 1_000, 1)
            found.rows = self._read_rows()
        except ConnectionLost:
            raise
        except MigratorError as error:
            if session.wire.interrupted:
                raise interrupts.cancelled("rehearsing; it was rolled back") from error
            found.duration_ms = round((time.monotonic() - began) * 1_000, 1)
            found.result, found.reason = self._outcome(error, skipped)
            session.wire.execute_script(b"ROLLBACK TO SAVEPOINT rehearsal")
        return found

    def _outcome(self, error: MigratorError, skipped: Rehearsed | None) -> tuple[Result, str]:
        """What an error says of its file."""
        message = error.message[:_REASON]
        if self._was_cut:
            return "cut", f"it was cancelled here, as the rehearsal may take no longer: {message}"
        if isinstance(error, LockTimeout):
            return "blocked", f"it waited {_LOCK_TIMEOUT_MS} ms for a lock: {message}"
        if skipped and error.facts.get("sqlstate") in _DEPENDENT:
            return "skipped", f"it may need what {skipped.file} makes, which wasn't rehearsed: {message}"
        return "failed", message

    def _run(self, job: Job, number: int) -> Timed:
        """Runs a statement within its limits, and reads the locks that it has taken."""
        session, statement = self._session, job.script.statements[number]
        left = self._left(may_block=bool(statement.blocking_locks) or statement.kind in _OPAQUE)
        idle = max(1_000, int(self._blocks * 1_000))
        session.execute(
            Command(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT_MS}"),
            Command(f"SET LOCAL idle_in_transaction_session_timeout = {idle}"),
        )
        began = time.monotonic()

        def watch(elapsed: float) -> tuple[bool, float]:
            self._was_cut = elapsed > left
            return self._was_cut, _LOOK_EVERY

        message = Message(statement.start, statement.end, (number, number + 1))
        try:
            session.wire.execute_script(job.text[statement.start : statement.end], watch)
        except ScriptError as error:
            raise file_error(session, job, message, error) from error
        took = (time.monotonic() - began) * 1_000
        if session.wire.interrupted:
            raise interrupts.cancelled("rehearsing; it was rolled back")
        return Timed(statement.line, statement.column, round(took, 1), self._read_locks(began))

    def _left(self, may_block: bool) -> float:
        """Seconds that the next statement may take."""
        now = time.monotonic()
        left = self._end - now
        if self._blocking_since is not None:
            return min(left, self._blocking_since + self._blocks - now)
        return min(left, self._blocks) if may_block else left

    def _read_locks(self, began: float) -> tuple[str, ...]:
        """The locks on existing tables that are new, or stronger than before."""
        stronger: dict[str, int] = {}
        for oid, mode in self._session.execute(_LOCKS)[0]:
            kind, name = self._known.get(str(oid), ("", ""))
            if kind == "S" and mode == "RowExclusiveLock":
                self._sequences.add(name)
            elif kind and mode in _BLOCKING:
                stronger[name] = max(stronger.get(name, -1), _BLOCKING.index(mode))
        new = {name: mode for name, mode in stronger.items() if mode > self._held.get(name, -1)}
        if new and self._blocking_since is None:
            self._blocking_since = began
        self._held |= new
        return tuple(f"{_words(_BLOCKING[mode])} on {name}" for name, mode in sorted(new.items()))

    def _run_deferred(self, job: Job) -> None:
        """What the file has deferred to its COMMIT."""
        try:
            self._session.wire.execute_pipeline([_DEFERRED])
        except BatchError as error:
            raise file_error(self._session, job, None, ScriptError(0, error.error, 0)) from error

    def _read_rows(self) -> list[str]:
        """The rows that a file has written, by table."""
        found = self._session.execute(*self._session.reset_commands, OURS, ROWS)[-1]
        before, self._written = self._written, {rows.table: rows for rows in sums(found)}
        return [
            str(rows - before[table] if table in before else rows)
            for table, rows in self._written.items()
            if rows != before.get(table)
        ]


def _statements(script: Script) -> Iterator[int]:
    """The numbers of the statements in its units."""
    return (number for unit in script.units for number in range(*unit.statements))


def _why_not(job: Job) -> str:
    """Why a file can't be rehearsed; empty if it can."""
    for unit in job.script.units:
        if unit.may_commit:
            return "it has a CALL or DO block outside of transactions, which may commit"
        if unit.nontransactional:
            return f"{unit.nontransactional.name} runs outside of transactions"
    statements = job.script.statements
    if any(unit.modes for unit in job.script.units) or any(_SETS_MODES.match(job.text, s.start) for s in statements):
        return "its transaction has modes of its own"
    if outside := _OUTSIDE.search(job.text):
        return f"it may act outside of the database: {outside[0].decode()}"
    return ""


def _words(mode: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", mode.removesuffix("Lock")).upper()

"""A file as the compiler understood it before the run (`Script`), and as it is run (`Job`): units and messages.

The engine reads scripts from a `Source`. There are two: the compiler itself (`compiler/compile.py`, which needs
PostgreSQL's grammar), and a manifest that the compiler has written (`engine/manifest.py`, which needs nothing).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from aurora_migrations.engine.diagnostics.redaction import position
from aurora_migrations.engine.migrations import Migration, Package, Problem
from aurora_migrations.engine.options import Expectation, Ignored, Limits, Options, RowsExpectation
from aurora_migrations.engine.rows import distinct

if TYPE_CHECKING:
    from aurora_migrations.engine.catalog.change import Change
    from aurora_migrations.engine.postgres.progress import Progress

Action = Literal["apply", "rollback"]
PAST: dict[Action, str] = {"apply": "applied", "rollback": "rolled_back"}
# Those that keep other sessions from reading or writing rows. https://www.postgresql.org/docs/current/explicit-locking.html
_BLOCKING = frozenset({"SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE"})
# A query that only sets something to a constant, so that it can be repeated safely.
_SETS = re.compile(
    rb"select\s+(?:pg_catalog\.)?set_config\s*\(\s*'[^']*'\s*,\s*'[^']*'\s*,\s*(?:true|false)\s*\)", re.IGNORECASE
)
_SETS_LOCK_TIMEOUT = re.compile(rb"set_config\s*\(\s*'lock_timeout'", re.IGNORECASE)


@dataclass(frozen=True)
class TableLock:
    """The strongest lock that a statement takes on a relation that was there before its file."""

    table: str  # its name as written, quoted as PostgreSQL quotes; of an index, where only that is named, the index
    mode: str  # PostgreSQL's name of it, such as `ACCESS EXCLUSIVE`
    # rewrites, scans: `yes`, `no` or `maybe`: whether its rows are rewritten, or all read, under the lock.
    rewrites: str = "no"
    scans: str = "no"


@dataclass(slots=True, unsafe_hash=True)  # a frozen one takes three times as long to make, and to pickle
class Statement:
    """One statement: its bytes in the text (end exclusive), where a person finds it, and what PostgreSQL calls it."""

    start: int
    end: int
    line: int
    column: int
    kind: str
    locks: tuple[TableLock, ...] = ()  # on each relation that it names and that was there before
    # What it leaves in the session and nowhere else, such as `a temporary table`; None if nothing.
    keeps: str | None = None

    @property
    def blocking_locks(self) -> list[TableLock]:
        """Its locks that block the application."""
        return [lock for lock in self.locks if lock.mode in _BLOCKING]

    @property
    def is_long(self) -> bool:
        """Whether it holds such a lock for as long as it takes to rewrite or read a table."""
        return any(lock.rewrites != "no" or lock.scans != "no" for lock in self.blocking_locks)

    def moved(self, start: int, end: int, lines: int) -> Statement:
        """See `Movable`."""
        return Statement(start, end, self.line + lines, 1, self.kind, self.locks, self.keeps)


@dataclass(frozen=True)
class Hazard:
    """A risky statement of a file. Lines and columns count from 1."""

    rule: str
    file: str
    line: int
    column: int
    message: str  # what happens; never a text out of the file
    help: str  # what to write instead; may be empty
    allowed_because: str | None = None  # the reason for which its file allows it, if it does

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message} [{self.rule}]"


# How an interrupted statement is settled: see engine/nontransactional/settlement.py.
Settlement = Literal["create index", "drop index", "reindex", "detach partition", "create", "drop", "repeat", "unknown"]


@dataclass(frozen=True)
class NontransactionalStatement:
    """A statement that PostgreSQL refuses to run in a transaction, or that commits, and what shows whether it was
    done. Of one that commits (CALL, DO) nothing does: its settlement is `unknown`."""

    name: str  # as PostgreSQL calls it, such as `CREATE INDEX CONCURRENTLY`
    settlement: Settlement = "repeat"
    # object: what it makes, drops or rebuilds: an index by its qualified name, quoted, but a new one, a database, a
    # tablespace or a subscription by its plain name. relation: the table, quoted, or `SCHEMA` and its kind for REINDEX.
    object: str = ""
    relation: str = ""
    probe: str = ""  # of CREATE INDEX: makes the same index on the temporary table `PROBE`
    if_not_exists: bool = False

    @property
    def is_concurrent(self) -> bool:
        """Whether it waits for other transactions, and so must not be ended by a lock_timeout."""
        return self.name.endswith("CONCURRENTLY")


PROBE = "aurora_migrations_probe"  # a temporary table; a definition is compared with that of its index


@dataclass(frozen=True)
class Unit:
    """What commits together: a whole file, a block of it, or a single statement."""

    # start, end: its bytes in the text; of a block, those between its BEGIN and its COMMIT.
    start: int
    end: int
    statements: tuple[int, int]  # the numbers of its statements, from 0, the end exclusive
    modes: str  # the modes of its BEGIN, such as `ISOLATION LEVEL SERIALIZABLE`
    nontransactional: NontransactionalStatement | None  # it is one statement, outside any transaction
    tokens: str  # the token hash of its bytes

    @property
    def may_commit(self) -> bool:
        """Whether it is a CALL or a DO that may commit on its own."""
        return self.nontransactional is not None and self.nontransactional.settlement == "unknown"


@dataclass(frozen=True)
class Script:
    """A file that is run: its units and statements."""

    file: str  # its name
    sha256: str
    tokens: str  # the token hash of the whole text
    options: Options
    reason: str  # why its units are what they are
    units: tuple[Unit, ...]
    statements: Sequence[Statement]  # a tuple, or of a large file `Statements`
    expectations: tuple[Expectation, ...] = ()  # expectations, which must be met before it commits
    hazards: tuple[Hazard, ...] = ()  # all, allowed or not
    tables: tuple[str, ...] = ()  # names of the relations that it makes or changes, as they are called at its end
    change: Change | None = None  # what it changes of the catalogue, as its replay has shown; None if there was none
    unreplayed: str = ""  # why there was none

    @property
    def open_hazards(self) -> list[Hazard]:
        """Those that the file doesn't allow."""
        return [hazard for hazard in self.hazards if hazard.allowed_because is None]

    @cached_property
    def kinds(self) -> frozenset[str]:
        """The kinds of its statements."""
        return frozenset(each.kind for _, each in distinct(self.statements))


@dataclass(frozen=True)
class Outline:
    """What verify needs of every applied file, which of ten thousand is had in a second or two; see `Script`."""

    file: str
    tables: tuple[str, ...]
    rows: tuple[RowsExpectation, ...]
    ignored: tuple[Ignored, ...] = ()
    change: Change | None = None
    unreplayed: str = ""


class Source(Protocol):
    """What the engine knows about migrations. It reads only those that it runs or that seem to have changed."""

    @property
    def package(self) -> Package:
        """All migrations, in order."""

    @property
    def digest(self) -> str:
        """One hash over all files: `Package.digest`."""

    @property
    def replayed_on(self) -> int | None:
        """The major version of PostgreSQL on which the migrations were replayed; None if they weren't."""

    def problems(self, action: Action, migrations: Sequence[Migration]) -> list[Problem]:
        """Everything that forbids to run these files: in them, and in their verify files."""

    def script(self, action: Action, migration: Migration) -> Script:
        """A migration's file (or its down file), understood. InvalidFile, where `problems` would have refused it."""

    def scripts(self, action: Action, migrations: Iterable[Migration]) -> Iterator[Script]:
        """The same of several, one after another, for what is checked before a run: their changes may be left out."""

    def outlines(self, migrations: Iterable[Migration]) -> Iterator[Outline]:
        """What is needed of migrations' own files if that is all, one after another."""

    def token_hash(self, text: bytes) -> str | None:
        """The token hash of a text; None where it can't be computed."""


class Message(NamedTuple):
    """What is sent of a unit in one message."""

    # start, end: its bytes in the text.
    start: int
    end: int
    statements: tuple[int, int]  # the numbers of its statements, from 0, the end exclusive
    alone: Statement | None = None  # its statement, if it is one that needs a lock which blocks the application


@dataclass(frozen=True)
class RunningStatement:
    """What the server is running of a file: one statement, or several that were sent in one message."""

    file: str
    line: int  # of the first one, from 1
    # first, last: which ones, from 1.
    first: int
    last: int
    count: int  # how many the file has
    progress: Progress | None = None  # how far it is, where the server shows that

    @property
    def statements(self) -> str:
        """`statement 2 of 5`, or `statements 2 to 4 of 5`."""
        which = f"statement {self.first}" if self.first == self.last else f"statements {self.first} to {self.last}"
        return f"{which} of {self.count}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}, {self.statements}" + (f", {self.progress}" if self.progress else "")


@dataclass(frozen=True)
class Job:
    """A file to run, unit by unit."""

    action: Action
    migration: Migration
    script: Script
    text: bytes  # the whole file; the script's positions refer to it
    done: int  # how many units an earlier attempt has committed
    package: str  # the package's digest
    requested_by: str
    limits: Limits  # the environment's, and the file's own
    replayed_on: int | None = None  # the major version on which the script's change was found out
    execution_start: str = ""  # when the execution began, as its initiator passes it
    # Whether the run's time is up; what can outlive the run is then left to the server.
    is_time_up: Callable[[], bool] = lambda: False

    @property
    def file(self) -> str:
        """The name of the file whose text this is: the down file, for a rollback."""
        return self.script.file

    @property
    def facts(self) -> dict[str, Any]:
        """What each error of the file repeats of it."""
        return {"migration": self.migration.label, "file": self.file}

    @property
    def result(self) -> str:
        """The result that the history records for this action."""
        return PAST[self.action].replace("_", " ")

    @property
    def detaches(self) -> bool:
        """Whether the file is one transaction that may outlive the run."""
        units = self.script.units
        return bool(self.script.options.detach) and len(units) == 1 and units[0].nontransactional is None

    @property
    def remaining(self) -> range:
        """The numbers of the units to run; if all are committed but not the file's record, one more, an empty one."""
        return range(self.done, max(self.done + 1, self._count))

    @cached_property
    def _count(self) -> int:
        """How many units it takes. The file's record, and the checks before it, need a transaction: after a unit that
        runs outside one comes an empty one."""
        units = self.script.units
        return len(units) + bool(units and units[-1].nontransactional)

    def unit(self, number: int) -> Unit:
        """A unit; after the last one, an empty one."""
        units, end = self.script.units, len(self.text)
        if number < len(units):
            return units[number]
        count = len(self.script.statements)
        return Unit(0 if not units else end, end, (count, count), "", None, self.script.tokens)

    def messages(self, number: int) -> list[Message]:
        """A unit's text in the messages in which it is sent: one, cut before and after each statement that needs a lock
        which blocks the application, so that a lock_timeout can be set for it."""
        unit, statements = self.unit(number), self.script.statements
        first, end = unit.statements
        alone = [i for i in self._blocking if first <= i < end]
        if not alone or end > self._first_own_limit:
            return [Message(unit.start, unit.end, (first, end))]
        cuts = sorted({first, *alone, *(i + 1 for i in alone), end})
        starts = [unit.start if i == first else statements[i].start if i < end else unit.end for i in cuts]
        return [
            Message(start, stop, (i, j), statements[i] if i in alone else None)
            for (start, i), (stop, j) in pairwise(zip(starts, cuts, strict=True))
        ]

    @cached_property
    def one_by_one(self) -> list[Message]:
        """The first unit with each statement in a message of its own, together with the comments before it."""
        statements, (first, end), found = self.script.statements, self.unit(0).statements, list[Message]()
        begin = self.unit(0).start
        for number in range(first, end):
            stop = statements[number].end
            text = self.text[begin:stop].lstrip(b"; \t\r\n")
            found.append(Message(stop - len(text), stop, (number, number + 1)))
            begin = stop
        return found

    def at(self, message: Message) -> RunningStatement:
        """Where in the file a message is."""
        statements, (first, end) = self.script.statements, message.statements
        start = statements[first].start if first < end else message.start
        return RunningStatement(
            self.file, position(self.text, start)[0], first + 1, max(first + 1, end), len(statements)
        )

    @cached_property
    def _blocking(self) -> list[int]:
        """The numbers of the statements that need a lock which blocks the application. Rows of a dump don't."""
        return [number for number, each in distinct(self.script.statements) if each.blocking_locks]

    @cached_property
    def _first_own_limit(self) -> int:
        """The number of the first statement that sets lock_timeout: in its unit and those after it that holds, and
        nothing of ours. Where none does, how many statements there are."""
        sets = {"VariableSetStmt": re.compile(b"lock_timeout", re.IGNORECASE), "SelectStmt": _SETS_LOCK_TIMEOUT}
        for number, each in distinct(self.script.statements):
            if each.kind in sets and sets[each.kind].search(self.text[each.start : each.end]):
                return number
        return len(self.script.statements)

    def is_last(self, number: int) -> bool:
        """Whether this is the file's last unit."""
        return number + 1 >= self._count

    @property
    def settings_done(self) -> list[int]:
        """The numbers of the statements in committed units that set something in their session, which is gone."""
        upto = self.unit(self.done - 1).statements[1] if self.done else 0
        return [
            number
            for number, each in enumerate(self.script.statements[:upto])
            if each.kind == "VariableSetStmt"
            or (each.kind == "SelectStmt" and _SETS.fullmatch(self.text, each.start, each.end))
        ]

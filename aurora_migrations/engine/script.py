"""A migration's texts as the compiler understood them before the run.

The engine reads them from a `Source`. There are two: the compiler itself (`compiler/compile.py`, which needs
PostgreSQL's grammar), and a manifest that the compiler has written (`engine/manifest.py`, which needs nothing).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from aurora_migrations.engine.migrations import Migration, Package, Problem
from aurora_migrations.engine.options import Options, RowsExpectation
from aurora_migrations.engine.verification.expectations import Expectation

Action = Literal["apply", "rollback"]
ANYTHING = "*"  # among what a file may have dropped: it may be any table. No name is written so, without quotes
PAST: dict[Action, str] = {"apply": "applied", "rollback": "rolled_back"}


@dataclass(frozen=True)
class TableLock:
    """The strongest lock that a statement takes on a relation that was there before its file."""

    table: str  # its name as written, quoted as PostgreSQL quotes; of an index, where only that is named, the index
    mode: str  # PostgreSQL's name of it, such as `ACCESS EXCLUSIVE`
    # rewrites, scans: `yes`, `no` or `maybe`: whether its rows are rewritten, or all read, under the lock.
    rewrites: str = "no"
    scans: str = "no"


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True)
class Hazard:
    """A risky statement of a file. Lines and columns count from 1."""

    rule: str
    file: str
    line: int
    column: int
    message: str  # what happens; never a text out of the file
    help: str  # what to write instead; may be empty
    refused: bool = False  # an error in any case, which no `allow` accepts
    allowed_because: str | None = None  # the reason for which its file allows it, if it does

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message} [{self.rule}]"


# How an interrupted statement is settled: see engine/nontransactional.py.
Settlement = Literal["create index", "drop index", "reindex", "detach partition", "create", "drop", "repeat", "unknown"]


@dataclass(frozen=True)
class Nontransactional:
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
    nontransactional: Nontransactional | None  # it is one statement, outside any transaction
    tokens: str  # the token hash of its bytes

    @property
    def may_commit(self) -> bool:
        """Whether it is a CALL or a DO that may commit by itself."""
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
    statements: tuple[Statement, ...]
    expectations: tuple[Expectation, ...] = ()  # expectations, which must be met before it commits
    hazards: tuple[Hazard, ...] = ()  # all, allowed or not
    tables: tuple[str, ...] = ()  # names of the relations that it makes or changes, as they are called at its end
    # made, taken: see `Standing` in verification/checks.py.
    made: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()

    @property
    def open_hazards(self) -> list[Hazard]:
        """Those that the file doesn't allow."""
        return [hazard for hazard in self.hazards if hazard.allowed_because is None]


@dataclass(frozen=True)
class Outline:
    """What verify needs of every applied file, which of ten thousand is had in a second or two; see `Script`."""

    file: str
    tables: tuple[str, ...]
    rows: tuple[RowsExpectation, ...]


class Source(Protocol):
    """What the engine knows about migrations. It reads only those that it runs or that seem to have changed."""

    @property
    def package(self) -> Package:
        """All migrations, in order."""

    @property
    def digest(self) -> str:
        """One hash over all files: `Package.digest`."""

    def problems(self, action: Action, migrations: Sequence[Migration]) -> list[Problem]:
        """Everything that forbids to run these files: in them, and in their verify files."""

    def script(self, action: Action, migration: Migration) -> Script:
        """A migration's file (or its down file), understood. InvalidFile, where `problems` would have refused it."""

    def scripts(self, migrations: Iterable[Migration]) -> Iterator[Script]:
        """Migrations' own files, one after another; hazards may be left out, as they take long to find."""

    def outlines(self, migrations: Iterable[Migration]) -> Iterator[Outline]:
        """What is needed of migrations' own files if that is all; see `scripts`."""

    def token_hash(self, text: bytes) -> str | None:
        """The token hash of a text; None where it can't be computed."""

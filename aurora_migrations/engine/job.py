"""A file to run, its units, and the messages in which they are sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from aurora_migrations.engine.diagnostics.redaction import position
from aurora_migrations.engine.locks.budget import blocking
from aurora_migrations.engine.migrations import Migration
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.progress import Progress
from aurora_migrations.engine.script import PAST, Action, Script, Statement, Unit

# A query that only sets something to a constant, so that it can be repeated safely.
_SETS = re.compile(
    rb"select\s+(?:pg_catalog\.)?set_config\s*\(\s*'[^']*'\s*,\s*'[^']*'\s*,\s*(?:true|false)\s*\)", re.IGNORECASE
)
_SETS_LOCK_TIMEOUT = re.compile(rb"set_config\s*\(\s*'lock_timeout'", re.IGNORECASE)


@dataclass(frozen=True)
class Message:
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
    execution_start: str = ""  # when the execution began, as its initiator passes it
    # Whether the run's time is up; what can outlive the run is then left to the server.
    is_time_up: Callable[[], bool] = lambda: False

    @property
    def file(self) -> str:
        """The name of the file whose text this is: the down file, for a rollback."""
        return self.script.file

    @property
    def result(self) -> str:
        """The result that the history records for this action."""
        return PAST[self.action].replace("_", " ")

    @property
    def detaches(self) -> bool:
        """Whether the file is one transaction that may outlive the run."""
        units = self.script.units
        return self.script.options.detach and len(units) == 1 and units[0].nontransactional is None

    @property
    def remaining(self) -> range:
        """The numbers of the units to run; if all are committed but not the file's record, one more, an empty one."""
        return range(self.done, max(self.done + 1, self._count))

    @property
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
        alone = [] if end > self._first_own_limit else [i for i in range(first, end) if blocking(statements[i])]
        cuts = sorted({first, *alone, *(i + 1 for i in alone), end} if alone else {first, end})
        starts = [unit.start if i == first else statements[i].start if i < end else unit.end for i in cuts]
        if len(cuts) == 1:  # no statement
            return [Message(unit.start, unit.end, (first, end))]
        return [
            Message(start, stop, (i, j), statements[i] if i in alone else None)
            for (start, i), (stop, j) in pairwise(zip(starts, cuts, strict=True))
        ]

    def at(self, message: Message) -> RunningStatement:
        """Where in the file a message is."""
        statements, (first, end) = self.script.statements, message.statements
        start = statements[first].start if first < end else message.start
        return RunningStatement(
            self.file, position(self.text, start)[0], first + 1, max(first + 1, end), len(statements)
        )

    @cached_property
    def _first_own_limit(self) -> int:
        """The number of the first statement that sets lock_timeout: in its unit and those after it that holds, and
        nothing of ours. Where none does, how many statements there are."""
        sets = {"VariableSetStmt": re.compile(b"lock_timeout", re.IGNORECASE), "SelectStmt": _SETS_LOCK_TIMEOUT}
        for number, each in enumerate(self.script.statements):
            if each.kind in sets and sets[each.kind].search(self.text[each.start : each.end]):
                return number
        return len(self.script.statements)

    def is_last(self, number: int) -> bool:
        """Whether this is the file's last unit."""
        return number + 1 >= self._count

    @property
    def settings_done(self) -> list[int]:
        """The numbers of the statements that set something in committed units: their session is gone, and the rest
        relies on it."""
        upto = self.unit(self.done - 1).statements[1] if self.done else 0
        return [
            number
            for number, each in enumerate(self.script.statements[:upto])
            if each.kind == "VariableSetStmt"
            or (each.kind == "SelectStmt" and _SETS.fullmatch(self.text, each.start, each.end))
        ]

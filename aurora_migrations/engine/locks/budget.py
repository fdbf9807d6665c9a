"""Lock budget: how long one attempt of a unit may make the application wait, and how long it did.

The clock starts with the first statement that queues for a lock that blocks the application, and runs to the end of the
transaction, for `lock_timeout` at most; an attempt may have less of it for waiting in the queue. A statement that holds
its lock for long by nature (it rewrites or reads the whole table) isn't limited; then only time in the queue counts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from aurora_migrations.engine.locks.blockers import LockWait, Observer
from aurora_migrations.engine.options import format_duration
from aurora_migrations.engine.postgres.protocol import Watch
from aurora_migrations.engine.script import Statement, TableLock

_SHARE = 0.9  # of the limit; the rest is for the check, the rollback and waking up waiting sessions
_CAP = 0.95  # of the limit: how long locks may be held
_LEAST = 10  # ms; PostgreSQL takes 0 for no limit
_OF_WORK = 0.25  # an attempt that has worked for a minute may wait longer than one that has just begun
_INTERVALS = (0.03, 0.05, 1.0)  # seconds: to the first check, between checks, between checks of a long statement


@dataclass(frozen=True)
class Held:
    """A lock that blocked the application."""

    table: str
    mode: str
    waited_ms: float  # how long we queued for it, and the application after us
    held_ms: float  # how long we held it, up to the commit
    work: str = ""  # why that took as long as it did, if the table was rewritten or read for it; empty if not

    def __str__(self) -> str:
        work = f", as the file {self.work}" if self.work else ""
        waited = f", after {format_duration(self.waited_ms)} in the queue" if self.waited_ms else ""
        return f"held {self.mode} on {self.table} for {format_duration(self.held_ms)}{waited}{work}"


@dataclass
class Budget:
    """The clock of one attempt of one unit."""

    limit_ms: int  # the longest that the application may wait, in milliseconds
    attempt_ms: int  # the longest that this attempt may wait in queues, in milliseconds
    pid: int  # the process of the session that runs the unit
    observer: Observer
    # How many statements are still to run, or running, that take long by nature. Until they are done, only the time in
    # queues counts.
    long_left: int = 0
    waits: dict[tuple[str, str], LockWait] = field(default_factory=dict)
    last: LockWait | None = None  # what the running statement was last seen to wait for
    overran: bool = False  # whether it was stopped because locks had been held for as long as they may
    stopped: bool = False  # whether it was stopped because it had waited as long as it may, for several locks
    _began: float = field(default_factory=time.monotonic)
    _first: float | None = None
    _waits_here: dict[tuple[str, str], float] = field(default_factory=dict)
    _used: float = 0.0
    _locks: list[tuple[TableLock, float]] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether locks have been held for as long as they may."""
        return self.is_running and not self.long_left and self._since_first() > self.limit_ms * _CAP

    @property
    def is_running(self) -> bool:
        """Whether the application may be waiting because of us."""
        return self._first is not None

    def start(self) -> None:
        """A statement is about to be sent that needs a lock which blocks the application."""
        if self._first is None:
            self._first = time.monotonic()
            self.observer.open()
            self._first = time.monotonic()

    def remaining_ms(self) -> int:
        """How long the next statement may wait in a queue, in milliseconds."""
        so_far = (time.monotonic() - self._began) * 1_000
        allowed = min(self.limit_ms * _SHARE, max(self.attempt_ms, so_far * _OF_WORK))
        return max(_LEAST, round(allowed - self._used))

    def consume(self, statement: Statement | None, elapsed_ms: float) -> None:
        """Counts the time of a statement that has ended: all of it, or if it is long by nature, what it has waited."""
        if not self.is_running:
            return
        waited = self._waited(statement) if statement and statement.is_long else elapsed_ms
        self._used += min(waited, elapsed_ms)
        if statement and statement.is_long:
            self.long_left -= 1
            self._first = time.monotonic()  # its own time isn't limited; from here on it is
        granted = time.monotonic() - max(0.0, elapsed_ms - (self._waited(statement) if statement else 0)) / 1_000
        self._locks += [(lock, granted) for lock in statement.blocking_locks] if statement else []

    def cap_timeout(self, statement_timeout: int) -> int:
        """The timeout of one of our own statements at the end of a unit, in milliseconds; 0 for none."""
        if not (self.is_running and not self.long_left):
            return statement_timeout
        left = max(_LEAST, round(self.limit_ms - self._since_first()))
        return min(statement_timeout, left) if statement_timeout else left

    def watch(self) -> Watch:
        """The function to call while the next message is running."""
        self.last = None
        self._waits_here.clear()
        return self._check

    def _check(self, elapsed: float) -> tuple[bool, float]:
        """Whether the message must be stopped, and in how many seconds to check again."""
        if elapsed < _INTERVALS[0]:
            return False, _INTERVALS[0] - elapsed
        wait = self.last = self.observer.read_lock_wait(self.pid)
        if self.observer.interrupted:
            return True, 0
        if wait is not None:
            key = wait.table, wait.mode
            known = self.waits.get(key)
            self.waits[key] = wait if known is None or wait.waited_ms >= known.waited_ms else known
            self._waits_here[key] = max(self._waits_here.get(key, 0.0), wait.waited_ms)
        if not self.is_running:
            return False, _INTERVALS[1] if wait is not None else _INTERVALS[2]
        spent = self._used + (elapsed * 1_000 if not self.long_left else sum(self._waits_here.values()))
        self.stopped = wait is not None and spent > self.limit_ms * _SHARE
        self.overran = wait is None and self.is_over
        return self.stopped or self.overran, _INTERVALS[1]

    def held(self) -> tuple[Held, ...]:
        """The locks that blocked the application, now that they are released; each table once."""
        now = time.monotonic()
        found: dict[str, Held] = {}
        for lock, granted in self._locks:
            kinds = (("rewrites it", lock.rewrites), ("scans it", lock.scans))
            work = [kind if answer == "yes" else f"perhaps {kind}" for kind, answer in kinds if answer != "no"]
            waited = max((w.waited_ms for (table, _), w in self.waits.items() if _same(table, lock.table)), default=0.0)
            held_ms = round((now - granted) * 1_000, 1)
            new = Held(lock.table, lock.mode, round(waited, 1), held_ms, " and ".join(work))
            known = found.setdefault(lock.table, new)
            found[lock.table] = replace(known, work=known.work or new.work)
        return tuple(found.values())

    def _since_first(self) -> float:
        return (time.monotonic() - (self._first or time.monotonic())) * 1_000

    def _waited(self, statement: Statement) -> float:
        names = [lock.table for lock in statement.blocking_locks]
        waits = [wait.waited_ms for (table, _), wait in self.waits.items() if any(_same(table, name) for name in names)]
        return sum(waits)


def _same(qualified: str, written: str) -> bool:
    """Whether the catalogue's name of a table (`public.orders`) can be what a statement writes (`orders`)."""
    return qualified == written or qualified.endswith(f".{written}") or written.endswith(f".{qualified}")

"""What is in the migration's way, and what ours is to hold then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.stall.latency import Summary
from benchmarks.stall.operations import ADD_COLUMN, Operation, add_column

Holders = Callable[[str, float, float], Sequence[str]]
PROMISE = 2.0  # seconds; the default of lock_timeout


@dataclass(frozen=True)
class Seen:
    """What one run did.

    Attributes:
        latency: of the application's queries, from the run's beginning on.
        took: seconds from its start to its end; None where nothing was run.
        after: seconds from the blocker's end to its own, where the blocker ends by itself.
        exit: its exit code; None if it was killed.
        done: whether the database shows what the migration does.
        note: what else must be known to read the figures.
    """

    latency: Summary
    took: float | None = None
    after: float | None = None
    exit: int | None = None
    done: bool = False
    note: str = ""


@dataclass(frozen=True)
class Scenario:
    """One situation.

    Attributes:
        letter: what it is called by `--scenario`.
        title: what it is.
        goal: what ours is to hold, in words.
        met: whether it did.
        tables: those that the application uses.
        operation: what the migration does to them.
        writes: whether every other query of the application changes a row.
        holders: arguments of the process that is in the way, made from the URL, the seconds for which one session
            sits idle, and those of the longest turn.
        ends_by_itself: whether that process says when it has left.
        vacuums: whether autovacuum is in the way.
    """

    letter: str
    title: str
    goal: str
    met: Callable[[Seen], bool]
    tables: Sequence[str] = ("reading",)
    operation: Operation = ADD_COLUMN
    writes: bool = False
    holders: Holders | None = None
    ends_by_itself: bool = False
    vacuums: bool = False


def _idle(statement: str) -> Holders:
    return lambda url, idle, _: ["idle", url, str(idle), statement]


def _turns(sessions: int, *tables: str) -> Holders:
    return lambda url, _, turn: ["turns", url, str(turn), str(sessions), *tables]


def _gets_out_of_the_way(seen: Seen) -> bool:
    return seen.done and seen.latency.longest < 0.15 and seen.after is not None and seen.after <= 2


def _keeps_the_promise(seen: Seen) -> bool:
    return seen.done and seen.latency.longest <= PROMISE


SCENARIOS = (
    Scenario(
        "a",
        "behind a session that sits idle in a transaction",
        "longest under 0.15 s, done within 2 s",
        _gets_out_of_the_way,
        holders=_idle("SELECT FROM reading LIMIT 1"),
        ends_by_itself=True,
    ),
    Scenario(
        "b",
        "on a hot table, held by 20 sessions in turns",
        "done, longest not over 2 s",
        _keeps_the_promise,
        holders=_turns(20, "reading"),
    ),
    Scenario("c", "behind autovacuum at work on the table", "done", lambda seen: seen.done, vacuums=True),
    Scenario(
        "d",
        "three tables in one file, each held by 10 sessions in turns",
        "done, longest not over 2 s",
        _keeps_the_promise,
        tables=("reading", "sensor", "station"),
        operation=add_column("reading", "sensor", "station"),
        holders=_turns(10, "reading", "sensor", "station"),
    ),
)


def of_operation(operation: Operation) -> Scenario:
    """The one in which the operations are compared. A session that has changed a row blocks each of them."""
    return Scenario(
        operation.name,
        "behind a session that has changed a row and sits idle in its transaction",
        "done",
        lambda seen: seen.done,
        operation=operation,
        writes=True,
        holders=_idle("UPDATE reading SET note = note WHERE id = (SELECT max(id) FROM reading)"),
        ends_by_itself=True,
    )

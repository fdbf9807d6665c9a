"""What is applied where: every migration of the package and of the history, with its state. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from aurora_migrations.engine.drift import Edit, read_edits
from aurora_migrations.engine.history import Attempt, State, read_attempts, read_state
from aurora_migrations.engine.migrations import Package
from aurora_migrations.engine.postgres import advisory_lock
from aurora_migrations.engine.postgres.session import Server, Session
from aurora_migrations.engine.script import Source

# From healthy to not: what `list` and `status` call a migration.
STATES = ("applied", "pending", "partly in", "ahead", "out of order", "changed", "partly out", "missing")
_SOUND = frozenset({"applied", "pending", "partly in", "ahead"})


@dataclass(frozen=True)
class Entry:
    """A migration and its state, one of `STATES`. `applied_at` is UTC, ISO 8601; `parts` are those of a file of several
    parts that are in (or out, of its down file), where that isn't all of it."""

    migration: str
    name: str
    state: str
    applied_at: str | None = None
    execution: str | None = None
    parts: int | None = None

    def to_dict(self) -> dict[str, object]:
        """The entry as JSON-able data."""
        return {**vars(self)}  # `asdict` takes seconds for ten thousand


@dataclass(frozen=True)
class Overview:
    """Where a database stands.

    Attributes:
        entries: every migration, by version.
        running: who has the run lock now.
        last: the newest attempt.
    """

    entries: tuple[Entry, ...]
    running: advisory_lock.Holder | None
    last: Attempt | None

    @property
    def counts(self) -> dict[str, int]:
        """How many migrations are in each state."""
        found = [entry.state for entry in self.entries]
        return {state: found.count(state) for state in STATES}

    @property
    def refused(self) -> list[Entry]:
        """What a run would be refused for."""
        return [entry for entry in self.entries if entry.state not in _SOUND]

    @property
    def sound(self) -> bool:
        """Whether a run would not be refused."""
        return not self.refused

    def to_dict(self, server: Server) -> dict[str, object]:
        """The overview as JSON-able data, with the server that it is of."""
        applied = [entry for entry in self.entries if entry.applied_at]
        return {
            "database": server.database,
            "user": server.user,
            "server_version": server.version,
            "standby": server.in_recovery,
            "sound": self.sound,
            "counts": self.counts,
            "newest": applied[-1].to_dict() if applied else None,
            "pending": self._names("pending"),
            "ahead": self._names("ahead"),
            "refused": [entry.to_dict() for entry in self.refused],
            "running": asdict(self.running) if self.running else None,
            "last_attempt": asdict(self.last) if self.last else None,
        }

    def _names(self, state: str) -> list[str]:
        return [entry.name for entry in self.entries if entry.state == state]


def read_entries(session: Session, source: Source) -> tuple[Entry, ...]:
    """Every migration that the package or the history knows, by version."""
    state = read_state(session)
    return _entries(source.package, state, read_edits(session, source, state.applied))


def read_overview(session: Session, source: Source) -> Overview:
    """Where the database stands, who is at work on it, and what happened last."""
    attempts = read_attempts(session, 1)
    return Overview(
        read_entries(session, source), advisory_lock.find_holder(session), attempts[0] if attempts else None
    )


def _entries(package: Package, state: State, edits: Mapping[int, Edit]) -> tuple[Entry, ...]:
    names = {migration.version: migration.name for migration in package.migrations}
    names |= {v: record.name for v, record in state.applied.items() if v not in names}
    names |= {v: progress.name for v, progress in state.unfinished.items() if v not in names}
    told = _States(package, state, edits)
    return tuple(_entry(name, told.of(version), version, state) for version, name in sorted(names.items()))


def _entry(name: str, word: str, version: int, state: State) -> Entry:
    record, progress = state.applied.get(version), state.unfinished.get(version)
    parts = len(progress.units) if progress and (word.startswith("partly") or record is None) else None
    label = name.partition("_")[0]
    if record is None:
        return Entry(label, name, word, parts=parts)
    return Entry(label, name, word, record.applied_at, record.execution, parts)


class _States:
    """Says of a version in which state it is."""

    def __init__(self, package: Package, state: State, edits: Mapping[int, Edit]) -> None:
        self._package = package
        self._state = state
        self._changed = {version for version, edit in edits.items() if edit.changed}
        self._newest_here = package.migrations[-1].version
        self._newest_there = max(state.applied, default=-1)

    def of(self, version: int) -> str:
        here, there = version in self._package.by_version, version in self._state.applied
        if not here:
            return "ahead" if version > self._newest_here else "missing"
        partly = version in self._state.unfinished
        if there:
            return "changed" if version in self._changed else "partly out" if partly else "applied"
        if version < self._newest_there:
            return "out of order"
        return "partly in" if partly else "pending"

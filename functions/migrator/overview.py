"""What is applied where: every migration of the package and of the history, with its state. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from functions.migrator import runlock
from functions.migrator.drift import Edit, read_edits
from functions.migrator.files import Package
from functions.migrator.history import Applied, Attempt, read_applied, read_attempts
from functions.migrator.plan import missing_files
from functions.migrator.script import Source
from functions.migrator.session import Session

# From healthy to not: what `list` and `status` call a migration.
STATES = ("applied", "pending", "ahead", "out of order", "changed", "missing")
_SOUND = frozenset({"applied", "pending", "ahead"})


@dataclass(frozen=True)
class Entry:
    """A migration and its state, one of `STATES`. `applied_at` is UTC, ISO 8601."""

    migration: str
    name: str
    state: str
    applied_at: str | None = None
    execution: str | None = None

    def to_dict(self) -> dict[str, object]:
        """The entry as JSON-able data."""
        return asdict(self)


@dataclass(frozen=True)
class Overview:
    """Where a database stands.

    Attributes:
        entries: every migration, by version.
        running: who has the run lock now.
        last: the newest attempt.
    """

    entries: tuple[Entry, ...]
    running: runlock.Holder | None
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


def read_entries(session: Session, source: Source) -> tuple[Entry, ...]:
    """Every migration that the package or the history knows, by version."""
    applied = read_applied(session)
    return _entries(source.package, applied, read_edits(session, source, applied))


def read_overview(session: Session, source: Source) -> Overview:
    """Where the database stands, who is at work on it, and what happened last."""
    attempts = read_attempts(session, 1)
    return Overview(read_entries(session, source), runlock.find_holder(session), attempts[0] if attempts else None)


def _entries(package: Package, applied: Mapping[int, Applied], edits: Mapping[int, Edit]) -> tuple[Entry, ...]:
    changed = {version for version, edit in edits.items() if edit.changed}
    missing = {record.version for record in missing_files(package, applied)}
    highest = max(applied, default=-1)

    def of_package() -> Iterator[tuple[int, Entry]]:
        for migration in package.migrations:
            record = applied.get(migration.version)
            if record is None:
                state = "pending" if migration.version > highest else "out of order"
                yield migration.version, Entry(migration.label, migration.name, state)
            else:
                state = "changed" if migration.version in changed else "applied"
                yield migration.version, _known(record, state, migration.name)

    def of_history_only() -> Iterator[tuple[int, Entry]]:
        for version, record in applied.items():
            if version not in package.by_version:
                yield version, _known(record, "missing" if version in missing else "ahead", record.name)

    return tuple(entry for _, entry in sorted([*of_package(), *of_history_only()], key=lambda pair: pair[0]))


def _known(record: Applied, state: str, name: str) -> Entry:
    return Entry(record.label, name, state, record.applied_at, record.execution)

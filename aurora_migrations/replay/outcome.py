"""What is known about a migration after its replay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aurora_migrations.engine.catalog.change import Change

_SHOWN = 4  # objects in one message


@dataclass(frozen=True)
class RowsFailure:
    """A statement that succeeds on empty tables and fails on tables that hold rows. Line and column count from 1."""

    line: int
    column: int
    reason: str  # what PostgreSQL reports, without values


@dataclass(frozen=True)
class Outcome:
    """What a migration does on an empty server, and what its down file does after it."""

    change: Change | None = None  # None where it can't be replayed
    unreplayed: str = ""  # why not
    down: Change | None = None  # of its down file; None where it has none, or that can't be replayed
    down_unreplayed: str = ""
    down_failure: str = ""  # with which error the down file fails
    remains: str = ""  # what differs from before after migration and down file
    differs_again: str = ""  # what differs after migration, down file and migration, from after the migration
    rows: RowsFailure | None = None

    def to_json(self) -> dict[str, Any]:
        """It as JSON-able data; what is empty is left out."""
        data: dict[str, Any] = {
            name: value
            for name in ("unreplayed", "down_unreplayed", "down_failure", "remains", "differs_again")
            if (value := getattr(self, name))
        }
        changes = {"change": self.change, "down": self.down}
        data |= {name: change.to_json() for name, change in changes.items() if change is not None}
        if self.rows:
            data["rows"] = [self.rows.line, self.rows.column, self.rows.reason]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """An outcome from its JSON; AttributeError, KeyError, TypeError or ValueError, where that isn't one."""
        if ("change" in data) == ("unreplayed" in data):
            raise ValueError("an outcome has a change or a reason why there is none")
        made: dict[str, Any] = dict(data)
        made |= {name: Change.from_json(data[name]) for name in ("change", "down") if name in data}
        if "rows" in data:
            made["rows"] = RowsFailure(*data["rows"])
        return cls(**made)


def describe(change: Change) -> str:
    """What is there too much, what is missing and what is different, if a change should be none: empty if it is."""
    parts = []
    for keys, words in ((change.created, "remains"), (change.dropped, "is missing"), (change.changed, "is different")):
        named = sorted(keys)
        more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
        if named:
            verb = {"remains": "remain"}.get(words, words.replace("is ", "are ")) if len(named) > 1 else words
            parts.append(f"{', '.join(f'{kind} {name}' for kind, name in named[:_SHOWN])}{more} {verb}")
    return "; ".join(parts)

"""What a migration changes of the catalogue, and what several of them leave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aurora_migrations.engine.catalog.facts import Facts, Key, container

SHOWN = 4  # objects that one line names


@dataclass(frozen=True)
class Change:
    """The exact change that one file makes. Definitions are those after it."""

    created: Facts = field(default_factory=dict)
    changed: Facts = field(default_factory=dict)
    dropped: tuple[Key, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return not (self.created or self.changed or self.dropped)

    @property
    def expected(self) -> Facts:
        """What must be there after it, with its definition."""
        return {**self.created, **self.changed}

    @property
    def keys(self) -> set[Key]:
        """All facts that it is about."""
        return {*self.created, *self.changed, *self.dropped}

    def to_json(self) -> dict[str, Any]:
        """It as JSON-able data, by kind; what is empty is left out."""
        dropped: dict[str, list[str]] = {}
        for kind, identity in sorted(self.dropped):
            dropped.setdefault(kind, []).append(identity)
        data = {"created": _by_kind(self.created), "changed": _by_kind(self.changed), "dropped": dropped}
        return {name: value for name, value in data.items() if value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Change:
        """A change from its JSON; AttributeError or TypeError, where that isn't one."""
        return cls(
            _facts(data.get("created", {})),
            _facts(data.get("changed", {})),
            tuple((kind, identity) for kind, names in data.get("dropped", {}).items() for identity in names),
        )


def difference(before: Facts, after: Facts) -> Change:
    """What has changed between two states of a database."""
    return Change(
        {key: definition for key, definition in after.items() if key not in before},
        {key: text for key, text in after.items() if before.get(key, text) != text},
        tuple(sorted(key for key in before if key not in after)),
    )


def fold(changes: Iterable[Change]) -> Facts:
    """What is there after several changes, in their order: of what they are about, and of nothing else."""
    facts: Facts = {}
    for change in changes:
        for key in change.dropped:
            facts.pop(key, None)
        facts.update(change.expected)
    return facts


def _by_kind(facts: Facts) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for (kind, identity), definition in sorted(facts.items()):
        found.setdefault(kind, {})[identity] = definition
    return found


def _facts(data: Mapping[str, Mapping[str, str]]) -> Facts:
    return {(kind, identity): text for kind, facts in data.items() for identity, text in facts.items()}


def describe_change(change: Change) -> str:
    """What a migration creates, changes and drops, by the objects' names: of a new table, not its columns."""
    parts = (("creates", change.created), ("changes", change.changed), ("drops", dict.fromkeys(change.dropped, "")))
    return "; ".join(f"{verb} {_names(facts)}" for verb, facts in parts if facts)


def _names(facts: Mapping[Key, str]) -> str:
    whole = {identity for kind, identity in facts if container((kind, identity)) == identity and kind != "comment"}
    named = [key for key in facts if key[1] in whole or container(key) not in whole] or list(facts)
    named = [key for key in named if key[0] != "comment"] or named
    shown = ", ".join(f"{kind} {identity}" for kind, identity in sorted(named, key=_order)[:SHOWN])
    return f"{shown} and {len(named) - SHOWN} more" if len(named) > SHOWN else shown


def _order(key: Key) -> tuple[bool, str, str]:
    return "table" not in key[0], *key

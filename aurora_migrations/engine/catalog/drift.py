"""Drift of the schema: where a database differs from what its applied migrations make, whoever changed it.

What is expected is what the changes of all applied migrations leave, one after the other, with those of the rollbacks
between them. What no migration has made is listed, and never wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from aurora_migrations.engine.catalog.change import Change
from aurora_migrations.engine.catalog.compare import (
    INDEXED,
    INDEXES,
    TABLES,
    Deviation,
    deviations,
    is_ignored,
    moved,
    owners,
)
from aurora_migrations.engine.catalog.facts import Facts, Key, container, parts_of, same
from aurora_migrations.engine.catalog.mend import mend
from aurora_migrations.engine.options import Ignored

# What definitions of other objects name.
_NAMED = {*TABLES, "schema", "sequence", "function", "enum", "domain", "composite type", "range type"}
_MANY = 100  # objects that aren't there: then SQL for single facts repairs nothing
_UNFIT = re.compile(r" (?:INVALID|NOT READY)\b")


@dataclass
class Expected:
    """What a history leads to expect of a database."""

    facts: Facts = field(default_factory=dict)
    since: dict[Key, str] = field(default_factory=dict)  # the file since which each is expected
    ignored: list[Ignored] = field(default_factory=list)
    unknown: dict[str, str] = field(default_factory=dict)  # files whose changes aren't known, with the reason
    doubtful: set[str] | None = field(default_factory=set)  # the words of those; None if it may be anything
    # What wasn't as the files make it and was accepted so: what was there, None if nothing; see `Accepted`.
    accepted: dict[Key, str | None] = field(default_factory=dict)
    accepted_here: bool = True  # whether the server was of the same major version then

    def add(self, file: str, change: Change, ignored: Iterable[Ignored] = ()) -> None:
        """What a file has changed, after those before it."""
        self.ignored += ignored
        for key in change.dropped:
            self.facts.pop(key, None)
        for key in change.keys:
            self.accepted.pop(key, None)
        self.facts |= change.expected
        self.since |= dict.fromkeys(change.expected, file)

    def forget(self, file: str, reason: str, text: bytes | None) -> None:
        """Takes out what a file may have changed of which nothing is known: all whose name, or whose table's name, is
        in its text; everything, if it may be anything (None)."""
        self.unknown[file] = reason
        if text is None:
            self.facts.clear()
            self.doubtful = None
            return
        words = set(_words(text.decode(errors="replace")))
        self.facts = {key: each for key, each in self.facts.items() if not _is_named(key, each, words)}
        if self.doubtful is not None:
            self.doubtful |= words

    def accepts(self, deviation: Deviation) -> bool:
        """Whether somebody has accepted this object as it is."""
        if deviation.key not in self.accepted:
            return False
        then, now = self.accepted[deviation.key], deviation.found
        return then == now or (then is not None and now is not None and same(then, now, self.accepted_here))


@dataclass(frozen=True)
class Finding:
    """A deviation, with the file since which it is one, and the SQL that would mend it, if that is known."""

    deviation: Deviation
    since: str
    sql: str


@dataclass(frozen=True)
class Drift:
    """How a database differs from what is expected of it."""

    expected: int  # facts
    findings: tuple[Finding, ...]
    unexpected: tuple[str, ...]  # objects that no migration has made
    accepted: tuple[str, ...] = ()  # objects that aren't as expected, as somebody has accepted


def find_drift(
    expected: Expected, found: Facts, same_major: bool, building: Iterable[str] = (), schema: str = "public"
) -> Drift:
    """Compares all facts of a database with those expected. `building` are indexes that a session builds right now;
    `schema` is where the database's own names without a schema are, see `moved`."""
    elsewhere = moved(found, schema)
    at_work, facts = set(building), expected.facts
    missing = [key for key in facts if key not in found and key not in elsewhere]
    gone = {f"{key[1]}." if key[0] == "schema" else key[1] for key in missing if key[0] in _NAMED}
    incomplete = {container(key) for key in missing if key[0] == "column"}
    findings = []
    for each in deviations(facts, (), found, same_major, elsewhere):
        if is_ignored(each.key, expected.ignored) or (each.key[1] in at_work and _is_unfit(each.found)):
            continue
        of_constraint = ("constraint", _constraint_of(each)) in facts
        can_be_made = len(gone) <= _MANY and not each.is_secret and _can_be_made(each, facts, gone, incomplete)
        # Where another schema stands for `public`, it may be either of them.
        is_clear = schema == "public" or "public." not in f"{each.key[1]} {each.expected}"
        sql = mend(each, of_constraint) if can_be_made and is_clear else ""
        findings.append(Finding(each, expected.since[each.key], sql))
    findings += _unfit_indexes(expected, found, at_work)
    left_out = [each.deviation.name for each in findings if expected.accepts(each.deviation)]
    findings = [each for each in findings if not expected.accepts(each.deviation)]
    others = {key: text for key, text in found.items() if not _is_there(key, text, facts, schema)}
    doubtful = expected.doubtful
    made_by_nobody = {
        key: text for key, text in others.items() if doubtful is not None and not _is_named(key, text, doubtful)
    }
    unexpected = [*_unexpected(facts, made_by_nobody)]
    known = {" ".join(key) for key in expected.accepted}
    left_out += [name for name in unexpected if name in known]
    return Drift(len(facts), tuple(findings), tuple(name for name in unexpected if name not in known), tuple(left_out))


def _can_be_made(deviation: Deviation, facts: Facts, gone: set[str], incomplete: set[str]) -> bool:
    """Whether what it needs is there. Otherwise SQL that drops and makes an object may only drop it. `gone`: names of
    objects that aren't there; `incomplete`: tables that lack a column."""
    kind, of = deviation.key[0], container(deviation.key)
    text = f"{deviation.expected} {deviation.key[1]}"
    if any(name in text for name in gone if name != deviation.key[1]):
        return False
    if kind != "column" and incomplete & owners(deviation.key, text):
        return False
    if kind == "column" and any((view, of) in facts for view in ("view", "materialized view")):
        return False
    # A partition gets its columns and triggers from its table, and its index from that one's.
    from_parent = deviation.found is None and kind in ("column", "trigger")
    is_partition = any("PARTITION OF" in facts.get((table, of), "") for table in TABLES)
    return not (from_parent and is_partition) and not (kind in INDEXES and " PARTITION OF " in text)


def _unfit_indexes(expected: Expected, found: Facts, building: set[str]) -> Iterator[Finding]:
    """Indexes that nobody expects, but on expected tables, which writes may have to maintain and no query can use."""
    for key, text in found.items():
        if key[0] == "index" and key not in expected.facts and _is_unfit(text) and key[1] not in building:
            table = next((k for k in _tables(owners(key, text)) if k in expected.facts), None)
            if table is not None and not is_ignored(key, expected.ignored):
                each = Deviation(key, _UNFIT.sub("", text), text)
                yield Finding(each, expected.since[table], f"DROP INDEX CONCURRENTLY {key[1]};")


def _unexpected(expected: Facts, found: Facts) -> Iterator[str]:
    """Of a table that isn't expected, not all that belongs to it."""
    others = {key for key in found if key not in expected}
    for key in sorted(others):
        kind = key[0]
        if kind == "comment":
            continue
        of = _tables(owners(key, found[key]) - ({key[1]} if kind not in INDEXES else set()))
        constraint = kind in INDEXES and any(
            ("constraint", f"{name}.{key[1].rpartition('.')[2]}") in found for _, name in of
        )
        if not constraint and not any(owner in others for owner in of) and key != ("schema", "public"):
            yield " ".join(key)


def _is_named(key: Key, definition: str, words: set[str]) -> bool:
    """Whether an object, or its table, may be named in a text of these words."""
    return any(_words(parts_of(name)[-1]) <= words for name in owners(key, definition) if parts_of(name))


@lru_cache(maxsize=50_000)
def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[\w$]+", text.lower()))


def _is_there(key: Key, text: str, facts: Facts, schema: str) -> bool:
    """Whether a fact is expected in the schema `public`, and is in the one that stands for it here."""
    return any(other in facts for other in moved({key: text}, schema))


def _tables(names: set[str]) -> list[Key]:
    return [(kind, name) for name in names for kind in TABLES]


def _constraint_of(deviation: Deviation) -> str:
    """How a constraint would be called whose index this is."""
    table = INDEXED.search(deviation.expected or "")
    return f"{table[1]}.{deviation.key[1].rpartition('.')[2]}" if table else ""


def _is_unfit(definition: str | None) -> bool:
    return bool(definition and _UNFIT.search(definition))

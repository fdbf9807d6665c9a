"""Compares what a change expects with what a database has, and says what differs in words for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from aurora_migrations.engine.catalog.facts import QUALIFIED, Facts, Key, comment_on, container, same
from aurora_migrations.engine.catalog.parts import OF_TABLES
from aurora_migrations.engine.diagnostics.redaction import speaks_of_secrets, without_values
from aurora_migrations.engine.options import Ignored

_LENGTH = 160  # characters shown of a definition
_CONTEXT = 40  # characters of it shown before the first difference
_HASH = re.compile(r"\b(query|body) ([0-9a-f]{8})[0-9a-f]{24}")
# What PostgreSQL names itself where a file doesn't, not always alike in all versions.
_NAMED_BY_SERVER = ("constraint", "index", "partitioned index")
INDEXES = ("index", "partitioned index")
INDEXED = re.compile(rf" ON (?:ONLY )?({QUALIFIED}) USING ")  # an index's table
TABLES = ("table", "partitioned table", "foreign table", "view", "materialized view")
_INDEX_NAME = re.compile(r"\A(CREATE (?:UNIQUE )?INDEX )(?:\"(?:[^\"]|\"\")*\"|\S+)( ON )")


@dataclass(frozen=True)
class Deviation:
    """A fact that isn't as expected. None: not there."""

    key: Key
    expected: str | None
    found: str | None

    @property
    def name(self) -> str:
        """The object, such as `index public.orders_idx`."""
        return " ".join(self.key)

    @property
    def is_secret(self) -> bool:
        """Whether a value in it may be a password, by the words of its name and its definitions."""
        return speaks_of_secrets(f"{self.name} {self.expected} {self.found}")

    def in_words(self) -> tuple[str, str]:
        """What was expected and what was found, short and without anything that may be a password."""
        texts = tuple(
            text and (without_values(text) if self.is_secret else text) for text in (self.expected, self.found)
        )
        if None in texts or "" in texts:
            plain = "there" if None in texts else "nothing special"
            expected, found = (_shown(text) if text else plain if text is not None else "not there" for text in texts)
            return expected, found
        expected, found = map(str, texts)
        start = 0
        if max(len(expected), len(found)) > _LENGTH:
            pairs = zip(expected, found, strict=False)
            start = next((n for n, (one, other) in enumerate(pairs) if one != other), min(len(expected), len(found)))
            start = max(0, start - _CONTEXT)
        return _shown(expected, start), _shown(found, start)


def moved(facts: Facts, schema: str) -> Facts:
    """Facts as if a schema were called `public`: a replay makes there what a role with another search_path makes in
    another schema. Empty for `public` itself."""
    if schema == "public":
        return {}
    name = re.compile(rf'(?<![\w".]){re.escape(schema)}\.')
    return {
        (kind, name.sub("public.", identity)): name.sub("public.", definition)
        for (kind, identity), definition in facts.items()
    }


def deviations(
    expected: Facts, gone: Iterable[Key], found: Facts, same_major: bool, elsewhere: Mapping[Key, str] | None = None
) -> Iterator[Deviation]:
    """Where a database isn't as expected: facts that are missing or different, and those that should be gone.

    Args:
        found: of the objects concerned; where the major versions differ, it should hold all facts of their tables, as
            names that PostgreSQL makes up may differ, and an object is then found by its definition.
        same_major: whether the expectations are of a server of the same major version.
        elsewhere: the same facts, `moved`; what is as expected there, is.
    """
    other = elsewhere or {}
    differing = {
        key: Deviation(key, definition, found.get(key, other.get(key)))
        for key, definition in expected.items()
        if not (key in found and same(definition, found[key], same_major))
        # A query's hash is of its text, with the other schema's name in it.
        and not (key in other and same(definition, other[key], False))
    }
    for key, each in differing.items():
        if each.found is None:
            if not same_major and _has_twin(key, str(each.expected), expected, found):
                continue
            belongs_to = owners(key, str(each.expected)) - ({key[1]} if key[0] in TABLES else set())
            tables = (differing.get((kind, name)) for kind in TABLES for name in belongs_to)
            if any(table and table.found is None for table in tables):
                continue  # with its table
        yield each
    yield from (Deviation(key, None, found[key]) for key in gone if key in found and (not other or key in other))


def owners(key: Key, definition: str) -> set[str]:
    """The object that a fact is about, and the table that this belongs to."""
    kind, identity = comment_on(key[1]) if key[0] == "comment" else key
    found = {container((kind, identity))}
    if kind in INDEXES and (table := INDEXED.search(definition)):
        found.add(table[1])
    if kind == "sequence" and (column := re.search(rf" OWNED BY ({QUALIFIED})", definition)):
        found.add(column[1])
    return found


def is_ignored(key: Key, ignored: Iterable[Ignored]) -> bool:
    """Whether a file says that a fact is not to be compared; with a table goes all that belongs to it."""
    kind, identity = comment_on(key[1]) if key[0] == "comment" else key
    of_table = container((kind, identity)) if kind in OF_TABLES else ""
    return any(
        (each.kind == kind and each.name in (identity, identity.removeprefix("public.")))
        or (each.kind == "table" and of_table and each.name in (of_table, of_table.removeprefix("public.")))
        for each in ignored
    )


def _has_twin(key: Key, definition: str, expected: Mapping[Key, str], found: Facts) -> bool:
    """Whether there is the same object under another name that nothing else expects."""
    kind = key[0]
    return kind in _NAMED_BY_SERVER and any(
        other[0] == kind
        and other not in expected
        and (kind != "constraint" or container(other) == container(key))
        and same(_INDEX_NAME.sub(r"\1\2", definition), _INDEX_NAME.sub(r"\1\2", text), False)
        for other, text in found.items()
    )


def _shown(definition: str, start: int = 0) -> str:
    text = _HASH.sub(r"\1 \2", definition)[start:]
    cut = f"{text[: _LENGTH - 3]}..." if len(text) > _LENGTH else text
    return f"...{cut}" if start else cut

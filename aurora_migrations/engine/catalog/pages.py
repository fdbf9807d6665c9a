"""Facts as an execution returns them: compressed and in pages, as its output is limited in size; without secrets, as
AWS keeps it."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib

from aurora_migrations.engine.catalog.facts import Facts, Key
from aurora_migrations.engine.diagnostics.redaction import speaks_of_secrets, without_values

PAGE = 180_000  # characters, of the 262,144 of a state. 1,000 tables with 24,000 facts take two
_LONGEST = 4_000  # characters of a definition; of a longer one the hash shows whether another is the same


def without_secrets(facts: Facts) -> Facts:
    """Facts as they may be kept: without values where one may be a secret, and no longer than a page takes."""
    return {key: _kept(key, text) for key, text in facts.items()}


def digest(facts: Facts) -> str:
    """A hash over all facts: of two pages that have the same, none is of another moment."""
    return hashlib.sha256(json.dumps(sorted(facts.items())).encode()).hexdigest()[:32]


def write_pages(facts: Facts, most: int = PAGE) -> list[str]:
    """The facts as texts of at most so many characters each."""
    items = [[*key, text] for key, text in sorted(facts.items())]
    count = 1
    while True:
        size = max(1, math.ceil(len(items) / count))
        pages = [_packed(items[start : start + size]) for start in range(0, max(1, len(items)), size)]
        longest = max(map(len, pages))
        if longest <= most or size == 1:
            return pages
        count = max(count + 1, math.ceil(count * longest / most))


def read_page(text: str) -> Facts:
    """The facts of a page; ValueError, if it isn't one."""
    try:
        items = json.loads(zlib.decompress(base64.b64decode(text, validate=True)))
        return {(str(kind), str(identity)): str(definition) for kind, identity, definition in items}
    except (zlib.error, TypeError) as error:
        raise ValueError("not a page of facts") from error


def _packed(items: list[list[str]]) -> str:
    data = json.dumps(items, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(zlib.compress(data, 9)).decode()


def _kept(key: Key, definition: str) -> str:
    if speaks_of_secrets(f"{key[1]} {definition}"):
        definition = without_values(definition)
    if len(definition) <= _LONGEST:
        return definition
    return f"{definition[:_LONGEST]} query {hashlib.md5(definition.encode()).hexdigest()}"

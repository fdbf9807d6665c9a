"""An error as one JSON document of limited size, which stays JSON and stays true: what is cut is marked."""

from __future__ import annotations

import json
from collections.abc import Mapping

from functions.migrator.errors import MigratorError

LIMIT = 8_192  # bytes; Step Functions cuts a Cause at 32 KiB, in which this stands quoted once more
_ATTEMPTS = ((2_000, 50), (1_000, 20), (500, 10), (200, 5), (100, 2))  # characters of a text, items of a list
_CORE = ("error", "message", "cause", "state", "solution", "next_command", "execution")


def document(error: MigratorError, **more: object) -> str:
    """The error's facts, and more, as JSON of at most `LIMIT` bytes."""
    whole = {**error.to_dict(), **more}
    if _fits(text := _json(whole)):
        return text
    for characters, items in _ATTEMPTS:
        if _fits(text := _json(_cut(whole, characters, items))):
            return text
    core = {key: value for key, value in whole.items() if key in _CORE}
    return _json(_cut(core, 500, 0) | {"cut": True})


def _json(data: Mapping[str, object]) -> str:
    return json.dumps(data, default=str)


def _fits(text: str) -> bool:
    return len(text.encode()) <= LIMIT


def _cut(value: object, characters: int, items: int) -> dict[str, object]:
    cut = _shortened(value, characters, items)
    return cut if isinstance(cut, dict) else {}


def _shortened(value: object, characters: int, items: int) -> object:
    if isinstance(value, str) and len(value) > characters:
        return f"{value[:characters]}... ({len(value) - characters} more characters)"
    if isinstance(value, Mapping):
        return {key: _shortened(each, characters, items) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        more = [f"... ({len(value) - items} more)"] if len(value) > items else []
        return [*(_shortened(each, characters, items) for each in value[:items]), *more]
    return value

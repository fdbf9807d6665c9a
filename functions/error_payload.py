"""An error as one JSON document of limited size, which stays JSON and stays true: what is cut is marked.

Step Functions cuts a Cause at 32 KiB, and a truncated document isn't JSON any more. In the Cause the document is
escaped once more, which at worst doubles it: so it may have 15 KB, including the mail.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aurora_migrations.engine.errors import MigratorError
from aurora_migrations.engine.steps import layout

LIMIT = 15_000  # bytes, the mail included
FACTS_LIMIT = 8_192  # bytes
_ATTEMPTS = ((2_000, 50), (1_000, 20), (500, 10), (200, 5), (100, 2))  # characters of a text, items of a list
_CORE = ("error", "message", "cause", "state", "solution", "next_command", "execution")


def document(error: MigratorError, mail: Mapping[str, str] | None = None, **more: object) -> str:
    """The error's facts, and more, as JSON of at most `LIMIT` bytes. The mail is never cut here: its own size is
    limited."""
    whole = {**error.to_dict(), **more}
    core = {key: value for key, value in whole.items() if key in _CORE}
    sizes = (whole, *(_shortened(whole, *size) for size in _ATTEMPTS))
    facts = next((each for each in sizes if len(_json(each)) <= FACTS_LIMIT), None)
    facts = _shortened({**core, "cut": True}, 500, 0) if facts is None else facts
    return _json({**facts, "mail": mail} if mail else facts)


def _json(data: object) -> str:
    return json.dumps(data, default=str)


def _shortened(value: Any, characters: int, items: int) -> Any:
    if isinstance(value, str):
        return layout.cut(value, characters)
    if isinstance(value, Mapping):
        return {key: _shortened(each, characters, items) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        more = [f"... ({len(value) - items} more)"] if len(value) > items else []
        return [*(_shortened(each, characters, items) for each in value[:items]), *more]
    return value

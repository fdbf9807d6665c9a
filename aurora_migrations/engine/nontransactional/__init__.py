"""Statements that PostgreSQL refuses to run in a transaction, such as CREATE INDEX CONCURRENTLY.

    intents      what was begun and isn't recorded as done; who runs it, cancels it, resolves it
    settlement   the catalogue before a statement, and what it shows after an interruption
    limits       the time limits that don't hold while such a statement runs

Their record can't be committed with them. So an intent is committed first (`aurora_migrations.intents`), then the
statement runs, then the unit's record is committed, which deletes the intent. Where the run ended in between,
`settlement` asks the catalogue how far the statement got: it is done, is run again, or a person has to decide.

The runner comes to few such statements, so that its modules are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aurora_migrations.engine.nontransactional import intents as intents
    from aurora_migrations.engine.nontransactional import settlement as settlement


def __getattr__(name: str) -> Any:
    if name not in ("intents", "settlement"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")

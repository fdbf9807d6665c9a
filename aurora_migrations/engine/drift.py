"""Files that aren't, byte by byte, what was applied: an edit of layout and comments, or a change of meaning.

The token hash tells the two apart. It is kept with every applied text, and so is the text itself: where the hash was
made in an older way, both texts are hashed anew.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from aurora_migrations.engine.diagnostics.redaction import speaks_of_secrets, without_values
from aurora_migrations.engine.history import Applied
from aurora_migrations.engine.history import read_text as read_applied_text
from aurora_migrations.engine.migrations import Migration, read_text
from aurora_migrations.engine.postgres.session import Session
from aurora_migrations.engine.script import Source

_SHOWN = 60  # lines of difference in one message


@dataclass(frozen=True)
class Edit:
    """An applied file that was edited since.

    Attributes:
        changed: its meaning changed; otherwise comments, white space or the case of keywords and names.
        difference: unified, from what was applied to what the file is now; without values, where the file speaks of
            passwords.
    """

    migration: Migration
    changed: bool
    difference: str


def read_edits(session: Session, source: Source, applied: Mapping[int, Applied]) -> dict[int, Edit]:
    """Every applied file whose bytes have changed, by version; the texts of only those are read."""
    suspects = [m for m in source.package.migrations if m.version in applied and applied[m.version].sha256 != m.sha256]
    return {migration.version: _edit(session, source, migration) for migration in suspects}


def _edit(session: Session, source: Source, migration: Migration) -> Edit:
    before, hashed = read_applied_text(session, migration.version)
    now = read_text(migration.path)
    changed = not _same_meaning(source, before, hashed, now)
    return Edit(migration, changed, _difference(source, migration.name, before, now))


def _same_meaning(source: Source, before: bytes, hashed: str | None, now: bytes) -> bool:
    current = source.token_hash(now)
    if current is None:
        return False
    if hashed is None or hashed.partition(":")[0] != current.partition(":")[0]:
        hashed = source.token_hash(before)
    return hashed == current


def _difference(source: Source, name: str, before: bytes, now: bytes) -> str:
    old, new = (text.decode(errors="replace") for text in (before, now))
    if speaks_of_secrets(old) or speaks_of_secrets(new):
        if source.token_hash(now) is None:
            return "(not shown, as the file speaks of passwords)"
        old, new = without_values(old, numbers=False), without_values(new, numbers=False)
    found = difflib.unified_diff(
        old.splitlines(), new.splitlines(), f"{name} (applied)", f"{name} (now)", lineterm="", n=1
    )
    lines = list(found) or ["(it is in a value, and isn't shown, as the file speaks of passwords)"]
    more = [f"... and {len(lines) - _SHOWN} more lines"] if len(lines) > _SHOWN else []
    return "\n".join(lines[:_SHOWN] + more)

"""Tables that must exist: an applied file has created them, and no file is known to have dropped them.

The files can't show everything. Where one of them may have taken a table away, where the history has a file that isn't
here or isn't as it was applied, where a rollback may have left a table away, or where a run is at work, nothing is
claimed. What `aurora_migrations.compiler.locks.tables` can't see (a trigger that drops tables) is claimed in error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

ANYTHING = "*"  # among what a file may have taken away: it may be any table. No name is written so, without quotes
_LAST = re.compile(r'(?:"(?:[^"]|"")*"|[^".]+)\Z')


@dataclass(frozen=True)
class Standing:
    """What an applied file means for tables.

    Attributes:
        made: names of those that certainly exist once it is applied.
        taken: bare names of those that it may have dropped, or ANYTHING.
    """

    file: str
    made: tuple[str, ...]
    taken: tuple[str, ...]


def must_be_there(files: Iterable[Standing | None]) -> dict[str, str]:
    """Each such table, with the file that has made it.

    Args:
        files: those that are applied, in their order, and with them what rollbacks took away; None for one of which
            nothing is known.
    """
    found: dict[str, dict[str, str]] = {}  # by bare name, as a later file may leave the schema out
    for each in files:
        if each is None or ANYTHING in each.taken:
            found.clear()
        if each is None:
            continue
        for name in each.taken:
            found.pop(name, None)
        for name in each.made:
            found.setdefault(_bare(name), {})[name] = each.file
    return {name: file for names in found.values() for name, file in names.items()}


def _bare(name: str) -> str:
    """The name without its schema, quoted as it was."""
    last = _LAST.search(name)
    return last[0] if last else name

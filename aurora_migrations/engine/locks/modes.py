"""The modes of a lock on a table, and which of them conflict."""

from __future__ import annotations

from collections.abc import Mapping

MODES = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
"""From the weakest to the strongest, as PostgreSQL numbers them."""

# Each conflicts with the strongest, from this one on; SHARE doesn't conflict with itself.
_FIRST_IN_CONFLICT = (7, 6, 4, 3, 2, 2, 1, 0)
CONFLICTS: Mapping[str, frozenset[str]] = {
    mode: frozenset(MODES[first:]) - ({mode} if mode == "SHARE" else set())
    for mode, first in zip(MODES, _FIRST_IN_CONFLICT, strict=True)
}
"""The modes that conflict with each: https://www.postgresql.org/docs/18/explicit-locking.html, Table 13.2."""

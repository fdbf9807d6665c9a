"""The table of rules: which lock each kind of statement takes, and whether it rewrites or scans the table.

It is data, row by row with its source in PostgreSQL's documentation, and each row is tried on real servers by
`tests/database/test_effects.py`. A rule speaks of a relation that the statement names. What it can't see, such as
children and partitions, is listed in docs/check.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from compiler.rules import alter_table, statements
from compiler.rules.model import CONFLICTS, MODES, Answer, Rule

RULES: tuple[Rule, ...] = alter_table.RULES + statements.RULES

_BY_CASE: Mapping[tuple[str, str, str], Rule] = {(r.statement, r.command, r.when): r for r in RULES}


def find(statement: str, command: str = "", when: str = "") -> Rule | None:
    """The rule of a case, if there is one."""
    return _BY_CASE.get((statement, command, when))


__all__ = ["CONFLICTS", "MODES", "RULES", "Answer", "Rule", "find"]

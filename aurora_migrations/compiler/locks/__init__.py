"""The lock rules: which lock each kind of statement takes, and whether it rewrites or scans the table.

They are the rows of `rules.tsv`, each with its source in PostgreSQL's documentation, and each is tried on real servers
by `tests/database/test_effects.py`. A rule is about a relation that the statement names. What it can't see, such as
children and partitions, is listed in docs/check.md.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib.resources import files

from aurora_migrations.compiler.locks.rules import CONFLICTS, MODES, Answer, Rule

_DOCS = "https://www.postgresql.org/docs/18/"


def _read() -> tuple[Rule, ...]:
    text = files(__name__).joinpath("rules.tsv").read_text("utf-8")
    return tuple(_rule(row) for row in csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def _rule(row: dict[str, str]) -> Rule:
    rewrites, scans = (Answer[row.pop(name).upper()] for name in ("rewrites", "scans"))
    since, source = int(row.pop("since") or 0), _DOCS + row.pop("source")
    return Rule(**row, source=source, rewrites=rewrites, scans=scans, since=since)


RULES = _read()

_BY_CASE: Mapping[tuple[str, str, str], Rule] = {(r.statement, r.command, r.when): r for r in RULES}


def find(statement: str, command: str = "", when: str = "") -> Rule | None:
    """The rule of a case, if there is one."""
    return _BY_CASE.get((statement, command, when))


__all__ = ["CONFLICTS", "MODES", "RULES", "Answer", "Rule", "find"]

"""The lock rules: which lock each kind of statement takes on a table, and whether it rewrites or scans it.

They are the rows of `rules.tsv`, each with its source in PostgreSQL's documentation, and each is tried on real servers
by `tests/database/test_effects.py`. A rule is about a relation that the statement names. What it can't see, such as
children and partitions, is listed in docs/check.md.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

_DOCUMENTATION = "https://www.postgresql.org/docs/18/"

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
ACCESS_SHARE, ROW_SHARE, ROW_EXCLUSIVE = MODES[:3]

# Each conflicts with the strongest, from this one on; SHARE doesn't conflict with itself.
_FIRST_IN_CONFLICT = (7, 6, 4, 3, 2, 2, 1, 0)
CONFLICTS: Mapping[str, frozenset[str]] = {
    mode: frozenset(MODES[first:]) - ({mode} if mode == "SHARE" else set())
    for mode, first in zip(MODES, _FIRST_IN_CONFLICT, strict=True)
}
"""The modes that conflict with each: https://www.postgresql.org/docs/18/explicit-locking.html, Table 13.2."""


class Answer(IntEnum):
    """Whether something happens. MAYBE: it depends on what the text doesn't show, such as a column's old type."""

    NO = 0
    MAYBE = 1
    YES = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Rule:
    """What one kind of statement does to one relation that it names: a row of the table.

    Attributes:
        statement: the kind of the statement's tree, such as `AlterTableStmt`.
        command: the sub-command or the kind of object, in the tree's words, such as `AT_AddColumn`; or empty.
        when: the case, in our words, such as `volatile default` or `the referenced table`; or empty.
        lock: the strongest mode it takes on the relation.
        why: a sentence for people.
        source: the section of PostgreSQL's documentation, or that it is measured because that is silent.
        rewrites: whether the relation's rows are written again, into another file.
        scans: whether all rows are read while the lock is held.
        index_lock: the mode it takes on the relation's indexes, where that is stronger than `lock`.
        since: the first major version of PostgreSQL that has this statement (or lock); 0 for all supported versions.
    """

    statement: str
    command: str
    when: str
    lock: str
    why: str
    source: str
    rewrites: Answer = Answer.NO
    scans: Answer = Answer.NO
    index_lock: str = ""
    since: int = 0

    @property
    def id(self) -> str:
        """Its name, unique in the table."""
        return ": ".join(part for part in (f"{self.statement} {self.command}".strip(), self.when) if part)

    @property
    def blocks_reads(self) -> bool:
        """Whether a SELECT has to wait. The planner locks every index of a table that it reads, so these count too."""
        return bool({self.lock, self.index_lock} & CONFLICTS[ACCESS_SHARE])

    @property
    def blocks_writes(self) -> bool:
        return bool({self.lock, self.index_lock} & CONFLICTS[ROW_EXCLUSIVE])

    @property
    def weight(self) -> tuple[int, Answer, Answer]:
        """The greatest is the rule to report first."""
        return MODES.index(self.lock), self.rewrites, self.scans


def _read_rules() -> tuple[Rule, ...]:
    lines = Path(__file__).with_name("rules.tsv").read_text("utf-8").splitlines()
    return tuple(
        Rule(
            statement=row["statement"],
            command=row["command"],
            when=row["when"],
            lock=row["lock"],
            why=row["why"],
            source=_DOCUMENTATION + row["source"],
            rewrites=Answer[row["rewrites"].upper()],
            scans=Answer[row["scans"].upper()],
            index_lock=row["index_lock"],
            since=int(row["since"] or 0),
        )
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    )


RULES = _read_rules()
_BY_CASE = {(rule.statement, rule.command, rule.when): rule for rule in RULES}


def find_rule(statement: str, command: str = "", when: str = "") -> Rule | None:
    return _BY_CASE.get((statement, command, when))

"""The effects of each statement of a file on a running application: the locks it takes, and on which tables.

The facts are the lock rules (`rules.tsv`). Here they are combined to one effect on each relation that existed
before the file. Nobody else can see what the same file created, so nobody waits for it. A statement with IF EXISTS or
IF NOT EXISTS is assumed to do its work; ALTER TABLE and CREATE INDEX take their lock even if there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import postgast

from aurora_migrations.compiler.locks import syntax_tree
from aurora_migrations.compiler.locks.created_objects import CreatedObjects
from aurora_migrations.compiler.locks.match import Touch, touches
from aurora_migrations.compiler.locks.rules import STEADY, VOLATILE, Answer, Rule
from aurora_migrations.compiler.locks.syntax_tree import Name
from aurora_migrations.compiler.parser import Statement

__all__ = ["Answer", "Effect", "effects"]


@dataclass(frozen=True)
class Effect:
    """What one statement does to one relation that exists before the file.

    Attributes:
        table: its name as written, with its schema where one is written, quoted as PostgreSQL quotes. An index, where
            the statement names an index alone (DROP INDEX) that the file hasn't created; its table is locked with it.
        lock: PostgreSQL's name of the strongest mode taken on it.
        rewrites: whether its rows are written again.
        scans: whether all its rows are read under the lock.
        reads_blocked, writes_blocked: whether SELECT, and INSERT, UPDATE and DELETE, wait while it is held.
        why: one sentence or several, joined with semicolons.
        source: the place in PostgreSQL's documentation.
        rules: the ids of the rules that apply.
    """

    table: str
    lock: str
    rewrites: Answer
    scans: Answer
    reads_blocked: bool
    writes_blocked: bool
    why: str
    source: str
    rules: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        return asdict(self) | {"rewrites": str(self.rewrites), "scans": str(self.scans)}


def effects(statements: Sequence[Statement]) -> list[tuple[Effect, ...]]:
    """The effects of each statement of one file; each relation once, with the strongest lock."""
    created, found = CreatedObjects(), list[tuple[Effect, ...]]()
    for before, statement in zip([None, *statements], statements, strict=False):
        again = before is not None and before.node is statement.node  # in a dump: the same INSERT, another row
        found.append(found[-1] if again else _effects(statement, created))
    return found


def _effects(statement: Statement, created: CreatedObjects) -> tuple[Effect, ...]:
    found: dict[Name, list[Touch]] = {}
    for node in created.flatten(statement.node):
        for touch in touches(node, created.types):
            table = created.table_of(touch.name) if touch.on_table else None
            name, rule = (table, touch.on_table) if table else (touch.name, touch.rule)
            if rule and not created.is_new(name):
                found.setdefault(created.resolve(name), []).append(Touch(name, rule, touch.runs))
        created.follow(node)
    return tuple(_merged(each) for each in found.values())


def _merged(found: Sequence[Touch]) -> Effect:
    """One effect of several: the strongest of each fact, and the reasons that account for them."""
    by_weight = sorted(found, key=lambda touch: _of(touch).weight, reverse=True)
    strongest = _of(by_weight[0])
    rewrites = max(_of(touch).rewrites if touch.runs else Answer.NO for touch in found)
    scans = max(_of(touch).scans if touch.runs else Answer.NO for touch in found)
    reasons = [strongest]
    for rule in map(_of, by_weight):  # those that account for the rewrite, or for a scan that no rewrite explains
        explains_scan = scans and rewrites is not Answer.YES and rule.scans is scans
        if (rewrites and rule.rewrites is rewrites) or explains_scan:
            reasons.append(rule)
    return Effect(
        table=str(found[0].name),
        lock=strongest.lock,
        rewrites=rewrites,
        scans=scans,
        reads_blocked=any(_of(touch).blocks_reads for touch in found),
        writes_blocked=any(_of(touch).blocks_writes for touch in found),
        why="; ".join(dict.fromkeys(rule.why for rule in reasons)),
        source=strongest.source,
        rules=tuple(dict.fromkeys(_of(touch).id for touch in found)),
    )


def _of(touch: Touch) -> Rule:
    assert touch.rule is not None
    return touch.rule


# ---- caveats: effects that the text doesn't show, so that no rule can list them --------------------------------------

_pb = postgast.pg_query_pb2
_CASCADE = _pb.DropBehavior.DROP_CASCADE
_DROPPED_AND_MORE = "CASCADE also drops, or changes, what depends on it; the statement doesn't name those"

_HARMLESS = ("pg_", "has_", "to_", "txid_")

_ALWAYS: Mapping[str, str] = {
    "AlterExtensionStmt": "the extension's own script isn't analysed",
    "AlterTableMoveAllStmt": "it locks and copies every table of the tablespace",
    "CallStmt": "the procedure's body isn't analysed",
    "CreateExtensionStmt": "the extension's own script isn't analysed",
    "DoStmt": "the body of a DO block isn't analysed",
    "DropOwnedStmt": "it drops everything the role owns; the statement doesn't name those",
    "ExecuteStmt": "what a prepared statement does isn't analysed here",
    "ReassignOwnedStmt": "it locks everything the role owns; the statement doesn't name those",
}


def caveat(node: Any) -> str:
    """Why a statement may do more than its effects show, as one sentence; empty if it doesn't."""
    kind = node.DESCRIPTOR.name
    find = _SOMETIMES.get(kind)
    return find(node) if find else _ALWAYS.get(kind, "")


def _domain(node: Any) -> str:
    if node.subtype in ("C", "V", "O"):  # ADD CONSTRAINT, VALIDATE CONSTRAINT, SET NOT NULL
        unchecked = node.subtype == "C" and getattr(node, "def").constraint.skip_validation
        return "" if unchecked else "every table with a column of the domain is read under a SHARE lock"
    return ""


def _alter_table(node: Any) -> str:
    if _pb.ObjectType.Name(node.objtype) == "OBJECT_TYPE":
        return "tables of this type are altered with it, if it says CASCADE"
    return _DROPPED_AND_MORE if any(each.alter_table_cmd.behavior == _CASCADE for each in node.cmds) else ""


def _drop(node: Any) -> str:
    if _pb.ObjectType.Name(node.remove_type) == "OBJECT_STATISTIC_EXT":
        return "the statistics' table, which the statement doesn't name, takes SHARE UPDATE EXCLUSIVE"
    return _DROPPED_AND_MORE if node.behavior == _CASCADE else ""


def _truncate(node: Any) -> str:
    return "CASCADE also empties every table that references it" if node.behavior == _CASCADE else ""


def _grant(node: Any) -> str:
    everything = node.targtype == _pb.GrantTargetType.ACL_TARGET_ALL_IN_SCHEMA
    return "it changes everything of the kind in the schema, and takes no lock on it" if everything else ""


def _reindex(node: Any) -> str:
    return "" if node.HasField("relation") else "it rebuilds every index of the schema or database, one table at a time"


def _vacuum(node: Any) -> str:
    return "" if node.rels else "it goes through every table of the database, one at a time"


def _cluster(node: Any) -> str:
    return "" if node.HasField("relation") else "it rewrites every table that was clustered before, one at a time"


def _select(node: Any) -> str:
    """A function of one's own, called for what it does."""
    for target in node.target_list if not node.from_clause else ():
        value = syntax_tree.inner(target.res_target.val)
        if value.DESCRIPTOR.name == "FuncCall":
            name = ".".join(syntax_tree.strings(value.funcname))
            if not name.startswith(_HARMLESS) and name not in STEADY | VOLATILE:
                return f"the body of {name}() isn't analysed"
    return ""


_SOMETIMES: Mapping[str, Callable[[Any], str]] = {
    "AlterDomainStmt": _domain,
    "AlterTableStmt": _alter_table,
    "ClusterStmt": _cluster,
    "DropStmt": _drop,
    "GrantStmt": _grant,
    "ReindexStmt": _reindex,
    "SelectStmt": _select,
    "TruncateStmt": _truncate,
    "VacuumStmt": _vacuum,
}

"""The effects of each statement of a file on a running application: the locks it takes, and on which tables.

The facts are the lock rules (`rules.tsv`). Here they are combined to one effect on each relation that existed
before the file. Nobody else can see what the same file created, so nobody waits for it. A statement with IF EXISTS or
IF NOT EXISTS is assumed to do its work; ALTER TABLE and CREATE INDEX take their lock even if there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import postgast

from aurora_migrations.compiler.locks import syntax_tree
from aurora_migrations.compiler.locks.changed_tables import ChangedRelations
from aurora_migrations.compiler.locks.created_objects import CreatedObjects
from aurora_migrations.compiler.locks.match import touches
from aurora_migrations.compiler.locks.rules import STEADY, VOLATILE, Answer, Rule
from aurora_migrations.compiler.locks.syntax_tree import Name
from aurora_migrations.compiler.parser import Statement
from aurora_migrations.engine.rows import distinct


@dataclass(frozen=True)
class Effect:
    """What one statement does to one relation that exists before the file."""

    # Its name as written, with its schema where one is written, quoted as PostgreSQL quotes. An index, where the
    # statement names an index alone (DROP INDEX) that the file hasn't created; its table is locked with it.
    table: str
    lock: str  # PostgreSQL's name of the strongest mode taken on it
    rewrites: Answer  # whether its rows are written again
    scans: Answer  # whether all its rows are read under the lock
    reads_blocked: bool  # whether SELECT waits while the lock is held
    writes_blocked: bool  # whether INSERT, UPDATE and DELETE do
    why: str  # one sentence or several, joined with semicolons
    source: str  # the place in PostgreSQL's documentation
    rules: tuple[str, ...]  # the ids of the rules that apply

    def to_dict(self) -> dict[str, object]:
        return asdict(self) | {"rewrites": str(self.rewrites), "scans": str(self.scans)}


@dataclass(slots=True)
class FileEffects:
    """What a file does to relations, found in one pass over its statements."""

    effects: tuple[tuple[Effect, ...], ...]  # of each statement; each relation once, with the strongest lock
    on_new: frozenset[int]  # the numbers of statements that change only what earlier ones have created
    changed: ChangedRelations  # those that it changes


def file_effects(statements: Sequence[Statement]) -> FileEffects:
    """What the statements of one file do to relations."""
    created, found, on_new = CreatedObjects(), list[tuple[Effect, ...]](), set[int]()
    changed = ChangedRelations(created)
    before: Any = None
    for number, statement in distinct(statements):
        found += found[-1:] * (number - len(found))
        if before is statement.node:  # in a dump: the same INSERT, another row
            found.append(found[-1])
            continue
        before = statement.node
        if created.has_all_of(before):
            on_new.add(number)
        rules: dict[Name, list[tuple[Rule, bool]]] = {}  # of each relation, and whether what it is about runs
        names: dict[Name, Name] = {}  # as first written
        for node in created.flatten(before):
            touched = [(touch, created.resolve(touch.name)) for touch in touches(node, created.types)]
            for touch, resolved in touched:
                name, rule = touch.name, touch.rule
                if touch.on_table and (table := created.table_of(name)):
                    name, rule, resolved = table, touch.on_table, created.resolve(table)
                if rule and not created.has(resolved):
                    names.setdefault(resolved, name)
                    rules.setdefault(resolved, []).append((rule, touch.runs))
            changed.see(node, touched)
            created.follow(node)
        found.append(tuple(_merged(names[resolved], each) for resolved, each in rules.items()) if rules else ())
    found += found[-1:] * (len(statements) - len(found))
    return FileEffects(tuple(found), frozenset(on_new), changed)


def _merged(table: Name, found: Sequence[tuple[Rule, bool]]) -> Effect:
    """One effect of several: the strongest of each fact, and the reasons that account for them."""
    rules = [rule for rule, _ in found]
    by_weight = sorted(rules, key=lambda rule: rule.weight, reverse=True)
    strongest = by_weight[0]
    rewrites = max(rule.rewrites if runs else Answer.NO for rule, runs in found)
    scans = max(rule.scans if runs else Answer.NO for rule, runs in found)
    reasons = [strongest]
    for rule in by_weight:  # those that account for the rewrite, or for a scan that no rewrite explains
        explains_scan = scans and rewrites is not Answer.YES and rule.scans is scans
        if (rewrites and rule.rewrites is rewrites) or explains_scan:
            reasons.append(rule)
    return Effect(
        table=str(table),
        lock=strongest.lock,
        rewrites=rewrites,
        scans=scans,
        reads_blocked=any(rule.blocks_reads for rule in rules),
        writes_blocked=any(rule.blocks_writes for rule in rules),
        why="; ".join(dict.fromkeys(rule.why for rule in reasons)),
        source=strongest.source,
        rules=tuple(dict.fromkeys(rule.id for rule in rules)),
    )


# ---- caveats: effects that the text doesn't show, so that no rule can list them --------------------------------------

_pb = postgast.pg_query_pb2
_CASCADE = _pb.DropBehavior.DROP_CASCADE
_ALTERS_TYPE, _DROPS_STATISTICS = _pb.ObjectType.OBJECT_TYPE, _pb.ObjectType.OBJECT_STATISTIC_EXT
_HARMLESS = ("pg_", "has_", "to_", "txid_")  # functions that begin so

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
    kind, found = node.DESCRIPTOR.name, ""
    if kind == "AlterDomainStmt":
        unchecked = node.subtype == "C" and getattr(node, "def").constraint.skip_validation
        if node.subtype in ("C", "V", "O") and not unchecked:  # ADD CONSTRAINT, VALIDATE CONSTRAINT, SET NOT NULL
            found = "every table with a column of the domain is read under a SHARE lock"
    elif kind == "AlterTableStmt" and node.objtype == _ALTERS_TYPE:
        found = "tables of this type are altered with it, with CASCADE"
    elif kind == "DropStmt" and node.remove_type == _DROPS_STATISTICS:
        found = "the statistics' table, which the statement doesn't name, takes SHARE UPDATE EXCLUSIVE"
    elif kind in ("AlterTableStmt", "DropStmt"):
        dropping = [each.alter_table_cmd for each in node.cmds] if kind == "AlterTableStmt" else [node]
        if any(each.behavior == _CASCADE for each in dropping):
            found = "CASCADE also drops, or changes, what depends on it; the statement doesn't name those"
    elif kind == "TruncateStmt" and node.behavior == _CASCADE:
        found = "CASCADE also empties every table that references it"
    elif kind == "GrantStmt" and node.targtype == _pb.GrantTargetType.ACL_TARGET_ALL_IN_SCHEMA:
        found = "it changes everything of the kind in the schema, and takes no lock on it"
    elif kind == "ReindexStmt" and not node.HasField("relation"):
        found = "it rebuilds every index of the schema or database, one table at a time"
    elif kind == "VacuumStmt" and not node.rels:
        found = "it goes through every table of the database, one at a time"
    elif kind == "ClusterStmt" and not node.HasField("relation"):
        found = "it rewrites every table that was clustered before, one at a time"
    elif kind == "SelectStmt" and not node.from_clause:  # a function of one's own, called for what it does
        values = (syntax_tree.inner(target.res_target.val) for target in node.target_list)
        called = (syntax_tree.strings(value.funcname) for value in values if value.DESCRIPTOR.name == "FuncCall")
        own = (name for name in map(".".join, called) if name not in STEADY | VOLATILE)
        name = next((name for name in own if not name.startswith(_HARMLESS)), "")
        found = f"the body of {name}() isn't analysed" if name else ""
    return found or _ALWAYS.get(kind, "")

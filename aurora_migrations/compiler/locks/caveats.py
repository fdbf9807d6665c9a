"""Caveats: effects of a statement that its text doesn't show, so that no rule can list them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import postgast

from aurora_migrations.compiler.locks import syntax_tree
from aurora_migrations.compiler.locks.builtins import STEADY, VOLATILE

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

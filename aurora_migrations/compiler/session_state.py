"""Session state that a statement creates: it is gone with the session.

A file of several units can rely on it as long as one session runs all of them. An attempt that resumes after units
already applied begins without it.
"""

from __future__ import annotations

from typing import Any

from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler.locks.syntax_tree import of_range
from aurora_migrations.compiler.parser import Statement

_WITH_HOLD = 0x0020  # CURSOR_OPT_HOLD, src/include/nodes/parsenodes.h


def session_state(statement: Statement) -> str | None:
    """What the statement creates in its session, such as `a temporary table`; None if nothing.

    Settings don't count: they are set again, see `aurora_migrations.engine.script.Job.settings_done`.
    """
    node, kind = statement.node, statement.kind
    if kind == "CreateStmt":
        return _temporary_table(node.relation, node.oncommit)
    if kind == "CreateTableAsStmt":
        return _temporary_table(node.into.rel, node.into.on_commit)
    if kind == "SelectStmt" and node.HasField("into_clause"):
        return _temporary_table(node.into_clause.rel, node.into_clause.on_commit)
    if kind in ("ViewStmt", "CreateSeqStmt"):
        return _temporary_table(node.view if kind == "ViewStmt" else node.sequence)
    if kind == "DeclareCursorStmt":
        return "a cursor" if node.options & _WITH_HOLD else None
    return {"PrepareStmt": "a prepared statement", "ListenStmt": "a LISTEN", "LoadStmt": "a loaded library"}.get(kind)


def _temporary_table(relation: Any, on_commit: int = pb.ONCOMMIT_NOOP) -> str | None:
    is_kept = of_range(relation).schema == "pg_temp" and on_commit != pb.ONCOMMIT_DROP
    return "a temporary table" if is_kept else None

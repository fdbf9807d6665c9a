"""What a statement leaves in the session that ran it, and nowhere else: it is gone with that session.

A file of several parts can rely on it as long as one session runs all of them. An attempt that goes on behind parts
that are in begins without it.
"""

from __future__ import annotations

from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler.parser import Statement

_TEMPORARY = "t"


def kept_by(statement: Statement) -> str | None:
    """What the statement leaves in its session, such as `a temporary table`; None if nothing.

    Settings don't count: they are made again, see `aurora_migrations.engine.job.Job.settings_done`.
    """
    node, kind = statement.node, statement.kind
    if kind in ("CreateStmt", "ViewStmt", "CreateSeqStmt"):
        relation = node.view if kind == "ViewStmt" else node.sequence if kind == "CreateSeqStmt" else node.relation
        return _temporary(relation, node.oncommit if kind == "CreateStmt" else 0)
    if kind == "CreateTableAsStmt":
        return _temporary(node.into.rel, node.into.on_commit)
    if kind == "SelectStmt" and node.HasField("into_clause"):
        return _temporary(node.into_clause.rel, node.into_clause.on_commit)
    if kind == "DeclareCursorStmt":
        return "a cursor" if node.options & _WITH_HOLD else None
    return {"PrepareStmt": "a prepared statement", "ListenStmt": "a LISTEN", "LoadStmt": "a loaded library"}.get(kind)


_WITH_HOLD = 0x0020  # CURSOR_OPT_HOLD, src/include/nodes/parsenodes.h


def _temporary(relation: object, on_commit: int) -> str | None:
    if on_commit == pb.ONCOMMIT_DROP:
        return None
    temporary = getattr(relation, "relpersistence", "") == _TEMPORARY
    schema = str(getattr(relation, "schemaname", ""))
    return "a temporary table" if temporary or schema == "pg_temp" else None

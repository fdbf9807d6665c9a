"""Statements that PostgreSQL refuses to run in a transaction: which they are, and what shows whether one was done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import postgast
from google.protobuf.message import Message
from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler.locks.syntax_tree import of_parts, of_range, option_is_on, strings
from aurora_migrations.compiler.parser import Statement
from aurora_migrations.engine.script import PROBE, NontransactionalStatement

_REINDEXED = {
    pb.REINDEX_OBJECT_INDEX: "INDEX",
    pb.REINDEX_OBJECT_TABLE: "TABLE",
    pb.REINDEX_OBJECT_SCHEMA: "SCHEMA",
    pb.REINDEX_OBJECT_SYSTEM: "DATABASE",
    pb.REINDEX_OBJECT_DATABASE: "DATABASE",
}


def read_nontransactional(statement: Statement) -> NontransactionalStatement | None:
    """The statement's facts, if PostgreSQL refuses to run it inside a transaction block."""
    name = _name(statement)
    if name is None:
        return None
    node, kind = statement.node, statement.kind
    if kind == "IndexStmt":
        table = str(of_range(node.relation))
        return NontransactionalStatement(name, "create index", node.idxname, table, _probe(node), node.if_not_exists)
    if kind == "DropStmt":
        return NontransactionalStatement(name, "drop index", str(of_parts(strings(node.objects[0].list.items))))
    if kind == "ReindexStmt" and option_is_on(node.params, "concurrently"):
        scope = _REINDEXED[node.kind]
        what = str(of_range(node.relation)) if scope in ("INDEX", "TABLE") else node.name
        return NontransactionalStatement(name, "reindex", what, scope)
    if kind == "AlterTableStmt":
        (command,) = (getattr(each.alter_table_cmd, "def").partition_cmd for each in node.cmds)
        return NontransactionalStatement(
            name, "detach partition", str(of_range(command.name)), str(of_range(node.relation))
        )
    if kind in _MADE:
        settlement, field = _MADE[kind]
        return NontransactionalStatement(name, settlement, getattr(node, field))
    return NontransactionalStatement(name)


def _probe(node: Any) -> str:
    """The statement that makes the same index, with our names, on a temporary table that is like its table."""
    result = postgast.parse("CREATE INDEX i ON t (a)")
    index = result.stmts[0].stmt.index_stmt
    index.CopyFrom(node)
    index.concurrent = index.if_not_exists = False
    index.idxname, index.table_space = f"{PROBE}_index", ""
    index.relation.schemaname, index.relation.relname, index.relation.catalogname = "pg_temp", PROBE, ""
    for column in _columns(index):
        if len(column.fields) > 1:  # `book.title`, `public.book.title`
            last = pb.Node()
            last.CopyFrom(column.fields[-1])
            del column.fields[:]
            column.fields.extend((pb.Node(string=pb.String(sval=PROBE)), last))
    return str(postgast.deparse(result))


def _columns(message: Any) -> Iterator[Any]:
    """Every reference to a column below a message."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in (value,) if isinstance(value, Message) else value:
                if isinstance(each, pb.ColumnRef):
                    yield each
                else:
                    yield from _columns(each)


_MADE: dict[str, tuple[Any, str]] = {
    "CreatedbStmt": ("create", "dbname"),
    "CreateTableSpaceStmt": ("create", "tablespacename"),
    "CreateSubscriptionStmt": ("create", "subname"),
    "DropdbStmt": ("drop", "dbname"),
    "DropTableSpaceStmt": ("drop", "tablespacename"),
    "DropSubscriptionStmt": ("drop", "subname"),
}
_ALWAYS = {
    "CreatedbStmt": "CREATE DATABASE",
    "DropdbStmt": "DROP DATABASE",
    "CreateTableSpaceStmt": "CREATE TABLESPACE",
    "DropTableSpaceStmt": "DROP TABLESPACE",
    "AlterSystemStmt": "ALTER SYSTEM",
    "DropSubscriptionStmt": "DROP SUBSCRIPTION",
}
_REINDEX_MANY = (pb.REINDEX_OBJECT_SCHEMA, pb.REINDEX_OBJECT_SYSTEM, pb.REINDEX_OBJECT_DATABASE)
_SOMETIMES = frozenset(
    (
        *("AlterDatabaseStmt", "AlterSubscriptionStmt", "AlterTableStmt", "ClusterStmt", "CreateSubscriptionStmt"),
        *("DropStmt", "IndexStmt", "ReindexStmt", "VacuumStmt"),
    )
)
_SET_PUBLICATIONS = (
    pb.ALTER_SUBSCRIPTION_SET_PUBLICATION,
    pb.ALTER_SUBSCRIPTION_ADD_PUBLICATION,
    pb.ALTER_SUBSCRIPTION_DROP_PUBLICATION,
)


def _name(statement: Statement) -> str | None:
    """The statement's name, if it is one of them.

    These are the statements that the server's source guards by PreventInTransactionBlock(); PostgreSQL's documentation
    says of each: "cannot be executed inside a transaction block".
    """
    node, kind = statement.node, statement.kind
    name = _ALWAYS.get(kind)
    if kind not in _SOMETIMES:
        return name
    if kind in ("IndexStmt", "DropStmt") and node.concurrent:
        name = f"{'CREATE' if kind == 'IndexStmt' else 'DROP'} INDEX CONCURRENTLY"
    elif kind == "ReindexStmt" and option_is_on(node.params, "concurrently"):
        name = "REINDEX CONCURRENTLY"
    elif kind == "ReindexStmt" and node.kind in _REINDEX_MANY:
        name = "REINDEX of a whole schema or database"
    elif kind == "VacuumStmt" and node.is_vacuumcmd:
        name = "VACUUM"
    elif kind == "ClusterStmt" and not node.HasField("relation"):
        name = "CLUSTER of all tables"
    elif kind == "AlterTableStmt":
        detached = (each.alter_table_cmd for each in node.cmds if each.alter_table_cmd.subtype == pb.AT_DetachPartition)
        if any(getattr(command, "def").partition_cmd.concurrent for command in detached):
            name = "DETACH PARTITION CONCURRENTLY"
    elif kind == "CreateSubscriptionStmt":
        connects = option_is_on(node.options, "connect", default=True)
        name = "CREATE SUBSCRIPTION with a slot" if option_is_on(node.options, "create_slot", connects) else None
    elif kind in ("AlterSubscriptionStmt", "AlterDatabaseStmt"):
        named = {option.def_elem.defname for option in node.options}
        if kind == "AlterDatabaseStmt":
            name = "ALTER DATABASE ... SET TABLESPACE" if "tablespace" in named else None
        elif node.kind == pb.ALTER_SUBSCRIPTION_REFRESH:
            name = "ALTER SUBSCRIPTION ... REFRESH"
        elif node.kind in _SET_PUBLICATIONS and option_is_on(node.options, "refresh", default=True):
            name = "ALTER SUBSCRIPTION with refresh"
        elif node.kind == pb.ALTER_SUBSCRIPTION_OPTIONS and named & {"failover", "two_phase"}:
            name = "ALTER SUBSCRIPTION ... SET (failover or two_phase)"
    return name

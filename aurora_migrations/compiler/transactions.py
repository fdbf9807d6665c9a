"""Statements that have to do with transactions: those that control them, and those that PostgreSQL runs in none.

The second kind is what the server's source guards by PreventInTransactionBlock(); PostgreSQL's documentation says it of
each command: "cannot be executed inside a transaction block".
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler.parser import Statement


class Control(Enum):
    """What a statement does to the transaction it stands in."""

    BEGIN = "BEGIN"
    COMMIT = "COMMIT"
    ROLLBACK = "ROLLBACK"
    OTHER = "other"


_CONTROLS = {
    pb.TRANS_STMT_BEGIN: Control.BEGIN,
    pb.TRANS_STMT_START: Control.BEGIN,
    pb.TRANS_STMT_COMMIT: Control.COMMIT,
    pb.TRANS_STMT_ROLLBACK: Control.ROLLBACK,
    pb.TRANS_STMT_PREPARE: Control.OTHER,
    pb.TRANS_STMT_COMMIT_PREPARED: Control.OTHER,
    pb.TRANS_STMT_ROLLBACK_PREPARED: Control.OTHER,
}


def control_of(statement: Statement) -> Control | None:
    """What the statement does to its transaction; None for savepoints and everything else."""
    if statement.kind != "TransactionStmt":
        return None
    if statement.node.chain:
        return Control.OTHER
    return _CONTROLS.get(statement.node.kind)


def is_read_only(statement: Statement) -> bool:
    """Whether the statement makes its transaction, or those after it, read-only: BEGIN READ ONLY, SET TRANSACTION READ
    ONLY, SET default_transaction_read_only = on, and so forth."""
    node = statement.node
    if statement.kind == "TransactionStmt":
        return _is_on(node.options, "transaction_read_only")
    if statement.kind != "VariableSetStmt":
        return False
    if node.name in ("TRANSACTION", "SESSION CHARACTERISTICS"):
        return _is_on(node.args, "transaction_read_only")
    return node.name.lower() in _READ_ONLY_SETTINGS and any(is_true(each.a_const) for each in node.args)


_READ_ONLY_SETTINGS = ("transaction_read_only", "default_transaction_read_only")


def is_true(constant: Any) -> bool:
    """Whether a setting's value is on, in any of the ways PostgreSQL takes it: also a number, or the first letters."""
    if constant.HasField("ival"):
        return bool(constant.ival.ival)
    word = constant.sval.sval.lower().strip()
    return bool(word) and (word in ("on", "1") or "true".startswith(word) or "yes".startswith(word))


def needs_no_transaction(statement: Statement) -> str | None:
    """The statement's name, if PostgreSQL refuses to run it inside a transaction block."""
    rule = _RULES.get(statement.kind)
    return rule(statement.node) if rule else None


def _always(name: str) -> Callable[[Any], str | None]:
    return lambda node: name


def _index(node: Any) -> str | None:
    return "CREATE INDEX CONCURRENTLY" if node.concurrent else None


def _drop(node: Any) -> str | None:
    return "DROP INDEX CONCURRENTLY" if node.concurrent else None


def _reindex(node: Any) -> str | None:
    if _is_on(node.params, "concurrently"):
        return "REINDEX CONCURRENTLY"
    whole = (pb.REINDEX_OBJECT_SCHEMA, pb.REINDEX_OBJECT_SYSTEM, pb.REINDEX_OBJECT_DATABASE)
    return "REINDEX of a whole schema or database" if node.kind in whole else None


def _vacuum(node: Any) -> str | None:
    return "VACUUM" if node.is_vacuumcmd else None


def _cluster(node: Any) -> str | None:
    return None if node.HasField("relation") else "CLUSTER of all tables"


def _alter_table(node: Any) -> str | None:
    for command in node.cmds:
        detach = command.alter_table_cmd
        if detach.subtype == pb.AT_DetachPartition and getattr(detach, "def").partition_cmd.concurrent:
            return "DETACH PARTITION CONCURRENTLY"
    return None


def _subscription(node: Any) -> str | None:
    made = _is_on(node.options, "create_slot", default=_is_on(node.options, "connect", default=True))
    return "CREATE SUBSCRIPTION with a slot" if made else None


def _alter_subscription(node: Any) -> str | None:
    publications = (
        pb.ALTER_SUBSCRIPTION_SET_PUBLICATION,
        pb.ALTER_SUBSCRIPTION_ADD_PUBLICATION,
        pb.ALTER_SUBSCRIPTION_DROP_PUBLICATION,
    )
    if node.kind == pb.ALTER_SUBSCRIPTION_REFRESH:
        return "ALTER SUBSCRIPTION ... REFRESH"
    if node.kind in publications and _is_on(node.options, "refresh", default=True):
        return "ALTER SUBSCRIPTION with refresh"
    named = {option.def_elem.defname for option in node.options}
    if node.kind == pb.ALTER_SUBSCRIPTION_OPTIONS and named & {"failover", "two_phase"}:
        return "ALTER SUBSCRIPTION ... SET (failover or two_phase)"
    return None


def _alter_database(node: Any) -> str | None:
    named = {option.def_elem.defname for option in node.options}
    return "ALTER DATABASE ... SET TABLESPACE" if "tablespace" in named else None


def _is_on(options: Any, name: str, default: bool = False) -> bool:
    """Whether a boolean option is on; without a value it is."""
    for option in options:
        if option.def_elem.defname == name:
            if not option.def_elem.HasField("arg"):
                return True
            value = option.def_elem.arg
            if value.WhichOneof("node") == "a_const":
                return bool(value.a_const.ival.ival)
            if value.WhichOneof("node") == "boolean":
                return bool(value.boolean.boolval)
            if value.WhichOneof("node") == "integer":
                return bool(value.integer.ival)
            return str(value.string.sval).lower() in ("on", "true", "yes", "1")
    return default


_RULES: dict[str, Callable[[Any], str | None]] = {
    "IndexStmt": _index,
    "DropStmt": _drop,
    "ReindexStmt": _reindex,
    "VacuumStmt": _vacuum,
    "ClusterStmt": _cluster,
    "AlterTableStmt": _alter_table,
    "CreateSubscriptionStmt": _subscription,
    "AlterSubscriptionStmt": _alter_subscription,
    "AlterDatabaseStmt": _alter_database,
    "CreatedbStmt": _always("CREATE DATABASE"),
    "DropdbStmt": _always("DROP DATABASE"),
    "CreateTableSpaceStmt": _always("CREATE TABLESPACE"),
    "DropTableSpaceStmt": _always("DROP TABLESPACE"),
    "AlterSystemStmt": _always("ALTER SYSTEM"),
    "DropSubscriptionStmt": _always("DROP SUBSCRIPTION"),
}

"""Remedies: what to write instead of a risky statement, as SQL with the file's own names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import postgast
from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler.locks.syntax_tree import Name, of_parts, of_range, quoted, strings
from aurora_migrations.compiler.parser import Statement

_LATER = "-- in a later migration:"


def table_of(statement: Statement) -> str:
    """The table that a statement is about, as written; `the table` where it names none."""
    node = statement.node
    if "relation" in node.DESCRIPTOR.fields_by_name and node.HasField("relation"):
        return str(of_range(node.relation))
    return "the table"


def remedy(rule: str, statement: Statement) -> str:
    """The SQL that does the same without the hazard; empty where no SQL of the same kind does."""
    make = _REMEDIES.get(rule)
    return make(statement.node) if make else ""


def _deparse(kind: str, node: Any) -> str:
    result = pb.ParseResult()
    getattr(result.stmts.add().stmt, kind).CopyFrom(node)
    return f"{postgast.deparse(result)};"


def _lines(*statements: str) -> str:
    return "\n".join(statements)


def _index(node: Any) -> str:
    if node.DESCRIPTOR.name != "IndexStmt":
        return ""
    better = pb.IndexStmt()
    better.CopyFrom(node)
    better.concurrent = True
    if not node.idxname:  # PostgreSQL would make up another name at each try
        columns = [param.index_elem.name or "expr" for param in node.index_params]
        better.idxname = "_".join([node.relation.relname, *columns, "idx"])
    if node.access_method == "btree":  # the default, which hardly anybody writes
        better.access_method = ""
    return _deparse("index_stmt", better)


def _drop_index(node: Any) -> str:
    if node.DESCRIPTOR.name != "DropStmt":
        return ""
    names = [of_parts(strings(each.list.items)) for each in node.objects]
    exists = "IF EXISTS " if node.missing_ok else ""
    return _lines(*(f"DROP INDEX CONCURRENTLY {exists}{name};" for name in names))


def _reindex(node: Any) -> str:
    if node.DESCRIPTOR.name != "ReindexStmt" or not node.HasField("relation"):
        return ""
    what = "INDEX" if node.kind == pb.REINDEX_OBJECT_INDEX else "TABLE"
    return f"REINDEX {what} CONCURRENTLY {of_range(node.relation)};"


def _commands(node: Any, *subtypes: int) -> list[Any]:
    """The parts of an ALTER TABLE that are of these kinds."""
    if node.DESCRIPTOR.name != "AlterTableStmt":
        return []
    return [each.alter_table_cmd for each in node.cmds if each.alter_table_cmd.subtype in subtypes]


def _detach(node: Any) -> str:
    partitions = [getattr(each, "def").partition_cmd.name for each in _commands(node, pb.AT_DetachPartition)]
    table = of_range(node.relation)
    return _lines(*(f"ALTER TABLE {table} DETACH PARTITION {of_range(name)} CONCURRENTLY;" for name in partitions))


def _constraints(node: Any, *kinds: int) -> list[Any]:
    found = [getattr(each, "def").constraint for each in _commands(node, pb.AT_AddConstraint)]
    return [constraint for constraint in found if constraint.contype in kinds]


_SUFFIXES = {pb.CONSTR_FOREIGN: "fkey", pb.CONSTR_CHECK: "check", pb.CONSTR_UNIQUE: "key", pb.CONSTR_PRIMARY: "pkey"}


def _name(table: Any, constraint: Any) -> str:
    """The constraint's name, or one such as PostgreSQL would make up."""
    columns = strings(constraint.fk_attrs or constraint.keys)
    if constraint.contype == pb.CONSTR_PRIMARY:
        columns = []
    return str(constraint.conname or "_".join([table.relname, *columns, _SUFFIXES[constraint.contype]]))


def _not_valid(node: Any) -> str:
    found = _constraints(node, pb.CONSTR_FOREIGN, pb.CONSTR_CHECK)
    if not found:
        return ""
    better, later = pb.AlterTableStmt(), []
    better.CopyFrom(node)
    del better.cmds[:]
    for constraint in found:
        command = better.cmds.add().alter_table_cmd
        command.subtype = pb.AT_AddConstraint
        added = getattr(command, "def").constraint
        added.CopyFrom(constraint)
        added.conname, added.skip_validation, added.initially_valid = _name(node.relation, constraint), True, False
        later.append(f"ALTER TABLE {of_range(node.relation)} VALIDATE CONSTRAINT {quoted(added.conname)};")
    return _lines(_deparse("alter_table_stmt", better), _LATER, *later)


def _set_not_null(node: Any) -> str:
    table, columns = of_range(node.relation), [each.name for each in _commands(node, pb.AT_SetNotNull)]
    return _lines(*(_not_null(table, column) for column in columns))


def _not_null(table: Name, column: str) -> str:
    name, column = quoted(f"{table.name}_{column}_not_null"), quoted(column)
    return _lines(
        f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({column} IS NOT NULL) NOT VALID;",
        _LATER,
        f"ALTER TABLE {table} VALIDATE CONSTRAINT {name};",
        f"ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL;",
        f"ALTER TABLE {table} DROP CONSTRAINT {name};",
    )


def _unique(node: Any) -> str:
    table, lines = of_range(node.relation), list[str]()
    for constraint in _constraints(node, pb.CONSTR_UNIQUE, pb.CONSTR_PRIMARY):
        name, kind = quoted(_name(node.relation, constraint)), _KINDS[constraint.contype]
        columns = ", ".join(map(quoted, strings(constraint.keys)))
        if columns:
            lines.append(f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON {table} ({columns});")
            lines.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {kind} USING INDEX {name};")
    return _lines(*lines)


_KINDS = {pb.CONSTR_UNIQUE: "UNIQUE", pb.CONSTR_PRIMARY: "PRIMARY KEY"}


def _nullable_column(node: Any) -> str:
    """ADD COLUMN without its constraints; what they ask for in a later migration."""
    table, lines = of_range(node.relation), list[str]()
    for command in _commands(node, pb.AT_AddColumn):
        column = getattr(command, "def").column_def
        kinds = {each.constraint.contype: each.constraint for each in column.constraints}
        better = pb.AlterTableStmt()
        better.CopyFrom(node)
        del better.cmds[:]
        better.cmds.add().alter_table_cmd.CopyFrom(command)
        plain = getattr(better.cmds[0].alter_table_cmd, "def").column_def
        del plain.constraints[:]
        lines.append(_deparse("alter_table_stmt", better))
        if pb.CONSTR_DEFAULT in kinds:
            value = pb.ParseResult()
            select = value.stmts.add().stmt.select_stmt
            select.target_list.add().res_target.val.CopyFrom(kinds[pb.CONSTR_DEFAULT].raw_expr)
            select.limit_option, select.op = pb.LIMIT_OPTION_DEFAULT, pb.SETOP_NONE
            default = str(postgast.deparse(value)).removeprefix("SELECT ")
            lines.append(f"ALTER TABLE {table} ALTER COLUMN {quoted(column.colname)} SET DEFAULT {default};")
        lines.append("-- then fill the existing rows, in batches")
        if pb.CONSTR_NOTNULL in kinds:
            lines.append(_not_null(table, column.colname))
    return _lines(*lines)


def _view_of_the_old_name(node: Any) -> str:
    if node.DESCRIPTOR.name != "RenameStmt" or node.rename_type != pb.OBJECT_TABLE:
        return ""
    old = of_range(node.relation)
    new = Name(old.schema, node.newname)
    return _lines(
        f"ALTER TABLE {old} RENAME TO {quoted(node.newname)};",
        f"CREATE VIEW {old} AS SELECT * FROM {new};",
        "-- after the release that uses the new name:",
        f"DROP VIEW {old};",
    )


_REMEDIES: dict[str, Callable[[Any], str]] = {
    "require-concurrent-index-creation": _index,
    "require-concurrent-index-deletion": _drop_index,
    "require-concurrent-reindex": _reindex,
    "require-concurrent-partition-detach": _detach,
    "constraint-missing-not-valid": _not_valid,
    "adding-foreign-key-constraint": _not_valid,
    "adding-not-nullable-field": _set_not_null,
    "adding-serial-primary-key-field": _unique,
    "disallowed-unique-constraint": _unique,
    "adding-field-with-default": _nullable_column,
    "adding-required-field": _nullable_column,
    "renaming-table": _view_of_the_old_name,
}


def rules_with_sql() -> Sequence[str]:
    """The rules for which there may be SQL."""
    return tuple(_REMEDIES)

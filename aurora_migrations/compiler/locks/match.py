"""Finds the rules that apply to a statement: which relation, which row of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import postgast

from aurora_migrations.compiler.locks import add_column, syntax_tree
from aurora_migrations.compiler.locks.rules import MODES, Rule, find_rule
from aurora_migrations.compiler.locks.syntax_tree import Name

_pb = postgast.pg_query_pb2
_COMMAND = _pb.AlterTableType.Name
_OBJECT = _pb.ObjectType.Name
_CONSTRAINT = _pb.ConstrType
_REPLACED = "the table referenced by a foreign key that is replaced"

Types = Mapping[str, bool]
"""Types that the file created: whether each is a domain that has constraints."""


@dataclass(frozen=True)
class Touch:
    """One relation that a statement touches.

    Attributes:
        name: the relation.
        rule: None if no rule is known.
        runs: False if the query around it is only analysed, so it reads nothing.
        on_table: if `name` is an index: the rule for its table, if the file shows which that is.
    """

    name: Name
    rule: Rule | None
    runs: bool = True
    on_table: Rule | None = None


def touches(node: Any, types: Types) -> Iterator[Touch]:
    """The relations that a statement names, each with the rule that applies."""
    kind = node.DESCRIPTOR.name
    if kind == "AlterTableStmt":
        return _alter_table(node, types)
    if kind in ("DeclareCursorStmt", "ExplainStmt", "PrepareStmt"):
        return _analysed(node, types)
    return _MATCHERS[kind](node) if kind in _MATCHERS else iter(())


# ALTER TABLE and its kind


def _alter_table(node: Any, types: Types) -> Iterator[Touch]:
    kind = _OBJECT(node.objtype)
    if kind == "OBJECT_TYPE":
        return
    name = syntax_tree.of_range(node.relation)
    for wrapped in node.cmds:
        command = wrapped.alter_table_cmd
        if kind == "OBJECT_VIEW":
            yield Touch(name, find_rule("AlterTableStmt", "", "a view"))
        elif kind == "OBJECT_INDEX":
            yield from _alter_index(name, command)
        else:
            subtype = _COMMAND(command.subtype)
            for when, other in _cases(subtype, command, types):
                yield Touch(other or name, find_rule("AlterTableStmt", subtype, when))
    yield from _replaced(node.cmds)


def _replaced(commands: Iterable[Any]) -> Iterator[Touch]:
    """DROP CONSTRAINT k, ADD CONSTRAINT k FOREIGN KEY: the old one most likely referenced the same table."""
    dropped: set[str] = set()
    for wrapped in commands:
        command = wrapped.alter_table_cmd
        if command.subtype == _pb.AT_DropConstraint:
            dropped.add(command.name)
        elif dropped and command.subtype == _pb.AT_AddConstraint:
            constraint = getattr(command, "def").constraint
            if constraint.contype == _CONSTRAINT.CONSTR_FOREIGN and constraint.conname in dropped:
                rule = find_rule("AlterTableStmt", "AT_DropConstraint", _REPLACED)
                yield Touch(syntax_tree.of_range(constraint.pktable), rule)


_Cases = Iterable[tuple[str, Name | None]]
"""The cases that apply, and the relation of each if it isn't the altered one."""


def _cases(subtype: str, command: Any, types: Types) -> _Cases:
    if subtype == "AT_AddColumn":
        return _add_column(command, types)
    return _ALTER[subtype](command) if subtype in _ALTER else [("", None)]


def _add_column(command: Any, types: Types) -> _Cases:
    definition = getattr(command, "def").column_def
    for when in add_column.cases(definition, types):
        yield when, None
    for each in add_column.foreign_keys(definition):
        yield "the referenced table", syntax_tree.of_range(each.pktable)


def _add_constraint(command: Any) -> _Cases:
    constraint = getattr(command, "def").constraint
    case = _CONSTRAINT_CASES.get(constraint.contype)
    if not case:
        return
    when = case
    if constraint.indexname:
        when += " USING INDEX"
    elif constraint.contype in _CAN_BE_NOT_ENFORCED and not constraint.is_enforced:
        when += " NOT ENFORCED"
    elif constraint.contype in (*_CAN_BE_NOT_ENFORCED, _CONSTRAINT.CONSTR_NOTNULL) and constraint.skip_validation:
        when += " NOT VALID"
    yield when, None
    if case == "FOREIGN KEY":
        yield f"{when}: the referenced table", syntax_tree.of_range(constraint.pktable)


_CONSTRAINT_CASES = {
    _CONSTRAINT.CONSTR_CHECK: "CHECK",
    _CONSTRAINT.CONSTR_NOTNULL: "NOT NULL",
    _CONSTRAINT.CONSTR_UNIQUE: "UNIQUE",
    _CONSTRAINT.CONSTR_PRIMARY: "PRIMARY KEY",
    _CONSTRAINT.CONSTR_EXCLUSION: "EXCLUDE",
    _CONSTRAINT.CONSTR_FOREIGN: "FOREIGN KEY",
}
_CAN_BE_NOT_ENFORCED = (_CONSTRAINT.CONSTR_CHECK, _CONSTRAINT.CONSTR_FOREIGN)
_SOFT = frozenset({"fillfactor", "parallel_workers", "toast_tuple_target", "vacuum_truncate", "vacuum_index_cleanup"})
_SOFT_STARTS = ("autovacuum_", "log_autovacuum_", "vacuum_")


def _parameters(command: Any) -> _Cases:
    """The strongest lock that any of the parameters needs."""
    names = [each.def_elem.defname.lower() for each in getattr(command, "def").list.items]
    soft = all(name in _SOFT or name.startswith(_SOFT_STARTS) for name in names)
    yield "" if soft else "a strong one", None


def _partition(command: Any) -> _Cases:
    partition = getattr(command, "def").partition_cmd
    concurrently = "CONCURRENTLY" if partition.concurrent else ""  # of DETACH only
    yield concurrently, None
    yield ": ".join(part for part in (concurrently, "the partition") if part), syntax_tree.of_range(partition.name)


def _inherit(command: Any) -> _Cases:
    yield "", None
    yield "the parent", syntax_tree.of_range(getattr(command, "def").range_var)


_ALTER: Mapping[str, Callable[[Any], _Cases]] = {
    "AT_AddConstraint": _add_constraint,
    "AT_SetRelOptions": _parameters,
    "AT_ResetRelOptions": _parameters,
    "AT_AttachPartition": _partition,
    "AT_DetachPartition": _partition,
    "AT_DetachPartitionFinalize": _partition,
    "AT_AddInherit": _inherit,
    "AT_DropInherit": _inherit,
}


def _alter_index(name: Name, command: Any) -> Iterator[Touch]:
    subtype = _COMMAND(command.subtype)
    when = "an index"
    if subtype in ("AT_SetRelOptions", "AT_ResetRelOptions"):
        names = [each.def_elem.defname for each in getattr(command, "def").list.items]
        subtype, when = "AT_SetRelOptions", when if names == ["fillfactor"] else f"{when}, a strong one"
    yield Touch(name, find_rule("AlterTableStmt", subtype, when))
    if subtype == "AT_AttachPartition":
        partition = syntax_tree.of_range(getattr(command, "def").partition_cmd.name)
        yield Touch(partition, find_rule("AlterTableStmt", subtype, f"{when}: the part"))


# CREATE TABLE


def _create_table(node: Any) -> Iterator[Touch]:
    yield Touch(syntax_tree.of_range(node.relation), None)
    when = "PARTITION OF" if node.HasField("partbound") else "INHERITS"
    yield from _ranges(node.inh_relations, find_rule("CreateStmt", "", when))
    for element in node.table_elts:
        if element.HasField("table_like_clause"):
            like = syntax_tree.of_range(element.table_like_clause.relation)
            yield Touch(like, find_rule("CreateStmt", "", "LIKE"))
    for each in add_column.all_foreign_keys(node.table_elts):
        yield Touch(syntax_tree.of_range(each.pktable), find_rule("CreateStmt", "", "the referenced table"))


def _create_table_as(node: Any) -> Iterator[Touch]:
    yield Touch(syntax_tree.of_range(node.into.rel), None)
    rule = find_rule("CreateTableAsStmt")
    yield from _query(node.query, reads=rule, runs=not node.into.skip_data)


# Queries and data


def _query(message: Any, reads: Rule | None = None, runs: bool = True) -> Iterator[Touch]:
    """What a query uses. `reads` is the rule for what it only reads, if another than SELECT's."""
    for use in syntax_tree.uses(message):
        if use.how == "FuncCall":
            if runs:
                yield Touch(use.name, find_rule(use.how, use.what))
        elif reads is not None and (use.how, use.what) == ("SelectStmt", ""):
            yield Touch(use.name, reads, runs)
        else:
            yield Touch(use.name, find_rule(use.how, "", use.what), runs)


def _data(node: Any) -> Iterator[Touch]:
    if node.DESCRIPTOR.name == "SelectStmt" and node.HasField("into_clause"):
        yield Touch(syntax_tree.of_range(node.into_clause.rel), None)
    yield from _query(node)


def _analysed(node: Any, types: Types) -> Iterator[Touch]:
    """Only EXPLAIN ANALYZE also runs the query that it is about."""
    runs = node.DESCRIPTOR.name == "ExplainStmt" and syntax_tree.option_is_on(node.options, "analyze")
    for touch in touches(syntax_tree.inner(node.query), types):
        yield Touch(touch.name, touch.rule, touch.runs and runs)


def _copy(node: Any) -> Iterator[Touch]:
    if node.HasField("relation"):
        yield Touch(syntax_tree.of_range(node.relation), find_rule("CopyStmt", "", "FROM" if node.is_from else "TO"))
    else:
        yield from _query(node.query)


# Views, functions, and what hangs on a table


def _view(node: Any) -> Iterator[Touch]:
    when = "OR REPLACE" if node.replace else "new"
    yield Touch(syntax_tree.of_range(node.view), find_rule("ViewStmt", "", when))
    yield from _query(node.query, reads=find_rule("ViewStmt", "", "the tables it reads"), runs=False)


def _function(node: Any) -> Iterator[Touch]:
    if node.HasField("sql_body"):
        reads = find_rule("CreateFunctionStmt", "", "the tables its body reads")
        yield from _query(node.sql_body, reads=reads, runs=False)


def _trigger(node: Any) -> Iterator[Touch]:
    yield Touch(syntax_tree.of_range(node.relation), find_rule("CreateTrigStmt"))
    if node.HasField("constrrel"):
        yield Touch(syntax_tree.of_range(node.constrrel), find_rule("CreateTrigStmt", "", "FROM"))


def _rewrite_rule(node: Any) -> Iterator[Touch]:
    yield Touch(syntax_tree.of_range(node.relation), find_rule("RuleStmt"))
    reads = find_rule("RuleStmt", "", "read by its actions")
    for query in (*node.actions, *([node.where_clause] if node.HasField("where_clause") else [])):
        for touch in _query(query, reads=reads, runs=False):
            if touch.name.name not in ("new", "old"):
                yield touch


def _policy(node: Any) -> Iterator[Touch]:
    kind = node.DESCRIPTOR.name
    yield Touch(syntax_tree.of_range(node.table), find_rule(kind))
    reads = find_rule(kind, "", "read by its expression")
    for expression in ("qual", "with_check"):
        if node.HasField(expression):
            yield from _query(getattr(node, expression), reads=reads, runs=False)


def _publication(node: Any) -> Iterator[Touch]:
    for each in node.pubobjects:
        table = each.publication_obj_spec.pubtable
        if table.HasField("relation"):
            yield Touch(syntax_tree.of_range(table.relation), find_rule(node.DESCRIPTOR.name))


# Indexes and maintenance


def _on_relations(node: Any) -> Iterator[Touch]:
    """The relations that a statement lists, or its only one, if it names any."""
    kind = node.DESCRIPTOR.name
    listed = node.relations if kind in ("CreateStatsStmt", "LockStmt", "TruncateStmt") else [node.relation]
    when = ""
    if kind == "LockStmt":
        when = MODES[node.mode - 1]
    elif kind in ("IndexStmt", "RefreshMatViewStmt") and node.concurrent:
        when = "CONCURRENTLY"
    elif kind == "IndexStmt" and not node.relation.inh:
        when = "ONLY"
    yield from _ranges((each for each in listed if each.ListFields()), find_rule(kind, "", when))


def _reindex(node: Any) -> Iterator[Touch]:
    if node.HasField("relation"):
        kind = _pb.ReindexObjectType.Name(node.kind)
        when = "CONCURRENTLY" if syntax_tree.option_is_on(node.params, "concurrently") else ""
        rule = find_rule("ReindexStmt", kind, when)
        table = find_rule("ReindexStmt", "REINDEX_OBJECT_TABLE", when) if kind == "REINDEX_OBJECT_INDEX" else None
        yield Touch(syntax_tree.of_range(node.relation), rule, on_table=table)


def _vacuum(node: Any) -> Iterator[Touch]:
    when = "" if node.is_vacuumcmd else "ANALYZE"
    if node.is_vacuumcmd and syntax_tree.option_is_on(node.options, "full"):
        when = "FULL"
    yield from _ranges((each.vacuum_relation.relation for each in node.rels), find_rule("VacuumStmt", "", when))


def _ranges(nodes: Iterable[Any], rule: Rule | None) -> Iterator[Touch]:
    for node in nodes:
        yield Touch(syntax_tree.of_range(node.range_var if node.DESCRIPTOR.name == "Node" else node), rule)


# Names in lists: DROP, COMMENT, RENAME, SET SCHEMA, GRANT

_IN_A_TABLE = ("OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY", "OBJECT_TABCONSTRAINT", "OBJECT_COLUMN")
RELATIONS = ("OBJECT_TABLE", "OBJECT_FOREIGN_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_SEQUENCE", "OBJECT_INDEX")


def listed(object_type: str, node: Any) -> Name | None:
    """The relation in an object's list of names; for a column, a trigger and such, the one it is in."""
    parts = syntax_tree.strings(node.list.items)
    if object_type in _IN_A_TABLE:
        return syntax_tree.of_parts(parts[:-1])
    return syntax_tree.of_parts(parts) if object_type in RELATIONS else None


def _drop(node: Any) -> Iterator[Touch]:
    kind = _OBJECT(node.remove_type)
    rule = find_rule("DropStmt", _plain(kind), "CONCURRENTLY" if node.concurrent else "")
    for each in node.objects:
        name = listed(kind, each)
        if name:
            yield Touch(name, rule, on_table=rule if kind == "OBJECT_INDEX" else None)


def _comment(node: Any) -> Iterator[Touch]:
    kind = _OBJECT(node.objtype)
    name = listed(kind, node.object)
    if name:
        yield Touch(name, find_rule("CommentStmt", _plain(kind)))


def _move(node: Any) -> Iterator[Touch]:
    statement = node.DESCRIPTOR.name
    kind = _OBJECT(node.rename_type if statement == "RenameStmt" else node.object_type)
    if node.HasField("relation") and kind != "OBJECT_ATTRIBUTE":
        yield Touch(syntax_tree.of_range(node.relation), find_rule(statement, _plain(kind)))


def _grant(node: Any) -> Iterator[Touch]:
    if node.targtype == _pb.GrantTargetType.ACL_TARGET_OBJECT:
        rule = find_rule("GrantStmt", _OBJECT(node.objtype))
        yield from _ranges((each for each in node.objects if each.HasField("range_var")), rule)


def _plain(kind: str) -> str:
    """The rules of tables apply to foreign tables."""
    return "OBJECT_TABLE" if kind == "OBJECT_FOREIGN_TABLE" else kind


# Sequences


def _sequence(node: Any) -> Iterator[Touch]:
    is_new = node.DESCRIPTOR.name == "CreateSeqStmt"
    yield Touch(syntax_tree.of_range(node.sequence), None if is_new else find_rule("AlterSeqStmt"))
    for each in node.options:
        if each.def_elem.defname == "owned_by":
            name = syntax_tree.of_parts(syntax_tree.strings(each.def_elem.arg.list.items)[:-1])
            if name:
                yield Touch(name, find_rule(node.DESCRIPTOR.name, "", "OWNED BY"))


_MATCHERS: Mapping[str, Callable[[Any], Iterator[Touch]]] = {
    "AlterObjectSchemaStmt": _move,
    "AlterPolicyStmt": _policy,
    "AlterPublicationStmt": _publication,
    "AlterSeqStmt": _sequence,
    "ClusterStmt": _on_relations,
    "CommentStmt": _comment,
    "CopyStmt": _copy,
    "CreateForeignTableStmt": lambda node: _create_table(node.base_stmt),
    "CreateFunctionStmt": _function,
    "CreatePolicyStmt": _policy,
    "CreatePublicationStmt": _publication,
    "CreateSeqStmt": _sequence,
    "CreateStatsStmt": _on_relations,
    "CreateStmt": _create_table,
    "CreateTableAsStmt": _create_table_as,
    "CreateTrigStmt": _trigger,
    "DeleteStmt": _data,
    "DropStmt": _drop,
    "GrantStmt": _grant,
    "IndexStmt": _on_relations,
    "InsertStmt": _data,
    "LockStmt": _on_relations,
    "MergeStmt": _data,
    "RefreshMatViewStmt": _on_relations,
    "ReindexStmt": _reindex,
    "RenameStmt": _move,
    "RuleStmt": _rewrite_rule,
    "SelectStmt": _data,
    "TruncateStmt": _on_relations,
    "UpdateStmt": _data,
    "VacuumStmt": _vacuum,
    "ViewStmt": _view,
}

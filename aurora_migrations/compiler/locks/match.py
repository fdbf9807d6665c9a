"""Finds the rules that apply to a statement: which relation, which row of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import postgast

from aurora_migrations.compiler.locks import syntax_tree
from aurora_migrations.compiler.locks.rules import SERIAL, STEADY, TYPES, VOLATILE, Rule, find_rule
from aurora_migrations.compiler.locks.syntax_tree import Name
from aurora_migrations.engine.locks.modes import MODES

_pb = postgast.pg_query_pb2
_COMMAND = _pb.AlterTableType.Name
_OBJECT = _pb.ObjectType.Name
_CONSTRAINT = _pb.ConstrType
_FOREIGN = _pb.CONSTR_FOREIGN
_REPLACED = "the table referenced by a foreign key that is replaced"

Types = Mapping[str, bool]
"""Types that the file created: whether each is a domain that has constraints."""


class Touch(NamedTuple):
    """One relation that a statement touches."""

    name: Name
    rule: Rule | None  # None if no rule is known
    runs: bool = True  # False if the query around it is only analysed, so it reads nothing
    on_table: Rule | None = None  # if `name` is an index: the rule for its table, if the file shows which that is


def touches(node: Any, types: Types) -> Iterator[Touch]:
    """The relations that a statement names, each with the rule that applies."""
    kind = node.DESCRIPTOR.name
    if matcher := _MATCHERS.get(kind):
        return matcher(node)
    if kind == "AlterTableStmt":
        return _alter_table(node, types)
    if kind in ("DeclareCursorStmt", "ExplainStmt", "PrepareStmt"):
        return _analysed(node, types)
    return iter(())


# ---- ALTER TABLE and its kind ---------------------------------------------------------------------------------------

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


def _alter_table(node: Any, types: Types) -> Iterator[Touch]:
    kind = _OBJECT(node.objtype)
    if kind == "OBJECT_TYPE":
        return
    name, dropped = syntax_tree.of_range(node.relation), set[str]()
    replacing = find_rule("AlterTableStmt", "AT_DropConstraint", _REPLACED)
    for wrapped in node.cmds:
        command = wrapped.alter_table_cmd
        if kind == "OBJECT_VIEW":
            yield Touch(name, find_rule("AlterTableStmt", "", "a view"))
        elif kind == "OBJECT_INDEX":
            yield from _alter_index(name, command)
        else:
            subtype = _COMMAND(command.subtype)
            for when, other in _cases(subtype, getattr(command, "def"), types):
                yield Touch(other or name, find_rule("AlterTableStmt", subtype, when))
    for wrapped in node.cmds:
        # DROP CONSTRAINT k, ADD CONSTRAINT k FOREIGN KEY: the old one most likely referenced the same table.
        command = wrapped.alter_table_cmd
        constraint = getattr(command, "def").constraint
        is_added = command.subtype == _pb.AT_AddConstraint and constraint.contype == _CONSTRAINT.CONSTR_FOREIGN
        if command.subtype == _pb.AT_DropConstraint:
            dropped.add(command.name)
        elif is_added and constraint.conname in dropped:
            yield Touch(syntax_tree.of_range(constraint.pktable), replacing)


def _cases(subtype: str, definition: Any, types: Types) -> Iterator[tuple[str, Name | None]]:
    """The cases that apply, and the relation of each if it isn't the altered one."""
    if subtype == "AT_AddColumn":
        yield from ((when, None) for when in _cases_of_column(definition.column_def, types))
        for each in _foreign_keys(definition.column_def):
            yield "the referenced table", syntax_tree.of_range(each.pktable)
    elif subtype == "AT_AddConstraint":
        yield from _cases_of_constraint(definition.constraint)
    elif subtype in ("AT_SetRelOptions", "AT_ResetRelOptions"):  # the strongest lock that any of them needs
        names = [each.def_elem.defname.lower() for each in definition.list.items]
        yield "" if all(name in _SOFT or name.startswith(_SOFT_STARTS) for name in names) else "a strong one", None
    elif subtype in ("AT_AttachPartition", "AT_DetachPartition", "AT_DetachPartitionFinalize"):
        partition = definition.partition_cmd
        concurrently = "CONCURRENTLY" if partition.concurrent else ""  # of DETACH only
        yield concurrently, None
        yield ": ".join(part for part in (concurrently, "the partition") if part), syntax_tree.of_range(partition.name)
    else:
        yield "", None
        if subtype in ("AT_AddInherit", "AT_DropInherit"):
            yield "the parent", syntax_tree.of_range(definition.range_var)


def _cases_of_constraint(constraint: Any) -> Iterator[tuple[str, Name | None]]:
    case = when = _CONSTRAINT_CASES.get(constraint.contype)
    if not case or not when:
        return
    if constraint.indexname:
        when += " USING INDEX"
    elif constraint.contype in _CAN_BE_NOT_ENFORCED and not constraint.is_enforced:
        when += " NOT ENFORCED"
    elif constraint.contype in (*_CAN_BE_NOT_ENFORCED, _CONSTRAINT.CONSTR_NOTNULL) and constraint.skip_validation:
        when += " NOT VALID"
    yield when, None
    if case == "FOREIGN KEY":
        yield f"{when}: the referenced table", syntax_tree.of_range(constraint.pktable)


def _cases_of_column(column: Any, types: Types) -> Iterator[str]:
    """What the definition of a new column requires."""
    constraints = {each.constraint.contype: each.constraint for each in column.constraints}
    value = _value_of_column(column, constraints)
    yield value
    parts = syntax_tree.strings(column.type_name.names)
    name, is_array = "".join(parts[-1:]), column.type_name.array_bounds or column.type_name.setof
    if parts[:1] != ["pg_catalog"] and not is_array:  # only a domain matters
        if types.get(name):
            yield "constrained domain"
        elif name not in types and name not in TYPES | SERIAL:
            yield "unknown type"
    if _CONSTRAINT.CONSTR_NOTNULL in constraints and value in ("virtual", "no default"):
        yield "virtual NOT NULL" if value == "virtual" else "NOT NULL"
    if _CONSTRAINT.CONSTR_CHECK in constraints:
        yield "CHECK"
    if _CONSTRAINT.CONSTR_UNIQUE in constraints or _CONSTRAINT.CONSTR_PRIMARY in constraints:
        yield "UNIQUE"
    if _CONSTRAINT.CONSTR_FOREIGN in constraints:
        yield "REFERENCES" if value == "no default" else "REFERENCES with a default"


def _value_of_column(column: Any, constraints: Mapping[int, Any]) -> str:
    """Where existing rows get the new column's value from."""
    if is_serial(column):
        return "serial"
    if _CONSTRAINT.CONSTR_IDENTITY in constraints:
        return "identity"
    if _CONSTRAINT.CONSTR_GENERATED in constraints:
        return "virtual" if constraints[_CONSTRAINT.CONSTR_GENERATED].generated_kind == "v" else "stored"
    if _CONSTRAINT.CONSTR_DEFAULT not in constraints:
        return "no default"
    expression = syntax_tree.inner(constraints[_CONSTRAINT.CONSTR_DEFAULT].raw_expr)
    if expression.DESCRIPTOR.name == "A_Const" and expression.isnull:
        return "no default"
    # One with a schema of its own keeps it, so it is no known one; no parts if the tree was too deep to be kept.
    called = set[str]()
    for call in syntax_tree.walk(expression):
        if call.DESCRIPTOR.name == "FuncCall":
            parts = syntax_tree.strings(call.funcname)
            is_known = len(parts) == 1 or parts[:1] in (["pg_catalog"], ["public"], ["extensions"])
            called.add(parts[-1] if is_known else ".".join(parts))
    if called & VOLATILE:
        return "volatile default"
    return "default of unknown volatility" if called - STEADY else "constant default"


def is_serial(column: Any) -> bool:
    """Whether a column has a sequence of its own by its type."""
    names = column.type_name.names
    return len(names) == 1 and names[0].string.sval in SERIAL


def _foreign_keys(column: Any) -> list[Any]:
    return [one for each in column.constraints if (one := each.constraint).contype == _FOREIGN]


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


# ---- CREATE TABLE ---------------------------------------------------------------------------------------------------


def _create_table(node: Any) -> Iterator[Touch]:
    if node.DESCRIPTOR.name == "CreateForeignTableStmt":
        node = node.base_stmt
    yield Touch(syntax_tree.of_range(node.relation), None)
    if node.inh_relations:
        when = "PARTITION OF" if node.HasField("partbound") else "INHERITS"
        yield from _ranges(node.inh_relations, find_rule("CreateStmt", "", when))
    foreign = list[Any]()
    for element in node.table_elts:  # HasField takes a fifth of the time of asking which field there is
        if element.HasField("column_def"):
            for each in element.column_def.constraints:
                if (constraint := each.constraint).contype == _FOREIGN:
                    foreign.append(constraint)
        elif element.HasField("table_like_clause"):
            like = element.table_like_clause.relation
            yield Touch(syntax_tree.of_range(like), find_rule("CreateStmt", "", "LIKE"))
        elif element.HasField("constraint") and element.constraint.contype == _FOREIGN:
            foreign.append(element.constraint)
    for each in foreign:
        yield Touch(syntax_tree.of_range(each.pktable), find_rule("CreateStmt", "", "the referenced table"))


def _create_table_as(node: Any) -> Iterator[Touch]:
    yield Touch(syntax_tree.of_range(node.into.rel), None)
    rule = find_rule("CreateTableAsStmt")
    yield from _query(node.query, reads=rule, runs=not node.into.skip_data)


# ---- queries and data -----------------------------------------------------------------------------------------------


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


# ---- views, functions, and what hangs on a table --------------------------------------------------------------------


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


# ---- indexes and maintenance ----------------------------------------------------------------------------------------


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
    return _ranges([each for each in listed if each.ByteSize()], find_rule(kind, "", when))


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


# ---- names in lists: DROP, COMMENT, RENAME, SET SCHEMA, GRANT -------------------------------------------------------

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


# ---- sequences ------------------------------------------------------------------------------------------------------


def _sequence(node: Any) -> Iterator[Touch]:
    is_new = node.DESCRIPTOR.name == "CreateSeqStmt"
    yield Touch(syntax_tree.of_range(node.sequence), None if is_new else find_rule("AlterSeqStmt"))
    for each in node.options:
        if each.def_elem.defname == "owned_by":
            name = syntax_tree.of_parts(syntax_tree.strings(each.def_elem.arg.list.items)[:-1])
            if name:
                yield Touch(name, find_rule(node.DESCRIPTOR.name, "", "OWNED BY"))


_KINDS: Mapping[Callable[[Any], Iterator[Touch]], tuple[str, ...]] = {
    _move: ("AlterObjectSchemaStmt", "RenameStmt"),
    _policy: ("AlterPolicyStmt", "CreatePolicyStmt"),
    _publication: ("AlterPublicationStmt", "CreatePublicationStmt"),
    _sequence: ("AlterSeqStmt", "CreateSeqStmt"),
    _comment: ("CommentStmt",),
    _copy: ("CopyStmt",),
    _function: ("CreateFunctionStmt",),
    _create_table: ("CreateForeignTableStmt", "CreateStmt"),
    _create_table_as: ("CreateTableAsStmt",),
    _trigger: ("CreateTrigStmt",),
    _data: ("DeleteStmt", "InsertStmt", "MergeStmt", "SelectStmt", "UpdateStmt"),
    _drop: ("DropStmt",),
    _grant: ("GrantStmt",),
    _on_relations: ("ClusterStmt", "CreateStatsStmt", "IndexStmt", "LockStmt", "RefreshMatViewStmt", "TruncateStmt"),
    _reindex: ("ReindexStmt",),
    _rewrite_rule: ("RuleStmt",),
    _vacuum: ("VacuumStmt",),
    _view: ("ViewStmt",),
}
_MATCHERS = {kind: matcher for matcher, kinds in _KINDS.items() for kind in kinds}

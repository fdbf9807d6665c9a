"""The objects that a file has created so far. Nobody else can use them yet, so nothing done to them blocks anyone.

What may have been there before doesn't count: what IF NOT EXISTS or OR REPLACE may have found, and what ROLLBACK TO has
undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import postgast

from aurora_migrations.compiler.locks import syntax_tree
from aurora_migrations.compiler.locks.match import RELATIONS, is_serial
from aurora_migrations.compiler.locks.syntax_tree import Name

_pb = postgast.pg_query_pb2
_OBJECT = _pb.ObjectType.Name
_TYPES = ("OBJECT_TYPE", "OBJECT_DOMAIN")
_FUNCTIONS = ("OBJECT_FUNCTION", "OBJECT_PROCEDURE", "OBJECT_ROUTINE", "OBJECT_AGGREGATE")
_NAMED_BY_THEMSELVES = (*RELATIONS, *_TYPES, *_FUNCTIONS)  # unlike a column or a trigger, which is named in its table
_ON_A_RELATION = frozenset({"AlterTableStmt", "IndexStmt", "ReindexStmt", "RenameStmt", "AlterObjectSchemaStmt"})
_CHANGING = _ON_A_RELATION | {"AlterDomainStmt", "AlterEnumStmt", "DropStmt", "TruncateStmt"}
_IDENTITY = _pb.CONSTR_IDENTITY
TEMPORARY = "pg_temp"
_UNKNOWN = ""  # the schema of names without one, once search_path is set in a way that isn't analysed
_NAME_LENGTH = 63  # bytes; PostgreSQL cuts a longer name


class CreatedObjects:
    """The relations, types and functions that a file has created, read from top to bottom.

    A name without a schema is taken to be in the first schema of the last `SET search_path`, else in `public`. Tables
    and types share their names, as in PostgreSQL, where each table has a type. A function is listed as `name()`.
    """

    def __init__(self) -> None:
        self.types: dict[str, bool] = {}  # by their bare name, and whether each is a domain with constraints
        self._schema = self._session_schema = "public"  # the second is without SET LOCAL
        # Nothing here is searched as a whole: a file of many statements would take the square of their number.
        self._created: dict[tuple[str, str], int] = {}  # with a number that grows, in its order
        self._count = 0
        self._dropped_schemas: dict[str, int] = {}  # with the count at that time
        self._indexed: dict[Name, list[Name]] = {}  # by table, its present name
        self._indexes: dict[tuple[str, str], list[Name]] = {}  # the same list, by index
        self._savepoints: list[tuple[str, int, int, str, str]] = []  # with the count, the number of types, the schemas
        self._places: dict[str, list[int]] = {}  # of the savepoints, by name

    def resolve(self, name: Name) -> Name:
        """The same for all spellings of one relation."""
        if name.schema:
            return name
        temporary = TEMPORARY, name.name
        is_temporary = temporary in self._created and self.has(temporary)  # in most files there is none
        return Name(TEMPORARY if is_temporary else self._schema, name.name)

    def has(self, resolved: tuple[str, str]) -> bool:
        """Whether it is among them, by its resolved name."""
        return self._created.get(resolved, 0) > self._dropped_schemas.get(resolved[0], 0)

    def table_of(self, index: Name) -> Name | None:
        return self._indexes.get(self.resolve(index), [None])[0]

    def flatten(self, node: Any) -> Iterator[Any]:
        """The statement itself, or those inside a CREATE SCHEMA, read as PostgreSQL does: within that schema."""
        if node.DESCRIPTOR.name != "CreateSchemaStmt":
            return iter((node,))
        return self._flatten_schema(node)

    def _flatten_schema(self, node: Any) -> Iterator[Any]:
        before, self._schema = self._schema, node.schemaname or self._schema
        for element in node.schema_elts:
            yield syntax_tree.inner(element)
        self._schema = before

    def has_all_of(self, node: Any) -> bool:
        """Whether a statement changes only objects that earlier ones of the file have created."""
        if node.DESCRIPTOR.name not in _CHANGING:
            return False
        changed = list(_changed(node))
        return bool(changed) and all(self.has(self.resolve(name)) for name in changed)

    def follow(self, node: Any) -> None:
        """Takes in what a statement has done."""
        kind = node.DESCRIPTOR.name
        if kind == "DropStmt":
            if _OBJECT(node.remove_type) == "OBJECT_SCHEMA":
                self._dropped_schemas.update((each.string.sval, self._count) for each in node.objects)
            for name in map(self.resolve, dropped(node)):
                self._created.pop(name, None)
                self._indexes.pop(name, None)
        elif kind in ("RenameStmt", "AlterObjectSchemaStmt"):
            self._move(node)
        elif kind == "TransactionStmt":
            self._control(node)
        elif kind == "VariableSetStmt" and node.name == "search_path":
            named = (each.a_const.sval.sval for each in node.args)
            first = next((schema for schema in named if schema and schema != "$user"), "public")
            self._set_schema(first, node.is_local)
        elif kind in ("SelectStmt", "DoStmt") and _sets_search_path(node):
            self._set_schema(_UNKNOWN)
        elif kind == "IndexStmt" and node.idxname and not node.if_not_exists:
            table = syntax_tree.of_range(node.relation)
            index = Name(self.resolve(table).schema, node.idxname)
            self._add(index)
            self._indexes[index] = self._indexed.setdefault(self.resolve(table), [table])
        elif kind in _CREATING:
            for name in _created(node):
                self._add(name if name.schema else Name(self._schema, name.name))
            if kind in _CREATING_TYPES:
                self._add_type(node)

    def _add(self, key: Name) -> None:
        self._count += 1
        self._created.pop(key, None)
        self._created[key] = self._count

    def _add_type(self, node: Any) -> None:
        base, constrained = "", False
        if node.DESCRIPTOR.name == "CreateDomainStmt":
            base = "".join(syntax_tree.strings(node.type_name.names)[-1:])
            checks = (_pb.ConstrType.CONSTR_CHECK, _pb.ConstrType.CONSTR_NOTNULL)
            constrained = any(each.constraint.contype in checks for each in node.constraints)
        for name in _created(node):
            self.types[name.name] = constrained or self.types.get(base, False)

    def _move(self, node: Any) -> None:
        """Another name or schema: what was new stays new, what was there before isn't new under its new name."""
        name, is_rename = _altered(node), node.DESCRIPTOR.name == "RenameStmt"
        if name is None or (is_rename and _OBJECT(node.rename_type) not in _NAMED_BY_THEMSELVES):
            return
        old = self.resolve(name)
        new = new_name(node, old)
        if is_rename and _OBJECT(node.rename_type) in _FUNCTIONS:
            new = _function(*new)
        if old in self._indexes:
            self._indexes[new] = self._indexes.pop(old)
        if old in self._indexed:
            self._indexed[new] = self._indexed.pop(old)
            self._indexed[new][0] = new
        self._created.pop(new, None)
        if self.has(old):
            del self._created[old]
            self._add(new)

    def _set_schema(self, schema: str, is_local: bool = False) -> None:
        self._schema = schema
        if not is_local:
            self._session_schema = schema

    def _control(self, node: Any) -> None:
        """A savepoint, or the way back to one. What was dropped or renamed since doesn't count as new again."""
        name, kind = node.savepoint_name, node.kind
        if kind == _pb.TRANS_STMT_SAVEPOINT:
            self._places.setdefault(name, []).append(len(self._savepoints))
            self._savepoints.append((name, self._count, len(self.types), self._schema, self._session_schema))
        elif kind in (_pb.TRANS_STMT_COMMIT, _pb.TRANS_STMT_ROLLBACK):
            self._close_savepoints(0)
            self._schema = self._session_schema
        elif kind in (_pb.TRANS_STMT_RELEASE, _pb.TRANS_STMT_ROLLBACK_TO) and self._places.get(name):
            place = self._places[name][-1]
            if kind == _pb.TRANS_STMT_ROLLBACK_TO:
                _, count, types, self._schema, self._session_schema = self._savepoints[place]
                while self._created and next(reversed(self._created.values())) > count:
                    key, _ = self._created.popitem()
                    self._indexes.pop(key, None)
                while len(self.types) > types:
                    self.types.popitem()
                place += 1
            self._close_savepoints(place)

    def _close_savepoints(self, kept: int) -> None:
        while len(self._savepoints) > kept:
            name, *_ = self._savepoints.pop()
            self._places[name].pop()


def _changed(node: Any) -> Iterable[Name]:
    """The objects that a statement changes, of the kinds of statements that squawk's rules are about."""
    kind = node.DESCRIPTOR.name
    if kind == "DropStmt":
        return dropped(node)
    if kind == "TruncateStmt":
        relations = node.relations if node.behavior != _pb.DROP_CASCADE else ()
        return (syntax_tree.of_range(each.range_var) for each in relations)
    if kind in ("AlterDomainStmt", "AlterEnumStmt"):
        return (_name(node.type_name),)
    if kind in _ON_A_RELATION:
        altered = _altered(node)
        return () if altered is None else (altered,)
    return ()


def _altered(node: Any) -> Name | None:
    """The relation, type or function that an ALTER is about."""
    if node.HasField("relation"):
        return syntax_tree.of_range(node.relation)
    if node.DESCRIPTOR.name == "RenameStmt":
        return _listed(_OBJECT(node.rename_type), node.object)
    if node.DESCRIPTOR.name == "AlterObjectSchemaStmt":
        return _listed(_OBJECT(node.object_type), node.object)
    return None


def new_name(node: Any, old: Name) -> Name:
    """Of what is renamed, or gets another schema."""
    is_rename = node.DESCRIPTOR.name == "RenameStmt"
    return Name(old.schema, node.newname) if is_rename else Name(node.newschema, old.name)


def dropped(node: Any) -> Iterator[Name]:
    """What a DROP names, of the kinds that are named by themselves."""
    names = (_listed(_OBJECT(node.remove_type), each) for each in node.objects)
    return (name for name in names if name is not None)


def _listed(kind: str, node: Any) -> Name | None:
    """An object in a statement's list; tables, types and functions each have their own shape. None for other kinds."""
    if kind not in _NAMED_BY_THEMSELVES:
        return None
    name = _name((*node.list.items, *node.type_name.names, *node.object_with_args.objname))
    return _function(*name) if kind in _FUNCTIONS else name


def _name(parts: Iterable[Any]) -> Name:
    *schema, name = syntax_tree.strings(parts)
    return Name(schema[-1] if schema else "", name)


def _function(schema: str, name: str) -> Name:
    return Name(schema, f"{name}()")


_CREATING_TYPES = frozenset({"CompositeTypeStmt", "CreateDomainStmt", "CreateEnumStmt", "CreateRangeStmt"})
_CREATING = _CREATING_TYPES | {
    *("AlterTableStmt", "CreateForeignTableStmt", "CreateFunctionStmt", "CreateSeqStmt", "CreateStmt"),
    *("CreateTableAsStmt", "SelectStmt", "ViewStmt"),
}


def _created(node: Any) -> Iterator[Name]:
    """What a statement creates for certain, or for this session only."""
    kind = node.DESCRIPTOR.name
    if kind == "CreateForeignTableStmt":
        node, kind = node.base_stmt, "CreateStmt"
    if kind == "CreateStmt" and _is_certain(node, node.relation):
        yield syntax_tree.of_range(node.relation)
        definitions = [element.column_def for element in node.table_elts if element.HasField("column_def")]
        yield from _sequences(node.relation, definitions)
    elif kind == "AlterTableStmt":
        commands = (each.alter_table_cmd for each in node.cmds if not each.alter_table_cmd.missing_ok)
        added = (getattr(command, "def") for command in commands)
        yield from _sequences(node.relation, (each.column_def for each in added if each.HasField("column_def")))
    elif kind == "CreateTableAsStmt" and _is_certain(node, node.into.rel):
        yield syntax_tree.of_range(node.into.rel)
    elif kind == "SelectStmt" and node.HasField("into_clause"):
        yield syntax_tree.of_range(node.into_clause.rel)
    elif kind == "CreateSeqStmt" and _is_certain(node, node.sequence):
        yield syntax_tree.of_range(node.sequence)
    elif kind == "ViewStmt" and not node.replace:
        yield syntax_tree.of_range(node.view)
    elif kind == "CreateFunctionStmt" and not node.replace:
        yield _function(*_name(node.funcname))
    elif kind == "CompositeTypeStmt":
        yield syntax_tree.of_range(node.typevar)
    elif kind in ("CreateEnumStmt", "CreateRangeStmt"):
        yield _name(node.type_name)
    elif kind == "CreateDomainStmt":
        yield _name(node.domainname)


def _is_certain(node: Any, relation: Any) -> bool:
    """Whether a CREATE creates its relation for certain, or one that nobody else could be using."""
    return not node.if_not_exists or syntax_tree.of_range(relation).schema == TEMPORARY


def _sequences(table: Any, definitions: Iterable[Any]) -> Iterator[Name]:
    """The sequences of serial and identity columns, by the names that PostgreSQL gives them."""
    for column in definitions:
        if is_serial(column) or _IDENTITY in [each.constraint.contype for each in column.constraints]:
            name = syntax_tree.of_range(table)
            yield Name(name.schema, f"{name.name}_{column.colname}_seq"[:_NAME_LENGTH])


def _sets_search_path(node: Any) -> bool:
    """Whether a query or a DO may set search_path, in a way that isn't analysed."""
    if node.DESCRIPTOR.name == "DoStmt":
        return any("search_path" in each.def_elem.arg.string.sval.lower() for each in node.args)
    return any(syntax_tree.sets_search_path(target.res_target.val.func_call) for target in node.target_list)

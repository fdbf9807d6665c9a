"""What a file has created, renamed and dropped so far: a relation that is new in it keeps nobody else waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import postgast

from compiler.rules import columns, trees
from compiler.rules.matching import RELATIONS, listed
from compiler.rules.trees import Name

_OBJECT = postgast.pg_query_pb2.ObjectType.Name
_C = postgast.pg_query_pb2.ConstrType
_TEMPORARY = "pg_temp"
_NAME_LENGTH = 63  # bytes; PostgreSQL cuts a longer name

Key = tuple[str, str]


class File:
    """The names of one file, read from top to bottom.

    A name without a schema is taken to be in the first schema of the last `SET search_path`, else in `public`. After
    CREATE ... IF NOT EXISTS the relation counts as created: it nearly always is.

    Attributes:
        types: types the file created, and whether each is a domain with constraints.
    """

    def __init__(self) -> None:
        self.types: dict[str, bool] = {}
        self._schema = "public"
        self._created: set[Key] = set()
        self._indexes: dict[Key, Name] = {}

    def key(self, name: Name) -> Key:
        """The same for all spellings of one relation."""
        if name.schema:
            return name.schema, name.name
        temporary = _TEMPORARY, name.name
        return temporary if temporary in self._created else (self._schema, name.name)

    def is_new(self, name: Name) -> bool:
        """Whether the file created it."""
        return self.key(name) in self._created

    def table_of(self, index: Name) -> Name | None:
        """The table of an index that the file created."""
        return self._indexes.get(self.key(index))

    def parts(self, node: Any) -> Iterator[Any]:
        """The statement itself, or those inside a CREATE SCHEMA, read as PostgreSQL does: within that schema."""
        if node.DESCRIPTOR.name != "CreateSchemaStmt":
            yield node
            return
        before, self._schema = self._schema, node.schemaname or self._schema
        for element in node.schema_elts:
            yield trees.inner(element)
        self._schema = before

    def follow(self, node: Any) -> None:
        """Take note of what a statement creates, renames or drops."""
        step = _STEPS.get(node.DESCRIPTOR.name)
        if step:
            step(self, node)

    def add(self, range_var: Any) -> None:
        self._created.add(self._new_key(range_var))

    def add_sequences(self, range_var: Any, definitions: Iterable[Any]) -> None:
        """The sequences of serial and identity columns, by the names that PostgreSQL gives them."""
        table = trees.of_range(range_var)
        for column in definitions:
            if columns.is_serial(column) or columns.is_identity(column):
                sequence = Name(table.schema, f"{table.name}_{column.colname}_seq"[:_NAME_LENGTH])
                self._created.add((sequence.schema or self._schema, sequence.name))

    def add_index(self, node: Any) -> None:
        if node.idxname:
            table = trees.of_range(node.relation)
            key = self.key(table)[0], node.idxname
            self._created.add(key)
            self._indexes[key] = table

    def move(self, name: Name, to: Name) -> None:
        """Another name or schema: what was new stays new, what was there before isn't new under its new name."""
        old, new = self.key(name), (to.schema or self.key(name)[0], to.name)
        index = self._indexes.pop(old, None)
        if index:
            self._indexes[new] = index
        for key, table in self._indexes.items():
            if self.key(table) == old:
                self._indexes[key] = Name(*new)
        self._created.discard(new)
        if old in self._created:
            self._created.remove(old)
            self._created.add(new)

    def forget(self, name: Name) -> None:
        key = self.key(name)
        self._created.discard(key)
        self._indexes.pop(key, None)

    def forget_schema(self, schema: str) -> None:
        self._created = {key for key in self._created if key[0] != schema}

    def search(self, schemas: Iterable[str]) -> None:
        """SET search_path: the first schema that is one."""
        self._schema = next((each for each in schemas if each and each != "$user"), "public")

    def _new_key(self, range_var: Any) -> Key:
        name = trees.of_range(range_var)
        return name.schema or self._schema, name.name


def _create_table(file: File, node: Any) -> None:
    file.add(node.relation)
    definitions = (element.column_def for element in node.table_elts if element.HasField("column_def"))
    file.add_sequences(node.relation, definitions)


def _alter_table(file: File, node: Any) -> None:
    added = (getattr(each.alter_table_cmd, "def") for each in node.cmds)
    file.add_sequences(node.relation, (each.column_def for each in added if each.HasField("column_def")))


def _select_into(file: File, node: Any) -> None:
    if node.HasField("into_clause"):
        file.add(node.into_clause.rel)


def _view(file: File, node: Any) -> None:
    if not node.replace:
        file.add(node.view)


def _domain(file: File, node: Any) -> None:
    base = trees.strings(node.type_name.names)[-1:]
    constrained = any(each.constraint.contype in (_C.CONSTR_CHECK, _C.CONSTR_NOTNULL) for each in node.constraints)
    file.types[trees.strings(node.domainname)[-1]] = constrained or file.types.get("".join(base), False)


def _type(file: File, node: Any) -> None:
    names = trees.strings(node.type_name)
    file.types[names[-1]] = False


def _composite(file: File, node: Any) -> None:
    file.types[node.typevar.relname] = False


def _rename(file: File, node: Any) -> None:
    if node.HasField("relation") and _OBJECT(node.rename_type) in RELATIONS:
        name = trees.of_range(node.relation)
        file.move(name, Name(name.schema, node.newname))


def _set_schema(file: File, node: Any) -> None:
    if node.HasField("relation"):
        name = trees.of_range(node.relation)
        file.move(name, Name(node.newschema, name.name))


def _drop(file: File, node: Any) -> None:
    kind = _OBJECT(node.remove_type)
    for each in node.objects:
        if kind == "OBJECT_SCHEMA":
            file.forget_schema(each.string.sval)
        elif kind in RELATIONS:
            name = listed(kind, each)
            if name:
                file.forget(name)


def _set(file: File, node: Any) -> None:
    if node.name == "search_path":
        file.search(each.a_const.sval.sval for each in node.args)


_STEPS: Mapping[str, Callable[[File, Any], None]] = {
    "AlterObjectSchemaStmt": _set_schema,
    "AlterTableStmt": _alter_table,
    "CompositeTypeStmt": _composite,
    "CreateDomainStmt": _domain,
    "CreateEnumStmt": _type,
    "CreateForeignTableStmt": lambda file, node: _create_table(file, node.base_stmt),
    "CreateRangeStmt": _type,
    "CreateSeqStmt": lambda file, node: file.add(node.sequence),
    "CreateStmt": _create_table,
    "CreateTableAsStmt": lambda file, node: file.add(node.into.rel),
    "DropStmt": _drop,
    "IndexStmt": lambda file, node: file.add_index(node),
    "RenameStmt": _rename,
    "SelectStmt": _select_into,
    "VariableSetStmt": _set,
    "ViewStmt": _view,
}

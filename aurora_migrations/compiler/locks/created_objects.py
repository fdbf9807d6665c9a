"""What a file has created, renamed and dropped so far: a relation that is new in it keeps nobody else waiting.

One that may have been there before isn't new: what IF NOT EXISTS may have found, and what a ROLLBACK TO has taken back.
`aurora_migrations/compiler/locks/created.py`, which tells whom a hazard hurts, goes by the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import postgast

from aurora_migrations.compiler.locks import add_column, syntax_tree
from aurora_migrations.compiler.locks.created import is_made
from aurora_migrations.compiler.locks.match import RELATIONS, listed
from aurora_migrations.compiler.locks.savepoints import Savepoints
from aurora_migrations.compiler.locks.syntax_tree import Name

_OBJECT = postgast.pg_query_pb2.ObjectType.Name
_C = postgast.pg_query_pb2.ConstrType
_TEMPORARY = "pg_temp"
_NAME_LENGTH = 63  # bytes; PostgreSQL cuts a longer name

Key = tuple[str, str]


class File:
    """The names of one file, read from top to bottom.

    A name without a schema is taken to be in the first schema of the last `SET search_path`, else in `public`.

    Attributes:
        types: types the file created, and whether each is a domain with constraints.
    """

    def __init__(self) -> None:
        self.types: dict[str, bool] = {}
        self._schema = "public"
        # Nothing here is searched as a whole: a file of many statements would take the square of their number.
        self._created: dict[Key, int] = {}  # with a number that grows, in its order
        self._count = 0
        self._dropped_schemas: dict[str, int] = {}  # with the count at that time
        self._indexed: dict[Key, list[Name]] = {}  # by table, its present name
        self._indexes: dict[Key, list[Name]] = {}  # the same list, by index
        self._savepoints: Savepoints[tuple[int, int, str]] = Savepoints()

    def key(self, name: Name) -> Key:
        """The same for all spellings of one relation."""
        if name.schema:
            return name.schema, name.name
        temporary = _TEMPORARY, name.name
        return temporary if self._is_there(temporary) else (self._schema, name.name)

    def is_new(self, name: Name) -> bool:
        """Whether the file created it."""
        return self._is_there(self.key(name))

    def table_of(self, index: Name) -> Name | None:
        """The table of an index that the file created."""
        return self._indexes.get(self.key(index), [None])[0]

    def parts(self, node: Any) -> Iterator[Any]:
        """The statement itself, or those inside a CREATE SCHEMA, read as PostgreSQL does: within that schema."""
        if node.DESCRIPTOR.name != "CreateSchemaStmt":
            yield node
            return
        before, self._schema = self._schema, node.schemaname or self._schema
        for element in node.schema_elts:
            yield syntax_tree.inner(element)
        self._schema = before

    def follow(self, node: Any) -> None:
        """Take note of what a statement creates, renames or drops."""
        step = _STEPS.get(node.DESCRIPTOR.name)
        if step:
            step(self, node)

    def add(self, range_var: Any) -> None:
        self._add(self._new_key(range_var))

    def add_sequences(self, range_var: Any, definitions: Iterable[Any]) -> None:
        """The sequences of serial and identity columns, by the names that PostgreSQL gives them."""
        table = syntax_tree.of_range(range_var)
        for column in definitions:
            if add_column.is_serial(column) or add_column.is_identity(column):
                sequence = Name(table.schema, f"{table.name}_{column.colname}_seq"[:_NAME_LENGTH])
                self._add((sequence.schema or self._schema, sequence.name))

    def add_index(self, node: Any) -> None:
        if node.idxname:
            table = syntax_tree.of_range(node.relation)
            key = self.key(table)[0], node.idxname
            self._add(key)
            self._indexes[key] = self._indexed.setdefault(self.key(table), [table])

    def move(self, name: Name, to: Name) -> None:
        """Another name or schema: what was new stays new, what was there before isn't new under its new name."""
        old, new = self.key(name), (to.schema or self.key(name)[0], to.name)
        if old in self._indexes:
            self._indexes[new] = self._indexes.pop(old)
        if old in self._indexed:
            self._indexed[new] = self._indexed.pop(old)
            self._indexed[new][0] = Name(*new)
        self._created.pop(new, None)
        if self._is_there(old):
            del self._created[old]
            self._add(new)

    def forget(self, name: Name) -> None:
        key = self.key(name)
        self._created.pop(key, None)
        self._indexes.pop(key, None)

    def forget_schema(self, schema: str) -> None:
        self._dropped_schemas[schema] = self._count

    def search(self, schemas: Iterable[str]) -> None:
        """SET search_path: the first schema that is one."""
        self._schema = next((each for each in schemas if each and each != "$user"), "public")

    def control(self, node: Any) -> None:
        """A savepoint, or the way back to one. What was dropped or renamed since doesn't count as new again."""
        then = self._savepoints.follow(node, (self._count, len(self.types), self._schema))
        if then is None:
            return
        count, types, self._schema = then
        while self._created and next(reversed(self._created.values())) > count:
            key, _ = self._created.popitem()
            self._indexes.pop(key, None)
        while len(self.types) > types:
            self.types.popitem()

    def _is_there(self, key: Key) -> bool:
        return self._created.get(key, 0) > self._dropped_schemas.get(key[0], 0)

    def _add(self, key: Key) -> None:
        self._count += 1
        self._created.pop(key, None)
        self._created[key] = self._count

    def _new_key(self, range_var: Any) -> Key:
        name = syntax_tree.of_range(range_var)
        return name.schema or self._schema, name.name


def _create_table(file: File, node: Any) -> None:
    if not is_made(node, node.relation):
        return
    file.add(node.relation)
    definitions = (element.column_def for element in node.table_elts if element.HasField("column_def"))
    file.add_sequences(node.relation, definitions)


def _alter_table(file: File, node: Any) -> None:
    added = (getattr(each.alter_table_cmd, "def") for each in node.cmds if not each.alter_table_cmd.missing_ok)
    file.add_sequences(node.relation, (each.column_def for each in added if each.HasField("column_def")))


def _create_table_as(file: File, node: Any) -> None:
    if is_made(node, node.into.rel):
        file.add(node.into.rel)


def _create_sequence(file: File, node: Any) -> None:
    if is_made(node, node.sequence):
        file.add(node.sequence)


def _index(file: File, node: Any) -> None:
    if not node.if_not_exists:
        file.add_index(node)


def _select_into(file: File, node: Any) -> None:
    if node.HasField("into_clause"):
        file.add(node.into_clause.rel)


def _view(file: File, node: Any) -> None:
    if not node.replace:
        file.add(node.view)


def _domain(file: File, node: Any) -> None:
    base = syntax_tree.strings(node.type_name.names)[-1:]
    constrained = any(each.constraint.contype in (_C.CONSTR_CHECK, _C.CONSTR_NOTNULL) for each in node.constraints)
    file.types[syntax_tree.strings(node.domainname)[-1]] = constrained or file.types.get("".join(base), False)


def _type(file: File, node: Any) -> None:
    names = syntax_tree.strings(node.type_name)
    file.types[names[-1]] = False


def _composite(file: File, node: Any) -> None:
    file.types[node.typevar.relname] = False


def _rename(file: File, node: Any) -> None:
    if node.HasField("relation") and _OBJECT(node.rename_type) in RELATIONS:
        name = syntax_tree.of_range(node.relation)
        file.move(name, Name(name.schema, node.newname))


def _set_schema(file: File, node: Any) -> None:
    if node.HasField("relation"):
        name = syntax_tree.of_range(node.relation)
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
    "CreateSeqStmt": _create_sequence,
    "CreateStmt": _create_table,
    "CreateTableAsStmt": _create_table_as,
    "DropStmt": _drop,
    "IndexStmt": _index,
    "RenameStmt": _rename,
    "SelectStmt": _select_into,
    "TransactionStmt": lambda file, node: file.control(node),
    "VariableSetStmt": _set,
    "ViewStmt": _view,
}

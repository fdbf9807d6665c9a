"""What a file itself has made: what is done to that hurts nobody.

What IF NOT EXISTS and OR REPLACE may have found there isn't made by the file, nor is what a ROLLBACK TO takes back.
`aurora_migrations/compiler/locks/created_objects.py` goes by the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler.locks.savepoints import Savepoints
from aurora_migrations.compiler.parser import Statement

_Key = tuple[str, str, str]  # what it is, its schema, its name


@dataclass
class _Made:
    """The objects that the file has made so far: nobody else has seen them, so nothing done to them hurts.

    Attributes:
        default: the schema of names that have none. A file that sets search_path gets "", which is no other's.
    """

    default: str
    keys: dict[_Key, int] = field(default_factory=dict)  # with the number of the statement that made it, in its order
    savepoints: Savepoints[int] = field(default_factory=Savepoints)
    now: int = 0

    def key(self, names: Sequence[str], kind: str = "relation") -> _Key:
        schema = names[-2] if len(names) > 1 else self.default
        return (kind, self.default if schema == "pg_temp" else schema, names[-1])

    def relation(self, node: Any) -> _Key:
        return self.key([node.schemaname, node.relname] if node.schemaname else [node.relname])

    def add(self, key: _Key) -> None:
        self.keys.pop(key, None)
        self.keys[key] = self.now

    def go_back(self, then: int) -> None:
        """Forget what was made since; what was dropped or renamed since isn't counted as made again."""
        while self.keys and next(reversed(self.keys.values())) > then:
            self.keys.popitem()


def about_new_objects(statements: Sequence[Statement]) -> set[int]:
    """The numbers of the statements that touch only what earlier statements of the file have made."""
    moved = any(b"search_path" in statement.text.lower() for statement in statements)
    made = _Made("" if moved else "public")
    found = set()
    for number, statement in enumerate(statements):
        made.now = number
        touched = _touched(statement, made)
        if touched and all(key in made.keys for key in touched):
            found.add(number)
        _follow(statement, made, touched)
    return found


def _touched(statement: Statement, made: _Made) -> list[_Key]:
    """The objects a statement changes, of the kinds of statements that rules speak of."""
    node = statement.node
    if statement.kind == "DropStmt":
        kind = "function" if node.remove_type in _FUNCTIONS else "relation"
        return [made.key(names, kind) for names in map(_names, node.objects) if names]
    if statement.kind == "TruncateStmt":
        return [] if node.behavior == pb.DROP_CASCADE else [made.relation(r.range_var) for r in node.relations]
    if statement.kind in ("AlterDomainStmt", "AlterEnumStmt"):
        return [made.key(_strings(node.type_name))]
    if statement.kind in ("RenameStmt", "AlterObjectSchemaStmt") and not node.HasField("relation"):
        return _renamed_object(statement, made)
    if statement.kind in _ON_A_RELATION and node.HasField("relation"):
        return [made.relation(node.relation)]
    return []


def _renamed_object(statement: Statement, made: _Made) -> list[_Key]:
    of = "rename_type" if statement.kind == "RenameStmt" else "object_type"
    kind = getattr(statement.node, of)
    names = _names(statement.node.object)
    if not names or kind not in (*_FUNCTIONS, pb.OBJECT_TYPE, pb.OBJECT_DOMAIN):
        return []
    return [made.key(names, "function" if kind in _FUNCTIONS else "relation")]


def _follow(statement: Statement, made: _Made, touched: Sequence[_Key]) -> None:
    """Take note of what the statement makes, drops, renames or moves."""
    new = _created(statement, made)
    if new:
        made.add(new)
    elif statement.kind == "TransactionStmt":
        then = made.savepoints.follow(statement.node, made.now)
        if then is not None:
            made.go_back(then)
    elif statement.kind == "DropStmt":
        for key in touched:
            made.keys.pop(key, None)
    elif statement.kind in ("RenameStmt", "AlterObjectSchemaStmt") and touched and touched[0] in made.keys:
        _move(statement, made, touched[0])


def _move(statement: Statement, made: _Made, old: _Key) -> None:
    kind, schema, name = old
    if statement.kind == "AlterObjectSchemaStmt":
        del made.keys[old]
        made.add((kind, statement.node.newschema, name))
    elif not statement.node.subname:  # else it renames something in it, such as a column
        del made.keys[old]
        made.add((kind, schema, statement.node.newname))


def _created(statement: Statement, made: _Made) -> _Key | None:
    """What the statement makes for certain: IF NOT EXISTS and OR REPLACE may find it there, with others using it. A
    temporary one nobody else can use."""
    node, kind = statement.node, statement.kind
    if kind == "IndexStmt":
        schema = made.relation(node.relation)[1]
        return None if node.if_not_exists or not node.idxname else ("relation", schema, node.idxname)
    if kind in _MAKERS:
        names = getattr(node, _MAKERS[kind])
        return made.relation(names) if hasattr(names, "relname") else made.key(_strings(names))
    if kind in ("CreateStmt", "CreateSeqStmt"):
        relation = node.relation if kind == "CreateStmt" else node.sequence
        return made.relation(relation) if is_made(node, relation) else None
    if kind == "CreateForeignTableStmt":
        return made.relation(node.base_stmt.relation) if is_made(node.base_stmt, node.base_stmt.relation) else None
    if kind == "CreateTableAsStmt":
        return made.relation(node.into.rel) if is_made(node, node.into.rel) else None
    if kind == "SelectStmt":
        return made.relation(node.into_clause.rel) if node.HasField("into_clause") else None
    if kind == "ViewStmt":
        return None if node.replace else made.relation(node.view)
    if kind == "CreateFunctionStmt":
        return None if node.replace else made.key(_strings(node.funcname), "function")
    return None


def is_made(node: Any, relation: Any) -> bool:
    """Whether a CREATE makes its relation for certain, or one that nobody else could be using."""
    return not node.if_not_exists or relation.relpersistence == "t" or relation.schemaname == "pg_temp"


_FUNCTIONS = (pb.OBJECT_FUNCTION, pb.OBJECT_PROCEDURE, pb.OBJECT_ROUTINE, pb.OBJECT_AGGREGATE)
_ON_A_RELATION = frozenset({"AlterTableStmt", "IndexStmt", "ReindexStmt", "RenameStmt", "AlterObjectSchemaStmt"})
_MAKERS = {  # statements without IF NOT EXISTS and OR REPLACE, and the field that names what they make
    "CompositeTypeStmt": "typevar",
    "CreateEnumStmt": "type_name",
    "CreateRangeStmt": "type_name",
    "CreateDomainStmt": "domainname",
}


def _names(item: Any) -> list[str]:
    """The parts of a name where a statement lists objects: tables, types and functions each have their own shape."""
    if item.HasField("list"):
        return _strings(item.list.items)
    if item.HasField("type_name"):
        return _strings(item.type_name.names)
    if item.HasField("object_with_args"):
        return _strings(item.object_with_args.objname)
    return []


def _strings(nodes: Iterable[Any]) -> list[str]:
    return [node.string.sval for node in nodes]

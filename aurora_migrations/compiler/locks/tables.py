"""Which relations a file makes or changes, by the names that they have at its end: what to look at afterwards.

What it only reads isn't among them, nor what it drops, nor what is temporary. What is done inside a function or a DO
block can't be seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import postgast

from aurora_migrations.compiler.locks import syntax_tree
from aurora_migrations.compiler.locks.created_objects import File
from aurora_migrations.compiler.locks.match import RELATIONS, Touch, listed, touches
from aurora_migrations.compiler.locks.rules import ACCESS_SHARE, ROW_SHARE
from aurora_migrations.compiler.locks.syntax_tree import Name
from aurora_migrations.compiler.parser import Statement

_OBJECT = postgast.pg_query_pb2.ObjectType.Name
_READS = (ACCESS_SHARE, ROW_SHARE)


def tables(statements: Sequence[Statement]) -> tuple[str, ...]:
    """The names, quoted as PostgreSQL quotes, with a schema where the file names or sets one; in the order of their
    first mention. Views, indexes and sequences may be among them: only the database can tell those apart."""
    file, found, place = File(), dict[Name, int](), itertools.count()
    before: Any = None
    for statement in statements:
        if statement.node is before:  # of a dump it is the same for every row
            continue
        before = statement.node
        for node in file.parts(statement.node):
            for touch in filter(_changes, touches(node, file.types)):
                found.setdefault(placed(file, touch.name), next(place))
            _rename(file, node, found)
            file.follow(node)
        for gone in _dropped(statement.node):
            found.pop(placed(file, gone), None)
    return tuple(str(name) for name in sorted(found, key=found.__getitem__) if name.schema != "pg_temp")


def _changes(touch: Touch) -> bool:
    return touch.runs and (touch.rule is None or touch.rule.lock not in _READS)


def placed(file: File, name: Name) -> Name:
    """The name with the schema of the file's own `SET search_path`; without one it is left to the session's."""
    schema = file.key(name)[0]
    return name if name.schema or schema == "public" else Name(schema, name.name)


def _rename(file: File, node: Any, found: dict[Name, int]) -> None:
    kind = node.DESCRIPTOR.name
    if kind not in ("RenameStmt", "AlterObjectSchemaStmt") or not node.HasField("relation"):
        return
    old = placed(file, syntax_tree.of_range(node.relation))
    if kind == "AlterObjectSchemaStmt":
        new = Name(node.newschema, old.name)
    elif node.subname:  # a column or a constraint
        return
    else:
        new = Name(old.schema, node.newname)
    if old in found:
        found[new] = found.pop(old)


def _dropped(node: Any) -> Iterator[Name]:
    kind = _OBJECT(node.remove_type) if node.DESCRIPTOR.name == "DropStmt" else ""
    if kind in RELATIONS:  # not a trigger or a policy, whose table stays
        names = (listed(kind, each) for each in node.objects)
        yield from (name for name in names if name is not None)

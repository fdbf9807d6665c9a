"""The tables that a file changes, for verify."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import postgast

from aurora_migrations.compiler.locks import syntax_tree
from aurora_migrations.compiler.locks.created_objects import TEMPORARY, CreatedObjects, dropped, new_name
from aurora_migrations.compiler.locks.match import RELATIONS, Touch, touches
from aurora_migrations.compiler.locks.rules import ACCESS_SHARE, ROW_SHARE
from aurora_migrations.compiler.locks.syntax_tree import Name
from aurora_migrations.compiler.parser import Statement
from aurora_migrations.engine.rows import distinct

_pb = postgast.pg_query_pb2
_OBJECT = _pb.ObjectType.Name
_READS = (ACCESS_SHARE, ROW_SHARE)
_TAKING_NAMES = frozenset({"AlterObjectSchemaStmt", "DropStmt", "RenameStmt"})


class ChangedRelations:
    """The relations that a file creates or changes, by the names that they have at its end.

    What it only reads isn't among them, nor what it drops, nor what is temporary. What is done inside a function or a
    DO block can't be seen. The names are quoted as PostgreSQL quotes, with a schema where the file names or sets one,
    in the order of their first mention. Views, indexes and sequences may be among them: only the database can tell
    those apart.
    """

    def __init__(self, created: CreatedObjects) -> None:
        self._created = created
        self._found: dict[Name, int] = {}
        self._places = itertools.count()

    def see(self, node: Any, touched: Iterable[tuple[Touch, Name]]) -> None:
        """Takes in a statement and the relations that it touches, each with its name as `created` resolves it, before
        `created` follows the statement."""
        created, found = self._created, self._found
        for touch, resolved in touched:
            if touch.runs and (touch.rule is None or touch.rule.lock not in _READS):
                found.setdefault(_qualified(touch.name, resolved), next(self._places))
        if node.DESCRIPTOR.name not in _TAKING_NAMES:
            return
        for name in _renamed(node):
            old = _qualified(name, created.resolve(name))
            if old in found:
                found[new_name(node, old)] = found.pop(old)
        for name in _dropped_relations(node):
            found.pop(_qualified(name, created.resolve(name)), None)

    @property
    def names(self) -> tuple[str, ...]:
        found = self._found
        return tuple(str(name) for name in sorted(found, key=found.__getitem__) if name.schema != TEMPORARY)


def changed_relations(statements: Sequence[Statement]) -> tuple[str, ...]:
    """The relations that a file creates or changes; see `ChangedRelations`."""
    created = CreatedObjects()
    changed = ChangedRelations(created)
    for node in _nodes(statements, created):
        changed.see(node, ((touch, created.resolve(touch.name)) for touch in touches(node, created.types)))
        created.follow(node)
    return changed.names


def _nodes(statements: Sequence[Statement], created: CreatedObjects) -> Iterator[Any]:
    before: Any = None
    for _, statement in distinct(statements):
        if statement.node is not before:  # in a dump it is the same for every row
            yield from created.flatten(statement.node)
        before = statement.node


def _qualified(name: Name, resolved: Name) -> Name:
    """The name with the schema of the file's own `SET search_path`; without one it is left to the session's."""
    return name if resolved.schema == "public" else resolved


def _dropped_relations(node: Any) -> Iterable[Name]:
    """Not what has the name of one: such as a trigger or a policy, whose table stays, or a type."""
    is_dropped = node.DESCRIPTOR.name == "DropStmt" and _OBJECT(node.remove_type) in RELATIONS
    return dropped(node) if is_dropped else ()


def _renamed(node: Any) -> Iterable[Name]:
    """The relation that gets another name or schema."""
    is_rename = node.DESCRIPTOR.name == "RenameStmt" and not node.subname  # else of a column or a constraint
    is_altered = is_rename or node.DESCRIPTOR.name == "AlterObjectSchemaStmt"
    return (syntax_tree.of_range(node.relation),) if is_altered and node.HasField("relation") else ()

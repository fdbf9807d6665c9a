"""The tables of a file, for verify: those that it changes, those that exist for certain once it is applied, those that
it may have removed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import postgast

from aurora_migrations.compiler.locks import syntax_tree
from aurora_migrations.compiler.locks.created_objects import TEMPORARY, CreatedObjects, dropped, new_name
from aurora_migrations.compiler.locks.match import RELATIONS, Touch, touches
from aurora_migrations.compiler.locks.rules import ACCESS_SHARE, OF_ROWS, OF_THE_SERVER, ROW_SHARE, STEADY, VOLATILE
from aurora_migrations.compiler.locks.syntax_tree import Name
from aurora_migrations.compiler.parser import Statement
from aurora_migrations.engine.script import ANYTHING

_pb = postgast.pg_query_pb2
_OBJECT = _pb.ObjectType.Name
# Verify reports a table that an applied file has created and that is missing. So a table that the file's statements may
# remove doesn't count as certain. Neither does a partition or a table that inherits: both go with their parent, and
# partitions go with time. Where anything may have happened (a DO block, a function of one's own, a schema dropped),
# everything that earlier files have created is uncertain.
#
# What a statement causes without naming it can't be seen, and isn't guessed: a trigger or an event trigger, a rule, an
# operator of one's own, a function of one's own that has the name of one of PostgreSQL's. If one of these drops a
# table, verify reports it as missing until a new migration says that it must be gone.

_READS = (ACCESS_SHARE, ROW_SHARE)
_OPAQUE = frozenset(
    ("AlterExtensionContentsStmt", "AlterExtensionStmt", "CallStmt", "DoStmt", "DropOwnedStmt", "ExecuteStmt")
)
_QUERIES = frozenset(
    (
        *("AlterTableStmt", "CopyStmt", "CreateTableAsStmt", "DeclareCursorStmt", "DeleteStmt", "ExplainStmt"),
        *("InsertStmt", "MergeStmt", "SelectStmt", "UpdateStmt"),
    )
)
_BUILT_IN = STEADY | VOLATILE | OF_ROWS | OF_THE_SERVER


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

    def see(self, node: Any, touched: Iterable[Touch]) -> None:
        """Takes in a statement and the relations that it touches, before `created` follows it."""
        created, found = self._created, self._found
        for touch in touched:
            if touch.runs and (touch.rule is None or touch.rule.lock not in _READS):
                found.setdefault(_qualified(created, touch.name), next(self._places))
        for name in _renamed(node):
            old = _qualified(created, name)
            if old in found:
                found[new_name(node, old)] = found.pop(old)
        for name in _dropped_relations(node):
            found.pop(_qualified(created, name), None)

    @property
    def names(self) -> tuple[str, ...]:
        found = self._found
        return tuple(str(name) for name in sorted(found, key=found.__getitem__) if name.schema != TEMPORARY)


class CertainTables:
    """The tables that exist for certain after a file, named as `ChangedRelations` names them, and the bare names of
    what it may have removed; `ANYTHING` among these, if it may be anything."""

    def __init__(self, created: CreatedObjects) -> None:
        self._created = created
        self._certain: dict[str, dict[Name, None]] = {}
        self._removed: dict[str, None] = {}
        self._path_is_known = True  # if not, a table without a schema in its name may be anywhere, or temporary

    def see(self, node: Any) -> None:
        """Takes in a statement, before `created` follows it."""
        created, certain, removed = self._created, self._certain, self._removed
        below = syntax_tree.walk(node) if node.DESCRIPTOR.name in _QUERIES else ()
        calls = [each for each in below if each.DESCRIPTOR.name in ("FuncCall", "ExecuteStmt")]
        if _may_remove_unnamed(node, calls):
            certain.clear()
            removed[ANYTHING] = None
        is_alter = node.DESCRIPTOR.name == "AlterTableStmt"
        for name in _bound(node) if is_alter else (*_dropped_relations(node), *_renamed(node)):
            removed[syntax_tree.quoted(name.name)] = None
            old = _qualified(created, name)
            if old in certain.pop(name.name, ()) and node.DESCRIPTOR.name == "RenameStmt":
                certain.setdefault(node.newname, {})[new_name(node, old)] = None
        self._path_is_known = self._path_is_known and not any(map(syntax_tree.sets_search_path, calls))
        for name in _certain_table(node):
            if name.schema or self._path_is_known:
                certain.setdefault(name.name, {})[_qualified(created, name)] = None

    @property
    def made(self) -> tuple[str, ...]:
        names = (name for names in self._certain.values() for name in names)
        return tuple(str(name) for name in names if name.schema != TEMPORARY)

    @property
    def taken(self) -> tuple[str, ...]:
        return tuple(self._removed)


def changed_relations(statements: Sequence[Statement]) -> tuple[str, ...]:
    """The relations that a file creates or changes; see `ChangedRelations`."""
    created = CreatedObjects()
    changed = ChangedRelations(created)
    for node in _nodes(statements, created):
        changed.see(node, touches(node, created.types))
        created.follow(node)
    return changed.names


def _nodes(statements: Sequence[Statement], created: CreatedObjects) -> Iterator[Any]:
    before: Any = None
    for statement in statements:
        if statement.node is not before:  # in a dump it is the same for every row
            yield from created.flatten(statement.node)
        before = statement.node


def _qualified(created: CreatedObjects, name: Name) -> Name:
    """The name with the schema of the file's own `SET search_path`; without one it is left to the session's."""
    resolved = created.resolve(name)
    return name if resolved.schema == "public" else resolved


def _certain_table(node: Any) -> Iterator[Name]:
    """A table that depends on no other one. IF NOT EXISTS creates it, or it is there."""
    kind = node.DESCRIPTOR.name
    if kind == "CreateStmt" and not (node.HasField("partbound") or node.inh_relations or node.HasField("of_typename")):
        yield syntax_tree.of_range(node.relation)
    elif kind == "CreateTableAsStmt" and _OBJECT(node.objtype) == "OBJECT_TABLE":
        yield syntax_tree.of_range(node.into.rel)
    elif kind == "SelectStmt" and node.HasField("into_clause"):
        yield syntax_tree.of_range(node.into_clause.rel)


def _dropped_relations(node: Any) -> Iterable[Name]:
    """Not what has the name of one: such as a trigger or a policy, whose table stays, or a type."""
    is_dropped = node.DESCRIPTOR.name == "DropStmt" and _OBJECT(node.remove_type) in RELATIONS
    return dropped(node) if is_dropped else ()


def _renamed(node: Any) -> Iterable[Name]:
    """The relation that gets another name or schema."""
    is_rename = node.DESCRIPTOR.name == "RenameStmt" and not node.subname  # else of a column or a constraint
    is_altered = is_rename or node.DESCRIPTOR.name == "AlterObjectSchemaStmt"
    return (syntax_tree.of_range(node.relation),) if is_altered and node.HasField("relation") else ()


def _bound(node: Any) -> Iterator[Name]:
    """Partitions that are attached or detached, and what inherits from now on."""
    for wrapped in node.cmds:
        command = wrapped.alter_table_cmd
        if command.subtype in (_pb.AT_AttachPartition, _pb.AT_DetachPartition, _pb.AT_DetachPartitionFinalize):
            yield syntax_tree.of_range(getattr(command, "def").partition_cmd.name)
        elif command.subtype in (_pb.AT_AddInherit, _pb.AT_AddOf):
            yield syntax_tree.of_range(node.relation)


def _may_remove_unnamed(node: Any, calls: Iterable[Any]) -> bool:
    """Whether it may remove tables that it doesn't name. Functions of PostgreSQL's own don't; a prepared statement may
    do anything."""
    kind = node.DESCRIPTOR.name
    if kind == "DropStmt":
        return _OBJECT(node.remove_type) in ("OBJECT_SCHEMA", "OBJECT_EXTENSION")
    if kind == "TransactionStmt":  # what was created since the savepoint
        return bool(node.kind == _pb.TRANS_STMT_ROLLBACK_TO)
    for call in calls:
        names = syntax_tree.strings(call.funcname) if call.DESCRIPTOR.name == "FuncCall" else []
        is_built_in = names[0] in _BUILT_IN if len(names) == 1 else names[:1] == ["pg_catalog"]
        if not is_built_in:  # nor is one whose tree was too deep to be kept, which has no name
            return True
    return kind in _OPAQUE

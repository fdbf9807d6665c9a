"""Which tables are there for certain once a file is in, and which relations it may have taken away.

By this, verify misses a table that an applied file has made. So a table that the file's statements may take away is not
said to be there for certain. A partition isn't, nor what inherits: both go with their parent, and partitions go with
time. Where anything may have happened (a DO block, a function of one's own, a schema dropped), all that earlier files
have made is uncertain.

What a statement sets off without naming it can't be seen, and isn't guessed: a trigger or an event trigger, a rule, an
operator of one's own, a function of one's own that has the name of one of PostgreSQL's. Should one of these drop a
table, verify misses it, until a new migration says that it is to be gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import postgast

from aurora_migrations.compiler.deep import is_list
from aurora_migrations.compiler.locks import syntax_tree
from aurora_migrations.compiler.locks.builtins import OF_ROWS, OF_THE_SERVER, STEADY, VOLATILE
from aurora_migrations.compiler.locks.created_objects import File
from aurora_migrations.compiler.locks.match import RELATIONS, listed
from aurora_migrations.compiler.locks.syntax_tree import Name
from aurora_migrations.compiler.locks.tables import placed
from aurora_migrations.compiler.parser import Statement
from aurora_migrations.engine.script import ANYTHING

_pb = postgast.pg_query_pb2
_OBJECT = _pb.ObjectType.Name
_TEMPORARY = "pg_temp"
_CALL, _EXECUTE = "FuncCall", "ExecuteStmt"
_OPAQUE = frozenset(
    (
        "AlterExtensionContentsStmt",
        "AlterExtensionStmt",
        "CallStmt",
        "DoStmt",
        "DropOwnedStmt",
        _EXECUTE,
    )
)
_WHOLES = ("OBJECT_SCHEMA", "OBJECT_EXTENSION")  # with which tables go that no statement names
_QUERIES = frozenset(
    (
        "AlterTableStmt",
        "CopyStmt",
        "CreateTableAsStmt",
        "DeclareCursorStmt",
        "DeleteStmt",
        "ExplainStmt",
        "InsertStmt",
        "MergeStmt",
        "SelectStmt",
        "UpdateStmt",
    )
)
_PARTITIONS = (_pb.AT_AttachPartition, _pb.AT_DetachPartition, _pb.AT_DetachPartitionFinalize)
_BOUND = (_pb.AT_AddInherit, _pb.AT_AddOf)  # what is altered goes with something else from then on
_BUILT_IN = STEADY | VOLATILE | OF_ROWS | OF_THE_SERVER
_NODE = _pb.Node.DESCRIPTOR
_WITHOUT_CALLS = ("Alias", "TypeName")
_CATALOGUE = "pg_catalog"


def staying(statements: Sequence[Statement]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tables, by the names that `aurora_migrations.compiler.locks.tables` gives them, and the bare names of what may have been taken away;
    `ANYTHING` among these, if it may be anything."""
    file, made, taken = File(), dict[str, dict[Name, None]](), dict[str, None]()  # made: by the bare name
    before: Any = None
    adrift = False
    for statement in statements:
        if statement.node is before:  # of a dump it is the same for every row
            continue
        before = statement.node
        for node in file.parts(statement.node):
            calls = list(_calls(node)) if node.DESCRIPTOR.name in _QUERIES else []
            if _hides(node) or any(map(_is_strange, calls)):
                made.clear()
                taken[ANYTHING] = None
            for gone in _taken(node):
                taken[syntax_tree.quoted(gone.name)] = None
                old = placed(file, gone)
                was_made = old in made.pop(gone.name, ())
                if was_made and node.DESCRIPTOR.name == "RenameStmt":
                    made.setdefault(node.newname, {})[Name(old.schema, node.newname)] = None
            adrift = adrift or any(map(_sets_path, calls))
            for name in _made(node):
                if name.schema or not adrift:
                    made.setdefault(name.name, {})[placed(file, name)] = None
            file.follow(node)
    lasting = (name for names in made.values() for name in names if name.schema != _TEMPORARY)
    return tuple(map(str, lasting)), tuple(taken)


def _made(node: Any) -> Iterator[Name]:
    """A lasting table that stands for itself. IF NOT EXISTS makes it, or it is there."""
    kind = node.DESCRIPTOR.name
    if kind == "CreateStmt":
        if not (node.HasField("partbound") or node.inh_relations or node.HasField("of_typename")):
            yield syntax_tree.of_range(node.relation)
    elif kind == "CreateTableAsStmt":
        if _OBJECT(node.objtype) == "OBJECT_TABLE":
            yield syntax_tree.of_range(node.into.rel)
    elif kind == "SelectStmt" and node.HasField("into_clause"):
        yield syntax_tree.of_range(node.into_clause.rel)


def _taken(node: Any) -> Iterator[Name]:
    look = _TAKERS.get(node.DESCRIPTOR.name)
    return look(node) if look else iter(())


def _dropped(node: Any) -> Iterator[Name]:
    kind = _OBJECT(node.remove_type)
    if kind in RELATIONS:
        yield from (name for each in node.objects if (name := listed(kind, each)) is not None)


def _renamed(node: Any) -> Iterator[Name]:
    is_column = node.DESCRIPTOR.name == "RenameStmt" and node.subname  # or a constraint
    if node.HasField("relation") and not is_column:
        yield syntax_tree.of_range(node.relation)


def _altered(node: Any) -> Iterator[Name]:
    """Partitions that come or go, and what inherits from now on."""
    for wrapped in node.cmds:
        command = wrapped.alter_table_cmd
        if command.subtype in _PARTITIONS:
            yield syntax_tree.of_range(getattr(command, "def").partition_cmd.name)
        elif command.subtype in _BOUND:
            yield syntax_tree.of_range(node.relation)


_TAKERS: Mapping[str, Callable[[Any], Iterator[Name]]] = {
    "AlterObjectSchemaStmt": _renamed,
    "AlterTableStmt": _altered,
    "DropStmt": _dropped,
    "RenameStmt": _renamed,
}


def _hides(node: Any) -> bool:
    """Whether it may take away tables that it doesn't name."""
    kind = node.DESCRIPTOR.name
    if kind == "DropStmt":
        return _OBJECT(node.remove_type) in _WHOLES
    if kind == "TransactionStmt":  # what was made since the savepoint isn't
        return bool(node.kind == _pb.TRANS_STMT_ROLLBACK_TO)
    return kind in _OPAQUE


def _sets_path(call: Any) -> bool:
    """Whether it may set the search_path: then a table without a schema in its name may be anywhere, or temporary."""
    if call.DESCRIPTOR.name != _CALL or syntax_tree.strings(call.funcname)[-1] != "set_config":
        return False
    setting = call.args[0].a_const.sval.sval if call.args else ""
    return setting.lower() in ("", "search_path")  # empty where it isn't a constant, so that it may be any


def _is_strange(call: Any) -> bool:
    """Whether it isn't a function of PostgreSQL's own. A prepared statement may be anything."""
    if call.DESCRIPTOR.name != _CALL:
        return True
    names = syntax_tree.strings(call.funcname)
    return not (names[-1] in _BUILT_IN if len(names) == 1 else names[0] == _CATALOGUE)


def _calls(node: Any) -> Iterator[Any]:
    """Every call of a function in a query, however deep, and every EXECUTE of a prepared statement."""
    waiting = [node]
    while waiting:
        message = waiting.pop()
        if message.DESCRIPTOR.name in (_CALL, _EXECUTE):
            yield message
        for field, value in message.ListFields():
            if field.message_type is not None and field.message_type.name not in _WITHOUT_CALLS:
                found = value if is_list(field) else (value,)
                waiting += [each for each in map(_opened, found) if each is not None]


def _opened(message: Any) -> Any:
    """What a Node holds; None for what holds no calls."""
    if message.DESCRIPTOR is not _NODE:
        return message
    which = message.WhichOneof("node")
    return None if which is None or which in syntax_tree.LEAVES else getattr(message, which)

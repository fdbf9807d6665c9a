"""Reads syntax trees: names, quoting, options, and the relations that a query uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from typing import Any, NamedTuple

import postgast
from google.protobuf.message import Message
from postgast import pg_query_pb2 as pb

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*\Z")
_PART = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')


class Name(NamedTuple):
    """A relation as a statement names it; `schema` is empty where none is written, `pg_temp` if it is temporary."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.name)}" if self.schema else quoted(self.name)


@cache
def _reserved() -> frozenset[str]:
    """The keywords that must be quoted as names: not those that are reserved nowhere. A keyword is called like its
    token, which ends in `_P` where that would be something else in C."""
    words = " ".join(name.removesuffix("_P").lower() for name in pb.Token.keys())  # noqa: SIM118 - not a dict
    free = (pb.NO_KEYWORD, pb.UNRESERVED_KEYWORD)
    found = postgast.scan(words).tokens
    return frozenset(words[each.start : each.end] for each in found if each.keyword_kind not in free)


@lru_cache(maxsize=4096)
def quoted(name: str) -> str:
    """An identifier as PostgreSQL's quote_ident() writes it: in quotes only where it must be."""
    if _PLAIN.match(name) and name not in _reserved():
        return name
    return '"' + name.replace('"', '""') + '"'


def of_range(range_var: Any) -> Name:
    if range_var.relpersistence == "t" and not range_var.schemaname:
        return Name("pg_temp", range_var.relname)
    return Name(range_var.schemaname, range_var.relname)


def of_parts(parts: Iterable[str]) -> Name | None:
    """The name in a list of its parts: [catalogue,] [schema,] relation."""
    last = list(parts)[-2:]
    if not last:
        return None
    return Name(last[0] if len(last) == 2 else "", last[-1])


def of_text(text: str) -> Name | None:
    """The name in a string such as 'app."Orders_id_seq"', as nextval() takes it."""
    found = [(quotes.replace('""', '"') if quotes else plain.strip().lower()) for quotes, plain in _PART.findall(text)]
    return of_parts(found)


def strings(nodes: Iterable[Any]) -> list[str]:
    return [node.string.sval for node in nodes if node.HasField("string")]


def inner(node: Any) -> Any:
    """What a Node holds."""
    which = node.WhichOneof("node")
    return getattr(node, which) if which else node


def option_is_on(options: Iterable[Any], name: str, default: bool = False) -> bool:
    """Whether an option such as VACUUM's FULL is on: named alone, or with a true value."""
    for option in options:
        if option.def_elem.defname == name:
            return not option.def_elem.HasField("arg") or _is_true(inner(option.def_elem.arg))
    return default


def _is_true(value: Any) -> bool:
    kind = value.DESCRIPTOR.name
    if kind == "A_Const":  # READ ONLY and its kind
        return bool(value.ival.ival)
    if kind == "Integer":
        return bool(value.ival)
    words = [value.sval] if kind == "String" else strings(value.names) if kind == "TypeName" else []
    return not words or words[-1].lower() not in ("false", "off", "0")


def sets_search_path(call: Any) -> bool:
    """Whether a call may be `set_config('search_path', ...)`."""
    if call.DESCRIPTOR.name != "FuncCall" or strings(call.funcname)[-1:] != ["set_config"]:
        return False
    setting = call.args[0].a_const.sval.sval if call.args else ""
    return setting.lower() in ("", "search_path")  # empty where it isn't a constant, so that it may be any


class Use(NamedTuple):
    """A relation that a query uses."""

    name: Name
    how: str  # the statement inside it that does: `SelectStmt`, `InsertStmt` ...; `FuncCall` for a sequence
    what: str = ""  # for `SelectStmt`: `FOR UPDATE` if its rows are locked; for `FuncCall`: the function


_WRITERS = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
_SEQUENCE_FUNCTIONS = ("nextval", "setval")


def uses(message: Any) -> list[Use]:
    """The relations that a query, or an expression in one, names."""
    found: list[Use] = []
    _collect(inner(message) if message.DESCRIPTOR is _NODE else message, frozenset(), found)
    return found


def _collect(message: Any, hidden: frozenset[str], found: list[Use]) -> None:
    """`hidden` are the names of the WITH queries around it."""
    kind = message.DESCRIPTOR.name
    skipped = ""
    if kind == "RangeVar":
        if message.schemaname or message.relname not in hidden:
            found.append(Use(of_range(message), "SelectStmt"))
        return
    if kind == "FuncCall":
        found.extend(_sequence(message))
    elif kind in _WRITERS:
        found.append(Use(of_range(message.relation), kind))
        if kind == "InsertStmt" and _is_of_constants(message):
            return
        hidden, skipped = _with(message, hidden, found), "relation"
    elif kind == "SelectStmt":
        hidden, skipped = _with(message, hidden, found), "into_clause"
        if message.locking_clause:
            found.extend(_locked(message, hidden))
    for child in children(message, "with_clause", "locking_clause", skipped):
        _collect(child, hidden, found)


def _is_of_constants(insert: Any) -> bool:
    """Whether an INSERT certainly names nothing but its table and constants. Most do, so that it's worth a look."""
    columns, query = insert.cols, insert.select_stmt.select_stmt
    rows = query.values_lists
    # To count the fields takes a third of the time of asking for their names. A number or an enum is one if it isn't 0.
    plain = (insert.HasField("relation"), bool(columns), insert.HasField("select_stmt"), insert.override != 0)
    if not rows or len(insert.ListFields()) > sum(plain):
        return False
    if len(query.ListFields()) > 1 + (query.limit_option != 0) + (query.op != 0):
        return False
    for column in columns:
        if column.res_target.indirection:
            return False
    for row in rows:
        for item in row.list.items:
            if not (item.HasField("a_const") or item.WhichOneof("node") in _LEAVES):
                return False
    return True


def _with(statement: Any, hidden: frozenset[str], found: list[Use]) -> frozenset[str]:
    """A WITH query sees those before it; with RECURSIVE all, itself too. The statement sees them all."""
    if not statement.HasField("with_clause"):
        return hidden
    clause = statement.with_clause
    names = [node.common_table_expr.ctename for node in clause.ctes]
    seen = hidden | set(names) if clause.recursive else hidden
    for name, node in zip(names, clause.ctes, strict=True):
        _collect(node.common_table_expr, seen, found)
        seen |= {name}
    return seen


def _locked(select: Any, hidden: frozenset[str]) -> Iterator[Use]:
    """FOR UPDATE and its kind lock the rows of the tables they list, by alias, or of all in FROM."""
    listed = {node.range_var.relname for clause in select.locking_clause for node in clause.locking_clause.locked_rels}
    for each in _from(select.from_clause):
        called = each.alias.aliasname if each.HasField("alias") else each.relname
        if (not listed or called in listed) and (each.schemaname or each.relname not in hidden):
            yield Use(of_range(each), "SelectStmt", "FOR UPDATE")


def _from(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        item = inner(node)
        if node.HasField("range_var"):
            yield item
        elif node.HasField("join_expr"):
            yield from _from((item.larg, item.rarg))
        elif node.HasField("range_subselect"):
            yield from _from(item.subquery.select_stmt.from_clause)


def _sequence(call: Any) -> Iterator[Use]:
    """The sequence in nextval('s'): the function takes the lock on it."""
    function = strings(call.funcname)[-1:]
    if function and function[0] in _SEQUENCE_FUNCTIONS and call.args:
        argument = inner(call.args[0])
        if call.args[0].HasField("type_cast"):
            argument = inner(argument.arg)
        if argument.DESCRIPTOR.name == "A_Const" and argument.HasField("sval"):
            name = of_text(argument.sval.sval)
            if name:
                yield Use(name, "FuncCall", function[0])


# Going down a tree, past what holds no names of relations or functions

_NODE = pb.Node.DESCRIPTOR
_WITHOUT_NAMES = frozenset((pb.Alias.DESCRIPTOR, pb.TypeName.DESCRIPTOR))
_LEAVES = frozenset(
    ("a_const", "a_star", "boolean", "column_ref", "float", "integer", "param_ref", "set_to_default", "string")
)


def children(message: Any, *skipped: str) -> Iterator[Any]:
    """The messages right below one, but those in the skipped fields."""
    for field, value in message.ListFields():
        kind = field.message_type
        if kind is None or kind in _WITHOUT_NAMES or field.name in skipped:
            continue
        for each in (value,) if isinstance(value, Message) else value:
            if kind is not _NODE:
                yield each
            elif (which := each.WhichOneof("node")) and which not in _LEAVES:
                yield getattr(each, which)


def walk(message: Any) -> Iterator[Any]:
    """A message and all that is below it."""
    waiting = [message]
    while waiting:
        message = waiting.pop()
        yield message
        waiting += children(message)

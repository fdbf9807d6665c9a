"""What a statement needs of an earlier one of its file and doesn't get: an enum's new value in the transaction that
adds it, and a temporary table in a later unit, which another session may run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler.locks.syntax_tree import Name, of_parts, of_text, strings, uses
from aurora_migrations.compiler.parser import Statement, token_spans
from aurora_migrations.compiler.transaction_units import session_state
from aurora_migrations.engine.rows import distinct
from aurora_migrations.engine.script import Unit

_ENUM = (
    "this value is added to its enum in the same transaction, and PostgreSQL refuses to use it there; use it in the "
    "next file, or write `-- migration: transaction = off` at the top, so that each statement is its own transaction"
)
_TEMPORARY = (
    "this needs the temporary table of an earlier part of the file, which is gone if the file is resumed after that "
    "part: a resumed run has another session; put both into one BEGIN ... COMMIT, or make a plain table and drop it in "
    "the last part"
)
_CAST = re.compile(r"\s*::\s*((?:\"(?:[^\"]|\"\")+\"|[\w$]+)(?:\s*\.\s*(?:\"(?:[^\"]|\"\")+\"|[\w$]+))?)")


def unmet_needs(statements: Sequence[Statement], units: Sequence[Unit]) -> Iterator[tuple[int, str]]:
    """What can't work, or not after a resume: the byte of each, and what to write instead."""
    yield from ((at, _ENUM) for at, is_certain in _enum_values(statements, units) if is_certain)
    yield from ((at, _TEMPORARY) for at in _temporary_tables(statements, units))


def doubtful_enum_values(statements: Sequence[Statement], units: Sequence[Unit]) -> Iterator[int]:
    """The bytes of strings that may be a value which the same transaction adds to an enum."""
    return (at for at, is_certain in _enum_values(statements, units) if not is_certain)


def _enum_values(statements: Sequence[Statement], units: Sequence[Unit]) -> Iterator[tuple[int, bool]]:
    """Uses of enum values in the transaction that adds them, and whether PostgreSQL surely refuses each. It doesn't
    where the value was there before (IF NOT EXISTS), where the string is of another type, and, from version 17 on,
    where the same transaction has created the type."""
    adding = "AlterEnumStmt" in [each.kind for _, each in distinct(statements)]
    for unit in units if adding else ():
        created, added = set[Name | None](), dict[str, tuple[Name | None, bool]]()
        for statement in statements[slice(*unit.statements)]:
            node = statement.node
            if statement.kind == "CreateEnumStmt":
                created.add(of_parts(strings(node.type_name)))
            elif statement.kind == "AlterEnumStmt" and not node.old_val:
                name = of_parts(strings(node.type_name))
                added[node.new_val] = name, name not in created and not node.skip_if_new_val_exists
            elif added and statement.kind != "CommentStmt":
                yield from _uses(statement, added)


def _uses(statement: Statement, added: dict[str, tuple[Name | None, bool]]) -> Iterator[tuple[int, bool]]:
    for start, end in token_spans(statement.text, (pb.SCONST,)):
        string = statement.text[start:end].decode()
        value = string[1:-1].replace("''", "'") if string.startswith("'") else ""
        if value in added:
            name, is_new = added[value]
            cast = _CAST.match(statement.text[end:].decode())
            yield statement.start + start, is_new and bool(cast and of_text(cast[1]) == name)
        elif string.startswith("$") and _is_run_at_once(statement):
            places = (string.find(f"'{value}'") for value in added)
            at = min((place for place in places if place >= 0), default=None)
            if at is not None:
                yield statement.start + start + len(string[:at].encode()), False


def _is_run_at_once(statement: Statement) -> bool:
    """Whether the body in its string is executed, or analysed, by the statement itself."""
    if statement.kind != "CreateFunctionStmt":
        return statement.kind == "DoStmt"
    options = (option.def_elem for option in statement.node.options)
    return any(option.defname == "language" and option.arg.string.sval.lower() == "sql" for option in options)


def _temporary_tables(statements: Sequence[Statement], units: Sequence[Unit]) -> Iterator[int]:
    """Statements that use a temporary table, view or sequence of an earlier unit; the first of each unit."""
    earlier = set[str]()
    for unit in units if len(units) > 1 else ():
        made, used = set[str](), False
        for statement in statements[slice(*unit.statements)]:
            if not used and earlier and (_needed(statement) & (earlier - made)):
                yield statement.start
                used = True
            if name := _temporary(statement):
                made.add(name)
            elif statement.kind == "DropStmt":
                dropped = _dropped(statement.node)
                made -= dropped
                earlier -= dropped
        earlier |= made


def _temporary(statement: Statement) -> str | None:
    """The name of the temporary table, view or sequence that a statement makes and its session keeps."""
    if session_state(statement) != "a temporary table":
        return None
    node = statement.node
    for field in _MADE.get(statement.kind, ("relation",)):
        node = getattr(node, field)
    return str(node.relname)


_MADE = {
    "CreateSeqStmt": ("sequence",),
    "CreateTableAsStmt": ("into", "rel"),
    "SelectStmt": ("into_clause", "rel"),
    "ViewStmt": ("view",),
}


def _needed(statement: Statement) -> set[str]:
    """The names of relations, without a schema or of pg_temp, that must be there for a statement."""
    node = statement.node
    if statement.kind == "DropStmt":
        return set() if node.missing_ok else _dropped(node)
    if statement.kind == "DoStmt":
        return set(re.findall(r"\w+", statement.text.decode()))
    names = {use.name.name for use in uses(node) if use.name.schema in ("", "pg_temp")}
    made = {_temporary(statement), node.relation.relname if statement.kind == "CreateStmt" else None}
    return {name for name in names if name not in made}


def _dropped(node: Any) -> set[str]:
    names = (of_parts(strings(each.list.items)) for each in node.objects if each.HasField("list"))
    return {name.name for name in names if name and name.schema in ("", "pg_temp")}

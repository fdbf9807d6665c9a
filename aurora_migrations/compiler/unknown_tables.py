"""Tables that a file uses and no earlier file creates: most often a typing error, found before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from postgast import pg_query_pb2 as _pb

from aurora_migrations.compiler.compile import Compiled
from aurora_migrations.compiler.hazards import UNKNOWN_TABLE
from aurora_migrations.compiler.locks.effects import Effect
from aurora_migrations.compiler.locks.match import RELATIONS
from aurora_migrations.compiler.locks.syntax_tree import Name, of_text, quoted
from aurora_migrations.compiler.parser import Statement
from aurora_migrations.engine.diagnostics.redaction import Lines
from aurora_migrations.engine.rows import distinct
from aurora_migrations.engine.script import Hazard

# Statements with names of what may exist after them: in the text of a function or block, or of another server's tables.
_NAMING = frozenset(
    ("DoStmt", "CreateFunctionStmt", "CallStmt", "CreateExtensionStmt", "ImportForeignSchemaStmt", "CreateSchemaStmt")
)
# Extensions without tables of their own, as most are. Any other one may create tables whose names no file has.
_WITHOUT_TABLES = frozenset(
    (
        *("aws_commons", "aws_lambda", "aws_s3", "btree_gin", "btree_gist", "citext", "cube", "dblink"),
        *(
            "earthdistance",
            "fuzzystrmatch",
            "hstore",
            "intarray",
            "isn",
            "lo",
            "ltree",
            "pg_stat_statements",
            "pg_trgm",
        ),
        *("pgaudit", "pgcrypto", "plpgsql", "postgres_fdw", "tablefunc", "unaccent", "uuid-ossp", "vector"),
    )
)
_TABLE_OF: dict[str, Callable[[Any], Any]] = {
    "CreateStmt": lambda node: node.relation,
    "CreateForeignTableStmt": lambda node: node.base_stmt.relation,
    "CreateTableAsStmt": lambda node: node.into.rel,
    "CreateSeqStmt": lambda node: node.sequence,
    "SelectStmt": lambda node: node.into_clause.rel,
    "ViewStmt": lambda node: node.view,
}
_WORD = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')
_MAKING = re.compile(rb"create|rename")  # in dynamic SQL
_CALL = re.compile(rb"create\w*\s*\(")  # create_parent() of pg_partman, create_hypertable() of TimescaleDB
_NUMBER = re.compile(r"\d+")
_ALIKE = 0.8
_ENOUGH = 3  # files whose tables were all known, before the folder is taken for the whole history
_HELP = "Correct the name, or allow it if something else creates the table."
_SYSTEM = ("pg_", "information_schema.")


@dataclass(slots=True)
class Names:
    """What a file says about tables, as far as `unknown_tables` needs it."""

    file: str
    known: frozenset[str]  # from here on: whatever could be the name of a table or a schema
    created: tuple[str, ...]
    used: tuple[Used, ...]  # those that were there before, as first named
    is_open: bool  # whether it may create tables whose names it doesn't have


@dataclass(frozen=True)
class Used:
    """A table that existed before the file that uses it, and where."""

    schema: str  # empty where none is written
    name: str
    shown: str  # both, quoted where they must be
    line: int
    column: int
    may_be_missing: bool  # IF EXISTS


def names_of(file: Compiled) -> Names:
    """The names in a compiled file."""
    known, created = set[str](), list[str]()
    for _, statement in distinct(file.statements):
        node, kind = statement.node, statement.kind
        if kind in _NAMING or (kind == "VariableSetStmt" and node.name == "search_path"):
            known.update(_words(statement.text))
        elif kind == "RenameStmt" and _pb.ObjectType.Name(node.rename_type) in RELATIONS:
            created.append(node.newname)
        elif kind == "RenameStmt":  # a schema, perhaps
            known.add(node.newname)
        elif kind == "AlterObjectSchemaStmt":
            known.add(node.newschema)
        elif kind in _TABLE_OF and (relation := _TABLE_OF[kind](node)).relname:
            created.append(relation.relname)
            known.add(relation.schemaname)
    is_open = any(_is_open(statement) for _, statement in distinct(file.statements))
    return Names(file.script.file, frozenset(known), tuple(created), tuple(_used(file)), is_open)


def unknown_tables(files: Iterable[Names]) -> dict[str, list[Hazard]]:
    """The uses of tables that neither an earlier file nor the file itself creates, by file.

    A folder may begin with a database that has tables already, and an extension or dynamic SQL may create some. So a
    table is reported if a known one has a similar name; any other one only after a few files that use no unknown table,
    if nothing may have created it unseen. A schema that no file names is another's.
    """
    known: set[str] = {"", "public"}
    created: set[str] = set()
    found: dict[str, list[Hazard]] = {}
    complete, is_open = 0, False  # `complete`: files in a row that use tables and know them all
    for file in files:
        known |= file.known
        known.update(file.created)
        created.update(file.created)
        is_open |= file.is_open
        unknown = [used for used in file.used if used.name not in known and used.schema in known]
        for used in unknown:
            near = _similar(used.name, created)
            if near or (complete >= _ENOUGH and not is_open and not used.may_be_missing):
                meant = f"; did you mean {quoted(near)}?" if near else "."
                message = f"No earlier file creates {used.shown}{meant}"
                hazard = Hazard(UNKNOWN_TABLE, file.file, used.line, used.column, message, _HELP)
                found.setdefault(file.file, []).append(hazard)
        complete = 0 if unknown else complete + bool(file.used)
        known.update(used.name for used in unknown)  # once is enough
    return found


def _similar(name: str, created: Iterable[str]) -> str:
    """The created table that was most likely meant. Another number or an added word isn't misspelled: partitions and
    copies have them."""
    pattern = _NUMBER.sub("0", name)
    for near in get_close_matches(name, created, n=5, cutoff=_ALIKE):
        is_longer = name.startswith(f"{near}_") or near.startswith(f"{name}_")
        if not is_longer and _NUMBER.sub("0", near) != pattern:
            return near
    return ""


def _is_open(statement: Statement) -> bool:
    """Whether a statement may create tables whose names aren't in the files."""
    if statement.kind == "CreateExtensionStmt":
        return statement.node.extname not in _WITHOUT_TABLES
    if statement.kind in ("DoStmt", "CreateFunctionStmt"):
        text = statement.text.lower()
        return b"execute" in text and bool(_MAKING.search(text, len("create")))
    if statement.kind in ("SelectStmt", "CallStmt"):
        return bool(_CALL.search(statement.text.lower()))
    return statement.kind == "ImportForeignSchemaStmt"


def _used(file: Compiled) -> Iterator[Used]:
    """The tables that existed before the file, as its statements name them, each once."""
    seen: set[str] = set()
    before: Sequence[Effect] | None = None
    lines = Lines(file.text)
    for number, statement in distinct(file.statements):
        effects = file.effects[number]
        if effects is before:  # in a dump it is the same for every row
            continue
        before = effects
        for effect in effects:
            if effect.table in seen or effect.table.startswith(_SYSTEM) or not _names_tables(statement):
                continue
            seen.add(effect.table)
            name = of_text(effect.table) or Name("", effect.table)
            if name.name.endswith("_seq"):  # of a serial or identity column
                continue
            line, column = _place(statement, name.name, *lines.position(statement.start))
            yield Used(*name, effect.table, line, column, getattr(statement.node, "missing_ok", False))


def _names_tables(statement: Statement) -> bool:
    """Whether a statement names tables, not an index or a sequence alone: those often have generated names."""
    node, kind = statement.node, statement.kind
    if kind == "ReindexStmt":
        return bool(node.kind != _pb.REINDEX_OBJECT_INDEX)
    objects = (getattr(node, each, None) for each in ("objtype", "remove_type", "rename_type", "object_type"))
    return kind != "AlterSeqStmt" and not any(each in (_pb.OBJECT_INDEX, _pb.OBJECT_SEQUENCE) for each in objects)


def _place(statement: Statement, name: str, line: int, column: int) -> tuple[int, int]:
    """Line and column of a name in a statement that begins at these."""
    text = statement.text.decode(errors="replace")
    start = next((found.start() for found in _WORD.finditer(text) if _word(found) == name), 0)
    before = text[:start]
    lines = before.count("\n")
    return line + lines, len(before) - before.rfind("\n") if lines else column + start


def _words(text: bytes) -> Iterator[str]:
    return map(_word, _WORD.finditer(text.decode(errors="replace")))


def _word(found: re.Match[str]) -> str:
    """An identifier as PostgreSQL reads it: only ASCII is folded, and 63 bytes are kept."""
    quotes, plain = found.groups()
    name = quotes.replace('""', '"').encode() if quotes else plain.encode().lower()
    return name[:63].decode(errors="ignore")

"""Tables that a file uses and no earlier file creates: most often a typing error, found before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from aurora_migrations.compiler.compile import Compiled
from aurora_migrations.compiler.hazards import UNKNOWN_TABLE
from aurora_migrations.compiler.locks.effects import Effect
from aurora_migrations.engine.script import Hazard

# Statements whose words may be names of what exists after them: also those that are in a function's or block's text.
_NAMING = frozenset(
    (
        *("CreateStmt", "CreateTableAsStmt", "CreateForeignTableStmt", "CreateSeqStmt", "IndexStmt", "ViewStmt"),
        *("RenameStmt", "AlterObjectSchemaStmt", "DoStmt", "CreateFunctionStmt", "CallStmt", "CreateExtensionStmt"),
        *("AlterTableStmt", "SelectStmt", "ImportForeignSchemaStmt"),
    )
)
_CREATING = _NAMING - {"AlterTableStmt", "SelectStmt", "IndexStmt"}
_TABLE_OF: dict[str, Callable[[Any], Any]] = {
    "CreateStmt": lambda node: node.relation,
    "CreateTableAsStmt": lambda node: node.into.rel,
    "ViewStmt": lambda node: node.view,
}
_WORD = re.compile(rb'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')
_ALIKE = 0.8
_ENOUGH = 3  # files whose tables were all known, before the folder is taken for the whole history
_HELP = "Correct the name. If something else creates the table, allow this."
_SYSTEM = ("pg_", "information_schema")


@dataclass(frozen=True)
class Names:
    """What a file says about tables, as far as `unknown_tables` needs it."""

    file: str
    known: frozenset[str]  # from here on: whatever could be the name of a table
    created: tuple[str, ...]
    used: tuple[tuple[str, int, int], ...]  # those that were there before, as first named, with line and column


def names_of(file: Compiled) -> Names:
    """The names in a compiled file."""
    known, created = set[str](), list[str]()
    for statement in file.statements:
        if statement.kind in _CREATING or (statement.kind == "SelectStmt" and b"into" in statement.text.lower()):
            known.update(_words(statement.text))
        if statement.kind == "AlterTableStmt":  # a constraint's index has its name, and pg_dump attaches it by that
            constraints = [getattr(each.alter_table_cmd, "def").constraint.conname for each in statement.node.cmds]
            known.update(filter(None, constraints))
        if statement.kind in _TABLE_OF:
            created.append(_TABLE_OF[statement.kind](statement.node).relname)
    return Names(file.script.file, frozenset(known), tuple(created), tuple(_used(file)))


def unknown_tables(files: Iterable[Names]) -> dict[str, list[Hazard]]:
    """The uses of tables that neither an earlier file nor the file itself creates, by file.

    A folder may begin with a database that has tables already. So a table without a similar name among the known ones
    is reported only after a few files that use no unknown table.
    """
    known: set[str] = set()
    created: set[str] = set()
    found: dict[str, list[Hazard]] = {}
    complete = 0  # files in a row that use tables and know them all
    for file in files:
        known |= file.known
        created.update(file.created)
        unknown = [(name, line, column) for name, line, column in file.used if _bare(name) not in known]
        for name, line, column in unknown:
            near = get_close_matches(_bare(name), created, n=1, cutoff=_ALIKE)
            if near or complete >= _ENOUGH:
                meant = f"; did you mean {near[0]}?" if near else "."
                message = f"No earlier file creates {name}{meant}"
                found.setdefault(file.file, []).append(Hazard(UNKNOWN_TABLE, file.file, line, column, message, _HELP))
        complete = 0 if unknown else complete + bool(file.used)
        known.update(_bare(name) for name, _, _ in unknown)  # once is enough
    return found


def _used(file: Compiled) -> Iterator[tuple[str, int, int]]:
    """The tables that existed before the file, as its statements name them, each once."""
    seen: set[str] = set()
    before: Sequence[Effect] | None = None
    for place, effects in zip(file.script.statements, file.effects, strict=False):
        if effects is before:  # in a dump it is the same for every row
            continue
        before = effects
        for effect in effects:
            if effect.table not in seen and not _bare(effect.table).startswith(_SYSTEM):
                seen.add(effect.table)
                yield effect.table, place.line, place.column


def _words(text: bytes) -> Iterator[str]:
    for quoted, plain in _WORD.findall(text):
        yield (quoted or plain.lower()).decode(errors="replace")


def _bare(name: str) -> str:
    """The name of a relation without its schema and its quotes."""
    found = _WORD.findall(name.encode())
    quoted, plain = found[-1] if found else (b"", name.encode())
    return str((quoted or plain).decode(errors="replace"))

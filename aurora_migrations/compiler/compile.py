"""One file, understood: its options, statements, units and promises, and everything that forbids to run it."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler import token_hash as tokens
from aurora_migrations.compiler.foreign_markers import markers, without_restrict
from aurora_migrations.compiler.hazards import parse_allow
from aurora_migrations.compiler.locks.effects import Effect, effects
from aurora_migrations.compiler.locks.staying import staying
from aurora_migrations.compiler.locks.tables import tables
from aurora_migrations.compiler.parser import NotSql, Statement, parse, places
from aurora_migrations.compiler.parser import tokens as tokens_of
from aurora_migrations.compiler.pieces import WHOLE
from aurora_migrations.compiler.session_state import kept_by
from aurora_migrations.compiler.transaction_units import Part, lay_out
from aurora_migrations.compiler.transactions import is_read_only, is_true
from aurora_migrations.engine import script as scripts
from aurora_migrations.engine.diagnostics.redaction import Lines, excerpt, pointed, position, speaks_of_secrets
from aurora_migrations.engine.migrations import Migration, Problem, invalid_files, read_text
from aurora_migrations.engine.options import Options, read_options
from aurora_migrations.engine.script import Action, Script, TableLock
from aurora_migrations.engine.verification.expectations import Expectation

_COPY_DATA = re.compile(rb"\bcopy\b[^;]*\bfrom\s+stdin\b[^;]*;\s*\Z", re.IGNORECASE)
_COPY = "COPY FROM STDIN needs data that a file can't carry; write INSERT statements instead"
_META = "this is a psql command, not SQL; write the SQL that it stands for"
_RESTRICT = "pg_dump's line is passed over above the first statement or below the last only; delete it"
_LINE_END = (
    "holds a lone carriage return (CR), which ends a line in PostgreSQL but not in most editors; "
    "save the file with LF or CRLF line ends"
)
_VARIABLE = "this is a psql variable, and nobody is there to fill it in; write its value"
_DISCARD = "DISCARD ALL would drop the run lock; write what you need of it, such as DISCARD TEMP or RESET ALL"
_STRINGS = (
    "standard_conforming_strings can't change within a file: the file is read as a whole before it is set; "
    "write strings with backslashes as E'...'"
)
_READ_ONLY = "a READ ONLY transaction can change nothing, and can't be recorded as applied; take READ ONLY out"
_UNLOCK = "pg_advisory_unlock_all() would drop the run lock; unlock by key, with pg_advisory_unlock(key)"
_CONCURRENTLY = "CONCURRENTLY needs a name for its index: without one, every retry would build another (_idx1, _idx2)"
_ALONE = "{0} can't run inside a transaction, and this version runs nothing outside one yet"
_POINTED = 20  # problems of a file that are shown with their line; the place says enough of the rest
_NEAR = re.compile(r"(?: at or near)? ?\".*\Z", re.DOTALL)
_LONG_TOKEN = re.compile(r'(at or near ".{60}).{2,}\Z', re.DOTALL)
_AT_BACKSLASH = 'syntax error at or near "\\"'
_NEAR_STRING = re.compile(r"""at or near "(?:[eEbBxXnN]|[uU]&)?['$].*\Z""", re.DOTALL)
_UNLOCKS = re.compile(rb"pg_advisory_unlock_all", re.IGNORECASE)
_DEFINITIONS = ("CreateFunctionStmt", "CommentStmt")
_NOT_A_QUERY = "a verify file holds queries only (SELECT ...), each with one boolean that must be true"
_INTO = "INTO would make a table, and a verify file only looks; take INTO out"
_ONE_COLUMN = "this query has {0} columns; each query of a verify file has one, a boolean that must be true"
_NO_QUERY = "holds no query, so it would verify nothing; write one (SELECT ...), or delete the file"
_COMMENT_ABOVE = re.compile(rb"(?:--[^\n]*\n[ \t]*)+\Z")


@dataclass(frozen=True)
class Compiled:
    """A file, understood: what the engine goes by, its text as the grammar reads it, its syntax, and everything that
    forbids to run it."""

    script: Script
    text: bytes
    statements: tuple[Statement, ...]
    problems: tuple[Problem, ...]
    effects: tuple[tuple[Effect, ...], ...] = ()

    @property
    def is_parsed(self) -> bool:
        """Whether the grammar could read it."""
        return bool(self.script.tokens)


def compile_migration(action: Action, migration: Migration, defaults: Options) -> Compiled:
    """A migration's file (or its down file), with everything wrong with it and with its verify file.

    Raises:
        InvalidFile: a file can't be read, or is no text.
    """
    path = migration.path if action == "apply" else migration.down
    if path is None:
        raise ValueError(f"{migration.name} has no down file")
    promises, problems = _promises(migration.verify) if action == "apply" and migration.verify else ([], [])
    text = read_text(path)
    return compile_text(path.name, text, defaults, promises, problems)


def token_hash(text: bytes) -> str | None:
    """The token hash of a text; None where the text is no SQL."""
    try:
        return tokens.token_hash(without_restrict(text)[0])
    except NotSql:
        return None


def outline(migration: Migration, defaults: Options) -> scripts.Outline:
    """What takes no more than a file's syntax and options.

    Raises:
        InvalidFile: the file can't be read, is no text or no SQL, or its options are wrong.
    """
    text = read_text(migration.path)
    options, problems = read_options(migration.name, text, defaults)
    if problems:
        raise invalid_files(problems)
    try:
        return scripts.Outline(migration.name, tables(parse(text)), options.rows)
    except NotSql as error:
        raise invalid_files([_syntax_problem(migration.name, text, error)]) from error


def compile_text(
    file: str, text: bytes, defaults: Options, promises: Sequence[Expectation] = (), problems: Sequence[Problem] = ()
) -> Compiled:
    """A text, understood. `problems` are those that are known already."""
    sha256 = hashlib.sha256(text).hexdigest()
    line_end = _line_end_problem(file, text)
    if line_end:  # nothing else is told of it: options and places would be wrong
        broken = Script(file, sha256, "", defaults, "", (), ())
        return Compiled(broken, text, (), (line_end, *problems))
    text, begin, end = without_restrict(text)
    options, found = read_options(file, text, defaults)
    try:
        statements = tuple(parse(text))
        hashed = tokens.token_hash(text)
    except NotSql as error:
        broken = Script(file, sha256, "", options, "", (), ())
        return Compiled(broken, text, (), (*found, _syntax_problem(file, text, error), *problems))
    found += _wrong_allows(file, options)
    layout = lay_out(text, statements, options.transaction)
    in_one = options.transaction is None and [(part.start, part.end) for part in layout.units] == [(0, len(text))]
    lines = Lines(text)
    wrong = [(statement.start, reason) for statement in statements if (reason := _refusal(statement))]
    wrong += [(statements[number].start, reason) for number, reason in layout.problems]
    wrong += [(part.start, _ALONE.format(part.alone)) for part in layout.units if part.alone]
    wrong += markers(file, text, statements, in_one)
    spans = {statement.start: (statement.start, statement.end) for statement in statements}
    found = [replace(p, excerpt=pointed(text, p.line, p.column)) if n < _POINTED else p for n, p in enumerate(found)]
    found += [
        Problem(file, reason, *lines.position(start), excerpt(text, start, spans.get(start)) if n < _POINTED else "")
        for n, (start, reason) in enumerate(_first_each(wrong))
    ]
    did, (made, taken) = tuple(effects(statements)), staying(statements)
    script = Script(
        file=file,
        sha256=sha256,
        tokens=hashed,
        options=options,
        reason=layout.reason,
        units=tuple(_unit(text, part, hashed, begin, end) for part in layout.units),
        statements=tuple(_described(lines, statements, did)),
        promises=tuple(promises),
        tables=tables(statements),
        made=made,
        taken=taken,
    )
    return Compiled(script, text, statements, (*found, *problems), did)


def _first_each(wrong: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """In the order of the text, one reason a place: the first says enough."""
    first: dict[int, str] = {}
    for start, reason in wrong:
        first.setdefault(start, reason)
    return sorted(first.items())


def _wrong_allows(file: str, options: Options) -> Iterator[Problem]:
    for line, value in options.allow:
        try:
            parse_allow(value, file, line)
        except ValueError as error:
            yield Problem(file, str(error), line, 1)


def _unit(text: bytes, part: Part, whole: str, begin: int, end: int) -> scripts.Unit:
    """A unit, within the bytes that may be sent."""
    start, stop, hashed = max(begin, part.start), min(part.end, end), whole
    if len(text) <= WHOLE or (part.start, part.end) != (0, len(text)):
        modes = f"BEGIN {part.modes};".encode() if part.modes else b""
        hashed = tokens.unit_hash(modes + text[start:stop])
    return scripts.Unit(start, stop, part.statements, part.modes, part.alone, hashed, part.outside)


def _described(
    lines: Lines, statements: Sequence[Statement], did: Sequence[Sequence[Effect]]
) -> Iterator[scripts.Statement]:
    before: Sequence[Effect] | None = None
    locks: tuple[TableLock, ...] = ()
    for statement, found in zip(statements, did, strict=True):
        if found is not before:  # of a dump it is the same for every row
            locks = tuple(TableLock(e.table, e.lock, str(e.rewrites), str(e.scans)) for e in found)
            before = found
        place = lines.position(statement.start)
        yield scripts.Statement(statement.start, statement.end, *place, statement.kind, locks, kept_by(statement))


def _refusal(statement: Statement) -> str | None:
    """Why this statement may never run, if so."""
    node = statement.node
    if statement.kind == "CopyStmt" and node.is_from and not node.filename:
        return _COPY
    if statement.kind == "DiscardStmt" and node.target == pb.DISCARD_ALL:
        return _DISCARD
    if statement.kind == "VariableSetStmt" and node.name.lower() == "standard_conforming_strings":
        return None if node.args and is_true(node.args[0].a_const) else _STRINGS
    if is_read_only(statement):
        return _READ_ONLY
    if statement.kind == "IndexStmt" and node.concurrent and not node.idxname:
        return _CONCURRENTLY
    if _UNLOCKS.search(statement.text) and statement.kind not in _DEFINITIONS and _calls_unlock(statement):
        return _UNLOCK
    return None


def _calls_unlock(statement: Statement) -> bool:
    """Whether the words stand in the statement's own SQL, or in the body of a DO; not in a comment or a string."""
    found = tokens_of(statement.text)
    if statement.kind == "DoStmt":
        return any(kind == pb.SCONST and _UNLOCKS.search(token) for kind, token in found)
    return any(kind == pb.IDENT and _UNLOCKS.fullmatch(token) for kind, token in found)


def _syntax_problem(file: str, text: bytes, error: NotSql) -> Problem:
    copy = _COPY_DATA.search(text[: error.offset])
    lines = Lines(text)
    if copy:
        return Problem(file, _COPY, *lines.position(copy.start()))
    secret = speaks_of_secrets(text)
    rest = text[error.offset :]
    line = text[text.rfind(b"\n", 0, error.offset) + 1 :].lstrip()
    reason = _NEAR.sub("", str(error)) if secret else _told(str(error))
    if line.startswith((b"\\restrict", b"\\unrestrict")):
        reason = _RESTRICT
    elif line.startswith(b"\\") or str(error) == _AT_BACKSLASH:
        reason = _META
    elif rest.startswith(b":"):
        reason = _VARIABLE
    number, column = lines.position(error.offset)
    return Problem(file, reason, number, column, "" if secret else pointed(text, number, column))


def _line_end_problem(file: str, text: bytes) -> Problem | None:
    """The first carriage return outside of a quoted string. Editors and reviews show what stands behind it in the same
    line, even in that of a comment; to PostgreSQL that is another line, in a body as well."""
    if b"\r" not in text:
        return None
    rest = bytearray(text)
    with contextlib.suppress(NotSql):
        for start, end in places(text, tokens.STRINGS):
            if not text.startswith(b"$", start):
                rest[start:end] = b" " * (end - start)
    at = rest.find(b"\r")
    return Problem(file, _LINE_END, *position(text, at)) if at >= 0 else None


def _told(message: str) -> str:
    """The parser's words without strings, and without most of a token that is as long as a page."""
    return _LONG_TOKEN.sub(r'\1..."', _NEAR_STRING.sub("at or near a string", message))


def _promises(path: Path) -> tuple[list[Expectation], list[Problem]]:
    return read_promises(path.name, read_text(path))


def read_promises(file: str, text: bytes) -> tuple[list[Expectation], list[Problem]]:
    """The queries of a verify file, and what in it is something else."""
    line_end = _line_end_problem(file, text)
    if line_end:
        return [], [line_end]
    try:
        statements = parse(text)
    except NotSql as error:
        return [], [_syntax_problem(file, text, error)]
    if not statements:
        return [], [Problem(file, _NO_QUERY)]
    spans = {statement.start: (statement.start, statement.end) for statement in statements}
    wrong = [(statement.start, reason) for statement in statements if (reason := _no_promise(statement))]
    wrong += markers(file, text, statements, in_one=False)
    befores, lines = [0, *(statement.end for statement in statements)], Lines(text)
    promises = [_promise(file, text, lines, before, s) for before, s in zip(befores, statements, strict=False)]
    return promises, [
        Problem(file, reason, *lines.position(start), excerpt(text, start, spans.get(start)))
        for start, reason in _first_each(wrong)
    ]


def _no_promise(statement: Statement) -> str | None:
    """Why a statement can't be one boolean, where its tree shows that; what `*` stands for it doesn't show."""
    if statement.kind != "SelectStmt":
        return _NOT_A_QUERY
    query = statement.node
    while query.HasField("larg"):  # UNION and its kind: the first query names the columns, and may have the INTO
        query = query.larg
    if query.HasField("into_clause"):
        return _INTO
    if query.values_lists:
        count = len(query.values_lists[0].list.items)
    else:
        stars = sum(_is_star(target.res_target.val) for target in query.target_list)
        count = len(query.target_list) - stars
        if stars and count < 2:
            return None
    return None if count == 1 else _ONE_COLUMN.format(count or "no")


def _is_star(value: Any) -> bool:
    fields = value.column_ref.fields if value.HasField("column_ref") else ()
    return any(field.HasField("a_star") for field in fields)


def _promise(file: str, text: bytes, lines: Lines, before: int, statement: Statement) -> Expectation:
    """The query, called by the first sentence of the `--` comment right above it, if there is one; by its place, if it
    speaks of passwords: names are shown and kept."""
    query = statement.text.decode()
    comment = _COMMENT_ABOVE.search(text[before : statement.start])
    above = " ".join(comment[0].decode().replace("--", " ").split()) if comment else ""
    line, column = lines.position(statement.start)
    place = f"{file}:{line}:{column}"
    name = above.partition(". ")[0].rstrip(".") or " ".join(query.split())
    if speaks_of_secrets(above) or speaks_of_secrets(query):
        name = place
    return Expectation(name if len(name) <= 100 else f"{name[:97]}...", query, place)

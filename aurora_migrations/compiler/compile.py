"""Compiles one file: its options, statements, units and expectations, and everything that forbids running it."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler import token_hash as tokens
from aurora_migrations.compiler.foreign_markers import markers, without_restrict
from aurora_migrations.compiler.hazards import parse_allow
from aurora_migrations.compiler.locks.changed_tables import changed_relations
from aurora_migrations.compiler.locks.effects import Effect, file_effects
from aurora_migrations.compiler.parser import WHOLE, NotSql, Statement, parse, token_spans
from aurora_migrations.compiler.parser import tokens as tokens_of
from aurora_migrations.compiler.plain.rows import AlikeRows
from aurora_migrations.compiler.transaction_units import find_units, is_read_only, is_true, session_state
from aurora_migrations.compiler.unit_dependencies import unmet_needs
from aurora_migrations.engine import script as scripts
from aurora_migrations.engine.diagnostics.redaction import Lines, excerpt, pointed, position, speaks_of_secrets
from aurora_migrations.engine.migrations import Migration, Problem, invalid_files, read_text
from aurora_migrations.engine.options import Expectation, Options, read_options
from aurora_migrations.engine.rows import Rows, Statements, distinct
from aurora_migrations.engine.script import Action, Script, TableLock

_COPY_DATA = re.compile(rb"\bcopy\b[^;]*\bfrom\s+stdin\b[^;]*;\s*\Z", re.IGNORECASE)
_COPY = "COPY FROM STDIN needs data that a file can't carry; write INSERT statements instead"
_META = "this is a psql command, not SQL; write its SQL instead"
_RESTRICT = "pg_dump's line is passed over above the first statement or below the last only; delete it"
_LINE_END = (
    "holds a lone carriage return (CR), which ends a line in PostgreSQL but not in most editors; "
    "save the file with LF or CRLF line ends"
)
_VARIABLE = "variables of psql aren't replaced here; write the value"
_DISCARD = "DISCARD ALL would drop the run lock; write what you need of it, such as DISCARD TEMP or RESET ALL"
_STRINGS = (
    "standard_conforming_strings can't change within a file: the file is read as a whole before it is set; "
    "write strings with backslashes as E'...'"
)
_READ_ONLY = "a READ ONLY transaction can change nothing, and can't be recorded as applied; take READ ONLY out"
_UNLOCK = "pg_advisory_unlock_all() would drop the run lock; unlock by key, with pg_advisory_unlock(key)"
_CONCURRENTLY = "CONCURRENTLY needs a name for its index: without one, every retry would build another (_idx1, _idx2)"
_DETACH = (
    "detach = on is for a file that runs in one transaction; take it out: a statement that runs outside any "
    "transaction may outlive its run anyway"
)
_SHOWN = 20  # problems of a file that are shown with their line; for the rest, the position is enough
_NEAR = re.compile(r"(?: at or near)? ?\".*\Z", re.DOTALL)
_LONG_TOKEN = re.compile(r'(at or near ".{60}).{2,}\Z', re.DOTALL)
_AT_BACKSLASH = 'syntax error at or near "\\"'
_STRING = "at or near a string"
_NEAR_STRING = re.compile(r"""at or near "(?:[eEbBxXnN]|[uU]&)?['$].*\Z""", re.DOTALL)
_UNLOCK_ALL = b"pg_advisory_unlock_all"
_UNLOCKS = re.compile(_UNLOCK_ALL, re.IGNORECASE)
_DEFINITIONS = ("CreateFunctionStmt", "CommentStmt")
_NOT_A_QUERY = "a verify file holds queries only (SELECT ...), each with one boolean that must be true"
_INTO = "INTO would make a table, and a verify file may only read; take INTO out"
_ONE_COLUMN = "this query has {0} columns; each query of a verify file has one, a boolean that must be true"
_NO_QUERY = "has no query, so it would verify nothing; write one (SELECT ...), or delete the file"
_COMMENT_ABOVE = re.compile(rb"(?:--[^\n]*\n[ \t]*)+\Z")


@dataclass(slots=True)  # a frozen one takes three times as long to make
class Compiled:
    """A compiled file: what the engine runs, its text as the grammar reads it, its syntax, and everything that forbids
    running it."""

    script: Script
    text: bytes
    statements: Sequence[Statement]
    problems: tuple[Problem, ...]
    effects: tuple[tuple[Effect, ...], ...] = ()
    on_new: frozenset[int] = frozenset()  # the numbers of statements that change only what the file has created

    def without_trees(self, keeps_text: bool) -> Compiled:
        """The same without its syntax and, if so, without its text, which take far more memory than all else."""
        text = self.text if keeps_text else b""
        return Compiled(self.script, text, (), self.problems, self.effects, self.on_new)

    @property
    def is_parsed(self) -> bool:
        """Whether the grammar could read it."""
        return bool(self.script.reason)


def compile_migration(action: Action, migration: Migration, defaults: Options, only_findings: bool = False) -> Compiled:
    """A migration's file (or its down file), with everything wrong with it and with its verify file. `only_findings`:
    see `compile_text`.

    Raises:
        InvalidFile: a file can't be read, or is no text.
    """
    name = migration.name if action == "apply" else migration.down_name
    if name is None:
        raise ValueError(f"{migration.name} has no down file")
    place = migration.folder.place
    expectations, problems = list[Expectation](), list[Problem]()
    if action == "apply" and migration.verify_name:
        expectations, problems = read_expectations(migration.verify_name, read_text(place(migration.verify_name)))
    return compile_text(name, read_text(place(name)), defaults, expectations, problems, only_findings)


def token_hash(text: bytes) -> str | None:
    """The token hash of a text; None where the text is no SQL."""
    try:
        return tokens.token_hash(without_restrict(text)[0])
    except NotSql:
        return None


def outline(migration: Migration, defaults: Options) -> scripts.Outline:
    """The facts about a migration that need no more than its file's syntax and options.

    Raises:
        InvalidFile: the file can't be read, is no text or no SQL, or its options are wrong.
    """
    text = read_text(migration.path)
    options, problems = read_options(migration.name, text, defaults)
    if problems:
        raise invalid_files(problems)
    try:
        return scripts.Outline(migration.name, changed_relations(parse(text)), options.rows, options.ignore)
    except NotSql as error:
        raise invalid_files([_syntax_problem(migration.name, text, error)]) from error


def compile_text(
    file: str,
    text: bytes,
    defaults: Options,
    expectations: Sequence[Expectation] = (),
    problems: Sequence[Problem] = (),
    only_findings: bool = False,
) -> Compiled:
    """Compiles a text. `problems` are those that are known already. With `only_findings`, the script can't be run: it
    has neither hashes nor statements nor tables, which take a quarter of the time."""
    sha256 = hashlib.sha256(text).hexdigest()
    line_end = _line_end_problem(file, text)
    if line_end:  # nothing else is reported: options and positions would be wrong
        return Compiled(Script(file, sha256, "", defaults, "", (), ()), text, (), (line_end, *problems))
    text, begin, end = without_restrict(text)
    options, found = read_options(file, text, defaults)
    try:
        statements = parse(text)
        rows = statements.rows if type(statements) is Statements else ()
        hashed = of_unit = ""
        if not only_findings or len(text) > WHOLE:  # reading a large one for its hash may find what the parser hasn't
            hashed, of_unit = tokens.file_and_unit_hash(text, [each for each in rows if isinstance(each, AlikeRows)])
    except NotSql as error:
        found = [*found, _syntax_problem(file, text, error), *problems]
        return Compiled(Script(file, sha256, "", options, "", (), ()), text, (), tuple(found))
    for line, value in options.allow:
        try:
            parse_allow(value, line)
        except ValueError as error:
            found.append(Problem(file, str(error), line, 1))
    if found:
        shown = [each._replace(excerpt=pointed(text, each.line, each.column)) for each in found[:_SHOWN]]
        found = [*shown, *found[_SHOWN:]]
    layout = find_units(text, statements, options.transaction)
    in_one = options.transaction is None and [(unit.start, unit.end) for unit in layout.units] == [(0, len(text))]
    unlocks = _UNLOCK_ALL in text.lower()  # not a search of each statement: a dump has as many as rows
    asked = statements if unlocks else (statement for _, statement in distinct(statements))
    wrong = [(statement.start, reason) for statement in asked if (reason := _why_refused(statement, unlocks))]
    wrong += [(statements[number].start, reason) for number, reason in layout.problems]
    if options.detach and (len(layout.units) != 1 or layout.units[0].nontransactional):
        wrong.append((0, _DETACH))
    if options.detach is None and layout.only_validates and not (options.rows or expectations):
        options = replace(options, detach=True)  # with expectations it isn't: those would be checked after its COMMIT
    wrong += unmet_needs(statements, layout.units)
    wrong += markers(file, text, statements, in_one)
    lines = Lines(text)
    found += _problems(file, text, lines, statements, wrong)
    done = file_effects(statements)
    if only_findings:
        script = Script(file, sha256, "", options, layout.reason, layout.units, (), tuple(expectations))
    else:
        units = tuple(_hashed(text, unit, of_unit, begin, end) for unit in layout.units)
        places = _script_statements(lines, statements, done.effects)
        of_file = file, sha256, hashed, options, layout.reason, units, places, tuple(expectations)
        script = Script(*of_file, tables=done.changed.names)
    return Compiled(script, text, statements, (*found, *problems), done.effects, done.on_new)


def _problems(
    file: str, text: bytes, lines: Lines, statements: Sequence[Statement], wrong: Iterable[tuple[int, str]]
) -> list[Problem]:
    """In the order of the text, one problem per position: the first is enough. The first few show their statement."""
    first: dict[int, str] = {}
    for start, reason in wrong:
        first.setdefault(start, reason)
    spans = {statement.start: (statement.start, statement.end) for statement in statements} if first else {}
    return [
        Problem(file, reason, *lines.position(start), excerpt(text, start, spans.get(start)) if n < _SHOWN else "")
        for n, (start, reason) in enumerate(sorted(first.items()))
    ]


def _hashed(text: bytes, unit: scripts.Unit, whole: str, begin: int, end: int) -> scripts.Unit:
    """A unit with its hash, within the bytes that may be sent. `whole` is the hash of a unit that is the whole text."""
    start, stop, hashed = max(begin, unit.start), min(unit.end, end), whole
    if unit.modes or (unit.start, unit.end) != (0, len(text)):
        modes = f"BEGIN {unit.modes};".encode() if unit.modes else b""
        hashed = tokens.unit_hash(modes + text[start:stop])
    return scripts.Unit(start, stop, unit.statements, unit.modes, unit.nontransactional, hashed)


def _script_statements(
    lines: Lines, statements: Sequence[Statement], all_effects: Sequence[Sequence[Effect]]
) -> Sequence[scripts.Statement]:
    found, locks = list[scripts.Statement](), tuple[TableLock, ...]()
    before: Sequence[Effect] = ()
    for number, statement in distinct(statements):
        if all_effects[number] is not before:  # in a dump they are the same for every row
            before = all_effects[number]
            locks = tuple(TableLock(e.table, e.lock, str(e.rewrites), str(e.scans)) for e in before)
        place = statement.start, statement.end, *lines.position(statement.start)
        found.append(scripts.Statement(*place, statement.kind, locks, session_state(statement)))
    if type(statements) is not Statements:
        return tuple(found)
    return Statements(found, [None if each is None else Rows(each.starts, each.tail) for each in statements.rows])


def _why_refused(statement: Statement, unlocks: bool) -> str | None:
    """Why a statement may never run, if so. `unlocks`: some statement of the file names pg_advisory_unlock_all()."""
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
    if unlocks and _UNLOCKS.search(statement.text) and statement.kind not in _DEFINITIONS:
        # Named in the statement's own SQL or in the body of a DO, not in a comment or a string.
        kind, match = (pb.SCONST, _UNLOCKS.search) if statement.kind == "DoStmt" else (pb.IDENT, _UNLOCKS.fullmatch)
        if any(each == kind and match(token) for each, token in tokens_of(statement.text)):
            return _UNLOCK
    return None


def _syntax_problem(file: str, text: bytes, error: NotSql) -> Problem:
    copy = _COPY_DATA.search(text[: error.offset])
    lines = Lines(text)
    if copy:
        return Problem(file, _COPY, *lines.position(copy.start()))
    secret = speaks_of_secrets(text)
    rest = text[error.offset :]
    line = text[text.rfind(b"\n", 0, error.offset) + 1 :].lstrip()
    # No strings, as they may hold values, and not all of a token that is as long as a page.
    reason = _NEAR.sub("", str(error)) if secret else _LONG_TOKEN.sub(r'\1..."', _NEAR_STRING.sub(_STRING, str(error)))
    if line.startswith((b"\\restrict", b"\\unrestrict")):
        reason = _RESTRICT
    elif line.startswith(b"\\") or str(error) == _AT_BACKSLASH:
        reason = _META
    elif rest.startswith(b":"):
        reason = _VARIABLE
    number, column = lines.position(error.offset)
    return Problem(file, reason, number, column, "" if secret else pointed(text, number, column))


def _line_end_problem(file: str, text: bytes) -> Problem | None:
    """The first carriage return outside of a quoted string. Editors and reviews show what follows it in the same line,
    even in that of a comment; to PostgreSQL that is another line, also in a body."""
    if b"\r" not in text:
        return None
    rest = bytearray(text)
    with contextlib.suppress(NotSql):
        for start, end in token_spans(text, tokens.STRINGS):
            if not text.startswith(b"$", start):
                rest[start:end] = b" " * (end - start)
    at = rest.find(b"\r")
    return Problem(file, _LINE_END, *position(text, at)) if at >= 0 else None


def read_expectations(file: str, text: bytes) -> tuple[list[Expectation], list[Problem]]:
    """The queries of a verify file, and everything wrong with it."""
    line_end = _line_end_problem(file, text)
    if line_end:
        return [], [line_end]
    try:
        statements = parse(text)
    except NotSql as error:
        return [], [_syntax_problem(file, text, error)]
    if not statements:
        return [], [Problem(file, _NO_QUERY)]
    wrong = [(statement.start, reason) for statement in statements if (reason := _why_no_expectation(statement))]
    wrong += markers(file, text, statements, in_one=False)
    befores, lines = [0, *(statement.end for statement in statements)], Lines(text)
    found = [_expectation(file, text, lines, before, s) for before, s in zip(befores, statements, strict=False)]
    return found, _problems(file, text, lines, statements, wrong)


def _why_no_expectation(statement: Statement) -> str | None:
    """Why a statement doesn't return one boolean, where its tree shows that; it doesn't show what `*` returns."""
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
        values = (target.res_target.val for target in query.target_list)
        stars = sum(any(field.HasField("a_star") for field in value.column_ref.fields) for value in values)
        count = len(query.target_list) - stars
        if stars and count < 2:
            return None
    return None if count == 1 else _ONE_COLUMN.format(count or "no")


def _expectation(file: str, text: bytes, lines: Lines, before: int, statement: Statement) -> Expectation:
    """The query, named by the first sentence of the `--` comment right above it, if there is one. If it is about
    passwords, it is named by its position: names are shown and kept."""
    query = statement.text.decode()
    comment = _COMMENT_ABOVE.search(text[before : statement.start])
    above = " ".join(comment[0].decode().replace("--", " ").split()) if comment else ""
    line, column = lines.position(statement.start)
    place = f"{file}:{line}:{column}"
    name = above.partition(". ")[0].rstrip(".") or " ".join(query.split())
    if speaks_of_secrets(above) or speaks_of_secrets(query):
        name = place
    return Expectation(name if len(name) <= 100 else f"{name[:97]}...", query, place)

"""PostgreSQL's grammar (libpg_query 18, by postgast): the statements of a text, their positions and syntax trees."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

import postgast
from google.protobuf.message import DecodeError
from postgast import native
from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler.plain.rows import AlikeRows, shape_of
from aurora_migrations.engine.rows import Statements

_T = TypeVar("_T")
COMMENTS = frozenset({pb.SQL_COMMENT, pb.C_COMMENT})
WHOLE = 1 << 18  # bytes; no text up to this is read in chunks
CHUNK = 1 << 16
_GROWTH = 4
_SPACE_OR_SEMICOLON = b" \t\n\r\f\v;"
_KEPT = 60  # levels of JSON objects
_LEAF = '{"A_Const":{"isnull":true}}'
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"|[{}]')
_NODE = re.compile(r'\{"[A-Z]')  # an object whose one member names its kind


class NotSql(ValueError):
    """A text that PostgreSQL's grammar refuses; `offset` is the byte where the parser stopped."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(slots=True)  # a frozen one takes three times as long to make
class Statement:
    """One statement of a text."""

    # start, end: its bytes in the text, without comments around it and without its semicolon.
    start: int
    end: int
    source: bytes = field(repr=False)  # the whole text
    # Its syntax tree, a protobuf message of postgast (`pg_query_pb2`), such as `IndexStmt`. In a large text an INSERT
    # of values has the tree of its table only.
    node: Any
    kind: str  # the name of its tree: `CreateStmt`, `IndexStmt`, `AlterTableStmt` ...

    @property
    def text(self) -> bytes:
        return self.source[self.start : self.end]

    def moved(self, start: int, end: int, lines: int) -> Statement:
        """See `Movable`."""
        return Statement(start, end, self.source, self.node, self.kind)


# ---- statements -----------------------------------------------------------------------------------------------------


def parse(text: bytes) -> Sequence[Statement]:
    """The statements of a text, in order.

    Raises:
        NotSql: the text isn't PostgreSQL's SQL.
    """
    refuse_too_deep(text)
    if len(text) < _PLAIN:
        return _parse_chunk(text, text, 0)
    if len(text) <= WHOLE:
        return with_large_stack(text, lambda: _parse_chunk(text, text, 0))
    return with_large_stack(text, lambda: _parse_large(text))


def _parse_large(text: bytes) -> Statements[Statement]:
    heads, rows = list[Statement](), list[AlikeRows | None]()
    inserts: dict[tuple[str, str], Any] = {}

    def after(at: int) -> int:
        """The end of the rows that are there and are alike the last statement."""
        last = heads[-1] if heads else None
        if last is None or all(last.node is not each for each in inserts.values()):
            return at
        shape = shape_of(text[last.start : at])
        if shape is None or not (found := AlikeRows(text, at, shape)):
            return at
        heads.append(last.moved(*found.span(0), 0))
        rows.append(found)
        return found.starts[-1]

    for statements in in_chunks(text, lambda chunk, base: _parse_chunk(text, chunk, base), after):
        heads += [Statement(s.start, s.end, s.source, _detached(s.node, inserts), s.kind) for s in statements]
        rows += [None] * len(statements)
    return Statements(heads, rows)


def _parse_chunk(source: bytes, chunk: bytes, base: int) -> list[Statement]:
    try:
        return list(_statements(source, chunk, base, _tree(chunk, base)))
    except DecodeError:  # one of them is too deep for protobuf
        found: list[Statement] = []
        for start, end in _split(chunk, base):
            text = chunk[start:end]
            try:
                tree = _tree(text, base + start)
            except DecodeError:
                tree = parse_deep(text)
            found += _statements(source, text, base + start, tree)
        return found


def _tree(text: bytes, base: int) -> Any:
    try:
        return postgast.parse(text.decode())
    except postgast.PgQueryError as error:
        raise _not_sql(text, error, base) from error


def _statements(source: bytes, text: bytes, base: int, tree: Any) -> Iterator[Statement]:
    for raw in tree.stmts:
        start = raw.stmt_location
        body = _trimmed(text[start : start + raw.stmt_len] if raw.stmt_len else text[start:])
        node = getattr(raw.stmt, raw.stmt.WhichOneof("node"))
        yield Statement(base + start, base + start + len(body), source, node, node.DESCRIPTOR.name)


def _trimmed(body: bytes) -> bytes:
    """A statement without what follows its last token: white space, comments, its semicolon."""
    if b"--" not in body and b"/*" not in body:  # no comment: what ends in white space or semicolons is no token
        return body.rstrip(_SPACE_OR_SEMICOLON)
    tail = COMMENTS | {pb.ASCII_59}
    ends = (token.end for token in postgast.scan(body.decode()).tokens if token.token not in tail)
    return body[: max(ends, default=0)]


def _split(text: bytes, base: int) -> list[tuple[int, int]]:
    """The bytes of each statement, without trees. postgast's own split() returns texts only, not positions."""
    result = native.lib.pg_query_split_with_parser(text)
    try:
        if result.error:
            postgast.split(text.decode())  # raises it
        found = (result.stmts[number].contents for number in range(result.n_stmts))
        return [(statement.stmt_location, statement.stmt_location + statement.stmt_len) for statement in found]
    except postgast.PgQueryError as error:
        raise _not_sql(text, error, base) from error
    finally:
        native.lib.pg_query_free_split_result(result)


def _not_sql(text: bytes, error: Exception, base: int = 0) -> NotSql:
    characters = max(0, int(getattr(error, "cursorpos", 1)) - 1)
    return NotSql(str(error), base + len(text.decode()[:characters].encode()))


def _detached(node: Any, inserts: dict[tuple[str, str], Any]) -> Any:
    """A small copy of a tree, because each keeps those of its whole chunk in memory.

    A dump has the same INSERT for every row: those of constants share one tree per table, in `inserts`.
    """
    is_insert = node.DESCRIPTOR.name == "InsertStmt"
    if is_insert and not node.HasField("on_conflict_clause") and not node.HasField("with_clause"):
        rows, constants = node.select_stmt.select_stmt.values_lists, ("a_const", "type_cast", "set_to_default")
        constant = all(item.WhichOneof("node") in constants for row in rows for item in row.list.items)
        if rows and constant and not has_column_twice(node):
            key = (node.relation.schemaname, node.relation.relname)
            if key not in inserts:
                inserts[key] = pb.InsertStmt()
                inserts[key].relation.CopyFrom(node.relation)
            return inserts[key]
    copy = type(node)()
    copy.CopyFrom(node)
    return copy


def has_column_twice(insert: Any) -> bool:
    """Whether an INSERT lists a column twice, which PostgreSQL refuses."""
    names = [column.res_target.name for column in insert.cols]
    return len(set(names)) < len(names)


# ---- tokens ---------------------------------------------------------------------------------------------------------


def tokens(text: bytes) -> list[tuple[int, bytes]]:
    """The tokens of a text but its comments: the number of its kind (`pg_query_pb2.Token`), and its bytes.

    Raises:
        NotSql: the scanner can't read the text (a string without an end).
    """
    return [(token.token, text[token.start : token.end]) for token in _scan(text) if token.token not in COMMENTS]


def token_spans(text: bytes, kinds: Collection[int]) -> Iterator[tuple[int, int]]:
    """The bytes of a text's tokens of these kinds (`pg_query_pb2.Token`); raises NotSql as `tokens` does."""

    def read(chunk: bytes, base: int) -> list[tuple[int, int]]:
        return [(base + token.start, base + token.end) for token in _scan(chunk) if token.token in kinds]

    return chain.from_iterable(in_chunks(text, read))


def _scan(text: bytes) -> Any:
    refuse_too_deep(text)
    try:
        return postgast.scan(text.decode()).tokens
    except postgast.PgQueryError as error:
        raise _not_sql(text, error) from error


# ---- large texts: the tree of a whole dump would take seventy times its size in memory ------------------------------


def in_chunks(
    text: bytes, read: Callable[[bytes, int], _T], after: Callable[[int], int] = lambda at: at
) -> Iterator[_T]:
    """What `read` returns for each chunk of a large text and the byte where it begins. `after` is called with the byte
    where a chunk ends, and returns the one where the next begins.

    A chunk ends after a semicolon at a line's end. Only reading it shows whether that semicolon ends a statement: a
    chunk that was cut inside a string, a comment, a body or brackets can't be read, and is made longer.

    Raises:
        NotSql: `read` did so for all of the rest.
    """
    if len(text) <= WHOLE:
        yield read(text, 0)
        return
    at, size = 0, CHUNK
    while at < len(text):
        end = _chunk_end(text, at + size)
        try:
            yield read(text[at:end], at)
        except NotSql:  # cut in the middle of something, or truly none
            if end == len(text):
                raise
            size *= _GROWTH
        else:
            at, size = after(end), CHUNK


def _chunk_end(text: bytes, wanted: int) -> int:
    """The end of the first line from there on that ends with a semicolon; else the text's end. Not a line with `--`:
    its semicolon may be in the comment."""
    while (semicolon := text.find(b";\n", wanted)) >= 0:
        if b"--" not in text[text.rfind(b"\n", 0, semicolon) + 1 : semicolon]:
            return semicolon + 2
        wanted = semicolon + 2
    return len(text)


# ---- deep trees: protobuf stops at 100 levels, and a sum of 50 terms is one that deep -------------------------------


def parse_deep(text: bytes) -> Any:
    """The tree of one statement that the grammar is known to accept, without what is deeper than any rule looks.

    libpg_query also returns trees as JSON, which has no such limit.
    """
    from google.protobuf.json_format import ParseDict

    result = native.lib.pg_query_parse(text)
    try:
        tree = (result.parse_tree or b"").decode()
    finally:
        native.lib.pg_query_free_parse_result(result)
    return ParseDict(json.loads("".join(_kept_json(tree))), pb.ParseResult(), ignore_unknown_fields=True)


def _kept_json(tree: str) -> Iterator[str]:
    """The JSON without the objects below `_KEPT` levels. Without recursion, because the tree may be deeper than any
    stack."""
    depth = kept_to = 0
    for mark in _MARKS.finditer(tree):
        if mark[0] == "{":
            depth += 1
            if depth == _KEPT + 1:
                yield tree[kept_to : mark.start()]
                yield _LEAF if _NODE.match(tree, mark.start()) else "{}"
        elif mark[0] == "}":
            depth -= 1
            if depth == _KEPT:
                kept_to = mark.end()
    yield tree[kept_to:]


# ---- limits: a grammar that recurses, and a scanner that takes the square --------------------------------------------

# An expression may be so deep that it needs a larger stack, or too deep for any: a sum of 50,000 terms is. A server
# refuses it, too (54001, stack depth limit exceeded), but it refuses; libpg_query would take the whole process with it.
_PLAIN = 40_000  # bytes; the usual stack is enough for any shorter text
_STACK = 1 << 30  # bytes of address space, of which only what is used is ever taken
DEEPEST = 250_000  # terms, for which half that stack is enough
_COMMENTS = 500  # levels; a scan takes time with their square
_lock = threading.Lock()
# Strings are matched by the run, not by the letter: a literal of 30 MB would take seconds.
_TOKENS = re.compile(
    rb"""(?P<value>'[^']*(?:''[^']*)*'?|"[^"]*(?:""[^"]*)*"?|--[^\n]*)|(?P<dollars>\$\w*\$)"""
    rb"|(?P<comment>/\*)|(?P<separator>[,;])|(?P<open>[(\[])|(?P<close>[)\]])|[\w\x80-\xff][\w$\x80-\xff]*|[^\s\w]",
)
_COMMENT_MARKS = re.compile(rb"/\*|\*/")


def too_deep(text: bytes) -> tuple[str, int] | None:
    """Why a text can't be given to the grammar, and the byte from which on that is so; None if it can."""
    # A single byte is counted in a third of the time of two.
    has_many = len(text) >= 2 * _COMMENTS and text.count(b"*") >= _COMMENTS and text.count(b"/*") >= _COMMENTS
    if len(text) < _PLAIN and not has_many:
        return None
    if has_many:
        for token, depth in _tokens(text):
            if depth > _COMMENTS:
                return f"comments are nested more than {_COMMENTS} deep", token.start()
    # So long a stretch fills a block of half its length: that none does is seen without dividing a large text.
    half = DEEPEST // 2
    blocks = range(0, len(text) - half + 1, half)
    if any(text.find(b",", at, at + half) < 0 and text.find(b";", at, at + half) < 0 for at in blocks):
        for start, count in _chains(text):
            if count > DEEPEST:
                return f"an expression of more than {DEEPEST} parts without a comma is too deep to be read", start
    return None


def refuse_too_deep(text: bytes) -> None:
    """Raises NotSql if a text can't be given to the grammar."""
    if refused := too_deep(text):
        raise NotSql(*refused)


def with_large_stack(text: bytes, work: Callable[[], _T]) -> _T:
    """Does work on a text with a stack that is large enough for it."""
    if len(text) < _PLAIN:
        return work()
    from concurrent.futures import ThreadPoolExecutor  # with logging and more

    with ThreadPoolExecutor(1) as threads:
        with _lock:
            before = threading.stack_size(_STACK)
            try:
                done = threads.submit(work)  # which starts the thread
            finally:
                threading.stack_size(before)
        return done.result()


def _chains(text: bytes) -> Iterator[tuple[int, int]]:
    """Where each stretch without a comma or semicolon begins, and how many tokens it has."""
    start = count = 0
    for token in _outside_comments(text):
        if token["separator"]:
            yield start, count
            start, count = token.end(), 0
        else:
            count += 1
    yield start, count


def longest_and_deepest(text: bytes) -> tuple[int, int]:
    """The most tokens in it without a comma or semicolon between them, and how deep its brackets are nested."""
    depth = deepest = 0
    for token in _outside_comments(text):
        depth += bool(token["open"]) - bool(token["close"])
        deepest = max(deepest, depth)
    return max(count for _, count in _chains(text)), deepest


def _outside_comments(text: bytes) -> Iterator[re.Match[bytes]]:
    return (token for token, _ in _tokens(text) if not token["comment"])


def _tokens(text: bytes) -> Iterator[tuple[re.Match[bytes], int]]:
    """Each token, a comment as the mark that begins it, and how deep comments are nested in that one."""
    at = 0
    while token := _TOKENS.search(text, at):
        at, depth = token.end(), 0
        if token["comment"]:
            level, at = 0, len(text)
            for mark in _COMMENT_MARKS.finditer(text, token.start()):
                level += 1 if mark[0] == b"/*" else -1
                depth = max(depth, level)
                if level == 0:
                    at = mark.end()
                    break
        elif token["dollars"]:
            end = text.find(token[0], at)
            at = end + len(token[0]) if end >= 0 else len(text)
        yield token, depth

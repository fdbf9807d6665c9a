"""A text as PostgreSQL's own grammar reads it (libpg_query of PostgreSQL 18, through postgast)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import postgast
from google.protobuf.message import DecodeError
from postgast import native
from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler.deep import parse_deep
from aurora_migrations.compiler.parser_limits import too_deep, with_room
from aurora_migrations.compiler.pieces import WHOLE, in_pieces

COMMENTS = frozenset({pb.SQL_COMMENT, pb.C_COMMENT})
_SURE_ENDS = (b")", *(bytes([letter]) for letter in b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"))


class NotSql(ValueError):
    """A text that PostgreSQL's grammar refuses; `offset` is the byte where the parser stopped."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a text.

    Attributes:
        start, end: its bytes in the text, without comments around it and without its semicolon.
        source: the text that it stands in.
        node: its syntax tree, a protobuf message of postgast (`pg_query_pb2`), such as `IndexStmt`. In a large text an
            INSERT of values has the tree of its table only.
    """

    start: int
    end: int
    source: bytes = field(repr=False)
    node: Any

    @property
    def text(self) -> bytes:
        """Its bytes."""
        return self.source[self.start : self.end]

    @property
    def kind(self) -> str:
        """The name of its tree: `create_stmt`, `index_stmt`, `alter_table_stmt` ..."""
        return str(self.node.DESCRIPTOR.name)


def parse(text: bytes) -> list[Statement]:
    """The statements of a text, in order.

    Raises:
        NotSql: the text isn't PostgreSQL's SQL.
    """
    refused = too_deep(text)
    if refused:
        raise NotSql(*refused)
    return with_room(text, lambda: list(_parse_in_pieces(text)))


def _parse_in_pieces(text: bytes) -> Iterator[Statement]:
    light = _Light()
    for statements in in_pieces(text, lambda piece, base: _parse(text, piece, base)):
        yield from statements if len(text) <= WHOLE else map(light.of, statements)


def _parse(source: bytes, piece: bytes, base: int) -> list[Statement]:
    try:
        return list(_parse_whole(source, piece, base))
    except DecodeError:
        return list(_parse_apart(source, piece, base))


class _Light:
    """Makes statements small: a tree keeps those of its whole piece in memory, and a dump has the same INSERT for every
    row."""

    def __init__(self) -> None:
        self._inserts: dict[tuple[str, str], Any] = {}

    def of(self, statement: Statement) -> Statement:
        return replace(statement, node=self._node(statement.kind, statement.node))

    def _node(self, kind: str, node: Any) -> Any:
        if kind == "InsertStmt" and node.select_stmt.select_stmt.values_lists and not _has_more(node):
            key = (node.relation.schemaname, node.relation.relname)
            if key not in self._inserts:
                self._inserts[key] = pb.InsertStmt()
                self._inserts[key].relation.CopyFrom(node.relation)
            return self._inserts[key]
        alone = type(node)()
        alone.CopyFrom(node)
        return alone


def _has_more(insert: Any) -> bool:
    """Whether an INSERT can touch more than its table."""
    return insert.HasField("on_conflict_clause") or insert.HasField("with_clause") or b"(" in _values_of(insert)


def _values_of(insert: Any) -> bytes:
    """A bracket if any of the values is more than a constant."""
    items = (item for row in insert.select_stmt.select_stmt.values_lists for item in row.list.items)
    return b"" if all(item.WhichOneof("node") in ("a_const", "type_cast", "set_to_default") for item in items) else b"("


def token_stream(text: bytes) -> Iterator[tuple[int, bytes]]:
    """The tokens of a text one by one, without all of them in memory.

    Raises:
        NotSql: the scanner can't read the text.
    """
    for found in in_pieces(text, lambda piece, _: tokens(piece)):
        yield from found


def places(text: bytes, kinds: Collection[int]) -> Iterator[tuple[int, int]]:
    """The bytes of a text's tokens of these kinds (`pg_query_pb2.Token`).

    Raises:
        NotSql: the scanner can't read the text.
    """

    def read(piece: bytes, base: int) -> list[tuple[int, int]]:
        return [(base + token.start, base + token.end) for token in _scan(piece) if token.token in kinds]

    for found in in_pieces(text, read):
        yield from found


def tokens(text: bytes) -> list[tuple[int, bytes]]:
    """The tokens of a text but its comments: the number of its kind (`pg_query_pb2.Token`), and its bytes.

    Raises:
        NotSql: the scanner can't read the text (a string without an end).
    """
    return [(token.token, text[token.start : token.end]) for token in _scan(text) if token.token not in COMMENTS]


def _scan(text: bytes) -> Any:
    refused = too_deep(text)
    if refused:
        raise NotSql(*refused)
    try:
        return postgast.scan(text.decode()).tokens
    except postgast.PgQueryError as error:
        raise _not_sql(text, error) from error


def _parse_whole(source: bytes, piece: bytes, base: int) -> Iterator[Statement]:
    try:
        tree = postgast.parse(piece.decode())
    except postgast.PgQueryError as error:
        raise _not_sql(piece, error, base) from error
    for raw in tree.stmts:
        start = raw.stmt_location
        body = _trimmed(piece[start : start + raw.stmt_len] if raw.stmt_len else piece[start:])
        node = getattr(raw.stmt, raw.stmt.WhichOneof("node"))
        yield Statement(base + start, base + start + len(body), source, node)


def _trimmed(body: bytes) -> bytes:
    """A statement without what stands behind its last token: white space, comments, its semicolon."""
    if body.endswith(_SURE_ENDS) and b"--" not in body and b"/*" not in body:
        return body
    tail = COMMENTS | {pb.ASCII_59}
    ends = (token.end for token in postgast.scan(body.decode()).tokens if token.token not in tail)
    return body[: max(ends, default=0)]


def _parse_apart(source: bytes, piece: bytes, base: int) -> Iterator[Statement]:
    for start, end in _split(piece, base):
        yield from _parse_one(source, piece[start:end], base + start)


def _split(text: bytes, base: int) -> list[tuple[int, int]]:
    """Where statements begin and end, without their trees. postgast's own split() gives texts only, not places."""
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


def _parse_one(source: bytes, text: bytes, base: int) -> Iterator[Statement]:
    """One statement cut out of a text, however deep its tree is."""
    try:
        yield from _parse_whole(source, text, base)
    except DecodeError:
        raw = parse_deep(text).stmts[0]
        node = getattr(raw.stmt, raw.stmt.WhichOneof("node"))
        begin = raw.stmt_location
        body = _trimmed(text[begin:])
        yield Statement(base + begin, base + begin + len(body), source, node)


def _not_sql(text: bytes, error: Exception, base: int = 0) -> NotSql:
    characters = max(0, int(getattr(error, "cursorpos", 1)) - 1)
    return NotSql(str(error), base + len(text.decode()[:characters].encode()))

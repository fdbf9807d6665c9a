"""A text as PostgreSQL's own grammar reads it (libpg_query of PostgreSQL 18, through postgast)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import postgast
from google.protobuf.message import DecodeError
from postgast import native
from postgast import pg_query_pb2 as pb

from compiler.deep import parse_deep
from compiler.limits import too_deep, with_room

_COMMENTS = frozenset({pb.SQL_COMMENT, pb.C_COMMENT})
_SURE_ENDS = (b")", *(bytes([letter]) for letter in b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"))
_TOO_LARGE = 4 << 20  # bytes; a larger text is cut into statements first and these are parsed one by one


class NotSql(ValueError):
    """A text that PostgreSQL's grammar refuses; `offset` is the byte where the parser stopped."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True)
class Statement:
    """One statement of a text.

    Attributes:
        start, end: its bytes in the text, without comments around it and without its semicolon.
        text: those bytes.
        node: its syntax tree, a protobuf message of postgast (`pg_query_pb2`), such as `IndexStmt`.
    """

    start: int
    end: int
    text: bytes
    node: Any

    @cached_property
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
    return with_room(text, lambda: _parse(text))


def _parse(text: bytes) -> list[Statement]:
    if len(text) > _TOO_LARGE:
        return list(_parse_apart(text))
    try:
        return list(_parse_whole(text))
    except DecodeError:
        return list(_parse_apart(text))


def tokens(text: bytes) -> list[tuple[int, bytes]]:
    """The tokens of a text but its comments: the number of its kind (`pg_query_pb2.Token`), and its bytes.

    Raises:
        NotSql: the scanner can't read the text (a string without an end).
    """
    refused = too_deep(text)
    if refused:
        raise NotSql(*refused)
    try:
        found = postgast.scan(text.decode()).tokens
    except postgast.PgQueryError as error:
        raise _not_sql(text, error) from error
    return [(token.token, text[token.start : token.end]) for token in found if token.token not in _COMMENTS]


def _parse_whole(text: bytes, base: int = 0) -> Iterator[Statement]:
    try:
        tree = postgast.parse(text.decode())
    except postgast.PgQueryError as error:
        raise _not_sql(text, error, base) from error
    for raw in tree.stmts:
        start = raw.stmt_location
        body = _trimmed(text[start : start + raw.stmt_len] if raw.stmt_len else text[start:])
        node = getattr(raw.stmt, raw.stmt.WhichOneof("node"))
        yield Statement(base + start, base + start + len(body), body, node)


def _trimmed(body: bytes) -> bytes:
    """A statement without what stands behind its last token: white space, comments, its semicolon."""
    if body.endswith(_SURE_ENDS) and b"--" not in body and b"/*" not in body:
        return body
    tail = _COMMENTS | {pb.ASCII_59}
    ends = (token.end for token in postgast.scan(body.decode()).tokens if token.token not in tail)
    return body[: max(ends, default=0)]


def _parse_apart(text: bytes) -> Iterator[Statement]:
    for start, end in _split(text):
        yield from _parse_one(text[start:end], start)


def _split(text: bytes) -> list[tuple[int, int]]:
    """Where statements begin and end, without their trees. postgast's own split() gives texts only, not places."""
    result = native.lib.pg_query_split_with_parser(text)
    try:
        if result.error:
            postgast.split(text.decode())  # raises it
        found = (result.stmts[number].contents for number in range(result.n_stmts))
        return [(statement.stmt_location, statement.stmt_location + statement.stmt_len) for statement in found]
    except postgast.PgQueryError as error:
        raise _not_sql(text, error) from error
    finally:
        native.lib.pg_query_free_split_result(result)


def _parse_one(text: bytes, base: int) -> Iterator[Statement]:
    """One statement cut out of a text, however deep its tree is."""
    try:
        yield from _parse_whole(text, base)
    except DecodeError:
        raw = parse_deep(text).stmts[0]
        node = getattr(raw.stmt, raw.stmt.WhichOneof("node"))
        begin = raw.stmt_location
        body = _trimmed(text[begin:])
        yield Statement(base + begin, base + begin + len(body), body, node)


def _not_sql(text: bytes, error: Exception, base: int = 0) -> NotSql:
    characters = max(0, int(getattr(error, "cursorpos", 1)) - 1)
    return NotSql(str(error), base + len(text.decode()[:characters].encode()))

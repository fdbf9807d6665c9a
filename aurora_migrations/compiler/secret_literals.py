"""Finds and hides password literals in SQL texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import postgast
from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler.parser import COMMENTS, Statement

_Span = tuple[int, int]
_MAY_HOLD_ONE = re.compile(rb"passw|pwd|://|crypt\s*\(", re.IGNORECASE)
# One of these is in any match of it. A pattern finds a word in half the time of `in`; one for all takes much longer.
_WORDS = tuple(map(re.compile, (rb"passw", rb"pwd", rb"://", rb"crypt")))
_LITERALS = (pb.SCONST, pb.USCONST)
_ROLES = ("CreateRoleStmt", "AlterRoleStmt")
_FOREIGN = (
    *("CreateUserMappingStmt", "AlterUserMappingStmt", "CreateForeignServerStmt", "AlterForeignServerStmt"),
    *("CreateFdwStmt", "AlterFdwStmt"),
)
_SUBSCRIPTIONS = ("CreateSubscriptionStmt", "AlterSubscriptionStmt")
_SETTINGS = ("VariableSetStmt", "AlterSystemStmt", "AlterRoleSetStmt", "AlterDatabaseSetStmt")
_CODE = ("DoStmt", "CreateFunctionStmt")
_OPTIONS = (b"password", b"passwd", b"pwd", b"sslpassword")
_COLUMNS = (b"password", b"passwd", b"pwd")
# Placeholders of format(), and those filled in before the text runs:
_BLANK = rb"%(?:\d+\$)?[sLI]|\$\d+|\$\{[^}]{0,80}\}|\{\{[^}]{0,80}\}\}|<[\w -]{1,80}>"
_NO_PASSWORD = re.compile(rb"(?:" + _BLANK + rb"|:\w+|[*!]*)")
# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING: keywords, or an URI.
_CONNECTION = re.compile(
    rb"\b(?:password|sslpassword)\s*=\s*(?!''|" + _BLANK + rb")\S|://[^:/@\s]*:(?!(?:" + _BLANK + rb")@)[^@/\s]+@",
    re.IGNORECASE,
)
_CONNECTS = re.compile(rb"\b(?:host|hostaddr|port|dbname|user|service)\s*=", re.IGNORECASE)
_PLACEHOLDER = re.compile(rb"(?:%(?:\d+\$)?[sLI]?|)")
_FORMATS = re.compile(rb"%(?:\d+\$)?[sLI]")
_TEMPLATE = re.compile(rb"\bpassword(?:\s*=\s*|\s+)'*(?P<place>%(?:(?P<number>\d{1,3})\$)?[sL])", re.IGNORECASE)
_BREAKS_OFF = re.compile(rb"\bpassword(?:\s*=\s*|\s+)'*\Z", re.IGNORECASE)
_UNSCANNABLE = re.compile(rb"\bpassword\s+(?:e|u&)?'+[^'%]", re.IGNORECASE)
_DEEPEST = 20  # levels of strings within strings that are read as code; a deeper one is searched as plain text
_FARTHEST = 200  # tokens from a string to what completes it
_QUOTES = (b"(", b"quote_literal", b"quote_nullable")
_DOLLARS = re.compile(rb"\$[^$]*\$")


class _Token(NamedTuple):
    kind: int  # `pg_query_pb2.Token`
    start: int
    end: int
    text: bytes

    @property
    def word(self) -> bytes:
        return self.text.strip(b'"').lower()


def hide_passwords(text: bytes, statements: Sequence[Statement]) -> bytes:
    """The text with each password literal replaced by x's of the same length, safe to show as in an excerpt."""
    found = [span for spans in password_literals(text, statements) for span in spans]
    if not found:
        return text
    hidden = bytearray(text)
    for start, end in found:
        hidden[start:end] = b"'" + re.sub(rb"[^\n]", b"x", text[start + 1 : end - 1]) + b"'"
    return bytes(hidden)


def password_literals(text: bytes, statements: Iterable[Statement]) -> Iterator[list[_Span]]:
    """The bytes of password literals, with their quotes, by statement."""
    lower = text.lower()
    if not any(word.search(lower) for word in _WORDS):
        return
    for statement in statements:
        if _MAY_HOLD_ONE.search(statement.text):
            found = {*_by_kind(statement.kind, statement.text), *_hashed_here(statement.text)}
            if found:
                yield [(statement.start + start, statement.start + end) for start, end in sorted(found)]


def _hashed_here(text: bytes) -> Iterator[_Span]:
    """The first argument of pgcrypto's crypt(), if it is a literal: the password to be hashed."""
    tokens = _scan(text) if b"crypt" in text.lower() else []
    for function, bracket, argument in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if function.word == b"crypt" and bracket.text == b"(" and argument.kind in _LITERALS:
            yield argument.start, argument.end


def _by_kind(kind: str, text: bytes) -> Iterable[_Span]:
    if kind in _ROLES:
        return _after(_scan(text), (b"password",))
    if kind in _FOREIGN:
        return [*_after(_scan(text), _OPTIONS), *_connections(text)]
    if kind in _SUBSCRIPTIONS:
        return _connections(text)
    if kind in _SETTINGS:
        return [*_connections(text), *_assigned(_scan(text))]
    if kind == "UpdateStmt":
        return _assigned(_scan(text), (b"set", b","))
    connects = b"dblink" in text.lower()
    return _in_code(text, connects) if kind in _CODE or connects else ()


def _connections(text: bytes) -> Iterator[_Span]:
    """The literals that are a connection to another server, with a password."""
    for token in _scan(text):
        if token.kind in _LITERALS and _is_connection(_content(token.text), remote=True):
            yield token.start, token.end


def _assigned(tokens: Sequence[_Token], preceding: Sequence[bytes] = ()) -> Iterator[_Span]:
    """The literals assigned to a column or setting that is named like a password; right after one of the `preceding`
    tokens, if there are any."""
    for before, name, sign, value in zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False):
        if (
            value.kind in _LITERALS
            and sign.text.lower() in (b"=", b"to")
            and name.word in _COLUMNS
            and (not preceding or before.text.lower() in preceding)
            and not _NO_PASSWORD.fullmatch(_content(value.text).strip())
        ):
            yield value.start, value.end


def _scan(text: bytes) -> list[_Token]:
    """Its tokens but comments; none if PostgreSQL's scanner can't read it (a function body in another language)."""
    try:
        found = postgast.scan(text.decode()).tokens
    except (postgast.PgQueryError, UnicodeDecodeError):
        return []
    every = (_Token(token.token, token.start, token.end, text[token.start : token.end]) for token in found)
    return [token for token in every if token.kind not in COMMENTS]


def _after(tokens: Sequence[_Token], words: Sequence[bytes]) -> Iterator[_Span]:
    """The literals right after one of these words."""
    for before, token in pairwise(tokens):
        if token.kind in _LITERALS and before.word in words:
            yield token.start, token.end


def _in_code(text: bytes, remote: bool, depth: int = 0) -> Iterator[_Span]:
    """The literals with a password in code: in its own statements, and in those that it builds from strings. If it
    connects to another server (`remote`), any `password=` in a string is a connection's."""
    tokens = _scan(text) if depth < _DEEPEST else []
    if not tokens and _UNSCANNABLE.search(text):
        yield 0, len(text)
    for start, end in _after(tokens, (b"password",)):
        if not _PLACEHOLDER.fullmatch(_content(text[start:end])):
            yield start, end
    for number, token in enumerate(tokens):
        if token.kind not in _LITERALS or not _MAY_HOLD_ONE.search(token.text):
            continue
        content, opening = _content(token.text), _DOLLARS.match(token.text)
        if opening:
            inner = token.start + opening.end()
            yield from ((inner + start, inner + end) for start, end in _in_code(content, remote, depth + 1))
        elif any(_in_code(content, remote, depth + 1)) or _is_connection(content, remote):
            yield token.start, token.end
        yield from _completing(content, tokens, number + 1)


def _is_connection(content: bytes, remote: bool) -> bool:
    found = _CONNECTION.search(content)
    return bool(found and (remote or found[0].startswith(b"://") or _CONNECTS.search(content)))


def _content(literal: bytes) -> bytes:
    opening = _DOLLARS.match(literal)
    if opening:
        return literal[opening.end() : -opening.end()]
    return literal[literal.index(b"'") + 1 : -1].replace(b"''", b"'")


def _completing(content: bytes, tokens: Sequence[_Token], after: int) -> Iterator[_Span]:
    """The literals that complete a string that ends where its password begins, or is the template of a format()."""
    if _BREAKS_OFF.search(content) and after < len(tokens) and tokens[after].text == b"||":
        yield from _literal(_arguments(tokens[after + 1 : after + _FARTHEST], b"||")[0])
    template = _TEMPLATE.search(content)
    if template:
        before = len(_FORMATS.findall(content[: template.start("place")]))
        number = int(template["number"] or before + 1)
        arguments = _arguments(tokens[after : after + _FARTHEST], b",")
        yield from _literal(arguments[number] if number < len(arguments) else [])


def _arguments(tokens: Sequence[_Token], separator: bytes) -> list[list[_Token]]:
    """The tokens up to the end of the statement or of the brackets around them, split at the separator."""
    depth = 0
    arguments: list[list[_Token]] = [[]]
    for token in tokens:
        depth += {b"(": 1, b")": -1}.get(token.text, 0)
        if depth < 0 or token.text == b";":
            break
        if token.text == separator and depth == 0:
            arguments.append([])
        else:
            arguments[-1].append(token)
    return arguments


def _literal(tokens: Sequence[_Token]) -> Iterator[_Span]:
    """The literal that an expression is, if it is one: bare, in brackets or quoted by quote_literal()."""
    for token in tokens:
        if token.kind in _LITERALS:
            yield token.start, token.end
            return
        if token.text.lower() not in _QUOTES:
            return

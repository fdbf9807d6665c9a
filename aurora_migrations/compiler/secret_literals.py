"""Password literals in SQL texts: where they stand, and texts with them hidden."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import postgast

from aurora_migrations.compiler.parser import Statement

_Span = tuple[int, int]
_MAY_HOLD_ONE = re.compile(rb"passw|pwd|://|crypt\s*\(", re.IGNORECASE)
_LITERALS = ("SCONST", "USCONST")
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
# To be filled in, by format() or before it is run:
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
_DEEPEST = 20  # strings within strings that are looked into; what is deeper is looked at as plain text
_FARTHEST = 200  # tokens from a string to what completes it
_AROUND = (b"(", b"quote_literal", b"quote_nullable")
_DOLLARS = re.compile(rb"\$[^$]*\$")


def hide_passwords(text: bytes, statements: Sequence[Statement]) -> bytes:
    """The text with each password literal made x's of the same length: what may be shown of it, as in an excerpt."""
    found = [span for spans in password_literals(text, statements) for span in spans]
    if not found:
        return text
    hidden = bytearray(text)
    for start, end in found:
        hidden[start:end] = b"'" + re.sub(rb"[^\n]", b"x", text[start + 1 : end - 1]) + b"'"
    return bytes(hidden)


def password_literals(text: bytes, statements: Iterable[Statement]) -> Iterator[list[_Span]]:
    """Where password literals stand, with their quotes, by statement."""
    if not _MAY_HOLD_ONE.search(text):
        return
    for statement in statements:
        if _MAY_HOLD_ONE.search(statement.text):
            spans = [(statement.start + start, statement.start + end) for start, end in _in_statement(statement)]
            if spans:
                yield spans


def _in_statement(statement: Statement) -> list[_Span]:
    text = statement.text
    hashed = _hashed_here(_scan(text)) if b"crypt" in text.lower() else []
    return sorted({*_by_kind(statement.kind, text), *hashed})


def _hashed_here(tokens: Sequence[_Token]) -> list[_Span]:
    """The first argument of pgcrypto's crypt(), where it is a literal: the password that is to be hashed."""
    triples = zip(tokens, tokens[1:], tokens[2:], strict=False)
    return [
        (start, end)
        for word, bracket, (name, start, end, _) in triples
        if name in _LITERALS and bracket[3] == b"(" and word[3].strip(b'"').lower() == b"crypt"
    ]


def _by_kind(kind: str, text: bytes) -> list[_Span]:
    if kind in _ROLES:
        return list(_after(_scan(text), (b"password",)))
    if kind in _FOREIGN:
        return [*_after(_scan(text), _OPTIONS), *_connections(text)]
    if kind in _SUBSCRIPTIONS:
        return _connections(text)
    if kind in _SETTINGS:
        return [*_connections(text), *_assigned(_scan(text))]
    if kind == "UpdateStmt":
        return list(_assigned(_scan(text), (b"set", b",")))
    if kind in _CODE or b"dblink" in text.lower():
        return list(_in_code(text, b"dblink" in text.lower()))
    return []


_Token = tuple[str, int, int, bytes]


def _connections(text: bytes) -> list[_Span]:
    """The literals that tell how to connect to another server, with a password."""
    literals = [token for token in _scan(text) if token[0] in _LITERALS]
    return [(start, end) for _, start, end, token in literals if _is_connection(_content(token), remote=True)]


def _assigned(tokens: Sequence[_Token], behind: Sequence[bytes] = ()) -> Iterator[_Span]:
    """The literals that a column or setting is set to whose name says that it holds a password.

    Args:
        behind: what stands before the name; anything, if nothing is said.
    """
    for before, name, sign, (kind, start, end, token) in zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False):
        if (
            kind in _LITERALS
            and sign[3].lower() in (b"=", b"to")
            and name[3].strip(b'"').lower() in _COLUMNS
            and (not behind or before[3].lower() in behind)
            and not _NO_PASSWORD.fullmatch(_content(token).strip())
        ):
            yield start, end


def _scan(text: bytes) -> list[_Token]:
    """Its tokens but comments; none if PostgreSQL's scanner can't read it (a function body in another language)."""
    try:
        found = postgast.scan(text.decode()).tokens
    except (postgast.PgQueryError, UnicodeDecodeError):
        return []
    every = [(_kind(token.token), token.start, token.end, text[token.start : token.end]) for token in found]
    return [token for token in every if not token[0].endswith("_COMMENT")]


def _kind(number: int) -> str:
    """The name of a token's kind; empty for a sign that PostgreSQL's grammar has no use for, such as a brace."""
    return str(postgast.pg_query_pb2.Token.Name(number)) if number in _NAMED else ""


_NAMED = frozenset(postgast.pg_query_pb2.Token.values())


def _after(tokens: Sequence[_Token], words: Sequence[bytes]) -> Iterator[_Span]:
    """The literals right after one of these words."""
    for before, (name, start, end, _) in pairwise(tokens):
        if name in _LITERALS and before[3].strip(b'"').lower() in words:
            yield start, end


def _in_code(text: bytes, remote: bool, depth: int = 0) -> Iterator[_Span]:
    """The literals with a password in code: its own statements, and those that it puts together out of strings.

    Args:
        remote: the code connects to another server, so that any `password=` in a string is a connection's.
        depth: how many strings it stands in.
    """
    tokens = _scan(text) if depth < _DEEPEST else []
    if not tokens and _UNSCANNABLE.search(text):
        yield 0, len(text)
    for start, end in _after(tokens, (b"password",)):
        if not _PLACEHOLDER.fullmatch(_content(text[start:end])):
            yield start, end
    for number, (name, start, end, token) in enumerate(tokens):
        if name not in _LITERALS or not _MAY_HOLD_ONE.search(token):
            continue
        opening = _DOLLARS.match(token)
        if opening:
            inner = start + opening.end()
            yield from ((inner + s, inner + e) for s, e in _in_code(_content(token), remote, depth + 1))
        elif any(_in_code(_content(token), remote, depth + 1)) or _is_connection(_content(token), remote):
            yield start, end
        yield from _completing(_content(token), tokens, number + 1)


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
    if _BREAKS_OFF.search(content) and tokens[after : after + 1] and tokens[after][3] == b"||":
        yield from _literal(_arguments(tokens[after + 1 : after + _FARTHEST], b"||")[0])
    template = _TEMPLATE.search(content)
    if template:
        before = len(_FORMATS.findall(content[: template.start("place")]))
        number = int(template["number"] or before + 1)
        arguments = _arguments(tokens[after : after + _FARTHEST], b",")
        yield from _literal(arguments[number] if number < len(arguments) else [])


def _arguments(tokens: Sequence[_Token], separator: bytes) -> list[list[_Token]]:
    """The tokens up to the end of the statement or of the brackets they stand in, cut at the separator."""
    depth = 0
    parts: list[list[_Token]] = [[]]
    for token in tokens:
        depth += {b"(": 1, b")": -1}.get(token[3], 0)
        if depth < 0 or token[3] == b";":
            break
        if token[3] == separator and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _literal(tokens: Sequence[_Token]) -> Iterator[_Span]:
    """The literal that an expression is, if it is one: bare, in brackets or quoted by quote_literal()."""
    for name, start, end, token in tokens:
        if name in _LITERALS:
            yield start, end
            return
        if token.lower() not in _AROUND:
            return

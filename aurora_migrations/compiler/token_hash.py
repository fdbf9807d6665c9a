"""The token hash: equal for two texts with the same meaning and a different layout.

Comments, white space and the letter case of keywords, unquoted names and the letters before a quote (`E'...'`) don't
count, nor does it where a string is broken into several that PostgreSQL puts together; everything else does. (A hash of
the syntax tree won't do, as trees differ between versions of the grammar; libpg_query's fingerprint won't, as it
ignores constants.)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler.parser import token_stream, tokens

_TOGETHER = 4096  # tokens hashed at once
VERSION = "2"  # of the algorithm; included in the hash, so that another algorithm isn't mistaken for another text
# Strings: their bytes are their meaning. All else is a quoted name (alike), a keyword, a name, a number, a sign.
STRINGS = frozenset({pb.SCONST, pb.USCONST, pb.BCONST, pb.XCONST})
_PLAIN = re.compile(rb"'([^']*(?:''[^']*)*)'(?:\s|--[^\r\n]*[\r\n])*")
_ESCAPED = re.compile(rb"'([^'\\]*(?:(?:''|\\.)[^'\\]*)*)'(?:\s|--[^\r\n]*[\r\n])*", re.DOTALL)


def token_hash(text: bytes) -> str:
    """Hash of a text's tokens, such as `2:9f86d0...`.

    Raises:
        NotSql: the scanner can't read the text.
    """
    return _hash(token_stream(text))


def unit_hash(text: bytes) -> str:
    """The hash of a unit of a file, without the semicolons at its end: what follows decides whether they are there."""
    found = tokens(text)
    while found and found[-1][0] == pb.ASCII_59:
        found.pop()
    return _hash(found)


def _hash(found: Iterable[tuple[int, bytes]]) -> str:
    digest, buffer = hashlib.sha256(), list[bytes]()
    for kind, token in _merged(found):
        if kind in STRINGS:
            meaning = token if token.startswith(b"$") else _joined(token)
        elif token.startswith(b'"'):
            meaning = token
        else:
            meaning = b"u&" + token[2:] if token.startswith((b"u&", b"U&")) else token.lower()
        buffer.append(b"%d:%s," % (len(meaning), meaning))
        if len(buffer) == _TOGETHER:
            digest.update(b"".join(buffer))
            buffer.clear()
    digest.update(b"".join(buffer))
    return f"{VERSION}:{digest.hexdigest()}"


def _merged(found: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Adjacent strings are one: only a line end with a comment can have separated them."""
    before: tuple[int, bytes] | None = None  # a string, to which another one may belong
    for each in found:
        is_string = each[0] in STRINGS
        if before is not None and is_string and each[1].startswith(b"'"):
            before = (before[0], before[1] + b"\n" + each[1])
            continue
        if before is not None:
            yield before
        if not is_string:
            yield each
        before = each if is_string else None
    if before is not None:
        yield before


def _joined(string: bytes) -> bytes:
    """`'a'`, a line end, `'b'` are one string, 'ab': what is between the quotes is layout. E'a' is e'a'."""
    prefix = string[: string.index(b"'")].lower()
    if b"\n" not in string and b"\r" not in string:
        return prefix + string[len(prefix) :]
    parts, end = [], 0
    for match in (_ESCAPED if prefix == b"e" else _PLAIN).finditer(string):
        parts.append(match[1])
        end = match.end()
    return prefix + b"'" + b"".join(parts) + b"'" + string[end:]

"""The token hash: equal for two texts with the same meaning and a different layout.

Comments, white space and the letter case of keywords, unquoted names and the letters before a quote (`E'...'`) don't
count, nor does it where a string is broken into several that PostgreSQL puts together; everything else does. (A hash of
the syntax tree won't do, as trees differ between versions of the grammar; libpg_query's fingerprint won't, as it
ignores constants.)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache

from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler.parser import token_stream, tokens

_TOGETHER = 4096  # tokens hashed at once, or more up to the end of a statement
_LARGE = 1 << 20  # bytes; histories and manifests have the hashes of larger files as they are
_SHORT = 64  # bytes of a token that is kept
_SEMICOLON, _SEMICOLON_TOKEN = b"1:;,", pb.ASCII_59
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
    return _hashes(token_stream(text))[0]


def unit_hash(text: bytes) -> str:
    """The hash of a unit of a file, without the semicolons at its end: what follows decides whether they are there."""
    return _hashes(tokens(text))[1]


def file_and_unit_hash(text: bytes) -> tuple[str, str]:
    """The token hash of a text, and its hash as the only unit of a file: that of a large file is the same."""
    whole, unit = _hashes(token_stream(text))
    return whole, unit if len(text) <= _LARGE else whole


def _hashes(found: Iterable[tuple[int, bytes]]) -> tuple[str, str]:
    """The hash of all tokens, and that without the semicolons at the end."""
    digest, buffer, semicolons = hashlib.sha256(), list[bytes](), 0
    string: bytes | None = None  # to which another one may belong: only a line end can have separated them
    for kind, token in found:
        is_string = kind in STRINGS
        if string is not None and not (is_string and token.startswith(b"'")):
            buffer.append(_string(string))
            string = None
        if kind == _SEMICOLON_TOKEN:
            semicolons += 1
            continue
        if semicolons:
            buffer.append(_SEMICOLON * semicolons)
            semicolons = 0
            if len(buffer) >= _TOGETHER:
                digest.update(b"".join(buffer))
                buffer.clear()
        if is_string:
            string = token if string is None else string + b"\n" + token
        else:
            buffer.append(_meaning(token) if len(token) <= _SHORT else _meaning.__wrapped__(token))
    if string is not None:
        buffer.append(_string(string))
    digest.update(b"".join(buffer))
    unit = digest.hexdigest()
    digest.update(_SEMICOLON * semicolons)
    return f"{VERSION}:{digest.hexdigest()}", f"{VERSION}:{unit}"


def _string(token: bytes) -> bytes:
    return _counted(token if token.startswith(b"$") else _joined(token))


def _counted(meaning: bytes) -> bytes:
    return b"%d:%s," % (len(meaning), meaning)


@lru_cache(maxsize=4096)  # the same few words in all files
def _meaning(token: bytes) -> bytes:
    """That of a token that is no string."""
    if token.startswith(b'"'):
        return _counted(token)
    return _counted(b"u&" + token[2:] if token.startswith((b"u&", b"U&")) else token.lower())


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

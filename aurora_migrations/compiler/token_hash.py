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

from aurora_migrations.compiler.parser import WHOLE, in_chunks, refuse_too_deep, tokens
from aurora_migrations.compiler.plain import tokens as plain
from aurora_migrations.compiler.plain.rows import AlikeRows
from aurora_migrations.compiler.plain.tokens import MEANINGS, SEMICOLON, counted

_LARGE = 1 << 20  # bytes; histories and manifests have the hashes of larger files as they are
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
    return _hashes(_read(text))[0]


def unit_hash(text: bytes) -> str:
    """The hash of a unit of a file, without the semicolons at its end: what follows decides whether they are there."""
    return _hashes([_meanings(text)])[1]


def file_and_unit_hash(text: bytes, rows: Iterable[AlikeRows] = ()) -> tuple[str, str]:
    """The token hash of a text, and its hash as the only unit of a file: that of a large file is the same. `rows` are
    those in it that are alike."""

    if len(text) <= WHOLE:
        return _hashes([_meanings(text)])

    def read() -> Iterator[list[bytes]]:
        at = 0
        for each in rows:
            yield from _read(text[at : each.starts[0]])
            yield from each.meanings(text, _meanings)
            at = each.starts[-1]
        yield from _read(text[at:])

    whole, unit = _hashes(read())
    return whole, unit if len(text) <= _LARGE else whole


def _read(text: bytes) -> Iterator[list[bytes]]:
    return in_chunks(text, lambda chunk, _: _meanings(chunk))


def _hashes(chunks: Iterable[list[bytes]]) -> tuple[str, str]:
    """The hash of the meanings of all tokens, and that without the semicolons at the end."""
    digest, semicolons = hashlib.sha256(), 0
    for meanings in chunks:
        end = len(meanings)
        while end and meanings[end - 1] == SEMICOLON:
            end -= 1
        if end:
            digest.update(SEMICOLON * semicolons)
            digest.update(b"".join(meanings[:end]))
            semicolons = 0
        semicolons += len(meanings) - end
    unit = digest.hexdigest()
    digest.update(SEMICOLON * semicolons)
    return f"{VERSION}:{digest.hexdigest()}", f"{VERSION}:{unit}"


def _meanings(text: bytes) -> list[bytes]:
    """The meaning of each token; of strings that PostgreSQL puts together, one."""
    refuse_too_deep(text)
    if (known := plain.meanings(text)) is not None:
        return known
    found = list[bytes]()
    string: bytes | None = None  # to which another one may belong: only a line end can have separated them
    for kind, token in tokens(text):
        is_string = kind in STRINGS
        if string is not None and not (is_string and token.startswith(b"'")):
            found.append(_string(string))
            string = None
        if is_string:
            string = token if string is None else string + b"\n" + token
        else:
            found.append(MEANINGS[token])
    return found if string is None else [*found, _string(string)]


def _string(token: bytes) -> bytes:
    return counted(token if token.startswith(b"$") else _joined(token))


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

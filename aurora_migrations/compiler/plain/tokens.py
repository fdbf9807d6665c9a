"""The tokens of a text that has only plain ones, by a regular expression: in a tenth of the scanner's time.

Plain are names, keywords, strings ('...' and $$...$$), whole and decimal numbers, the common signs. For all else, and
wherever a token could depend on what is next to it, PostgreSQL's scanner is needed: `tests/unit/test_plain.py`
compares the two. https://www.postgresql.org/docs/current/sql-syntax-lexical.html
"""

from __future__ import annotations

import re

_OPERATOR = rb"[~!@#^&|`?+\-*/%<>=]"
_PARTS = (
    # A name; not the letters before a string or a quoted name: E'...', U&"...".
    rb"[A-Za-z_\x80-\xff][\w$\x80-\xff]*+(?!['&])",
    rb"[,()\[\];]",
    # A string may go on after a line end, also behind a comment.
    rb"(?:'[^']*+(?:''[^']*+)*+'|\$\$[^$]*+(?:\$(?!\$)[^$]*+)*+\$\$)(?!\s*+['/\-])",
    rb"\d++(?:\.\d++)?+(?![\w.$\x80-\xff])",
    rb"\.(?![\d.])|::|:(?![:=])",
    rb"(?:[-+*/%^<>=]|[<>!]=|<>|=>|\|\||->>?)(?!" + _OPERATOR + rb")",
    rb'"[^"]++"(?!")',
)
_TOKEN = b"|".join(_PARTS)
_PLAIN = re.compile(_TOKEN)
_LAYOUT = rb"(?:\s++|--[^\n\r]*+|/\*[^*/]*+(?:(?:\*(?!/)|/(?!\*))[^*/]*+)*+\*/)*+"
# At what isn't plain, all of the rest; at the end, nothing.
_NEXT = re.compile(_LAYOUT + rb"(" + _TOKEN + rb"|\Z|[\s\S]++)")


_SHORT, _KEPT = 64, 4096  # bytes of a token whose meaning is kept; tokens
SEMICOLON = b"1:;,"


def counted(meaning: bytes) -> bytes:
    """A token's meaning as the token hash takes it in."""
    return b"%d:%s," % (len(meaning), meaning)


class _Meanings(dict[bytes, bytes]):
    """What tokens mean, as the token hash takes it in: a name or keyword in lower case, a string as it is. Not a string
    of several, or with letters before it. The same few words are in all files."""

    def __missing__(self, token: bytes) -> bytes:
        if token.startswith((b"'", b'"', b"$$")):
            return counted(token)
        meaning = counted(b"u&" + token[2:] if token.startswith((b"u&", b"U&")) else token.lower())
        if len(token) <= _SHORT:
            if len(self) >= _KEPT:
                self.clear()
            self[token] = meaning
        return meaning


MEANINGS = _Meanings()


def meanings(text: bytes) -> list[bytes] | None:
    """The meanings of the tokens of a text, without its comments; None if one of them isn't plain."""
    found = read(text)
    return None if found is None else list(map(MEANINGS.__getitem__, found))


def read(text: bytes) -> list[bytes] | None:
    """The tokens of a text, without its comments; None if one of them isn't plain."""
    found = _NEXT.findall(text)
    while found and not found[-1]:  # the end, also behind layout
        found.pop()
    return found if not found or _PLAIN.fullmatch(found[-1]) else None


def places(text: bytes) -> list[tuple[bytes, int]] | None:
    """The same, each with the byte where it begins."""
    found = [(match[1], match.start(1)) for match in _NEXT.finditer(text) if match[1]]
    return found if not found or _PLAIN.fullmatch(found[-1][0]) else None

"""Where something stands in a text, and what may be shown of it there: a line and a caret, and no password.

What a text says of passwords can't be told from the rest with certainty. So where the words are there at all, values
(strings, numbers, comments) are made dots; and nothing is shown of a text that isn't SQL, where a value has no ends.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from functools import cached_property

_SECRET = re.compile(
    r"passw|pwd|secret|crypt\s*\(|api_?key|access_?key|credential|://[^@\s]*@|encrypted"
    r"|(?:create|alter)\s+(?:role|user|group|server|subscription)\b",
    re.IGNORECASE,
)
_WIDTH, _BEFORE = 100, 60  # characters shown of a line, and how many of them before the caret at most
# As PostgreSQL's scanner reads them: names in double quotes stay; strings of all kinds, numbers and comments are
# values. https://www.postgresql.org/docs/current/sql-syntax-lexical.html
_TOKEN = re.compile(
    r"""(?P<name>"(?:[^"]|"")*(?:"|\Z))|(?P<comment>--[^\n]*|/\*)"""
    r"""|(?<![\w$])[eE]'(?:[^'\\]|''|\\.)*(?:'|\Z)(?:\s*\n\s*'(?:[^'\\]|''|\\.)*(?:'|\Z))*"""
    r"""|'(?:[^']|'')*(?:'|\Z)|(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)"""
    r"""|(?P<number>(?<![\w$])\d[\w.]*)""",
    re.DOTALL,
)
_COMMENT_MARKS = re.compile(r"/\*|\*/")
_URL_PASSWORD = re.compile(r"(://[^:\s]*:).*", re.DOTALL)
_KEY_PASSWORD = re.compile(
    r"((?:(?:password|passwd|pwd)\s*=|--password)\s*)(?:'(?:[^'\\]|\\.)*(?:'|\Z)|\S+)", re.IGNORECASE
)


class Lines:
    """A text's lines. Asking for many places takes no longer for those far down."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._near = (0, 0, 0)  # a line's beginning, an offset on it, the characters between

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer(b"\n", self._text))]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1, of a byte offset; columns count characters."""
        line = bisect_right(self._starts, offset)
        start = self._starts[line - 1]
        known, upto, characters = self._near
        if known != start or offset < upto:
            upto, characters = start, 0
        characters += len(self._text[upto:offset].decode(errors="replace"))
        self._near = (start, offset, characters)
        return line, characters + 1


def position(text: bytes, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of a byte offset; columns count characters. For many places, see `Lines`."""
    start = text.rfind(b"\n", 0, offset) + 1
    return text.count(b"\n", 0, offset) + 1, len(text[start:offset].decode(errors="replace")) + 1


def speaks_of_secrets(text: str | bytes) -> bool:
    """Whether a text has words that stand beside passwords."""
    return bool(_SECRET.search(text if isinstance(text, str) else text.decode(errors="replace")))


def without_values(sql: str, numbers: bool = True) -> str:
    """SQL with dots for its strings, its comments and, unless told otherwise, its numbers; as long as it was, with the
    same lines."""
    return _replaced(sql, lambda kind, text: text if kind == "number" and not numbers else _dotted(text))


def without_literals(sql: str) -> str:
    """SQL in one line, with `?` for its strings and numbers and without its comments; it may be cut off anywhere."""
    return " ".join(_replaced(sql, lambda kind, _: " " if kind == "comment" else "?").split())


def without_password(text: str) -> str:
    """What somebody typed, without the password of a URL, or of `key=value`, in it: it may be shown again."""
    before, at, rest = text.rpartition("@")  # the last: a password that isn't encoded may hold @, and : and / as well
    return _KEY_PASSWORD.sub(r"\1...", _URL_PASSWORD.sub(r"\1...", before) + at + rest)


def _replaced(sql: str, by: Callable[[str, str], str]) -> str:
    """SQL with its values (`number`, `comment`, `string`) replaced."""
    parts, at = [], 0
    while match := _TOKEN.search(sql, at):
        end = _comment_end(sql, match.start()) if match[0] == "/*" else match.end()
        value = sql[match.start() : end]
        kind = "number" if match["number"] else "comment" if match["comment"] else "string"
        parts += [sql[at : match.start()], value if match["name"] else by(kind, value)]
        at = end
    return "".join([*parts, sql[at:]])


def _comment_end(sql: str, start: int) -> int:
    """Where the comment ends that begins here; others may be nested in it."""
    depth = 0
    for mark in _COMMENT_MARKS.finditer(sql, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(sql)


def _dotted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] == "'"
    dots = re.sub(r"[^\n]", ".", value)
    return f"'{dots[1:-1]}'" if quoted else dots


def pointed(text: bytes, line: int, column: int) -> str:
    """The line and a caret under the column; of a long line the part around it. Nothing of a line about a password."""
    lines = text.split(b"\n", line)
    whole = lines[line - 1].decode(errors="replace") if 0 < line <= len(lines) else ""
    return "" if speaks_of_secrets(whole) else _caret(whole, column)


def excerpt(text: bytes, offset: int, statement: tuple[int, int] | None, hide_values: bool = False) -> str:
    """The line of a byte offset and a caret; of a statement about secrets, or where asked to, without its values.

    Args:
        statement: the bytes of the statement that the offset is in; None where they aren't known.
    """
    begin = text.rfind(b"\n", 0, offset) + 1
    end = text.find(b"\n", offset)
    line = text[begin : end if end >= 0 else len(text)].decode(errors="replace")
    column = len(text[begin:offset].decode(errors="replace")) + 1
    start, stop = statement or (begin, begin)
    if not hide_values and not speaks_of_secrets(line) and not speaks_of_secrets(text[start:stop]):
        return _caret(line, column)
    if statement is None:
        return ""
    before = len(text[begin:start].decode(errors="replace"))  # what stands on the line before it isn't looked at
    stop += text.startswith(b";", stop)
    hidden = without_values(text[start:stop].decode(errors="replace")).split("\n")
    shown = hidden[text.count(b"\n", start, offset)] if offset >= start else ""
    return _caret(" " * before + shown, column)


def _caret(line: str, column: int) -> str:
    first = max(0, column - _BEFORE - 1)
    return f"{line[first : first + _WIDTH].replace(chr(9), ' ')}\n{' ' * (column - 1 - first)}^"

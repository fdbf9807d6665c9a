"""A large text, read piece by piece: the tree of a whole dump would take seventy times its size in memory.

A piece ends behind a semicolon at a line's end. Whether that semicolon ends a statement shows by reading the piece: one
that was cut inside a string, a comment, a body or brackets can't be read, and is made longer. A line that has `--`
before its end is never cut at, as its semicolon may stand in the comment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

_T = TypeVar("_T")
WHOLE = 1 << 20  # bytes; no text up to this is cut
PIECE = 1 << 18
_GROWTH = 4


def in_pieces(text: bytes, read: Callable[[bytes, int], _T]) -> Iterator[_T]:
    """What `read` makes of each piece and the byte at which it begins.

    Raises:
        NotSql: `read` did so for all of the rest.
    """
    if len(text) <= WHOLE:
        yield read(text, 0)
        return
    at = 0
    while at < len(text):
        end, result = _read_one(text, at, read)
        yield result
        at = end


def _read_one(text: bytes, at: int, read: Callable[[bytes, int], _T]) -> tuple[int, _T]:
    size = PIECE
    while True:
        end = _cut(text, at + size)
        try:
            return end, read(text[at:end], at)
        except ValueError:  # NotSql: cut in the middle of something, or truly none
            if end == len(text):
                raise
        size *= _GROWTH


def _cut(text: bytes, wanted: int) -> int:
    """The end of the first line from there on that ends with a semicolon and has no comment; else the text's end."""
    while (semicolon := text.find(b";\n", wanted)) >= 0:
        if b"--" not in text[text.rfind(b"\n", 0, semicolon) + 1 : semicolon]:
            return semicolon + 2
        wanted = semicolon + 2
    return len(text)

"""Sentences on the terminal: broken at its width, between words, and never in a pipe, where each stays one line.

What stands in backticks stays whole, as it is to be copied; so does what has no space in it, such as an ARN.
"""

from __future__ import annotations

import contextlib
import os
import re
import textwrap
import unicodedata
from typing import TextIO

WIDEST = 100  # columns: beyond that an eye loses the line
_USUAL = 80
_NARROWEST = 20  # columns for the text itself
_IN_BACKTICKS = re.compile("`[^`]+`")
_HARD_SPACE = "\N{NO-BREAK SPACE}"
_SECOND = "\0"  # the second column of a character that takes two


def paragraph(begin: str, text: str, stream: TextIO) -> str:
    """A text as it is to be written to a stream.

    Args:
        begin: stands before its first line; the others hang beneath the end of it.
    """
    width = _width(stream)
    if width is None:
        return begin + text
    hang = " " * len(begin)
    lines = [line for each in text.splitlines() for line in _broken(each, max(width - len(hang), _NARROWEST))]
    return begin + f"\n{hang}".join(lines)


def _broken(line: str, width: int) -> list[str]:
    whole = _IN_BACKTICKS.sub(lambda found: found[0].replace(" ", _HARD_SPACE), _in_columns(line))
    lines = textwrap.wrap(whole, width, break_long_words=False, break_on_hyphens=False)
    return [each.replace(_HARD_SPACE, " ").replace(_SECOND, "") for each in lines] or [""]


def _in_columns(line: str) -> str:
    """As long as it is wide: characters of Chinese, Japanese and Korean, and most pictures, take two columns."""
    if line.isascii():
        return line
    return "".join(each + _SECOND if unicodedata.east_asian_width(each) in "WF" else each for each in line)


def _width(stream: TextIO) -> int | None:
    """How many columns a terminal has; None for what is no terminal."""
    if not stream.isatty():
        return None
    columns = 0
    with contextlib.suppress(OSError, ValueError):
        columns = int(os.environ.get("COLUMNS") or os.get_terminal_size(stream.fileno()).columns)
    return min(columns, WIDEST) if columns > 0 else _USUAL

"""Text for a terminal: what would control it is shown as an escape, such as `\\x1b`.

Names, errors and roles come from databases and from executions, where anybody may have put escape sequences into them.
"""

from __future__ import annotations

import re
from typing import Any, TextIO

# Control characters but for line ends and tabs, and what changes the direction of a line.
_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """A text that can't control a terminal."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Printable:
    """A stream whose text can't control a terminal. What draws on one writes to the stream itself (`stream_of`)."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(printable(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def stream_of(stream: Any) -> TextIO:
    """The stream itself, for what makes its texts printable and adds colours."""
    found: TextIO = stream.stream if isinstance(stream, Printable) else stream
    return found

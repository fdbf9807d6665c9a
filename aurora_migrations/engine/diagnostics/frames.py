"""PostgreSQL's CONTEXT of an error: which line of which PL/pgSQL function or block it happened in, and whether the
statement there is literal text or was built from values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

Span = tuple[int, int]  # bytes of a text, the end exclusive
_BLOCK = "inline_code_block"  # what PostgreSQL calls the body of a DO
# Patterns are compiled when they are used: few runs meet an error.
_LINE = r'[^"]*PL/pgSQL[^"]*?(?P<function>[^\s"]*\([^"]*\)|inline_code_block)[^\d"]*(?P<line>\d+)[^"]*'
_LONGEST = 500  # characters of a line about a function
# A text of SQL, which may hold line ends and anything else, and what PL/pgSQL was doing with it. EXECUTE, OPEN, FETCH,
# RETURN QUERY and loops over EXECUTE are missing: their text may have been put together.
_OF_STATEMENT = "SQL statement|PERFORM|CALL|FOR over SELECT rows"
_OF_EXPRESSION = (
    "assignment|IF|CASE|WHILE|ASSERT|RAISE|RETURN|RETURN NEXT|FOR with integer loop variable|FOREACH over array"
)
_TEXT = (
    r'(?s)(?P<kind>SQL statement|SQL expression|PL/pgSQL expression|PL/pgSQL assignment) "(?P<text>.*?)"'
    r"\n(?=PL/pgSQL function |SQL function |SQL statement |extension script)"
)
_AT = {
    "SQL statement": rf"PL/pgSQL function [^\n]+ line \d+ at (?:{_OF_STATEMENT})$|extension script file ",
    "": (
        rf"PL/pgSQL function [^\n]+ (?:line \d+ at (?:{_OF_EXPRESSION}|{_OF_STATEMENT})|(?:during|while) [^\n]+)$"
        r'|SQL function "[^\n]+" (?:statement \d+|during startup|during inlining)$|extension script file '
    ),
}
_FUNCTION = rb'(?i)\s*create\s+(?:or\s+replace\s+)?(?:function|procedure)\s+(?:[\w$"]+\s*\.\s*)?"?([\w$]+)'
_BODY = rb"(?s)\$(?P<tag>(?:[^\W\d]\w*)?)\$(?P<body>.*?)\$(?P=tag)\$"


class Frame(NamedTuple):
    """A PL/pgSQL function that was running, such as `drops(text)`, or a block; and its line, from 1."""

    function: str
    line: int

    @property
    def is_block(self) -> bool:
        """Whether it is the body of a DO."""
        return self.function == _BLOCK

    @property
    def name(self) -> str:
        """The function's, without its schema and the types of its arguments."""
        return self.function.partition("(")[0].rpartition(".")[2]


def read_frames(context: str) -> tuple[Frame, ...]:
    """The functions and blocks that a CONTEXT names in any language, the innermost first."""
    lines = [line for line in context.splitlines() if "PL/pgSQL" in line and len(line) <= _LONGEST]
    return tuple(Frame(found["function"], int(found["line"])) for line in lines if (found := re.fullmatch(_LINE, line)))


def written_text(context: str, query: str | None = None) -> tuple[bool, str | None]:
    """Whether all frames ran literal text, as far as that is certain; and the innermost text, where that is known.
    `query` is the text that the parser refused, which isn't in the CONTEXT."""
    rest, innermost, is_first = context, query, query is None
    kind = "" if query is None else "SQL statement"
    while rest:
        if not kind and (text := re.match(_TEXT, rest)):
            kind, rest = text["kind"], rest[text.end() :]
            innermost = text["text"] if is_first else innermost
        line, _, rest = rest.partition("\n")
        if not re.match(_AT.get(kind, _AT[""]), line):
            return False, innermost
        kind, is_first = "", False
    return not kind, innermost


def find_frame(
    frames: Sequence[Frame], text: bytes, functions: Sequence[Span], block: Span | None
) -> tuple[int, Span] | None:
    """Where the line of the innermost frame whose body is in the file begins, and that body; in bytes. `functions` are
    the earlier statements of the file that create functions, `block` is the statement that failed, if it is a DO."""
    for number, frame in enumerate(frames):
        if frame.is_block:
            made = [block] if block and number == len(frames) - 1 else []  # the last block is the file's own
        else:
            name = frame.name.encode()
            creates = re.compile(_FUNCTION).match
            made = [span for span in functions if (m := creates(text, *span)) and m[1].lower() == name]
        if len(made) == 1 and (body := re.compile(_BODY).search(text, *made[0])):  # of several it isn't known which
            start = _line_start(text, body.span("body"), frame.line)
            if start is not None:
                return start, body.span("body")
    return None


def find_query(query: bytes, text: bytes, span: Span) -> int | None:
    """Where a text that PL/pgSQL has sent begins in the part of a body that is its statement. Of what PL/pgSQL sends,
    INTO and its target are blanks, and PERFORM is SELECT."""
    start, end = span
    if (found := text.find(query, start, end)) >= 0:
        return found
    if text[start : start + 7].upper() == b"PERFORM" and text.startswith(query[6:], start + 7):
        return start + 1
    is_same = all(sent in (written, ord(" ")) for sent, written in zip(query, text[start:end], strict=False))
    return start if is_same and len(query) <= end - start else None


def _line_start(text: bytes, body: Span, line: int) -> int | None:
    """Where a line of a body begins, after its blanks. The first one is what follows the opening `$$`."""
    start, end = body
    for _ in range(line - 1):
        start = text.find(b"\n", start, end) + 1
        if not start:
            return None
    return end - len(text[start:end].lstrip())

"""Rows that are alike: after the grammar has read one INSERT of constants, those below it that differ in nothing else
are matched by a regular expression, in a hundredth of the time.

That is exact: such a line has the tokens that the grammar has accepted, but for other constants of the same kind; or
where a constant is a value of its own, one of any kind, which the grammar takes there (`a_expr` in VALUES).
`tests/unit/test_plain.py` compares both ways.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from aurora_migrations.compiler.plain import tokens as plain
from aurora_migrations.engine.rows import Rows

_TOGETHER = 1 << 16  # bytes of rows that are hashed at once, or one longer row
_MOST = 300  # tokens of a row: a regular expression for more isn't made in a moment
_STRING = rb"'[^'\n\r]*+(?:''[^'\n\r]*+)*+'"
_NUMBER = rb"\d++(?:\.\d++)?+"
_WORDS = {word: word.lower() for word in (b"NULL", b"DEFAULT", b"TRUE", b"FALSE")}
_VALUE = b"|".join((_NUMBER, _STRING, *_WORDS, *_WORDS.values()))
# What the grammar may not take for another: a decimal number, or a large one, is no integer to it.
_KINDS = (_STRING, rb"\d{1,9}", rb"\d++\.\d++")
_IS_NUMBER, _IS_VALUE = re.compile(_NUMBER), re.compile(_VALUE)
_AROUND = (b"(", b")", b",")  # what may be around the rows behind VALUES
_LINE_END = re.compile(b"\n")


@dataclass(frozen=True)
class Shape:
    """What rows have in common."""

    rows: re.Pattern[bytes]  # matches any number of rows, also none
    row: re.Pattern[bytes]  # matches a row without signs before its numbers; its constants are groups
    template: bytes  # the meanings of its tokens (see `token_hash`), for the length and the text of each constant
    tail: int  # see `Rows`


class AlikeRows(Rows):
    """Rows with what they have in common."""

    def __init__(self, text: bytes, at: int, shape: Shape) -> None:
        """Those that begin at a byte; there may be none."""
        match = shape.rows.match(text, at)
        ends = _LINE_END.finditer(text, at, match.end() if match else at)
        size = "I" if len(text) < 1 << 32 else "Q"  # of a place: 4 bytes where they are enough
        super().__init__(array(size, [at, *(end.end() for end in ends)]), shape.tail)
        self.shape = shape

    def meanings(self, text: bytes, other: Callable[[bytes], list[bytes]]) -> Iterator[list[bytes]]:
        """Those of the rows' tokens, for the token hash; many in one, but for the last semicolon. `other` returns those
        of any text."""
        at, upto = self.starts[0], self.starts[-1]
        while at < upto:
            end = upto if upto - at <= _TOGETHER else text.rfind(b"\n", at, at + _TOGETHER) + 1
            end = end or text.index(b"\n", at) + 1
            chunk, at = text[at:end], end
            found = self.shape.row.findall(chunk)
            if len(found) < chunk.count(b"\n"):  # one has a sign
                yield other(chunk)
                continue
            groups = self.shape.row.groups  # findall() returns tuples only of several
            values = list(chain.from_iterable(found)) if groups > 1 else found if groups else []
            if not _WORDS.keys().isdisjoint(values):
                values = list(map(_WORDS.get, values, values))
            filled = chain.from_iterable(zip(map(len, values), values, strict=True))
            whole = self.shape.template * len(found) % tuple(filled)
            yield [whole.removesuffix(plain.SEMICOLON), plain.SEMICOLON]


def shape_of(line: bytes) -> Shape | None:
    """The shape of a line that is one INSERT of constants, with its semicolon and line end; None if it isn't as plain
    as that."""
    tokens = plain.places(line) if line.find(b"\n") == len(line) - 1 else None
    if not tokens or len(tokens) > _MOST or tokens[0][1] or line[tokens[-1][1] :] != b";\n":
        return None
    ends = [0, *(start + len(token) for token, start in tokens)]
    layouts = [*(line[end:start] for end, (_, start) in zip(ends, tokens, strict=False)), b""]
    words = [b"", *(token for token, _ in tokens), b"", b""]
    rows, row, template = b"", b"", b""
    depth, is_value, signed = 0, False, False
    around = zip(layouts, layouts[1:], words, words[1:], words[2:], words[3:], strict=False)
    for layout, gap, before, token, after, then in around:
        depth -= token == b")"
        if layout.strip(b" \t") or (is_value and depth == 0 and after and token not in _AROUND):
            return None  # such as RETURNING, or a second semicolon
        if token.lower() == b"float" and after == b"(":
            return None  # the grammar looks at its precision: float(0) and float(54) are syntax errors
        is_first = is_value and depth == 1 and before in (b"(", b",")
        if is_first and token == b"-" and not gap and _IS_NUMBER.fullmatch(after) and then in (b",", b")"):
            rows, row, signed = rows + layout, row + layout, True
            continue
        is_whole = (is_first or signed) and after in (b",", b")") and _IS_VALUE.fullmatch(token)
        kind = next((kind for kind in _KINDS if re.fullmatch(kind, token)), None) if is_value else None
        signed = False
        if is_whole or kind:
            rows += layout + b"(?:" + (b"-?+" + _NUMBER + b"|" + _VALUE if is_whole else kind or b"") + b")"
            row += layout + b"(" + (_VALUE if is_whole else kind or b"") + b")"
            template += b"%d:%s,"
        else:
            rows, row = rows + layout + re.escape(token), row + layout + re.escape(token)
            template += plain.MEANINGS[token].replace(b"%", b"%%")
        depth += token == b"("
        is_value |= depth == 0 and token.lower() == b"values" and after == b"("
    tail = len(line) - ends[-2]
    return Shape(re.compile(b"(?:" + rows + b"\n)*+"), re.compile(row + b"\n"), template, tail)

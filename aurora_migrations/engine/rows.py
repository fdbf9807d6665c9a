"""Statements in which most are alike, as in a dump with an INSERT for each row, a hundred thousand of them in a file.

Of rows that differ in their constants only, each a line of its own, one is kept, and the byte where each begins.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Protocol, Self, TypeVar, overload


class Movable(Protocol):
    """A statement that can stand for others in the same text."""

    def moved(self, start: int, end: int, lines: int) -> Self:
        """The same with other bytes, so many lines further down, at the beginning of a line."""


_Statement = TypeVar("_Statement", bound=Movable)


class Rows:
    """Where rows are that are alike."""

    def __init__(self, starts: array[int], tail: int) -> None:
        """`starts` has the byte where each begins and, last, the one where the next would. `tail` is how many bytes of
        each line are behind the statement: its semicolon and line end."""
        self.starts, self.tail = starts, tail

    def __len__(self) -> int:
        return len(self.starts) - 1

    def span(self, number: int) -> tuple[int, int]:
        """The bytes of the statement of a row, counted from 0."""
        return self.starts[number], self.starts[number + 1] - self.tail


class Statements(Sequence[_Statement]):
    """All statements of a text, in order. Those of rows are made when they are asked for."""

    def __init__(self, heads: Sequence[_Statement], rows: Sequence[Rows | None]) -> None:
        """`heads` are single statements, and the first of each series of rows; `rows` has the places of those."""
        self.heads, self.rows = tuple(heads), tuple(rows)
        self._numbers = [0, *accumulate(1 if each is None else len(each) for each in rows)]  # of heads, and the end

    def __len__(self) -> int:
        return self._numbers[-1]

    @overload
    def __getitem__(self, index: int) -> _Statement: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[_Statement]: ...
    def __getitem__(self, index: int | slice) -> _Statement | Sequence[_Statement]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        place = bisect_right(self._numbers, number) - 1
        rows, head = self.rows[place], self.heads[place]
        return head if rows is None else _row(head, rows, number - self._numbers[place])

    def __iter__(self) -> Iterator[_Statement]:
        for head, rows in zip(self.heads, self.rows, strict=True):
            if rows is None:
                yield head
            else:
                yield from (_row(head, rows, number) for number in range(len(rows)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(_equal, self, other))

    __hash__ = None  # type: ignore[assignment]  # it equals other sequences

    def distinct(self) -> Iterator[tuple[int, _Statement]]:
        """See the function of this name."""
        return zip(self._numbers, self.heads, strict=False)


def _row(head: _Statement, rows: Rows, number: int) -> _Statement:
    return head.moved(*rows.span(number), number)


def _equal(one: object, other: object) -> bool:
    return one == other


def distinct(statements: Sequence[_Statement]) -> Iterable[tuple[int, _Statement]]:
    """The statements with their numbers, but of rows that are alike the first only: of the others, everything but
    their constants and places is the same."""
    return statements.distinct() if type(statements) is Statements else enumerate(statements)

"""The screen of a terminal: text with its escape sequences goes in, coloured cells come out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

_TOKEN = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b\].*?(?:\x07|\x1b\\)|\x1b.|[\r\n\b\t]|[^\x1b\r\n\b\t]", re.DOTALL)


@dataclass(frozen=True)
class Style:
    """How a cell looks. `color` is one of the palette's 16, by its number, `#rrggbb`, or None for the default."""

    color: int | str | None = None
    bold: bool = False
    dim: bool = False
    underline: bool = False


PLAIN = Style()
_ON: dict[int, dict[str, Any]] = {1: {"bold": True}, 2: {"dim": True}, 4: {"underline": True}}
_OFF: dict[int, dict[str, Any]] = {22: {"bold": False, "dim": False}, 24: {"underline": False}, 39: {"color": None}}


@dataclass(frozen=True)
class Cell:
    """One character of the screen."""

    text: str = " "
    style: Style = PLAIN


class Screen:
    """Lines of cells. It grows downwards; the cursor moves as the escape sequences of colours and live lines demand."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.lines: list[list[Cell]] = [[]]
        self._row = self._column = 0
        self._style = PLAIN

    def feed(self, text: str) -> None:
        """Prints text."""
        for token in _TOKEN.finditer(text):
            if token[2]:
                self._control([int(each or 0) for each in token[1].strip("?").split(";")], token[2])
            elif token[0] == "\n":
                self._to(self._row + 1, self._column)
            elif token[0] == "\r":
                self._column = 0
            elif token[0] == "\b":
                self._column = max(0, self._column - 1)
            elif token[0] == "\t":
                self._column += 8 - self._column % 8
            elif token[0][0] != "\x1b":
                self._put(token[0])

    def text(self) -> str:
        """What is on the screen, without colours."""
        return "\n".join("".join(cell.text for cell in line).rstrip() for line in self.lines).rstrip()

    def _put(self, character: str) -> None:
        if self._column == self.columns:
            self._to(self._row + 1, 0)
        line = self.lines[self._row]
        line.extend([Cell()] * (self._column + 1 - len(line)))
        line[self._column] = Cell(character, self._style)
        self._column += 1

    def _to(self, row: int, column: int) -> None:
        self._row, self._column = max(0, row), max(0, min(column, self.columns))
        self.lines.extend([] for _ in range(self._row + 1 - len(self.lines)))

    def _control(self, numbers: list[int], letter: str) -> None:
        count = numbers[0] or 1
        match letter:
            case "m":
                self._style = _styled(self._style, numbers)
            case "A" | "F":
                self._to(self._row - count, 0 if letter == "F" else self._column)
            case "B" | "E":
                self._to(self._row + count, 0 if letter == "E" else self._column)
            case "C":
                self._to(self._row, self._column + count)
            case "D":
                self._to(self._row, self._column - count)
            case "G":
                self._to(self._row, count - 1)
            case "K":
                line = self.lines[self._row]
                self.lines[self._row] = [] if numbers[0] == 2 else line[: self._column] if numbers[0] == 0 else line
            case "J" if numbers[0] == 0:
                del self.lines[self._row + 1 :], self.lines[self._row][self._column :]


def _styled(style: Style, numbers: list[int]) -> Style:
    """The style after `ESC [ numbers m`."""
    rest = list(numbers)
    while rest:
        number = rest.pop(0)
        if number == 0:
            style = PLAIN
        elif 30 <= number <= 37 or 90 <= number <= 97:
            style = replace(style, color=number - 30 if number < 90 else number - 82)
        elif number in (38, 48):
            color, rest = _extended(rest)
            style = replace(style, color=color) if number == 38 else style
        else:
            style = replace(style, **_ON.get(number, {}), **_OFF.get(number, {}))
    return style


def _extended(rest: list[int]) -> tuple[int | str | None, list[int]]:
    """The color of `38;5;n` or `38;2;r;g;b`, and the numbers after it."""
    if rest[:1] == [2]:
        return "#{:02x}{:02x}{:02x}".format(*rest[1:4]), rest[4:]
    number = rest[1]
    if number < 16:
        return number, rest[2:]
    if number >= 232:  # 24 shades of gray
        return "#{0:02x}{0:02x}{0:02x}".format(8 + 10 * (number - 232)), rest[2:]
    levels = (0, 95, 135, 175, 215, 255)  # a cube of 6 x 6 x 6
    red, green, blue = (levels[(number - 16) // step % 6] for step in (36, 6, 1))
    return f"#{red:02x}{green:02x}{blue:02x}", rest[2:]

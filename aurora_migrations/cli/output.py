"""Tables on the terminal: as wide as it is, and never cut or coloured in a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from aurora_migrations.cli.printable import printable, stream_of

_BETWEEN = "  "  # columns


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], long: Sequence[str]) -> None:
    """Prints rows under headers on stdout.

    Args:
        long: headers of columns whose cells go on beneath where a terminal is too narrow.
    """
    cells = [headers, *([printable(cell) for cell in row] for row in rows)]
    if not sys.stdout.isatty():
        print(*_aligned(cells), sep="\n")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    plain = bool(os.environ.get("NO_COLOR"))
    console = Console(
        file=stream_of(sys.stdout),
        highlight=False,
        markup=False,
        emoji=False,
        color_system=None if plain else "auto",
    )
    first, *others = _aligned(cells)
    if max(map(_width, (first, *others))) <= console.width:  # rich takes seconds to lay out thousands of rows
        console.print(Text(first, style="bold"))
        for line in others:
            print(line)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", highlight=False)
    for header in headers:
        table.add_column(header, overflow="fold", no_wrap=header not in long)
    for row in cells[1:]:
        table.add_row(*row)
    console.print(table)


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Each row in one line, however wide, with its cells below each other; a cell of several lines takes as many."""
    cells = [line for row in cells for line in zip_longest(*(cell.splitlines() for cell in row), fillvalue="")]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    return [
        _BETWEEN.join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _width(text: str) -> int:
    """How many columns of a terminal it takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)

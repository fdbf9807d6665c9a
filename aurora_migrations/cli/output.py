"""Output for people and programs: JSON, errors, paragraphs and tables.

A terminal gets lines of its width and colours; a pipe gets one line per sentence or row, never cut or coloured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, TextIO

from aurora_migrations.cli.printable import printable, stream_of
from aurora_migrations.engine.errors import InvalidInput, MigratorError
from aurora_migrations.engine.steps.layout import wrap

WIDEST = 100  # columns: beyond that an eye loses the line
_USUAL = 80
_NARROWEST = 20  # columns for the text itself
_SECOND = "\0"  # the second column of a character that takes two
_BETWEEN = "  "  # columns of a table
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def print_json(data: Mapping[str, object]) -> None:
    print(json.dumps(data, indent=2))


def print_warnings(warnings: Iterable[str]) -> None:
    for warning in warnings:
        print(f"Warning: {warning}", file=sys.stderr)


def plural(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


# ---- errors ---------------------------------------------------------------------------------------------------------


def print_error(error: MigratorError, arguments: argparse.Namespace, data: Mapping[str, object]) -> int:
    """Prints an error for people, or its document for programs; returns the exit code."""
    if arguments.output == "json":
        print_json(data)
    else:
        print(describe(error, sys.stderr), file=sys.stderr)
    return 2 if isinstance(error, InvalidInput) else 1


def describe(error: MigratorError, stream: TextIO) -> str:
    """An error for people, as it is to be written to a stream: what happened and where, why, in what state the database
    is, what to do."""
    lines = ["", paragraph("", f"{error.name}: {error.message}", stream)]
    excerpt = str(error.facts.get("excerpt") or error.facts.get("difference") or "")
    if excerpt:
        lines += ["", *(f"    {line}" for line in excerpt.splitlines())]
    parts = {"Why": error.cause, "State": error.whole_state, "Do": error.solution}
    lines += ["", *(paragraph(f"  {name:7}", text, stream) for name, text in parts.items())]
    lines += [f"  Next   {error.next_command}"]
    return "\n".join(lines)


# ---- paragraphs -----------------------------------------------------------------------------------------------------


def paragraph(begin: str, text: str, stream: TextIO) -> str:
    """A text as it is to be written to a stream: wrapped on a terminal, one line in a pipe, where people use grep. Its
    first line begins with `begin`; the others are indented by that width."""
    width = _columns(stream)
    if width is None:
        return begin + text
    hang = " " * len(begin)
    room = max(width - len(hang), _NARROWEST)
    # As long as it is wide: characters of Chinese, Japanese and Korean, and most pictures, take two columns.
    wide = "".join(each + _SECOND if _width(each) > 1 else each for each in text)
    lines = [line for each in wide.splitlines() for line in wrap(each, room) or [""]]
    return begin + f"\n{hang}".join(lines).replace(_SECOND, "")


def _columns(stream: TextIO) -> int | None:
    """How many columns a terminal has; None for what is no terminal."""
    if not stream.isatty():
        return None
    columns = 0
    with contextlib.suppress(OSError, ValueError):
        columns = int(os.environ.get("COLUMNS") or os.get_terminal_size(stream.fileno()).columns)
    return min(columns, WIDEST) if columns > 0 else _USUAL


# ---- tables ---------------------------------------------------------------------------------------------------------


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], long: Sequence[str]) -> None:
    """Prints rows under headers on stdout. The cells of `long` columns are continued on further lines where a terminal
    is too narrow."""
    cells = [headers, *([printable(cell) for cell in row] for row in rows)]
    if not sys.stdout.isatty():
        print(*_aligned(cells), sep="\n")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(
        file=stream_of(sys.stdout),
        highlight=False,
        markup=False,
        emoji=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
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


def print_verified(verified: Mapping[str, Any]) -> None:
    """Prints what verify found: tables, their rows and size, their indexes; nothing where nothing was checked."""
    tables = verified["tables"]
    if tables:
        print_table(("Table", "Rows", "Size", "Indexes"), map(_verified_row, tables), long=("Table", "Indexes"))
    if more := verified["tables_count"] - len(tables):
        print(f"... and {more} more tables")
    for check in verified["always"]:
        print(f"Kept: {check['promise']} (found {check['found']})")


def _verified_row(table: Mapping[str, Any]) -> tuple[str, str, str, str]:
    if not table["exists"]:
        return table["table"], "not there", "", ""
    if table["rows"] is None:
        rows = "unknown"
    else:
        rows = str(table["rows"]) if table["counted"] else f"about {table['rows']}"
    indexes = [
        index["index"] if index["state"] == "valid and ready" else f"{index['index']} ({index['state']})"
        for index in table["indexes"]
    ]
    return table["table"], rows, _size(table["bytes"]), "\n".join(indexes) or "none"


def _size(size: int | None) -> str:
    if size is None:
        return ""
    number, unit = float(size), 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.0f} {_UNITS[unit]}"

"""Everything that the command prints: results, notes, JSON, errors, tables, progress. Only `main` prints without it.

A terminal gets lines of its width and colours; a pipe gets one line per sentence or row, never cut or coloured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TextIO, cast

from aurora_migrations.engine.errors import InvalidInput, MigratorError
from aurora_migrations.engine.steps.layout import wrap

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDEST = 100  # columns: beyond that an eye loses the line
_USUAL = 80
_NARROWEST = 20  # columns for the text itself
_SECOND = "\0"  # the second column of a character that takes two
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
# Control characters but for line ends and tabs, and what changes the direction of a line. Names, errors and roles come
# from databases and from executions, where anybody may have put escape sequences into them.
_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def show(*lines: object, end: str = "\n") -> None:
    """Prints lines of the result, on stdout."""
    print(*lines, sep="\n", end=end, flush=True)


def note(*lines: object, end: str = "\n") -> None:
    """Prints what isn't part of the result, on stderr."""
    print(*lines, sep="\n", end=end, file=sys.stderr, flush=True)


class Styled:
    """A line for people: texts, each with a style of rich; only a terminal shows the styles.

    Args:
        wrap: whether a terminal that is too narrow breaks it between words; if not, it can be copied as one line.
    """

    def __init__(self, *parts: tuple[str, str], wrap: bool = False) -> None:
        self.parts = parts
        self.wrap = wrap

    def __str__(self) -> str:
        return "".join(text for text, _ in self.parts).rstrip()


def show_styled(*lines: Styled) -> None:
    """Prints lines on stdout, with colours where it is a terminal that has them."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        show(*lines)
        return
    from rich.text import Text

    console = _console(sys.stdout)
    for line in lines:
        text = Text.assemble(*((printable(words), style) for words, style in line.parts))
        console.print(text, soft_wrap=not line.wrap)


def print_json(data: Mapping[str, object]) -> None:
    show(json.dumps(data, indent=2))


def print_warnings(warnings: Iterable[str]) -> None:
    for warning in warnings:
        note(f"Warning: {warning}")


def plural(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


# ---- nothing printed controls the terminal ---------------------------------------------------------------------------


def printable(text: str) -> str:
    """The text with whatever would control a terminal as an escape, such as `\\x1b`."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Printable:
    """A stream whose text can't control a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(printable(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def printable_streams() -> Iterator[None]:
    """Makes stdout and stderr printable."""
    out, err = (cast(TextIO, Printable(stream)) for stream in (sys.stdout, sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


def _console(stream: Any) -> Console:
    """A console of rich on the stream itself, for texts that were made printable: it adds colours."""
    from rich.console import Console

    return Console(
        file=stream.stream if isinstance(stream, Printable) else stream,
        highlight=False,
        markup=False,
        emoji=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
    )


def _is_live(stream: TextIO) -> bool:
    """Whether lines that were printed may be drawn again."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


# ---- errors ---------------------------------------------------------------------------------------------------------


def print_error(error: MigratorError, arguments: argparse.Namespace, data: Mapping[str, object]) -> int:
    """Prints an error for people, or its document for programs; returns the exit code."""
    if arguments.output == "json":
        print_json(data)
    else:
        note(describe(error, sys.stderr))
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
        show(*_aligned(cells))
        return
    from rich.table import Table
    from rich.text import Text

    console = _console(sys.stdout)
    first, *others = _aligned(cells)
    if max(map(_width, (first, *others))) <= console.width:  # rich takes seconds to lay out thousands of rows
        console.print(Text(first, style="bold"))
        show(*others, end="\n" if others else "")
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
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
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
        show(f"... and {more} more tables")
    for check in verified["always"]:
        show(f"Kept: {check['promise']} (found {check['found']})")


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


# ---- progress -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A line of an execution's progress, for people."""

    at: datetime
    step: str  # whose it is: a function's, or the state machine's
    text: str
    bad: bool = False  # shown in red
    doing: str | None = None  # what is being done from here on; None if that doesn't change
    ends: bool = False  # the last line of a function's call
    record: Mapping[str, Any] | None = None  # the function's log line, if it is one

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S}Z  {self.step:9}  {self.text}"


class Display:
    """Shows what an execution does. This one shows nothing."""

    def note(self, text: str) -> None:
        """Shows something that isn't part of the progress."""

    def show(self, lines: Iterable[Line]) -> None:
        """Shows progress."""

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """A terminal shows meanwhile that something is under way."""
        yield


class Plain(Display):
    """One line after the other."""

    def __init__(self, write: Callable[[Line], None] = note) -> None:
        self._write = write

    def note(self, text: str) -> None:
        note(text)

    def show(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._write(line)


class Live(Display):
    """Lines that scroll, above one that shows what is being done now and for how long."""

    def __init__(self, progress: bool = True) -> None:
        from rich.status import Status

        self._progress = progress
        self._console = _console(sys.stderr)
        self._doing, self._since = "Starting", time.monotonic()
        self._status = Status(self._now(), console=self._console, spinner="line")

    def note(self, text: str) -> None:
        self._console.print(printable(text), soft_wrap=True)

    def show(self, lines: Iterable[Line]) -> None:
        for line in lines:
            if self._progress:
                self._console.print(printable(str(line)), style="red" if line.bad else None, soft_wrap=True)
            if line.doing is not None:
                self._doing, self._since = line.doing, time.monotonic()
        self._status.update(self._now())

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        with self._status:
            yield

    def _now(self) -> Text:
        from rich.text import Text

        width = max(20, self._console.width - 12)
        doing = self._doing if len(self._doing) <= width else self._doing[: width - 3] + "..."
        return Text(f"{printable(doing)}  {time.monotonic() - self._since:.0f} s")


def choose_display(output: str, progress: bool = True) -> Display:
    """The display for a value of `--output`. Without `progress` it shows only that something is under way."""
    if output == "json":
        return Display()
    if _is_live(sys.stderr):
        return Live(progress)
    return Plain() if progress else Plain(lambda line: None)


@contextlib.contextmanager
def screen() -> Iterator[Callable[[str], None]]:
    """Shows a text in the place of the last one. What else is written to the terminal stays above it."""
    if not _is_live(sys.stdout):
        yield lambda text: show(text, end="\n\n")
        return
    from rich.live import Live
    from rich.text import Text

    with Live(console=_console(sys.stdout), auto_refresh=False, redirect_stderr=sys.stderr.isatty()) as live:
        yield lambda text: live.update(Text(printable(text)), refresh=True)

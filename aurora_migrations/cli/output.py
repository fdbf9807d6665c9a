"""Everything that the command prints: results, notes, JSON, errors, tables, progress. Only `main` prints without it.

A terminal gets lines of its width and colours; a pipe gets one line per sentence or row, never cut or coloured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO, cast

from aurora_migrations.engine.errors import InvalidInput, MigratorError
from aurora_migrations.engine.steps.layout import listed, wrap

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDEST = 100  # columns: beyond that an eye loses the line
_USUAL = 80
_NARROWEST = 20  # columns for the text itself
_SECOND = "\0"  # the second column of a character that takes two
_STATE_STYLES = {
    **dict.fromkeys(("applied", "ok"), "green"),
    **dict.fromkeys(("pending", "under way"), "cyan"),
    **dict.fromkeys(("warn", "Warning", "partly applied", "out of order", "ahead"), "yellow"),
    **dict.fromkeys(("rolled back", "interrupted"), "yellow"),
    **dict.fromkeys(("failed", "FAILED", "changed", "missing", "not there"), "bold red"),
}
_BAR = 20  # columns
_UNEXPECTED = 10  # objects in a line
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
# Control characters but for line ends and tabs, and what changes the direction of a line. Names, errors and roles come
# from databases and from executions, where anybody may have put escape sequences into them.
_CONTROLS = ((0, 8), (11, 31), (127, 159), (0x61C, 0x61C), (0x200E, 0x200F), (0x2028, 0x202E), (0x2066, 0x2069))
_ESCAPES = {
    code: chr(code).encode("unicode_escape").decode() for first, last in _CONTROLS for code in range(first, last + 1)
}


def show(*lines: object, end: str = "\n") -> None:
    """Prints lines of the result, on stdout."""
    print(*lines, sep="\n", end=end, flush=True)


def ask(question: str) -> str:
    """What is typed at the terminal in answer to a question; empty if the input has ended."""
    note(question, end="")
    return sys.stdin.readline().strip()


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

    def rich(self) -> Text:
        """The same for rich."""
        from rich.text import Text

        return Text.assemble(*((printable(words), style) for words, style in self.parts))

    def painted(self, console: Console) -> str:
        """The same with the codes of a terminal's colours."""
        from rich.console import COLOR_SYSTEMS

        colours = COLOR_SYSTEMS.get(console.color_system or "")
        pieces = ((printable(words), style) for words, style in self.parts)
        return "".join(
            console.get_style(style).render(words, color_system=colours) if style else words for words, style in pieces
        )


def state_style(state: str) -> str:
    """The colour of a state, a result or a level; the first words of a text decide."""
    return next((style for words, style in _STATE_STYLES.items() if state.startswith(words)), "")


def show_styled(*lines: Styled) -> None:
    """Prints lines on stdout, with colours where it is a terminal that has them."""
    _print_styled(sys.stdout, lines)


def note_styled(*lines: Styled) -> None:
    """The same on stderr."""
    _print_styled(sys.stderr, lines)


def _print_styled(stream: TextIO, lines: Sequence[Styled]) -> None:
    if not _is_live(stream):
        columns = columns_of(stream)  # of a terminal without colours
        wrapped = (wrap(str(line), columns) if columns and line.wrap else [str(line)] for line in lines)
        text = "".join(f"{part}\n" for parts in wrapped for part in parts or [""])
        print(text, end="", file=stream, flush=True)  # in one call, as there may be ten thousand
        return
    console = _console(stream)
    for by_rich, group in groupby(lines, lambda line: line.wrap or console.legacy_windows):
        if by_rich:
            for line in group:
                console.print(line.rich(), soft_wrap=not line.wrap)
        else:  # it takes rich 0.3 ms to lay out a line, and there may be ten thousand
            console.file.write("".join(f"{line.painted(console)}\n" for line in group))
            console.file.flush()


def print_json(data: Mapping[str, object]) -> None:
    show(json.dumps(data, indent=2))


def print_warnings(warnings: Iterable[str]) -> None:
    for warning in warnings:
        note_styled(Styled(("Warning:", state_style("warn")), (f" {warning}", "")))


def tick() -> str:
    """The mark of a success, as stdout's encoding has one."""
    try:
        "✓".encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return "ok"
    return "✓"


def plural(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


# ---- nothing printed controls the terminal ---------------------------------------------------------------------------


def printable(text: str) -> str:
    """The text with whatever would control a terminal as an escape, such as `\\x1b`."""
    return text.translate(_ESCAPES)


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
        _note_error(describe(error, sys.stderr))
    return 2 if isinstance(error, InvalidInput) else 1


def describe(error: MigratorError, stream: TextIO) -> str:
    """An error for people, as it is to be written to a stream: what happened and where, why, in what state the database
    is, what to do."""
    lines = ["", paragraph("", f"{error.name}: {error.message}", stream)]
    excerpt = str(error.facts.get("excerpt") or error.facts.get("difference") or "")
    if excerpt:
        lines += ["", *(f"    {line}" for line in excerpt.splitlines())]
    parts = {"Why": error.cause, "State": error.whole_state, "Do": error.solution}
    lines += ["", *(paragraph(f"  {name:7}", text.replace("\n", " "), stream) for name, text in parts.items())]
    lines += [f"  Next   {error.next_command}"]
    return "\n".join(lines)


def _note_error(text: str) -> None:
    if not _is_live(sys.stderr):
        note(text)
        return
    from rich.text import Text

    styled = Text(printable(text))
    styled.highlight_regex(r"\A\n\w[\w.]*:", "bold red")
    styled.highlight_regex(r"(?m)^  (Why|State|Do|Next) ", "bold")
    styled.highlight_regex(r"(?m)^ +\^+$", "bold red")
    _console(sys.stderr).print(styled, soft_wrap=True)


# ---- paragraphs -----------------------------------------------------------------------------------------------------


def paragraph(begin: str, text: str, stream: TextIO) -> str:
    """A text as it is to be written to a stream: wrapped on a terminal, one line in a pipe, where people use grep. Its
    first line begins with `begin`; the others are indented by that width."""
    width = columns_of(stream)
    if width is None:
        return begin + text
    hang = " " * len(begin)
    room = max(width - len(hang), _NARROWEST)
    # As long as it is wide: characters of Chinese, Japanese and Korean, and most pictures, take two columns.
    wide = "".join(each + _SECOND if _width(each) > 1 else each for each in text)
    lines = [line for each in wide.splitlines() for line in wrap(each, room) or [""]]
    return begin + f"\n{hang}".join(lines).replace(_SECOND, "")


def columns_of(stream: TextIO) -> int | None:
    """How many columns a terminal has; None for what is no terminal."""
    if not stream.isatty():
        return None
    columns = 0
    with contextlib.suppress(OSError, ValueError):
        columns = int(os.environ.get("COLUMNS") or os.get_terminal_size(stream.fileno()).columns)
    return min(columns, WIDEST) if columns > 0 else _USUAL


# ---- tables ---------------------------------------------------------------------------------------------------------


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], long: Sequence[str], state: str = "") -> None:
    """Prints rows under headers on stdout, with the column `state` in colour. Where a terminal is too narrow, the cells
    of `long` columns get lines of their own under the row, so that no word is broken."""
    cells = [headers, *([printable(cell) for cell in row] for row in rows)]
    beside, below = list(range(len(headers))), list[int]()
    table = _aligned(cells, beside)
    if sys.stdout.isatty():
        width, movable = _console(sys.stdout).width, [headers.index(name) for name in long]
        while movable and len(beside) > 1 and max(_width("  ".join(line)) for row in table for line in row) > width:
            below.insert(0, movable.pop())
            beside.remove(below[0])
            table = _aligned(cells, beside)
    lines = []
    for number, row in enumerate(table):
        for line in row:
            parts = []
            for column, cell in zip(beside, line, strict=True):
                style = state_style(cell) if headers[column] == state else ""
                parts.append((f"{cell}  ", style if number else "bold"))
            lines.append(Styled(*parts))
        for text in (text for column in below for text in cells[number][column].splitlines()):
            lines.append(Styled((paragraph("    ", text, sys.stdout), "" if number else "bold")))
    show_styled(*lines)


def _aligned(cells: Sequence[Sequence[str]], columns: Sequence[int]) -> list[list[list[str]]]:
    """Of each row its lines, of each line the cells of these columns, padded to the column's width. A cell of several
    lines takes as many."""
    rows = [list(zip_longest(*(row[column].splitlines() for column in columns), fillvalue="")) for row in cells]
    widths = [max(map(_width, column)) for column in zip(*(line for row in rows for line in row), strict=True)]
    return [
        [[cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)] for line in row]
        for row in rows
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
        print_table(("Table", "Rows", "Size", "Indexes"), map(_verified_row, tables), ("Table", "Indexes"), "Rows")
    if more := verified["tables_count"] - len(tables):
        show(f"... and {more} more tables")
    for check in verified["always"]:
        show(f"Holds: {check['promise']} (found {check['found']})")
    catalogue = verified.get("catalogue", {})  # of an environment of an older version there is none
    if unexpected := catalogue.get("unexpected"):
        show(f"Not made by a migration: {listed(unexpected, _UNEXPECTED, catalogue['unexpected_count'])}")
    if accepted := catalogue.get("accepted"):
        show(f"Accepted as it is: {listed(accepted, _UNEXPECTED, catalogue['accepted_count'])}")
    for each in catalogue.get("unknown", ()):
        show(f"Not compared: what {each['file']} changes, as {each['reason']}")


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
    return table["table"], rows, size_of(table["bytes"]), "\n".join(indexes) or "none"


def size_of(size: int | None) -> str:
    """Bytes, as `173 MB`; empty for None."""
    if size is None:
        return ""
    number, unit = float(size), 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.0f} {_UNITS[unit]}"


# ---- progress -------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
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
        self._status = Status(cast(Any, self), console=self._console, spinner="line", spinner_style="cyan")

    def note(self, text: str) -> None:
        self._console.print(printable(text), soft_wrap=True)

    def show(self, lines: Iterable[Line]) -> None:
        for line in lines:
            if self._progress:
                self._console.print(printable(str(line)), style="red" if line.bad else None, soft_wrap=True)
            if line.doing is not None:
                self.doing(line.doing)

    def doing(self, text: str, since: float | None = None) -> None:
        """Shows this from now on, with a clock that began at `since`, by time.monotonic(): now, unless given."""
        self._doing, self._since = text, time.monotonic() if since is None else since

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        with self._status:
            yield

    def __rich__(self) -> Text:  # at every refresh, so the clock runs
        from rich.text import Text

        width = max(_NARROWEST, self._console.width - 12)
        doing = self._doing if len(self._doing) <= width else self._doing[: width - 3] + "..."
        return Text(f"{printable(doing)}  {time.monotonic() - self._since:.0f} s")


class Activity:
    """What is being done, on one line of a terminal, with a clock; a pipe or a file gets nothing. The line is drawn at
    the first text only, as importing rich takes longer than most migrations."""

    def __init__(self) -> None:
        self._drawn = contextlib.ExitStack()
        self._live: Live | None = None

    @property
    def is_shown(self) -> bool:
        """Whether there is a terminal for it."""
        return _is_live(sys.stderr)

    def show(self, text: str, since: float | None = None) -> None:
        """Shows a text; its clock began at `since`, by time.monotonic(): now, unless given."""
        if not self.is_shown:
            return
        if self._live is None:
            self._live = Live(progress=False)
            self._live.doing(text, since)
            self._drawn.enter_context(self._live.busy())
        self._live.doing(text, since)

    def clear(self) -> None:
        """Takes the line away, so that others can be printed."""
        self._drawn.close()
        self._live = None


def bar(percent: int) -> str:
    """A bar of this length: `━━━━━━──────────────`."""
    done = _BAR * percent // 100
    return "━" * done + "─" * (_BAR - done)


def choose_display(output: str, progress: bool = True) -> Display:
    """The display for a value of `--output`. Without `progress` it shows only that something is under way."""
    if output == "json":
        return Display()
    if _is_live(sys.stderr):
        return Live(progress)
    return Plain() if progress else Plain(lambda line: None)


@contextlib.contextmanager
def screen() -> Iterator[Callable[[Sequence[Styled]], None]]:
    """Shows lines in the place of the last ones. What else is written to the terminal stays above them."""
    if not _is_live(sys.stdout):
        yield lambda lines: show(*lines, end="\n\n")
        return
    from rich.live import Live
    from rich.text import Text

    with Live(console=_console(sys.stdout), auto_refresh=False, redirect_stderr=sys.stderr.isatty()) as live:
        yield lambda lines: live.update(Text("\n").join(line.rich() for line in lines), refresh=True)

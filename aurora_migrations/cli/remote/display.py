"""Displays of progress: live on a terminal, plain lines elsewhere, nothing for programs. All on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TextIO

from aurora_migrations.cli.printable import printable, stream_of
from aurora_migrations.cli.remote.function_logs import Line

if TYPE_CHECKING:
    from rich.text import Text


class Display:
    """Shows nothing. The others show more."""

    def note(self, text: str) -> None:
        """Shows something that isn't part of the progress."""

    def show(self, lines: Iterable[Line]) -> None:
        """Shows progress."""

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """A terminal shows meanwhile that something is under way."""
        yield


class Notes(Display):
    """Notes, without the progress."""

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Plain(Notes):
    """One line after the other, on stderr or on another stream."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    def show(self, lines: Iterable[Line]) -> None:
        for line in lines:
            print(line, file=self._stream, flush=True)


class LogLines(Notes):
    """The functions' log lines as they are, on stdout."""

    def show(self, lines: Iterable[Line]) -> None:
        for line in lines:
            if line.record is not None:
                print(json.dumps(line.record), flush=True)


class Live(Display):
    """Lines that scroll, above one that shows what is being done now and for how long."""

    def __init__(self, progress: bool = True) -> None:
        from rich.console import Console
        from rich.status import Status

        self._progress = progress
        self._console = Console(file=stream_of(sys.stderr), stderr=True, highlight=False, markup=False, emoji=False)
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
    if not sys.stderr.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return Plain() if progress else Notes()
    return Live(progress)

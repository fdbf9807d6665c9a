"""Where progress is shown: live at a terminal, as plain lines elsewhere, and nowhere for programs. All on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from aurora_migrations.cli.printable import printable, stream_of
from aurora_migrations.cli.remote.function_logs import Line

if TYPE_CHECKING:
    from rich.text import Text


class Screen:
    """Shows nothing. The others show more."""

    def note(self, text: str) -> None:
        """Something that isn't part of the story."""

    def tell(self, lines: Iterable[Line]) -> None:
        """What happened."""

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Around waiting: a terminal shows that it isn't over."""
        yield


class Plain(Screen):
    """One line after the other."""

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def tell(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self.note(str(line))


class Notes(Plain):
    """Without the story."""

    def tell(self, lines: Iterable[Line]) -> None:
        """Says nothing."""


class Printed(Screen):
    """The story itself as what was asked for, on stdout."""

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def tell(self, lines: Iterable[Line]) -> None:
        for line in lines:
            print(line, flush=True)


class Raw(Printed):
    """The functions' log lines as they are, on stdout."""

    def tell(self, lines: Iterable[Line]) -> None:
        for line in lines:
            if line.record is not None:
                print(json.dumps(line.record), flush=True)


class Live(Screen):
    """Lines that roll up, above one that tells what goes on now and for how long."""

    def __init__(self, story: bool = True) -> None:
        from rich.console import Console
        from rich.status import Status

        self._story = story
        self._console = Console(file=stream_of(sys.stderr), stderr=True, highlight=False, markup=False, emoji=False)
        self._doing, self._since = "Starting", time.monotonic()
        self._status = Status(self._now(), console=self._console, spinner="line")

    def note(self, text: str) -> None:
        self._console.print(printable(text), soft_wrap=True)

    def tell(self, lines: Iterable[Line]) -> None:
        for line in lines:
            if self._story:
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


def fitting(output: str, story: bool = True) -> Screen:
    """The screen for this output.

    Args:
        output: what `--output` says.
        story: whether what happens is told, or only that something does.
    """
    if output == "json":
        return Screen()
    if is_plain():
        return Plain() if story else Notes()
    return Live(story)


def is_plain() -> bool:
    """Whether stderr takes no more than text: a pipe, a file, NO_COLOR, or a terminal that can't do anything else."""
    return not sys.stderr.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"

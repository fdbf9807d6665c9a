"""Keys that are pressed at a terminal, one by one, without waiting for any."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

_NAP_S = 0.2


@contextlib.contextmanager
def pressed() -> Iterator[Iterator[str]]:
    """What is typed, key by key, and an empty text every now and then; without a terminal only those."""
    if not sys.stdin.isatty():
        yield _naps()
    elif sys.platform == "win32":
        yield _windows_keys()
    else:
        terminal = _Terminal(sys.stdin.fileno())
        try:
            yield terminal.keys()
        finally:
            terminal.restore()


def _naps() -> Iterator[str]:
    while True:
        time.sleep(_NAP_S)
        yield ""


class _Terminal:
    """A Unix terminal. It isn't read or changed while another job has it: after `up &` it is the shell's, and a process
    that touches it then is stopped (SIGTTIN, SIGTTOU)."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._before: list[Any] | None = None

    def keys(self) -> Iterator[str]:
        import select

        while True:
            if not self._is_ours():
                time.sleep(_NAP_S)
                yield ""
                continue
            self._take()
            ready, _, _ = select.select([self._file], [], [], _NAP_S)
            typed = self._read() if ready else None
            if typed == b"":
                break
            yield typed.decode("ascii", "replace") if typed else ""
        yield from _naps()  # the terminal is gone

    def restore(self) -> None:
        """Leaves the terminal as it was found."""
        import termios

        if self._before is not None and self._is_ours():
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)

    def _is_ours(self) -> bool:
        try:
            return os.tcgetpgrp(self._file) == os.getpgrp()
        except OSError:  # it isn't the one that we were started from, or is gone
            return False

    def _take(self) -> None:
        """Has the terminal pass on each key at once; again after a stop and `fg`, as the shell resets the terminal."""
        import termios
        import tty

        with contextlib.suppress(termios.error):
            now = termios.tcgetattr(self._file)
            if now[3] & termios.ICANON:
                self._before = self._before or now
                tty.setcbreak(self._file, termios.TCSANOW)

    def _read(self) -> bytes:
        """A key; nothing at the end of what is typed."""
        try:
            return os.read(self._file, 1)
        except OSError:
            return b""


def _windows_keys() -> Iterator[str]:
    console: Any = importlib.import_module("msvcrt")
    while True:
        yield console.getwch() if console.kbhit() else ""
        time.sleep(_NAP_S)

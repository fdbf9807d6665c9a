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
        import termios
        import tty

        before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
        try:
            yield _unix_keys()
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _naps() -> Iterator[str]:
    while True:
        time.sleep(_NAP_S)
        yield ""


def _unix_keys() -> Iterator[str]:
    import select

    while True:
        ready, _, _ = select.select([sys.stdin], [], [], _NAP_S)
        yield os.read(sys.stdin.fileno(), 1).decode("ascii", "replace") if ready else ""


def _windows_keys() -> Iterator[str]:
    console: Any = importlib.import_module("msvcrt")
    while True:
        yield console.getwch() if console.kbhit() else ""
        time.sleep(_NAP_S)

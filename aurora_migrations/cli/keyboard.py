"""Keys that are pressed at a terminal, one by one, without waiting for any."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Generator, Iterator
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
        with contextlib.closing(_terminal_keys(sys.stdin.fileno())) as keys:
            yield keys


def _naps() -> Iterator[str]:
    while True:
        time.sleep(_NAP_S)
        yield ""


def _terminal_keys(file: int) -> Generator[str, None, None]:
    """The keys of a Unix terminal, which is left as it was found. It isn't read or changed while another job has it:
    after `up &` it is the shell's, and a process that touches it then is stopped (SIGTTIN, SIGTTOU)."""
    import select
    import termios
    import tty

    before: list[Any] | None = None
    try:
        while True:
            if not _is_ours(file):
                time.sleep(_NAP_S)
                yield ""
                continue
            with contextlib.suppress(termios.error):
                now = termios.tcgetattr(file)
                if now[3] & termios.ICANON:  # also after a stop and `fg`, as the shell resets the terminal
                    before = before or now
                    tty.setcbreak(file, termios.TCSANOW)
            typed = None
            if select.select([file], [], [], _NAP_S)[0]:
                with contextlib.suppress(OSError):
                    typed = os.read(file, 1)
                if not typed:
                    break
            yield typed.decode("ascii", "replace") if typed else ""
        yield from _naps()  # the terminal is gone
    finally:
        if before is not None and _is_ours(file):
            with contextlib.suppress(termios.error):
                termios.tcsetattr(file, termios.TCSADRAIN, before)


def _is_ours(file: int) -> bool:
    try:
        return os.tcgetpgrp(file) == os.getpgrp()
    except OSError:  # it isn't the one that we were started from, or is gone
        return False


def _windows_keys() -> Iterator[str]:
    console: Any = importlib.import_module("msvcrt")
    while True:
        yield console.getwch() if console.kbhit() else ""
        time.sleep(_NAP_S)

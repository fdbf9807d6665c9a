"""How processes end: by a signal through their `with` blocks, and a child with whoever started it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Never


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end the block as an exception does, so that it leaves nothing behind.

    SIGINT too is set, as a shell starts background programs with it ignored; SIGHUP that is ignored stays so (nohup).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in _handlers().items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _handlers() -> dict[int, Callable[[int, FrameType | None], Any]]:
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
    ending = {number: _end for number in numbers if signal.getsignal(number) is not signal.SIG_IGN}
    return {signal.SIGINT: signal.default_int_handler, **ending}


def _end(number: int, frame: FrameType | None) -> Never:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def lifeline() -> Iterator[int]:
    """A stdin for children that call `end_with_the_parent`: it ends with the block, or with us, however that is."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def end_with_the_parent() -> None:
    """Ends this process when its stdin does. What it has started with a pipe of its own ends by that."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()


def _end_with_stdin() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)

"""Ctrl-C, handled where a run can stop cleanly: while it waits, between two files that it reads, and nowhere else.

Python raises KeyboardInterrupt at whatever line is being run, even between a commit and the note that it happened.
Inside `taken`, it is kept instead until the run waits next: for the server, a lock, a connection. Elsewhere, as in a
Lambda function or for a verb that only reads, Python's own handling stays.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from aurora_migrations.engine.errors import Cancelled

_STOPPING = b"\nStopping as soon as that leaves nothing half done (Ctrl-C again ends at once).\n"


class _State:
    pressed = False
    waiting = False
    tell: int | None = None  # the file descriptor on which to acknowledge the first; None once that is done


@contextlib.contextmanager
def taken(tell: bool = False) -> Iterator[None]:
    """Keeps the first Ctrl-C for the next wait; a second one before that stops at once."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield
        return
    _State.tell = _stderr() if tell else None
    signal.signal(signal.SIGINT, _keep)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _State.pressed, _State.tell = False, None


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Around a wait, in which Ctrl-C raises KeyboardInterrupt, also if it was pressed before."""
    _State.waiting = True
    try:
        if _State.pressed:
            _State.pressed = False
            raise KeyboardInterrupt
        yield
    finally:
        _State.waiting = False


def hear(meanwhile: str) -> None:
    """Where a run doesn't wait: stops it all the same, if Ctrl-C was pressed since the last wait."""
    if _State.pressed:
        _State.pressed = False
        raise cancelled(f"while {meanwhile}")


def pause(seconds: float, meanwhile: str) -> None:
    """Sleeps until Ctrl-C is pressed. `meanwhile`: what the run does then: `waiting for another run to end`."""
    with stopped(meanwhile), heard():
        time.sleep(max(0.0, seconds))


@contextlib.contextmanager
def stopped(meanwhile: str) -> Iterator[None]:
    """Turns a Ctrl-C that is heard in it into the error that says so (Cancelled)."""
    try:
        yield
    except KeyboardInterrupt:
        raise cancelled(f"while {meanwhile}") from None


def cancelled(when: str) -> Cancelled:
    """The error of a run that Ctrl-C stopped: `between two files`."""
    return Cancelled(f"Stopped by Ctrl-C {when}.", cause="Ctrl-C was pressed.", solution="Run again when you like.")


def _keep(number: int, frame: FrameType | None) -> None:
    where, _State.tell = _State.tell, None
    if where is not None:  # past Python's own buffer, in whose midst the signal may have come
        with contextlib.suppress(OSError):
            os.write(where, _STOPPING)
    if _State.waiting or _State.pressed:
        _State.pressed = False
        raise KeyboardInterrupt
    _State.pressed = True


def _stderr() -> int | None:
    """Its number, known beforehand: where stderr is closed, its usual one may be a connection's."""
    try:
        return sys.stderr.fileno() if sys.stderr is not None else None
    except (OSError, ValueError):
        return None

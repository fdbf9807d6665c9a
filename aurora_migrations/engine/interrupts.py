"""Ctrl-C, handled where a run can stop cleanly: while it waits, between two files that it reads, and nowhere else.

Python raises KeyboardInterrupt at whatever line is being run, even between a commit and the note that it happened.
Inside `deferred`, it is kept instead until the run waits next: for the server, a lock, a connection. Elsewhere, as in a
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
    acknowledge: int | None = None  # file descriptor to acknowledge the first on; None once that is done


@contextlib.contextmanager
def deferred(acknowledge: bool = False) -> Iterator[None]:
    """Defers the first Ctrl-C to the next wait; a second one before that stops at once. With `acknowledge`, stderr
    shows that the first was noticed."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield
        return
    # Where stderr is closed, descriptor 2 may be a connection's.
    with contextlib.suppress(OSError, ValueError):
        _State.acknowledge = sys.stderr.fileno() if acknowledge and sys.stderr is not None else None
    signal.signal(signal.SIGINT, _keep)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        _State.pressed, _State.acknowledge = False, None


class interruptible:
    """Around a wait, in which Ctrl-C raises KeyboardInterrupt, even if it was pressed before."""

    def __enter__(self) -> None:
        _State.waiting = True
        if _State.pressed:
            _State.pressed = _State.waiting = False
            raise KeyboardInterrupt

    def __exit__(self, *_: object) -> None:
        _State.waiting = False


def raise_if_pressed(meanwhile: str) -> None:
    """Raises `Cancelled` if Ctrl-C was pressed since the last wait; for places where a run doesn't wait."""
    if _State.pressed:
        _State.pressed = False
        raise cancelled(f"while {meanwhile}")


def pause(seconds: float, meanwhile: str) -> None:
    """Sleeps until Ctrl-C is pressed. `meanwhile`: what the run does then: `waiting for another run to end`."""
    with as_cancelled(meanwhile), interruptible():
        time.sleep(max(0.0, seconds))


@contextlib.contextmanager
def as_cancelled(meanwhile: str) -> Iterator[None]:
    """Turns a Ctrl-C inside it into the error `Cancelled`."""
    try:
        yield
    except KeyboardInterrupt:
        raise cancelled(f"while {meanwhile}") from None


def cancelled(when: str) -> Cancelled:
    """The error of a run that Ctrl-C stopped: `between two files`."""
    return Cancelled(f"Stopped by Ctrl-C {when}.", cause="Ctrl-C was pressed.", solution="Run again when you want.")


def _keep(number: int, frame: FrameType | None) -> None:
    where, _State.acknowledge = _State.acknowledge, None
    if where is not None:  # past Python's own buffer, in whose midst the signal may have come
        with contextlib.suppress(OSError):
            os.write(where, _STOPPING)
    if _State.waiting or _State.pressed:
        _State.pressed = False
        raise KeyboardInterrupt
    _State.pressed = True

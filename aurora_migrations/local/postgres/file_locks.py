"""Locks between processes, and signals deferred, so that nothing is left half done."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import IO

from aurora_migrations.local.postgres.errors import ServerError

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def hold(path: Path) -> IO[bytes] | None:
    """The file, locked until it is closed or the process dies; None if another process holds it."""
    file = path.open("ab")
    try:
        _try_lock(file)
    except OSError:
        file.close()
        return None
    return file


def is_held(path: Path, leftover: Path | None = None) -> bool:
    """Whether a living process holds the lock file.

    If none does, what its process left behind is removed: `leftover`, or else the lock file itself.
    """
    if not path.exists():
        return False
    file = hold(path)
    if file is None:
        return True
    with file, contextlib.suppress(OSError):
        if leftover is not None:  # while we have the lock, as the next holder writes it again
            leftover.unlink(missing_ok=True)
    if leftover is None:  # not before it is closed: Windows removes no open file
        path.unlink(missing_ok=True)
    return False


@contextlib.contextmanager
def locked(path: Path, *, timeout: float = 120) -> Iterator[None]:
    """Wait for the lock and hold it for the block. Raises ServerError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while (file := hold(path)) is None:
        if time.monotonic() > deadline:
            raise ServerError(
                f"Another process has kept {path} locked for {timeout:.0f} s.",
                todo="wait for it, or end it; the lock goes with the process.",
            )
        time.sleep(0.02)
    with file:
        yield


_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP take effect at the end of the block, which must not be left half done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = {number: signal.signal(number, remember) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for caught in came[:1]:
            signal.raise_signal(caught)

"""How processes end, by a signal through their `with` blocks or with their parent; and locks that end with them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import IO, Never

from aurora_migrations import project
from aurora_migrations.embedded.errors import ServerError

Handler = Callable[[int, FrameType | None], object]


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end the block as an exception does, so that it leaves nothing behind.

    SIGINT too is set, as a shell starts background programs with it ignored; SIGHUP that is ignored stays so (nohup).
    """

    def end(number: int, frame: FrameType | None) -> Never:
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
    ending = {number: end for number in numbers if signal.getsignal(number) is not signal.SIG_IGN}
    with _handled({signal.SIGINT: signal.default_int_handler, **ending}):
        yield


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP take effect at the end of the block, which must not be left half done."""
    came: list[int] = []
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    try:
        with _handled(dict.fromkeys(numbers, lambda number, frame: came.append(number))):
            yield
    finally:
        for caught in came[:1]:
            signal.raise_signal(caught)


@contextlib.contextmanager
def _handled(handlers: Mapping[int, Handler]) -> Iterator[None]:
    """These handlers for the block. Outside the main thread nothing is changed: no signal interrupts another one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def run_python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs Python on what calls `end_with_the_parent`: its stdin ends with this process, however that ends.

    `variables` are added to its environment.
    """
    reading, writing = os.pipe()
    try:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=project.PACKAGE.parent,  # what `-m` puts first on the path
            env={**os.environ, project.LOCAL_VARIABLE: str(project.local()), **variables},  # cwd isn't the project
            stdin=reading,
            capture_output=True,
            text=True,
        )
    finally:
        os.close(reading)
        os.close(writing)


def end_with_the_parent() -> None:
    """Ends this process when its stdin does; and with it, by their own pipes to it, the processes it has started."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


# ---- locks -----------------------------------------------------------------------------------------------------------


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

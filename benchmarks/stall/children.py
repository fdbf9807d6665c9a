"""Child processes that say when they are ready, and end when their stdin is closed or this process dies."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.harness import Failed, environment

READY_SECONDS = 60


class Child:
    """A module of ours, run by this Python; what it prints is read line by line."""

    def __init__(self, module: str, arguments: Sequence[str], folder: Path) -> None:
        self._module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())
        self._lines.put("")  # the end, which no line of theirs is

    def line(self, seconds: float = READY_SECONDS) -> str:
        """The next line it prints.

        Raises:
            Failed: it ended or says nothing for so long.
        """
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise Failed(f"{self._module} said nothing in {seconds:g} s") from None
        if not line:
            raise Failed(f"{self._module} ended with {self._process.wait()}")
        return line

    def ask_to_end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def child(module: str, arguments: Sequence[str], folder: Path) -> Iterator[Child]:
    """A child that is ready; at the end it is gone."""
    started = Child(module, arguments, folder)
    try:
        started.line()
        yield started
    finally:
        started.kill()

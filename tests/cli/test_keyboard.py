"""Keys at a Unix terminal: one that is ours, one that another job has, one that goes away."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import environment

if sys.platform == "win32":
    pytest.skip("Windows has no such terminals", allow_module_level=True)

import pty
import termios

# Tells what it reads until q, or for so many empty answers.
READ = """
import signal, sys, time
from aurora_migrations.cli.keyboard import pressed
signal.signal(signal.SIGHUP, signal.SIG_IGN)
print("ready", flush=True)
began, naps = time.monotonic(), 0
with pressed() as keys:
    for key in keys:
        naps += not key
        if key:
            print("key", key, flush=True)
        if key == "q" or naps == 5:
            break
print("naps", naps, "in time" if time.monotonic() - began > 0.15 * naps else "too fast", flush=True)
"""
# A shell that starts it in the background, and tells whether it was stopped; then in the foreground.
SHELL = f"""
import os, signal, subprocess, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", {READ!r}], process_group=0)
_, status = os.waitpid(child.pid, os.WUNTRACED)
print("stopped" if os.WIFSTOPPED(status) else "went on", flush=True)
if os.WIFSTOPPED(status):
    child.kill()
"""


@dataclass
class Keyboard:
    """A process on a terminal of its own. `inside` is the process's side, `outside` the person's."""

    process: subprocess.Popen[str]
    outside: int
    inside: int

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.inside)[3] & termios.ECHO)


@pytest.fixture
def keyboards(tmp_path: Path) -> Iterator[list[Keyboard]]:
    made: list[Keyboard] = []
    yield made
    for each in made:
        each.process.kill()
        each.process.wait()
        assert each.process.stdout
        each.process.stdout.close()
        for file in (each.outside, each.inside):
            if file >= 0:
                os.close(file)


def start(keyboards: list[Keyboard], program: str) -> Keyboard:
    outside, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment(),
        stdin=inside,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=own_terminal,
    )
    keyboards.append(Keyboard(process, outside, inside))
    return keyboards[-1]


def own_terminal() -> None:
    import fcntl

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_keys_come_one_by_one_and_the_terminal_is_left_as_it_was(keyboards: list[Keyboard]) -> None:
    keyboard = start(keyboards, READ)
    assert keyboard.line() == "ready"
    threading.Timer(0.3, os.write, (keyboard.outside, b"dCq")).start()
    assert [keyboard.line() for _ in range(3)] == ["key d", "key C", "key q"]
    assert keyboard.process.wait(10) == 0
    assert keyboard.echoes


def test_in_the_background_it_leaves_the_terminal_to_the_shell_and_goes_on(keyboards: list[Keyboard]) -> None:
    keyboard = start(keyboards, SHELL)
    assert keyboard.line() == "ready"
    os.write(keyboard.outside, b"q\n")  # meant for the shell
    assert keyboard.line() == "naps 5 in time"
    assert keyboard.line() == "went on"
    assert keyboard.echoes


def test_terminal_that_goes_away_keeps_nobody_busy(keyboards: list[Keyboard]) -> None:
    keyboard = start(keyboards, READ)
    assert keyboard.line() == "ready"
    os.write(keyboard.outside, b"d")
    assert keyboard.line() == "key d"
    for file in (keyboard.inside, keyboard.outside):
        os.close(file)
    keyboard.inside = keyboard.outside = -1
    assert keyboard.line() == "naps 5 in time"
    assert keyboard.process.wait(10) == 0

"""A command in a pseudo-terminal, and what it printed there."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping
from pathlib import Path


def run(command: str, folder: Path, variables: Mapping[str, str], columns: int) -> str:
    """What a shell's command prints on a terminal of so many columns, with its escape sequences."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    with subprocess.Popen(
        ["/bin/sh", "-c", command], cwd=folder, env=dict(variables), stdin=theirs, stdout=theirs, stderr=theirs
    ):
        os.close(theirs)
        printed = b""
        while chunk := _read(ours):
            printed += chunk
    os.close(ours)
    return printed.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: on Linux the end of a pseudo-terminal
        return b""

"""Stops the local PostgreSQL when the process that used it is gone, however it went: run by `python -m`, with DATA.

Started by that process before the server, with a pipe to it for a stdin, which ends with it. Whoever still uses the
server keeps it.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from aurora_migrations import project
from aurora_migrations.local.postgres import server


@contextlib.contextmanager
def guarded(data: Path) -> Iterator[None]:
    """A guard over the server that is or will be on this data folder, for the block and whatever may end us in it."""
    guard = subprocess.Popen(
        [sys.executable, "-m", "aurora_migrations.local.postgres.guard", str(data)],
        cwd=project.PACKAGE.parent,  # what `-m` puts first on the path
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is meant for us
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
    try:
        yield
    finally:
        guard.kill()
        guard.wait()
        if guard.stdin is not None:
            guard.stdin.close()


def main(data: Path) -> int:
    """Waits for the end of stdin, then stops the server unless somebody uses it."""
    sys.stdin.buffer.read()
    server.stop_unused(data)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

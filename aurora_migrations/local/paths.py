"""The folder of the local PostgreSQL, and the server on it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from aurora_migrations import project
from aurora_migrations.local.postgres import binaries
from aurora_migrations.local.postgres import server as postgres
from aurora_migrations.local.postgres.server import Server


def data() -> Path:
    """The data directory of the local PostgreSQL."""
    return project.local() / f"postgres-{binaries.find().major}"


def start(remarks: TextIO | None = sys.stdout) -> Server:
    """Starts the local PostgreSQL, or shares the one that runs; prints which.

    Raises:
        ServerError: it doesn't start.
    """
    server = postgres.start(data())
    how = "already running, " if server.shared else ""
    if remarks is not None:
        kept = f"data in {readable(server.data)}, kept between runs"
        print(f"PostgreSQL {server.version} ({how}{kept})", file=remarks, flush=True)
    return server


def readable(path: Path) -> str:
    """The path, relative if it is below the current folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)

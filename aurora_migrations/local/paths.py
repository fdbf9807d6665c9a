"""The folder of the local PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from aurora_migrations import project
from aurora_migrations.local.postgres import binaries


def data() -> Path:
    """The data directory of the local PostgreSQL."""
    return project.local() / f"postgres-{binaries.find().major}"


def readable(path: Path) -> str:
    """The path, relative if it is below the current folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)

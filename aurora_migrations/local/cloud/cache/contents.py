"""What a migrations folder holds, in one hash: whatever has a say in what is packed, and in whether anything is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def fingerprint(migrations: Path) -> str:
    """The SHA-256 of all entries with their names: files with their bytes, folders with the .sql files in them, which
    are refused, and what can't be read, such as a link that leads nowhere."""
    digest = hashlib.sha256()
    for path in _entries(migrations):
        kind, content = _of(path)
        digest.update(os.fsencode(f"{kind}\0{path.name}\0{len(content)}\0") + content)
    return digest.hexdigest()


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _of(path: Path) -> tuple[str, bytes]:
    """A word for what it is, and what of it counts."""
    try:
        if path.is_dir():
            return "folder", _sql_in(path)
        if path.is_file():
            return "file", path.read_bytes()
    except OSError:
        return "unreadable", b""
    return "other", b""


def _sql_in(folder: Path) -> bytes:
    return b"\0".join(os.fsencode(path.name) for path in _entries(folder) if path.name.lower().endswith(".sql"))

"""Folders that are made once and kept, named after what they were made from; those in use are never forgotten.

Whoever makes, finds or forgets one holds the lock of them all, so that what is found half made was left by the dead.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from aurora_migrations.local.postgres.file_locks import hold, locked

LOCK = "kept.lock"
PATIENCE_S = 900  # another process may be fetching wheels
USERS = "users"
_used: dict[Path, IO[bytes]] = {}  # what this process uses, the latest last


class Changing(Exception):
    """What a folder is made from changed while it was made."""


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """The only one at work in that folder, for the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK, timeout=PATIENCE_S):
        for left in (*folder.glob("package-*.*"), *folder.glob("code-*.*")):
            shutil.rmtree(left, ignore_errors=True)
        yield


def made(folder: Path, kind: str, digest: Callable[[], str], make: Callable[[Path], None]) -> Path:
    """The folder of that kind and digest, made unless it is there; it appears whole or not at all.

    Raises:
        Changing: twice, the digest was another one after it was made.
    """
    for _ in range(2):
        before = digest()
        found = folder / f"{kind}-{before}"
        if found.is_dir():
            found.touch()
            return found
        making = found.with_name(f"{found.name}.{os.getpid()}")
        try:
            make(making)
            if digest() == before:
                return making.replace(found)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    raise Changing(kind)


def use(found: Path, at_most: int) -> None:
    """Keeps it from being forgotten as long as this process lives, or until it uses so many newer ones."""
    users = found.parent / USERS
    users.mkdir(exist_ok=True)
    file = _used.pop(found, None) or hold(users / f"{found.name}.{os.getpid()}")
    if file is not None:
        _used[found] = file
    for old in list(_used)[:-at_most]:
        _used.pop(old).close()


def forget_old(folder: Path, kind: str, keep: int) -> None:
    """Removes all but the newest and those in use."""
    found = [path for path in folder.glob(f"{kind}-*") if path.is_dir()]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[keep:]:
        if not _is_used(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_used(found: Path) -> bool:
    return any(_is_held(note) for note in (found.parent / USERS).glob(f"{found.name}.*"))


def _is_held(note: Path) -> bool:
    file = hold(note)
    if file is None:
        return True
    file.close()
    note.unlink(missing_ok=True)  # its process died, or has gone on
    return False

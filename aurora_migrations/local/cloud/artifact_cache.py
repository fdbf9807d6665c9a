"""A cache folder of built artifacts: each is built once, named after a digest of its sources, and kept while in use.

Everything in a cache folder is done under its lock, so an unfinished artifact was left by a process that died.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from aurora_migrations.embedded.processes import hold, is_held, locked

LOCK = "cache.lock"
LOCK_SECONDS = 900  # another process may be downloading wheels
_USERS = "users"
_used: dict[Path, IO[bytes]] = {}  # the artifacts that this process uses, the latest last


class SourcesChanged(Exception):
    """The sources of an artifact changed while it was built."""


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """The cache folder, locked against other processes and without unfinished artifacts."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK, timeout=LOCK_SECONDS):
        for unfinished in folder.glob("*-*.*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        yield


def get_or_build(folder: Path, kind: str, digest: Callable[[], str], build: Callable[[Path], None]) -> Path:
    """The artifact of that kind and digest. It appears whole or not at all. `build` makes the folder that it is given.

    Raises:
        SourcesChanged: during two builds in a row.
    """
    for _ in range(2):
        before = digest()
        artifact = folder / f"{kind}-{before}"
        if artifact.is_dir():
            artifact.touch()
            return artifact
        building = artifact.with_name(f"{artifact.name}.{os.getpid()}")
        try:
            build(building)
            if digest() == before:
                return building.replace(artifact)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    raise SourcesChanged(kind)


def keep_in_use(artifact: Path, at_most: int) -> None:
    """Keeps an artifact from being pruned while this process lives, or until it uses `at_most` newer ones."""
    users = artifact.parent / _USERS
    users.mkdir(exist_ok=True)
    file = _used.pop(artifact, None) or hold(users / f"{artifact.name}.{os.getpid()}")
    if file is not None:
        _used[artifact] = file
    for old in list(_used)[:-at_most]:
        _used.pop(old).close()


def prune(folder: Path, kind: str, keep: int) -> None:
    """Removes all artifacts of a kind but the newest and those in use."""
    artifacts = sorted(folder.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for artifact in artifacts[keep:]:
        if not any(map(is_held, (folder / _USERS).glob(f"{artifact.name}.*"))):
            shutil.rmtree(artifact, ignore_errors=True)


# ---- digests --------------------------------------------------------------------------------------------------------


def files_in(path: Path) -> list[Path]:
    """All source files in a folder, sorted, or the file itself."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [each for each in found if each.is_file() and "__pycache__" not in each.parts]


def digest_of(paths: Iterable[Path], *more: str) -> str:
    """A digest of the files at these paths, with their names, and of more text; short enough for a file name."""
    digest = hashlib.sha256(" ".join(more).encode())
    for path in [file for each in paths for file in files_in(each)]:
        content = path.read_bytes()
        digest.update(f"\0{path.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def fingerprint(migrations: Path) -> str:
    """A digest of a migrations folder: of everything that decides what is packaged, and whether it can be.

    It covers all entries with their names: files with their bytes, folders with the .sql files in them, which are
    refused, and what can't be read, such as a broken link.
    """
    digest = hashlib.sha256()
    for path in _entries(migrations):
        kind, content = "other", b""
        try:
            if path.is_dir():
                scripts = [each.name for each in _entries(path) if each.name.lower().endswith(".sql")]
                kind, content = "folder", os.fsencode("\0".join(scripts))
            elif path.is_file():
                kind, content = "file", path.read_bytes()
        except OSError:
            kind = "unreadable"
        digest.update(os.fsencode(f"{kind}\0{path.name}\0{len(content)}\0") + content)
    return digest.hexdigest()


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []

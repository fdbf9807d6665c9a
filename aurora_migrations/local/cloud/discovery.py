"""The local cloud that `aurora-migrations up` keeps running, found by the commands beside it.

A file, which only its owner can read, holds its address and its secret key; a lock that dies with its process shows
whether that is still true.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from aurora_migrations.local.cloud.account import ENVIRONMENT, KEY, REGION
from aurora_migrations.local.errors import ServerError
from aurora_migrations.local.postgres.file_locks import hold

_PROBE_S = 0.02  # much longer than anybody who only looks holds the lock


@dataclass(frozen=True)
class Access:
    """Where a local cloud is reached, and with what.

    Attributes:
        endpoint: the URL of all its services.
        secret_key: what requests are signed with.
        pid: the process that runs it.
        migrations: the folder that it deploys, absolute.
        hurry: whether its waits are a second at most.
    """

    endpoint: str
    secret_key: str = field(repr=False)
    pid: int = field(default_factory=os.getpid)
    environment: str = ENVIRONMENT
    region: str = REGION
    access_key: str = KEY
    migrations: str | None = None
    hurry: bool = False


def find(home: Path) -> Access | None:
    """The cloud that runs on this folder, if one does."""
    found = _read(home) if _is_held(home) else None
    if found is None:
        return None
    time.sleep(_PROBE_S)  # the lock may have been that of another who looks, and the file a dead cloud's
    return found if _is_held(home) and _read(home) == found else None


@contextlib.contextmanager
def found_by_others(home: Path, access: Access) -> Iterator[bool]:
    """Has the commands beside us find this cloud, for the block; false where another one is found already.

    Raises:
        ServerError: the folder can't be written to.
    """
    try:
        lock = _announced(home, access)
    except OSError as error:
        raise ServerError(
            f"Where the local cloud is can't be kept in {home}: {error}.",
            todo="see to the folder's permissions and to room, or name another one with AURORA_MIGRATIONS_LOCAL.",
        ) from error
    if lock is None:
        yield False
        return
    with lock:
        try:
            yield True
        finally:
            _file(home).unlink(missing_ok=True)


def _is_held(home: Path) -> bool:
    """Whether somebody holds the lock. Where nobody does, a file is a dead cloud's, and is removed."""
    if not _lock(home).exists():
        return False
    lock = hold(_lock(home))
    if lock is None:
        return True
    with lock, contextlib.suppress(OSError):
        _file(home).unlink(missing_ok=True)
    return False


def _announced(home: Path, access: Access) -> IO[bytes] | None:
    lock = _taken(home)
    try:
        if lock is not None:
            _write(home, access)
    except OSError:
        if lock is not None:
            lock.close()
        raise
    return lock


def _taken(home: Path) -> IO[bytes] | None:
    """The lock, unless another cloud has it: one who looks has it for a moment only."""
    home.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 20 * _PROBE_S
    while (lock := hold(_lock(home))) is None and time.monotonic() < deadline:
        time.sleep(_PROBE_S / 10)
    return lock


def _read(home: Path) -> Access | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Access(**json.loads(_file(home).read_text("utf-8")))
    return None


def _write(home: Path, access: Access) -> None:
    """It appears whole, in place of a dead cloud's."""
    making = home / f"{_file(home).name}.new"
    making.unlink(missing_ok=True)  # or it would keep the permissions that it has
    making.touch(mode=0o600, exist_ok=False)
    making.write_text(json.dumps(asdict(access)), encoding="utf-8")
    making.replace(_file(home))


def _lock(home: Path) -> Path:
    return home / "cloud.lock"


def _file(home: Path) -> Path:
    return home / "cloud.json"

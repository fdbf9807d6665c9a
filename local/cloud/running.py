"""The local cloud that `aurora-migrations up` keeps running, found by the commands beside it.

A file tells where it is, and a lock that dies with its process whether that is still true.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from local.cloud.identity import ENVIRONMENT, KEY, REGION, SECRET
from local.locks import hold


@dataclass(frozen=True)
class Access:
    """Where a local cloud is reached, and with what.

    Attributes:
        endpoint: the URL of all its services.
        pid: the process that runs it.
        migrations: the folder that it deploys, absolute.
        hurry: whether its waits are a second at most.
    """

    endpoint: str
    pid: int
    environment: str = ENVIRONMENT
    region: str = REGION
    access_key: str = KEY
    secret_key: str = SECRET
    migrations: str | None = None
    hurry: bool = False


def find(home: Path) -> Access | None:
    """The cloud that runs on this folder, if one does."""
    lock = hold(_lock(home)) if _lock(home).exists() else None
    if lock is not None or not _lock(home).exists():
        if lock is not None:
            lock.close()
        return None
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Access(**json.loads(_file(home).read_text("utf-8")))
    return None


@contextlib.contextmanager
def found_by_others(home: Path, endpoint: str, migrations: Path, *, hurry: bool = False) -> Iterator[bool]:
    """Has the commands beside us find this cloud, for the block; false where another one is found already."""
    home.mkdir(parents=True, exist_ok=True)
    lock = hold(_lock(home))
    if lock is None:
        yield False
        return
    with lock:
        access = Access(endpoint, os.getpid(), migrations=str(migrations.resolve()), hurry=hurry)
        _file(home).write_text(json.dumps(asdict(access)), encoding="utf-8")
        try:
            yield True
        finally:
            _file(home).unlink(missing_ok=True)


def _lock(home: Path) -> Path:
    return home / "cloud.lock"


def _file(home: Path) -> Path:
    return home / "cloud.json"

"""The operating system account that PostgreSQL runs as: ours or, as it refuses to run as root, `nobody`."""

import hashlib
import os
import stat
import sys
from pathlib import Path
from typing import Any

from aurora_migrations.local.postgres.errors import ServerError

SHARED_TEMPORARY = Path("/var/tmp")


def is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def _nobody() -> tuple[int, int]:
    if sys.platform == "win32":
        raise AssertionError("only root asks for another account")
    import pwd

    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise ServerError(
            "PostgreSQL doesn't run as root, and this system has no user `nobody` to run it as.",
            todo="run this as an ordinary user.",
        ) from None
    return entry.pw_uid, entry.pw_gid


def process_arguments() -> dict[str, Any]:
    """The arguments of `subprocess.Popen` that run a program under that account."""
    if not is_root():
        return {"umask": 0o077}
    uid, gid = _nobody()
    return {"umask": 0o077, "user": uid, "group": gid, "extra_groups": []}


def give(path: Path) -> None:
    """Make the account the owner of a file or folder."""
    if sys.platform != "win32" and is_root():
        os.chown(path, *_nobody())


def reachable(path: Path) -> bool:
    """Whether the account can get to the path: as `nobody`, if every folder above lets others pass."""
    if not is_root():
        return True
    resolved = path.resolve()
    return all(p.stat().st_mode & stat.S_IXOTH for p in [resolved, *resolved.parents] if p.exists())


def place_for(data: Path) -> Path:
    """Where the data directory goes: where it was wanted or, if the account can't get there, below /var/tmp."""
    wanted = data.absolute()
    if reachable(wanted.parent):
        return wanted
    # We don't widen the permissions of folders that aren't ours.
    name = hashlib.sha256(str(wanted.resolve()).encode()).hexdigest()[:16]
    return root_folder() / f"{name}-{wanted.name}"


def root_folder() -> Path:
    """A folder that `nobody` can read, and in which only root can have put something."""
    folder = SHARED_TEMPORARY / "aurora-migrations-0"
    try:
        folder.mkdir()
        folder.chmod(0o755)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
            raise ServerError(
                f"{folder} isn't a folder that belongs to root and that only root can write to.",
                todo=f"find out who made {folder}, remove it, and start again.",
            ) from None
    return folder

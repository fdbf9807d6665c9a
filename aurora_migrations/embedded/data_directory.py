"""A PostgreSQL data directory, with our files beside it: password, log, lock and the list of its users."""

import hashlib
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO

from aurora_migrations import project
from aurora_migrations.embedded import binaries
from aurora_migrations.embedded.binaries import Installation
from aurora_migrations.embedded.errors import ServerError
from aurora_migrations.embedded.processes import hold, is_held

SETTINGS = "aurora-migrations.conf"  # also shows that we made the data directory, completely
LOG_BYTES = 1_000_000

_users: dict[Path, IO[bytes] | None] = {}  # the tokens of this process, locked
_numbers = count(1)


def local_data() -> Path:
    """The data directory of the local PostgreSQL."""
    return project.local() / f"postgres-{binaries.find().major}"


def place_for(data: Path) -> Path:
    """Where the data directory goes: where it was wanted or, if the account can't get there, below /var/tmp."""
    wanted = data.absolute()
    if binaries.reachable(wanted.parent):
        return wanted
    # We don't widen the permissions of folders that aren't ours.
    name = hashlib.sha256(str(wanted.resolve()).encode()).hexdigest()[:16]
    return binaries.root_folder() / f"{name}-{wanted.name}"


@dataclass(frozen=True)
class Folder:
    """A data directory. Our files are beside it, as PostgreSQL owns everything inside."""

    data: Path

    @property
    def log(self) -> Path:
        return self._beside(".log")

    @property
    def lock(self) -> Path:
        return self._beside(".lock")

    @property
    def starting(self) -> Path:
        """Exists during a start. Whoever has the lock and finds it knows that the starting process died."""
        return self._beside(".starting")

    # ---- making it

    def make(self, programs: Installation, *, temporary: bool) -> None:
        """Make the data directory unless it exists. It appears whole or not at all."""
        if (self.data / SETTINGS).exists():
            made_by = (self.data / "PG_VERSION").read_text().strip()
            if made_by != str(programs.major):
                raise ServerError(
                    f"{self.data} was made by PostgreSQL {made_by}; these programs are {programs.version}.",
                    todo=f"name another folder, or use the programs of PostgreSQL {made_by}.",
                )
            return
        # An initdb that was killed early leaves files too, but no data that could be lost.
        unfinished = (self.data / "PG_VERSION").exists() and not (self.data / "global" / "pg_control").exists()
        if self.data.exists() and any(self.data.iterdir()) and not unfinished:
            raise ServerError(
                f"{self.data} isn't empty, and wasn't made by this program.",
                todo="name another folder, or move this one away.",
            )
        making = self.empty(self._beside(".new"))
        self.keep_password(secrets.token_urlsafe(18))
        finished = programs.run(
            "initdb",
            *("-D", making, "-U", "postgres", "-E", "UTF8", "--locale=C"),
            *("--auth=scram-sha-256", f"--pwfile={self._password_file}"),
            *(["--no-sync"] if temporary else []),
        )
        if finished.code != 0:
            _remove(making)
            raise ServerError(
                f"PostgreSQL {programs.version} couldn't make a data folder: initdb failed.",
                output=finished.output,
                todo=f"make room and permissions for {self.data.parent}, or name another folder.",
            )
        with (making / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(f"\ninclude_if_exists = '{SETTINGS}'\n")
        _write(making / SETTINGS, "")
        _remove(self.data)
        making.rename(self.data)

    def empty(self, path: Path) -> Path:
        """Replace whatever is at the path with an empty folder that PostgreSQL's account owns."""
        _remove(path)
        path.mkdir(mode=0o700)
        binaries.give(path)
        return path

    # ---- files in it and beside it

    def _beside(self, suffix: str) -> Path:
        return self.data.with_name(self.data.name + suffix)

    @property
    def _password_file(self) -> Path:
        return self._beside(".password")

    @property
    def password(self) -> str:
        try:
            return self._password_file.read_text("utf-8").strip()
        except FileNotFoundError:
            raise ServerError(
                f"The password of {self.data} is lost: {self._password_file} is missing.",
                todo=f"bring the file back, or remove {self.data} to begin with an empty server.",
            ) from None

    def keep_password(self, password: str) -> None:
        self._password_file.unlink(missing_ok=True)
        _write(self._password_file, password + "\n")

    def write_settings(self, settings: Mapping[str, str]) -> None:
        """Settings for the next start. In a file, as each shell quotes a command line differently."""
        quoted = {name: value.replace("\\", "\\\\").replace("'", "''") for name, value in settings.items()}
        _write(self.data / SETTINGS, "".join(f"{name} = '{value}'\n" for name, value in quoted.items()))

    def fresh_log(self) -> int:
        """Make a log that PostgreSQL's account can write to; returns the size it has now."""
        if not self.log.exists() or self.log.stat().st_size > LOG_BYTES:
            _write(self.log, "")
        return self.log.stat().st_size

    def logged_since(self, begin: int) -> str:
        with self.log.open("rb") as file:
            file.seek(begin)
            return file.read().decode("utf-8", "replace")

    # ---- its running server

    def postmaster(self) -> list[str]:
        """The lines of postmaster.pid (process id, data directory, start, port, ...); empty if there is none."""
        try:
            return (self.data / "postmaster.pid").read_text("utf-8", "replace").splitlines()
        except OSError:
            return []

    def runs(self) -> bool:
        """Whether postmaster.pid names a living server on this data directory.

        The file outlives a server that was killed. After a reboot or in a new container its number is often another
        program's, and in a container a dead process may stay unreaped.
        """
        lines = self.postmaster()
        if not lines or sys.platform == "win32":  # PostgreSQL isn't misled there
            return bool(lines)
        pid = lines[0].strip()
        if not Path("/proc/self/cmdline").exists():
            shown = subprocess.run(["ps", "-o", "command=", "-p", pid], capture_output=True, text=True).stdout
            return str(self.data) in shown
        try:
            return str(self.data) in Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace")
        except OSError:
            return False

    def correct(self) -> None:
        """Correct a misleading postmaster.pid, so that PostgreSQL can start.

        We write our own process id: PostgreSQL knows that the process that starts it isn't a server. If the file
        were removed, it couldn't look for orphans of the dead server in its shared memory.
        """
        if self.postmaster() and not self.runs():
            text = "".join(f"{line}\n" for line in [str(os.getpid()), *self.postmaster()[1:]])
            (self.data / "postmaster.pid").write_text(text, "utf-8")

    # ---- its users

    def join(self) -> Path:
        """Register this process as a user of the server, for as long as it lives; returns the token for `leave`."""
        users = self._beside(".users")
        users.mkdir(exist_ok=True)
        token = users / f"{os.getpid()}-{next(_numbers)}"
        _users[token] = hold(token)
        return token

    def leave(self, token: Path) -> bool:
        """Unregister; returns whether nobody uses the server any more."""
        if file := _users.pop(token, None):
            file.close()
        token.unlink(missing_ok=True)
        return not self.is_used()

    def is_used(self, by: int | None = None) -> bool:
        """Whether a living process uses the server, or the one with this process id."""
        return any(map(is_held, self._beside(".users").glob(f"{by or '*'}-*")))


def _write(path: Path, text: str) -> None:
    """Write a file that only PostgreSQL's account (and root) can read."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8", newline="")
    binaries.give(path)


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)

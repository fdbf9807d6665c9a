"""Tables to migrate, and a tool's process that migrates them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.harness import Bench
from benchmarks.stall.operations import ADD_COLUMN, Operation
from benchmarks.stall.tools import Migration, Tool, environment_of

QUIET_BOUND = 60.0


@dataclass(frozen=True)
class Ended:
    """A tool's process: its exit code (None: killed), when it began and ended, and what it said last."""

    exit: int | None
    begun: float
    ended: float
    said: str

    @property
    def took(self) -> float:
        return self.ended - self.begun


def fill(bench: Bench, database: str, tables: Sequence[str], rows: int) -> None:
    """Autovacuum keeps away from these tables: it comes where it is asked to."""
    for table in tables:
        bench.sql(
            f"CREATE TABLE {table} (id bigint PRIMARY KEY, note text NOT NULL, sensor integer, spare text) "
            "WITH (autovacuum_enabled = false)",
            f"INSERT INTO {table} SELECT i, 'calibrated by hand, see protocol ' || i, i % 100 "
            f"FROM generate_series(1, {rows}) i",
            f"VACUUM (FREEZE, ANALYZE) {table}",
            database=database,
        )


def is_done(bench: Bench, database: str, operation: Operation) -> bool:
    """Whether the database shows it, whatever the tool says."""
    return bench.sql(operation.done, database=database) == "t"


def migrate(bench: Bench, database: str, tool: Tool, programs: Path, operation: Operation, bound: float) -> Ended:
    """Writes the migration for a tool and lets it run that, for so many seconds at most."""
    url = bench.server.url(database)
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        folder = Path(name)
        tool.write(folder, [Migration("001_change", operation.sql, operation.transaction)])
        return run_bounded(tool.command(programs, folder, url), folder, environment_of(tool, url, bench), bound)


def migrate_quietly(bench: Bench, tool: Tool, programs: Path) -> Ended:
    """Adds a column to a small table that nobody uses; an exit of 0 says that it was done, too."""
    with bench.database() as database:
        fill(bench, database, ["reading"], rows=10)
        ended = migrate(bench, database, tool, programs, ADD_COLUMN, QUIET_BOUND)
        done = is_done(bench, database, ADD_COLUMN)
    return ended if done else replace(ended, exit=ended.exit or 1)


def run_bounded(command: Sequence[str], folder: Path, environment: dict[str, str], bound: float) -> Ended:
    """Runs a program in a group of its own, which is killed after so many seconds, children and all."""
    with tempfile.TemporaryFile() as said:
        begun = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code = _wait(process, bound)
        ended = time.monotonic()
        said.seek(0)
        return Ended(code, begun, ended, said.read().decode(errors="replace").strip()[-2000:])


def _wait(process: subprocess.Popen[bytes], bound: float) -> int | None:
    """The exit code, None if it had to be killed. (A wait with a time-out would only look every 50 ms.)"""
    killed = threading.Event()
    timer = threading.Timer(bound, _kill, [process, killed])
    timer.start()
    try:
        code = process.wait()
    finally:
        timer.cancel()
        if process.returncode is None:
            _kill(process, killed)
            process.wait()
    return None if killed.is_set() else code


def _kill(process: subprocess.Popen[bytes], killed: threading.Event) -> None:
    killed.set()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)

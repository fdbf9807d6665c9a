"""An index built CONCURRENTLY on a table of 5 million rows: ours beside one psql; and what watching a build costs."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks import sides
from benchmarks.harness import Bench, Cost, Side, compare, environment, take_turns

ROWS = 5_000_000
WATCHED = 60  # seconds
GOALS = ("1.05 x psql", "", "")
_INDEX = "CREATE INDEX CONCURRENTLY reading_sensor_idx ON reading (sensor, at);\n"
_TABLE = f"""
    CREATE TABLE reading AS
    SELECT n AS id, md5(n::text) AS sensor, now() + n * interval '1 second' AS at FROM generate_series(1, {ROWS}) AS n
"""
_ROLES = {
    "a run that watches its own build": "aurora-migrations-watch %",
    "a run that waits for another's": "aurora-migrations %",
}


def measure(bench: Bench) -> str:
    """All rounds share a table: its index is dropped after each run."""
    folder = bench.folder / "building"
    folder.mkdir()
    migration = folder / "0001_index.sql"
    migration.write_text(_INDEX)
    compared = [sides.ours(folder), sides.psql(bench, migration), sides.psycopg_script(migration)]
    with bench.database() as database:
        bench.sql(_TABLE, "VACUUM (ANALYZE) reading", database=database)
        costs = take_turns(bench.rounds, [partial(_run, bench, side, database) for side in compared])
        table = compare(bench, "building", compared, costs, GOALS)
        alone = _alone(bench, folder, migration, database)
        return f"{table}\n\n{_all_cpu(costs)}\n\n{alone}\n\n{_watching(bench, folder, database)}"


def _run(bench: Bench, side: Side, database: str) -> Cost:
    cost = bench.run(side, database)
    bench.sql("DROP INDEX reading_sensor_idx", "DROP SCHEMA IF EXISTS aurora_migrations CASCADE", database=database)
    bench.sql("CHECKPOINT")
    return cost


def _alone(bench: Bench, folder: Path, migration: Path, database: str) -> str:
    """The build without the start of a program: as `run` and psql report it, taking turns."""
    url, ratios = bench.server.url(database), list[float]()
    ours = [sys.executable, "-m", "aurora_migrations", "run", "--migrations", str(folder), "--database-url", url]
    theirs = [bench.psql, "-X", "-d", url, "-c", "\\timing on", "-f", str(migration)]
    for _ in range(bench.rounds + 1):
        found: list[float] = []
        for command in ([*ours, "--output", "json", "--no-save"], theirs):
            out = subprocess.run(command, env=environment(bench.folder), capture_output=True, text=True, check=True)
            is_json = out.stdout.startswith("{")
            shown = "" if is_json else out.stdout.split("Time: ")[1].split()[0]
            found.append(json.loads(out.stdout)["applied"][0]["duration_ms"] if is_json else float(shown))
            bench.sql("DROP INDEX reading_sensor_idx", database=database)
            bench.sql("DROP SCHEMA IF EXISTS aurora_migrations CASCADE", "CHECKPOINT", database=database)
        ratios.append(found[0] / found[1])
    kept = ratios[1:]  # the first warms up
    return f"The build alone, ours : psql: {statistics.median(kept):.3f} ({min(kept):.3f}-{max(kept):.3f})"


def _all_cpu(costs: list[list[Cost]]) -> str:
    """The ratio that other work on the machine disturbs least."""
    ratios = [
        (ours.client + (ours.server or 0)) / (theirs.client + (theirs.server or 0))
        for ours, theirs in zip(*costs[:2], strict=True)
    ]
    spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"
    return f"CPU of client and server together, ours : psql: {spread}"


# ---- what watching costs --------------------------------------------------------------------------------------------


def _watching(bench: Bench, folder: Path, database: str) -> str:
    """CPU of the server's processes that watch a build which waits for somebody, by role."""
    lines = ["| watching a build | CPU of its server process | of a core | goal |", "| --- | --- | --- | --- |"]
    blocker = "BEGIN; LOCK TABLE reading IN ROW EXCLUSIVE MODE; SELECT pg_sleep(1000)"
    with _session(bench, database, blocker), _running(bench, folder, database):
        builder = _wait_for(bench, "SELECT pid FROM pg_stat_progress_create_index")
        with _running(bench, folder, database):
            time.sleep(3)
            before = {role: _cpu(bench, name, builder) for role, name in _ROLES.items()}
            time.sleep(WATCHED)
            for role, name in _ROLES.items():
                spent = _cpu(bench, name, builder) - before[role]
                lines.append(f"| {role} | {spent:.2f} s in {WATCHED} s | {spent / WATCHED:.2%} | 1 % |")
        bench.sql(f"SELECT pg_terminate_backend({builder})")
    return "\n".join(lines)


def _cpu(bench: Bench, name: str, builder: str) -> float:
    """CPU seconds of the sessions of this name, but for the builder's own."""
    ask = f"SELECT pid FROM pg_stat_activity WHERE application_name LIKE '{name}' AND pid <> {builder}"
    return sum(_of_process(pid) for pid in _wait_for(bench, ask).split())


def _of_process(pid: str) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # from field 3 on: utime is 14, stime 15
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wait_for(bench: Bench, ask: str) -> str:
    while not (found := bench.sql(ask)):
        time.sleep(0.1)
    return found


@contextlib.contextmanager
def _session(bench: Bench, database: str, statements: str) -> Iterator[None]:
    with _ended([bench.psql, "-Xq", "-d", bench.server.url(database), "-c", statements], bench):
        yield


@contextlib.contextmanager
def _running(bench: Bench, folder: Path, database: str) -> Iterator[None]:
    with _ended(sides.ours(folder).command(bench.server.url(database)), bench):
        yield


@contextlib.contextmanager
def _ended(command: Sequence[str], bench: Bench) -> Iterator[None]:
    """A program, killed at the end of the block."""
    quiet, folder = subprocess.DEVNULL, bench.folder
    child = subprocess.Popen(command, env=environment(folder), cwd=folder, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        yield
    finally:
        child.kill()
        child.wait()

"""A server of our own, child processes with what they cost, and runs that take turns."""

from __future__ import annotations

import contextlib
import marshal
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Any

from aurora_migrations.embedded import binaries
from aurora_migrations.embedded.server import Server, start

ROOT = Path(__file__).resolve().parent.parent
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes; macOS counts in bytes, Linux in KiB


class Failed(Exception):
    """A measured program failed, so there is nothing to measure."""


@dataclass(frozen=True)
class Cost:
    """What one run of a program took.

    Attributes:
        wall: seconds from its start to its end.
        client: seconds of CPU of the program itself.
        server: seconds of CPU of the server processes that it used; None where the system doesn't tell.
        peak: bytes of memory at its highest.
    """

    wall: float
    client: float
    server: float | None
    peak: int


@dataclass(frozen=True)
class Side:
    """One of those compared: what it is called, the command that does the work on a database's URL, and its environment
    if that isn't ours."""

    name: str
    command: Callable[[str], Sequence[str]]
    variables: Callable[[str], Mapping[str, str]] | None = None


class Bench:
    """The server and the folder that measurements share."""

    def __init__(self, server: Server, folder: Path, rounds: int) -> None:
        self.server = server
        self.folder = folder
        self.rounds = rounds
        self.found: dict[str, dict[str, dict[str, list[float]]]] = {}  # by measurement, side and what was measured
        self._numbers = count(1)

    @property
    def psql(self) -> str:
        return str(self.server.bindir / "psql")

    @contextlib.contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """The name of a fresh database, which is dropped afterwards."""
        name = self._create(template)
        try:
            yield name
        finally:
            self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def sql(self, *statements: str, database: str = "postgres") -> str:
        """Runs statements with psql."""
        options = [word for statement in statements for word in ("-c", statement)]
        command = [self.psql, "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.server.url(database), *options]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def run(self, side: Side, database: str, way: Callable[[str], str] = str) -> Cost:
        """Runs a side on a database and waits until the server has ended what it opened for it. `way` changes the URL,
        to one that leads through a relay."""
        before, url = self._server_cpu(), way(self.server.url(database))
        cost = run_child(side.command(url), self.folder, side.variables(url) if side.variables else None)
        self._wait_until_left(database)
        after = self._settled_server_cpu()
        spent = after - before if before is not None and after is not None else None
        return Cost(cost.wall, cost.client, spent, cost.peak)

    def run_fresh(self, side: Side, way: Callable[[str], str] = str) -> Cost:
        """The same on a database of its own. It stays as long as the server: before ext4 creates a file, it looks
        through those that were deleted in the last minutes, which made the next sides up to three times as slow."""
        return self.run(side, self._create("template1"), way)

    def _create(self, template: str) -> str:
        """A fresh database, right after a checkpoint: nobody pays for what another wrote."""
        name = f"bench{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}", "CHECKPOINT")
        return name

    def _wait_until_left(self, database: str) -> None:
        ask = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND backend_type = 'client backend'"
        while self.sql(ask) != "0":
            time.sleep(0.01)

    def _settled_server_cpu(self) -> float | None:
        """The same, once it doesn't grow any more: a process of the server may end a while after its session."""
        while (found := self._server_cpu()) is not None:
            time.sleep(0.3)
            if found == self._server_cpu():
                break
        return found

    def _server_cpu(self) -> float | None:
        """CPU seconds of all server processes that have ended so far; Linux keeps that sum with their parent."""
        try:
            stat = Path(f"/proc/{self.server.pid}/stat").read_text()
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()  # from field 3 on; 16 and 17 are cutime and cstime
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def prepared(rounds: int, autovacuum: bool = False) -> Iterator[Bench]:
    """A server with durable defaults (fsync on) in a temporary folder; both are gone afterwards. Without autovacuum,
    which would visit what earlier sides have left while the next one is measured."""
    folder = Path(tempfile.mkdtemp(prefix="aurora-migrations-benchmarks-"))
    try:
        if binaries.is_root():
            folder.chmod(0o755)  # PostgreSQL then runs as another account, which must get there
        (folder / "work").mkdir()
        with start(folder / "data") as server:
            bench = Bench(server, folder / "work", rounds)
            bench.sql(f"ALTER SYSTEM SET autovacuum = {autovacuum}", "SELECT pg_reload_conf()")
            yield bench
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_child(command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None) -> Cost:
    """Runs a program to its end in a folder, started by a small process: see `spawner.py`. Its environment is that of
    `environment`, unless `variables` are given.

    Raises:
        Failed: it ended with an error; says what it printed.
    """
    spawner, errors = _spawner(), folder / "errors"
    order = list(map(str, command)), dict(variables or environment(folder)), str(folder), str(errors)
    _send(spawner, order)
    child = None
    try:
        child = _receive(spawner)
        wall, status, spent, peak = _receive(spawner)
    except BaseException:
        spawner.kill()
        if child is not None:
            os.kill(child, signal.SIGKILL)
        _spawner.cache_clear()
        raise
    if code := os.waitstatus_to_exitcode(status):
        said = errors.read_text(errors="replace")[-2000:]
        raise Failed(f"{' '.join(map(str, command[:3]))} ... ended with {code}: {said}")
    return Cost(wall, spent, None, peak * _RSS_UNIT)


@cache
def _spawner() -> subprocess.Popen[bytes]:
    """Ends with us, when its input does."""
    command = [sys.executable, "-I", "-S", str(ROOT / "benchmarks" / "spawner.py")]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _send(spawner: subprocess.Popen[bytes], order: Any) -> None:
    if spawner.stdin is not None:
        marshal.dump(order, spawner.stdin)
        spawner.stdin.flush()


def _receive(spawner: subprocess.Popen[bytes]) -> Any:
    return marshal.load(spawner.stdout) if spawner.stdout is not None else None


def environment(folder: Path) -> dict[str, str]:
    """Ours without what would redirect PostgreSQL or Python, and with the code that lies beside these benchmarks.

    Compiled modules are kept, as after an installation; in our folder, which leaves the checkout clean.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTHON"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(folder / "compiled")}


def take_turns(rounds: int, runs: Sequence[Callable[[], Cost]]) -> list[list[Cost]]:
    """Runs each once to warm up, then A B C A B C ...; returns the costs of each, round by round."""
    for run in runs:
        run()
    costs: list[list[Cost]] = [[] for _ in runs]
    for number in range(rounds):
        print(f"  round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for run, found in zip(runs, costs, strict=True):
            found.append(run())
    return costs


def compare_fresh(
    bench: Bench, name: str, sides: Sequence[Side], goals: Sequence[str], way: Callable[[str], str] = str
) -> str:
    """Measures in turns, each run on a database of its own; returns the table."""
    runs = [partial(bench.run_fresh, side, way) for side in sides]
    return compare(bench, name, sides, take_turns(bench.rounds, runs), goals)


def compare(
    bench: Bench, name: str, sides: Sequence[Side], costs: Sequence[Sequence[Cost]], goals: Sequence[str]
) -> str:
    """A Markdown table, the first side being ours; the figures are kept in `found`, too, for the charts.

    A ratio is the median of the ratios of the rounds: what slows the machine down slows both halves of a round.
    """
    lines = [
        "| | wall, s | client CPU, s | server CPU, s | peak, MB | ours : it, wall | client CPU | goal |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    bench.found[name] = {
        side.name: {
            "wall": [cost.wall for cost in found],
            "client": [cost.client for cost in found],
            "server": [cost.server or 0.0 for cost in found],
            "peak": [cost.peak / 1e6 for cost in found],
        }
        for side, found in zip(sides, costs, strict=True)
    }
    padded = [*goals, *[""] * (len(sides) - len(goals))]
    for side, found, goal in zip(sides, costs, padded, strict=True):
        spent = [cost.server for cost in found if cost.server is not None]
        cells = [
            side.name,
            _spread([cost.wall for cost in found], 2),
            _spread([cost.client for cost in found], 2),
            _spread(spent, 2) if spent else "?",
            _spread([cost.peak / 1e6 for cost in found], 1),
            *_ratios(costs[0], found),
            goal,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratios(ours: Sequence[Cost], theirs: Sequence[Cost]) -> tuple[str, str]:
    if ours is theirs:
        return "", ""
    pairs = list(zip(ours, theirs, strict=True))
    return _spread([a.wall / b.wall for a, b in pairs], 2), _spread([a.client / b.client for a, b in pairs], 2)


def _spread(values: Sequence[float], digits: int) -> str:
    """Median, lowest and highest."""
    low, middle, high = (f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low}-{high})"


def circumstances(bench: Bench) -> str:
    """Where and on what this was measured."""
    names = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
    shown = ", ".join(f"{name} {bench.sql(f'SHOW {name}')}" for name in names)
    return f"{machine(bench)}; {shown}"


def machine(bench: Bench) -> str:
    """When, and with which versions."""
    python = platform.python_version()
    versions = f"PostgreSQL {bench.server.version}, Python {python}, {os.cpu_count()} cores"
    return f"{time.strftime('%Y-%m-%d')}; {versions}"

"""One run of one tool in one situation, with the application at work."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Bench
from benchmarks.stall import autovacuum, load
from benchmarks.stall.children import Child, child
from benchmarks.stall.latency import Summary, since, summarise
from benchmarks.stall.running import is_done, migrate
from benchmarks.stall.scenarios import Scenario, Seen
from benchmarks.stall.tools import Tool

LEAD, TAIL = 1.0, 2.0  # seconds for which the application works before and after
BASELINE = 10.0  # seconds without a migration
DRAIN = 60.0  # seconds for the application's last answers


@dataclass(frozen=True)
class Settings:
    """How large and long it all is.

    Attributes:
        rows: of each table.
        seconds: for which the session of (a), or of the operations, sits idle.
        turn: seconds of the longest turn in (b) and (d).
        bound: seconds after which a run is killed.
    """

    rows: int
    seconds: float
    turn: float
    bound: float


@dataclass(frozen=True)
class Trials:
    """The runs in one situation, each on a fresh copy of the template."""

    bench: Bench
    scenario: Scenario
    settings: Settings
    template: str

    def measure(self, tool: Tool | None, programs: Path) -> Seen:
        """Runs a tool, or nothing for the baseline.

        Raises:
            Failed: what is around the tool didn't work.
        """
        with self.bench.database(self.template) as database:
            if self.scenario.vacuums:
                autovacuum.wake(self.bench, database, self.scenario.tables[0])
            with self._application(database) as application, self._holders(database) as holders:
                time.sleep(LEAD)
                if tool is None:
                    return _baseline(application)
                return self._migrate(database, tool, programs, application, holders)

    def _migrate(self, database: str, tool: Tool, programs: Path, application: Child, holders: Child | None) -> Seen:
        operation = self.scenario.operation
        ended = migrate(self.bench, database, tool, programs, operation, self.settings.bound)
        if ended.exit is None:
            self._end_sessions_left(database)
        if ended.exit != 0:
            print(f"{tool.name} said: {ended.said}", file=sys.stderr, flush=True)
        left = self._left(holders)
        time.sleep(TAIL)
        latency = _told(application, ended.begun)
        done = is_done(self.bench, database, operation)
        after = ended.ended - left if left is not None and done else None
        return Seen(latency, ended.took, after, ended.exit, done, self._note(database))

    def _application(self, database: str) -> contextlib.AbstractContextManager[Child]:
        url, rows = self.bench.server.url(database), str(self.settings.rows)
        how = "writes" if self.scenario.writes else "reads"
        return child("benchmarks.stall.load", [how, url, rows, *self.scenario.tables], self.bench.folder)

    def _holders(self, database: str) -> contextlib.AbstractContextManager[Child | None]:
        if self.scenario.holders is None:
            return contextlib.nullcontext()
        url = self.bench.server.url(database)
        arguments = self.scenario.holders(url, self.settings.seconds, self.settings.turn)
        return child("benchmarks.stall.holding", arguments, self.bench.folder)

    def _left(self, holders: Child | None) -> float | None:
        """When the session in the way ended its transaction; waits for it."""
        if holders is None or not self.scenario.ends_by_itself:
            return None
        return float(holders.line(self.settings.seconds + DRAIN))

    def _end_sessions_left(self, database: str) -> None:
        """What a killed tool leaves on the server would stall the application for longer than the tool itself."""
        self.bench.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{database}' AND backend_type = 'client backend' AND application_name NOT LIKE 'stall-%'"
        )

    def _note(self, database: str) -> str:
        completed = self.scenario.vacuums and autovacuum.has_completed(self.bench, database, self.scenario.tables[0])
        return "autovacuum came to its end by itself" if completed else ""


def _baseline(application: Child) -> Seen:
    begun = time.monotonic()
    time.sleep(BASELINE)
    return Seen(_told(application, begun))


def _told(application: Child, begun: float) -> Summary:
    """Ends the application and sums up its queries from a moment on."""
    application.ask_to_end()
    return summarise(since(load.read(application.line(DRAIN)), begun))

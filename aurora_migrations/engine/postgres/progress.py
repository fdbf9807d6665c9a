"""How far a long statement is, as the server's pg_stat_progress_* views show it."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace

from aurora_migrations.engine.errors import MigratorError
from aurora_migrations.engine.options import format_duration
from aurora_migrations.engine.postgres.session import Session

# A statement has a row in one of them. Whom a build waits for is a session whose transaction began before the build.
_PROGRESS = """
    WITH progress AS (
        SELECT phase, nullif(current_locker_pid, 0) AS locker,
               CASE WHEN lockers_total > 0 THEN 'sessions' WHEN tuples_total > 0 THEN 'rows' ELSE 'blocks' END AS what,
               CASE WHEN lockers_total > 0 THEN lockers_done WHEN tuples_total > 0 THEN tuples_done
                    ELSE blocks_done END AS done,
               CASE WHEN lockers_total > 0 THEN lockers_total WHEN tuples_total > 0 THEN tuples_total
                    ELSE blocks_total END AS total
          FROM pg_stat_progress_create_index WHERE pid = $1::int
         UNION ALL
        SELECT phase, NULL, 'blocks', heap_blks_scanned, heap_blks_total
          FROM pg_stat_progress_vacuum WHERE pid = $1::int
         UNION ALL
        SELECT phase, NULL, 'blocks', heap_blks_scanned, heap_blks_total
          FROM pg_stat_progress_cluster WHERE pid = $1::int
         UNION ALL
        SELECT phase, NULL, 'blocks', sample_blks_scanned, sample_blks_total
          FROM pg_stat_progress_analyze WHERE pid = $1::int
    )
    SELECT phase, what, done, total, locker, a.usename, nullif(a.application_name, ''), a.state,
           extract(epoch FROM clock_timestamp() - a.xact_start) * 1000
      FROM progress LEFT JOIN pg_stat_activity a ON a.pid = locker LIMIT 1
"""


@dataclass(frozen=True)
class Progress:
    """How far a statement is in its present phase."""

    phase: str  # as PostgreSQL names it: `building index: scanning table`
    what: str  # what is counted: `rows`, `blocks`, or `sessions` that are waited for
    done: int
    total: int  # 0 where the server doesn't know it
    waits_for: str | None = None  # the session that it waits for
    per_second: float | None = None  # of `what`, since the phase was first seen
    began: float = 0.0  # when the phase was first seen, by time.monotonic()
    done_then: int = 0

    @property
    def percent(self) -> int | None:
        """Of the phase; None where the total isn't known."""
        return min(100, 100 * self.done // self.total) if self.total else None

    @property
    def remaining_ms(self) -> float | None:
        """An estimate of the rest of the phase, in milliseconds."""
        if not self.per_second or self.what == "sessions":
            return None
        return max(0.0, (self.total - self.done) / self.per_second * 1_000)

    def __str__(self) -> str:
        if self.waits_for:
            return f"{self.phase}: {self.waits_for} ({self.done + 1} of {max(self.total, self.done + 1)})"
        if self.percent is None or self.what == "sessions":
            return self.phase
        facts = [f"{self.done:,} of {self.total:,} {self.what}"]
        if self.per_second:
            facts.append(f"{self.per_second:,.0f}/s")
        if self.remaining_ms is not None:
            facts.append(f"about {format_duration(self.remaining_ms)} left")
        return f"{self.phase} {self.percent} % ({', '.join(facts)})"


def read_progress(session: Session, pid: int, before: Progress | None = None) -> Progress | None:
    """The progress of another session's statement; None where the server has none.

    Args:
        before: what was read before, to compute the speed from.
    """
    rows = []
    with contextlib.suppress(MigratorError):
        rows = session.query(_PROGRESS, pid)
    if not rows:
        return None
    phase, what, done, total, locker, user, application, state, age = rows[0]
    waits_for = None
    if locker:
        about = [f"pid {locker}", state, f"transaction {format_duration(float(age))} old" if age else None]
        waits_for = f"{application or 'a session'} of {user or 'somebody'} ({', '.join(x for x in about if x)})"
    now = time.monotonic()
    found = Progress(str(phase), str(what), int(done or 0), int(total or 0), waits_for, began=now)
    found = replace(found, done_then=found.done)
    if before is None or (before.phase, before.what) != (found.phase, found.what):
        return found
    elapsed = now - before.began
    speed = (found.done - before.done_then) / elapsed if elapsed > 1 else None
    return replace(found, began=before.began, done_then=before.done_then, per_second=speed)

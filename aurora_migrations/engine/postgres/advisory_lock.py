"""The run lock: a session-level advisory lock, so that at most one run changes a database at any time.

It is polled from outside any transaction. A runner waiting inside pg_advisory_lock() would hold a snapshot, and a
CREATE INDEX CONCURRENTLY of the runner that has the lock would wait for it: a deadlock. As the lock belongs to the
session, the server releases it when the session ends: a runner that died leaves nothing that a person has to clear.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from aurora_migrations.engine.errors import AnotherRunInProgress
from aurora_migrations.engine.options import format_duration
from aurora_migrations.engine.postgres.session import RUN_LOCK, Session, application_name

KEY = RUN_LOCK
# The row of pg_locks for that key when it is ours. A 64-bit key is shown in two halves, with objsubid 1. The database
# needn't be compared: a session has advisory locks in its own only.
_IS_RUN_LOCK = (
    f"l.locktype = 'advisory' AND l.granted AND l.classid = {(KEY >> 32) & 0xFFFFFFFF} "
    f"AND l.objid = {KEY & 0xFFFFFFFF} AND l.objsubid = 1"
)
HELD_BY_US = f"SELECT l.pid FROM pg_catalog.pg_locks l WHERE {_IS_RUN_LOCK} AND l.pid = pg_catalog.pg_backend_pid()"
_HOLDER = f"""
    SELECT l.pid, a.usename, a.application_name,
           pg_catalog.to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
      FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
     WHERE {_IS_RUN_LOCK}
       AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
"""
_MEANWHILE = "waiting for another run to end"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0  # seconds


@dataclass(frozen=True)
class Holder:
    """Who has the run lock. `since` is when that session began; None where our role may not see it."""

    pid: int
    user: str | None
    application: str | None
    since: str | None
    doing: str | None = None  # the statement that it runs outside any transaction, and how far that is

    def __str__(self) -> str:
        who = self.application or "a session without a name"
        since = self.since or "a time that only a member of pg_read_all_stats may see"
        doing = f", running {self.doing}" if self.doing else ""
        return f"{who} (pid {self.pid}, user {self.user or 'unknown'}), connected since {since}{doing}"


def acquire(
    session: Session,
    budget: float,
    on_wait: Callable[[Holder | None], None],
    yields_to_others: int | None = None,
    doing: Callable[[int], str | None] = lambda pid: None,
) -> None:
    """Takes the run lock, polling with growing, jittered pauses.

    Args:
        budget: seconds to wait at most. They don't count while the holder is `doing` something that outlives a run.
        on_wait: called when a wait begins, and whenever the holder or what it does changes.
        yields_to_others: if another process than this one has the lock, it isn't waited for.
        doing: what the process of this id runs outside any transaction, if it does; called every second or so.
    """
    deadline = time.monotonic() + budget
    pause, holder = _FIRST_PAUSE, None
    while session.query("SELECT pg_catalog.pg_try_advisory_lock($1::bigint)", KEY) != [("t",)]:
        seen = find_holder(session)
        if seen is not None and (running := doing(seen.pid)):
            seen, deadline = replace(seen, doing=running), time.monotonic() + budget
        if seen is not None and seen != holder:
            holder = seen
            if budget > 0:
                on_wait(holder)
        left = max(_FIRST_PAUSE, deadline - time.monotonic()) if seen and seen.doing else deadline - time.monotonic()
        if yields_to_others is not None and seen is not None and seen.pid != yields_to_others:
            left = 0
        if left <= 0:
            raise _busy(holder, budget)
        session.pause(min(left, random.uniform(pause / 2, pause)), _MEANWHILE)
        pause = min(_LONGEST_PAUSE, pause * 1.5)


def find_holder(session: Session) -> Holder | None:
    """Who has the run lock now, if anybody."""
    rows = session.query(_HOLDER)
    if not rows:
        return None
    pid, user, application, since = rows[0]
    return Holder(int(pid or 0), user, application, since)


def _busy(holder: Holder | None, budget: float) -> AnotherRunInProgress:
    has_it = f"the run lock is held by {holder}" if holder else "the run lock was held by ever-changing sessions"
    ours = holder is not None and (holder.application or "").startswith(application_name(""))
    cause = None if ours or holder is None else "A session that isn't a run of this product holds the run lock's key."
    end = f" To end it by force: SELECT pg_terminate_backend({holder.pid});" if holder else ""
    return AnotherRunInProgress(
        f"Another run is in progress: {has_it}; waited {format_duration(budget * 1_000)}.",
        cause=cause,
        solution=f"{AnotherRunInProgress.solution}{end}",
        holder=asdict(holder) if holder else None,
        holder_pid=holder.pid if holder else None,
    )

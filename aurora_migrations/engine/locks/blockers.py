"""Blockers: a second session reads who holds the lock that the first one waits for.

What it reads: pg_locks, which everybody may read, and pg_stat_activity, which shows others' queries and states only to
members of pg_read_all_stats. A transaction is known by its virtual id, which is shown in any case.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from aurora_migrations.engine.diagnostics.redaction import without_literals
from aurora_migrations.engine.errors import Cancelled, InsufficientPrivilege, MigratorError
from aurora_migrations.engine.locks.modes import CONFLICTS
from aurora_migrations.engine.postgres.progress import Progress, read_progress
from aurora_migrations.engine.postgres.protocol import Command, Row
from aurora_migrations.engine.postgres.session import BEGIN, COMMIT, Session

GRANT = "GRANT pg_read_all_stats TO {user}; lets the runner see what they do"
_SHOWN = 200  # characters of a query
# One row a blocker. pg_blocking_pids() names those that hold a lock that conflicts with ours, and those that wait for
# one before us in the queue; 0 is a prepared transaction, which has no process.
_LOCK_WAIT = """
    WITH ours AS (
        SELECT l.locktype, l.relation, l.mode, (pg_catalog.to_jsonb(l) ->> 'waitstart')::timestamptz AS since
          FROM pg_catalog.pg_locks l WHERE l.pid = $1::int AND NOT l.granted LIMIT 1
    ), others AS (
        SELECT DISTINCT pid FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1::int)) AS pid
    )
    SELECT ours.locktype, ours.relation::regclass, ours.mode,
           extract(epoch FROM clock_timestamp() - ours.since) * 1000,
           others.pid, a.usename, a.application_name, a.state,
           extract(epoch FROM clock_timestamp() - a.xact_start), a.query, theirs.mode, theirs.virtualtransaction,
           CASE WHEN others.pid = 0 THEN 'prepared transaction'
                WHEN a.pid IS NOT NULL AND a.usesysid IS NULL THEN 'autovacuum worker' END
      FROM ours CROSS JOIN others LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = others.pid
           LEFT JOIN LATERAL (
               SELECT h.mode, h.virtualtransaction FROM pg_catalog.pg_locks h
                WHERE h.pid IS NOT DISTINCT FROM nullif(others.pid, 0)
                ORDER BY (h.relation IS NOT DISTINCT FROM ours.relation AND h.locktype = ours.locktype) DESC,
                         h.granted DESC
                LIMIT 1
           ) AS theirs ON true
"""
# Tables with their partitions. Size and rows are those of the last VACUUM or ANALYZE, because PostgreSQL's functions
# for a size lock the table, and wait where it is locked exclusively.
_FOUND = """
    WITH RECURSIVE tree AS (
        SELECT n.name, COALESCE(i.indrelid, pg_catalog.to_regclass(n.name)::pg_catalog.oid) AS oid
          FROM pg_catalog.json_array_elements_text($1::json) AS n (name)
               LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = pg_catalog.to_regclass(n.name)::pg_catalog.oid
         UNION
        SELECT t.name, h.inhrelid FROM tree t JOIN pg_catalog.pg_inherits h ON h.inhparent = t.oid
    )
"""
_SIZES = f"""{_FOUND}
    SELECT t.name, CASE WHEN pg_catalog.bool_and(c.reltuples >= 0) THEN pg_catalog.sum(
               c.relpages::pg_catalog.int8 * pg_catalog.current_setting('block_size')::pg_catalog.int8) END,
           pg_catalog.round(pg_catalog.sum(CASE WHEN c.reltuples >= 0 THEN c.reltuples
                                           ELSE pg_catalog.pg_stat_get_live_tuples(c.oid) END)::numeric)
      FROM tree t JOIN pg_catalog.pg_class c ON c.oid = t.oid WHERE c.relkind IN ('r', 'm') GROUP BY t.name
"""
_HOLDERS = f"""{_FOUND}
    SELECT t.name, NULL, NULL, NULL, COALESCE(l.pid, 0), a.usename, a.application_name, a.state,
           EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start), a.query, l.mode, l.virtualtransaction,
           CASE WHEN l.pid IS NULL THEN 'prepared transaction'
                WHEN a.pid IS NOT NULL AND a.usesysid IS NULL THEN 'autovacuum worker' END
      FROM tree t JOIN pg_catalog.pg_locks l ON l.locktype = 'relation' AND l.relation = t.oid AND l.granted
           LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
     WHERE l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
       AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
     ORDER BY t.name, a.xact_start
"""
_STILL_OPEN = "SELECT DISTINCT virtualtransaction FROM pg_catalog.pg_locks WHERE virtualtransaction = ANY ($1::text[])"
# Only if it is still idle in the same transaction as when it was seen.
_END = """
    SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a
     WHERE a.pid = $1::int AND a.state LIKE 'idle in transaction%'
       AND a.state_change < clock_timestamp() - $2::bigint * interval '1 millisecond'
       AND EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.pid = a.pid AND l.virtualtransaction = $3)
"""


@dataclass(frozen=True)
class Blocker:
    """A session, or a prepared transaction, that holds a lock we wait for."""

    pid: int  # its process; 0 for a prepared transaction, which has none
    user: str | None
    application: str | None
    state: str | None  # as pg_stat_activity has it; None where our role may not see it
    age_s: float | None  # seconds since its transaction began
    mode: str | None  # the lock that it holds, or waits for before us
    transaction: str  # its virtual id: by this it is known to be over
    query: str | None  # its statement without literals; of one that is idle, its last
    kind: str | None = None  # `autovacuum worker` or `prepared transaction`, if it is one

    @property
    def never_yields(self) -> bool:
        """Whether it is an autovacuum against wraparound, which never gives way to a waiting session."""
        return self.kind is not None and "to prevent wraparound" in (self.query or "")

    @property
    def yields(self) -> bool:
        """Whether it is an autovacuum that gives way to a session that has waited for deadlock_timeout."""
        return self.kind == "autovacuum worker" and not self.never_yields

    def __str__(self) -> str:
        who = self.kind or f"{self.application or 'a session'} of {self.user or 'somebody'}"
        age = None
        if self.age_s is not None:
            hours, minutes = divmod(int(self.age_s // 60), 60)
            span = f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{self.age_s:.1f} s"
            age = f"transaction {span} old"
        facts = (f"pid {self.pid}" if self.pid else None, self.state, age, self.mode)
        return f"{who} ({', '.join(filter(None, facts))})"


@dataclass(frozen=True)
class LockWait:
    """A wait for a lock on a table (or another kind of lock): how long so far, and the blockers."""

    table: str
    mode: str
    waited_ms: float
    blockers: tuple[Blocker, ...] = ()

    def __str__(self) -> str:
        return f"{self.mode} on {self.table}, held by {', '.join(map(str, self.blockers)) or 'nobody seen'}"


@dataclass(frozen=True)
class TableNow:
    """A table that is there, as it is now: its size without indexes (bytes) and its rows, estimates both, None where
    nothing has been estimated yet; and who holds locks on it or on its partitions."""

    size: int | None
    rows: int
    holders: tuple[Blocker, ...] = ()

    def blockers(self, modes: Iterable[str]) -> list[Blocker]:
        """Those that a lock of one of these modes would wait for now, each session once."""
        conflicting = {mode for wanted in modes for mode in CONFLICTS[wanted]}
        return list({each.transaction: each for each in self.holders if each.mode in conflicting}.values())


def read_tables_now(session: Session, names: Iterable[str]) -> dict[str, TableNow]:
    """The tables of these names (as SQL writes them; for an index, its table) that there are; empty, if our role may
    not look a name up. Takes no lock on any of them."""
    asked = json.dumps(sorted(set(names)))
    try:  # with names as the role's own search_path finds them
        _, sizes, holders, _ = session.execute(BEGIN, Command(_SIZES, [asked]), Command(_HOLDERS, [asked]), COMMIT)
    except InsufficientPrivilege:
        return {}
    held: dict[str, list[Blocker]] = {}
    for row in holders:
        held.setdefault(str(row[0]), []).append(_blocker(row))
    return {
        str(name): TableNow(None if size is None else int(size), int(rows or 0), tuple(held.get(str(name), ())))
        for name, size, rows in sizes
    }


class Observer:
    """The second session; opened when it is first needed. If that fails, blockers aren't named."""

    def __init__(self, url: str, execution: str) -> None:
        self._url = url
        self._execution = execution
        self._session: Session | None = None
        self._failed = False
        self.interrupted = False  # whether Ctrl-C was pressed while one of its queries was running

    def open(self) -> bool:
        """Opens it, if it isn't open, and returns whether it is. After a failure it isn't tried again."""
        if self._session is not None and self._session.wire.lost:
            self.close()
        if self._session is None and not self._failed:
            try:
                self._session = Session(self._url, self._execution, "watch")
                self.interrupted |= self._session.wire.interrupted
            except MigratorError as error:
                self._failed = True  # for instance no free connection: no reason for the run to fail
                self.interrupted |= isinstance(error, Cancelled)
        return self._session is not None

    def read_lock_wait(self, pid: int) -> LockWait | None:
        """The lock that the session with this process id waits for now, as far as that can be seen."""
        if not self.open() or self._session is None:
            return None
        try:
            rows = self._session.query(_LOCK_WAIT, pid)
        except MigratorError:
            rows = []
        self.interrupted |= self._session.wire.interrupted
        if not rows:
            return None
        kind, relation, mode, waited = rows[0][:4]
        table = str(relation) if relation else f"a {kind}"
        return LockWait(table, mode_name(str(mode)), float(waited or 0), tuple(_blocker(row) for row in rows))

    def read_progress(self, pid: int, before: Progress | None) -> Progress | None:
        """How far the statement of the session with this process id is."""
        if not self.open() or self._session is None:
            return None
        found = read_progress(self._session, pid, before)
        self.interrupted |= self._session.wire.interrupted
        return found

    def close(self) -> None:
        """Ends the session."""
        if self._session is not None:
            self._session.close()
        self._session = None


def find_open(session: Session, transactions: Iterable[str]) -> set[str]:
    """Which of these transactions haven't ended."""
    quoted = ",".join(f'"{transaction}"' for transaction in transactions)
    return {str(row[0]) for row in session.query(_STILL_OPEN, f"{{{quoted}}}")}


def end_idle(session: Session, blocker: Blocker, older_than_ms: int) -> None:
    """Ends a session that sits idle in its transaction for longer than that."""
    with contextlib.suppress(MigratorError):  # our role may not; the next attempt reports that it still blocks
        session.query(_END, blocker.pid, older_than_ms, blocker.transaction)


def deadlock_timeout_ms(session: Session) -> int:
    """How long a wait lasts until PostgreSQL cancels the autovacuum that blocks it, in milliseconds."""
    rows = session.query("SELECT setting FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'")
    return int(rows[0][0] or 1_000)


def mode_name(mode: str) -> str:
    """`AccessExclusiveLock` of pg_locks as documentation writes it: `ACCESS EXCLUSIVE`."""
    words = "".join(f" {letter}" if letter.isupper() else letter for letter in mode.removesuffix("Lock"))
    return words.strip().upper()


def _blocker(row: Row) -> Blocker:
    pid, user, application, state, age, query, mode, transaction, kind = row[4:]
    hidden = query is None or query.startswith("<")
    return Blocker(
        pid=int(pid or 0),
        user=user,
        application=application or None,
        state=state,
        age_s=None if age is None else round(float(age), 1),
        mode=mode_name(mode) if mode else None,
        transaction=str(transaction),
        query=None if hidden else without_literals(str(query))[:_SHOWN],
        kind=kind,
    )

"""A database session, set up so that a migration can neither leak into the next one nor outlive its runner, and the run
lock that it holds. What each line is needed for is shown by the tests in tests/database/test_session.py, test_killed.py
and test_concurrency.py.

The run lock is a session-level advisory lock, so that at most one run changes a database at any time. It is polled from
outside any transaction: a runner waiting inside pg_advisory_lock() would hold a snapshot, and a CREATE INDEX
CONCURRENTLY of the runner that has the lock would wait for it, a deadlock. The server releases it when the session
ends: a runner that died leaves nothing that a person has to clear.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Callable
from typing import NamedTuple

import psycopg
from psycopg.pq import TransactionStatus

from aurora_migrations.engine import interrupts
from aurora_migrations.engine.errors import AnotherRunInProgress, NotAWriter
from aurora_migrations.engine.options import format_duration
from aurora_migrations.engine.postgres.connect import open_connection, pooler_found
from aurora_migrations.engine.postgres.protocol import DEALLOCATE, BatchError, Command, Param, Row, ScriptError, Wire
from aurora_migrations.engine.postgres.sqlstate import named_error

# The run lock's key: one for the product; PostgreSQL keeps advisory locks apart by database.
RUN_LOCK = int.from_bytes(hashlib.sha256(b"aurora-migrations run lock").digest()[:8], "big", signed=True)
# The row of pg_locks for that key when it is ours. A 64-bit key is shown in two halves, with objsubid 1. The database
# needn't be compared: a session has advisory locks in its own only.
_IS_RUN_LOCK = (
    f"l.locktype = 'advisory' AND l.granted AND l.classid = {(RUN_LOCK >> 32) & 0xFFFFFFFF} "
    f"AND l.objid = {RUN_LOCK & 0xFFFFFFFF} AND l.objsubid = 1"
)
# Our process id if we hold the run lock, else NULL. pg_locks shows that, too, but copies the locks of all sessions;
# unlocking answers whether the lock was ours. Meanwhile our second lock, which is shared, keeps all others out. Before
# PostgreSQL 17 trying fails where somebody queues for the lock; waiting doesn't wait then: who holds a lock goes first.
HELD_BY_US = (
    f"CASE WHEN pg_catalog.pg_advisory_unlock({RUN_LOCK}) "
    f"THEN CASE WHEN pg_catalog.pg_try_advisory_lock({RUN_LOCK}) THEN pg_catalog.pg_backend_pid() "
    f"WHEN pg_catalog.pg_advisory_lock({RUN_LOCK}) IS NOT NULL THEN pg_catalog.pg_backend_pid() END END"
)
_TAKE = f"""
    SELECT CASE WHEN pg_catalog.pg_try_advisory_lock({RUN_LOCK})
                THEN pg_catalog.pg_try_advisory_lock_shared({RUN_LOCK}) ELSE false END
"""
_HOLDER = f"""
    SELECT l.pid, a.usename, a.application_name,
           pg_catalog.to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
      FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
     WHERE {_IS_RUN_LOCK}
       AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
"""
_WAITING = "waiting for another run to end"
_ENDING = 2.0  # seconds in which a session must be gone whose statement has outlived its run and is done
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0  # seconds, between two polls
# Our own statements must mean the same whatever a file, a role or a database has set.
_OURS = (
    "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), "
    "pg_catalog.set_config('timezone', 'UTC', true), pg_catalog.set_config('datestyle', 'ISO', true), "
    # Of these depends how PostgreSQL writes a definition.
    "pg_catalog.set_config('quote_all_identifiers', 'off', true), pg_catalog.set_config('bytea_output', 'hex', true), "
    "pg_catalog.set_config('intervalstyle', 'postgres', true), pg_catalog.set_config('extra_float_digits', '1', true), "
    # An error, where a policy would hide rows of the history.
    "pg_catalog.set_config('row_security', 'off', true), "
    # To compile a query over the catalogue takes seconds, which the plans' cost would suggest before PostgreSQL 18.
    "pg_catalog.set_config('jit', 'off', true)"
)
OURS = Command(_OURS, keep=True)
# The same for the record of an intent, and the limits of the file for the session: in one statement, as there is one
# for each file. Losing the intent in a server crash is harmless, and an asynchronous commit saves a wait.
_OURS_AND_LIMITS = (
    f"{_OURS}, pg_catalog.set_config('synchronous_commit', 'off', true), "
    "pg_catalog.set_config('lock_timeout', $1, false), pg_catalog.set_config('statement_timeout', $2, false)"
)
# Between two units the session stays as the file left it; only our own record is written as our own role.
AS_OURSELVES = (Command("SET LOCAL SESSION AUTHORIZATION DEFAULT"), Command("SET LOCAL ROLE NONE"), OURS)
BEGIN = Command("BEGIN")
COMMIT = Command("COMMIT")
# How often a busy server checks whether its client is still there: this ends the work of a runner that was killed.
CHECK_INTERVAL = "SET client_connection_check_interval = '500ms'"
# Not DISCARD ALL, which would drop the run lock. SESSION AUTHORIZATION and ROLE come first: RESET ALL leaves them.
_RESET = tuple(
    Command(sql)
    for sql in (
        "RESET SESSION AUTHORIZATION",
        "RESET ROLE",
        "RESET ALL",
        "CLOSE ALL",
        "UNLISTEN *",
        DEALLOCATE,
        "DISCARD TEMP",
        "DISCARD SEQUENCES",
    )
)
# Advisory locks that a file took for the session outlive its transaction.
_UNLOCK_ITS = Command(
    """
    SELECT CASE WHEN objsubid = 1 AND mode = 'ExclusiveLock' THEN pg_catalog.pg_advisory_unlock(one)
                WHEN objsubid = 1 THEN pg_catalog.pg_advisory_unlock_shared(one)
                WHEN mode = 'ExclusiveLock' THEN pg_catalog.pg_advisory_unlock(classid::int, objid::int)
                ELSE pg_catalog.pg_advisory_unlock_shared(classid::int, objid::int) END
      FROM pg_catalog.pg_locks, LATERAL (SELECT (classid::bigint << 32) | objid::bigint AS one) AS key
     WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid() AND granted
       AND NOT (objsubid = 1 AND one = $1::bigint)
    """,
    [RUN_LOCK],
)


class Server(NamedTuple):
    """The server, and our session on it, as the server describes them."""

    pid: int
    in_recovery: bool
    version: str
    database: str
    user: str
    schema: str = "public"  # where names without a schema are created, unless a file sets another; quoted

    @property
    def major(self) -> int:
        """The major version, such as 15."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])


class Holder(NamedTuple):
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


class Session:
    """A connection in autocommit mode: a transaction is open only after a `BEGIN` of ours."""

    def __init__(self, url: str, execution: str, role: str = "") -> None:
        """Connects. `execution` is the name of this run, shown in pg_stat_activity and kept in the history; `role` is
        what this session is for, if it doesn't run the migrations."""
        self.execution = execution
        self.wire = Wire(open_connection(url, application_name(execution, role)))
        self._settings_after_reset: tuple[Command, ...] = ()
        self.records: tuple[int, int] | None = None  # `history.Records`, as our last commit left them
        self.outlives = False  # whether a statement is running that may outlive the run
        try:
            self.server = self._read_server()
        except BaseException:
            self.wire.close()
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the session; the run lock and any open transaction go with it."""
        self.wire.close()

    @property
    def begun(self) -> bool:
        """Whether the next file's beginning was sent with our last commit, and isn't read yet."""
        return self.wire.unread is not None

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, and none of its statements has failed."""
        return self.wire.connection.info.transaction_status == TransactionStatus.INTRANS

    @property
    def is_idle(self) -> bool:
        """Whether the connection is there, no transaction is open and no statement is running."""
        return self.wire.connection.info.transaction_status == TransactionStatus.IDLE

    def query(self, sql: str, *params: Param) -> list[Row]:
        """Reads with a statement of ours, in a transaction of its own that ends at once."""
        return self.execute(BEGIN, OURS, Command(sql, params), COMMIT)[2]

    def execute(self, *commands: Command) -> list[list[Row]]:
        """Sends statements of ours in one round trip and returns the rows of each. If one fails, it rolls back and
        raises the named error."""
        try:
            return self.wire.execute_pipeline(commands)
        except BatchError as error:
            self.roll_back()
            raise named_error(error.error) from error

    def pause(self, seconds: float, meanwhile: str) -> None:
        """Sleeps between two statements; see `interrupts.pause`. A Ctrl-C in the last statement counts, too."""
        interrupts.pause(seconds, meanwhile)
        if self.wire.interrupted:
            raise interrupts.cancelled(f"while {meanwhile}")

    def reset_session(self, complete: bool) -> None:
        """Undoes what a rolled back file has left in the session: its role and, if `complete`, for a file of which
        nothing is committed, everything else but the run lock."""
        self.execute(*((*self.reset_commands, _UNLOCK_ITS) if complete else self.reset_commands[:2]))

    def roll_back(self) -> None:
        """Rolls back an open transaction; if that fails, closes the session, and doesn't hide the first error."""
        try:
            self.wire.drop_unread()
            self.wire.execute_script(b"ROLLBACK")
        except (ScriptError, psycopg.Error):
            self.close()

    def prepare_to_write(self) -> None:
        """Refuses a standby, and has the server check twice a second whether its client is still there."""
        if self.server.in_recovery:
            raise NotAWriter("The server is a standby (a reader): it can't be changed here.")
        try:
            self.wire.execute_pipeline([Command(CHECK_INTERVAL)])
            self._settings_after_reset = (Command(CHECK_INTERVAL),)
        except BatchError as error:
            if self.wire.lost:
                raise named_error(error.error) from error
            # A server on Windows, or older than PostgreSQL 14, hasn't got it: keepalives are what is left there.

    @property
    def reset_commands(self) -> tuple[Command, ...]:
        """What undoes everything that a file may have changed in the session, except the run lock."""
        return (*_RESET, *self._settings_after_reset)

    def _read_server(self) -> Server:
        sql = """
            SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_is_in_recovery(),
                   pg_catalog.current_setting('server_version'), pg_catalog.current_database(), session_user,
                   pg_catalog.quote_ident(pg_catalog.current_schema()), pg_catalog.current_setting('search_path')
        """
        ((pid, recovery, version, database, user, schema, path),) = self.execute(Command(sql))[0]
        if pid != str(self.wire.connection.pgconn.backend_pid):
            raise pooler_found()
        # A schema of the path may be made by a migration only.
        named = (each.strip() for each in str(path).split(","))
        schema = schema or next((each for each in named if each not in ("", '"$user"')), "public")
        return Server(int(pid), recovery == "t", str(version), str(database), str(user), schema)


def ours_and_limits(lock_timeout: int, statement_timeout: int) -> Command:
    """`OURS` for a transaction that needn't be durable, and limits (ms) for the session."""
    return Command(_OURS_AND_LIMITS, [lock_timeout, statement_timeout], keep=True)


def application_name(execution: str, role: str = "") -> str:
    """The name of a run in pg_stat_activity (63 bytes at most)."""
    return f"aurora-migrations{f'-{role}' if role else ''} {execution}"[:63]


def acquire_run_lock(
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
    pause, holder, has_gone = _FIRST_PAUSE, None, False
    while session.query(_TAKE) != [("t",)]:
        seen = find_holder(session)
        if seen is None and not has_gone:  # between the two statements: it is free now, unless another one was faster
            has_gone = True
            continue
        if seen is not None and (running := doing(seen.pid)):
            seen, deadline = seen._replace(doing=running), time.monotonic() + max(budget, _ENDING)
        if seen is not None and seen != holder:
            holder = seen
            if budget > 0:
                on_wait(holder)
        left = deadline - time.monotonic()
        if yields_to_others is not None and seen is not None and seen.pid != yields_to_others:
            left = 0
        if left <= 0:
            has_it = f"is held by {holder}" if holder else "was held by ever-changing sessions"
            foreign = holder is not None and not (holder.application or "").startswith(application_name(""))
            end = f"SELECT pg_terminate_backend({holder.pid});" if holder else ""
            cancel = "To end what it runs: `aurora-migrations cancel`. If its session stays: "
            steps = f"\n{'To end it: ' if foreign else cancel}{end}" if end else ""
            raise AnotherRunInProgress(
                f"Another run is in progress: the run lock {has_it}; waited {format_duration(budget * 1_000)}.",
                cause="A session that isn't a run of this product holds the run lock's key." if foreign else None,
                solution=f"{AnotherRunInProgress.solution}{steps}",
                holder=holder._asdict() if holder else None,
                holder_pid=holder.pid if holder else None,
            )
        session.pause(min(left, random.uniform(pause / 2, pause)), _WAITING)
        pause = min(_LONGEST_PAUSE, pause * 1.5)


def find_holder(session: Session) -> Holder | None:
    """Who has the run lock now, if anybody."""
    rows = session.query(_HOLDER)
    if not rows:
        return None
    pid, user, application, since = rows[0]
    return Holder(int(pid or 0), user, application, since)

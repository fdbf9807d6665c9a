"""Autovacuum, made to work on a table for as long as a run takes."""

from __future__ import annotations

import time

from benchmarks.harness import Bench, Failed

BEGIN_SECONDS = 120
_SLOW = (
    "autovacuum_enabled = true, autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0, "
    "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1"  # 0.1 s or more a page
)
_AT_WORK = (
    "SELECT count(*) FROM pg_stat_progress_vacuum JOIN pg_stat_activity USING (pid) "
    "WHERE backend_type = 'autovacuum worker' AND relid = '{0}'::regclass"
)
_COMPLETED = "SELECT autovacuum_count FROM pg_stat_user_tables WHERE relid = '{0}'::regclass"


def wake(bench: Bench, database: str, table: str) -> None:
    """Gives it dead rows, little speed, and waits until it is at work on the table.

    Raises:
        Failed: it doesn't begin.
    """
    bench.sql("ALTER SYSTEM SET autovacuum_naptime = '1s'", "SELECT pg_reload_conf()")
    bench.sql(
        f"UPDATE {table} SET note = note || '.' WHERE id % 10 = 0",
        f"ALTER TABLE {table} SET ({_SLOW})",
        database=database,
    )
    deadline = time.monotonic() + BEGIN_SECONDS
    while not is_at_work(bench, database, table):
        if time.monotonic() > deadline:
            raise Failed(f"autovacuum didn't begin on {table} within {BEGIN_SECONDS} s")
        time.sleep(0.1)


def is_at_work(bench: Bench, database: str, table: str) -> bool:
    return bench.sql(_AT_WORK.format(table), database=database) != "0"


def has_completed(bench: Bench, database: str, table: str) -> bool:
    """Whether it ever came to its end on the table; one that was cancelled didn't."""
    return bench.sql(_COMPLETED.format(table), database=database) != "0"

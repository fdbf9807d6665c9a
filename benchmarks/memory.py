"""Peak memory with one file of 20 MB: ours, one psql, a plain psycopg loop. With 1,000 files: see `applying`."""

from __future__ import annotations

from functools import partial

from benchmarks import sides
from benchmarks.files import write_large_migration, write_psql_script
from benchmarks.harness import Bench, Cost, Side, compare, take_turns

SIZE = 20_000_000  # bytes
GOALS = ("peak 60 MB", "", "")


def measure(bench: Bench) -> str:
    folder = write_large_migration(bench.folder / "memory", SIZE)
    script = write_psql_script(folder, bench.folder / "memory.psql")
    compared = [sides.ours(folder), sides.psql(bench, script), sides.psycopg_loop(folder)]
    return compare(compared, take_turns(bench.rounds, [partial(_run, bench, side) for side in compared]), GOALS)


def _run(bench: Bench, side: Side) -> Cost:
    with bench.database() as database:
        return bench.run(side, database)

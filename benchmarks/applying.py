"""1,000 migrations of three statements: ours, one psql with all files, a plain psycopg loop."""

from __future__ import annotations

from functools import partial

from benchmarks import sides
from benchmarks.files import write_migrations, write_psql_script
from benchmarks.harness import Bench, Cost, Side, compare, take_turns

NUMBER = 1_000
GOALS = ("peak 45 MB", "wall 1.15", "")


def measure(bench: Bench) -> str:
    folder = write_migrations(bench.folder / "applying", NUMBER)
    script = write_psql_script(folder, bench.folder / "applying.psql")
    compared = [sides.ours(folder), sides.psql(bench, script), sides.psycopg_loop(folder)]
    return compare(compared, take_turns(bench.rounds, [partial(_run, bench, side) for side in compared]), GOALS)


def _run(bench: Bench, side: Side) -> Cost:
    with bench.database() as database:
        return bench.run(side, database)

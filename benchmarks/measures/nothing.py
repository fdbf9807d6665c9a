"""Nothing to do at 1,000 applied: ours, and a program that only connects and asks for 1."""

from __future__ import annotations

from functools import partial

from benchmarks import sides
from benchmarks.files import write_migrations
from benchmarks.harness import Bench, compare, take_turns

NUMBER = 1_000
ROUNDS = 4  # times as many as for others: a run takes a fraction of a second
GOALS = ("", "wall 1.10")


def measure(bench: Bench) -> str:
    """All rounds share a database: neither side changes it."""
    folder = write_migrations(bench.folder / "nothing", NUMBER)
    compared = [sides.ours(folder), sides.select_one()]
    with bench.database() as database:
        bench.run(compared[0], database)
        runs = [partial(bench.run, side, database) for side in compared]
        return compare(bench, "nothing", compared, take_turns(ROUNDS * bench.rounds, runs), GOALS)

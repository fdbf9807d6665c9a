"""What it takes to understand 1,000 files of three statements: `check`, and PostgreSQL's grammar alone."""

from __future__ import annotations

from functools import partial

from benchmarks import sides
from benchmarks.files import write_migrations
from benchmarks.harness import Bench, Cost, Side, compare, run_child, take_turns

NUMBER = 1_000
GOALS = ("wall 1.5 s", "")


def measure(bench: Bench) -> str:
    """No database is asked for anything."""
    folder = write_migrations(bench.folder / "compiling", NUMBER)
    compared = [sides.check(folder), sides.grammar_alone(folder)]
    runs = [partial(_run, bench, side) for side in compared]
    return compare(compared, take_turns(bench.rounds, runs), GOALS)


def _run(bench: Bench, side: Side) -> Cost:
    return run_child(side.command(""), bench.folder)

"""What it takes to understand files: `check` of one, beside the import of psycopg, which every verb needs; `check` of
8,000, beside PostgreSQL's grammar alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks import sides
from benchmarks.files import write_migrations
from benchmarks.harness import Bench, Side, compare, run_child, take_turns

MANY = 8_000
FEW_ROUNDS = 4  # times as many as for others, for what takes a fraction of a second


def measure(bench: Bench) -> str:
    """No database is asked for anything."""
    one, many = write_migrations(bench.folder / "one", 1), write_migrations(bench.folder / "compiling", MANY)
    first = _compare(bench, "check-one", [sides.check(one), sides.importing_psycopg()], ("0.25 s", ""), FEW_ROUNDS)
    goals = ("both cores", "CPU 4 x")
    return f"{first}\n\n{MANY:,} files:\n\n" + _compare(
        bench, "check-many", [sides.check(many), sides.grammar_alone(many)], goals, 1
    )


def _compare(bench: Bench, name: str, compared: Sequence[Side], goals: Sequence[str], times: int) -> str:
    runs = [partial(run_child, side.command(""), bench.folder) for side in compared]
    return compare(bench, name, compared, take_turns(times * bench.rounds, runs), goals)

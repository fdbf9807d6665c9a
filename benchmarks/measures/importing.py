"""What importing a handler costs, beside importing psycopg and boto3: the part of a cold start that is ours."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence

from benchmarks.harness import Bench, Cost, run_child, take_turns

NOTHING, PEER = "sys", "psycopg, boto3"
SIDES = {
    "preflight": "functions.preflight",
    "apply": "functions.apply",
    "verify": "functions.verify",
    "apply, and what its first call loads of botocore": "functions.apply, botocore.session",
}
GOALS = ("", "", "", "1.0")


def measure(bench: Bench) -> str:
    rounds = take_turns(bench.rounds, [_importing(bench, names) for names in (NOTHING, PEER, *SIDES.values())])
    lines = [f"| handler | import | {PEER} | ratio | goal |", "| --- | --- | --- | --- | --- |"]
    python, beside, *all_ours = ([cost.wall * 1_000 for cost in each] for each in rounds)
    beside = _without(beside, python)
    for name, goal, each in zip(SIDES, GOALS, all_ours, strict=True):
        ours = _without(each, python)
        ratio = statistics.median(one / other for one, other in zip(ours, beside, strict=True))
        lines.append(f"| {name} | {_told(ours)} | {_told(beside)} | {ratio:.2f} | {goal} |")
    return "\n".join(lines)


def _importing(bench: Bench, names: str) -> Callable[[], Cost]:
    return lambda: run_child([sys.executable, "-c", f"import {names}"], bench.folder)


def _without(values: Sequence[float], python: Sequence[float]) -> list[float]:
    """Milliseconds less those of Python's own start in the same round."""
    return [value - start for value, start in zip(values, python, strict=True)]


def _told(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f} ms ({min(values):.0f}-{max(values):.0f})"

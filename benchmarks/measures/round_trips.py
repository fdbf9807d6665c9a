"""Round trips a migration, counted at the wire: a run of many less a run of few, by the difference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks import sides
from benchmarks.files import write_migrations, write_psql_script
from benchmarks.harness import Bench, Side, run_child
from benchmarks.relay import Relay

FEW, MANY = 10, 110
GOALS = ("3", "", "")


def measure(bench: Bench) -> str:
    few, many = (write_migrations(bench.folder / f"round-trips-{number}", number) for number in (FEW, MANY))
    makers: list[Callable[[Path], Side]] = [
        sides.ours,
        lambda folder: sides.psql(bench, write_psql_script(folder, folder.with_suffix(".psql"))),
        sides.psycopg_loop,
    ]
    lines = [
        f"| | a run of {FEW} | a run of {MANY} | round trips a migration | goal |",
        "| --- | --- | --- | --- | --- |",
    ]
    for make, goal in zip(makers, GOALS, strict=True):
        low, high = (_count(bench, make(folder)) for folder in (few, many))
        number, name = (high - low) / (MANY - FEW), make(few).name
        bench.found.setdefault("round-trips", {})[name] = {"number": [number]}
        lines.append(f"| {name} | {low} | {high} | {number:g} | {goal} |")
    return "\n".join(lines)


def _count(bench: Bench, side: Side) -> int:
    with bench.database() as database, Relay(bench.server.port) as relay:
        run_child(side.command(relay.url(bench.server.url(database))), bench.folder)
        return relay.answers

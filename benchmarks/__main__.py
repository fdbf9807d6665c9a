"""`python -m benchmarks [NAME ...] [--rounds N] [--charts FOLDER]`: measures, and prints Markdown tables."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import charts
from benchmarks.harness import Bench, Failed, circumstances, machine, prepared
from benchmarks.measures import (
    applying,
    building,
    compiling,
    executing,
    growing,
    importing,
    many,
    memory,
    nothing,
    round_trips,
)

MEASUREMENTS: dict[str, Callable[[Bench], str]] = {
    "applying": applying.measure,
    "link": applying.measure_link,
    "nothing": nothing.measure,
    "many": many.measure,
    "compiling": compiling.measure,
    "memory": memory.measure,
    "statements": memory.measure_statements,
    "growing": growing.measure,
    "round-trips": round_trips.measure,
    "importing": importing.measure,
    "executing": executing.measure,
    "building": building.measure,
}


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped then, too
    arguments = _parse()
    chosen = arguments.names or list(MEASUREMENTS)
    with prepared(arguments.rounds) as bench:
        print(f"{circumstances(bench)}; {bench.rounds} rounds\n", flush=True)
        note = f"{machine(bench)}; medians (--rounds {bench.rounds}), lines from lowest to highest; ours in blue"
        for name in chosen:
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                print(f"### {name}\n\n{MEASUREMENTS[name](bench)}\n", flush=True)
            except Failed as failed:
                print(failed, file=sys.stderr)
                return 1
        if arguments.charts:
            charts.draw(bench.found, arguments.charts, note)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ours beside peers, as ratios.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(MEASUREMENTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each side after one to warm up (default: 5)")
    drawn = "draw the figures as charts (SVG) into this folder"
    parser.add_argument("--charts", type=Path, metavar="FOLDER", help=drawn)
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in MEASUREMENTS:
            parser.error(f"there is no measurement {name!r}; there are: {', '.join(MEASUREMENTS)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())

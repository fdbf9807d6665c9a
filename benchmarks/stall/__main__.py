"""`python -m benchmarks.stall`: the longest stall that a migration causes to an application, by tool."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import charts
from benchmarks.harness import Bench, Failed, circumstances, machine, prepared
from benchmarks.stall import table
from benchmarks.stall.operations import OPERATIONS, Operation
from benchmarks.stall.prefixes import Unavailable
from benchmarks.stall.running import fill, migrate_quietly
from benchmarks.stall.scenarios import SCENARIOS, Scenario, Seen, of_operation
from benchmarks.stall.tools import TOOLS, Tool, tools_of
from benchmarks.stall.trial import Settings, Trials

NOT_MEASURED = "couldn't be measured"
Ready = dict[str, Path | str]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what is asked for; returns the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped then, too
    arguments = _parse(argv)
    settings = Settings(arguments.rows, arguments.seconds, arguments.turn, arguments.bound)
    with prepared(1, autovacuum=True) as bench:
        print(f"    {_command(argv)}\n\n{_circumstances(bench, settings)}\n", flush=True)
        tools = [tool for tool in tools_of(bench) if tool.name in arguments.tool]
        ready = _make_ready(bench, tools)
        if arguments.operation:
            operations = [operation for operation in OPERATIONS if operation.name in arguments.operation]
            return _measure_operations(bench, operations, settings, tools, ready, arguments.charts)
        scenarios = [scenario for scenario in SCENARIOS if scenario.letter in arguments.scenario]
        return max([_measure(bench, scenario, settings, tools, ready) for scenario in scenarios])


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stall",
        description="The longest stall that a migration causes to an application that sends 200 queries a second.",
        epilog="; ".join(f"{scenario.letter}: {scenario.title}" for scenario in SCENARIOS),
    )
    letters = [scenario.letter for scenario in SCENARIOS]
    parser.add_argument("--scenario", action="append", choices=letters, help="one of them, repeatable (default: all)")
    parser.add_argument(
        "--tool", action="append", choices=TOOLS, metavar="NAME", help=f"repeatable: {', '.join(TOOLS)} (default: all)"
    )
    names = [operation.name for operation in OPERATIONS]
    parser.add_argument(
        "--operations", action="store_const", const=names, dest="operation", help="ten operations instead of scenarios"
    )
    parser.add_argument(
        "--operation", action="append", choices=names, metavar="NAME", help=f"repeatable: {', '.join(names)}"
    )
    parser.add_argument("--rows", type=int, help="of each table (default: 1000000; of operations: 300000)")
    parser.add_argument(
        "--seconds", type=float, help="for which the session of (a), or of operations, sits idle (default: 20; 5)"
    )
    parser.add_argument(
        "--turn", type=float, default=0.5, help="seconds of the longest turn in (b) and (d) (default: 0.5)"
    )
    parser.add_argument("--bound", type=float, default=120, help="seconds after which a run is killed (default: 120)")
    drawn = "draw the longest queries by operation and tool as a chart (SVG) into this folder"
    parser.add_argument("--charts", type=Path, metavar="FOLDER", help=drawn)
    arguments = parser.parse_args(argv)
    if arguments.operation and arguments.scenario:
        parser.error("operations and scenarios are measured one after the other: leave out one of them")
    if arguments.charts and not arguments.operation:
        parser.error("only operations are drawn: add --operations")
    rows, seconds = (300_000, 5.0) if arguments.operation else (1_000_000, 20.0)
    arguments.rows, arguments.seconds = arguments.rows or rows, arguments.seconds or seconds
    arguments.scenario = arguments.scenario or letters
    arguments.tool = arguments.tool or list(TOOLS)
    return arguments


def _circumstances(bench: Bench, settings: Settings) -> str:
    sizes = f"{settings.rows:,} rows a table, idle for {settings.seconds:g} s, turns of 0.05-{settings.turn:g} s"
    return f"{circumstances(bench)}; load average {os.getloadavg()[0]:.1f}; {sizes}"


def _command(argv: Sequence[str] | None) -> str:
    return shlex.join(["python", "-m", "benchmarks.stall", *(sys.argv[1:] if argv is None else argv)])


def _make_ready(bench: Bench, tools: Sequence[Tool]) -> Ready:
    """The folder of each tool's programs, or why it can't be measured; tells it as a table, too."""
    ready: Ready = {}
    rows = []
    for tool in tools:
        print(f"{tool.name}: making it ready", file=sys.stderr, flush=True)
        told, ready[tool.name] = _try(bench, tool)
        rows.append((tool.name, tool.version, told))
    print(f"{table.of_tools(rows)}\n", flush=True)
    return ready


def _try(bench: Bench, tool: Tool) -> tuple[str, Path | str]:
    """What to tell of a tool, and its programs or why there are none. The second run has its modules compiled."""
    try:
        programs = tool.ready()
        first, second = (migrate_quietly(bench, tool, programs) for _ in range(2))
    except (Unavailable, OSError) as error:
        return (why := f"can't be had: {error}"), why
    if first.exit != 0:
        print(first.said, file=sys.stderr, flush=True)
        return (why := "can't be had: it fails on a table that nobody uses"), why
    return f"{second.took:.2f} s", programs


def _measure(bench: Bench, scenario: Scenario, settings: Settings, tools: Sequence[Tool], ready: Ready) -> int:
    """Prints a table; returns 1 if something around a tool failed."""
    with bench.database() as template:
        fill(bench, template, scenario.tables, settings.rows)
        trials = Trials(bench, scenario, settings, template)
        rows = [(table.NO_MIGRATION, _row(trials, None, Path()))]
        rows += [(tool.name, _row(trials, tool, ready[tool.name])) for tool in tools]
    print(f"### ({scenario.letter}) {scenario.title}\n", flush=True)
    print(f"{table.of_scenario(scenario, rows, settings.bound)}\n", flush=True)
    return int(any(seen == NOT_MEASURED for _, seen in rows))


def _measure_operations(
    bench: Bench,
    operations: Sequence[Operation],
    settings: Settings,
    tools: Sequence[Tool],
    ready: Ready,
    folder: Path | None,
) -> int:
    """Prints a table, row by row, and draws it; returns 1 if something around a tool failed."""
    found: dict[str, dict[str, Seen | str]] = {}
    for operation in operations:
        scenario = of_operation(operation)
        with bench.database() as template:
            fill(bench, template, scenario.tables, settings.rows)
            bench.sql(operation.prepare or "SELECT", database=template)
            trials = Trials(bench, scenario, settings, template)
            if not found:
                baseline = _row(trials, None, Path())
                longest = baseline if isinstance(baseline, str) else f"longest query {baseline.latency.longest:.3f} s"
                print(f"### Operations, {scenario.title}\n\nNo migration: {longest}.\n")
                print(table.head_of_operations([tool.name for tool in tools]), flush=True)
            found[operation.name] = {tool.name: _row(trials, tool, ready[tool.name]) for tool in tools}
        print(table.of_operation(operation, found[operation.name], settings.bound), flush=True)
    if folder:
        note = f"{machine(bench)}; {settings.rows:,} rows, behind a session that sits idle for {settings.seconds:g} s"
        charts.draw_operations(found, folder, note)
    return int(any(seen == NOT_MEASURED for row in found.values() for seen in row.values()))


def _row(trials: Trials, tool: Tool | None, programs: Path | str) -> Seen | str:
    """What a run did, or why there was none."""
    print(f"({trials.scenario.letter}) {tool.name if tool else table.NO_MIGRATION} ...", file=sys.stderr, flush=True)
    if isinstance(programs, str):
        return programs
    try:
        return trials.measure(tool, programs)
    except Failed as failed:
        print(failed, file=sys.stderr, flush=True)
        return NOT_MEASURED


if __name__ == "__main__":
    sys.exit(main())

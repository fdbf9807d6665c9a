"""1,000 migrations of three statements: ours by the files and by their manifest, one psql, a plain psycopg loop, other
tools; at hand, and over a link on which an answer takes 1 ms."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks import sides
from benchmarks.files import write_migrations, write_psql_script
from benchmarks.harness import Bench, Cost, Side, compare, compare_fresh, run_child, take_turns
from benchmarks.relay import Relay
from benchmarks.stall import tools
from benchmarks.stall.prefixes import Unavailable

NUMBER = 1_000
ROUND_TRIP = 0.001  # seconds
GOALS = ("peak 45 MB", "wall 1.03 x psql", "", "wall 1.10, server CPU 1.10", "client CPU 1.3")
LINK_GOALS = ("", "", "", "wall 0.65", "", "ahead of all; dbmate 0.5")


def measure(bench: Bench) -> str:
    compared = _sides(bench)
    costs = take_turns(bench.rounds, [partial(bench.run_fresh, side) for side in compared])
    return f"{compare(bench, 'applying', compared, costs, GOALS)}\n\n{_of_comparison(costs[1], costs[2])}"


def _of_comparison(replayed: Sequence[Cost], not_replayed: Sequence[Cost]) -> str:
    """What comparing each migration with its replay adds, before its COMMIT."""
    pairs = list(zip(replayed, not_replayed, strict=True))
    wall = statistics.median(one.wall / other.wall for one, other in pairs)
    cpu = statistics.median(
        (one.client + (one.server or 0)) / (other.client + (other.server or 0)) for one, other in pairs
    )
    return f"The comparison with the replay adds {wall - 1:.1%} wall, {cpu - 1:.1%} CPU (goal: 15 %)."


def measure_link(bench: Bench) -> str:
    """The relay delays each way by half the time."""
    with Relay(bench.server.port, ROUND_TRIP / 2) as relay:
        return compare_fresh(bench, "link", _sides(bench), LINK_GOALS, relay.url)


def _sides(bench: Bench) -> Sequence[Side]:
    folder, replayed = bench.folder / "applying", bench.folder / "applying-with-manifest"
    not_replayed = bench.folder / "applying-not-replayed"
    if not folder.exists():
        write_migrations(folder, NUMBER)
        run_child(sides.write_manifest(write_migrations(replayed, NUMBER)), bench.folder)
        run_child(sides.write_manifest(write_migrations(not_replayed, NUMBER), "--no-replay"), bench.folder)
    script = write_psql_script(folder, bench.folder / "applying.psql")
    return [
        sides.ours(folder),
        sides.ours(replayed, "run, by its manifest"),
        sides.ours(not_replayed, "run, by its manifest, not replayed"),
        sides.psql(bench, script),
        sides.psycopg_loop(folder),
        *_peers(folder, bench.folder / "peers"),
    ]


def _peers(folder: Path, into: Path) -> Iterator[Side]:
    """Other tools, installed as for the stall, each with a folder of its own for the same migrations; one that can't be
    had is named on stderr."""
    migrations = [tools.Migration(path.stem, path.read_text()) for path in sorted(folder.glob("*.sql"))]
    for tool in tools.peers():
        try:
            programs = tool.ready()
        except Unavailable as reason:
            print(f"{tool.name} can't be had here: {reason}", file=sys.stderr)
            continue
        own = into / tool.name
        if not own.exists():
            own.mkdir(parents=True)
            tool.write(own, migrations)
        yield Side(f"{tool.name} {tool.version}", partial(tool.command, programs, own), tools.environment_of_peer)

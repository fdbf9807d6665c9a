"""1,000 migrations of three statements: ours by the files and by their manifest, one psql, a plain psycopg loop, other
tools; at hand, and over a link on which an answer takes 1 ms."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks import sides
from benchmarks.files import write_migrations, write_psql_script
from benchmarks.harness import Bench, Cost, Side, compare, run_child, take_turns
from benchmarks.relay import Relay
from benchmarks.rivals import rivals

NUMBER = 1_000
ROUND_TRIP = 0.001  # seconds
GOALS = ("peak 45 MB", "wall 1.03 x psql", "wall 1.10, server CPU 1.10", "client CPU 1.3")
LINK_GOALS = ("", "", "wall 0.65", "", "ahead of all; dbmate 0.5")


def measure(bench: Bench) -> str:
    compared = _sides(bench)
    runs = [partial(_run, bench, side) for side in compared]
    return compare(bench, "applying", compared, take_turns(bench.rounds, runs), GOALS)


def measure_link(bench: Bench) -> str:
    """The relay delays each way by half the time."""
    compared = _sides(bench)
    with Relay(bench.server.port, ROUND_TRIP / 2) as relay:
        runs = [partial(_run, bench, side, relay) for side in compared]
        return compare(bench, "link", compared, take_turns(bench.rounds, runs), LINK_GOALS)


def _sides(bench: Bench) -> Sequence[Side]:
    folder, with_manifest = bench.folder / "applying", bench.folder / "applying-with-manifest"
    if not folder.exists():
        write_migrations(folder, NUMBER)
        run_child(sides.write_manifest(write_migrations(with_manifest, NUMBER)), bench.folder)
    script = write_psql_script(folder, bench.folder / "applying.psql")
    return [
        sides.ours(folder),
        sides.ours(with_manifest, "run, by its manifest"),
        sides.psql(bench, script),
        sides.psycopg_loop(folder),
        *rivals(folder, bench.folder / "rivals"),
    ]


def _run(bench: Bench, side: Side, relay: Relay | None = None) -> Cost:
    with bench.database() as database:
        return bench.run(side, database, relay.url if relay else str)

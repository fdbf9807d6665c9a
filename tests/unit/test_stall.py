"""What could go wrong silently in the measurement of stalls."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from benchmarks.stall import table
from benchmarks.stall.latency import Query, since, summarise
from benchmarks.stall.load import work
from benchmarks.stall.operations import OPERATIONS
from benchmarks.stall.running import run_bounded
from benchmarks.stall.scenarios import SCENARIOS, Seen

RATE = 200
LAST = 20


async def _stalled(awaited: bool) -> tuple[list[Query], float]:
    """One connection, stalled by its first query; the whole process is, unless that query is awaited."""
    stop = asyncio.Event()
    released = 0.0

    async def ask(number: int) -> None:
        nonlocal released
        if number == 0:
            await asyncio.sleep(0.05) if awaited else time.sleep(0.05)
            released = time.monotonic()
        if number == LAST:
            stop.set()

    return await work([ask], RATE, stop), released


@pytest.mark.parametrize("awaited", [True, False])
def test_a_query_counts_from_the_moment_it_was_due_even_when_nothing_could_send_it(awaited: bool) -> None:
    queries, released = asyncio.run(_stalled(awaited))

    assert len(queries) > LAST
    assert [query.due - queries[0].due for query in queries] == pytest.approx([n / RATE for n in range(len(queries))])
    fell_in = [query for query in queries if query.due < released]
    assert len(fell_in) > 5
    assert all(query.waited >= released - query.due for query in fell_in)


def test_a_query_under_way_when_the_migration_begins_counts() -> None:
    before, under_way, after = Query(1.0, 1.1), Query(1.9, 4.0), Query(3.0, 3.1)

    assert since([before, under_way, after], 2.0) == [under_way, after]


def test_queries_are_summed_up() -> None:
    queries = [Query(10.0, 10.0 + waited) for waited in [0.001] * 197 + [0.2, 1.5, 3.0]] + [Query(10.0, 10.1, True)]

    found = summarise(queries)

    assert (found.count, found.failed, found.over_tenth, found.over_second) == (201, 1, 3, 2)
    assert found.longest == pytest.approx(3.0)
    assert found.p99 == pytest.approx(0.2)


def test_no_query_at_all_is_no_good_result() -> None:
    with pytest.raises(ValueError, match="no query"):
        summarise([])


def test_what_did_not_happen_stalls_nobody_and_misses_every_goal() -> None:
    swift = summarise([Query(1.0, 1.001)])

    assert not [scenario.letter for scenario in SCENARIOS if scenario.met(Seen(swift, 1.0, 1.0, 1, done=False))]
    assert all(scenario.met(Seen(swift, 1.0, 1.0, 0, done=True)) for scenario in SCENARIOS)


@pytest.mark.skipif(sys.platform == "win32", reason="the benchmarks need POSIX")
def test_a_tool_that_does_not_end_is_killed_and_has_no_exit_code(tmp_path: Path) -> None:
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]

    assert run_bounded(sleeping, tmp_path, {}, bound=0).exit is None
    assert run_bounded([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, {}, bound=60).exit == 3


@pytest.mark.parametrize(
    ("ours", "peer", "rank"),
    [
        ((0.1, True), (4.0, True), "first"),
        ((0.1, True), (0.05, True), "level with psql"),
        ((4.0, True), (0.1, True), "behind psql by 3.90 s"),
        ((0.1, True), (0.01, False), "the only one"),  # who doesn't do the work is no rival
        ((0.1, False), (4.0, True), "not done"),
    ],
)
def test_a_row_of_operations_shows_where_ours_is(ours: tuple[float, bool], peer: tuple[float, bool], rank: str) -> None:
    seen = {
        name: Seen(summarise([Query(1.0, 1.0 + longest)]), 5.0, exit=0 if done else 1, done=done)
        for name, (longest, done) in (("ours", ours), ("psql", peer))
    }

    row = table.of_operation(OPERATIONS[0], seen, bound=60)

    assert row.endswith(f" | {rank} |")
    assert ("exit 1 after 5.0, not done" in row) is not (ours[1] and peer[1])

"""Whether time grows with the work and not faster: 5,000 pending beside 1,000; 3,200 units in a file beside psql."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks import sides
from benchmarks.files import write_migrations, write_psql_script, write_units
from benchmarks.harness import Bench, Cost, Side, compare, take_turns

FEW, MANY = 1_000, 5_000
UNITS = 3_200


def measure(bench: Bench) -> str:
    many, few = (write_migrations(bench.folder / f"growing-{number}", number) for number in (MANY, FEW))
    pending = [sides.ours(many, f"run, {MANY:,} pending"), sides.ours(few, f"run, {FEW:,} pending")]
    halves = write_units(bench.folder / "units-half", UNITS // 2)
    units = write_units(bench.folder / "units", UNITS)
    script = write_psql_script(units, bench.folder / "units.psql", in_transaction=False)
    of_units = [
        sides.ours(units, f"run, {UNITS:,} units"),
        sides.ours(halves, f"run, {UNITS // 2:,} units"),
        sides.psql(bench, script),
    ]
    first = _compare(bench, "pending", pending, ("", "wall 5, within 10 %"))
    return f"{first}\n\n{_compare(bench, 'units', of_units, ('5 ms a unit', 'wall 2', ''))}"


def _compare(bench: Bench, name: str, compared: Sequence[Side], goals: Sequence[str]) -> str:
    return compare(
        bench, name, compared, take_turns(bench.rounds, [partial(_run, bench, side) for side in compared]), goals
    )


def _run(bench: Bench, side: Side) -> Cost:
    with bench.database() as database:
        return bench.run(side, database)

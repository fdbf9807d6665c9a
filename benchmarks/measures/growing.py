"""Whether time grows with the work and not faster: 5,000 pending beside 1,000; 3,200 units in a file beside psql."""

from __future__ import annotations

from benchmarks import sides
from benchmarks.files import write_migrations, write_psql_script, write_units
from benchmarks.harness import Bench, compare_fresh

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
    first = compare_fresh(bench, "pending", pending, ("", "wall 5, within 10 %"))
    return f"{first}\n\n{compare_fresh(bench, 'units', of_units, ('5 ms a unit', 'wall 2', ''))}"

"""Nothing to do at 10,000 applied: ours by the files, ours by their manifest, and a program that only connects."""

from __future__ import annotations

from functools import partial

from benchmarks import sides
from benchmarks.files import write_alike
from benchmarks.harness import Bench, compare, run_child, take_turns

NUMBER = 10_000
GOALS = ("", "", "")
# The history of as many runs of one migration, as its own row tells it: all files have the same text.
_HISTORY = f"""
    INSERT INTO aurora_migrations.applied (version, name, sha256, tokens, sql, attempt, execution, requested_by)
    SELECT n, lpad(n::text, 5, '0') || '_thing.sql', sha256, tokens, sql, attempt, execution, requested_by
      FROM aurora_migrations.applied, generate_series(2, {NUMBER}) AS n
"""


def measure(bench: Bench) -> str:
    """All rounds share a database: no side changes it."""
    by_files = write_alike(bench.folder / "many", NUMBER)
    by_manifest = write_alike(bench.folder / "many-with-manifest", NUMBER)
    run_child(sides.write_manifest(by_manifest), bench.folder)
    compared = [sides.ours(by_files), sides.ours(by_manifest, "run, by its manifest"), sides.select_one()]
    with bench.database() as database:
        bench.run(sides.ours(write_alike(bench.folder / "first", 1)), database)
        bench.sql(_HISTORY, database=database)
        runs = [partial(bench.run, side, database) for side in compared]
        return compare(compared, take_turns(bench.rounds, runs), GOALS)

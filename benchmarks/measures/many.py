"""At 10,000 applied: `run` with nothing to do, by the files and by their manifest, `status`, `list` and `verify`,
beside the same at 10, and beside a program that only connects."""

from __future__ import annotations

from functools import partial

from benchmarks import sides
from benchmarks.files import write_alike
from benchmarks.harness import Bench, compare, run_child, take_turns

NUMBER, FEW = 10_000, 10
GOALS = ("1.3 x that at 10",) * 4 + ("verify 5 s, list 1 s",)
# The history of as many runs of one migration, as its own row tells it: all files have the same text.
_HISTORY = """
    INSERT INTO aurora_migrations.applied (version, name, sha256, tokens, sql, attempt, execution, requested_by)
    SELECT n, lpad(n::text, 5, '0') || '_thing.sql', sha256, tokens, sql, attempt, execution, requested_by
      FROM aurora_migrations.applied, generate_series(2, {number}) AS n
"""


def measure(bench: Bench) -> str:
    """All rounds share two databases: no side changes one."""
    few, many = (write_alike(bench.folder / f"many-{number}", number) for number in (FEW, NUMBER))
    by_manifest = write_alike(bench.folder / "many-with-manifest", NUMBER)
    run_child(sides.write_manifest(by_manifest, "--no-replay"), bench.folder)  # no text runs twice
    with bench.database() as small, bench.database() as large:
        for database, number in ((small, FEW), (large, NUMBER)):
            bench.run(sides.ours(write_alike(bench.folder / f"first-{number}", 1)), database)
            bench.sql(_HISTORY.format(number=number), database=database)
        verbs = ("run", "status", "list", "verify")
        compared = [(sides.verb(verb, many, f"{verb}, {NUMBER:,} applied"), large) for verb in verbs]
        compared.insert(1, (sides.ours(by_manifest, f"run, {NUMBER:,} applied, by its manifest"), large))
        compared += [(sides.verb(verb, few, f"{verb}, {FEW} applied"), small) for verb in verbs]
        compared.append((sides.select_one(), large))
        costs = take_turns(bench.rounds, [partial(bench.run, side, database) for side, database in compared])
        return compare(bench, "many", [side for side, _ in compared], costs, GOALS)

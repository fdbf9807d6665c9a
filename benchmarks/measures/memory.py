"""One large file: 20 MB with an INSERT a row, and 100,000 short statements. Ours, one psql, a plain psycopg loop. With
1,000 files: see `applying`."""

from __future__ import annotations

from pathlib import Path

from benchmarks import sides
from benchmarks.files import write_large_migration, write_psql_script, write_statements
from benchmarks.harness import Bench, compare_fresh

SIZE = 20_000_000  # bytes
NUMBER = 100_000
GOALS = ("peak 98 MB", "", "wall 1.5")
STATEMENTS_GOALS = ("peak 80 MB", "wall 1.3", "")


def measure(bench: Bench) -> str:
    return _measure(bench, "memory", write_large_migration(bench.folder / "memory", SIZE), GOALS)


def measure_statements(bench: Bench) -> str:
    return _measure(bench, "statements", write_statements(bench.folder / "statements", NUMBER), STATEMENTS_GOALS)


def _measure(bench: Bench, name: str, folder: Path, goals: tuple[str, ...]) -> str:
    script = write_psql_script(folder, bench.folder / f"{name}.psql")
    compared = [sides.ours(folder), sides.psql(bench, script), sides.psycopg_loop(folder)]
    return compare_fresh(bench, name, compared, goals)

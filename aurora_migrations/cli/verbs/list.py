"""`aurora-migrations list`: every migration and its state."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from aurora_migrations.cli import options, where
from aurora_migrations.cli.output import print_table
from aurora_migrations.cli.queries import Data, answer, session
from aurora_migrations.compiler.folder_source import source_of
from aurora_migrations.engine import read_entries


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    made = options.parser(
        "list",
        "Every migration of the folder and of the database's history, with its state: applied, pending, ahead "
        "(applied, newer than this folder), out of order, changed (edited since it was applied) or missing.",
        "list --env dev",
        "list --database-url postgresql://app:secret@localhost/shop",
    )
    where.add_where(made)
    arguments = where.parse(made, argv)
    return answer(arguments, {"action": "list-migrations"}, _here, _show, "list")


def _here(arguments: argparse.Namespace, execution: str) -> Data:
    from aurora_migrations.engine.status import complete_answer, list_answer

    source = source_of(arguments.migrations)
    with session(arguments, execution) as opened:
        entries = read_entries(opened, source)
        return complete_answer("list-migrations", execution, opened.server, list_answer(entries))


def _show(data: Data, arguments: argparse.Namespace) -> None:
    entries = data["migrations"]
    rows = [(entry["state"], entry["applied_at"] or "", entry["name"]) for entry in entries]
    print_table(("State", "Applied at", "Migration"), rows, long=("Migration",))
    if data["omitted"]:
        print(f"The oldest {data['omitted']} are left out: an execution's answer is limited in size.", file=sys.stderr)

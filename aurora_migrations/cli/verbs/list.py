"""`aurora-migrations list`: every migration and its state."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from aurora_migrations.cli import options
from aurora_migrations.cli.output import print_table
from aurora_migrations.cli.queries import Data, answer, read_directly
from aurora_migrations.compiler.folder_source import source_of
from aurora_migrations.engine import read_entries
from aurora_migrations.engine.status import list_answer


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "list",
        "Every migration of the folder and of the database's history, with its state: applied, pending, ahead "
        "(applied, newer than this folder), out of order, changed (edited since it was applied) or missing.",
        "list --env dev",
        "list --database-url postgresql://app:secret@localhost/shop",
    )
    options.add_where(parser)
    return answer(options.parse(parser, argv), "list-migrations", _read, _show)


def _read(arguments: argparse.Namespace, execution: str) -> Data:
    source = source_of(arguments.migrations)
    return read_directly(
        arguments,
        execution,
        "list-migrations",
        lambda session: list_answer(read_entries(session, source)),
    )


def _show(data: Data, arguments: argparse.Namespace) -> None:
    entries = data["migrations"]
    rows = [(entry["state"], entry["applied_at"] or "", entry["name"]) for entry in entries]
    print_table(("State", "Applied at", "Migration"), rows, long=("Migration",))
    if data["omitted"]:
        print(f"The oldest {data['omitted']} are left out: an execution's answer is limited in size.", file=sys.stderr)

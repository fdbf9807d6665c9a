"""`aurora-migrations history`: every attempt, newest first."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from cli import common
from cli.tables import print_table
from functions.migrator import MigratorError, Session, failure
from functions.migrator.history import Attempt, read_attempts


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    made = common.parser(
        "history",
        "Every attempt to apply or to roll back a file, newest first: when, how it ended, who asked for it.",
        "history --last 5 --database-url postgresql://app:secret@localhost/shop",
    )
    common.add_database(made)
    made.add_argument("--last", metavar="N", type=_positive, default=20, help="how many attempts (default: 20)")
    arguments = made.parse_args(argv)
    execution = common.execution_name()
    try:
        with Session(common.database_url(arguments), execution) as session:
            attempts = read_attempts(session, arguments.last)
    except MigratorError as error:
        common.go_on_with(error, "history", arguments)
        return common.tell_error(error, arguments, failure(error, None, execution))
    if arguments.output == "json":
        common.print_json({"attempts": [asdict(attempt) for attempt in attempts]})
    elif attempts:
        print_table(("Started", "Result", "File", "Requested by"), [_row(attempt) for attempt in attempts])
    else:
        print("No attempt yet: nothing has been applied to this database.")
    return 0


def _row(attempt: Attempt) -> tuple[str, str, str, str]:
    result = attempt.result or "under way, or interrupted"
    if attempt.error:
        result = f"{result}: {attempt.error.get('error')}"
    action = "" if attempt.action == "apply" else f" ({attempt.action})"
    return attempt.started_at, result, f"{attempt.name}{action}", attempt.requested_by


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 7 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number from 1 on")
    return int(text)

"""`aurora-migrations history`: every attempt, newest first."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from aurora_migrations.cli import options, where
from aurora_migrations.cli.output import print_table
from aurora_migrations.cli.queries import Data, answer, asker, session
from aurora_migrations.engine.history import read_attempts


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    made = options.parser(
        "history",
        "Every attempt to apply or to roll back a file, newest first: when, how it ended, who asked for it. Of an "
        "environment at most the newest 200.",
        "history --env dev",
        "history --last 5 --database-url postgresql://app:secret@localhost/shop",
    )
    where.add_where(made)
    made.add_argument("--last", metavar="N", type=_positive, default=20, help="how many attempts (default: 20)")
    arguments = where.parse(made, argv)
    return answer(arguments, {"action": "history"}, _here, _show, "history")


def _here(arguments: argparse.Namespace, execution: str) -> Data:
    from aurora_migrations.engine.status import complete_answer, history_answer

    with session(arguments, execution) as opened:
        attempts = read_attempts(opened, arguments.last + 1)
        return complete_answer("history", execution, opened.server, history_answer(attempts, arguments.last))


def _show(data: Data, arguments: argparse.Namespace) -> None:
    attempts = data["attempts"][: arguments.last]
    if not attempts:
        print("No attempt yet: nothing has been applied to this database.")
        return
    headers = ("Started", "Result", "File", "Requested by")
    print_table(headers, [_row(attempt) for attempt in attempts], long=headers[2:])
    if len(attempts) < arguments.last and data["older"]:
        print("Older ones stand in the database, in aurora_migrations.attempts.", file=sys.stderr)


def _row(attempt: Data) -> tuple[str, str, str, str]:
    result = attempt["result"] or "under way, or interrupted"
    if attempt["error"]:
        result = f"{result}: {attempt['error'].get('error')}"
    action = "" if attempt["action"] == "apply" else f" ({attempt['action']})"
    return attempt["started_at"], result, f"{attempt['name']}{action}", asker(attempt["requested_by"])


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 7 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number from 1 on")
    return int(text)

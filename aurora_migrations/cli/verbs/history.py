"""`aurora-migrations history`: every attempt, newest first."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from aurora_migrations.cli import options
from aurora_migrations.cli.output import print_table
from aurora_migrations.cli.queries import Data, answer, read_directly
from aurora_migrations.engine.history import read_attempts
from aurora_migrations.engine.status import history_answer


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "history",
        "Every attempt to apply or to roll back a file, newest first: when, how it ended, who asked for it. Of an "
        "environment at most the newest 200.",
        "history --env dev",
        "history --last 5 --database-url postgresql://app:secret@localhost/shop",
    )
    options.add_where(parser)
    parser.add_argument("--last", metavar="N", type=_positive, default=20, help="how many attempts (default: 20)")
    return answer(options.parse(parser, argv), "history", _read, _show)


def _read(arguments: argparse.Namespace, execution: str) -> Data:
    last = arguments.last
    return read_directly(
        arguments,
        execution,
        "history",
        lambda session: history_answer(read_attempts(session, last + 1), last),
    )


def _show(data: Data, arguments: argparse.Namespace) -> None:
    attempts = data["attempts"][: arguments.last]
    if not attempts:
        print("No attempt yet: nothing has been applied to this database.")
        return
    headers = ("Started", "Result", "File", "Requested by")
    print_table(headers, map(_row, attempts), long=headers[2:])
    if len(attempts) < arguments.last and data["older"]:
        print("Older ones stand in the database, in aurora_migrations.attempts.", file=sys.stderr)


def _row(attempt: Data) -> tuple[str, str, str, str]:
    result = attempt["result"] or "under way, or interrupted"
    if attempt["error"]:
        result = f"{result}: {attempt['error'].get('error')}"
    action = "" if attempt["action"] == "apply" else f" ({attempt['action']})"
    return attempt["started_at"], result, f"{attempt['name']}{action}", options.initiator(attempt["requested_by"])


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 7 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number from 1 on")
    return int(text)

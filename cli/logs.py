"""`aurora-migrations logs [EXECUTION]`: what an execution did, as one story, oldest first."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli import common, where
from cli.answering import described
from functions.migrator import MigratorError, failure

if TYPE_CHECKING:
    from cli.remote.execution import Execution


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    made = common.parser(
        "logs",
        "What an execution did, as one story, oldest first: the states of the state machine, and what the three "
        "functions logged of it. Without EXECUTION, the last run or rollback. With --output json, the functions' "
        "log lines as they are, one a line.",
        "logs --follow --env dev",
        "logs cli-20261123T040017Z-9f3a21 --env dev",
    )
    made.add_argument("execution", nargs="?", metavar="EXECUTION", help="its name (default: the last run or rollback)")
    made.add_argument("--follow", action="store_true", help="go on until it has ended")
    where.add_where(made, database=False)
    arguments = where.parse(made, argv)
    try:
        _tell(arguments)
    except MigratorError as error:
        common.go_on_with(error, "logs", arguments)
        return common.tell_error(error, arguments, failure(error, None, arguments.execution or ""))
    return 0


def _tell(arguments: argparse.Namespace) -> None:
    from cli.remote.execution import find, iso
    from cli.remote.follow import Follower
    from cli.remote.place import opened
    from cli.remote.screen import Printed, Raw

    raw = arguments.output == "json"
    with opened(arguments) as place:
        if not raw:
            print(place.introduction, file=sys.stderr, flush=True)
        execution = find(place, arguments.execution)
        if not raw:
            asked = described(execution.asked) or "{}"
            print(f"Execution {execution.name}, started {iso(execution.started_at)}, asked: {asked}", flush=True)
        follower = Follower(place, execution, Raw() if raw else Printed())
        ended = follower.to_the_end() if arguments.follow else follower.once()
        if not raw:
            _tell_end(arguments, ended)


def _tell_end(arguments: argparse.Namespace, ended: Execution) -> None:
    from cli.remote.execution import RUNNING
    from cli.remote.outcome import error_of

    if ended.status == RUNNING:
        print(f"It is under way. {where.as_asked(f'aurora-migrations logs {ended.name} --follow', arguments)}")
    elif ended.status == "SUCCEEDED":
        print((ended.answer or {}).get("message", "Succeeded"))
    else:
        error = error_of(ended)
        common.go_on_with(error, "run", arguments)
        print(common.describe(error, sys.stdout))

"""`aurora-migrations logs [EXECUTION]`: what an execution did, as one story, oldest first."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aurora_migrations.cli import options, where
from aurora_migrations.cli.queries import described
from aurora_migrations.engine import MigratorError, failure
from aurora_migrations.engine.errors import NextCommand

if TYPE_CHECKING:
    from aurora_migrations.cli.remote.executions import Execution


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    made = options.parser(
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
        options.go_on_with(error, "logs", arguments)
        return options.tell_error(error, arguments, failure(error, None, arguments.execution or ""))
    return 0


def _tell(arguments: argparse.Namespace) -> None:
    from aurora_migrations.cli.remote.display import Printed, Raw
    from aurora_migrations.cli.remote.environment import opened
    from aurora_migrations.cli.remote.executions import find, iso
    from aurora_migrations.cli.remote.progress import Follower

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
    from aurora_migrations.cli.remote.executions import RUNNING
    from aurora_migrations.cli.remote.outcome import error_of

    if ended.status == RUNNING:
        print(f"It is under way. {where.as_asked(NextCommand('logs', (ended.name, '--follow')), arguments)}")
    elif ended.status == "SUCCEEDED":
        print((ended.answer or {}).get("message", "Succeeded"))
    else:
        error = error_of(ended)
        options.go_on_with(error, "run", arguments)
        print(options.describe(error, sys.stdout))

"""`aurora-migrations logs [EXECUTION]`: an execution's log, oldest first."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from aurora_migrations.cli import options
from aurora_migrations.cli.output import describe
from aurora_migrations.cli.remote.display import LogLines, Plain
from aurora_migrations.cli.remote.environment import open_environment
from aurora_migrations.cli.remote.executions import RUNNING, Execution, describe_input, error_of, find, iso
from aurora_migrations.cli.remote.progress import Follower
from aurora_migrations.engine import MigratorError
from aurora_migrations.engine.errors import NextCommand


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "logs",
        "What an execution did, as one story, oldest first: the states of the state machine, and what the three "
        "functions logged of it. Without EXECUTION, the last run or rollback. With --output json, the functions' "
        "log lines as they are, one a line.",
        "logs --follow --env dev",
        "logs cli-20261123T040017Z-9f3a21 --env dev",
    )
    parser.add_argument(
        "execution", nargs="?", metavar="EXECUTION", help="its name (default: the last run or rollback)"
    )
    parser.add_argument("--follow", action="store_true", help="go on until it has ended")
    options.add_where(parser, database=False)
    arguments = options.parse(parser, argv)
    try:
        _show(arguments)
    except MigratorError as error:
        return options.fail(error, "logs", arguments, arguments.execution or "")
    return 0


def _show(arguments: argparse.Namespace) -> None:
    raw = arguments.output == "json"
    with open_environment(arguments) as environment:
        if not raw:
            print(environment.introduction, file=sys.stderr, flush=True)
        execution = find(environment, arguments.execution)
        if not raw:
            asked = describe_input(execution.input) or "{}"
            print(f"Execution {execution.name}, started {iso(execution.started_at)}, asked: {asked}", flush=True)
        follower = Follower(environment, execution, LogLines() if raw else Plain(sys.stdout))
        ended = follower.to_the_end() if arguments.follow else follower.once()
        if not raw:
            _show_end(arguments, ended)


def _show_end(arguments: argparse.Namespace, ended: Execution) -> None:
    if ended.status == RUNNING:
        more = options.with_current_flags(NextCommand("logs", (ended.name, "--follow")), arguments)
        print(f"It is under way. {more}")
    elif ended.status == "SUCCEEDED":
        print((ended.output or {}).get("message", "Succeeded"))
    else:
        print(describe(options.with_next_command(error_of(ended), "run", arguments), sys.stdout))

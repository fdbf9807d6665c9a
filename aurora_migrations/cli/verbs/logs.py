"""`aurora-migrations logs [EXECUTION]`: an execution's log, oldest first."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from aurora_migrations.cli import options
from aurora_migrations.cli.output import Line, Plain, describe, note, show
from aurora_migrations.cli.remote.aws_errors import error_of
from aurora_migrations.cli.remote.environment import RUNNING, iso, open_environment
from aurora_migrations.cli.remote.progress import Follower, describe_input
from aurora_migrations.engine import MigratorError
from aurora_migrations.engine.errors import NextCommand


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "logs",
        "Prints what an execution did: the states of the state machine, and the functions' log. With --output json, "
        "only the log's lines as they are.",
        "logs --follow --env dev",
        "logs cli-20261123T040017Z-9f3a21 --env dev",
    )
    its_name = "its name (default: the last run or rollback)"
    parser.add_argument("execution", nargs="?", metavar="EXECUTION", help=its_name)
    parser.add_argument("--follow", action="store_true", help="follow it to its end")
    options.add_where(parser, database=False)
    arguments = options.parse(parser, argv)
    raw = arguments.output == "json"
    try:
        with open_environment(arguments) as environment:
            if not raw:
                note(environment.introduction)
            execution = environment.find(arguments.execution)
            if not raw:
                given = describe_input(execution.input) or "{}"
                show(f"Execution {execution.name}, started {iso(execution.started_at)}, input: {given}")
            follower = Follower(environment, execution, Plain(_show_record if raw else show))
            ended = follower.to_the_end() if arguments.follow else follower.once()
            if raw:
                return 0
            if ended.status == RUNNING:
                more = options.with_current_flags(NextCommand("logs", (ended.name, "--follow")), arguments)
                show(f"It is under way. {more}")
            elif ended.status == "SUCCEEDED":
                show(ended.output.get("message", "Succeeded"))
            else:
                show(describe(options.with_next_command(error_of(ended), "run", arguments), sys.stdout))
    except MigratorError as error:
        return options.fail(error, "logs", arguments, arguments.execution or "")
    return 0


def _show_record(line: Line) -> None:
    if line.record is not None:
        show(json.dumps(line.record))

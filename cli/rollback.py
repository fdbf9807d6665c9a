"""`aurora-migrations rollback TARGET`: undoes migrations by their down files, newest first."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from cli import common
from cli.run import CONTRACT, Printer
from compiler.source import source_of
from functions.migrator import (
    Listener,
    MigratorError,
    Package,
    Request,
    RunResult,
    Session,
    failure,
    roll_back,
)
from functions.migrator.errors import Cancelled, InvalidInput
from functions.migrator.history import read_applied
from functions.migrator.plan import plan_rollback


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = _parse(argv)
    execution = common.execution_name()
    try:
        result = _roll_back(arguments, execution)
    except MigratorError as error:
        common.go_on_with(error, f"rollback {arguments.target}", arguments)
        return common.tell_error(error, arguments, failure(error, None, execution))
    data = result.to_dict()
    if arguments.output == "json":
        common.print_json(data)
    else:
        print(json.dumps({key: data[key] for key in CONTRACT}, indent=2))
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    made = common.parser(
        "rollback",
        "Undoes every applied migration from the newest down to and including TARGET, by their down files, each in a "
        "transaction of its own. Asks first; --confirm answers, by the number of the newest applied migration.",
        "rollback 017 --confirm 018 --database-url postgresql://app:secret@localhost/shop",
    )
    made.add_argument("target", metavar="TARGET", help="the lowest migration to undo, such as 017")
    made.add_argument("--confirm", metavar="NEWEST", help="the number of the newest applied migration")
    common.add_database(made)
    common.add_wait(made)
    return made.parse_args(argv)


def _roll_back(arguments: argparse.Namespace, execution: str) -> RunResult:
    url, source = common.database_url(arguments), source_of(arguments.migrations)
    request = Request(
        url=url,
        source=source,
        execution=execution,
        requested_by=common.requester(),
        wait=arguments.wait,
        listener=Printer() if arguments.output == "text" else Listener(),
    )
    return roll_back(
        request, arguments.target, arguments.confirm or _ask(url, source.package, arguments.target, execution)
    )


def _ask(url: str, package: Package, target: str, execution: str) -> str:
    """Shows what would be undone, and has the person type the newest number."""
    with Session(url, execution) as session:
        chosen = plan_rollback(package, read_applied(session), target)
    names = [migration.down.name for migration in chosen if migration.down]
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"Rolling back needs a confirmation; it would run: {', '.join(names)}.",
            cause="Nobody is there to be asked, and --confirm wasn't given.",
            solution=f"Add --confirm {chosen[0].label}, the number of the newest applied migration.",
            next_command=f"aurora-migrations rollback {target} --confirm {chosen[0].label}",
        )
    question = f"What they drop is gone. Type {chosen[0].label}, the newest number, to go on: "
    lines = ["This would run, in this order:", *(f"  {name}" for name in names), question]
    print(*lines, sep="\n", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip()
    if not answer:
        raise Cancelled("Nothing was confirmed, so nothing was rolled back.", solution="Type the number to go on.")
    return answer

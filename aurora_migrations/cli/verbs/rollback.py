"""`aurora-migrations rollback TARGET`: undoes migrations by their down files, newest first."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from aurora_migrations.cli import options
from aurora_migrations.cli.output import Display, choose_display, note, print_json
from aurora_migrations.cli.verbs.run import DIRECT, Progress, make_request, print_done, print_summary
from aurora_migrations.engine import MigratorError, Session, interrupts, roll_back
from aurora_migrations.engine.diagnostics.redaction import without_password
from aurora_migrations.engine.errors import Cancelled, InvalidInput, NextCommand
from aurora_migrations.engine.history import read_applied
from aurora_migrations.engine.plan import no_down_files, plan_rollback, version_of


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "rollback",
        "Undoes applied migrations from the newest down to and including TARGET with their down files, each in its "
        "own transaction. Asks first.",
        "rollback 017 --confirm 018 --env dev",
        "rollback 017 --confirm 018 --database-url postgresql://app:secret@localhost/shop",
    )
    parser.add_argument("target", metavar="TARGET", help="the lowest migration to undo, such as 017")
    parser.add_argument("--confirm", metavar="NEWEST", help="the newest applied migration's number, instead of asking")
    options.add_verbose(parser)
    options.add_where(parser)
    options.add_direct(parser)
    arguments = options.parse(parser, argv, [name for name in DIRECT if name != "hazards"])
    execution = options.execution_name()
    try:
        options.check_numbers(arguments, "target")
        if options.is_remote(arguments):
            data = _roll_back_remotely(arguments, execution)
        else:
            progress, confirm = Progress(arguments.verbose), arguments.confirm
            request = make_request(arguments, execution, progress)
            if not confirm:
                with Session(request.url, execution) as session:
                    chosen = plan_rollback(request.source.package, read_applied(session), arguments.target)
                confirm = _confirmed([migration.name for migration in chosen], arguments)
            with progress.shown(), interrupts.deferred(acknowledge=arguments.output == "text"):
                data = roll_back(request, arguments.target, confirm).to_dict()
    except MigratorError as error:
        return options.fail(error, f"rollback {arguments.target}", arguments, execution)
    if arguments.output == "json":
        print_json(data)
        return 0
    if options.is_remote(arguments):
        print_done(data)
    print_summary(data, arguments.verbose)
    return 0


def _roll_back_remotely(arguments: argparse.Namespace, execution: str) -> Mapping[str, Any]:
    """Rolls back through the environment's state machine. Its list of migrations shows what would be rolled back."""
    from aurora_migrations.cli.remote.client import execute_in
    from aurora_migrations.cli.remote.environment import open_environment

    options.check_numbers(arguments, "confirm")
    display = choose_display(arguments.output, arguments.verbose)
    with open_environment(arguments) as environment:
        display.note(environment.introduction)
        confirm = arguments.confirm
        if not confirm:
            name, listing = options.execution_name(options.READ_ONLY), {"action": "list-migrations"}
            listed = execute_in(environment, arguments, name, listing, Display())
            confirm = _confirmed(_names_from(listed, arguments.target), arguments)
        asked = {"action": "rollback", "target": arguments.target, "confirm": confirm}
        return execute_in(environment, arguments, execution, asked, display)


def _names_from(listed: Mapping[str, Any], target: str) -> list[str]:
    """The migrations to undo, from the newest down to the target. InvalidInput, if it isn't applied, or one of them has
    no down file in the environment's package."""
    lowest, entries = version_of(target) or 0, listed["migrations"]
    applied = [entry for entry in entries if entry["applied_at"]]
    numbers = [version_of(entry["migration"]) or 0 for entry in applied]
    if lowest not in numbers:
        omitted = listed.get("omitted", 0)
        shown = without_password(target)[:60]
        if omitted and (version_of(entries[0]["migration"]) or 0) > lowest:
            newest = applied[-1]["migration"] if applied else "NEWEST"
            raise InvalidInput(
                f"What a rollback down to {shown} would undo can't be shown here.",
                cause=f"An execution's answer is limited in size: the oldest {omitted} migrations aren't in it, and "
                f"{shown} may be one of them.",
                solution=f"Check the folder for the down files from the newest down to {shown}. To run them all, add "
                f"--confirm {newest}, the number of the newest applied migration; `aurora-migrations status` shows it.",
                next_command=NextCommand("status"),
            )
        raise InvalidInput(
            f"Migration {shown} isn't applied, so it can't be rolled back.",
            cause="The environment's history doesn't have it.",
            solution="See `aurora-migrations list` for what is applied.",
        )
    chosen = [entry for entry, number in zip(applied, numbers, strict=True) if number >= lowest][::-1]
    if missing := [entry["name"] for entry in chosen if not entry.get("has_down_file", True)]:
        raise no_down_files(missing)
    return [entry["name"] for entry in chosen]


def _confirmed(names: Sequence[str], arguments: argparse.Namespace) -> str:
    """Shows the down files that undo these migrations, the newest first, and has the person type the newest number.
    Otherwise nothing is started, so no mail is sent."""
    newest = names[0].partition("_")[0]
    files = [f"{name.removesuffix('.sql')}.down.sql" for name in names]
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"Rolling back needs a confirmation; it would run: {', '.join(files)}.",
            cause="Standard input isn't a terminal, and --confirm wasn't given.",
            solution=f"Add --confirm {newest}, the number of the newest applied migration.",
            next_command=NextCommand("rollback", (arguments.target, "--confirm", newest)),
        )
    question = f"Data that they drop is lost. Type {newest}, the newest number, to continue: "
    note("This would run, in this order:", *(f"  {file}" for file in files), question, end="")
    answer = sys.stdin.readline().strip()
    if not answer:
        raise Cancelled(
            "Nothing was confirmed, so nothing was rolled back.",
            cause="Nothing was typed.",
            solution=f"Type {newest} to continue.",
            next_command=NextCommand("rollback", (arguments.target,)),
        )
    if version_of(answer) != version_of(newest):
        raise InvalidInput(
            f"{without_password(answer)[:40]!r} was typed, but the newest applied migration is {newest}.",
            cause="Only that number confirms a rollback of everything shown.",
            solution=f"Type {newest} to continue.",
            next_command=NextCommand("rollback", (arguments.target,)),
        )
    return answer

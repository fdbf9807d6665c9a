"""`aurora-migrations resolve VERSION applied|again` and `aurora-migrations cancel`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from aurora_migrations.cli import options
from aurora_migrations.cli.output import choose_display, note, print_json, show
from aurora_migrations.cli.verbs.run import DIRECT, Progress, make_request
from aurora_migrations.engine import MigratorError, Session, interrupts
from aurora_migrations.engine.errors import Cancelled, InvalidInput, NextCommand
from aurora_migrations.engine.nontransactional.decisions import cancel, resolve
from aurora_migrations.engine.nontransactional.intents import find_in_doubt, find_what_to_cancel
from aurora_migrations.engine.plan import find_target
from aurora_migrations.engine.steps.execution import OUTCOMES


def main(verb: str, argv: Sequence[str]) -> int:
    """Runs one of these verbs; returns the exit code."""
    resolves = verb == "resolve"
    if resolves:
        parser = options.make_parser(
            "resolve",
            "Records how an interrupted CALL or DO that issues COMMIT ended, once you have checked in the database "
            "how far it got. Asks first.",
            "resolve 018 applied --env dev",
            "resolve 018 again --database-url postgresql://app:secret@localhost/shop",
        )
        parser.add_argument("target", metavar="VERSION", help="the migration in doubt, such as 018")
        outcome = "`applied`: it is complete; `again`: the next run starts it from its beginning"
        parser.add_argument("outcome", metavar="applied|again", choices=OUTCOMES, help=outcome)
        parser.add_argument("--confirm", choices=OUTCOMES, metavar="OUTCOME", help="the same word, instead of asking")
    else:
        parser = options.make_parser(
            "cancel",
            "Ends the statement of the current run, or of one that has ended while the server still executes it, and "
            "drops the index that this leaves invalid. What is committed stays. Asks first.",
            "cancel --env dev",
            "cancel --database-url postgresql://app:secret@localhost/shop",
        )
        parser.add_argument("--yes", action="store_true", help="don't ask")
    options.add_where(parser)
    options.add_direct(parser)
    arguments = options.parse(parser, argv, [name for name in DIRECT if name != "hazards"])
    command = f"resolve {arguments.target} {arguments.outcome}" if resolves else "cancel"
    execution = options.execution_name()
    try:
        options.check_numbers(arguments, "target")
        if options.is_remote(arguments):
            data = _remotely(arguments, execution)
        else:
            data = _directly(arguments, execution)
    except MigratorError as error:
        return options.fail(error, command, arguments, execution)
    if arguments.output == "json":
        print_json(data)
    else:
        show(data["message"])
    return 0


def _directly(arguments: argparse.Namespace, execution: str) -> Mapping[str, Any]:
    progress = Progress(verbose=False)
    request = make_request(arguments, execution, progress)
    with Session(request.url, execution) as session:
        if arguments.verb == "cancel":
            _confirm(f"This ends what is running: {find_what_to_cancel(session)}.", arguments)
        else:
            migration = find_target(request.source.package, arguments.target)
            _confirm(f"In doubt: {find_in_doubt(session, migration)} of {migration.name}.", arguments)
    with progress.shown(), interrupts.deferred(acknowledge=arguments.output == "text"):
        if arguments.verb == "cancel":
            return cancel(request).to_dict()
        return resolve(request, arguments.target, arguments.outcome).to_dict()


def _remotely(arguments: argparse.Namespace, execution: str) -> Mapping[str, Any]:
    """Through the environment's state machine, which refuses where there is nothing to do."""
    from aurora_migrations.cli.remote.client import execute_in
    from aurora_migrations.cli.remote.environment import open_environment

    asked: dict[str, str | None] = {"action": arguments.verb}
    question = "This ends what the run at work is running; `aurora-migrations status` shows it."
    if arguments.verb == "resolve":
        asked |= {"target": arguments.target, "confirm": arguments.outcome}
        question = f"This settles the statement of migration {arguments.target} that is in doubt."
    display = choose_display(arguments.output)
    with open_environment(arguments) as environment:
        display.note(environment.introduction)
        _confirm(question, arguments)
        return execute_in(environment, arguments, execution, asked, display)


def _confirm(what: str, arguments: argparse.Namespace) -> None:
    """Has a person type the word, unless the command has it already. Otherwise nothing is started."""
    if arguments.verb == "resolve":
        word, confirmed = arguments.outcome, arguments.confirm == arguments.outcome
        again = NextCommand("resolve", (arguments.target, word, "--confirm", word))
    else:
        word, confirmed = "yes", arguments.yes
        again = NextCommand("cancel", ("--yes",))
    if confirmed:
        return
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"`{arguments.verb}` needs a confirmation. {what}",
            cause="Standard input isn't a terminal.",
            solution="Confirm it as the next command does.",
            next_command=again,
        )
    note(what, f"Type {word} to continue: ", end="")
    if sys.stdin.readline().strip() != word:
        raise Cancelled(
            f"`{arguments.verb}` was not confirmed, so nothing was done.",
            cause=f"Something other than {word} was typed.",
            solution=f"Type {word} to continue.",
            next_command=again,
        )

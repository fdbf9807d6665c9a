"""`aurora-migrations rollback TARGET`: undoes migrations by their down files, newest first."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from aurora_migrations.cli import options, where
from aurora_migrations.cli.queries import Data
from aurora_migrations.cli.verbs.run import CONTRACT, DIRECT, Printer
from aurora_migrations.compiler.folder_source import source_of
from aurora_migrations.engine import Listener, MigratorError, Request, Session, failure, interrupts, roll_back
from aurora_migrations.engine.diagnostics.redaction import without_password
from aurora_migrations.engine.errors import Cancelled, InvalidInput, NextCommand
from aurora_migrations.engine.history import read_applied
from aurora_migrations.engine.plan import plan_rollback, version_of


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = _parse(argv)
    execution = options.execution_name()
    try:
        data = (_there if where.is_remote(arguments) else _here)(arguments, execution)
    except MigratorError as error:
        options.go_on_with(error, f"rollback {arguments.target}", arguments)
        return options.tell_error(error, arguments, failure(error, None, execution))
    if arguments.output == "json":
        options.print_json(data)
    else:
        print(json.dumps({key: data[key] for key in CONTRACT}, indent=2))
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    made = options.parser(
        "rollback",
        "Undoes every applied migration from the newest down to and including TARGET, by their down files, each in a "
        "transaction of its own. Asks first; --confirm answers, by the number of the newest applied migration.",
        "rollback 017 --confirm 018 --env dev",
        "rollback 017 --confirm 018 --database-url postgresql://app:secret@localhost/shop",
    )
    made.add_argument("target", metavar="TARGET", help="the lowest migration to undo, such as 017")
    made.add_argument("--confirm", metavar="NEWEST", help="the number of the newest applied migration")
    where.add_where(made)
    options.add_wait(made)
    options.add_limits(made)
    return where.parse(made, argv, [name for name in DIRECT if name != "hazards"])


def _there(arguments: argparse.Namespace, execution: str) -> Data:
    """Through the environment's state machine, which is asked first what there is to undo."""
    from aurora_migrations.cli.remote.client import ask_in, refuse_no_number
    from aurora_migrations.cli.remote.display import Screen, fitting
    from aurora_migrations.cli.remote.environment import opened

    refuse_no_number({"target": arguments.target, "confirm": arguments.confirm})
    shown = fitting(arguments.output)
    with opened(arguments) as place:
        shown.note(place.introduction)
        confirm = arguments.confirm
        if not confirm:
            looking = options.look_name()
            listed = ask_in(place, arguments, looking, {"action": "list-migrations"}, Screen())
            confirm = _confirmed(_names_from(listed, arguments.target), arguments)
        asked = {"action": "rollback", "target": arguments.target, "confirm": confirm}
        return ask_in(place, arguments, execution, asked, shown)


def _names_from(listed: Data, target: str) -> list[str]:
    """What is applied, from the newest down to the target. The list doesn't say whether there are down files: the
    rollback refuses a missing one before it undoes anything.

    Raises:
        InvalidInput: that isn't applied, or nobody can say what would be undone, as the list has only the newest.
    """
    lowest, entries = version_of(target), listed["migrations"]
    applied = [entry for entry in entries if entry["applied_at"]]
    if lowest not in [version_of(entry["migration"]) for entry in applied]:
        omitted = listed.get("omitted", 0)
        if omitted and _number(entries[0]) > (lowest or 0):
            raise _left_out(omitted, target, applied[-1]["migration"] if applied else "")
        raise InvalidInput(
            f"Migration {without_password(target)[:60]} isn't applied, so it can't be rolled back.",
            cause="The environment's history doesn't have it.",
            solution="See `aurora-migrations list` for what is applied.",
        )
    return [entry["name"] for entry in reversed(applied) if _number(entry) >= (lowest or 0)]


def _number(entry: Data) -> int:
    return version_of(entry["migration"]) or 0


def _left_out(omitted: int, target: str, newest: str) -> InvalidInput:
    shown = without_password(target)[:60]
    return InvalidInput(
        f"What a rollback down to {shown} would undo can't be shown here.",
        cause=f"An execution's answer is limited in size: the oldest {omitted} migrations aren't in it, and {shown} "
        "may be one of them.",
        solution=f"Look in the folder for the down files from the newest down to {shown}. To run them all, add "
        f"--confirm {newest or 'NEWEST'}, the number of the newest applied migration; `aurora-migrations status` "
        "shows it.",
        next_command=NextCommand("status"),
    )


def _here(arguments: argparse.Namespace, execution: str) -> Data:
    """On a database that one can reach."""
    url, source = where.database_url(arguments), source_of(arguments.migrations)
    request = Request(
        url=url,
        source=source,
        execution=execution,
        requested_by=options.requester(),
        wait=arguments.wait,
        limits=options.limits(arguments),
        listener=Printer() if arguments.output == "text" else Listener(),
    )
    confirm = arguments.confirm
    if not confirm:
        with Session(url, execution) as session:
            chosen = plan_rollback(source.package, read_applied(session), arguments.target)
        confirm = _confirmed([migration.name for migration in chosen], arguments)
    with interrupts.taken(tell=arguments.output == "text"):
        return roll_back(request, arguments.target, confirm).to_dict()


def _confirmed(names: Sequence[str], arguments: argparse.Namespace) -> str:
    """Shows what would be undone, and has the person type the newest number.

    Args:
        names: of migrations, the newest first.

    Raises:
        InvalidInput: nobody is there, or it is another number: nothing is started, and nobody is mailed.
        Cancelled: nothing was typed.
    """
    newest = names[0].partition("_")[0]
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"Rolling back needs a confirmation; it would undo: {', '.join(names)}.",
            cause="Nobody is there to be asked, and --confirm wasn't given.",
            solution=f"Add --confirm {newest}, the number of the newest applied migration.",
            next_command=NextCommand("rollback", (arguments.target, "--confirm", newest)),
        )
    question = f"What their down files drop is gone. Type {newest}, the newest number, to go on: "
    lines = ["This would undo, in this order:", *(f"  {name}" for name in names), question]
    print(*lines, sep="\n", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip()
    if not answer:
        raise Cancelled(
            "Nothing was confirmed, so nothing was rolled back.",
            cause="Nothing was typed.",
            solution=f"Type {newest} to go on.",
            next_command=NextCommand("rollback", (arguments.target,)),
        )
    if version_of(answer) != version_of(newest):
        raise InvalidInput(
            f"{without_password(answer)[:40]!r} was typed, but the newest applied migration is {names[0]}.",
            cause="Only its number confirms that all that was shown may go.",
            solution=f"Type {newest} to go on.",
            next_command=NextCommand("rollback", (arguments.target,)),
        )
    return answer

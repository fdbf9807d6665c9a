"""`aurora-migrations adopt [VERSION]` and `baseline VERSION`: record files as applied, after a proof."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aurora_migrations.adoption.files import write_files
from aurora_migrations.adoption.layouts import lay_out
from aurora_migrations.adoption.recognition import recognize
from aurora_migrations.cli import options
from aurora_migrations.cli.output import (
    Activity,
    choose_display,
    note,
    plural,
    print_json,
    print_table,
    print_warnings,
    show,
)
from aurora_migrations.cli.verbs.run import DIRECT, Progress, make_request
from aurora_migrations.engine import MigratorError, Session, interrupts
from aurora_migrations.engine.adoption.adopt import Wanted, adopt, plan_adoption
from aurora_migrations.engine.adoption.proof import Difference, Expect, check_accepted, expectations_of
from aurora_migrations.engine.errors import Cancelled, InvalidInput, NextCommand
from aurora_migrations.engine.manifest import Manifest
from aurora_migrations.engine.plan import version_of
from aurora_migrations.engine.script import Source
from aurora_migrations.replay.expectations import expect_by_replay

_ROWS_SHOWN = 3  # of the other tool's history, for one file


def main(verb: str, argv: Sequence[str]) -> int:
    """Runs one of these verbs; returns the exit code."""
    adopts = verb == "adopt"
    parser = _adopt_parser() if adopts else _baseline_parser()
    parser.add_argument(
        "--accept",
        metavar="NAME",
        action="append",
        default=[],
        help="a table, view, function or file that may differ; may be repeated",
    )
    parser.add_argument("--confirm", metavar="NEWEST", help="the newest listed migration's number, instead of asking")
    options.add_where(parser)
    options.add_direct(parser)
    direct = [name for name in DIRECT if name != "hazards"]
    arguments = options.parse(parser, argv, [*direct, "from_folder"] if adopts else direct)
    execution = options.execution_name()
    wanted = Wanted(verb, arguments.target, arguments.table if adopts else None, tuple(arguments.accept))
    try:
        options.check_numbers(arguments, "target")
        if options.is_remote(arguments):
            data = _remotely(arguments, execution, wanted)
        else:
            data = _directly(arguments, execution, wanted)
    except MigratorError as error:
        command = f"{verb} {arguments.target}" if arguments.target else verb
        return options.fail(error, command, arguments, execution)
    if arguments.output == "json":
        print_json(data)
    else:
        print_warnings(data["warnings"])
        show(data["message"])
    return 0


def _adopt_parser() -> argparse.ArgumentParser:
    parser = options.make_parser(
        "adopt",
        "Takes over a database that another tool has migrated: proves that the files make what is in the database, "
        "and records those in the other tool's history as applied. Runs nothing, and leaves the other tool's table as "
        "it is. Asks first.",
        "adopt --env dev",
        "adopt --from db/migrations --database-url postgresql://app:secret@localhost/shop",
    )
    parser.add_argument(
        "target",
        nargs="?",
        metavar="VERSION",
        help="the last file that the other tool's history covers, if they don't match one to one",
    )
    parser.add_argument("--table", metavar="NAME", help="the other tool's table, where there are several")
    parser.add_argument(
        "--from",
        dest="from_folder",
        metavar="FOLDER",
        type=Path,
        help="import the other tool's files first, as `import FOLDER --yes` does",
    )
    return parser


def _baseline_parser() -> argparse.ArgumentParser:
    parser = options.make_parser(
        "baseline",
        "Takes over a database that was made by hand or from a dump: like `adopt`, with the files up to VERSION. Each "
        "difference must be accepted by name.",
        "baseline 001 --accept public.old_orders --env dev",
        "baseline 001 --database-url postgresql://app:secret@localhost/shop",
    )
    parser.add_argument("target", metavar="VERSION", help="the last migration that is already applied, such as 001")
    return parser


def _directly(arguments: argparse.Namespace, execution: str, wanted: Wanted) -> Mapping[str, Any]:
    if getattr(arguments, "from_folder", None):
        _import(arguments)
    progress = Progress(verbose=False)
    request = make_request(arguments, execution, progress)
    expect = _expectations(request.source, progress.activity)
    with progress.shown(), interrupts.deferred(acknowledge=arguments.output == "text"):
        with Session(request.url, execution) as session:
            adoption = plan_adoption(session, request.source, wanted, expect)
        progress.activity.clear()
        confirm = _checked(adoption.to_dict(), arguments, wanted)
        return adopt(request, wanted, confirm, expect).to_dict()


def _remotely(arguments: argparse.Namespace, execution: str, wanted: Wanted) -> Mapping[str, Any]:
    """Through the environment's state machine. Without a confirmation its answer is what it would record."""
    from aurora_migrations.cli.remote.client import execute_in
    from aurora_migrations.cli.remote.environment import open_environment

    options.check_numbers(arguments, "confirm")
    asked = {"action": wanted.verb, "target": wanted.target, "table": wanted.table, "accept": [*wanted.accept] or None}
    display = choose_display(arguments.output)
    with open_environment(arguments) as environment:
        display.note(environment.introduction)
        confirm = arguments.confirm
        if not confirm:
            name = options.execution_name(options.READ_ONLY)
            plan = execute_in(environment, arguments, name, asked, choose_display("json"))
            confirm = _checked(plan, arguments, wanted)
        return execute_in(environment, arguments, execution, {**asked, "confirm": confirm}, display)


def _expectations(source: Source, activity: Activity) -> Expect:
    """What the files make: as it is known since the package was built, or by replaying them now."""
    if isinstance(source, Manifest) and source.replayed_on is not None:
        return expectations_of(source)

    def show_progress(done: int, count: int, name: str) -> None:
        activity.show(f"Replaying {name} on an empty server, {done} of {count}")

    return expect_by_replay(source, show_progress)


def _import(arguments: argparse.Namespace) -> None:
    folder = arguments.from_folder
    layout = lay_out(folder, recognize(folder))
    new = {name: text for name, text in layout.texts.items() if not _has(arguments.migrations / name, text)}
    write_files(arguments.migrations, new)  # those of an earlier call, which wasn't confirmed, stay
    note(f"Wrote {plural(len(new), 'file')} to {arguments.migrations}, from {layout.tool}'s in {folder}.")
    for problem in layout.left_out:
        note(f"  left out: {problem}")


def _has(path: Path, text: str) -> bool:
    """Whether a file is there and has this text."""
    with contextlib.suppress(OSError):
        return path.read_bytes() == text.encode()
    return False


def _checked(plan: Mapping[str, Any], arguments: argparse.Namespace, wanted: Wanted) -> str:
    """Shows what would be recorded, refuses differences that weren't accepted, and has the newest number confirmed;
    returns it."""
    differences = [
        Difference(*(each[key] for key in ("name", "object", "expected", "found"))) for each in plan["differences"]
    ]
    if arguments.output == "text":
        _show(plan, differences)
    check_accepted(differences, wanted.accept, wanted.verb, wanted.target)
    newest = str(plan["migration"])
    return arguments.confirm or (_confirmed(newest, wanted) if plan["migrations"] else newest)


def _show(plan: Mapping[str, Any], differences: Sequence[Difference]) -> None:
    if plan["migrations"]:
        rows = []
        for each in plan["migrations"]:
            more = [f"and {len(each['rows']) - _ROWS_SHOWN} more"] if len(each["rows"]) > _ROWS_SHOWN else []
            rows.append((each["name"], ", ".join([*each["rows"][:_ROWS_SHOWN], *more])))
        print_table(("Migration", f"In {plan['tool']}'s history" if plan["tool"] else ""), rows, long=())
        show()
    if differences:
        listed = [
            (each.what, *("-" if text is None else text or "there" for text in (each.expected, each.found)))
            for each in differences
        ]
        print_table(("Differs", "By the files", "Here"), listed, long=("By the files", "Here"))
        show()
    show(plan["message"])


def _confirmed(newest: str, wanted: Wanted) -> str:
    """Has the person type the newest number. Otherwise nothing is recorded."""
    accepting = (word for name in wanted.accept for word in ("--accept", options.quoted(name)))
    given = (*([wanted.target] if wanted.target else []), *accepting, "--confirm", newest)
    again = NextCommand(wanted.verb, given)
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"`{wanted.verb}` needs a confirmation; it would record everything up to {newest} as applied.",
            cause="Standard input isn't a terminal, and --confirm wasn't given.",
            solution=f"Add --confirm {newest}, the number of the newest migration to record.",
            next_command=again,
        )
    note(f"None of them is run. Type {newest}, the newest number, to record them as applied: ", end="")
    answer = sys.stdin.readline().strip()
    if version_of(answer) != version_of(newest):
        raise Cancelled(
            f"`{wanted.verb}` was not confirmed, so nothing was recorded.",
            cause=f"Something other than {newest} was typed.",
            solution=f"Type {newest} to continue.",
            next_command=again,
        )
    return answer

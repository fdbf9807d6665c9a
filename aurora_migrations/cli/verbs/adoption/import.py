"""`aurora-migrations import FOLDER`: lays the migrations of another tool out as ours."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from aurora_migrations.adoption.files import write_files
from aurora_migrations.adoption.layouts import Layout, lay_out
from aurora_migrations.adoption.recognition import recognize
from aurora_migrations.adoption.tools import TOOLS
from aurora_migrations.cli import options
from aurora_migrations.cli.output import note, plural, print_json, print_table, show
from aurora_migrations.engine import MigratorError, discover
from aurora_migrations.engine.errors import Cancelled, InvalidFile, InvalidInput, NextCommand
from aurora_migrations.engine.migrations import Package

_LEFT_OUT_SHOWN = 20  # files of one reason; --output json lists them all


def main(argv: Sequence[str]) -> int:
    arguments = _parse(argv)
    try:
        layout = _lay_out(arguments)
        warning = _check_destination(layout, arguments)
        is_written = arguments.yes
        if arguments.output == "text":
            _show(layout, warning)
            is_written = is_written or (sys.stdin.isatty() and _is_confirmed(layout, arguments))
        if is_written:
            write_files(arguments.migrations, layout.texts)
    except MigratorError as error:
        command = "import --help" if isinstance(error, InvalidInput) else "check"
        return options.fail(error, command, arguments, options.execution_name())
    if arguments.output == "json":
        print_json(_data(layout, warning, arguments, is_written))
    else:
        show(*_outcome(layout, arguments, is_written))
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.make_parser(
        "import",
        "Writes another tool's migrations as files of this one, renamed, and split at that tool's markers into files "
        "to apply and to undo. Edits no SQL, overwrites nothing. Asks first.",
        "import db/migrations --migrations migrations",
        "import prisma/migrations --tool prisma --yes",
    )
    parser.add_argument("folder", metavar="FOLDER", type=_folder, help="the folder with the other tool's migrations")
    parser.add_argument(
        "--tool", metavar="NAME", choices=TOOLS, help=f"the tool, if the files don't show which: {', '.join(TOOLS)}"
    )
    parser.add_argument("--yes", action="store_true", help="don't ask")
    return parser.parse_args(argv)


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the folder's name is empty")
    return Path(options.plain(text))


def _lay_out(arguments: argparse.Namespace) -> Layout:
    try:
        return lay_out(arguments.folder, arguments.tool or recognize(arguments.folder))
    except InvalidFile as error:
        cause = "The other tool's folder has files that can't be imported as they are."
        raise error.but(cause=cause, next_command=_command(arguments)) from error


def _check_destination(layout: Layout, arguments: argparse.Namespace) -> str | None:
    """A warning about what is in the destination, if there should be one.

    Raises:
        InvalidInput: it is the other tool's folder, or has migrations with some of these numbers.
        InvalidFile: it has misnamed files.
    """
    destination, folder = arguments.migrations, arguments.folder
    if os.path.realpath(destination) == os.path.realpath(folder):
        raise InvalidInput(
            f"{folder} is the folder to import from and the one to write to.",
            cause="Each file would be beside its original, and both would run.",
            solution="Name a new folder for the files with --migrations.",
            next_command=_command(arguments, "--migrations", "DIR"),
        )
    package = _package_in(destination)
    there = package.by_version if package else {}
    taken = [there[each.version].name for each in layout.migrations if each.version in there]
    if taken:
        more = f" and {len(taken) - 5} more" if len(taken) > 5 else ""
        raise InvalidInput(
            f"{destination} already has migrations with these numbers: {', '.join(taken[:5])}{more}.",
            cause="A number belongs to one migration, and nothing is overwritten.",
            solution="Name a new folder with --migrations, or renumber what is there.",
            next_command=_command(arguments, "--migrations", "DIR"),
        )
    if there and min(each.version for each in layout.migrations) < max(there):
        return (
            f"{destination} has {there[max(there)].name}: where that is applied, imported migrations with a lower "
            "number are out of order, and no run applies them."
        )
    return None


def _package_in(folder: Path) -> Package | None:
    is_used = os.path.isdir(folder) and any(folder.glob("*.[sS][qQ][lL]"))  # noqa: PTH112 - pathlib's raises
    return discover(folder) if is_used else None


# ---- text -----------------------------------------------------------------------------------------------------------


def _show(layout: Layout, warning: str | None) -> None:
    rows = [("\n".join(each.sources), "\n".join(each.texts), "; ".join(each.notes)) for each in layout.migrations]
    by_reason: dict[str, list[str]] = {}
    for problem in layout.left_out:
        by_reason.setdefault(problem.reason, []).append(problem.file)
    for reason, files in by_reason.items():
        more = len(files) - _LEFT_OUT_SHOWN
        shown = files if more <= 1 else [*files[:_LEFT_OUT_SHOWN], f"... and {more} more"]
        rows += [(file, "left out", reason) for file in shown]
    if any(note for _, _, note in rows):
        print_table((f"{layout.tool}'s file", "Becomes", "Note"), rows, long=("Note",))
    else:
        print_table((f"{layout.tool}'s file", "Becomes"), [row[:2] for row in rows], long=())
    show()
    if warning:
        show(f"Warning: {warning}\n")


def _is_confirmed(layout: Layout, arguments: argparse.Namespace) -> bool:
    question = f"Write {plural(len(layout.texts), 'file')} to {arguments.migrations}? Type yes to continue: "
    note(question, end="")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Cancelled(
            "Nothing was written.",
            cause="The answer wasn't yes.",
            solution="Answer with yes, or add --yes.",
            next_command=_command(arguments, "--yes"),
        )
    return True


def _outcome(layout: Layout, arguments: argparse.Namespace, is_written: bool) -> list[str]:
    counts = f"{plural(len(layout.migrations), 'migration')} of {layout.tool} in {plural(len(layout.texts), 'file')}"
    if layout.left_out:
        counts += f", {len(layout.left_out)} left out"
    if not is_written:
        command = options.with_current_flags(_command(arguments, "--yes"), arguments)
        return [f"{counts}. Nothing was written. To write them: {command}"]
    check = options.with_current_flags(NextCommand("check"), arguments)
    return [
        f"Wrote {counts} to {arguments.migrations}.",
        f"A database in which {layout.tool} has applied them must be taken over first, or they would run again: "
        f"{options.with_current_flags(NextCommand('adopt'), arguments)}",
        f"Next: {check}",
    ]


def _command(arguments: argparse.Namespace, *more: str) -> NextCommand:
    tool = ("--tool", arguments.tool) if arguments.tool else ()
    return NextCommand("import", (options.quoted(str(arguments.folder)), *tool, *more))


# ---- for programs ---------------------------------------------------------------------------------------------------


def _data(layout: Layout, warning: str | None, arguments: argparse.Namespace, is_written: bool) -> dict[str, object]:
    return {
        "tool": layout.tool,
        "destination": str(arguments.migrations),
        "written": is_written,
        "migrations": [
            {"sources": each.sources, "files": list(each.texts), "notes": each.notes} for each in layout.migrations
        ],
        "left_out": [{"file": problem.file, "reason": problem.reason} for problem in layout.left_out],
        "warning": warning,
    }

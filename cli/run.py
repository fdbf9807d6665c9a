"""`aurora-migrations run [TARGET]`: applies what is pending."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli import common
from compiler.source import source_of
from functions.migrator import Listener, Migration, MigratorError, Request, RunResult, apply, discover, failure
from functions.migrator.durations import format_duration
from functions.migrator.plan import find_target
from functions.migrator.results import FileDone
from functions.migrator.runlock import Holder
from functions.migrator.script import Action, Hazard

CONTRACT = ("status", "migration", "message")


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = _parse(argv)
    execution = common.execution_name()
    try:
        result = _run(arguments, execution)
    except MigratorError as error:
        common.go_on_with(error, f"run {arguments.target}" if arguments.target else "run", arguments)
        data = failure(error, _failed_migration(error, arguments), execution)
        saved = _save(data)
        code = common.tell_error(error, arguments, data)
        if arguments.output == "text":
            print(saved, file=sys.stderr, end="")
        return code
    _tell(result, arguments)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    made = common.parser(
        "run",
        "Applies what is pending, each file in a transaction of its own; the first error ends the run and rolls its "
        "file back. With a TARGET, everything up to and including it. The result is saved as "
        "migration-TARGET-output.json.",
        "run 017 --database-url postgresql://app:secret@localhost/shop",
    )
    made.add_argument("target", nargs="?", metavar="TARGET", help="a migration's number, such as 017 (default: all)")
    common.add_database(made)
    common.add_wait(made)
    common.add_hazards(made)
    return made.parse_args(argv)


def _run(arguments: argparse.Namespace, execution: str) -> RunResult:
    request = Request(
        url=common.database_url(arguments),
        source=source_of(arguments.migrations),
        execution=execution,
        requested_by=common.requester(),
        wait=arguments.wait,
        hazards=arguments.hazards,
        listener=Printer() if arguments.output == "text" else Listener(),
    )
    return apply(request, arguments.target)


class Printer(Listener):
    """Tells each step on the terminal as it happens."""

    def waiting(self, holder: Holder | None) -> None:
        print(f"Waiting for another run to end: {holder}", file=sys.stderr, flush=True)

    def may_hurt(self, hazard: Hazard) -> None:
        print(f"Warning: {hazard}", file=sys.stderr, flush=True)
        if hazard.help:
            print(f"    {hazard.help}", file=sys.stderr, flush=True)

    def executing(self, action: Action, migration: Migration) -> None:
        verb = "Executing" if action == "apply" else "Rolling back"
        print(f"{verb} {migration.name} ...", flush=True)

    def executed(self, action: Action, migration: Migration, done: FileDone) -> None:
        verb = "Executed" if action == "apply" else "Rolled back"
        print(f"{verb} {migration.name} in {format_duration(done.duration_ms)}", flush=True)
        for check in done.checks:
            found = "" if check.found == check.expected else f" (found {check.found})"
            print(f"  verified: {check.promise}{found}", flush=True)


def _tell(result: RunResult, arguments: argparse.Namespace) -> None:
    data = result.to_dict()
    saved = _save(data)
    if arguments.output == "json":
        common.print_json(data)
        return
    for warning in result.notices:
        print(f"Warning: {warning}", file=sys.stderr)
    print(json.dumps({key: data[key] for key in CONTRACT}, indent=2))
    print(saved, end="")


def _save(data: Mapping[str, object]) -> str:
    """Keeps the result beside the user; says so, or why not."""
    label = data["migration"]
    if label is None:
        return ""
    path = Path(f"migration-{label}-output.json")
    try:
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        return f"The result could not be saved to {path}: {error.strerror}\n"
    return f"Saved to {path}\n"


def _failed_migration(error: MigratorError, arguments: argparse.Namespace) -> str | None:
    """The target's number as its file writes it, else the file that failed; None where that is no file's number."""
    if arguments.target is None:
        failed = error.facts.get("migration")
        return str(failed) if failed else None
    try:
        return find_target(discover(arguments.migrations), arguments.target).label
    except MigratorError:
        target = str(arguments.target)
        return target if target.isascii() and target.isdecimal() and len(target) < 100 else None

"""`aurora-migrations run [TARGET]`: applies what is pending."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from aurora_migrations.cli import options
from aurora_migrations.cli.output import note, print_error, print_json, print_verified, print_warnings, show
from aurora_migrations.compiler.folder_source import source_of
from aurora_migrations.engine import (
    Listener,
    Migration,
    MigratorError,
    Request,
    apply,
    discover,
    failure,
    interrupts,
)
from aurora_migrations.engine.interface import FileDone
from aurora_migrations.engine.job import RunningStatement
from aurora_migrations.engine.locks.blockers import LockWait
from aurora_migrations.engine.options import Limits, format_duration
from aurora_migrations.engine.plan import find_target
from aurora_migrations.engine.postgres.advisory_lock import Holder
from aurora_migrations.engine.script import Action, Hazard
from aurora_migrations.engine.steps.settings import Hazards

CONTRACT = ("status", "migration", "message")
# Options of a direct run; for a run through a state machine, they are settings of its environment.
DIRECT = ("wait", "lock_timeout", "statement_timeout", "lock_wait", "end_idle", "hazards")


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "run",
        "Applies what is pending, each file in a transaction of its own; the first error ends the run and rolls its "
        "file back. With a TARGET, everything up to and including it. The result is saved as "
        "migration-TARGET-output.json.",
        "run 017 --env dev",
        "run 017 --database-url postgresql://app:secret@localhost/shop",
    )
    options.add_target(parser, "017")
    options.add_where(parser)
    options.add_direct(parser)
    options.add_hazards(parser)
    arguments = options.parse(parser, argv, DIRECT)
    execution = options.execution_name()
    try:
        if options.is_remote(arguments):
            from aurora_migrations.cli.remote.client import execute

            asked = {"action": "run-migration", "target": arguments.target}
            data = execute(arguments, execution, asked, progress=True)
            warnings = data.get("warnings", [])
        else:
            request = make_request(arguments, execution, hazards=arguments.hazards)
            with interrupts.deferred(acknowledge=arguments.output == "text"):
                result = apply(request, arguments.target)
            data, warnings = result.to_dict(), result.notices  # hazards were printed before they ran
    except MigratorError as error:
        error = options.with_next_command(error, f"run {arguments.target}" if arguments.target else "run", arguments)
        data = failure(error, _failed_migration(error, arguments), execution)
        goes_on = getattr(error, "progress_command", None)  # an execution, so this isn't its result
        saved = "" if goes_on else _save(data)
        code = print_error(error, arguments, data)
        if arguments.output == "text":
            note(saved, end="")
        return code
    saved = _save(data)
    if arguments.output == "json":
        print_json(data)
        return 0
    print_warnings(warnings)
    if "verified" in data:
        print_verified(data["verified"])
    print_json({key: data[key] for key in CONTRACT})
    show(saved, end="")
    return 0


def make_request(arguments: argparse.Namespace, execution: str, hazards: Hazards = "warn") -> Request:
    """What a run or a rollback on a database needs to know, from the options of `add_direct`."""
    return Request(
        url=options.database_url(arguments),
        source=source_of(arguments.migrations),
        execution=execution,
        requested_by=options.requester(),
        wait=arguments.wait,
        limits=Limits(arguments.lock_timeout, arguments.statement_timeout, arguments.lock_wait, arguments.end_idle),
        hazards=hazards,
        listener=_Printer() if arguments.output == "text" else Listener(),
    )


class _Printer(Listener):
    def waiting(self, holder: Holder | None) -> None:
        note(f"Waiting for another run to end: {holder}")

    def hazard_found(self, hazard: Hazard) -> None:
        note(f"Warning: {hazard}")
        if hazard.help:
            note(f"    {hazard.help}")

    def blocked(self, wait: LockWait) -> None:
        note(f"  Waiting outside the queue: {wait}")

    def executing(self, action: Action, migration: Migration) -> None:
        verb = "Executing" if action == "apply" else "Rolling back"
        show(f"{verb} {migration.name} ...")

    def statement_running(self, at: RunningStatement) -> None:
        show(f"  At work: {at}")

    def executed(self, action: Action, migration: Migration, done: FileDone) -> None:
        verb = "Executed" if action == "apply" else "Rolled back"
        show(f"{verb} {migration.name} in {format_duration(done.duration_ms)}")
        for check in done.checks:
            found = "" if check.found == check.expected else f" (found {check.found})"
            show(f"  verified: {check.promise}{found}")
        for lock in done.held:
            show(f"  {lock}")


def _save(data: Mapping[str, object]) -> str:
    """Writes the result to a file in the current folder; returns the line to print about that."""
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

"""`aurora-migrations run [TARGET]`: applies what is pending."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aurora_migrations.cli import options, where
from aurora_migrations.cli.verified import print_verified
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
from aurora_migrations.engine.options import format_duration
from aurora_migrations.engine.plan import find_target
from aurora_migrations.engine.postgres.advisory_lock import Holder
from aurora_migrations.engine.script import Action, Hazard

CONTRACT = ("status", "migration", "message")
Ran = tuple[Mapping[str, Any], Sequence[str]]  # what a run answers, and what it warns of at its end


# Of a run through a state machine, these are settings of its environment.
DIRECT = ("wait", "lock_timeout", "statement_timeout", "lock_wait", "end_idle", "hazards")


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    arguments = _parse(argv)
    execution = options.execution_name()
    try:
        data, warnings = (_there if where.is_remote(arguments) else _here)(arguments, execution)
    except MigratorError as error:
        options.go_on_with(error, f"run {arguments.target}" if arguments.target else "run", arguments)
        data = failure(error, _failed_migration(error, arguments), execution)
        saved = "" if options.going_on(error) else _save(data)
        code = options.tell_error(error, arguments, data)
        if arguments.output == "text":
            print(saved, file=sys.stderr, end="")
        return code
    _tell(data, warnings, arguments)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    made = options.parser(
        "run",
        "Applies what is pending, each file in a transaction of its own; the first error ends the run and rolls its "
        "file back. With a TARGET, everything up to and including it. The result is saved as "
        "migration-TARGET-output.json.",
        "run 017 --env dev",
        "run 017 --database-url postgresql://app:secret@localhost/shop",
    )
    made.add_argument("target", nargs="?", metavar="TARGET", help="a migration's number, such as 017 (default: all)")
    where.add_where(made)
    options.add_wait(made)
    options.add_limits(made)
    options.add_hazards(made)
    return where.parse(made, argv, DIRECT)


def _there(arguments: argparse.Namespace, execution: str) -> Ran:
    """Through the environment's state machine."""
    from aurora_migrations.cli.remote.client import ask

    asked = {"action": "run-migration", "target": arguments.target}
    data = ask(arguments, execution, asked, story=True)
    return data, data.get("warnings", [])


def _here(arguments: argparse.Namespace, execution: str) -> Ran:
    """On a database that one can reach. What may hurt is told before it runs, so it isn't among the warnings."""
    request = Request(
        url=where.database_url(arguments),
        source=source_of(arguments.migrations),
        execution=execution,
        requested_by=options.requester(),
        wait=arguments.wait,
        limits=options.limits(arguments),
        hazards=arguments.hazards,
        listener=Printer() if arguments.output == "text" else Listener(),
    )
    with interrupts.taken(tell=arguments.output == "text"):
        result = apply(request, arguments.target)
    return result.to_dict(), result.notices


class Printer(Listener):
    """Tells each step on the terminal as it happens."""

    def waiting(self, holder: Holder | None) -> None:
        print(f"Waiting for another run to end: {holder}", file=sys.stderr, flush=True)

    def hazard_found(self, hazard: Hazard) -> None:
        print(f"Warning: {hazard}", file=sys.stderr, flush=True)
        if hazard.help:
            print(f"    {hazard.help}", file=sys.stderr, flush=True)

    def blocked(self, wait: LockWait) -> None:
        print(f"  Waiting outside the queue: {wait}", file=sys.stderr, flush=True)

    def executing(self, action: Action, migration: Migration) -> None:
        verb = "Executing" if action == "apply" else "Rolling back"
        print(f"{verb} {migration.name} ...", flush=True)

    def statement_running(self, at: RunningStatement) -> None:
        print(f"  At work: {at}", flush=True)

    def executed(self, action: Action, migration: Migration, done: FileDone) -> None:
        verb = "Executed" if action == "apply" else "Rolled back"
        print(f"{verb} {migration.name} in {format_duration(done.duration_ms)}", flush=True)
        for check in done.checks:
            found = "" if check.found == check.expected else f" (found {check.found})"
            print(f"  verified: {check.promise}{found}", flush=True)
        for lock in done.held:
            print(f"  {lock}", flush=True)


def _tell(data: Mapping[str, Any], warnings: Sequence[str], arguments: argparse.Namespace) -> None:
    saved = _save(data)
    if arguments.output == "json":
        options.print_json(data)
        return
    for warning in warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    if "verified" in data:
        print_verified(data["verified"])
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

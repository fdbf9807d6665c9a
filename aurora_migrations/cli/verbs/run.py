"""`aurora-migrations run [TARGET]`: applies what is pending."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from aurora_migrations.cli import options
from aurora_migrations.cli.output import (
    Activity,
    Styled,
    bar,
    note,
    paragraph,
    plural,
    print_error,
    print_json,
    print_verified,
    print_warnings,
    show,
    show_styled,
    tick,
)
from aurora_migrations.engine import (
    Listener,
    Migration,
    MigratorError,
    Request,
    Session,
    apply,
    discover,
    failure,
    interrupts,
)
from aurora_migrations.engine.errors import InvalidInput
from aurora_migrations.engine.interface import FileDone, Listeners, RunResult
from aurora_migrations.engine.options import Limits, format_duration
from aurora_migrations.engine.plan import find_target
from aurora_migrations.engine.steps.layout import listed

if TYPE_CHECKING:
    from aurora_migrations.engine.locks.blockers import LockWait
    from aurora_migrations.engine.options import Hazards
    from aurora_migrations.engine.postgres.session import Holder
    from aurora_migrations.engine.script import Action, Hazard, RunningStatement, Source

VALID = "valid and ready"  # the state of an index that is fit for use
# Options of a direct run; for a run through a state machine, they are settings of its environment.
DIRECT = ("wait", "lock_timeout", "statement_timeout", "lock_wait", "end_idle", "hazards")


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "run",
        "Applies pending migrations up to and including TARGET, each file in its own transaction. The first error "
        "ends the run and rolls its file back. Saves the result as migration-NUMBER-output.json, named after TARGET "
        "or the last migration.",
        "run 017 --env dev",
        "run 017 --database-url postgresql://app:secret@localhost/shop",
    )
    options.add_target(parser, "017")
    options.add_verbose(parser)
    parser.add_argument("--no-save", action="store_true", help="don't save the result")
    options.add_where(parser)
    options.add_direct(parser)
    options.add_hazards(parser)
    arguments = options.parse(parser, argv, DIRECT)
    execution = options.execution_name()
    progress = Progress(arguments.verbose)
    uncompared = ""
    try:
        options.check_numbers(arguments, "target")
        if options.is_remote(arguments):
            from aurora_migrations.cli.remote.client import execute

            asked = {"action": "run-migration", "target": arguments.target}
            data = execute(arguments, execution, asked, progress=arguments.verbose)
            warnings = data.get("warnings", [])
        else:
            request = make_request(arguments, execution, progress, hazards=arguments.hazards)
            with progress.shown(), interrupts.deferred(acknowledge=arguments.output == "text"):
                result = apply(request, arguments.target)
            uncompared = _not_replayed(request.source, result)
            del request  # and all that is known of the files
            data, warnings = result.to_dict(), result.notices  # hazards were printed before they ran
    except MigratorError as error:
        error = options.with_next_command(error, f"run {arguments.target}" if arguments.target else "run", arguments)
        data = failure(error, _failed_migration(error, arguments), execution)
        began = is_begun(error, progress, arguments)
        saved = _save(data) if began and not arguments.no_save else ""
        code = print_error(error, arguments, data)
        if arguments.output == "text":
            note(saved, end="")
        return code
    saved = "" if arguments.no_save else _save(data)
    if arguments.output == "json":
        print_json(data)
        return 0
    if options.is_remote(arguments):
        print_done(data)
    print_warnings(warnings)
    print_summary(data, arguments.verbose)
    if uncompared:
        note(paragraph("", uncompared, sys.stderr))
    show(saved, end="")
    return 0


def _not_replayed(source: Source, result: RunResult) -> str:
    """The line about files that were applied and that nobody has replayed on this machine; empty if there is none."""
    applied = {file.migration for file in result.applied}
    names = [each.name for each in sorted(getattr(source, "unknown", ())) if each.label in applied]
    if not names:
        return ""
    return f"What {listed(names, 3)} did wasn't compared with a replay: `aurora-migrations check` replays it first."


def is_begun(error: MigratorError, progress: Progress, arguments: argparse.Namespace) -> bool:
    """Whether a run has failed, so that there is a result to save. Not if the arguments are wrong, if there was no
    connection, or if the run may still be running."""
    if isinstance(error, InvalidInput) or getattr(error, "progress_command", None):
        return False
    if not options.is_remote(arguments):
        return progress.has_connected
    from aurora_migrations.cli.remote.aws_errors import CloudError, ExecutionFailed

    return not isinstance(error, CloudError) or isinstance(error, ExecutionFailed)


def print_done(data: Mapping[str, Any]) -> None:
    """Prints what an execution has applied or rolled back, one line per migration."""
    for action, key in (("apply", "applied"), ("rollback", "rolled_back")):
        for each in data.get(key, ()):
            show_styled(_done_line(cast("Action", action), each.get("file", ""), each.get("duration_ms", 0)))


def _done_line(action: Action, file: str, duration_ms: float) -> Styled:
    name = file.removesuffix(".sql").removesuffix(".down")
    what = " rolled back" if action == "rollback" else ""
    return Styled((tick(), "bold green"), (f" {name}{what}", ""), (f"  {format_duration(duration_ms)}", "dim"))


def print_summary(data: Mapping[str, Any], verbose: bool) -> None:
    """Prints the result's message and how much was done, where and how fast. What was verified is printed in full with
    `verbose`, and where something of it isn't fit for use."""
    verified = data.get("verified")
    if verified and (verbose or not ("rolled_back" in data or _is_fit(verified))):  # what was undone isn't there
        print_verified(verified)
    show_styled(Styled((data["message"], "bold green")))
    word = "rolled back" if "rolled_back" in data else "applied"
    count = data.get("applied_count") or len(data.get("rolled_back", data.get("applied", ())))
    if count:
        parts = [f"{plural(count, 'migration')} {word}"]
        if verified and verified["tables_count"]:
            parts.append(f"{plural(verified['tables_count'], 'table')} verified")
        parts.append(f"database {data.get('database', 'unknown')}")
        parts.append(format_duration(data.get("duration_ms", 0)))
        show_styled(Styled((", ".join(parts), "dim")))


def _is_fit(verified: Mapping[str, Any]) -> bool:
    states = [index["state"] for table in verified["tables"] for index in table.get("indexes", ())]
    return all(table["exists"] for table in verified["tables"]) and set(states) <= {VALID}


def make_request(
    arguments: argparse.Namespace, execution: str, progress: Progress, hazards: Hazards = "warn"
) -> Request:
    """What a run or a rollback on a database needs to know, from the options of `add_direct`."""
    return Request(
        url=options.database_url(arguments),
        source=options.source(arguments),
        execution=execution,
        requested_by=options.requester(),
        wait=arguments.wait,
        limits=Limits(arguments.lock_timeout, arguments.statement_timeout, arguments.lock_wait, arguments.end_idle),
        hazards=hazards,
        listener=Listeners(progress, _Printer(progress)) if arguments.output == "text" else progress,
    )


class Progress(Listener):
    """How far a direct run is."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose
        self.has_connected = False
        self.activity = Activity()
        self.began = 0.0  # when the file began, by time.monotonic()

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Takes away the line that shows it, however the run ends."""
        try:
            yield
        finally:
            self.activity.clear()

    def connected(self, session: Session) -> None:
        self.has_connected = True

    def executing(self, action: Action, migration: Migration) -> None:
        self.began = time.monotonic()


class _Printer(Listener):
    """Prints a direct run, for people: one line per file, and with `verbose` each step. A terminal shows meanwhile what
    takes long."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._verbose, self._activity = progress, progress.verbose, progress.activity

    def waiting(self, holder: Holder | None) -> None:
        self._activity.clear()
        note(f"Waiting for another run to end: {holder}")
        self._activity.show("Waiting for another run to end")

    def hazard_found(self, hazard: Hazard) -> None:
        self._activity.clear()
        print_warnings([str(hazard)])
        if hazard.help:
            note(f"    {hazard.help}")

    def blocked(self, wait: LockWait) -> None:
        if not self._activity.is_shown:
            note(f"  Waiting for a lock: {wait}")
        self._activity.show(f"Waiting for a lock: {wait}")

    def executing(self, action: Action, migration: Migration) -> None:
        if self._verbose:
            self._activity.clear()
            show(f"{'Executing' if action == 'apply' else 'Rolling back'} {migration.name} ...")

    def statement_running(self, at: RunningStatement) -> None:
        if self._verbose:
            self._activity.clear()
            show(f"  Running: {at}")
        self._activity.show(_running(at), self._progress.began)

    def executed(self, action: Action, migration: Migration, done: FileDone) -> None:
        self._activity.clear()
        show_styled(_done_line(action, migration.name, done.duration_ms))
        if self._verbose:
            for check in done.checks:
                found = "" if check.found == check.expected else f" (found {check.found})"
                show(f"  verified: {check.promise}{found}")
            for rows in done.rows:
                show(f"  rows of {rows}")
            for lock in done.held:
                show(f"  {lock}")
        print_warnings(done.warnings)


def _running(at: RunningStatement) -> str:
    """A running statement in a line of a terminal: how far it is, and for whom it waits."""
    place, progress = f"{at.file}:{at.line}", at.progress
    if progress is None:
        return f"{place}, {at.statements}"
    if progress.waits_for or progress.percent is None or progress.what == "sessions":
        return f"{place}, {progress}"
    left = "" if progress.remaining_ms is None else f", about {format_duration(progress.remaining_ms)} left"
    return f"{bar(progress.percent)} {progress.percent} %  {progress.phase}{left}  {place}"


def _save(data: Mapping[str, object]) -> str:
    """Writes the result to a file in the current folder; returns the line to print about that."""
    label = data["migration"]
    if label is None:
        return ""
    path = Path(f"migration-{label}-output.json")
    try:
        with path.open("w", encoding="utf-8") as file:
            json.dump(data, file, indent=2)  # piece by piece: as one text, a thousand files take megabytes
            file.write("\n")
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

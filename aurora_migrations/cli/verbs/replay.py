"""`aurora-migrations replay`: what each migration changes of the schema, as an empty PostgreSQL shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from aurora_migrations.cli import findings, options
from aurora_migrations.cli.output import Styled, plural, print_json, print_warnings, show, show_styled, tick
from aurora_migrations.cli.replays import replayed
from aurora_migrations.compiler.check import check
from aurora_migrations.engine import MigratorError, discover
from aurora_migrations.engine.catalog.change import SHOWN, describe_change
from aurora_migrations.engine.errors import InvalidInput
from aurora_migrations.engine.migrations import invalid_files
from aurora_migrations.replay import schema_file
from aurora_migrations.replay.findings import with_replay
from aurora_migrations.replay.history import Replay
from aurora_migrations.replay.outcome import Outcome


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "replay",
        "Runs the whole history on an empty, embedded PostgreSQL and shows what each migration creates, changes and "
        "drops, whether its down file undoes that, and what would fail on tables that hold rows. Only new and changed "
        "files run. Exits with 1 if a file fails.",
        "replay",
        "replay --schema-file schema.sql",
    )
    options.add_replay(parser, optional=False)
    what = (
        "write the schema after the last migration to this file (default: schema.sql beside the folder, if it exists)"
    )
    parser.add_argument("--schema-file", metavar="FILE", type=Path, help=what)
    arguments = parser.parse_args(argv)
    path: Path | None = arguments.schema_file or schema_file.find(arguments.migrations)
    try:
        if path and path.exists() and not schema_file.is_ours(path):
            raise _not_ours(path)
        if path and not path.absolute().parent.is_dir():
            raise _unwritable(path, "there is no such folder")
        files = check(discover(arguments.migrations))
        if wrong := [problem for file in files for problem in file.problems if file.action == "apply"]:
            raise invalid_files(wrong)
        found = replayed(arguments, files, wants_schema=path is not None)
        written = path if path and found.schema is not None and _write(path, found.schema) else None
    except MigratorError as error:
        return options.fail(error, "check", arguments, options.execution_name())
    failed = bool(found.problem or found.unavailable)
    if arguments.output == "json":
        print_json(_data(found, written))
        return int(failed)
    for step, outcome in zip(found.steps, found.outcomes, strict=False):
        show_styled(*_lines(step.migration.name, outcome))
    if path and found.schema is None and found.unreplayed:
        names = ", ".join(step.migration.name for step, _ in found.unreplayed[:SHOWN])
        print_warnings([f"{path} isn't written: without {names} it wouldn't be the whole schema."])
    if found.problem:
        show()
        findings.show([each for each in findings.find(with_replay(files, found), "warning") if not each.rule][-1:])
    if not found.unavailable:
        left = f"; {len(found.unreplayed)} can't be" if found.unreplayed else ""
        count = len(found.outcomes) - len(found.unreplayed)
        show(f"{plural(count, 'migration')} replayed on PostgreSQL {found.major}{left}.")
    if written:
        show(f"Wrote {written}")
    return int(failed)


def _write(path: Path, schema: str) -> bool:
    """Writes the schema, where it differs; whether it did.

    Raises:
        InvalidInput: the file can't be written.
    """
    if not schema_file.first_difference(path, schema):
        return False
    try:
        path.write_text(schema, encoding="utf-8", newline="\n")
    except OSError as error:
        raise _unwritable(path, str(error.strerror)) from error
    return True


def _unwritable(path: Path, reason: str) -> InvalidInput:
    return InvalidInput(
        f"{path} can't be written: {reason}.",
        cause="Its folder is missing, or may not be written to.",
        solution="Name another file with --schema-file.",
    )


def _not_ours(path: Path) -> InvalidInput:
    return InvalidInput(
        f"{path} wasn't written by `aurora-migrations replay`.",
        cause="Its first line isn't the one that every schema file has, so it may be something else.",
        solution="Name another file with --schema-file, or remove this one.",
    )


# ---- for people ------------------------------------------------------------------------------------------------------


def _lines(name: str, outcome: Outcome) -> Iterator[Styled]:
    if outcome.unreplayed:
        yield Styled(("- ", "yellow"), (name, "bold"), (f"  not replayed: {outcome.unreplayed}", ""))
        return
    change = describe_change(outcome.change) if outcome.change else ""
    yield Styled((f"{tick()} ", "bold green"), (name, "bold"), (f"  {change or 'changes no schema'}", ""))
    for what, text in (
        ("down file", outcome.down_failure and f"fails: {outcome.down_failure}"),
        ("down file", outcome.down_unreplayed and f"not replayed: {outcome.down_unreplayed}"),
        ("after the down file", outcome.remains),
        ("after down file and migration", outcome.differs_again),
        ("with rows", outcome.rows and f"line {outcome.rows.line} fails: {outcome.rows.reason}"),
    ):
        if text:
            yield Styled((f"    {what}: {text}", "yellow"))


# ---- for programs ----------------------------------------------------------------------------------------------------


def _data(found: Replay, written: Path | None) -> dict[str, object]:
    return {
        "ok": not (found.problem or found.unavailable),
        "postgresql": found.major,
        "replayed": found.replayed,
        "unavailable": found.unavailable or None,
        "schema_file": str(written) if written else None,
        "problem": found.problem._asdict() | {"cause": found.cause} if found.problem else None,
        "migrations": [
            {"migration": step.migration.label, "file": step.migration.name, **_outcome(outcome)}
            for step, outcome in zip(found.steps, found.outcomes, strict=False)
        ],
    }


def _outcome(outcome: Outcome) -> dict[str, object]:
    rows = outcome.rows
    return {
        "change": outcome.change.to_json() if outcome.change else None,
        "unreplayed": outcome.unreplayed or None,
        "down": {
            "change": outcome.down.to_json() if outcome.down else None,
            "unreplayed": outcome.down_unreplayed or None,
            "failure": outcome.down_failure or None,
            "remains": outcome.remains or None,
            "differs_again": outcome.differs_again or None,
        },
        "rows": {"line": rows.line, "column": rows.column, "reason": rows.reason} if rows else None,
    }

"""`aurora-migrations check`: errors and hazards in the files, and what each of them will do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_migrations.cli import findings, options
from aurora_migrations.cli.output import note, print_json, print_warnings, show, show_styled
from aurora_migrations.cli.replays import is_wanted, replayed
from aurora_migrations.compiler.check import Checked, check, of_hazards, of_problems, write_manifest
from aurora_migrations.compiler.locks.effects import Effect
from aurora_migrations.engine import MigratorError, discover
from aurora_migrations.engine.errors import PROGRAM, InvalidFile
from aurora_migrations.engine.migrations import Problem
from aurora_migrations.engine.script import Statement

if TYPE_CHECKING:
    from aurora_migrations.replay.history import Replay


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "check",
        "Checks every file with PostgreSQL's own grammar, for errors and for statements that are risky for a running "
        "application. Then runs the whole history on an empty, embedded PostgreSQL, as `replay` does. Exits with 1 if "
        "a run would be refused.",
        "check --hazards refuse --output github",
        outputs=("text", "json", "github"),
    )
    options.add_hazards(parser)
    manifest = "write manifest.json, with which the files run without the grammar, if there are no errors"
    parser.add_argument("--write-manifest", action="store_true", help=manifest)
    locks = "also list the locks that each statement takes"
    parser.add_argument("--locks", action="store_true", help=locks)
    options.add_replay(parser)
    schema = "fail if this file isn't the schema after the last migration (default: schema.sql beside the folder)"
    parser.add_argument("--schema-file", metavar="FILE", type=Path, help=schema)
    arguments = parser.parse_args(argv)
    replay, stale = None, None
    try:
        replays = is_wanted(arguments)
        needs_scripts = replays or arguments.write_manifest or arguments.locks or arguments.output == "json"
        files = check(discover(arguments.migrations), only_findings=not needs_scripts)
        refuse = arguments.hazards == "refuse"
        if replays and not any(file.problems for file in files):
            from aurora_migrations.replay import schema_file
            from aurora_migrations.replay.findings import with_replay

            path = arguments.schema_file or schema_file.find(arguments.migrations)
            replay = replayed(arguments, files, wants_schema=path is not None)
            files = with_replay(files, replay)
            stale = _stale(path, replay) if path else None
        refused = bool(stale) or any(file.problems or (refuse and file.open_hazards) for file in files)
        replayed_on = replay.major if replay else None
        writes = arguments.write_manifest and not refused
        digest = write_manifest(arguments.migrations, files, replayed_on) if writes else None
    except MigratorError as error:
        if arguments.output == "github" and isinstance(error, InvalidFile):  # misnamed files
            show(*of_problems(error.problems, error.name, str(arguments.migrations)))
            return 1
        return options.fail(error, "check", arguments, options.execution_name())
    found = list(findings.find(files, "error" if refuse else "warning"))
    found += [findings.of_problem("error", stale)] if stale else []
    if arguments.output == "json":
        known = {"postgresql": replay.major, "unavailable": replay.unavailable or None} if replay else None
        about = {"replay": known, "schema_file": stale._asdict() if stale else None}
        print_json({"ok": not refused, "digest": digest, **about, "files": list(map(_data, files))})
    elif arguments.output == "github":
        folder = str(arguments.migrations)
        for file in files:
            lines = [
                *of_problems(file.problems, "InvalidFile", folder),
                *of_problems(file.warnings, "warning", folder, "warning"),
                *of_hazards(file.hazards, folder, refuse),
            ]
            if lines:
                show(*lines)
        if stale:
            show(*of_problems([stale], "schema file"))
        note(findings.summary(files, found))
    else:
        if arguments.locks:
            for file in files:
                show(*_locks(file), end="\n\n")
        findings.show(found)
        show_styled(findings.summary(files, found))
        if digest:
            show(f"Wrote {arguments.migrations / 'manifest.json'} (digest {digest[:12]})")
    return 1 if refused else 0


def _stale(path: Path, replay: Replay) -> Problem | None:
    """The problem of a schema file that isn't the schema after the last migration."""
    if replay.unavailable or replay.problem:
        return None
    if replay.schema is None:
        names = ", ".join(step.migration.name for step, _ in replay.unreplayed)
        print_warnings([f"{path} isn't compared: without {names}, which can't be replayed, the schema isn't complete."])
        return None
    from aurora_migrations.replay import schema_file

    line = schema_file.first_difference(path, replay.schema)
    write = f"write it with `{PROGRAM} replay --schema-file {path}`"
    return Problem(str(path), f"this isn't the schema after the last migration; {write}", line, 1) if line else None


def _locks(file: Checked) -> Iterator[str]:
    """What each statement of a file locks, and which of its hazards it accepts."""
    reason = file.compiled.script.reason if file.compiled else ""
    yield f"{file.file}: {reason}" if reason else f"{file.file}:"
    for place, effects, more in _statements(file):
        for effect in effects:
            yield f"  {place.line}:{place.column}  {effect.table}: {effect.lock}, {_meaning(effect)}"
            yield f"      {effect.why}"
        if more:
            yield f"  {place.line}:{place.column}  {more}"
    for hazard in file.accepted:
        yield f"  {hazard.line}:{hazard.column}  accepted: {hazard.rule}, because {hazard.allowed_because}"


def _statements(file: Checked) -> Iterator[tuple[Statement, Sequence[Effect], str]]:
    """Each statement with its effects and a note about it."""
    if file.compiled:
        yield from zip(file.compiled.script.statements, file.effects, file.notes, strict=False)


def _meaning(effect: Effect) -> str:
    """`readers and writers wait; rewrites it, perhaps`."""
    if effect.reads_blocked:
        waits = "readers and writers wait"
    elif effect.writes_blocked:
        waits = "writers wait, readers don't"
    else:
        waits = "readers and writers continue"
    doubt = {"yes": "", "maybe": ", perhaps"}
    work = (("rewrites it", str(effect.rewrites)), ("scans it", str(effect.scans)))
    return "; ".join([waits, *(f"{word}{doubt[answer]}" for word, answer in work if answer in doubt)])


def _data(file: Checked) -> dict[str, object]:
    """The same, for programs."""
    script = file.compiled.script if file.compiled else None
    return {
        "file": file.file,
        "migration": file.migration.label,
        "reason": script.reason if script else None,
        "units": [asdict(unit) for unit in script.units] if script else [],
        "statements": [
            asdict(place) | {"effects": [effect.to_dict() for effect in effects], "note": more}
            for place, effects, more in _statements(file)
        ],
        "problems": [problem._asdict() for problem in file.problems],
        "warnings": [warning._asdict() for warning in file.warnings],
        "hazards": [asdict(hazard) for hazard in file.hazards],
    }

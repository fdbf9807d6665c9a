"""`aurora-migrations check`: errors and hazards in the files, and what each of them will do."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from aurora_migrations.cli import options
from aurora_migrations.cli.output import note, plural, print_json, show
from aurora_migrations.compiler.check import Checked, check, of_hazards, of_problems, write_manifest
from aurora_migrations.compiler.locks.effects import Effect
from aurora_migrations.engine import MigratorError, discover
from aurora_migrations.engine.errors import InvalidFile
from aurora_migrations.engine.script import Statement


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "check",
        "Reads every file with PostgreSQL's own grammar and says what is wrong with it, what may hurt when it is "
        "deployed, in which transactions it runs and why, and which locks each statement takes on which table. Needs "
        "no database. Exits with 1 if a run would be refused.",
        "check --hazards refuse --output github",
        outputs=("text", "json", "github"),
    )
    options.add_hazards(parser)
    manifest = "write manifest.json beside the files, if all is well"
    parser.add_argument("--write-manifest", action="store_true", help=manifest)
    parser.add_argument("--quiet", action="store_true", help="say only what is wrong or may hurt")
    arguments = parser.parse_args(argv)
    try:
        files = check(discover(arguments.migrations))
        refuse = arguments.hazards == "refuse"
        refused = any(file.problems or (refuse and file.open_hazards) for file in files)
        digest = write_manifest(arguments.migrations, files) if arguments.write_manifest and not refused else None
    except MigratorError as error:
        if arguments.output == "github" and isinstance(error, InvalidFile):  # misnamed files
            show(*of_problems(error.problems, error.name, str(arguments.migrations)))
            return 1
        return options.fail(error, "check", arguments, options.execution_name())
    if arguments.output == "json":
        print_json({"ok": not refused, "digest": digest, "files": list(map(_data, files))})
    elif arguments.output == "github":
        folder = str(arguments.migrations)
        for file in files:
            lines = [
                *of_problems(file.problems, "InvalidFile", folder),
                *of_problems(file.warnings, "allow", folder, "warning"),
                *of_hazards(file.hazards, folder, refuse),
            ]
            if lines:
                show(*lines)
        note(_summary(files))
    else:
        for file in files:
            if lines := list(_lines(file, arguments)):
                show(*lines, end="\n\n")
        show(_summary(files))
        if digest:
            show(f"Wrote {arguments.migrations / 'manifest.json'} (digest {digest[:12]})")
    return 1 if refused else 0


def _summary(files: Sequence[Checked]) -> str:
    problems = sum(len(file.problems) for file in files)
    hazards = sum(len(file.open_hazards) for file in files)
    count = plural(len(files), "file")
    if not problems and not hazards:
        return f"{count} checked: nothing wrong"
    return f"{count} checked: {plural(problems, 'error')}, {plural(hazards, 'hazard')}"


def _lines(file: Checked, arguments: argparse.Namespace) -> Iterator[str]:
    """What is known of a file, for people."""
    findings = []
    for problem in file.problems:
        findings += [f"  error: {problem}", *(f"      {line}" for line in problem.excerpt.splitlines())]
    findings += [f"  warning: {warning}" for warning in file.warnings]
    word = "error" if arguments.hazards == "refuse" else "warning"
    for hazard in file.open_hazards:
        findings += [f"  {word}: {hazard}", *([f"      {hazard.help}"] if hazard.help else [])]
    if arguments.quiet and not findings:
        return
    reason = file.compiled.script.reason if file.compiled else ""
    yield f"{file.file}: {reason}" if reason else f"{file.file}:"
    if not arguments.quiet:
        for place, effects, more in _statements(file):
            for effect in effects:
                yield f"  {place.line}:{place.column}  {effect.table}: {effect.lock}, {_meaning(effect)}"
                yield f"      {effect.why}"
            if more:
                yield f"  {place.line}:{place.column}  {more}"
        for hazard in file.accepted:
            yield f"  {hazard.line}:{hazard.column}  accepted: {hazard.rule}, because {hazard.allowed_because}"
    yield from findings


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
        waits = "readers and writers go on"
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
        "problems": [asdict(problem) for problem in file.problems],
        "warnings": [asdict(warning) for warning in file.warnings],
        "hazards": [asdict(hazard) for hazard in file.hazards],
    }

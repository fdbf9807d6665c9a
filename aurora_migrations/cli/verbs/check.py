"""`aurora-migrations check`: errors and hazards in the files, and what each of them will do."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from aurora_migrations.cli import options
from aurora_migrations.cli.output import note, plural, print_json, show
from aurora_migrations.compiler.check import Checked, check, write_manifest
from aurora_migrations.compiler.github_annotations import of_hazards, of_problems
from aurora_migrations.compiler.locks.effects import Effect
from aurora_migrations.engine import MigratorError, discover
from aurora_migrations.engine.errors import InvalidFile


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
    parser.add_argument(
        "--write-manifest", action="store_true", help="write manifest.json beside the files, if all is well"
    )
    parser.add_argument("--quiet", action="store_true", help="say only what is wrong or may hurt")
    arguments = parser.parse_args(argv)
    try:
        files = check(discover(arguments.migrations))
        refused = _is_refused(files, arguments)
        digest = write_manifest(arguments.migrations, files) if arguments.write_manifest and not refused else None
    except MigratorError as error:
        if arguments.output == "github" and isinstance(error, InvalidFile):  # misnamed files
            show(*of_problems(error.problems, error.name, str(arguments.migrations)))
            return 1
        return options.fail(error, "check", arguments, options.execution_name())
    _PRINT[arguments.output](files, arguments, digest)
    return 1 if refused else 0


def _is_refused(files: Sequence[Checked], arguments: argparse.Namespace) -> bool:
    wrong = any(file.problems for file in files)
    return wrong or (arguments.hazards == "refuse" and any(file.open_hazards for file in files))


# ---- text -----------------------------------------------------------------------------------------------------------


def _print_text(files: Sequence[Checked], arguments: argparse.Namespace, digest: str | None) -> None:
    for file in files:
        lines = list(_of_file(file, arguments))
        if lines:
            show(*lines, end="\n\n")
    show(_summary(files))
    if digest:
        show(f"Wrote {arguments.migrations / 'manifest.json'} (digest {digest[:12]})")


def _of_file(file: Checked, arguments: argparse.Namespace) -> Iterator[str]:
    findings = [*_problems(file), *_hazards(file, arguments)]
    if arguments.quiet and not findings:
        return
    reason = file.compiled.script.reason if file.compiled else ""
    yield f"{file.file}: {reason}" if reason else f"{file.file}:"
    if not arguments.quiet:
        yield from _effects(file)
        for hazard in file.accepted:
            yield f"  {hazard.line}:{hazard.column}  accepted: {hazard.rule}, because {hazard.allowed_because}"
    yield from findings


def _problems(file: Checked) -> Iterator[str]:
    for problem in file.problems:
        yield f"  error: {problem}"
        yield from (f"      {line}" for line in problem.excerpt.splitlines())
    for warning in file.warnings:
        yield f"  warning: {warning}"


def _hazards(file: Checked, arguments: argparse.Namespace) -> Iterator[str]:
    word = "error" if arguments.hazards == "refuse" else "warning"
    for hazard in file.open_hazards:
        yield f"  {word}: {hazard}"
        if hazard.help:
            yield f"      {hazard.help}"


def _effects(file: Checked) -> Iterator[str]:
    if file.compiled is None:
        return
    for place, effects, more in zip(file.compiled.script.statements, file.effects, file.notes, strict=False):
        for effect in effects:
            yield f"  {place.line}:{place.column}  {effect.table}: {effect.lock}, {_meaning(effect)}"
            yield f"      {effect.why}"
        if more:
            yield f"  {place.line}:{place.column}  {more}"


def _meaning(effect: Effect) -> str:
    """`readers and writers wait; rewrites it, perhaps`."""
    if effect.reads_blocked:
        waits = "readers and writers wait"
    elif effect.writes_blocked:
        waits = "writers wait, readers don't"
    else:
        waits = "readers and writers go on"
    work = (("rewrites it", str(effect.rewrites)), ("scans it", str(effect.scans)))
    return "; ".join([waits, *(f"{word}{_DOUBT[answer]}" for word, answer in work if answer in _DOUBT)])


_DOUBT = {"yes": "", "maybe": ", perhaps"}


def _summary(files: Sequence[Checked]) -> str:
    problems = sum(len(file.problems) for file in files)
    hazards = sum(len(file.open_hazards) for file in files)
    count = plural(len(files), "file")
    if not problems and not hazards:
        return f"{count} checked: nothing wrong"
    return f"{count} checked: {plural(problems, 'error')}, {plural(hazards, 'hazard')}"


# ---- for programs ---------------------------------------------------------------------------------------------------


def _print_json(files: Sequence[Checked], arguments: argparse.Namespace, digest: str | None) -> None:
    print_json({"ok": not _is_refused(files, arguments), "digest": digest, "files": list(map(_data, files))})


def _data(file: Checked) -> dict[str, object]:
    script = file.compiled.script if file.compiled else None
    statements = script.statements if script else ()
    return {
        "file": file.file,
        "migration": file.migration.label,
        "reason": script.reason if script else None,
        "units": [asdict(unit) for unit in script.units] if script else [],
        "statements": [
            asdict(place) | {"effects": [effect.to_dict() for effect in effects], "note": more}
            for place, effects, more in zip(statements, file.effects, file.notes, strict=False)
        ],
        "problems": [asdict(problem) for problem in file.problems],
        "warnings": [asdict(warning) for warning in file.warnings],
        "hazards": [asdict(hazard) for hazard in file.hazards],
    }


def _print_github(files: Sequence[Checked], arguments: argparse.Namespace, digest: str | None) -> None:
    folder = str(arguments.migrations)
    for file in files:
        lines = [
            *of_problems(file.problems, "InvalidFile", folder),
            *of_problems(file.warnings, "allow", folder, "warning"),
            *of_hazards(file.hazards, folder, arguments.hazards == "refuse"),
        ]
        if lines:
            show(*lines)
    note(_summary(files))


_PRINT = {"text": _print_text, "json": _print_json, "github": _print_github}

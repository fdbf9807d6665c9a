"""Everything that can be known of a folder before it is deployed: what is wrong, what may hurt, what it will do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compiler import effects as effect
from compiler.effects import Effect
from compiler.hazards import Allow, Hazard, Source, apply_allows, find_hazards, parse_allow, unused
from compiler.live import Compiled, compile_migration
from compiler.tables import tables
from functions.migrator import manifest
from functions.migrator.errors import InvalidFile
from functions.migrator.files import Migration, Package, Problem
from functions.migrator.options import Options
from functions.migrator.script import Action


@dataclass(frozen=True)
class Checked:
    """One file that runs: a migration's own, or its down file.

    Attributes:
        problems: what forbids to run it, in it and in its verify file.
        warnings: what a person should take out, such as an `allow` that covers nothing.
        effects: per statement, what it does to which table.
        notes: per statement, why it may do more than its effects say; empty where it can't.
    """

    action: Action
    migration: Migration
    compiled: Compiled | None
    problems: tuple[Problem, ...]
    hazards: tuple[Hazard, ...] = ()
    warnings: tuple[Problem, ...] = ()
    effects: tuple[tuple[Effect, ...], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """The file's name."""
        path = self.migration.path if self.action == "apply" else self.migration.down
        return path.name if path else self.migration.name

    @property
    def accepted(self) -> tuple[Hazard, ...]:
        """Hazards that the file accepts, each with its reason."""
        return tuple(hazard for hazard in self.hazards if hazard.allowed_because is not None)

    @property
    def open_hazards(self) -> tuple[Hazard, ...]:
        """Hazards that nobody has accepted."""
        return tuple(hazard for hazard in self.hazards if hazard.allowed_because is None)


def check(package: Package, defaults: Options | None = None) -> list[Checked]:
    """Looks at every file of a package, down and verify files too.

    Raises:
        InvalidInput: squawk is missing.
    """
    options = defaults or Options()
    files = [_compile(action, migration, options) for action, migration in _runnable(package)]
    sound = [file for file in files if file.compiled is not None and file.compiled.script.tokens]
    found = find_hazards([_source(file) for file in sound if file.compiled])
    return [_judge(file, found.get(file.file, [])) for file in files]


def write_manifest(folder: Path, files: Sequence[Checked]) -> str:
    """Writes the manifest of files without problems into a folder; returns its digest."""
    scripts: dict[int, dict[str, Any]] = {}
    extras: dict[int, dict[str, Any]] = {}
    for file in files:
        if file.compiled:
            scripts.setdefault(file.migration.version, {})[file.action] = file.compiled.script
            extras.setdefault(file.migration.version, {})[f"{file.action}_notes"] = _extras(file)
    return manifest.write(folder, scripts, extras)


def _runnable(package: Package) -> Iterator[tuple[Action, Migration]]:
    for migration in package.migrations:
        yield "apply", migration
        if migration.down is not None:
            yield "rollback", migration


def _compile(action: Action, migration: Migration, options: Options) -> Checked:
    try:
        compiled = compile_migration(action, migration, options)
    except InvalidFile as error:
        return Checked(action, migration, None, tuple(error.problems))
    return Checked(action, migration, compiled, compiled.problems)


def _source(file: Checked) -> Source:
    compiled = file.compiled
    if compiled is None:
        raise ValueError(f"{file.file} could not be read")
    units = compiled.script.units
    return Source(file.file, compiled.text, compiled.statements, len(units) <= 1 and not any(u.alone for u in units))


def _judge(file: Checked, hazards: Sequence[Hazard]) -> Checked:
    if file.compiled is None:
        return file
    allows = _allows(file.file, file.compiled.script.options)
    told, idle = apply_allows([hazard for hazard in hazards if not _expected(file.action, hazard)], allows)
    if not file.compiled.script.tokens:
        idle = []  # nothing of a broken file has been looked at
    refused = [Problem(h.file, h.message, h.line, h.column) for h in told if h.refused]
    already = {(problem.line, problem.column) for problem in file.problems}
    return Checked(
        file.action,
        file.migration,
        file.compiled,
        (*file.problems, *(p for p in refused if (p.line, p.column) not in already)),
        tuple(hazard for hazard in told if not hazard.refused),
        tuple(unused(allow) for allow in idle),
        tuple(effect.effects(file.compiled.statements)),
        tuple(effect.note(statement) for statement in file.compiled.statements),
    )


def _expected(action: Action, hazard: Hazard) -> bool:
    """Undoing drops what was made; that it does is no news in a down file."""
    return action == "rollback" and hazard.rule.startswith("ban-drop-")


def _allows(file: str, options: Options) -> list[Allow]:
    """The file's accepted hazards; what is wrong with the others the compiler has told."""
    allows = []
    for line, value in options.allow:
        with contextlib.suppress(ValueError):
            allows.append(parse_allow(value, file, line))
    return allows


def _extras(file: Checked) -> dict[str, Any]:
    return {
        "tables": list(tables(file.compiled.statements)) if file.compiled else [],
        "effects": [[e.to_dict() for e in of_statement] for of_statement in file.effects],
        "notes": list(file.notes),
        "hazards": [asdict(hazard) for hazard in file.hazards],
    }

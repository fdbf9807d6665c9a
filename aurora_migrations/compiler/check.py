"""Checks migrations before they are deployed: what is wrong, which hazards they have, what they will lock."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aurora_migrations.compiler.compile import Compiled, compile_migration
from aurora_migrations.compiler.hazards import LintedFile, apply_allows, find_hazards, parse_allow, unused
from aurora_migrations.compiler.locks.caveats import caveat
from aurora_migrations.compiler.locks.effects import Effect
from aurora_migrations.compiler.unit_dependencies import doubtful_enum_values
from aurora_migrations.engine import interrupts, manifest
from aurora_migrations.engine.errors import InvalidFile
from aurora_migrations.engine.migrations import Migration, Package, Problem
from aurora_migrations.engine.options import Options
from aurora_migrations.engine.script import Action, Hazard, Script


@dataclass(frozen=True)
class Checked:
    """One file that runs: a migration's own, or its down file.

    Attributes:
        compiled: None if it can't be read.
        problems: what forbids running it, in it and in its verify file.
        warnings: what should be removed, such as an `allow` that covers nothing.
        notes: per statement, why it may do more than its effects show; empty where it can't.
    """

    action: Action
    migration: Migration
    compiled: Compiled | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def hazards(self) -> tuple[Hazard, ...]:
        return self.compiled.script.hazards if self.compiled else ()

    @property
    def effects(self) -> tuple[tuple[Effect, ...], ...]:
        """Per statement, its effects on tables."""
        return self.compiled.effects if self.compiled else ()

    @property
    def file(self) -> str:
        path = self.migration.path if self.action == "apply" else self.migration.down
        return path.name if path else self.migration.name

    def without_trees(self) -> Checked:
        """The same without the text and its syntax, which take far more memory than all else."""
        if self.compiled is None:
            return self
        return replace(self, compiled=replace(self.compiled, text=b"", statements=()), notes=())

    @property
    def accepted(self) -> tuple[Hazard, ...]:
        return tuple(hazard for hazard in self.hazards if hazard.allowed_because is not None)

    @property
    def open_hazards(self) -> tuple[Hazard, ...]:
        return tuple(hazard for hazard in self.hazards if hazard.allowed_because is None)


def check(package: Package, defaults: Options | None = None) -> list[Checked]:
    """Checks every file of a package, also down and verify files.

    Raises:
        InvalidInput: squawk is missing.
    """
    actions: tuple[Action, ...] = ("apply", "rollback")
    both = [(action, each) for each in package.migrations for action in actions]
    return check_files([(action, each) for action, each in both if action == "apply" or each.down], defaults)


def check_files(wanted: Sequence[tuple[Action, Migration]], defaults: Options | None = None) -> list[Checked]:
    """Checks these files.

    Raises:
        InvalidInput: squawk is missing.
        Cancelled: Ctrl-C was pressed, in a run that handles it.
    """
    files = list[Checked]()
    for action, migration in wanted:
        interrupts.raise_if_pressed("reading the files")  # as a large file takes seconds
        try:
            compiled = compile_migration(action, migration, defaults or Options())
            files.append(Checked(action, migration, compiled, compiled.problems))
        except InvalidFile as error:
            files.append(Checked(action, migration, None, tuple(error.problems)))
    found = find_hazards([_linted_file(file.compiled) for file in files if file.compiled and file.compiled.is_parsed])
    return [_with_hazards(file, found.get(file.file, [])) for file in files]


def write_manifest(folder: Path, files: Sequence[Checked]) -> str:
    """Writes the manifest of files without problems into a folder; returns its digest."""
    scripts: dict[Migration, dict[str, Script]] = {}
    for file in files:
        if file.compiled:
            scripts.setdefault(file.migration, {})[file.action] = file.compiled.script
    return manifest.write(folder, scripts)


def _linted_file(compiled: Compiled) -> LintedFile:
    units = compiled.script.units
    in_transaction = len(units) <= 1 and not any(unit.nontransactional for unit in units)
    last_unit = units[-1].start if len(units) > 1 else 0
    enum_values = tuple(doubtful_enum_values(compiled.statements, units))
    return LintedFile(compiled.script.file, compiled.text, compiled.statements, in_transaction, last_unit, enum_values)


def _with_hazards(file: Checked, hazards: Sequence[Hazard]) -> Checked:
    if file.compiled is None:
        return file
    allows = []
    for line, value in file.compiled.script.options.allow:
        with contextlib.suppress(ValueError):  # a problem of the compiled file
            allows.append(parse_allow(value, file.file, line))
    # Undoing drops what was created: in a down file that is no hazard.
    hazards = [h for h in hazards if not (file.action == "rollback" and h.rule.startswith("ban-drop-"))]
    hazards, idle = apply_allows(hazards, allows)
    if not file.compiled.is_parsed:
        idle = []  # nothing in it has been checked
    refused = [Problem(h.file, h.message, h.line, h.column) for h in hazards if h.refused]
    already = {(problem.line, problem.column) for problem in file.problems}
    script = replace(file.compiled.script, hazards=tuple(hazard for hazard in hazards if not hazard.refused))
    return replace(
        file,
        compiled=replace(file.compiled, script=script),
        problems=(*file.problems, *(p for p in refused if (p.line, p.column) not in already)),
        warnings=tuple(unused(allow) for allow in idle),
        notes=tuple(caveat(statement.node) for statement in file.compiled.statements),
    )

"""Everything that can be known of a folder before it is deployed: what is wrong, what may hurt, what it will do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aurora_migrations.compiler.compile import Compiled, compile_migration
from aurora_migrations.compiler.hazards import Allow, Source, apply_allows, find_hazards, parse_allow, unused
from aurora_migrations.compiler.locks import effects as effect
from aurora_migrations.compiler.locks.effects import Effect
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
        problems: what forbids to run it, in it and in its verify file.
        warnings: what a person should take out, such as an `allow` that covers nothing.
        notes: per statement, why it may do more than its effects say; empty where it can't.
    """

    action: Action
    migration: Migration
    compiled: Compiled | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def hazards(self) -> tuple[Hazard, ...]:
        """What may hurt, accepted or not."""
        return self.compiled.script.hazards if self.compiled else ()

    @property
    def effects(self) -> tuple[tuple[Effect, ...], ...]:
        """Per statement, what it does to which table."""
        return self.compiled.effects if self.compiled else ()

    @property
    def file(self) -> str:
        """The file's name."""
        path = self.migration.path if self.action == "apply" else self.migration.down
        return path.name if path else self.migration.name

    @property
    def is_broken(self) -> bool:
        """Whether it can't be read, or is no SQL."""
        return self.compiled is None or not self.compiled.script.tokens

    def without_trees(self) -> Checked:
        """The same without the text and its syntax, which take far more memory than all else."""
        if self.compiled is None:
            return self
        return replace(self, compiled=replace(self.compiled, text=b"", statements=()), notes=())

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
    return check_files(list(files_of(package.migrations)), defaults)


def files_of(migrations: Sequence[Migration]) -> Iterator[tuple[Action, Migration]]:
    """Every file that runs: each migration's own, and its down file."""
    for migration in migrations:
        yield "apply", migration
        if migration.down is not None:
            yield "rollback", migration


def check_files(wanted: Sequence[tuple[Action, Migration]], defaults: Options | None = None) -> list[Checked]:
    """Looks at these files.

    Raises:
        InvalidInput: squawk is missing.
        Cancelled: Ctrl-C was pressed, in a run that has taken it.
    """
    options = defaults or Options()
    files = [_compile(action, migration, options) for action, migration in _heard(wanted)]
    found = find_hazards([_source(file.compiled) for file in files if file.compiled and file.compiled.is_parsed])
    return [_judge(file, found.get(file.file, [])) for file in files]


def _heard(wanted: Sequence[tuple[Action, Migration]]) -> Iterator[tuple[Action, Migration]]:
    """One by one, and between two of them Ctrl-C is heard: a large file takes seconds."""
    for each in wanted:
        interrupts.hear("reading the files")
        yield each


def write_manifest(folder: Path, files: Sequence[Checked]) -> str:
    """Writes the manifest of files without problems into a folder; returns its digest."""
    scripts: dict[Migration, dict[str, Script]] = {}
    for file in files:
        if file.compiled:
            scripts.setdefault(file.migration, {})[file.action] = file.compiled.script
    return manifest.write(folder, scripts)


def _compile(action: Action, migration: Migration, options: Options) -> Checked:
    try:
        compiled = compile_migration(action, migration, options)
    except InvalidFile as error:
        return Checked(action, migration, None, tuple(error.problems))
    return Checked(action, migration, compiled, compiled.problems)


def _source(compiled: Compiled) -> Source:
    units = compiled.script.units
    in_transaction = len(units) <= 1 and not any(unit.alone for unit in units)
    last = units[-1].start if len(units) > 1 else 0
    return Source(compiled.script.file, compiled.text, compiled.statements, in_transaction, last)


def _judge(file: Checked, hazards: Sequence[Hazard]) -> Checked:
    if file.compiled is None:
        return file
    allows = _allows(file.file, file.compiled.script.options)
    told, idle = apply_allows([hazard for hazard in hazards if not _expected(file.action, hazard)], allows)
    if not file.compiled.is_parsed:
        idle = []  # nothing of it has been looked at
    refused = [Problem(h.file, h.message, h.line, h.column) for h in told if h.refused]
    already = {(problem.line, problem.column) for problem in file.problems}
    script = replace(file.compiled.script, hazards=tuple(hazard for hazard in told if not hazard.refused))
    return Checked(
        file.action,
        file.migration,
        replace(file.compiled, script=script),
        (*file.problems, *(p for p in refused if (p.line, p.column) not in already)),
        tuple(unused(allow) for allow in idle),
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

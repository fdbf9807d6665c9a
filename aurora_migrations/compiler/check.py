"""Checks migrations before they are deployed: what is wrong, which hazards they have, what they will lock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from aurora_migrations.compiler.compile import Compiled, compile_migration
from aurora_migrations.compiler.hazards import REPLAYED, Allow, LintedFile, apply_allows, find_hazards, parse_allow
from aurora_migrations.compiler.locks.effects import Effect, caveat
from aurora_migrations.compiler.unit_dependencies import doubtful_enum_values
from aurora_migrations.compiler.unknown_tables import unknown_tables
from aurora_migrations.engine import interrupts, manifest
from aurora_migrations.engine.errors import InvalidFile
from aurora_migrations.engine.migrations import Migration, Package, Problem
from aurora_migrations.engine.options import Options
from aurora_migrations.engine.script import Action, Hazard, Script

_IDLE = "`allow = {0}` no longer applies: the file has no such hazard; take the line out"


@dataclass(frozen=True)
class Checked:
    """One file that runs: a migration's own, or its down file."""

    action: Action
    migration: Migration
    compiled: Compiled | None  # None if it can't be read
    problems: tuple[Problem, ...]  # what forbids running it, in it and in its verify file
    warnings: tuple[Problem, ...] = ()  # what should be removed, such as an `allow` that covers nothing
    notes: tuple[str, ...] = ()  # per statement, why it may do more than its effects show; empty where it can't

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
    linted = list[LintedFile]()
    for compiled in (file.compiled for file in files if file.compiled and file.compiled.is_parsed):
        units = compiled.script.units
        in_transaction = len(units) <= 1 and not any(unit.nontransactional for unit in units)
        last_unit = units[-1].start if len(units) > 1 else 0
        enum_values = tuple(doubtful_enum_values(compiled.statements, units))
        of_file = compiled.script.file, compiled.text, compiled.statements, in_transaction, last_unit, enum_values
        linted.append(LintedFile(*of_file))
    found = find_hazards(linted)
    unknown = unknown_tables([file.compiled for file in files if file.compiled and file.action == "apply"])
    return [_with_hazards(file, found.get(file.file, []), unknown.get(file.file, ())) for file in files]


def write_manifest(folder: Path, files: Sequence[Checked], replayed_on: int | None = None) -> str:
    """Writes the manifest of files without problems into a folder; returns its digest. `replayed_on` is the major
    version of PostgreSQL on which they were replayed, if they were."""
    scripts: dict[Migration, dict[str, Script]] = {}
    for file in files:
        if file.compiled:
            scripts.setdefault(file.migration, {})[file.action] = file.compiled.script
    return manifest.write(folder, scripts, replayed_on)


def with_replay_hazards(file: Checked, hazards: Sequence[Hazard]) -> Checked:
    """A checked file with what its replay has found."""
    if file.compiled is None:
        return file
    allows = [allow for allow in _allows(file.compiled) if allow.rule in REPLAYED]
    found, idle = apply_allows(hazards, allows)
    merged = sorted((*file.hazards, *found), key=lambda hazard: (hazard.line, hazard.column, hazard.rule))
    script = replace(file.compiled.script, hazards=tuple(merged))
    compiled = replace(file.compiled, script=script)
    return replace(file, compiled=compiled, warnings=(*file.warnings, *_idle(file.file, idle)))


def _with_hazards(file: Checked, hazards: Sequence[Hazard], unknown: Sequence[Problem]) -> Checked:
    if file.compiled is None:
        return file
    allows = [allow for allow in _allows(file.compiled) if allow.rule not in REPLAYED]
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
        warnings=(*unknown, *_idle(file.file, idle)),
        notes=tuple(caveat(statement.node) for statement in file.compiled.statements),
    )


def _allows(compiled: Compiled) -> list[Allow]:
    allows = []
    for line, value in compiled.script.options.allow:
        with contextlib.suppress(ValueError):  # a problem of the compiled file
            allows.append(parse_allow(value, line))
    return allows


def _idle(file: str, allows: Sequence[Allow]) -> Iterator[Problem]:
    """What allows are that cover nothing."""
    return (Problem(file, _IDLE.format(allow.rule), allow.line, 1) for allow in allows)


# ---- hazards and problems as GitHub annotations on the lines of a pull request ---------------------------------------

# The commands: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands (error and warning).
# The escaping is what the runner undoes, as GitHub's own toolkit writes it:
# https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts (escapeData, escapeProperty).
Level = Literal["error", "warning"]
_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY = {**_DATA, ":": "%3A", ",": "%2C"}


def annotation(level: Level, file: str, line: int, column: int, title: str, message: str) -> str:
    """One workflow command. Line and column count from 1; a line of 0 means the file as a whole."""
    place = {"line": str(line), "col": str(column)} if line else {}
    properties = {"file": file, **place, "title": title}
    listed = ",".join(f"{name}={_escape(value, _PROPERTY)}" for name, value in properties.items())
    return f"::{level} {listed}::{_escape(message, _DATA)}"


def of_hazards(hazards: Iterable[Hazard], folder: str = "", refuse: bool = False) -> Iterator[str]:
    """A line for each hazard that isn't allowed: an error if hazards are refused here, or this one in any case. The
    folder is the migrations', as seen from the repository's root: GitHub finds files by their path from there."""
    for hazard in hazards:
        if hazard.allowed_because is None:
            level: Level = "error" if refuse or hazard.refused else "warning"
            message = "\n".join(filter(None, (hazard.message, hazard.help)))
            yield annotation(level, _path(folder, hazard.file), hazard.line, hazard.column, hazard.rule, message)


def of_problems(problems: Iterable[Problem], title: str, folder: str = "", level: Level = "error") -> Iterator[str]:
    """A line for each problem, such as a syntax error or an allow that no longer applies."""
    for problem in problems:
        yield annotation(level, _path(folder, problem.file), problem.line, problem.column, title, problem.reason)


def _path(folder: str, file: str) -> str:
    """With slashes on every system, and without a `./` that GitHub wouldn't match."""
    folder = folder.replace("\\", "/").removeprefix("./").rstrip("/")
    return f"{folder}/{file}" if folder not in ("", ".") else file


def _escape(text: str, codes: dict[str, str]) -> str:
    return "".join(codes.get(character, character) for character in text)

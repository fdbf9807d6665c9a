"""Checks migrations before they are deployed: what is wrong, which hazards they have, what they will lock."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

from aurora_migrations.compiler.compile import Compiled, compile_migration
from aurora_migrations.compiler.hazards import (
    OF_FOLDER,
    UNKNOWN_TABLE,
    Allow,
    LintedFile,
    apply_allows,
    find_hazards,
    parse_allow,
)
from aurora_migrations.compiler.locks.effects import Effect, caveat
from aurora_migrations.compiler.unit_dependencies import doubtful_enum_values
from aurora_migrations.compiler.unknown_tables import Names, names_of, unknown_tables
from aurora_migrations.engine import interrupts, manifest
from aurora_migrations.engine.errors import InvalidFile
from aurora_migrations.engine.migrations import Migration, Package, Problem, read_text
from aurora_migrations.engine.options import Options
from aurora_migrations.engine.script import Action, Hazard, Script

_Wanted = Sequence[tuple[Action, Migration]]
# What is found of a file: see `Checked`.
_Fields = tuple[Compiled | None, tuple[Problem, ...], tuple[Problem, ...], tuple[str, ...]]
_LARGE = 1_000  # files from which on it pays to share them
_AT_ONCE = 200  # files whose syntax is in memory together
_IDLE = "`allow = {0}` no longer applies: the file has no such hazard; take the line out"


@dataclass(slots=True)  # a frozen one takes three times as long to make
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
        return (self.migration.down_name if self.action == "rollback" else None) or self.migration.name

    def without_trees(self) -> Checked:
        """The same without the text and its syntax, which take far more memory than all else."""
        if self.compiled is None:
            return self
        compiled = self.compiled.without_trees(keeps_text=False)
        return Checked(self.action, self.migration, compiled, self.problems, self.warnings)

    @property
    def accepted(self) -> tuple[Hazard, ...]:
        return tuple(hazard for hazard in self.hazards if hazard.allowed_because is not None)

    @property
    def open_hazards(self) -> tuple[Hazard, ...]:
        return tuple(hazard for hazard in self.hazards if hazard.allowed_because is None)


def check(package: Package, defaults: Options | None = None, only_findings: bool = False) -> list[Checked]:
    """Checks every file of a package, also down and verify files. Those of a large folder are shared by all processors,
    and are returned without their syntax trees. With `only_findings` the result has problems, warnings and hazards, but
    no notes and no script that can be run: see `compile_text`.

    Raises:
        InvalidInput: squawk is missing.
    """
    actions: tuple[Action, ...] = ("apply", "rollback")
    both = [(action, each) for each in package.migrations for action in actions]
    wanted = [(action, each) for action, each in both if action == "apply" or each.down]
    if len(wanted) < _LARGE:
        found = list(_with_names(wanted, defaults, only_findings))
    else:
        known = in_processes(wanted, lambda share: _without_trees(share, defaults, only_findings))
        both_known = zip(wanted, known, strict=True)
        found = [(Checked(action, each, *fields), names) for (action, each), (fields, names) in both_known]
    unknown = unknown_tables(names for file, names in found if names and file.action == "apply")
    return [_with_unknown(file, unknown.get(file.file, ())) for file, _ in found]


def _with_names(
    wanted: _Wanted, defaults: Options | None, only_findings: bool
) -> Iterator[tuple[Checked, Names | None]]:
    """These files with notes, each with its names."""
    for file in check_files(wanted, defaults, only_findings):
        if file.compiled and not only_findings:
            file.notes = tuple(caveat(statement.node) for statement in file.compiled.statements)
        yield file, names_of(file.compiled) if file.compiled else None


def _without_trees(
    wanted: _Wanted, defaults: Options | None, only_findings: bool
) -> list[tuple[_Fields, Names | None]]:
    """The same in little memory: what is found of each file. Whoever shows a hazard parses the text again."""
    found = list[tuple[_Fields, Names | None]]()
    for start in range(0, len(wanted), _AT_ONCE):
        for file, names in _with_names(wanted[start : start + _AT_ONCE], defaults, only_findings):
            compiled = file.compiled and file.compiled.without_trees(keeps_text=bool(file.open_hazards))
            if compiled and only_findings:
                compiled.effects = ()
            found.append(((compiled, file.problems, file.warnings, file.notes), names))
    return found


def _with_unknown(file: Checked, unknown: Sequence[Hazard]) -> Checked:
    if not file.compiled or not file.compiled.is_parsed:
        return file
    if unknown and not file.compiled.text:  # a large folder keeps only the texts of files with hazards
        file = replace(file, compiled=replace(file.compiled, text=read_text(file.migration.path)))
    return with_hazards_of_folder(file, unknown, frozenset({UNKNOWN_TABLE}))


def check_files(wanted: _Wanted, defaults: Options | None = None, only_findings: bool = False) -> list[Checked]:
    """Checks these files, each for itself. `only_findings`: see `compile_text`.

    Raises:
        InvalidInput: squawk is missing.
        Cancelled: Ctrl-C was pressed, in a run that handles it.
    """
    files, defaults = list[Checked](), defaults or Options()
    for action, migration in wanted:
        interrupts.raise_if_pressed("reading the files")  # as a large file takes seconds
        try:
            compiled = compile_migration(action, migration, defaults, only_findings)
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
        linted.append(LintedFile(*of_file, on_new=compiled.on_new))
    found = find_hazards(linted)
    return [_with_hazards(file, found.get(file.file, [])) for file in files]


def write_manifest(folder: Path, files: Sequence[Checked], replayed_on: int | None = None) -> str:
    """Writes the manifest of files without problems into a folder; returns its digest. `replayed_on` is the major
    version of PostgreSQL on which they were replayed, if they were."""
    scripts: dict[Migration, dict[str, Script]] = {}
    for file in files:
        if file.compiled:
            scripts.setdefault(file.migration, {})[file.action] = file.compiled.script
    return manifest.write(folder, scripts, replayed_on)


def with_hazards_of_folder(file: Checked, hazards: Sequence[Hazard], rules: frozenset[str]) -> Checked:
    """A checked file with the hazards of these rules, which only the whole folder shows: by a replay, for example."""
    if file.compiled is None or not (hazards or file.compiled.script.options.allow):
        return file
    allows = [allow for allow in _allows(file.compiled) if allow.rule in rules]
    found, idle = apply_allows(hazards, allows)
    merged = sorted((*file.hazards, *found), key=lambda hazard: (hazard.line, hazard.column, hazard.rule))
    script = replace(file.compiled.script, hazards=tuple(merged))
    compiled = replace(file.compiled, script=script)
    return replace(file, compiled=compiled, warnings=(*file.warnings, *_idle(file.file, idle)))


def _with_hazards(file: Checked, hazards: Sequence[Hazard]) -> Checked:
    if file.compiled is None or not (hazards or file.compiled.script.options.allow):
        return file
    allows = [allow for allow in _allows(file.compiled) if allow.rule not in OF_FOLDER]
    # Undoing drops what was created: in a down file that is no hazard.
    hazards = [h for h in hazards if not (file.action == "rollback" and h.rule.startswith("ban-drop-"))]
    hazards, idle = apply_allows(hazards, allows)
    if not file.compiled.is_parsed:
        idle = []  # nothing in it has been checked
    script = replace(file.compiled.script, hazards=tuple(hazards))
    return replace(
        file,
        compiled=replace(file.compiled, script=script),
        warnings=tuple(_idle(file.file, idle)),
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


# ---- a large folder is shared by all processors ----------------------------------------------------------------------

_Item = TypeVar("_Item")
_Done = TypeVar("_Done")


def in_processes(items: Sequence[_Item], work: Callable[[Sequence[_Item]], list[_Done]]) -> list[_Done]:
    """What `work` returns for consecutive shares of the items, in their order: a share per processor, each but the
    first in a process of its own. Only on Linux, as elsewhere the system's libraries may not survive a fork. If a
    process dies, or raises an error, its share is done here, so that the error is raised here, too. The collector is
    off: it would look through all that is kept again and again."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    size = -(-len(items) // count)
    shares = [items[start : start + size] for start in range(0, len(items), size)]
    gc.disable()
    begun = [(share, *_begin(share, work)) for share in shares[1:]]
    try:
        done = work(shares[0]) if shares else []
        for share, _, result in begun:
            try:
                done += pickle.load(result)
            except (EOFError, pickle.UnpicklingError):
                done += work(share)
    finally:
        gc.enable()
        for _, child, result in begun:
            result.close()
            os.kill(child, signal.SIGKILL)  # it has ended, or nobody needs it any more
            os.waitpid(child, 0)
    return done


def _begin(share: Sequence[_Item], work: Callable[[Sequence[_Item]], list[_Done]]) -> tuple[int, BinaryIO]:
    """Begins a share in a process of its own: its id, and the file in which it writes the pickled result."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, os.fdopen(reader, "rb")
    try:  # Ctrl-C ends this process, too; its parent says so
        os.close(reader)
        with os.fdopen(writer, "wb") as result:
            pickle.dump(work(share), result, pickle.HIGHEST_PROTOCOL)
    finally:
        os._exit(0)  # not what the parent would do at its end


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
    """A line for each hazard that isn't allowed: an error if hazards are refused here. The folder is the
    migrations', as seen from the repository's root: GitHub finds files by their path from there."""
    for hazard in hazards:
        if hazard.allowed_because is None:
            level: Level = "error" if refuse else "warning"
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

"""Lays out a folder of another tool as ours: names, numbers in the tool's order, up and down parts.

Names, order and markers are read as each tool's source reads them. SQL is never edited: a file is cut where its tool
marks it, and where the tool runs it outside a transaction, the option line `transaction = off` is put above it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

from aurora_migrations.adoption.files import OFF, Found, all_files, entries_of, listed, relative, shown
from aurora_migrations.adoption.tools import TOOLS, Tool
from aurora_migrations.engine.errors import InvalidInput
from aurora_migrations.engine.migrations import Problem

_CODE = (".cs", ".exs", ".fizz", ".go", ".java", ".js", ".kt", ".mjs", ".php", ".py", ".rb", ".rs", ".sh", ".ts")


@dataclass(frozen=True)
class Imported:
    """One migration as it is written here."""

    sources: tuple[str, ...]  # the tool's files, relative to its folder
    texts: Mapping[str, str]  # our files, by name
    notes: tuple[str, ...]  # what a person should know of them

    @property
    def version(self) -> int:
        return int(next(iter(self.texts)).partition("_")[0])


@dataclass(frozen=True)
class Layout:
    """A folder of another tool, laid out as ours; `left_out` names every other file in it, with the reason."""

    tool: str
    migrations: tuple[Imported, ...]
    left_out: tuple[Problem, ...]

    @property
    def texts(self) -> dict[str, str]:
        """All our files, by name."""
        return {name: text for migration in self.migrations for name, text in migration.texts.items()}


def lay_out(folder: Path, tool: str) -> Layout:
    """The migrations of a folder as ours.

    Raises:
        InvalidInput: the folder has no migration that this tool would run, or its order can't be kept.
        InvalidFile: a file can't be read, or isn't UTF-8.
    """
    how = TOOLS[tool]
    entries_of(folder)  # raises if it can't be read
    found = sorted(how.read(folder), key=how.order)
    if not found:
        raise InvalidInput(
            f"{shown(folder)} has no migration that {tool} would run.",
            cause=f"{tool} looks for {how.looks_for}.",
            solution="Name the folder that contains the migrations themselves, or another tool with --tool.",
        )
    versions = _versions([migration.version for migration in found], folder, how, found)
    migrations = [_imported(folder, how, each, version) for each, version in zip(found, versions, strict=True)]
    used = {path for each in found for path in each.sources}
    left_out = [
        Problem(relative(folder, path), _why_left_out(path, tool)) for path in all_files(folder) if path not in used
    ]
    return Layout(tool, tuple(migrations), tuple(left_out))


def _imported(folder: Path, how: Tool, found: Found, version: str) -> Imported:
    description = re.sub(r"[^\w-]+", "_", found.name).strip("_-") or "unnamed"
    stem = f"{version}_{description}"
    texts = {f"{stem}.sql": found.up}
    if found.down.removeprefix(OFF).strip():
        texts[f"{stem}.down.sql"] = found.down
    notes = ["outside a transaction"] if any(text.startswith(OFF) for text in texts.values()) else []
    filled_in = {match[0].strip(): None for text in texts.values() for match in re.finditer(how.fills_in, text)}
    if filled_in:
        notes.append(f"has {listed(list(filled_in))}, which its tool fills in: write it out, then check")
    return Imported(tuple(relative(folder, path) for path in found.sources), texts, tuple(notes))


def _why_left_out(path: Path, tool: str) -> str:
    for pattern, reason in TOOLS[tool].others:
        if re.fullmatch(pattern, path.name):
            return reason
    if path.suffix in _CODE:
        return f"not SQL ({path.suffix}): write what it does as a migration of its own, at its place in the order"
    if path.suffix.lower() == ".sql":
        return f"{tool} doesn't run a file of this name here as a migration; it looks for {TOOLS[tool].looks_for}"
    return "not a migration"


# ---- numbers --------------------------------------------------------------------------------------------------------


def _versions(written: Sequence[str], folder: Path, how: Tool, found: Sequence[Found]) -> list[str]:
    """Unique numbers that sort as these do: the same, if they serve.

    Otherwise all get the same width, and a digit that counts those of one number.
    """
    if without := [relative(folder, each.sources[0]) for each in found if not re.fullmatch("[0-9]+", each.version)]:
        raise InvalidInput(
            f"The order can't be kept, as a name has no number: {listed(without)}.",
            cause="The tool sorts by whole names; here numbers give the order.",
            solution="In a copy of the folder, put numbers before these names that keep the order, and import that.",
        )
    same = next((pair for pair in pairwise(found) if int(pair[0].version) == int(pair[1].version)), None)
    if same and how.is_unique:
        first, second = (relative(folder, each.sources[0]) for each in same)
        raise InvalidInput(
            f"{first} and {second} have the same version.",
            cause="The tool refuses two migrations of one version, so these files belong to different histories.",
            solution="Name the folder of one history, such as that of one database.",
        )
    if _ascend(written) and not same:
        return list(written)
    if not _ascend(written):
        width = max(map(len, written))
        written = [version.ljust(width, "0") for version in written]  # 20260527, 2026052712: as text sorts them
    if not _ascend(written):
        raise InvalidInput(
            "The order can't be kept: the tool sorts these files neither as numbers nor as text.",
            cause="Here numbers give the order of migrations.",
            solution="In a copy of the folder, rename the files so that their numbers ascend, and import the copy.",
        )
    counted = [list(group) for _, group in groupby(written, int)]
    digits = len(str(max(map(len, counted)) - 1))
    return [f"{version}{number:0{digits}}" for group in counted for number, version in enumerate(group)]


def _ascend(versions: Sequence[str]) -> bool:
    return all(int(one) <= int(next_one) for one, next_one in pairwise(versions))

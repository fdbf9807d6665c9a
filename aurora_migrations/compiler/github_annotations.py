"""Hazards and problems as GitHub annotations on the lines of a pull request (workflow commands).

The commands: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands (error and warning).
The escaping is what the runner undoes, as GitHub's own toolkit writes it:
https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts (escapeData, escapeProperty).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from aurora_migrations.engine.migrations import Problem
from aurora_migrations.engine.script import Hazard

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

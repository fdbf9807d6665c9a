"""Where the product makes errors, and which of these places were seen at work.

A place is a call that makes an error: of an error's class, of a function that returns a new one, or of one that stops
at Ctrl-C in its caller's words. The code is read for them; while scenes are played, each error that is made notes which
of these calls its stack goes through.
"""

from __future__ import annotations

import ast
import contextlib
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from aurora_migrations.cli.remote import aws_errors as cloud
from aurora_migrations.engine import errors as engine
from aurora_migrations.engine.errors import MigratorError

ROOT = Path(__file__).resolve().parents[2]
ROOMS = (
    "functions",
    "engine",
    "compiler",
    "adoption",
    "embedded",
    "replay",
    "cli",
    "local",
)  # the CDK is no part of what users run
CLASSES = {
    name: kind
    for module in (engine, cloud)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, MigratorError)
}
# Names of variables that hold a class: what is called by them makes an error.
VARIABLES = {
    "cli/remote/aws_errors.py": {"kind"},
    "engine/adoption/histories.py": {"kind"},
    "engine/diagnostics/file_errors.py": {"kind"},
}
STOPPED = {
    "interrupts.as_cancelled",
    "interrupts.pause",
    "interrupts.raise_if_pressed",
}  # they raise an error in the words of whoever calls them
Span = tuple[int, int, int, int]  # first line, last line, first column, last column
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Place:
    """A call that makes an error. Its name is the file, the function, what is called, and which of several it is."""

    name: str
    file: str
    span: Span


@dataclass
class Reached:
    """What was made while scenes were played.

    Attributes:
        made: of each error, the places that its stack went through, and its message.
        unknown: where errors were made that no place is known of.
    """

    made: list[tuple[frozenset[str], str]] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)

    def shown_in(self, text: str) -> set[str]:
        """The places of those errors whose message a text shows."""
        told = _flat(text)
        return {name for names, message in self.made if _flat(message) in told for name in names}


def _flat(text: str) -> str:
    """Wherever its lines end."""
    return " ".join(text.split())


# ---- reading the code -----------------------------------------------------------------------------------------------


@cache
def places() -> dict[tuple[str, Span], Place]:
    """Every place, by its file and its span."""
    found = [place for file, tree in _trees().items() for place in _places_in(file, tree)]
    known = {(place.file, place.span): place for place in found}
    return known | {(file, span): known[file, call] for file, span, call in _entered() if (file, call) in known}


def _entered() -> Iterator[tuple[str, Span, Span]]:
    """What a `with` enters, by the span of the whole statement: there Python is when it leaves it."""
    for file, tree in _trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.With):
                yield from ((file, _span(node), _span(item.context_expr)) for item in node.items)


@cache
def _trees() -> dict[str, ast.Module]:
    paths = [path for room in ROOMS for path in sorted(_folder(room).rglob("*.py"))]
    return {_name(path): ast.parse(path.read_text("utf-8")) for path in paths}


def _folder(room: str) -> Path:
    return ROOT / room if room == "functions" else ROOT / "aurora_migrations" / room


def _name(path: Path) -> str:
    """A module as scenes name it: `engine/plan.py`, `functions/entrypoint.py`."""
    return path.relative_to(ROOT).as_posix().removeprefix("aurora_migrations/")


def _places_in(file: str, tree: ast.Module) -> Iterator[Place]:
    """In the order of the lines; of several alike in one function, all but the first are numbered."""
    makers, counted = _makers(), Counter[str]()
    calls = [(function, call) for function, call in _calls(tree) if _makes(file, call, makers)]
    for function, call in sorted(calls, key=lambda each: _span(each[1])):
        name = f"{file} {function} {_called(call)}"
        counted[name] += 1
        yield Place(name if counted[name] == 1 else f"{name} {counted[name]}", file, _span(call))


def _calls(tree: ast.AST, function: str = "") -> Iterator[tuple[str, ast.Call]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield function, node
        yield from _calls(node, node.name if isinstance(node, _Function) else function)


def _called(call: ast.Call) -> str:
    """`InvalidInput`, `_invalid`, and of `kind_of(found, 0, 0)(...)` `kind_of()`."""
    if isinstance(call.func, ast.Call):
        return f"{_called(call.func)}()"
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _makes(file: str, call: ast.Call, makers: set[tuple[str, str]]) -> bool:
    name = _called(call)
    known = name in CLASSES or name == "kind_of()" or name in VARIABLES.get(file, ()) or _may_stop(call)
    return known or (file, name) in makers or (not name.startswith("_") and ("", name) in makers)


def _may_stop(call: ast.Call) -> bool:
    """Whether Ctrl-C is heard in it: each such call tells in its own words what was being done."""
    return isinstance(call.func, ast.Attribute) and ast.unparse(call.func) in STOPPED


@cache
def _makers() -> set[tuple[str, str]]:
    """Functions that return an error that they, or those that they call, have made: file and name, and of those that
    other files may call the name alone. What only adds to an error that it is given is none of them."""
    known: set[tuple[str, str]] = set()
    while True:
        more = {each for file, tree in _trees().items() for each in _makers_in(file, tree, known)} - known
        if not more:
            return known
        known |= more


def _makers_in(file: str, tree: ast.Module, known: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        returns = isinstance(node, _Function) and _returns_error(node)
        if returns and any(_makes(file, call, known) for _, call in _calls(node)):
            yield file, node.name
            yield (file if node.name.startswith("_") else ""), node.name


def _returns_error(function: _Function) -> bool:
    returns = ast.unparse(function.returns) if function.returns else ""
    return not returns.startswith("type[") and any(word in CLASSES for word in re.findall(r"\w+", returns))


def _span(node: ast.expr | ast.stmt) -> Span:
    return node.lineno, node.end_lineno or 0, node.col_offset, node.end_col_offset or 0


# ---- seeing them at work --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def noted(patch: pytest.MonkeyPatch) -> Iterator[Reached]:
    """Has every error note where it is made."""
    reached = Reached()
    real = MigratorError.__init__

    def made(self: MigratorError, message: str, **more: Any) -> None:
        real(self, message, **more)
        names, first = _through(self)
        if first is not None:
            reached.unknown.add(first)
        if names:
            reached.made.append((names, message))

    with patch.context() as patched:
        patched.setattr(MigratorError, "__init__", made)
        yield reached


def _through(error: MigratorError) -> tuple[frozenset[str], str | None]:
    """The places that the stack of this moment goes through; and where the error was made, if no place is there."""
    frames = list(_frames(sys._getframe(2)))
    names = [place.name for frame in frames if (place := _place_of(frame))]
    file = _file(frames[0])
    unknown = f"{file}:{frames[0].f_lineno}" if file and _place_of(frames[0]) is None else None
    return frozenset(names), unknown


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _place_of(frame: FrameType) -> Place | None:
    file = _file(frame)
    if file is None:
        return None
    spans = list(frame.f_code.co_positions())
    return places().get((file, spans[frame.f_lasti // 2]))  # type: ignore[arg-type]


@cache
def _product(filename: str) -> str | None:
    with contextlib.suppress(ValueError):
        file = _name(Path(filename).resolve())
        return file if file.startswith(tuple(f"{room}/" for room in ROOMS)) else None
    return None


def _file(frame: FrameType) -> str | None:
    return _product(frame.f_code.co_filename)

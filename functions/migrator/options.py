"""What a file asks of its runner: the `-- migration:` and `-- verify:` comments at its top."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, cast

from functions.migrator.durations import parse_duration
from functions.migrator.excerpts import Lines
from functions.migrator.files import Problem

_HEADER = re.compile(rb"(?:[ \t]*(?:--[^\n]*)?(?:\n|\Z))*")
_OPTION = re.compile(r"[ \t]*--[ \t]*(migration|verify(?:[ \t]+always)?)[ \t]*:[ \t]*(.*?)[ \t\r]*", re.IGNORECASE)
_SETTING = re.compile(r"([a-z_]+)[ \t]*=[ \t]*(.*)", re.IGNORECASE)
_STRAY = re.compile(
    rb"^[ \t]*--[ \t]*(?:migration[ \t]*:[ \t]*[a-z_]+[ \t]*=|verify[ \t]*:[ \t]*rows\b)", re.MULTILINE | re.IGNORECASE
)
_IDENTIFIER = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_ROWS = re.compile(rf"rows\s+({_IDENTIFIER}(?:\.{_IDENTIFIER})?)\s*(=|>=|<=|>|<)\s*(\d{{1,18}})")
_LATER = {
    "detach": "no file outlasts its runner in this version, and `detach` can't be set yet",
}


@dataclass(frozen=True)
class RowsExpectation:
    """`-- verify: rows TABLE OPERATOR COUNT`: how many rows the table has when the file is about to commit."""

    table: str
    operator: str
    count: int

    def __str__(self) -> str:
        return f"rows {self.table} {self.operator} {self.count}"


@dataclass(frozen=True)
class Options:
    """A file's options. Times are milliseconds; a `statement_timeout` of 0 means none.

    Attributes:
        transaction: `on`, `off`, or None where the file leaves it to what stands in it.
        allow: hazards accepted, as `RULE because REASON`, each with its line.
    """

    lock_timeout: int = 2_000
    statement_timeout: int = 0
    rows: tuple[RowsExpectation, ...] = ()
    transaction: Literal["on", "off"] | None = None
    allow: tuple[tuple[int, str], ...] = ()


def read_options(file: str, text: bytes, defaults: Options) -> tuple[Options, list[Problem]]:
    """The options at the top of a text, and everything wrong with them.

    The top ends at the first line that is neither blank nor a `--` comment. An option below it would be silently
    without effect, so it is a problem too.
    """
    options, problems = defaults, []
    header = _header(text)
    for number, line in enumerate(header.decode(errors="replace").split("\n"), 1):
        try:
            options = _read_line(line, number, options)
        except ValueError as error:
            problems.append(Problem(file, str(error), number, 1))
    if 0 < options.statement_timeout <= options.lock_timeout:
        reason = "lock_timeout must be below statement_timeout, or the server never gets to report who holds the lock"
        problems.append(Problem(file, reason, 1, 1))
    problems += _strays(file, text, len(header))
    return options, sorted(problems, key=lambda problem: problem.line)


def _header(text: bytes) -> bytes:
    match = _HEADER.match(text)
    return match[0] if match else b""


def _read_line(line: str, number: int, options: Options) -> Options:
    match = _OPTION.fullmatch(line)
    if match is None:
        return options
    word, rest = match[1], match[2]
    if word.lower().startswith("verify"):
        return _read_verify(word, rest, options)
    setting = _SETTING.fullmatch(rest)
    if setting is None and word != "migration":
        return options  # `-- Migration: creates the users`: a title, not an option
    if setting is None or word != "migration":
        raise ValueError(f"`-- {word}:` is for options written as `-- migration: name = value`; this is none of them")
    if setting[1] == "allow":
        return replace(options, allow=(*options.allow, (number, setting[2])))
    return _set(setting[1], setting[2], options)


def _read_verify(word: str, rest: str, options: Options) -> Options:
    if word != "verify" and not rest.lower().startswith("rows"):
        return options
    if word.lower() != "verify":
        raise ValueError("`verify always` isn't known to this version; what must be true once is `-- verify:`")
    match = _ROWS.fullmatch(rest)
    if match is None or word != "verify":
        raise ValueError(f"`-- {word}: {rest}` is not understood; write `-- verify: rows TABLE = COUNT` (or >= <= > <)")
    return replace(options, rows=(*options.rows, RowsExpectation(match[1], match[2], int(match[3]))))


def _set(name: str, value: str, options: Options) -> Options:
    if name in _LATER:
        raise ValueError(_LATER[name])
    setter = _SETTERS.get(name)
    if setter is None:
        raise ValueError(f"there is no option `{name}`; there are: {', '.join(sorted([*_SETTERS, 'allow']))}")
    return setter(options, value)


def _set_lock_timeout(options: Options, value: str) -> Options:
    milliseconds = parse_duration(value)
    if milliseconds == 0:
        raise ValueError("lock_timeout = 0 would wait for ever and stop the application meanwhile; give it a limit")
    return replace(options, lock_timeout=milliseconds)


def _set_statement_timeout(options: Options, value: str) -> Options:
    return replace(options, statement_timeout=parse_duration(value))


def _set_transaction(options: Options, value: str) -> Options:
    if value not in ("on", "off"):
        raise ValueError(f"transaction is either on or off, not {value!r}")
    return replace(options, transaction=cast(Literal["on", "off"], value))


_SETTERS: dict[str, Callable[[Options, str], Options]] = {
    "lock_timeout": _set_lock_timeout,
    "statement_timeout": _set_statement_timeout,
    "transaction": _set_transaction,
}


def _strays(file: str, text: bytes, header_length: int) -> Iterator[Problem]:
    lines = Lines(text)
    for match in _STRAY.finditer(text, header_length):
        reason = "options stand at the top of the file, before its first statement; here it would have no effect"
        yield Problem(file, reason, *lines.position(match.start()))

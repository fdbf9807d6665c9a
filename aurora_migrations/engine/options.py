"""Options of a migration file: the `-- migration:` and `-- verify:` comments at its top, and durations in them (500ms,
2s, 10min, 1h)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from aurora_migrations.engine.diagnostics.redaction import Lines
from aurora_migrations.engine.migrations import Problem

# Of an environment, and of the command: a run needs them, and no other setting of a function.
Hazards = Literal["refuse", "warn"]
HAZARDS: tuple[Hazards, ...] = get_args(Hazards)
Encrypted = Literal["require", "verify-ca", "verify-full"]  # the sslmodes that never connect without TLS
SSLMODES = ("disable", "allow", "prefer", *get_args(Encrypted))  # libpq's

_UNITS = {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000}
_FORM = re.compile(r"(\d{1,9})\s*(ms|s|min|h)")
_LONGEST = 2_147_483_647  # PostgreSQL keeps its timeouts in 32 bits of milliseconds


def parse_duration(text: str) -> int:
    """Milliseconds of a span such as `2s`; ValueError for a text that is none, or that is too long."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a span of time; write a whole number and a unit: 500ms, 2s, 10min, 1h")
    value = int(match[1]) * _UNITS[match[2]]
    if value > _LONGEST:
        raise ValueError(f"{text!r} is longer than PostgreSQL's timeouts can be (24 days)")
    return value


def format_duration(milliseconds: float) -> str:
    """The span for people: `340 ms`, `2.5 s`, `3 min 20 s`."""
    if round(milliseconds) < 1_000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 59_950:
        return f"{milliseconds / 1_000:.1f} s"
    minutes, seconds = divmod(round(milliseconds / 1_000), 60)
    return f"{minutes} min {seconds} s"


def write_duration(milliseconds: int) -> str:
    """The span as `parse_duration` reads it, in the largest unit in which it is a whole number: `90s`, `26min`."""
    unit = next(unit for unit, size in reversed(_UNITS.items()) if milliseconds % size == 0)
    return f"{milliseconds // _UNITS[unit]}{unit}"


_HEADER = re.compile(rb"(?:[ \t]*(?:--[^\n]*)?(?:\n|\Z))*")
_OPTION = re.compile(r"[ \t]*--[ \t]*(migration|verify(?:[ \t]+always)?)[ \t]*:[ \t]*(.*)", re.IGNORECASE)
_COMMENT = re.compile(rb"--")  # which finds it in a third of the time of bytes.find
# Few files have options: the patterns of what is in one are compiled when they are used.
_SETTING = r"(?i)([a-z_]+)[ \t]*=[ \t]*(.*)"
_STRAY = re.compile(
    rb"^[ \t]*--[ \t]*(?:migration[ \t]*:[ \t]*[a-z_]+[ \t]*=|verify(?:[ \t]+always)?[ \t]*:[ \t]*(?:rows|ignore)\b)",
    re.MULTILINE | re.IGNORECASE,
)
# Most likely meant as an option: `-- migrations: a = b`, `--- migration a = b`.
_NEAR_MISS = (
    r"(?i)[ \t]*-{2,}[ \t]*(?:migrations?[ \t]*(?:[:;=.,][ \t]*)?(?P<name>[a-z_]+)[ \t]*[=:][ \t]*(?P<value>\S.*)"
    r"|verify[ \t]*(?:[:;=.,][ \t]*)?(?P<rows>(?:rows|ignore)\b.*))"
)
_IDENTIFIER = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_ROWS = rf"rows\s+({_IDENTIFIER}(?:\.{_IDENTIFIER})?)\s*(=|>=|<=|>|<)\s*(\d{{1,18}})"
_IGNORE = r"(?i)ignore\s+(?P<what>.+?)(?:\s+because\s+(?P<reason>.*))?"
_VERIFY = ("verify", "verify always")
_SETTINGS = ("detach", "lock_timeout", "statement_timeout", "transaction")


@dataclass(frozen=True)
class Expectation:
    """A query of a verify file, its place (file:line:column), and its name: the comment above it, or its text."""

    name: str
    query: str
    place: str = ""


@dataclass(frozen=True)
class RowsExpectation:
    """`-- verify: rows TABLE OPERATOR COUNT`: how many rows the table has when the file is about to commit."""

    table: str
    operator: str
    count: int
    always: bool = False  # written `verify always:`; it is checked again by every verification

    def __str__(self) -> str:
        return f"rows {self.table} {self.operator} {self.count}"


@dataclass(frozen=True)
class Ignored:
    """`-- verify: ignore KIND NAME because REASON`: an object that isn't compared with what the migrations make."""

    kind: str  # as `catalog.parts` names it; `rows` for a table that may lose rows
    name: str  # quoted as PostgreSQL quotes; without a schema, in `public`
    reason: str


@dataclass(frozen=True)
class Options:
    """A file's options. Times are milliseconds, None where the file leaves them to the environment; a
    `statement_timeout` of 0 means none."""

    lock_timeout: int | None = None
    statement_timeout: int | None = None
    rows: tuple[RowsExpectation, ...] = ()
    ignore: tuple[Ignored, ...] = ()
    transaction: Literal["on", "off"] | None = None  # `on`, `off`, or None where the file's statements decide
    # Whether its transaction may outlive the run that began it; None where the file's statements decide.
    detach: bool | None = None
    allow: tuple[tuple[int, str], ...] = ()  # hazards accepted, as `RULE because REASON`, each with its line


@dataclass(frozen=True)
class Limits:
    """Time limits in milliseconds: of an environment, or of a file in it."""

    lock_timeout: int = 2_000  # the longest that a query of the application waits because of us
    statement_timeout: int = 0  # the longest that a statement takes; 0 for no limit
    # How long a run retries, in all, after a lock wait or a lost connection; 0 means one attempt, with
    # all of lock_timeout.
    lock_wait: int = 600_000
    # Blockers that sit idle in a transaction for longer than that are ended; None leaves them alone.
    end_idle: int | None = None
    # The most that statement_timeout can be here, whatever a file sets; None where nothing limits it.
    longest: int | None = None

    def of(self, options: Options) -> Limits:
        """The limits of a file with these options, which take precedence over the environment's."""
        own = {"lock_timeout": options.lock_timeout, "statement_timeout": options.statement_timeout}
        given = {name: limit for name, limit in own.items() if limit is not None}
        return replace(self, **given) if given else self

    @property
    def contradict(self) -> bool:
        """Whether statement_timeout ends a statement before lock_timeout does, so that blockers aren't reported."""
        return 0 < self.statement_timeout <= self.lock_timeout


def read_options(file: str, text: bytes, defaults: Options) -> tuple[Options, list[Problem]]:
    """The options at the top of a text, and everything wrong with them. The top ends at the first line that is neither
    blank nor a `--` comment. An option below it would be silently without effect, so it is a problem too."""
    options, problems = defaults, []
    header = match[0] if (match := _HEADER.match(text)) else b""
    given: dict[str, int] = {}
    for number, whole in enumerate(header.decode(errors="replace").split("\n") if b"--" in header else (), 1):
        line = whole.rstrip(" \t\r")
        try:
            options = _read_line(line, number, options, given)
        except ValueError as error:
            problems.append(Problem(file, str(error), number, 1))
    if given and Limits().of(options).contradict:  # with the defaults
        reason = "lock_timeout must be below statement_timeout, or the server never gets to report who holds the lock"
        last = max((given[name] for name in ("lock_timeout", "statement_timeout") if name in given), default=1)
        problems.append(Problem(file, reason, last, 1))
    if not _COMMENT.search(text, len(header)):  # a dump of a million lines has no comment among them
        return options, sorted(problems, key=lambda problem: problem.line)
    lines = Lines(text)
    reason = "options belong at the top of the file, before its first statement; here it would have no effect"
    for stray in _STRAY.finditer(text, len(header)):
        problems.append(Problem(file, reason, *lines.position(stray.start())))
    return options, sorted(problems, key=lambda problem: problem.line)


def _read_line(line: str, number: int, options: Options, given: dict[str, int]) -> Options:
    """The options, with the one of a line added, whose name joins `given`: by name, the lines that have given one."""
    match = _OPTION.fullmatch(line)
    if match is None:
        _refuse_near_miss(line)
        return options
    word, rest = match[1], match[2]
    if word.lower().startswith("verify"):
        return _read_verify(word, rest, options)
    setting = re.fullmatch(_SETTING, rest)
    if setting is None and word != "migration":
        return options  # `-- Migration: creates the users`: a title, not an option
    if setting is None or word != "migration":
        raise ValueError(f"`-- {word}:` is for options written as `-- migration: name = value`; this is none of them")
    if setting[1] == "allow":
        return replace(options, allow=(*options.allow, (number, setting[2])))
    name = setting[1]
    if name in given:
        raise ValueError(f"{name} is given twice, first in line {given[name]}; take one of the two out")
    if name in _SETTINGS:
        given[name] = number
    return _set(name, setting[2], options)


def _refuse_near_miss(line: str) -> None:
    """Refuses a comment that is an option but for a typing error. Unlike a title, it reads like an option from its
    first letter to its last.
    """
    match = re.fullmatch(_NEAR_MISS, line.rstrip(" ;"))
    if match and match["rows"] and (re.fullmatch(_ROWS, match["rows"]) or _is_ignore(match["rows"])):
        meant = f"-- verify: {match['rows']}"
    elif match and match["name"] and _is_setting(match["name"].lower(), match["value"]):
        meant = f"-- migration: {match['name'].lower()} = {match['value']}"
    else:
        return
    raise ValueError(f"this comment looks like an option, but has no effect; write `{meant}`")


def _is_setting(name: str, value: str) -> bool:
    if name == "allow":
        return " because " in value
    try:
        _set(name, value, Options())
    except ValueError:
        return False
    return True


def _read_verify(word: str, rest: str, options: Options) -> Options:
    plain = " ".join(word.split())
    if plain == "verify" and rest.lower().startswith("ignore"):
        return replace(options, ignore=(*options.ignore, _read_ignore(rest)))
    if plain not in _VERIFY and not rest.lower().startswith(("rows", "ignore")):
        return options
    match = re.fullmatch(_ROWS, rest)
    if match is None or plain not in _VERIFY:
        right = f"-- {plain.lower()}: rows TABLE = COUNT"
        ignore = ", or `-- verify: ignore KIND NAME because REASON`"
        raise ValueError(f"`-- {word}: {rest}` is not understood; write `{right}` (or >= <= > <){ignore}")
    expectation = RowsExpectation(match[1], match[2], int(match[3]), always=plain == _VERIFY[1])
    return replace(options, rows=(*options.rows, expectation))


def _read_ignore(text: str) -> Ignored:
    from aurora_migrations.engine.catalog.parts import KINDS

    match = re.fullmatch(_IGNORE, text)
    what = match["what"] if match else ""
    kinds = sorted((*KINDS, "rows"), key=len, reverse=True)  # as `operator class` begins with another kind
    kind = next((kind for kind in kinds if what.lower().startswith(f"{kind} ")), None)
    if kind is None:
        known = ", ".join(sorted(kinds))
        raise ValueError(
            f"`{text}` names no kind of object; write `ignore KIND NAME because REASON` with one of: {known}"
        )
    if match is None or not (match["reason"] or "").strip():
        raise ValueError(f"`{text}` gives no reason; write `ignore {what} because REASON`")
    return Ignored(kind, what[len(kind) :].strip(), match["reason"].strip())


def _is_ignore(text: str) -> bool:
    try:
        _read_ignore(text)
    except ValueError:
        return False
    return True


def _set(name: str, value: str, options: Options) -> Options:
    if name not in _SETTINGS:
        raise ValueError(f"there is no option `{name}`; there are: {', '.join(sorted([*_SETTINGS, 'allow']))}")
    if name in ("detach", "transaction"):
        if value not in ("on", "off"):
            raise ValueError(f"{name} is either on or off, not {value!r}")
        if name == "detach":
            return replace(options, detach=value == "on")
        return replace(options, transaction=cast(Literal["on", "off"], value))
    milliseconds = parse_duration(value)
    if name == "statement_timeout":
        return replace(options, statement_timeout=milliseconds)
    if milliseconds == 0:
        raise ValueError("lock_timeout = 0 would wait for ever and stop the application meanwhile; give it a limit")
    return replace(options, lock_timeout=milliseconds)

"""Which of our files the rows of another tool's history are: by number and name, as `import` lays files out."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from aurora_migrations.engine.adoption.histories import ForeignHistory, Row
from aurora_migrations.engine.errors import InvalidInput, NextCommand
from aurora_migrations.engine.migrations import Migration, Package

_SHOWN = 10  # rows in a message
_OPTION = "-- migration: transaction = off\n"  # what `import` may have put above a file
_ENDING = re.compile(r"\.(?:sql|js|cjs|mjs|ts|py|xml|ya?ml|json)\Z")
_LEADING = re.compile(r"(?P<number>[0-9]+)[-_. ]*(?P<rest>.*)")


class Match(NamedTuple):
    """The files that a history says are applied."""

    migrations: tuple[Migration, ...]  # by version
    rows: Mapping[str, Migration]  # the file that each row stands for, by the row's key


def match(history: ForeignHistory, package: Package, applied: Collection[int] = ()) -> Match:
    """Finds the files of a history's rows. `applied` are versions that our own history has.

    Raises:
        InvalidInput: a row has no file, or a file between two applied ones isn't applied.
    """
    found = find_files(history, package)
    rows = [row for row in history.rows if row.reach != "none"]
    missing = [row.key for row in rows if row.key not in found]
    if missing:
        raise InvalidInput(
            f"{history.tool.name} has applied migrations that no file here corresponds to: {listed(missing)}.",
            cause="Rows are found by their number and name. The files are missing here, or they have other names.",
            solution="Import its files with `aurora-migrations import`, or name them as its history does (see "
            "docs/how-to/coming-from.md). If your files don't match its rows one to one, name the last one that covers "
            "the whole history: `aurora-migrations adopt VERSION`.",
            next_command=NextCommand("import", ("--help",)),
        )
    upto = max((found[row.key].version for row in rows if row.reach == "upto"), default=-1)
    chosen = {migration.version for migration in found.values()}
    chosen |= {migration.version for migration in package.migrations if migration.version <= upto}
    migrations = tuple(migration for migration in package.migrations if migration.version in chosen)
    last = max(chosen, default=-1)
    left_out = [m.name for m in package.migrations if m.version < last and m.version not in {*chosen, *applied}]
    if left_out:
        raise InvalidInput(
            f"Not in {history.tool.name}'s history, but older than {migrations[-1].name}, which is in it: "
            f"{listed(left_out)}.",
            cause="The tool has skipped them or undone them, or they belong to another branch.",
            solution="Apply them with the tool, or give them numbers above the newest that is applied; then adopt.",
            next_command=NextCommand("list"),
        )
    return Match(migrations, found)


def find_files(history: ForeignHistory, package: Package) -> dict[str, Migration]:
    """The file of each row that has one, by the row's key."""
    return _by_order(history, package) if history.tool.by_order else _by_name(history, package)


def _by_order(history: ForeignHistory, package: Package) -> dict[str, Migration]:
    return {row.key: migration for row, migration in zip(history.rows, package.migrations, strict=False)}


def _by_name(history: ForeignHistory, package: Package) -> dict[str, Migration]:
    named: dict[str, list[Migration]] = defaultdict(list)  # by description, and by the whole name
    for migration in package.migrations:
        stem = migration.name.removesuffix(".sql")
        for name in {_plain(stem), _plain(stem.partition("_")[2])}:
            named[name].append(migration)
    found: dict[str, Migration] = {}
    used: dict[str, int] = defaultdict(int)  # how many rows have had a name
    for row in (row for row in history.rows if row.reach != "none"):
        numbers, names = _numbers(row, history), _names(row)
        by_number = next((m for n in numbers if (m := package.by_version.get(n))), None)
        by_name = next((named[name] for name in names if name in named), [])
        if by_number and (by_number in by_name or not by_name):
            found[row.key] = by_number
        elif len(by_name) == 1:
            found[row.key] = by_name[0]
        elif by_name:  # Sqitch's reworked changes have one name; so the second row is the second file
            name = _plain(names[0])
            found[row.key] = by_name[min(used[name], len(by_name) - 1)]
            used[name] += 1
        elif widened := _widened(row, package):
            found[row.key] = widened
        elif revision := _beginning_with(row, package):
            found[row.key] = revision
    return found


def _numbers(row: Row, history: ForeignHistory) -> list[int]:
    """The numbers that a row may have."""
    if row.number is not None and row.number.isascii() and row.number.isdecimal():
        return [int(row.number)]
    if row.number is not None and re.fullmatch(r"[0-9]+(?:[._][0-9]+)*", row.number):  # Flyway's 1.2
        return [_joined(row.number, history)]
    leading = _LEADING.fullmatch(_ENDING.sub("", row.name or ""))
    return [int(leading["number"])] if leading and history.tool.is_numbered else []


def _joined(version: str, history: ForeignHistory) -> int:
    """One number for a version of several parts, as `import` makes it: of 1.2 and 1.10, 102 and 110."""
    all_parts = [re.split(r"[._]", row.number) for row in history.rows if row.number]
    length = max(map(len, all_parts))
    widths = [
        max(len(parts[place].lstrip("0") or "0") for parts in all_parts if place < len(parts))
        for place in range(length)
    ]
    parts = [part.lstrip("0") or "0" for part in re.split(r"[._]", version)]
    padded = [*parts, *("0" for _ in widths[len(parts) :])]
    return int("".join(part.zfill(width) for part, width in zip(padded, widths, strict=True)))


def _names(row: Row) -> list[str]:
    """The names that a row may have here, the most telling first."""
    whole = [_ENDING.sub("", name) for name in (row.name, row.other_name) if name]
    rests = [leading["rest"] for name in whole if (leading := _LEADING.fullmatch(name)) and leading["rest"]]
    return list(dict.fromkeys(map(_plain, [*whole, *rests])))


def _plain(name: str) -> str:
    """A name without what tools write differently."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _widened(row: Row, package: Package) -> Migration | None:
    """The file whose number `import` has made longer, so that the order stays: 20260527 became 202605270."""
    number = row.number
    if not number or not number.isdecimal():
        return None
    found = [m for m in package.migrations if re.fullmatch(rf"{number}0*[0-9]?", m.label)]
    return found[0] if len(found) == 1 else None


def _beginning_with(row: Row, package: Package) -> Migration | None:
    """The file whose description begins with the row's name, as with Alembic's revision: 003_ae1027a6acf_users.sql."""
    if not row.name:
        return None
    begin = f"{_plain(row.name)}_"
    found = [m for m in package.migrations if f"{_plain(m.name.partition('_')[2])}_".startswith(begin)]
    return found[0] if len(found) == 1 else None


def wrong_checksums(history: ForeignHistory, rows: Mapping[str, Migration]) -> list[tuple[Migration, Row]]:
    """The files whose text isn't what the tool has applied, by the tool's own checksum. Not all tools have one that can
    be computed here."""
    kind = history.tool.checksum
    if not kind:
        return []
    return [
        (rows[row.key], row)
        for row in history.rows
        if row.checksum and row.key in rows and row.checksum not in _checksums(kind, rows[row.key])
    ]


def _checksums(kind: str, migration: Migration) -> set[str]:
    """The checksums that a tool may have of a file: with the line ends of either kind of system."""
    ours = migration.path.read_bytes()
    text = ours.removeprefix(_OPTION.encode()).replace(b"\r\n", b"\n")
    if kind == "flyway":
        lines = text.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").replace("\r", "\n").split("\n")
        value = 0
        for line in lines:
            value = zlib.crc32(line.encode(), value)
        return {str(value - (1 << 32) if value >= 1 << 31 else value)}
    return {hashlib.new(kind, each).hexdigest() for each in (text, text.replace(b"\n", b"\r\n"), ours)}


def listed(names: Sequence[str]) -> str:
    """Names for a message: the first of them, if they are many."""
    more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join([*(name[:100] for name in names[:_SHOWN]), *more])

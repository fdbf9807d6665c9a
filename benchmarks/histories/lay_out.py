"""Lays a folder of another tool's migrations out as ours: VERSION_description.sql, and .down.sql beside it.

    python -m benchmarks.histories.lay_out SOURCE TOOL DEST

The tool's order is kept. Numbers are kept too, unless they aren't unique or sort otherwise than the tool sorts them;
then all get the same width and a digit that counts those of one number. A file that its tool runs outside a
transaction begins with `-- migration: transaction = off`. What isn't SQL (Go, TypeScript) is left out, and named.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

from aurora_migrations.engine import discover

OFF = "-- migration: transaction = off\n"


@dataclass(frozen=True)
class Found:
    """One migration of another tool, its texts as ours."""

    version: str
    name: str
    up: str
    down: str = ""


@dataclass(frozen=True)
class Tool:
    """How a tool keeps its migrations.

    Attributes:
        read: finds them in a folder, in any order.
        order: what it sorts them by.
    """

    read: Callable[[Path], Iterator[Found]]
    order: Callable[[Found], tuple[object, ...]]


def lay_out(source: Path, tool: str, destination: Path) -> list[str]:
    """Writes the migrations of a folder into another, which is made; returns what was left out, and why.

    Raises:
        ValueError: no migration of that tool is there, or its order can't be kept.
    """
    how = TOOLS[tool]
    found = sorted(how.read(source), key=how.order)
    if not found:
        raise ValueError(f"{source} holds no migration that {tool} would run")
    destination.mkdir(parents=True)
    for migration, version in zip(found, _versions([migration.version for migration in found]), strict=True):
        stem = destination / f"{version}_{_description(migration.name)}"
        _write(stem.with_name(f"{stem.name}.sql"), migration.up)
        if migration.down.removeprefix(OFF).strip():
            _write(stem.with_name(f"{stem.name}.down.sql"), migration.down)
    return [f"{path.name}: not SQL" for path in sorted(source.iterdir()) if path.suffix in (".go", ".ts", ".fizz")]


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _description(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-") or "unnamed"


def _versions(written: Sequence[str]) -> list[str]:
    """Unique numbers that sort as these do: the same, if they serve."""
    if _ascend(written) and len({int(version) for version in written}) == len(written):
        return list(written)
    if not _ascend(written):
        width = max(map(len, written))
        written = [version.ljust(width, "0") for version in written]  # 20260527, 2026052712: as text sorts them
    if not _ascend(written):
        raise ValueError("its order is neither that of numbers nor that of their digits")
    counted = [list(same) for _, same in groupby(written, int)]
    digits = len(str(max(map(len, counted)) - 1))
    return [f"{version}{number:0{digits}}" for same in counted for number, version in enumerate(same)]


def _ascend(versions: Sequence[str]) -> bool:
    return all(int(one) <= int(next_one) for one, next_one in pairwise(versions))


# ---- tools with one file or folder for each direction ---------------------------------------------------------------


def _prisma(source: Path) -> Iterator[Found]:
    """`20240131120000_name/migration.sql`; there is no down."""
    for file in source.glob("*/migration.sql"):
        version, _, name = file.parent.name.partition("_")
        yield Found(version, name, _read(file))


def _diesel(source: Path) -> Iterator[Found]:
    """`2024-01-31-120000_name/up.sql`, `down.sql`, `metadata.toml`."""
    for file in source.glob("*/up.sql"):
        version, _, name = file.parent.name.partition("_")
        metadata, down = file.with_name("metadata.toml"), file.with_name("down.sql")
        options = tomllib.loads(_read(metadata)) if metadata.exists() else {}
        head = "" if options.get("run_in_transaction", True) else OFF
        yield Found(version.replace("-", ""), name, head + _read(file), head + _read(down) if down.exists() else "")


_GOLANG_MIGRATE = re.compile(r"(?P<version>\d+)_(?P<name>.*)\.up\.sql")
_FIZZ = re.compile(
    r"(?P<version>\d+)_(?P<name>[^.]+)(?:\.(?P<dialect>[a-z0-9]+?))??(?P<off>\.autocommit)?\.(?P<role>up|down)\.sql"
)


def _golang_migrate(source: Path) -> Iterator[Found]:
    """`1_name.up.sql`, `1_name.down.sql`."""
    for file in source.glob("*.up.sql"):
        if match := _GOLANG_MIGRATE.fullmatch(file.name):
            down = file.with_name(f"{file.name.removesuffix('.up.sql')}.down.sql")
            yield Found(match["version"], match["name"], _read(file), _read(down) if down.exists() else "")


def _fizz(source: Path) -> Iterator[Found]:
    """`1_name.up.sql` for every database, or `1_name.postgres.up.sql`, which goes before it."""
    texts: dict[tuple[str, str], dict[str, str]] = {}
    for file in sorted(source.glob("*.sql"), key=lambda file: ".postgres." in file.name):
        match = _FIZZ.fullmatch(file.name)
        if match and match["dialect"] in (None, "postgres"):
            head = OFF if match["off"] else ""
            texts.setdefault((match["version"], match["name"]), {})[match["role"]] = head + _read(file)
    for (version, name), by_role in texts.items():
        yield Found(version, name, by_role.get("up", ""), by_role.get("down", ""))


# ---- tools with both directions in one file, told apart by comments -------------------------------------------------


def _goose(source: Path) -> Iterator[Found]:
    """`-- +goose Up`, `-- +goose Down`, `-- +goose StatementBegin`, `-- +goose NO TRANSACTION`."""
    return _annotated(source, re.compile(r"\s*--\s*\+goose\s+(?P<word>\w+)(?P<rest>.*)", re.IGNORECASE), "transaction")


def _sql_migrate(source: Path) -> Iterator[Found]:
    """`-- +migrate Up notransaction`, `-- +migrate Down`, `-- +migrate StatementBegin`."""
    return _annotated(source, re.compile(r"--\s*\+migrate\s+(?P<word>\w+)(?P<rest>.*)"), "notransaction")


def _dbmate(source: Path) -> Iterator[Found]:
    """`-- migrate:up transaction:false`, `-- migrate:down`."""
    return _annotated(source, re.compile(r"--\s*migrate:(?P<word>\w+)(?P<rest>.*)"), "transaction:false")


def _annotated(source: Path, annotation: re.Pattern[str], off: str) -> Iterator[Found]:
    for file in source.glob("*.sql"):
        match = re.fullmatch(r"(\d+)[_-]?(.*)\.sql", file.name)
        if match:
            sections = _sections(_read(file), annotation, off)
            yield Found(match[1], match[2], sections["up"], sections["down"])


def _sections(text: str, annotation: re.Pattern[str], off: str) -> dict[str, str]:
    """The texts of `up` and `down`. `off` is what an annotation says where there is to be no transaction."""
    lines: dict[str, list[str]] = {"up": [], "down": [], "before": []}
    without: set[str] = set()
    now = "before"
    for line in text.splitlines(keepends=True):
        match = annotation.match(line)
        word = match["word"].lower() if match else ""
        if word in ("up", "down"):
            now = word
        if match and off in match["rest"].lower():
            without |= {word} if word == now else {"up", "down"}  # goose says it of the whole file
        if word == "statementend":
            lines[now] += _ending(lines[now])
        elif word not in ("up", "down", "statementbegin", "no"):
            lines[now].append(line)
    return {role: (OFF if role in without else "") + "".join(lines[role]) for role in ("up", "down")}


def _ending(lines: Sequence[str]) -> list[str]:
    """What ends a statement that its tool ends by an annotation: nothing, if it surely ends with a semicolon."""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return [] if last.endswith(";") and "--" not in last else [";\n"]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig")


def _by_number(found: Found) -> tuple[object, ...]:
    return int(found.version), found.name


def _by_text(found: Found) -> tuple[object, ...]:
    return found.version, found.name


TOOLS = {
    "prisma": Tool(_prisma, _by_text),
    "diesel": Tool(_diesel, _by_text),
    "goose": Tool(_goose, _by_number),
    "dbmate": Tool(_dbmate, _by_text),
    "golang-migrate": Tool(_golang_migrate, _by_number),
    "fizz": Tool(_fizz, _by_text),
    "sql-migrate": Tool(_sql_migrate, _by_number),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Lays a folder out; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.histories.lay_out", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("source", type=Path)
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("destination", type=Path, help="a folder that isn't there yet")
    arguments = parser.parse_args(argv)
    try:
        left_out = lay_out(arguments.source, arguments.tool, arguments.destination)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    for told in left_out:
        print(f"left out {told}")
    print(f"{len(discover(arguments.destination).migrations)} migrations in {arguments.destination}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

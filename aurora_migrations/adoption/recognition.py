"""Recognizes the tool whose layout a folder has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from aurora_migrations.adoption.directed_files import FIZZ_ONLY, FLYWAY, SQLX_OFF, UP_DOWN
from aurora_migrations.adoption.files import all_files, entries_of, find, is_sql, listed, read_bytes, shown
from aurora_migrations.adoption.tools import TOOLS
from aurora_migrations.engine.errors import InvalidInput


def recognize(folder: Path) -> str:
    """The tool whose layout a folder has.

    Raises:
        InvalidInput: no tool's or several tools' layouts fit, or the folder can't be read.
    """
    candidates = list(_candidates(folder))
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise InvalidInput(
            f"{shown(folder)} looks like the migrations of {' and of '.join(candidates)}.",
            cause="Its files fit both layouts, and the two tools would run different files or in another way.",
            solution=f"Say which tool runs them: {' or '.join(f'--tool {tool}' for tool in candidates)}.",
        )
    sql = [path for path in all_files(folder) if path.suffix.lower() == ".sql"]
    if sql and all(_OURS.fullmatch(path.name) for path in sql):
        raise InvalidInput(
            f"The migrations in {shown(folder)} already have the names used here.",
            cause="Their names are VERSION_description.sql, and they have no other tool's markers.",
            solution="There is nothing to import: use the folder as it is, with --migrations. If another tool runs "
            f"them, say which with --tool: {', '.join(TOOLS)}.",
        )
    raise InvalidInput(
        f"{shown(folder)} doesn't have the layout of a known tool.",
        cause="It contains no SQL." if not sql else f"It contains {listed([path.name for path in sql])}.",
        solution=f"Name the folder that contains the migrations themselves, or say which tool runs them with --tool: "
        f"{', '.join(TOOLS)}.",
    )


_OURS = re.compile(r"[0-9]+_[\w-]+(?:\.down|\.verify)?\.sql")
_MARKERS = {
    "goose": re.compile(rb"^--[ \t]*\+goose[ \t]+up\b", re.IGNORECASE | re.MULTILINE),
    "sql-migrate": re.compile(rb"^-- \+migrate[ \t]+Up\b", re.MULTILINE),
    "dbmate": re.compile(rb"^--[ \t]*migrate:up\b", re.MULTILINE),
    "graphile-migrate": re.compile(rb"\A(?:\xef\xbb\xbf)?--! Previous:"),
    "tern": re.compile(rb"^---- (?:create above / drop below|tern: disable-tx) ----", re.MULTILINE),
}


def _candidates(folder: Path) -> Iterator[str]:
    """The tools whose layout it fits."""
    entries = entries_of(folder)
    names = [path.name for path in entries]
    inside = {
        name for path in entries if path.is_dir() for name in ("migration.sql", "up.sql") if (path / name).exists()
    }
    if "migration.sql" in inside:
        yield "prisma"
    if "up.sql" in inside:
        yield "diesel"
    if any(FLYWAY.fullmatch(path.name) for path in find(folder, "**/V*.[sS][qQ][lL]")):
        yield "flyway"
    yield from _by_directions(names, entries)
    committed = folder / "committed"
    texts = [
        read_bytes(path) for path in (*entries, *(entries_of(committed) if committed.is_dir() else ())) if is_sql(path)
    ]
    for tool, marker in _MARKERS.items():
        if any(marker.search(text) for text in texts):
            yield tool


def _by_directions(names: Sequence[str], entries: Sequence[Path]) -> Iterator[str]:
    """The tools that have a file for each direction."""
    ups = [name for name in names if re.fullmatch(r"[0-9]+_.*\.up\.(?:sql|fizz)", name)]
    if any(name.endswith(".fizz") or FIZZ_ONLY.search(name) for name in ups):
        yield "fizz"
    elif ups:
        simple = [name for name in names if (match := UP_DOWN.fullmatch(name)) and not match["role"]]
        in_none = any(read_bytes(path).startswith(SQLX_OFF) for path in entries if is_sql(path))
        if simple and not in_none:
            yield "golang-migrate"  # which ignores the simple ones
        yield "sqlx" if simple or in_none else "golang-migrate"
    elif any(read_bytes(path).startswith(SQLX_OFF) for path in entries if is_sql(path) and _OURS.fullmatch(path.name)):
        yield "sqlx"

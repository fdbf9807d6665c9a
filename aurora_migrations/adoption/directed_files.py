"""Tools with one file or folder for each direction: one function per tool."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from aurora_migrations.adoption.files import OFF, Found, find, read


def read_prisma(folder: Path) -> Iterator[Found]:
    """`20240131120000_name/migration.sql`; there is no down."""
    for file in find(folder, "*/migration.sql"):
        version, _, name = file.parent.name.partition("_")
        yield Found((file,), version, name, read(file))


def read_diesel(folder: Path) -> Iterator[Found]:
    """`2024-01-31-120000_name/up.sql`, `down.sql`, `metadata.toml`."""
    for file in find(folder, "*/up.sql"):
        version, _, name = file.parent.name.partition("_")
        metadata, down = file.with_name("metadata.toml"), file.with_name("down.sql")
        head = "" if _runs_in_transaction(metadata) else OFF
        sources = tuple(path for path in (file, down, metadata) if path.is_file())
        down_text = head + read(down) if down.is_file() else ""
        yield Found(sources, version.replace("-", ""), name, head + read(file), down_text)


def _runs_in_transaction(metadata: Path) -> bool:
    try:
        return not metadata.exists() or bool(tomllib.loads(read(metadata)).get("run_in_transaction", False))
    except tomllib.TOMLDecodeError:  # Diesel ignores what it can't read
        return True


UP_DOWN = re.compile(r"(?P<version>[0-9]+)_(?P<name>.*?)(?:\.(?P<role>up|down))?\.sql")
SQLX_OFF = b"-- no-transaction"


def read_golang_migrate(folder: Path) -> Iterator[Found]:
    """`1_name.up.sql`, `1_name.down.sql`."""
    for file in find(folder, "*.up.sql"):
        if match := UP_DOWN.fullmatch(file.name):
            sources, texts = _both(file)
            yield Found(sources, match["version"], match["name"], *texts)


def read_sqlx(folder: Path) -> Iterator[Found]:
    """`1_name.up.sql` with `1_name.down.sql`, or `1_name.sql`; `-- no-transaction` at the beginning of a file."""
    for file in find(folder, "*.sql"):
        if (match := UP_DOWN.fullmatch(file.name)) and match["role"] != "down":
            sources, texts = _both(file) if match["role"] else ((file,), [read(file)])
            heads = (OFF if text.startswith(SQLX_OFF.decode()) else "" for text in texts)
            yield Found(sources, match["version"], match["name"], *map("".join, zip(heads, texts, strict=True)))


def _both(up: Path) -> tuple[tuple[Path, ...], list[str]]:
    """The files of both directions that are there, and their texts."""
    down = up.with_name(f"{up.name.removesuffix('.up.sql')}.down.sql")
    sources = (up, down) if down.is_file() else (up,)
    return sources, [read(path) for path in sources]


FIZZ = re.compile(
    r"(?P<version>[0-9]+)_(?P<name>[^.]+)(?:\.(?P<dialect>[a-z0-9]+?))??(?P<off>\.autocommit)?\.(?P<role>up|down)\.sql"
)
FIZZ_ONLY = re.compile(
    r"\.(?:autocommit|cockroach(?:db)?|mariadb|mysql|postgres(?:ql)?|sqlite3?)(?:\.autocommit)?\.up\."
)
_POSTGRES = ("postgres", "postgresql", "pg")  # as pop calls it


def read_fizz(folder: Path) -> Iterator[Found]:
    """`1_name.up.sql` for every database, or `1_name.postgres.up.sql`, which goes before it."""
    files: dict[tuple[str, str], dict[str, tuple[Path, str]]] = {}
    of_its_own = [
        (match["dialect"] is not None, file, match)
        for file in find(folder, "**/*.sql")
        if (match := FIZZ.fullmatch(file.name))
    ]
    for _, file, match in sorted(of_its_own, key=lambda each: (each[0], each[1])):
        if match["dialect"] in (None, *_POSTGRES):
            text = (OFF if match["off"] else "") + read(file)
            files.setdefault((match["version"], match["name"]), {})[match["role"]] = (file, text)
    for (version, name), by_role in files.items():
        if "up" in by_role:
            down = by_role.get("down")
            sources = (by_role["up"][0], *((down[0],) if down else ()))
            yield Found(sources, version, name, by_role["up"][1], down[1] if down else "")


FLYWAY = re.compile(r"(?P<kind>[VU])(?P<version>[0-9]+(?:[._][0-9]+)*)(?:__(?P<name>.*))?\.sql", re.IGNORECASE)
_NOT_IN_TRANSACTION = re.compile(r"^\s*executeInTransaction\s*=\s*false\s*$", re.IGNORECASE | re.MULTILINE)


def read_flyway(folder: Path) -> Iterator[Found]:
    """`V1__name.sql`, `V1.2__name.sql`, `U1__name.sql`, in any subfolder; `V1__name.sql.conf` with its options."""
    matches = [(path, match) for path in find(folder, "**/*") if (match := FLYWAY.fullmatch(path.name))]
    files = [(path, match) for path, match in matches if match["kind"] in "VU"]
    parts = {path: tuple(map(int, re.split(r"[._]", match["version"]))) for path, match in files}
    widths = [
        max(len(str(each[place])) for each in parts.values() if place < len(each))
        for place in range(max(map(len, parts.values()), default=0))
    ]
    undoing = {_number(parts[path], widths): path for path, match in files if match["kind"] == "U"}
    for path, match in files:
        if match["kind"] == "V":
            number = _number(parts[path], widths)
            down = undoing.get(number)
            text, sources = _flyway_text(path)
            down_text, beside = _flyway_text(down) if down else ("", ())
            version = number if len(widths) > 1 else match["version"]
            yield Found((*sources, *beside), version, match["name"] or "", text, down_text)


def _number(parts: Sequence[int], widths: Sequence[int]) -> str:
    """One number for the parts of a version, which sorts as they do: of 1.2 and 1.10, it is 102 and 110."""
    padded = [*parts, *(0 for _ in widths[len(parts) :])]
    return "".join(str(part).zfill(width) for part, width in zip(padded, widths, strict=True))


def _flyway_text(path: Path) -> tuple[str, tuple[Path, ...]]:
    options = path.with_name(f"{path.name}.conf")
    if not options.exists():
        return read(path), (path,)
    head = OFF if _NOT_IN_TRANSACTION.search(read(options)) else ""
    return head + read(path), (path, options)


_GRAPHILE = re.compile(r"(?P<version>[0-9]+)(?:-(?P<name>[-_a-zA-Z0-9]*))?\.sql")
_HEADER = re.compile(r"(?:--! [A-Z]\w*(?::.*)?\n)*\s*")


def read_graphile_migrate(folder: Path) -> Iterator[Found]:
    """`committed/000001-name.sql`; `--! no-transaction` in the first line below the header. There is no down."""
    committed = folder / "committed"
    for file in find(committed if committed.is_dir() else folder, "*.sql"):
        if match := _GRAPHILE.fullmatch(file.name):
            text = read(file)
            head = OFF if re.match(r"--!\s*no-transaction\b", _HEADER.sub("", text, count=1)) else ""
            yield Found((file,), match["version"], match["name"] or "", head + text)

"""How other migration tools name and split their files, and what those files are called here.

Names, order and markers are read as each tool's source reads them. SQL is never edited: a file is cut where its tool
marks it, and where the tool runs it outside a transaction, the option line `transaction = off` is put above it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from itertools import groupby, pairwise
from pathlib import Path

from aurora_migrations.engine.errors import InvalidFile, InvalidInput
from aurora_migrations.engine.migrations import Problem, invalid_files, read_text

OFF = "-- migration: transaction = off\n"
_SHOWN = 5  # names in a message
_LONGEST_NAME = 500  # characters of a folder's name in a message


@dataclass(frozen=True)
class Found:
    """One migration of another tool, its texts as they are written here."""

    sources: tuple[Path, ...]  # the tool's files, its own first
    version: str  # digits
    name: str
    up: str
    down: str = ""


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


@dataclass(frozen=True)
class Tool:
    """How a tool keeps its migrations."""

    read: Callable[[Path], Iterator[Found]]  # finds them in a folder, in any order
    order: Callable[[Found], tuple[object, ...]]  # what the tool sorts them by
    looks_for: str  # a name such as its migrations have
    is_unique: bool = True  # whether the tool refuses two migrations of one version
    others: tuple[tuple[str, str], ...] = ()  # patterns of names that it doesn't run as a migration, and why
    fills_in: str = r"(?!)"  # a pattern of the text that it replaces


def lay_out(folder: Path, tool: str) -> Layout:
    """The migrations of a folder as ours.

    Raises:
        InvalidInput: the folder has no migration that this tool would run, or its order can't be kept.
        InvalidFile: a file can't be read, or isn't UTF-8.
    """
    how = TOOLS[tool]
    _entries(folder)  # raises if it can't be read
    found = sorted(how.read(folder), key=how.order)
    if not found:
        raise InvalidInput(
            f"{_shown(folder)} holds no migration that {tool} would run.",
            cause=f"{tool} looks for {how.looks_for}.",
            solution="Name the folder in which the migrations themselves are, or another tool with --tool.",
        )
    versions = _versions([migration.version for migration in found], folder, how, found)
    migrations = [_imported(folder, how, each, version) for each, version in zip(found, versions, strict=True)]
    used = {path for each in found for path in each.sources}
    left_out = [
        Problem(_relative(folder, path), _why_left_out(path, tool)) for path in _all_files(folder) if path not in used
    ]
    return Layout(tool, tuple(migrations), tuple(left_out))


def write_files(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Writes all files or none, over nothing that is there; returns their paths."""
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with (folder / name).open("x", encoding="utf-8", newline="\n") as file:
                written.append(folder / name)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise InvalidInput(
            f"{error.filename or folder} can't be written: {error.strerror}.",
            cause="The file is there already, its name is too long, or the folder may not be written to.",
            solution="Look at what is there; nothing was overwritten, and nothing was written.",
        ) from error
    return written


def _imported(folder: Path, how: Tool, found: Found, version: str) -> Imported:
    description = re.sub(r"[^\w-]+", "_", found.name).strip("_-") or "unnamed"
    stem = f"{version}_{description}"
    texts = {f"{stem}.sql": found.up}
    if found.down.removeprefix(OFF).strip():
        texts[f"{stem}.down.sql"] = found.down
    notes = ["outside a transaction"] if any(text.startswith(OFF) for text in texts.values()) else []
    filled_in = {match[0].strip(): None for text in texts.values() for match in re.finditer(how.fills_in, text)}
    if filled_in:
        notes.append(f"has {_listed(list(filled_in))}, which its tool fills in: write it out, then check")
    return Imported(tuple(_relative(folder, path) for path in found.sources), texts, tuple(notes))


# ---- recognition ----------------------------------------------------------------------------------------------------


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
            f"{_shown(folder)} looks like the migrations of {' and of '.join(candidates)}.",
            cause="Its files fit both layouts, and the two tools would run different files or in another way.",
            solution=f"Say which tool runs them: {' or '.join(f'--tool {tool}' for tool in candidates)}.",
        )
    sql = [path for path in _all_files(folder) if path.suffix.lower() == ".sql"]
    if sql and all(_OURS.fullmatch(path.name) for path in sql):
        raise InvalidInput(
            f"The migrations in {_shown(folder)} are named as ours already.",
            cause="Their names are VERSION_description.sql, and they have no other tool's markers.",
            solution="There is nothing to import: use the folder as it is, with --migrations. If another tool runs "
            f"them, choose it with --tool: {', '.join(TOOLS)}.",
        )
    raise InvalidInput(
        f"{_shown(folder)} has the layout of no tool that is known here.",
        cause="It holds no SQL." if not sql else f"It holds {_listed([path.name for path in sql])}.",
        solution=f"Name the folder in which the migrations themselves are, or their tool with --tool: "
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
    entries = _entries(folder)
    names = [path.name for path in entries]
    inside = {
        name for path in entries if path.is_dir() for name in ("migration.sql", "up.sql") if (path / name).exists()
    }
    if "migration.sql" in inside:
        yield "prisma"
    if "up.sql" in inside:
        yield "diesel"
    if any(_FLYWAY.fullmatch(path.name) for path in _files(folder, "**/V*.[sS][qQ][lL]")):
        yield "flyway"
    yield from _by_directions(names, entries)
    committed = folder / "committed"
    texts = [_bytes(path) for path in (*entries, *(_entries(committed) if committed.is_dir() else ())) if _is_sql(path)]
    for tool, marker in _MARKERS.items():
        if any(marker.search(text) for text in texts):
            yield tool


def _by_directions(names: Sequence[str], entries: Sequence[Path]) -> Iterator[str]:
    """The tools that have a file for each direction."""
    ups = [name for name in names if re.fullmatch(r"[0-9]+_.*\.up\.(?:sql|fizz)", name)]
    if any(name.endswith(".fizz") or _FIZZ_ONLY.search(name) for name in ups):
        yield "fizz"
    elif ups:
        simple = [name for name in names if (match := _UP_DOWN.fullmatch(name)) and not match["role"]]
        in_none = any(_bytes(path).startswith(_SQLX_OFF) for path in entries if _is_sql(path))
        if simple and not in_none:
            yield "golang-migrate"  # which ignores the simple ones
        yield "sqlx" if simple or in_none else "golang-migrate"
    elif any(_bytes(path).startswith(_SQLX_OFF) for path in entries if _is_sql(path) and _OURS.fullmatch(path.name)):
        yield "sqlx"


# ---- numbers --------------------------------------------------------------------------------------------------------


def _versions(written: Sequence[str], folder: Path, how: Tool, found: Sequence[Found]) -> list[str]:
    """Unique numbers that sort as these do: the same, if they serve.

    Otherwise all get the same width, and a digit that counts those of one number.
    """
    if without := [_relative(folder, each.sources[0]) for each in found if not re.fullmatch("[0-9]+", each.version)]:
        raise InvalidInput(
            f"The order can't be kept: {_listed(without)}: no number is in the name.",
            cause="The tool sorts by whole names; here numbers give the order.",
            solution="In a copy of the folder, put numbers before these names that keep the order, and import that.",
        )
    same = next((pair for pair in pairwise(found) if int(pair[0].version) == int(pair[1].version)), None)
    if same and how.is_unique:
        first, second = (_relative(folder, each.sources[0]) for each in same)
        raise InvalidInput(
            f"{first} and {second} have the same version.",
            cause="The tool refuses two migrations of one version, so these are not of one history.",
            solution="Name the folder of one history, such as that of one database.",
        )
    if _ascend(written) and not same:
        return list(written)
    if not _ascend(written):
        width = max(map(len, written))
        written = [version.ljust(width, "0") for version in written]  # 20260527, 2026052712: as text sorts them
    if not _ascend(written):
        raise InvalidInput(
            "The order can't be kept: it is neither that of the numbers nor that of their digits.",
            cause="Here numbers give the order of migrations.",
            solution="In a copy of the folder, rename the files so that their numbers ascend, and import the copy.",
        )
    counted = [list(group) for _, group in groupby(written, int)]
    digits = len(str(max(map(len, counted)) - 1))
    return [f"{version}{number:0{digits}}" for group in counted for number, version in enumerate(group)]


def _ascend(versions: Sequence[str]) -> bool:
    return all(int(one) <= int(next_one) for one, next_one in pairwise(versions))


# ---- tools with one file or folder for each direction ---------------------------------------------------------------


def _prisma(folder: Path) -> Iterator[Found]:
    """`20240131120000_name/migration.sql`; there is no down."""
    for file in _files(folder, "*/migration.sql"):
        version, _, name = file.parent.name.partition("_")
        yield Found((file,), version, name, _read(file))


def _diesel(folder: Path) -> Iterator[Found]:
    """`2024-01-31-120000_name/up.sql`, `down.sql`, `metadata.toml`."""
    for file in _files(folder, "*/up.sql"):
        version, _, name = file.parent.name.partition("_")
        metadata, down = file.with_name("metadata.toml"), file.with_name("down.sql")
        head = "" if _runs_in_transaction(metadata) else OFF
        sources = tuple(path for path in (file, down, metadata) if path.is_file())
        down_text = head + _read(down) if down.is_file() else ""
        yield Found(sources, version.replace("-", ""), name, head + _read(file), down_text)


def _runs_in_transaction(metadata: Path) -> bool:
    try:
        return not metadata.exists() or bool(tomllib.loads(_read(metadata)).get("run_in_transaction", False))
    except tomllib.TOMLDecodeError:  # Diesel ignores what it can't read
        return True


_UP_DOWN = re.compile(r"(?P<version>[0-9]+)_(?P<name>.*?)(?:\.(?P<role>up|down))?\.sql")
_SQLX_OFF = b"-- no-transaction"


def _golang_migrate(folder: Path) -> Iterator[Found]:
    """`1_name.up.sql`, `1_name.down.sql`."""
    for file in _files(folder, "*.up.sql"):
        if match := _UP_DOWN.fullmatch(file.name):
            sources, texts = _both(file)
            yield Found(sources, match["version"], match["name"], *texts)


def _sqlx(folder: Path) -> Iterator[Found]:
    """`1_name.up.sql` with `1_name.down.sql`, or `1_name.sql`; `-- no-transaction` at the beginning of a file."""
    for file in _files(folder, "*.sql"):
        if (match := _UP_DOWN.fullmatch(file.name)) and match["role"] != "down":
            sources, texts = _both(file) if match["role"] else ((file,), [_read(file)])
            heads = (OFF if text.startswith(_SQLX_OFF.decode()) else "" for text in texts)
            yield Found(sources, match["version"], match["name"], *map("".join, zip(heads, texts, strict=True)))


def _both(up: Path) -> tuple[tuple[Path, ...], list[str]]:
    """The files of both directions that are there, and their texts."""
    down = up.with_name(f"{up.name.removesuffix('.up.sql')}.down.sql")
    sources = (up, down) if down.is_file() else (up,)
    return sources, [_read(path) for path in sources]


_FIZZ = re.compile(
    r"(?P<version>[0-9]+)_(?P<name>[^.]+)(?:\.(?P<dialect>[a-z0-9]+?))??(?P<off>\.autocommit)?\.(?P<role>up|down)\.sql"
)
_FIZZ_ONLY = re.compile(
    r"\.(?:autocommit|cockroach(?:db)?|mariadb|mysql|postgres(?:ql)?|sqlite3?)(?:\.autocommit)?\.up\."
)
_POSTGRES = ("postgres", "postgresql", "pg")  # as pop calls it


def _fizz(folder: Path) -> Iterator[Found]:
    """`1_name.up.sql` for every database, or `1_name.postgres.up.sql`, which goes before it."""
    files: dict[tuple[str, str], dict[str, tuple[Path, str]]] = {}
    of_its_own = [
        (match["dialect"] is not None, file, match)
        for file in _files(folder, "**/*.sql")
        if (match := _FIZZ.fullmatch(file.name))
    ]
    for _, file, match in sorted(of_its_own, key=lambda each: (each[0], each[1])):
        if match["dialect"] in (None, *_POSTGRES):
            text = (OFF if match["off"] else "") + _read(file)
            files.setdefault((match["version"], match["name"]), {})[match["role"]] = (file, text)
    for (version, name), by_role in files.items():
        if "up" in by_role:
            down = by_role.get("down")
            sources = (by_role["up"][0], *((down[0],) if down else ()))
            yield Found(sources, version, name, by_role["up"][1], down[1] if down else "")


_FLYWAY = re.compile(r"(?P<kind>[VU])(?P<version>[0-9]+(?:[._][0-9]+)*)(?:__(?P<name>.*))?\.sql", re.IGNORECASE)
_NOT_IN_TRANSACTION = re.compile(r"^\s*executeInTransaction\s*=\s*false\s*$", re.IGNORECASE | re.MULTILINE)


def _flyway(folder: Path) -> Iterator[Found]:
    """`V1__name.sql`, `V1.2__name.sql`, `U1__name.sql`, in any subfolder; `V1__name.sql.conf` with its options."""
    matches = [(path, match) for path in _files(folder, "**/*") if (match := _FLYWAY.fullmatch(path.name))]
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
        return _read(path), (path,)
    head = OFF if _NOT_IN_TRANSACTION.search(_read(options)) else ""
    return head + _read(path), (path, options)


_GRAPHILE = re.compile(r"(?P<version>[0-9]+)(?:-(?P<name>[-_a-zA-Z0-9]*))?\.sql")
_HEADER = re.compile(r"(?:--! [A-Z]\w*(?::.*)?\n)*\s*")


def _graphile_migrate(folder: Path) -> Iterator[Found]:
    """`committed/000001-name.sql`; `--! no-transaction` in the first line below the header. There is no down."""
    committed = folder / "committed"
    for file in _files(committed if committed.is_dir() else folder, "*.sql"):
        if match := _GRAPHILE.fullmatch(file.name):
            text = _read(file)
            head = OFF if re.match(r"--!\s*no-transaction\b", _HEADER.sub("", text, count=1)) else ""
            yield Found((file,), match["version"], match["name"] or "", head + text)


# ---- tools with both directions in one file, separated by comments -------------------------------------------------


def _goose(folder: Path) -> Iterator[Found]:
    """`-- +goose Up`, `-- +goose Down`, `-- +goose StatementBegin`, `-- +goose NO TRANSACTION`."""
    annotation = re.compile(r"\s*--\s*\+goose\s+(?P<word>\w+)(?P<rest>.*)", re.IGNORECASE)
    return _annotated(folder, r"([0-9]+)_(.*)\.sql", annotation, "transaction")


def _sql_migrate(folder: Path) -> Iterator[Found]:
    """`-- +migrate Up notransaction`, `-- +migrate Down`, `-- +migrate StatementBegin`."""
    annotation = re.compile(r"-- \+migrate\s+(?P<word>\w+)(?P<rest>.*)")
    return _annotated(folder, r"([0-9]*)[_-]?(.*)\.sql", annotation, "notransaction")


def _dbmate(folder: Path) -> Iterator[Found]:
    """`-- migrate:up transaction:false`, `-- migrate:down`."""
    annotation = re.compile(r"--\s*migrate:(?P<word>up|down)\b(?P<rest>.*)")
    return _annotated(folder, r"([0-9]+)[_-]?(.*)\.sql", annotation, "transaction:false")


def _annotated(folder: Path, name: str, annotation: re.Pattern[str], off: str) -> Iterator[Found]:
    for file in _files(folder, "*.sql"):
        match = re.fullmatch(name, file.name)
        if match:
            sections = _sections(_read(file), annotation, off)
            if sections is None:
                raise invalid_files([Problem(file.name, "has no line that begins the up part; its tool refuses it")])
            yield Found((file,), match[1], match[2], sections["up"], sections["down"])


def _sections(text: str, annotation: re.Pattern[str], off: str) -> dict[str, str] | None:
    """The texts of `up` and `down`; None if there is no `up`. `off` is the annotation for no
    transaction."""
    lines: dict[str, list[str]] = {"up": [], "down": [], "before": []}
    without: set[str] = set()
    now, begun = "before", set[str]()
    for line in StringIO(text):
        match = annotation.match(line)
        word = match["word"].lower() if match else ""
        if word in ("up", "down"):
            now = word
            begun.add(word)
        if match and off in match["rest"].lower():
            without |= {word} if word == now else {"up", "down"}  # in goose it applies to the whole file
        if word == "statementend":
            lines[now] += _ending(lines[now])
        elif word not in ("up", "down", "statementbegin", "no"):
            lines[now].append(line)
    if "up" not in begun:
        return None
    return {role: (OFF if role in without else "") + "".join(lines[role]) for role in ("up", "down")}


def _ending(lines: Sequence[str]) -> list[str]:
    """What ends a statement that its tool ends by an annotation: nothing, if it surely ends with a semicolon."""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return [] if last.endswith(";") and "--" not in last else [";\n"]


def _tern(folder: Path) -> Iterator[Found]:
    """`001_name.sql`: above `---- create above / drop below ----` what creates, below what drops."""
    for file in _files(folder, "*.sql"):
        if match := re.fullmatch(r"([0-9]+)_(.+)\.sql", file.name):
            up, _, down = _read(file).partition("---- create above / drop below ----")
            up, down = (f"{OFF if _TERN_OFF.search(part) else ''}{part}" for part in (up, down.lstrip("\n")))
            yield Found((file,), match[1], match[2], up, down)


_TERN_OFF = re.compile(r"^---- tern: disable-tx ----$", re.MULTILINE)


# ---- what is in a folder --------------------------------------------------------------------------------------------


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InvalidInput(
            f"The folder {_shown(folder)} can't be read: {error.strerror}.",
            cause="It is missing, isn't a folder, or may not be read.",
            solution="Name the folder with the other tool's migrations.",
        ) from error


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    """Regular files only: reading from a named pipe would never end."""
    return (path for path in folder.glob(pattern) if path.is_file())


def _all_files(folder: Path) -> Iterator[Path]:
    for path in _entries(folder):
        if path.is_dir() and not path.is_symlink():
            yield from _all_files(path)
        else:
            yield path


def _is_sql(path: Path) -> bool:
    return path.suffix.lower() == ".sql" and path.is_file()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise invalid_files([Problem(path.name, f"can't be read: {error.strerror}")]) from error


def _read(path: Path) -> str:
    """A file's text as our files have it: without byte order mark, with LF line ends."""
    try:
        return read_text(path).decode()
    except InvalidFile as error:  # many tools have one name in each folder, such as up.sql
        raise invalid_files(
            replace(problem, file=f"{path.parent.name}/{path.name}") for problem in error.problems
        ) from error


def _relative(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _shown(folder: Path) -> str:
    return str(folder)[:_LONGEST_NAME]


def _listed(names: Sequence[str]) -> str:
    more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join([*names[:_SHOWN], *more])


def _why_left_out(path: Path, tool: str) -> str:
    for pattern, reason in TOOLS[tool].others:
        if re.fullmatch(pattern, path.name):
            return reason
    if path.suffix in _CODE:
        return f"not SQL ({path.suffix}): write what it does as a migration of its own, at its place in the order"
    if path.suffix.lower() == ".sql":
        return f"{tool} doesn't run a file of this name here as a migration; it looks for {TOOLS[tool].looks_for}"
    return "not a migration"


_CODE = (".cs", ".exs", ".fizz", ".go", ".java", ".js", ".kt", ".mjs", ".php", ".py", ".rb", ".rs", ".sh", ".ts")
_NO_UP = "undoes a migration that isn't there"


def _by_number(found: Found) -> tuple[object, ...]:
    return int(found.version or -1), found.sources[0].name


def _numbers_first(found: Found) -> tuple[object, ...]:
    return not found.version, *_by_number(found)


def _by_text(found: Found) -> tuple[object, ...]:
    return found.version, found.name


def _by_name(found: Found) -> tuple[object, ...]:
    return (found.sources[0].name,)


def _by_folder(found: Found) -> tuple[object, ...]:
    return (found.sources[0].parent.name,)


_REPEATABLE = (
    "runs again whenever it changes, which no migration here does: put its text into a migration of its own, and "
    "into a new one at each change"
)
TOOLS = {
    "dbmate": Tool(_dbmate, _by_name, "1_name.sql with `-- migrate:up` and `-- migrate:down`", is_unique=False),
    "diesel": Tool(_diesel, _by_text, "2024-01-31-120000_name/up.sql", is_unique=False),
    "fizz": Tool(
        _fizz,
        _by_text,
        "1_name.up.sql and 1_name.postgres.up.sql",
        others=((_FIZZ.pattern, "for another database, replaced by the file for PostgreSQL, or without an up file"),),
    ),
    "flyway": Tool(
        _flyway,
        _by_number,
        "V1__name.sql",
        others=(
            (r"R__.*\.sql", _REPEATABLE),
            (r"U[0-9].*\.sql", _NO_UP),
            (r"B[0-9].*\.sql", "a baseline, which is for databases that have none of the migrations before it"),
            (r"(?:before|after|create)[A-Z].*\.sql", "a callback: put what it does into the migrations that need it"),
        ),
        fills_in=r"\$\{[^}\n]+\}",
    ),
    "golang-migrate": Tool(_golang_migrate, _by_number, "1_name.up.sql", others=((r"[0-9]+_.*\.down\.sql", _NO_UP),)),
    "goose": Tool(_goose, _by_number, "1_name.sql with `-- +goose Up`", fills_in=r"(?i)-- \+goose ENVSUB ON"),
    "graphile-migrate": Tool(
        _graphile_migrate,
        _by_text,
        "committed/000001-name.sql",
        others=((r".*", "not committed: only what is in committed/ is imported"),),
        fills_in=r":DATABASE_(?:NAME|OWNER)\b|(?m:^--![ \t]*include\b.*)",
    ),
    "prisma": Tool(_prisma, _by_folder, "20240131120000_name/migration.sql", is_unique=False),
    "sql-migrate": Tool(_sql_migrate, _numbers_first, "1_name.sql with `-- +migrate Up`", is_unique=False),
    "sqlx": Tool(_sqlx, _by_number, "1_name.up.sql and 1_name.sql", others=((r"[0-9]+_.*\.down\.sql", _NO_UP),)),
    "tern": Tool(_tern, _by_number, "001_name.sql", fills_in=r"\{\{.*?\}\}"),
}

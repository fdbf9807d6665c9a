"""The migrations of a folder: strict discovery, hashes and texts."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from aurora_migrations.engine.diagnostics.redaction import position
from aurora_migrations.engine.errors import InvalidFile, InvalidInput, NextCommand

INDEX = "manifest.json"  # where it is, the folder's files were compiled: see `manifest`
_NAME = re.compile(r"(?P<label>[0-9]+)_(?P<description>[\w-]+)(?P<role>\.down|\.verify)?\.sql")
_PAGE, _CHUNK = 1 << 12, 1 << 20  # bytes that are read at once
_SHOWN = 100  # problems in one message
_LONGEST_NAME = 500  # characters of a folder's name in a message


@dataclass(frozen=True)
class Problem:
    """A problem in a file. Lines and columns count from 1; 0 means the file as a whole."""

    file: str
    reason: str
    line: int = 0
    column: int = 0
    excerpt: str = ""  # the line and a caret, where they may be shown

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.reason}"


@dataclass(slots=True, unsafe_hash=True)  # a folder may have ten thousand
class Migration:
    """A migration in the folder. Its texts stay on disk until they are needed."""

    version: int
    folder: Path
    name: str  # the file's, such as `017_create_dry_run_log.sql`
    has_down: bool = False
    has_verify: bool = False
    # Hashes by file name, where a manifest has them: then no file is read to know its hash.
    known: Mapping[str, str] | None = field(default=None, compare=False)
    # Kept once they are read; those of all files only where there is more than one.
    _sha256: str | None = field(default=None, init=False, compare=False, repr=False)
    _hashes: Mapping[str, str] | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def label(self) -> str:
        """Its version as the file's name writes it: `017`."""
        return self.name.partition("_")[0]

    @property
    def path(self) -> Path:
        """Its file."""
        return self.folder / self.name

    @property
    def down(self) -> Path | None:
        """The file that undoes it, if there is one."""
        return self.folder / self._beside("down") if self.has_down else None

    @property
    def verify(self) -> Path | None:
        """The file with what must be true after it, if there is one."""
        return self.folder / self._beside("verify") if self.has_verify else None

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files, its own first."""
        roles = (("down", self.has_down), ("verify", self.has_verify))
        return self.name, *(self._beside(role) for role, is_there in roles if is_there)

    @property
    def sha256(self) -> str:
        """Hash of the text as it is sent: without byte order mark, with LF line ends."""
        if self.known is not None:
            return self.known[self.name]
        if self._sha256 is None:
            self._sha256 = sha256_of(self.path)
        return self._sha256

    @property
    def hashes(self) -> Mapping[str, str]:
        """The hash of each of its files, by name, its own first."""
        if self._hashes is not None:
            return self._hashes
        own, *beside = self.files
        if self.known is not None:
            return {name: self.known[name] for name in (own, *beside)}
        found = {own: self.sha256, **{name: sha256_of(self.folder / name) for name in beside}}
        if beside:
            self._hashes = found
        return found

    def with_hashes(self, known: Mapping[str, str]) -> Migration:
        """The same migration with the hashes that a manifest knows of its files."""
        return Migration(self.version, self.folder, self.name, self.has_down, self.has_verify, known)

    def _beside(self, role: str) -> str:
        return f"{self.name.removesuffix('.sql')}.{role}.sql"


@dataclass(frozen=True)
class Package:
    """All migrations of a folder in the order of their versions."""

    folder: Path
    migrations: tuple[Migration, ...]

    @cached_property
    def by_version(self) -> dict[int, Migration]:
        """The migrations by their version."""
        return {migration.version: migration for migration in self.migrations}

    @cached_property
    def digest(self) -> str:
        """One hash for the whole package: names and hashes of all its files, in order."""
        hashes = (entry for migration in self.migrations for entry in migration.hashes.items())
        return hashlib.sha256("".join(f"{sha256}  {name}\n" for name, sha256 in hashes).encode()).hexdigest()


def discover(folder: Path) -> Package:
    """The migrations in a folder. InvalidInput: it is missing, can't be read or holds none; InvalidFile names every
    `.sql` file with an invalid name, or with the version of another."""
    entries = _list(folder)
    problems = [
        Problem(entry.name, "is a folder with .sql files; all migrations belong in one flat folder, so move them up")
        for entry in entries
        if _is_folder(entry) and any(map(_is_sql, (entry.name, *_names_in(entry))))
    ]
    mains: dict[str, str] = {}  # labels, by the names without an ending
    helpers: dict[str, dict[str, str]] = {".down": {}, ".verify": {}}  # their names, in the same way
    for entry in entries:
        name = entry.name
        if not _is_sql(name) or _is_folder(entry):
            continue
        if special := _special(entry):
            problems.append(Problem(name, f"is {special}, not a regular file; put the text into a file of this name"))
        match = _NAME.fullmatch(name)
        if match and match["role"]:
            helpers[match["role"]][f"{match['label']}_{match['description']}"] = name
        elif match:
            mains[f"{match['label']}_{match['description']}"] = match["label"]
        elif not name.endswith(".sql"):
            problems.append(Problem(name, f"the ending must be lower case; rename it to {name[:-4]}.sql"))
        elif not name[0].isdecimal():
            problems.append(Problem(name, "the name must begin with its version, as in 018_add_email.sql"))
        else:
            form = "VERSION_description.sql, .down.sql or .verify.sql"
            rest = "the description has letters, digits, _ and - only, as in 018_add_email.sql"
            problems.append(Problem(name, f"the name must be {form}; {rest}"))
    for role, found in helpers.items():
        for stem, name in found.items():
            if stem not in mains:
                problems.append(Problem(name, f"there is no {stem}.sql that this {role} file belongs to"))
    first: dict[int, str] = {}
    for stem, label in mains.items():
        if (other := first.setdefault(int(label), stem)) != stem:
            problems.append(Problem(f"{stem}.sql", f"has the same version as {other}.sql; give one of them another"))
    if problems:
        raise invalid_files(problems)
    if not mains:
        raise InvalidInput(
            f"The folder {folder} contains no migration.",
            cause="No file in it is named like 001_create_users.sql.",
            solution='Write the first one with `aurora-migrations new "description"`, or name the right folder.',
            next_command=NextCommand("new", ('"description"',)),
        )
    migrations = [
        Migration(int(label), folder, f"{stem}.sql", stem in helpers[".down"], stem in helpers[".verify"])
        for stem, label in mains.items()
    ]
    return Package(folder, tuple(sorted(migrations, key=lambda migration: migration.version)))


def sha256_of(path: Path) -> str:
    """Hash of a file's text as it is sent; the file is read in blocks."""
    digest = hashlib.sha256()
    try:
        for chunk in _blocks(path):
            digest.update(chunk)
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()


def read_text(path: Path) -> bytes:
    """A file's text as it goes to the server: UTF-8 without byte order mark or NUL byte, line ends LF."""
    try:
        text = b"".join(_blocks(path))
    except OSError as error:
        raise _unreadable(path, error) from error
    if problem := _encoding_problem(path.name, text):
        raise invalid_files([problem])
    return text


def invalid_files(problems: Iterable[Problem]) -> InvalidFile:
    """The error that lists these problems, one per line; at most the first of them."""
    found = list(problems)
    more = [f"... and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    shown = ["\n      ".join([str(problem), *problem.excerpt.splitlines()]) for problem in found[:_SHOWN]]
    lines = [f"{len(found)} problems:", *shown, *more]
    message = str(found[0]) if len(found) == 1 else "\n".join(lines)
    facts = [{"file": p.file, "line": p.line, "column": p.column, "reason": p.reason} for p in found]
    excerpt = found[0].excerpt or None if len(found) == 1 else None
    return InvalidFile(message, about=tuple(found), files=facts, excerpt=excerpt)


def _unreadable(path: Path, error: OSError) -> InvalidFile:
    return invalid_files([Problem(path.name, f"can't be read: {error.strerror}")])


def _list(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (OSError, ValueError) as error:  # ValueError: a name with NUL, or that can't be encoded, doesn't exist
        raise InvalidInput(
            f"The migrations folder {str(folder)[:_LONGEST_NAME]} can't be read: "
            f"{getattr(error, 'strerror', None) or 'no folder can have this name'}.",
            cause="The folder is missing, or isn't a folder, or may not be read.",
            solution="Name the right one with --migrations DIR, or run from the project's top folder.",
            next_command=NextCommand("check", ("--migrations", "DIR")),
        ) from error


def _is_sql(name: str) -> bool:
    return name.lower().endswith(".sql")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a broken link; reading it raises the error
        return False


def _special(entry: os.DirEntry[str]) -> str | None:
    """What kind of special file it is, or links to; reading it could block for ever, or use all memory."""
    try:
        mode = 0 if entry.is_file() else entry.stat().st_mode
    except OSError:  # as above
        return None
    kinds = {stat.S_IFIFO: "a FIFO (named pipe)", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device") if mode else None


def _names_in(entry: os.DirEntry[str]) -> list[str]:
    try:
        return [path.name for path in Path(entry).iterdir()]
    except OSError:  # a folder that we can't read contains no migrations of ours
        return []


def _blocks(path: Path) -> Iterator[bytes]:
    """The text in blocks of about 1 MiB, without byte order mark, with LF line ends."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))  # a file object takes longer to make than to read
    try:
        size = min(_CHUNK, max(_PAGE, os.fstat(file).st_size))  # memory for a mebibyte would take longer than to read
        block = os.read(file, size).removeprefix(codecs.BOM_UTF8)
        while block:
            while block.endswith(b"\r") and (more := os.read(file, 1)):
                block += more
            yield block.replace(b"\r\n", b"\n") if b"\r" in block else block
            block = os.read(file, size)
    finally:
        os.close(file)


def _encoding_problem(name: str, text: bytes) -> Problem | None:
    nul = text.find(b"\0")
    if nul >= 0:
        return Problem(
            name, "contains a NUL byte, which PostgreSQL refuses (is it UTF-16? save it as UTF-8)", *position(text, nul)
        )
    if text.isascii():
        return None
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(text), _CHUNK):
        final = start + _CHUNK >= len(text)
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(text[start : start + _CHUNK], final)
        except UnicodeDecodeError as error:
            where = position(text, start - pending + error.start)
            return Problem(name, f"isn't UTF-8 (byte 0x{error.object[error.start]:02x}); save it as UTF-8", *where)
    return None

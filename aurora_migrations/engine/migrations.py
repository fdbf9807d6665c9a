"""The migrations of a folder: strict discovery, hashes and texts."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from aurora_migrations.engine.diagnostics.redaction import position
from aurora_migrations.engine.errors import InvalidFile, InvalidInput, NextCommand

INDEX = "manifest.json"  # where it is, the folder's files were compiled: see `manifest`
_NAME = re.compile(r"(?P<stem>(?P<label>[0-9]+)_[\w-]+)(?P<role>\.down|\.verify)?\.sql")
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
_CHUNK = 1 << 16  # Python allocates as much for each read, and gives most of it back
_SHOWN = 100  # problems in one message
_LONGEST_NAME = 500  # characters of a folder's name in a message


class Problem(NamedTuple):
    """A problem in a file. Lines and columns count from 1; 0 means the file as a whole."""

    file: str
    reason: str
    line: int = 0
    column: int = 0
    excerpt: str = ""  # the line and a caret, where they may be shown

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.reason}"


class Folder:
    """Where the files of migrations are, and their hashes. A file is read when its hash is first needed, unless a
    manifest has it."""

    def __init__(self, path: Path, known: Mapping[str, str] | None = None) -> None:
        """`known` are the hashes of all files by name, where the folder was built, with a manifest."""
        self.path, self.is_built = path, known is not None
        self._begin = f"{path}{os.sep}"  # there may be ten thousand files, and joining paths takes as long as reading
        self._hashes = dict(known or {})

    def place(self, name: str) -> str:
        """A file's path as text: Python keeps the name in each Path in a table, which a thousand of them make half a
        megabyte larger."""
        return self._begin + name

    def sha256(self, name: str) -> str:
        """Hash of a file's text as it is sent: without byte order mark, with LF line ends."""
        found = self._hashes.get(name)
        if found is None:
            found = self._hashes[name] = self.read_sha256(name)
        return found

    def note_sha256(self, name: str, sha256: str) -> None:
        """Takes in the hash of a text that was read, so that it needn't be read again."""
        self._hashes.setdefault(name, sha256)

    def read_sha256(self, name: str) -> str:
        """The same of the file as it is now, whatever is known of it. It is read in blocks."""
        digest = hashlib.sha256()
        try:
            for block in _blocks(self.place(name)):
                digest.update(block)
        except OSError as error:
            raise _unreadable(name, error) from error
        return digest.hexdigest()


class Migration(NamedTuple):
    """A migration in the folder. Its texts stay on disk until they are needed."""

    version: int
    label: str
    name: str  # of its file, such as `017_create_dry_run_log.sql`; then those of its other files
    down_name: str | None
    verify_name: str | None
    folder: Folder

    @property
    def path(self) -> Path:
        """Its file."""
        return self.folder.path / self.name

    @property
    def down(self) -> Path | None:
        """The file that undoes it."""
        return self.folder.path / self.down_name if self.down_name else None

    @property
    def verify(self) -> Path | None:
        """The file that verifies it."""
        return self.folder.path / self.verify_name if self.verify_name else None

    def place(self, action: str) -> str | None:
        """The path of the file that does this (`apply` or `rollback`), as text, if there is one; see `Folder`."""
        name = self.name if action == "apply" else self.down_name
        return self.folder.place(name) if name else None

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its files, its own first."""
        return tuple(name for name in (self.name, self.down_name, self.verify_name) if name is not None)

    @property
    def sha256(self) -> str:
        """Hash of its own file; see `Folder`."""
        return self.folder.sha256(self.name)

    @property
    def hashes(self) -> Mapping[str, str]:
        """The hash of each of its files, by name, its own first."""
        return {name: self.folder.sha256(name) for name in self.files}


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
        files = ((migration.folder, name) for migration in self.migrations for name in migration.files)
        lines = "".join(f"{folder.sha256(name)}  {name}\n" for folder, name in files)
        return hashlib.sha256(lines.encode()).hexdigest()


def discover(folder: Path, known: Mapping[str, str] | None = None) -> Package:
    """The migrations in a folder, with the hashes that its manifest knows, if it has one. InvalidInput: it is missing,
    can't be read or holds none; InvalidFile names every `.sql` file with an invalid name, or with the version of
    another."""
    entries = _list(folder)
    folders = {entry.name: entry for entry in entries if _is_folder(entry)}
    problems = [
        Problem(name, "is a folder with .sql files; all migrations belong in one flat folder, so move them up")
        for name, entry in folders.items()
        if any(map(_is_sql, (name, *_names_in(entry))))
    ]
    mains: dict[str, str] = {}  # labels, by the names without an ending
    helpers: dict[str, dict[str, str]] = {".down": {}, ".verify": {}}
    for entry in entries:
        name = entry.name
        if not _is_sql(name) or name in folders:
            continue
        if special := _special(entry):
            problems.append(Problem(name, f"is {special}, not a regular file; put the text into a file of this name"))
        if match := _NAME.fullmatch(name):
            stem, label, role = match.groups()
            if role:
                helpers[role][stem] = name
            else:
                mains[stem] = label
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
    where, down, verify = Folder(folder, known), helpers[".down"], helpers[".verify"]
    migrations = [
        Migration(version, mains[stem], f"{stem}.sql", down.get(stem), verify.get(stem), where)
        for version, stem in sorted(first.items())
    ]
    return Package(folder, tuple(migrations))


def read_text(path: str | Path) -> bytes:
    """A file's text as it goes to the server: UTF-8 without byte order mark or NUL byte, line ends LF."""
    name = str(path).rpartition(os.sep)[2]
    try:
        text = b"".join(_blocks(path))
    except OSError as error:
        raise _unreadable(name, error) from error
    if problem := _encoding_problem(name, text):
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


def _unreadable(name: str, error: OSError) -> InvalidFile:
    return invalid_files([Problem(name, f"can't be read: {error.strerror}")])


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


def _blocks(path: str | Path) -> Iterator[bytes]:
    """The text in blocks of about 64 KiB, without byte order mark, with LF line ends."""
    file = os.open(path, _READ)  # a file object takes longer to make than to read
    try:
        block = os.read(file, _CHUNK).removeprefix(codecs.BOM_UTF8)
        while block:
            if b"\r" in block:
                while block.endswith(b"\r") and (more := os.read(file, 1)):
                    block += more
                block = block.replace(b"\r\n", b"\n")
            yield block
            block = os.read(file, _CHUNK)
    finally:
        os.close(file)


def _encoding_problem(name: str, text: bytes) -> Problem | None:
    nul = text.find(b"\0")
    if nul < 0 and text.isascii():
        return None
    if nul >= 0:
        return Problem(
            name, "contains a NUL byte, which PostgreSQL refuses (is it UTF-16? save it as UTF-8)", *position(text, nul)
        )
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

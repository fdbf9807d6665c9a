"""What is in a folder of another tool, and how its migrations, and all others, are written here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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


def entries_of(folder: Path) -> list[Path]:
    """What is in a folder, but for hidden names. Raises InvalidInput if it can't be read."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InvalidInput(
            f"The folder {shown(folder)} can't be read: {error.strerror}.",
            cause="It is missing, isn't a folder, or may not be read.",
            solution="Name the folder with the other tool's migrations.",
        ) from error


def find(folder: Path, pattern: str) -> Iterator[Path]:
    """The files that fit a pattern. Regular ones only: reading from a named pipe would never end."""
    return (path for path in folder.glob(pattern) if path.is_file())


def all_files(folder: Path) -> Iterator[Path]:
    """Every file in a folder and those in it."""
    for path in entries_of(folder):
        if path.is_dir() and not path.is_symlink():
            yield from all_files(path)
        else:
            yield path


def is_sql(path: Path) -> bool:
    """Whether it is a file with the ending .sql."""
    return path.suffix.lower() == ".sql" and path.is_file()


def read_bytes(path: Path) -> bytes:
    """A file's bytes. Raises InvalidFile if it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise invalid_files([Problem(path.name, f"can't be read: {error.strerror}")]) from error


def read(path: Path) -> str:
    """A file's text as our files have it: without byte order mark, with LF line ends."""
    try:
        return read_text(path).decode()
    except InvalidFile as error:  # many tools have one name in each folder, such as up.sql
        raise invalid_files(
            problem._replace(file=f"{path.parent.name}/{path.name}") for problem in error.problems
        ) from error


def write_files(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Writes all files or none, over nothing that is there; returns their paths."""
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            # A terminal may have given a description that isn't UTF-8.
            with (folder / name).open("x", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                written.append(folder / name)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise InvalidInput(
            f"{error.filename or folder} can't be written: {error.strerror}.",
            cause="The file is there already, its name is too long, or the folder may not be written to.",
            solution="Check what is there; nothing was overwritten, and nothing was written.",
        ) from error
    return written


def relative(folder: Path, path: Path) -> str:
    """A path as seen from the folder."""
    return path.relative_to(folder).as_posix()


def shown(folder: Path) -> str:
    """A folder in a message."""
    return str(folder)[:_LONGEST_NAME]


def listed(names: Sequence[str]) -> str:
    """Names in a message, the first few."""
    more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join([*names[:_SHOWN], *more])

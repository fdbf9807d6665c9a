"""What is kept of replays, by content: an outcome per migration, and the schema after a history.

A key is a hash over the files of a history up to a migration, over what they ran on, and over the modules that read
the catalogue and replay: whatever changes one of them is replayed again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aurora_migrations import project
from aurora_migrations.embedded import binaries
from aurora_migrations.engine.migrations import Migration
from aurora_migrations.replay.outcome import Outcome

MOST = 20_000  # files that are kept; an outcome takes 1 to 4 kB
_SOURCES = ("engine/catalog", "replay")


@dataclass(frozen=True, slots=True)
class Keys:
    """Those of one migration: `state` of the database after it, `outcome` of its own and its down file's replay."""

    state: str
    outcome: str


def folder() -> Path:
    """The folder of the embedded server of replays, and of what is kept of them."""
    return project.local() / "replay"


def embedded_version() -> tuple[str, int]:
    """What decides what a migration changes on the embedded server, and its major version. Starts nothing.

    Raises:
        ServerError: there is none.
    """
    binaries.find()
    version = importlib.metadata.version(binaries.PACKAGE)  # which is PostgreSQL's
    return f"{binaries.PACKAGE} {version}", int(version.partition(".")[0])


def keys_of(migrations: Iterable[Migration], ran_on: str) -> Iterator[Keys]:
    """The keys of a history, one migration after another. `ran_on` is the version of the server."""
    state = hashlib.sha256(f"{_sources()} {ran_on}".encode()).hexdigest()
    for migration in migrations:
        state = _hash(state, str(migration.version), migration.name, migration.sha256)
        down = migration.folder.sha256(migration.down_name) if migration.down_name else ""
        yield Keys(state, _hash(state, down))


def read(keys: Sequence[Keys]) -> list[Outcome | None]:
    """The outcomes that are known."""
    read_one = reader()
    return [read_one(each.outcome) for each in keys]


def reader() -> Callable[[str], Outcome | None]:
    """A function that reads the outcome with a key, if it is known: for a run, which doesn't keep all in memory."""
    outcomes = str(_outcomes())  # once: to find it, the files of the project are read
    return lambda key: _read_outcome(_file(outcomes, key, "json"))


def write(keys: Keys, outcome: Outcome) -> None:
    """Keeps an outcome."""
    text = json.dumps(outcome.to_json(), ensure_ascii=False, separators=(",", ":"))
    _write(_file(_outcomes(), keys.outcome, "json"), text)


def read_schema(state: str) -> str | None:
    """The schema in a state, if it is known."""
    try:
        return Path(_file(_outcomes(), state, "sql")).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def write_schema(state: str, text: str) -> None:
    _write(_file(_outcomes(), state, "sql"), text)


def prune() -> None:
    """Removes the files that were used least recently, where there are too many."""
    with contextlib.suppress(OSError):
        files = [entry for part in _outcomes().glob("*") for entry in os.scandir(part)]
        if len(files) > MOST:
            for entry in sorted(files, key=lambda each: each.stat().st_mtime)[: len(files) - MOST * 3 // 4]:
                Path(entry.path).unlink(missing_ok=True)


def _read_outcome(path: str) -> Outcome | None:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - a run reads one for each file: see `Folder.place`
            return Outcome.from_json(json.load(file))
    except (OSError, ValueError, TypeError, AttributeError, KeyError):  # not there, or damaged: replayed again
        return None


def _outcomes() -> Path:
    return folder() / "outcomes"


def _file(outcomes: str | Path, key: str, kind: str) -> str:
    return f"{outcomes}/{key[:2]}/{key[2:]}.{kind}"


def _write(place: str, text: str) -> None:
    """Writes a file as a whole or not at all. One that can't be written costs no more than another replay."""
    path = Path(place)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8", newline="")
        beside.replace(path)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]  # part of a database's name, of 63 characters


@functools.cache
def _sources() -> str:
    """A hash over the modules that decide what is kept."""
    digest = hashlib.sha256()
    for part in _SOURCES:
        for path in sorted((project.PACKAGE / part).rglob("*")):
            if path.suffix in (".py", ".sql"):
                digest.update(path.read_bytes())
    return digest.hexdigest()

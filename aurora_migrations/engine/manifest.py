"""The manifest: what the compiler understood of a folder, written beside it, so that the engine needs no grammar.

`manifest.json` is the index: per migration its name, its hashes and where its details are in `manifest.details`, one
JSON document a line. A run reads the index, and only what is pending of the rest. The digest is the package's
(`Package.digest`). All else in the index is guarded by its checksum, and each line of details by a hash in the index.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from aurora_migrations.engine.errors import InvalidInput, InvalidManifest
from aurora_migrations.engine.migrations import INDEX, Migration, Package, Problem, discover
from aurora_migrations.engine.options import Expectation, Ignored, Options, RowsExpectation
from aurora_migrations.engine.script import (
    Action,
    Hazard,
    NontransactionalStatement,
    Outline,
    Script,
    Statement,
    TableLock,
    Unit,
)
from aurora_migrations.engine.steps.layout import listed

FORMAT = 5
_UNWRITTEN = "The package was built without one, or this is the wrong folder."
_DAMAGED = "It was edited, or cut short when it was copied, or another version of the product wrote it."
DETAILS = "manifest.details"
_NAME = "aurora-migrations manifest"
_SHOWN = 5  # names of files in one message


class IndexEntry(NamedTuple):
    """The index's entry of a migration."""

    version: int
    hashes: Mapping[str, str]  # of each of its files, by name, its own first
    tokens: str  # the token hash of its own text
    details: str  # the hash of its line of details, which are `length` bytes from byte `offset` on
    offset: int
    length: int


_KINDS = (int, dict, str, str, int, int)  # of its members


class Manifest:
    """A written manifest as the engine's `Source`: for a run where there is no grammar, such as in Lambda."""

    def __init__(self, folder: Path) -> None:
        """Reads the index of the manifest in a folder, and compares it with the names of the files there. Their
        contents are compared when they are run, or all at once by `check_contents`."""
        self._folder = folder
        digest, entries, self.replayed_on = _read_index(folder)
        self._entries = {entry.version: entry for entry in entries}
        self._is_checked = False  # whether the contents of all files were compared
        known = {name: sha256 for entry in entries for name, sha256 in entry.hashes.items()}
        self.package = discover(folder, known)
        here = {name for migration in self.package.migrations for name in migration.files}
        if here != known.keys() or self.package.by_version.keys() != self._entries.keys():
            names = ", ".join(sorted(here ^ known.keys())[:_SHOWN])
            raise _invalid(f"The manifest in {folder} doesn't match its files: {names or 'their versions differ'}.")
        if self.package.digest != digest:
            raise _invalid(f"{folder / INDEX} is damaged: its digest isn't that of the hashes in it.", cause=_DAMAGED)

    @property
    def digest(self) -> str:
        return self.package.digest

    def check_contents(self) -> None:
        """Compares the contents of all files with the manifest. Not needed where nobody can have edited one."""
        _check_contents(self.package.migrations)
        self._is_checked = True

    def problems(self, action: Action, migrations: Sequence[Migration]) -> list[Problem]:
        """None: a manifest is only made of files that can be run. But they must be those that it was made of."""
        for _ in self._read_details(migrations):
            pass
        if not self._is_checked:
            _check_contents(migrations)
        return []

    def script(self, action: Action, migration: Migration) -> Script:
        (script,) = self.scripts(action, [migration])
        return script

    def scripts(self, action: Action, migrations: Iterable[Migration]) -> Iterator[Script]:
        """See `Source`. None is kept: reading one takes a fraction of the time in which the server runs it."""
        return (script_of(json.loads(line)[action]) for line in self._read_details(migrations))

    def outlines(self, migrations: Iterable[Migration]) -> Iterator[Outline]:
        for line in self._read_details(migrations):
            script = json.loads(line)["apply"]
            rows = tuple(RowsExpectation(**row) for row in script["options"]["rows"])
            ignored = _ignored(script["options"])
            yield Outline(script["file"], tuple(script.get("tables", ())), rows, ignored, **_replayed(script))

    def _read_details(self, migrations: Iterable[Migration]) -> Iterator[bytes]:
        """The migrations' lines of the details, which must be those that the index knows."""
        path = self._folder / DETAILS
        try:
            _check_regular_file(path)
            file = path.open("rb", buffering=0)  # a run reads one line each time
        except OSError as error:
            raise _unread(path, error) from error
        with file:
            for migration in migrations:
                entry = self._entries[migration.version]
                try:
                    file.seek(entry.offset)
                    line = file.read(entry.length)
                except (OSError, OverflowError, ValueError) as error:
                    raise _unread(path, error) from error
                if hashlib.sha256(line).hexdigest() != entry.details:
                    what = f"The details of {migration.name} in {DETAILS} don't match {INDEX}."
                    raise _invalid(what, cause=_DAMAGED)
                yield line

    def token_hash(self, text: bytes) -> str | None:
        """The token hash of a file of this package; None for another text, as there is no parser here."""
        return self._tokens.get(hashlib.sha256(text).hexdigest())

    @cached_property
    def _tokens(self) -> dict[str, str]:
        """The token hashes of migrations' own texts, by the hashes of these."""
        return {next(iter(entry.hashes.values())): entry.tokens for entry in self._entries.values()}


def write(folder: Path, scripts: Mapping[Migration, Mapping[str, Script]], replayed_on: int | None = None) -> str:
    """Writes a manifest into a folder and returns its digest. Each file is there as a whole, or as it was before.
    `scripts` are by migration and action (`apply`, and `rollback` where there is a down file); `replayed_on` is the
    major version of PostgreSQL that has shown their changes."""
    migrations = sorted(scripts, key=lambda migration: migration.version)
    package = Package(folder, tuple(migrations))
    lines: list[bytes] = []
    entries: list[IndexEntry] = []
    for migration in migrations:
        data = {action: script_to_json(script) for action, script in scripts[migration].items()}
        line = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        lines.append(line)
        tokens, details = scripts[migration]["apply"].tokens, hashlib.sha256(line).hexdigest()
        offset = entries[-1].offset + entries[-1].length if entries else 0
        entries.append(IndexEntry(migration.version, migration.hashes, tokens, details, offset, len(line)))
    # The files were read to be understood and again for their hashes: both must have seen the same.
    hashes = {name: sha256 for entry in entries for name, sha256 in entry.hashes.items()}
    for script in (script for by_action in scripts.values() for script in by_action.values()):
        if hashes[script.file] != script.sha256:
            what = f"{script.file} was changed while the manifest was being written."
            raise _invalid(what, script.file, "An editor or another build wrote to the folder at the same time.")
    # The index is a header line, then one line per migration. The checksum covers all but the header.
    body = ",\n".join(json.dumps(entry._asdict(), ensure_ascii=False, separators=(",", ":")) for entry in entries)
    rest = f'{body}\n], "replayed_on": {json.dumps(replayed_on)}}}\n'.encode()
    known = {"digest": package.digest, "checksum": hashlib.sha256(rest).hexdigest()}
    head = json.dumps({"name": _NAME, "format": FORMAT, **known})
    try:
        _replace(folder / DETAILS, b"".join(lines))
        _replace(folder / INDEX, f'{head[:-1]}, "migrations": [\n'.encode() + rest)
    except OSError as error:
        raise InvalidInput(
            f"The manifest can't be written to {folder}: {error.strerror}.",
            cause="The folder may not be written to, or something else has that name.",
            solution="Check what is there, and write it again.",
        ) from error
    return package.digest


def script_to_json(script: Script) -> dict[str, Any]:
    """A script as JSON. Manifests have its expectations under the key `promises`."""
    data = asdict(replace(script, change=None, statements=()))
    data["statements"] = list(map(asdict, script.statements))
    change = None if script.change is None else script.change.to_json()
    return {**data, "promises": data.pop("expectations"), "change": change}


def script_of(data: dict[str, Any]) -> Script:
    """A script from its JSON."""
    return Script(
        file=data["file"],
        sha256=data["sha256"],
        tokens=data["tokens"],
        options=_options(data["options"]),
        reason=sys.intern(data["reason"]),
        units=tuple(map(_unit, data["units"])),
        statements=tuple(map(_statement, data["statements"])),
        expectations=tuple(Expectation(**each) for each in data["promises"]),
        hazards=tuple(Hazard(**hazard) for hazard in data["hazards"]),
        tables=tuple(data.get("tables", ())),
        **_replayed(data),
    )


def _options(data: Mapping[str, Any]) -> Options:
    if data == _NO_OPTIONS:
        return _DEFAULTS  # which most files have: one for all
    rows = tuple(RowsExpectation(**row) for row in data["rows"])
    allow = tuple((int(line), str(text)) for line, text in data["allow"])
    return Options(**{**data, "rows": rows, "allow": allow, "ignore": _ignored(data)})


_DEFAULTS = Options()
_NO_OPTIONS = {**asdict(_DEFAULTS), "rows": [], "allow": [], "ignore": []}


def _statement(data: dict[str, Any]) -> Statement:
    data["locks"] = tuple([TableLock(**lock) for lock in data["locks"]])
    data["kind"] = sys.intern(data["kind"])
    return Statement(**data)


def _replayed(data: Mapping[str, Any]) -> dict[str, Any]:
    from aurora_migrations.engine.catalog.change import Change  # with psycopg, which `check` doesn't need

    change = data["change"]
    return {"change": None if change is None else Change.from_json(change), "unreplayed": data["unreplayed"]}


def _ignored(options: Mapping[str, Any]) -> tuple[Ignored, ...]:
    return tuple(Ignored(**each) for each in options["ignore"])


def _unit(data: dict[str, Any]) -> Unit:
    apart = data["nontransactional"]
    data["nontransactional"] = None if apart is None else NontransactionalStatement(**apart)
    data["statements"] = tuple(data["statements"])
    return Unit(**data)


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _read_index(folder: Path) -> tuple[str, list[IndexEntry], int | None]:
    path = folder / INDEX
    try:
        _check_regular_file(path)
        data = path.read_bytes().replace(b"\r\n", b"\n")
        index = json.loads(data)
        name, number = index["name"], index["format"]
    except OSError as error:
        raise _invalid(f"There is no manifest {path}: {error.strerror}.", cause=_UNWRITTEN) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _invalid(f"{path} isn't a manifest of this product, or is damaged.", cause=_DAMAGED) from error
    if name == _NAME and number != FORMAT:
        what = f"{path} has format {number}; this version of aurora-migrations reads {FORMAT}."
        raise _invalid(what, cause="Another version of the product wrote it.")
    if name != _NAME or index.get("checksum") != hashlib.sha256(data.partition(b"\n")[2]).hexdigest():
        what = f"{path} isn't a manifest of this product, or was changed after it had been written."
        raise _invalid(what, cause=_DAMAGED)
    try:
        replayed_on = index["replayed_on"]
        if replayed_on is not None and not (type(replayed_on) is int and replayed_on > 0):
            raise TypeError("a major version is a number")
        return str(index["digest"]), [_entry(entry) for entry in index["migrations"]], replayed_on
    except (KeyError, TypeError, ValueError) as error:
        raise _invalid(f"{path} is damaged: this version can't read one of its entries.", cause=_DAMAGED) from error


def _entry(data: dict[str, Any]) -> IndexEntry:
    entry = IndexEntry(**data)
    if tuple(map(type, entry)) != _KINDS or {*map(type, entry.hashes.values())} != {str}:
        raise TypeError("an entry's members are texts and numbers")
    return entry


def _check_contents(migrations: Iterable[Migration]) -> None:
    files = ((migration.folder, name) for migration in migrations for name in migration.files)
    edited = [name for folder, name in files if folder.read_sha256(name) != folder.sha256(name)]
    if edited:
        names = listed(edited, _SHOWN)
        word = "was" if len(edited) == 1 else "were"
        raise _invalid(f"{names} {word} changed after the manifest had been written.", edited[0])


def _unread(path: Path, error: Exception) -> InvalidManifest:
    reason = getattr(error, "strerror", None) or "it is damaged"
    return _invalid(f"{path} can't be read: {reason}.", cause=_DAMAGED)


def _check_regular_file(path: Path) -> None:
    if path.exists() and not path.is_file():  # a FIFO or a device, whose end never comes
        raise OSError(errno.EINVAL, "it isn't a regular file")


def _invalid(message: str, file: str | None = None, cause: str | None = None) -> InvalidManifest:
    return InvalidManifest(message, cause=cause, file=file)

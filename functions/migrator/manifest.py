"""The manifest: what the compiler understood of a folder, written beside it, so that the engine needs no grammar.

Two files. `manifest.json` is the index: format, digest, and per migration its name, hashes and where its details are.
`manifest.details` holds those, one JSON document a line. A run reads the index, and only what is pending of the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from functions.migrator.errors import InvalidInput, InvalidManifest
from functions.migrator.expectations import Promise
from functions.migrator.files import Migration, Package, Problem, discover, sha256_of
from functions.migrator.options import Options, RowsExpectation
from functions.migrator.script import Action, Script, Statement, Unit

FORMAT = 1
INDEX, DETAILS = "manifest.json", "manifest.details"
_NAME = "aurora-migrations manifest"


class Manifest:
    """A written manifest as the engine's source: for a run where there is no grammar, such as in Lambda."""

    def __init__(self, folder: Path) -> None:
        """Reads the index of the manifest in a folder, and holds it against the names of the files there.

        Raises:
            InvalidManifest: there is none, it is damaged, of another format, or of other files.
            InvalidInput, InvalidFile: the folder can't be what a manifest was made of.
        """
        self._folder = folder
        index = _read_index(folder)
        self._entries = {int(entry["version"]): entry for entry in index["migrations"]}
        self._package = _package(discover(folder), self._entries)
        self._digest = str(index["digest"])

    @property
    def package(self) -> Package:
        """All migrations, in order, with the hashes that the manifest knows."""
        return self._package

    @property
    def digest(self) -> str:
        """One hash over names, texts and details."""
        return self._digest

    def problems(self, action: Action, migrations: Sequence[Migration]) -> list[Problem]:
        """None: a manifest is only made of files that can be run. But they must be those that it was made of.

        Raises:
            InvalidManifest: their details are damaged, or a file has changed since.
        """
        for migration in migrations:
            self.script(action, migration)
            known = {migration.name: self._entries[migration.version]["sha256"]}
            known |= self._entries[migration.version]["beside"]
            for path in (migration.path, migration.down, migration.verify):
                if path is not None and sha256_of(path) != known[path.name]:
                    raise _invalid(f"{path.name} was changed after the manifest had been written.", file=path.name)
        return []

    def script(self, action: Action, migration: Migration) -> Script:
        """A migration's file (or its down file), as the compiler understood it.

        Raises:
            InvalidManifest: the details are damaged.
        """
        return script_of(self._details(migration)[action])

    def notes(self, action: Action, migration: Migration) -> dict[str, Any]:
        """What else the compiler found out about a file (tables, effects, hazards); running it doesn't need that.

        Raises:
            InvalidManifest: the details are damaged.
        """
        return dict(self._details(migration).get(f"{action}_notes", {}))

    def token_hash(self, text: bytes) -> str | None:
        """The token hash of a file of this package; None for another text, as there is no grammar here to ask."""
        sha256 = hashlib.sha256(text).hexdigest()
        return next((str(e["tokens"]) for e in self._entries.values() if e["sha256"] == sha256), None)

    def _details(self, migration: Migration) -> dict[str, Any]:
        entry = self._entries[migration.version]
        line = _read_line(self._folder / DETAILS, entry["offset"], entry["length"])
        if hashlib.sha256(line).hexdigest() != entry["details"]:
            raise _invalid(f"The details of {migration.name} in {DETAILS} aren't those that {INDEX} was written with.")
        details: dict[str, Any] = json.loads(line)
        return details


def write(folder: Path, scripts: Mapping[int, Mapping[str, Script]], extras: Mapping[int, Mapping[str, Any]]) -> str:
    """Writes a manifest into a folder and returns its digest.

    Args:
        scripts: by version, the scripts by action (`apply`, and `rollback` where there is a down file).
        extras: by version, what else people may want to know (hazards, effects); the engine doesn't read it.
    """
    try:
        return _write(folder, scripts, extras)
    except OSError as error:
        raise InvalidInput(
            f"The manifest can't be written to {folder}: {error.strerror}.",
            cause="The folder may not be written to, or something else of that name is in the way.",
            solution="Look at what is there, and write it again.",
        ) from error


def _write(folder: Path, scripts: Mapping[int, Mapping[str, Script]], extras: Mapping[int, Mapping[str, Any]]) -> str:
    entries: list[dict[str, Any]] = []
    offset = 0
    with (folder / DETAILS).open("wb") as details:
        for version, by_action in sorted(scripts.items()):
            data = {action: asdict(script) for action, script in by_action.items()} | dict(extras.get(version, {}))
            line = json.dumps(data, ensure_ascii=False, sort_keys=True).encode() + b"\n"
            details.write(line)
            entries.append(_entry(folder, version, by_action["apply"], line, offset))
            offset += len(line)
    index = {"name": _NAME, "format": FORMAT, "digest": _digest(entries), "migrations": entries}
    (folder / INDEX).write_text(json.dumps(index, ensure_ascii=False, indent=1) + "\n", encoding="utf-8", newline="\n")
    return str(index["digest"])


def script_of(data: dict[str, Any]) -> Script:
    """A script from its JSON."""
    options = data["options"]
    rows = tuple(RowsExpectation(**row) for row in options["rows"])
    allow = tuple((int(line), str(text)) for line, text in options["allow"])
    return Script(
        file=data["file"],
        sha256=data["sha256"],
        tokens=data["tokens"],
        options=Options(**{**options, "rows": rows, "allow": allow}),
        reason=data["reason"],
        units=tuple(Unit(**{**unit, "statements": tuple(unit["statements"])}) for unit in data["units"]),
        statements=tuple(Statement(**statement) for statement in data["statements"]),
        promises=tuple(Promise(**promise) for promise in data["promises"]),
    )


def _entry(folder: Path, version: int, script: Script, line: bytes, offset: int) -> dict[str, Any]:
    stem = script.file.removesuffix(".sql")
    others = (folder / f"{stem}.down.sql", folder / f"{stem}.verify.sql")
    beside = {path.name: sha256_of(path) for path in others if path.exists()}
    return {
        "version": version,
        "name": script.file,
        "beside": beside,
        "sha256": script.sha256,
        "tokens": script.tokens,
        "details": hashlib.sha256(line).hexdigest(),
        "offset": offset,
        "length": len(line),
    }


def _digest(entries: Any) -> str:
    """One hash over everything: names, texts and details, in order."""
    return hashlib.sha256(json.dumps([FORMAT, entries], sort_keys=True).encode()).hexdigest()


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_bytes())
        name, number, digest, entries = index["name"], index["format"], index["digest"], index["migrations"]
    except OSError as error:
        raise _invalid(f"There is no manifest {path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _invalid(f"{path} isn't a manifest of this product, or is damaged.") from error
    if name == _NAME and number != FORMAT:
        raise _invalid(f"{path} has format {number}; this version of aurora-migrations reads {FORMAT}.")
    if name != _NAME or digest != _digest(entries):
        raise _invalid(f"{path} isn't a manifest of this product, or was changed after it had been written.")
    return dict(index)


def _package(found: Package, entries: Mapping[int, Mapping[str, Any]]) -> Package:
    here = {name for migration in found.migrations for name in migration.files}
    there = {name for entry in entries.values() for name in (entry["name"], *entry["beside"])}
    if here != there:
        raise _invalid(f"The manifest in {found.folder} is of other files: {', '.join(sorted(here ^ there)[:5])}.")
    known = (migration.with_sha256(str(entries[migration.version]["sha256"])) for migration in found.migrations)
    return Package(found.folder, tuple(known))


def _read_line(path: Path, offset: int, length: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise _invalid(f"{path} can't be read: {error.strerror}.") from error


def _invalid(message: str, file: str | None = None) -> InvalidManifest:
    return InvalidManifest(message, file=file)

"""The template to deploy: synthesised when something that it is made from has changed, else as it was kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from aurora_migrations import project
from aurora_migrations.engine.steps.settings import SSLMODES
from aurora_migrations.local.cloud.cache.synthesis import fingerprint, versions
from aurora_migrations.local.errors import ServerError
from aurora_migrations.local.postgres.file_locks import locked
from aurora_migrations.local.postgres.process_lifetime import lifeline

LOCK = "template.lock"
PATIENCE_S = 300  # another process may be synthesising
_CACHE = "jsii"  # where jsii keeps what it unpacks, if it can't in the person's home
_NO_CACHE = "Cannot use the jsii package cache"
_SYNTHESIS = ("-m", "aurora_migrations.local.cloud.cache.synthesis")


def template(folder: Path, sslmode: str, tell: Callable[[str], None]) -> str:
    """The template's text.

    Args:
        folder: where it is kept.
        tell: told that it takes a while, if it does.

    Raises:
        ServerError: it could not be synthesised or kept, or there is no such sslmode.
    """
    if sslmode not in SSLMODES:
        raise ServerError(
            f"The database's URL has the sslmode {sslmode!r}, which PostgreSQL doesn't know.",
            todo=f"write one of {', '.join(SSLMODES)}.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / LOCK, timeout=PATIENCE_S):
            return _template(folder, sslmode, tell)
    except OSError as error:
        raise ServerError(
            f"The template can't be kept in {folder}: {error}.", todo="see to the folder's permissions, and to room."
        ) from error


def _template(folder: Path, sslmode: str, tell: Callable[[str], None]) -> str:
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    kept = folder / f"template-{sslmode}-python{version}.json"
    found = _read(kept)
    if found is not None:
        return found
    tell("Synthesising the template, as nothing is kept of it or something has changed ...")
    _synthesise(kept, sslmode)
    made = _read(kept)
    if made is None:
        raise ServerError(
            f"The template in {kept} isn't of the files that are here: they change while it is made.",
            todo="start again.",
        )
    return made


def _read(kept: Path) -> str | None:
    try:
        document = json.loads(kept.read_text("utf-8"))
        made_from: dict[str, str] = document["made_from"]
        current = fingerprint(made_from) == made_from and document["versions"] == versions()
        return str(document["template"]) if current else None
    except (OSError, ValueError, KeyError):
        return None


def _synthesise(kept: Path, sslmode: str) -> None:
    _sweep(kept.parent)
    making = kept.with_name(f"{kept.name}.{os.getpid()}").absolute()
    making.mkdir()
    try:
        finished = _run(making, making / kept.name, sslmode)
        if finished.returncode != 0:
            raise ServerError(
                "The template could not be synthesised.",
                said=finished.stderr or finished.stdout,
                todo="see what it says above; `make synth` does the same for AWS.",
            )
        (making / kept.name).replace(kept)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _run(making: Path, target: Path, sslmode: str) -> subprocess.CompletedProcess[str]:
    """Runs the synthesis, once more with a cache of our own if that in the person's home can't be used. The next time
    ours is taken at once, as it is there."""
    cache = making.parent.absolute() / _CACHE
    if not cache.is_dir():
        finished = _run_with(making, target, sslmode, {})
        if _NO_CACHE not in finished.stderr:
            return finished
        cache.mkdir()
    return _run_with(making, target, sslmode, {"JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(cache)})


def _run_with(
    making: Path, target: Path, sslmode: str, variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """All that it writes, the CDK's temporary files too, stands in the folder."""
    environment = {**os.environ, **variables, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(making))}
    command, folder = [sys.executable, *_SYNTHESIS, str(target), sslmode], project.PACKAGE.parent
    with lifeline() as stdin:
        return subprocess.run(command, cwd=folder, env=environment, stdin=stdin, capture_output=True, text=True)


def _sweep(folder: Path) -> None:
    """Removes what processes left that were killed; none is alive, as we have the lock."""
    for left in folder.glob("template-*.json.*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)

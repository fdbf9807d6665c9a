"""The template to deploy: synthesised when something that it is made from has changed, else as it was kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from local.cloud.synthesis import ROOT, fingerprint
from local.errors import ServerError


def template(folder: Path, sslmode: str, tell: Callable[[str], None]) -> str:
    """The template's text.

    Args:
        folder: where it is kept.
        tell: told that it takes a while, if it does.

    Raises:
        ServerError: it could not be synthesised.
    """
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
        return str(document["template"]) if fingerprint(made_from) == made_from else None
    except (OSError, ValueError, KeyError):
        return None


def _synthesise(kept: Path, sslmode: str) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    making = kept.with_name(f"{kept.name}.{os.getpid()}")
    command = [sys.executable, "-m", "local.cloud.synthesis", str(making), sslmode]
    finished = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if finished.returncode != 0:
        making.unlink(missing_ok=True)
        raise ServerError(
            "The template could not be synthesised.",
            said=finished.stderr or finished.stdout,
            todo="see what it says above; `make synth` does the same for AWS.",
        )
    making.replace(kept)

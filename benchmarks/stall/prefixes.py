"""Where peers are installed: each in a prefix of its own under `.local`, once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import ROOT

PEERS = ROOT / ".local" / "benchmarks" / "peers"
INSTALL_SECONDS = 600
_NPM = ("--no-save", "--no-package-lock", "--omit-lockfile-registry-resolved", "--no-audit", "--no-fund", "--silent")


class Unavailable(Exception):
    """A peer that can't be had on this machine, and why."""


def python_prefix(name: str, pins: Sequence[str]) -> Path:
    """The folder of the programs of a virtual environment that holds these packages."""
    folder = PEERS / name
    programs = folder / "bin"
    if not _is_there(folder, pins):
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], "a virtual environment can't be made")
        pip = [str(programs / "python"), "-m", "pip", "install", "--quiet", "--no-input", "--only-binary", ":all:"]
        _run([*pip, "--disable-pip-version-check", *pins], "pip couldn't install it")
        _finish(folder, pins)
    return programs


def node_prefix(name: str, pins: Sequence[str]) -> Path:
    """The folder of the programs of an npm prefix that holds these packages."""
    folder = PEERS / name
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise Unavailable(f"there is no {program}")
    if not _is_there(folder, pins):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _run(["npm", "install", "--prefix", str(folder), *_NPM, *pins], "npm couldn't install it")
        _finish(folder, pins)
    return folder / "node_modules" / ".bin"


def _is_there(folder: Path, pins: Sequence[str]) -> bool:
    stamp = folder / "finished"
    return stamp.exists() and stamp.read_text() == _stamp(folder, pins)


def _finish(folder: Path, pins: Sequence[str]) -> None:
    (folder / "finished").write_text(_stamp(folder, pins))


def _stamp(folder: Path, pins: Sequence[str]) -> str:
    """What a prefix can't outlive: other pins, another Python, a move to another folder."""
    return "\n".join([*pins, sys.version, str(folder)])


def _run(command: Sequence[str], trouble: str) -> None:
    """Runs an installer.

    Raises:
        Unavailable: it failed; what it said goes to stderr only, as it may name where it looked.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        found = subprocess.run(
            command, env=kept, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(trouble) from error
    if found.returncode != 0:
        print((found.stdout + found.stderr).strip()[-2000:], file=sys.stderr)
        raise Unavailable(trouble)

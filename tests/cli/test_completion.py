"""`aurora-migrations completion`: each shell completes with its script; where a shell isn't installed, its tests are
skipped, and its script is only searched for the words."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aurora_migrations.cli.main import VERBS
from tests.cli.conftest import Call

CASES = {
    "ro": ["rollback"],
    "st": ["status"],
    "run --verb": ["--verbose"],
    "run 017 --no-": ["--no-save"],
    "list --output ": ["json", "text"],
    "check --output g": ["github"],
    "run --hazards r": ["refuse"],
    "run --wait ": [],
    "completion z": ["zsh"],
    "run --lock-": ["--lock-timeout", "--lock-wait"],
    "frob --": [],
}
PATIENCE_S = 20


def _bash(script: Path, typed: str, folder: Path) -> list[str]:
    words = ["aurora-migrations", *typed.split(" ")]
    told = (
        f". {script}; COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}\n"
        '_aurora_migrations\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    return _run("bash", "-u", "-c", told).split()


def _fish(script: Path, typed: str, folder: Path) -> list[str]:
    told = _run("fish", "--no-config", "-c", f"source {script}; complete -C'aurora-migrations {typed}'")
    return [line.partition("\t")[0] for line in told.splitlines()]


def _powershell(script: Path, typed: str, folder: Path) -> list[str]:
    line = f"aurora-migrations {typed}"
    found = f"[System.Management.Automation.CommandCompletion]::CompleteInput('{line}', {len(line)}, $null)"
    told = f". '{script}'; {found}.CompletionMatches.CompletionText"
    return _run("pwsh", "-NoProfile", "-Command", told).split()


def _run(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def _zsh(script: Path, typed: str, folder: Path) -> list[str]:
    """By a Tab at a terminal of its own: zsh completes nowhere else. One candidate is written into the line, several
    are listed under it."""
    import pty

    start = f"PROMPT=\nunsetopt beep\nautoload -Uz compinit && compinit -D -u\n. {script}\nprint READY\n"
    (folder / ".zshrc").write_text(start, encoding="utf-8")
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(ZDOTDIR=str(folder), TERM="xterm", COLUMNS="200", LINES="50")
        os.execvp("zsh", ["zsh", "-i"])
    line = f"aurora-migrations {typed}"
    try:
        _read(terminal, "READY")
        os.write(terminal, f"{line}\t".encode())
        shown = _read(terminal)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    written, *listed = shown.split("\n")
    if listed:
        return listed[0].partition("aurora-migrations")[0].split()
    completed = written.rpartition("aurora-migrations ")[2]
    return [] if completed.strip() == typed.strip() else completed.split()[-1:]


def _read(terminal: int, end: str = "") -> str:
    """What a terminal shows until `end`, or until nothing comes for a second, without its control sequences."""
    shown, deadline = "", time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and not (end and end in shown):
        ready, _, _ = select.select([terminal], [], [], 1)
        if not ready and not end:
            break
        shown += os.read(terminal, 65_536).decode() if ready else ""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|[\r\x07]", "", shown)


SHELLS: dict[str, tuple[str, Callable[[Path, str, Path], list[str]]]] = {
    "bash": ("bash", _bash),
    "zsh": ("zsh", _zsh),
    "fish": ("fish", _fish),
    "powershell": ("pwsh", _powershell),
}


@pytest.mark.parametrize("typed", CASES)
@pytest.mark.parametrize("shell", SHELLS)
def test_shell_completes(call: Call, tmp_path: Path, shell: str, typed: str) -> None:
    program, complete = SHELLS[shell]
    if shutil.which(program) is None or (shell == "zsh" and sys.platform == "win32"):
        pytest.skip(f"there is no {program} here")
    script = tmp_path / "script.ps1"
    script.write_text(call("completion", shell).out, encoding="utf-8")
    assert sorted(complete(script, typed, tmp_path)) == CASES[typed]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_every_verb_and_option(call: Call, shell: str) -> None:
    answer = call("completion", shell)
    assert (answer.code, answer.err) == (0, "")
    assert [verb for verb in VERBS if verb not in answer.out] == []
    for option in ("database-url", "write-manifest", "send-test-mail", "no-save"):
        assert option in answer.out


def test_unknown_shell_is_wrong_usage(call: Call) -> None:
    answer = call("completion", "tcsh")
    assert (answer.code, answer.out) == (2, "")
    assert "bash" in answer.err

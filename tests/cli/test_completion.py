"""`aurora-migrations completion`: bash completes with its script; those of the other shells name the same words."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from aurora_migrations.cli.main import VERBS
from tests.cli.conftest import Call


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("ro", ["rollback"]),
        ("st", ["status"]),
        ("run --verb", ["--verbose"]),
        ("run 017 --no-", ["--no-save"]),
        ("list --output ", ["text", "json"]),
        ("check --output g", ["github"]),
        ("run --hazards r", ["refuse"]),
        ("run --wait ", []),
        ("completion z", ["zsh"]),
        ("frob --", []),
    ],
)
def test_bash_completes(call: Call, typed: str, completed: list[str]) -> None:
    words = ["aurora-migrations", *typed.split(" ")]
    script = (
        f"{call('completion', 'bash').out}\n"
        f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}\n"
        "_aurora_migrations\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    ran = subprocess.run(["bash", "-u", "-c", script], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.split() == completed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
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

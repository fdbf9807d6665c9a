"""What keeps the local cloud from starting is told as an error of ours, never as a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aurora_migrations.embedded.binaries import find
from aurora_migrations.embedded.data_directory import place_for
from tests import servers
from tests.paths import ROOT


@pytest.mark.parametrize("verb", [("up",), ("list", "--local")], ids=" ".join)
def test_a_home_that_cant_be_made_is_told(verb: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    answer = typed(verb, tmp_path / "file" / "home")
    assert "LocalCloudFailed" in answer
    assert f"{tmp_path / 'file'}" in answer


def test_a_lock_that_cant_be_opened_is_told() -> None:
    with servers.folder() as home:
        data = place_for(home / f"postgres-{find().major}")
        data.with_name(f"{data.name}.lock").mkdir(parents=True)
        answer = typed(("list", "--local"), home)
    assert "LocalCloudFailed: The local cloud can't be started: " in answer
    assert f"{data}.lock" in answer
    assert "AURORA_MIGRATIONS_LOCAL" in answer


def test_a_place_of_the_cloud_that_cant_be_kept_is_told() -> None:
    with servers.folder() as home:
        (home / "cloud.lock").mkdir()
        answer = typed(("list", "--local"), home)
    assert "LocalCloudFailed" in answer
    assert "cloud.lock" in answer


def typed(verb: tuple[str, ...], home: Path) -> str:
    """What a verb that fails says."""
    finished = subprocess.run(
        [sys.executable, "-m", "aurora_migrations", *verb, "--migrations", str(ROOT / "migrations")],
        cwd=ROOT,
        env={**os.environ, "AURORA_MIGRATIONS_LOCAL": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    return finished.stderr

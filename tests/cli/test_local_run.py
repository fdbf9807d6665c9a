"""`python -m local run`: from nothing to migration 017 on a PostgreSQL of one's own, and again."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.cli.conftest import ROOT, Answer, checked, environment

COUNT = "SELECT count(*) FROM dry_run_log  ->  0"


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Callable[..., Answer]]:
    """Calls `python -m local` with data of its own, in a folder that has the product's migrations."""
    shutil.copytree(ROOT / "migrations", tmp_path / "migrations")
    with servers.folder() as data:

        def call(*words: str) -> Answer:
            finished = subprocess.run(
                [sys.executable, "-m", "local", *words],
                cwd=tmp_path,
                env=environment(AURORA_MIGRATIONS_LOCAL=str(data)),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            return checked(Answer(finished.returncode, finished.stdout, finished.stderr))

        yield call
        call("stop")


def test_newcomer_sees_017_applied_and_then_already_applied(local: Callable[..., Answer], tmp_path: Path) -> None:
    first = local("run")
    assert (first.code, first.err) == (0, "")
    assert first.contract == {
        "status": "success",
        "migration": "017",
        "message": "Migration 017 executed successfully",
    }
    assert COUNT in first.out.splitlines()
    saved = json.loads((tmp_path / "migration-017-output.json").read_text("utf-8"))
    assert (saved["status"], saved["already_applied"]) == ("success", None)

    second = local("run")
    assert (second.code, second.err) == (0, "")
    assert re.fullmatch(r"Migration 017 was already applied at [\d-]+T[\d:]+Z", second.contract["message"])
    assert COUNT in second.out.splitlines()

    (tmp_path / "migrations" / "018_mistake.sql").write_text("ALTER TABLE dry_run_logg ADD c int;\n", encoding="utf-8")
    third = local("run", "018", "--output", "json")
    assert third.code == 1
    assert (third.json["error"], third.json["file"], third.json["line"]) == ("MigrationFailed", "018_mistake.sql", 1)


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), ([], 0), (["frob"], 2), (["stop", "now"], 2)])
def test_use_is_told(local: Callable[..., Answer], words: list[str], code: int) -> None:
    answer = local(*words)
    assert answer.code == code
    assert "python -m local run [TARGET]" in answer.out + answer.err

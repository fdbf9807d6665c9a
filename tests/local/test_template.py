"""The template of the local cloud: kept, and nothing of its making left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from infra.packaging import ROOT
from local.cloud.template import template
from local.errors import ServerError

MAKES = """
import sys
from pathlib import Path
from local.cloud.template import template

template(Path(sys.argv[1]), "disable", str)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
def test_nothing_is_left_of_a_process_that_is_killed_while_it_synthesises(tmp_path: Path) -> None:
    left_before = [tmp_path / f"template-disable-python311.json.{pid}" for pid in (4711, 4712)]
    left_before[0].touch()
    (left_before[1] / "more").mkdir(parents=True)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    arguments = [sys.executable, "-c", MAKES, str(tmp_path)]
    with subprocess.Popen(arguments, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not any("node" in name for name in names(process.pid)):
            assert time.monotonic() < deadline, "no Node was started"
            time.sleep(0.02)
        left = psutil.Process(process.pid).children(recursive=True)
        assert len(left) >= 2, "Python and Node"
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(left, timeout=30)
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]
    assert not any(path.exists() for path in left_before)
    assert not list(temporary.iterdir()), "nothing stands where nobody sweeps"


def names(pid: int) -> list[str]:
    found = []
    for each in psutil.Process(pid).children(recursive=True):
        try:
            found.append(each.name())
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.parametrize("sslmode", ["../../elsewhere", "", "REQUIRE"])
def test_an_sslmode_that_there_isnt_is_told(tmp_path: Path, sslmode: str) -> None:
    with pytest.raises(ServerError, match=r"which PostgreSQL doesn't know(?s:.*)verify-full"):
        template(tmp_path / "kept", sslmode, print)
    assert not (tmp_path / "kept").exists()


def test_a_folder_that_cant_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match=r"can't be kept in .*file"):
        template(tmp_path / "file" / "kept", "disable", print)

"""The template of the local cloud: kept, and nothing of its making left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from aurora_migrations.embedded.errors import ServerError
from aurora_migrations.local.cloud import template_cache as module
from aurora_migrations.local.cloud.artifact_cache import LOCK, files_in
from aurora_migrations.local.cloud.template_cache import template
from tests.paths import ROOT

NODE_S = 150
MAKES = """
import sys
from pathlib import Path
from aurora_migrations.local.cloud.template_cache import template

template(Path(sys.argv[1]), "disable", str)
"""


@pytest.mark.timeout(200)  # Node starts within a second; on a machine that is busy with other tests it took a minute
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
def test_nothing_is_left_of_a_process_that_is_killed_while_it_synthesises(tmp_path: Path) -> None:
    left_before = tmp_path / "template-0123456789abcdef.4711"
    (left_before / "more").mkdir(parents=True)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with synthesising(tmp_path, {"TMPDIR": str(temporary)}) as (process, said):
        left = family_with_node(process, said)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(left) >= 2, "Python and Node"
    _, alive = psutil.wait_procs(left, timeout=30)
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]
    assert not left_before.exists()
    assert not list(temporary.iterdir()), "nothing stands where nobody sweeps"


# What the real synthesis does first, and what takes it a fraction of a second: load a package of jsii's.
LOADS = """
import constructs, os, sys
from pathlib import Path

with Path(sys.argv[1]).parents[1].joinpath("tries").open("a") as tries:
    tries.write(f"{os.environ['JSII_RUNTIME_PACKAGE_CACHE_ROOT']}\\n")
Path(sys.argv[1]).write_text(sys.argv[2])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no HOME")
def test_a_home_that_cant_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", os.devnull)
    monkeypatch.delenv("JSII_RUNTIME_PACKAGE_CACHE_ROOT", raising=False)
    monkeypatch.delenv("JSII_RUNTIME_PACKAGE_CACHE", raising=False)
    monkeypatch.setattr(module, "_SYNTHESIS", ("-c", LOADS))
    for sslmode in ("disable", "require"):  # the second time our own cache is there
        assert template(tmp_path, sslmode, str) == sslmode
    assert list((tmp_path / "jsii").iterdir())
    assert (tmp_path / "tries").read_text().split() == [str(tmp_path / "jsii")] * 2


@contextlib.contextmanager
def synthesising(folder: Path, variables: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A process that makes the template, and the file with what it says; killed in the end, whatever comes."""
    said = folder / "said.txt"
    command = [sys.executable, "-c", MAKES, str(folder)]
    with said.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process, said
    finally:
        process.kill()
        process.wait()


def family_with_node(process: subprocess.Popen[bytes], said: Path) -> list[psutil.Process]:
    """All processes beneath this one, as soon as there is Node among them."""
    deadline = time.monotonic() + NODE_S
    while True:
        ended = process.poll() is not None
        found = [] if ended else descendants(process.pid)
        if any(is_node(each) for each in found):
            return found
        assert not ended, f"it ended with {process.returncode} before Node was seen, and said: {said.read_text()}"
        assert time.monotonic() < deadline, f"no Node within {NODE_S} s; it said: {said.read_text()}"
        time.sleep(0.02)


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_node(process: psutil.Process) -> bool:
    """By the program that it runs: a process has the name of its main thread, and Node calls that `MainThread` some
    milliseconds after it has begun."""
    try:
        return Path(process.exe()).name.startswith("node")
    except psutil.Error:
        return False


def test_a_process_that_ends_before_node_begins_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / LOCK).mkdir()  # so it can't be locked
    with (
        synthesising(tmp_path, {}) as (process, said),
        pytest.raises(AssertionError, match=r"ended with 1 before Node was seen, and said: (?s:.*)can't be kept"),
    ):
        family_with_node(process, said)


SYNTHESIZES = """
import sys
from pathlib import Path
from aurora_migrations.local.cloud.template_cache import main

main(Path(sys.argv[1]), "disable")
print(*(getattr(module, "__file__", None) for module in sys.modules.values()))
"""


@pytest.mark.timeout(200)
def test_every_module_that_makes_a_template_is_part_of_its_name(tmp_path: Path) -> None:
    target = tmp_path / "template.json"
    command = [sys.executable, "-c", SYNTHESIZES, str(target)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        loaded = process.stdout.read().split()
    assert process.returncode == 0
    assert "AWS::StepFunctions::StateMachine" in target.read_text()
    ours = {path for path in map(Path, loaded) if path.is_relative_to(ROOT) and ".venv" not in path.parts}
    sources = {file for source in module._SOURCES for file in files_in(source)}
    local = ROOT / "aurora_migrations" / "local"
    # They keep it, and have no part in what it says.
    helpers = {local / "cloud" / "artifact_cache.py"}
    assert ROOT / "aurora_migrations" / "cdk" / "stack.py" in ours
    assert [path for path in ours - sources if path.name != "__init__.py" and path not in helpers] == []


def test_a_folder_that_cant_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match=r"can't be kept in .*file"):
        template(tmp_path / "file" / "kept", "disable", print)

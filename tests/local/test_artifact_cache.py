"""The fingerprint of a migrations folder: another one for whatever makes it another package, or none."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aurora_migrations.local.cloud.artifact_cache import fingerprint


def _link(folder: Path) -> None:
    (folder / "002_link.sql").symlink_to(folder / "gone.sql")


def _nested(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "004_z.SQL").touch()


CHANGES: dict[str, Callable[[Path], object]] = {
    "a text": lambda folder: (folder / "001_a.sql").write_text("SELECT 2;"),
    "a name": lambda folder: (folder / "001_a.sql").rename(folder / "001_b.sql"),
    "a file": lambda folder: (folder / "002_b.sql").touch(),
    "a folder of that name": lambda folder: (folder / "002_b.sql").mkdir(),
    "a folder with .sql files": _nested,
    "a link that leads nowhere": _link,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_changes_is_seen(change: Callable[[Path], object], tmp_path: Path) -> None:
    if change is _link and sys.platform == "win32":
        pytest.skip("Windows lets few people make links")
    (tmp_path / "001_a.sql").write_text("SELECT 1;")
    before = fingerprint(tmp_path)
    change(tmp_path)
    assert fingerprint(tmp_path) != before


def test_what_isnt_read_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    before = fingerprint(tmp_path)
    (tmp_path / "sub" / "notes.txt").touch()
    assert fingerprint(tmp_path) == before


def test_a_folder_that_isnt_there_has_one_too(tmp_path: Path) -> None:
    assert fingerprint(tmp_path / "nowhere") == fingerprint(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_any_name_is_taken(tmp_path: Path) -> None:
    before = fingerprint(tmp_path)
    (tmp_path / os.fsdecode(b"notes-\xff.txt")).touch()
    assert fingerprint(tmp_path) != before

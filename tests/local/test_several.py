"""Two databases in one stack, in the local cloud: a deployment starts both, and each mail says whose it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from aurora_migrations.embedded.binaries import Installation
from tests import servers
from tests.local.several import DATABASES
from tests.paths import ROOT


@pytest.fixture(scope="module")
def deployed(programs: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What came of a deployment, and the histories at the end."""
    with servers.started(programs) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            for name in DATABASES:
                connection.execute(f"CREATE DATABASE {name}")
        with psycopg.connect(server.url("shop"), autocommit=True) as connection:
            connection.execute("CREATE TABLE orders (number text)")
        command = [sys.executable, "-m", "tests.local.several", server.url(), str(tmp_path_factory.mktemp("several"))]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        columns = {}
        for name in DATABASES:
            with psycopg.connect(server.url(name)) as connection:
                query = "SELECT attname FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0"
                columns[name] = [column for (column,) in connection.execute(query)]
        yield {**json.loads(ran.stdout.splitlines()[-1]), "columns": columns}


def test_a_deployment_starts_both_and_one_may_fail_without_the_other(deployed: dict[str, Any]) -> None:
    assert deployed["ended"] == {
        "aurora-migrations-prod-shop": "FAILED",
        "aurora-migrations-prod-billing": "SUCCEEDED",
    }
    assert deployed["columns"] == {"shop": ["number"], "billing": ["id"]}


def test_mail_names_the_database_that_failed(deployed: dict[str, Any]) -> None:
    (subject,) = deployed["mails"]
    assert subject.startswith("[prod-shop] Migration FAILED: 001_orders.sql")


def test_roles_allow_what_is_called(deployed: dict[str, Any]) -> None:
    assert deployed["refused"] == []

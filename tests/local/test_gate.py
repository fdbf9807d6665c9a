"""A deployment that waits for its run, in the local cloud: it ends as the run does, and a rollback of the stack runs
nothing."""

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
from tests.paths import ROOT

DATABASE = "gate"


@pytest.fixture(scope="module")
def deployed(programs: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What came of each deployment, and the columns that there are at the end."""
    with servers.started(programs) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}")
        command = [sys.executable, "-m", "tests.local.gate", server.url(DATABASE), str(tmp_path_factory.mktemp("gate"))]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        with psycopg.connect(server.url(DATABASE)) as connection:
            query = "SELECT attname FROM pg_attribute WHERE attrelid = 'shoes'::regclass AND attnum > 0 ORDER BY attnum"
            columns = [name for (name,) in connection.execute(query)]
        yield {**json.loads(ran.stdout.splitlines()[-1]), "columns": columns}


def test_a_deployment_is_done_when_its_run_is(deployed: dict[str, Any]) -> None:
    created, updated = deployed["created"], deployed["updated"]
    ((name, status, asked),) = created["runs"]
    assert (created["status"], status) == ("CREATE_COMPLETE", "SUCCEEDED")
    assert name.startswith("deploy-")
    assert asked == {"trigger": "deploy", "requested_by": created["arn"]}
    assert (updated["status"], updated["reason"], updated["mails"]) == ("UPDATE_COMPLETE", None, [])
    assert len(updated["runs"]) == 2


def test_a_failing_migration_fails_the_deployment_with_the_mails_first_lines(deployed: dict[str, Any]) -> None:
    failed = deployed["failed"]
    subject = '[local] Migration FAILED: 004_wrong.sql, relation "boots" does not exist'
    assert failed["reason"].splitlines()[0] == subject
    assert "WHAT TO DO" in failed["reason"]
    assert failed["mails"] == [subject]


def test_a_rollback_deploys_the_package_before_and_runs_nothing(deployed: dict[str, Any]) -> None:
    """The database is ahead of the older package by then: 003 is applied."""
    updated, failed = deployed["updated"], deployed["failed"]
    assert failed["status"] == "UPDATE_ROLLBACK_COMPLETE"
    assert [status for _, status, _ in failed["runs"]].count("FAILED") == 1
    assert (len(failed["runs"]), failed["gates"]) == (3, 3)
    assert int(failed["version"]) == int(updated["version"]) + 2  # forth and back


def test_what_was_corrected_is_deployed_afterwards(deployed: dict[str, Any]) -> None:
    assert (deployed["mended"]["status"], deployed["mended"]["reason"]) == ("UPDATE_COMPLETE", None)
    assert deployed["columns"] == ["id", "size", "colour", "heel"]


def test_deleting_the_gate_runs_nothing(deployed: dict[str, Any]) -> None:
    assert len(deployed["deleted"]["runs"]) == len(deployed["mended"]["runs"]) == 4


def test_a_stack_whose_first_run_fails_is_not_created(deployed: dict[str, Any]) -> None:
    assert deployed["not created"].startswith("[local] Migration FAILED: 005_wrong.sql")


def test_its_role_allows_what_it_calls(deployed: dict[str, Any]) -> None:
    assert deployed["refused"] == []

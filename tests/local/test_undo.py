"""A run whose verification fails, in an environment that rolls such runs back: through the state machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import psycopg

from aurora_migrations.embedded.binaries import Installation
from aurora_migrations.project import REPLAY_VARIABLE
from tests import servers
from tests.paths import ROOT


def test_run_that_fails_its_verification_is_rolled_back_and_the_mail_says_so(programs: Installation, tmp_path) -> None:
    """What 003 has inserted breaks the lasting expectation of 001, which only verify checks."""
    with servers.started(programs) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE shop")
        command = [sys.executable, "-m", "tests.local.undo", server.url("shop"), str(tmp_path)]
        ran = subprocess.run(
            command, cwd=ROOT, env={**os.environ, REPLAY_VARIABLE: "on"}, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        with psycopg.connect(server.url("shop")) as connection:
            left = connection.execute(
                "SELECT (SELECT array_agg(name) FROM aurora_migrations.applied), to_regclass('orders'), "
                "(SELECT array_agg(id) FROM prices)"
            ).fetchone()
    found = json.loads(ran.stdout.splitlines()[-1])
    assert (found["first"], found["status"], found["error"]) == ("SUCCEEDED", "FAILED", "VerificationFailed")
    assert left == (["001_prices.sql"], None, [1])
    assert found["raised"]["rolled_back"] == ["003", "002"]
    assert found["raised"]["schema"] == "before"
    assert found["entered"][found["entered"].index("Verify") :][:3] == ["Verify", "Roll back", "Rollback failed"]
    ((subject, body),) = found["mails"]
    assert subject == "[local] Migration FAILED: a check failed"
    assert "Rolled back by this run: 003, 002." in body
    assert "The schema is as it was before this run." in body
    assert found["later"][0] == "SUCCEEDED"
    assert found["refused"] == []

"""docs/reference/cli.md lists what a role needs: it is what the verbs call, no more and no less."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import botocore.client
import pytest

from tests.cli.cloud import Cloud, answering
from tests.cli.conftest import Call
from tests.cli.test_remote_doctor import healthy
from tests.cli.test_remote_read_only import ALL, ROLLED
from tests.cli.test_remote_run import RAN

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
PREFIXES = {"stepfunctions": "states", "sfn": "states"}


def listed() -> dict[str, set[str]]:
    """The page's table: what for, and which actions."""
    rows = re.findall(r"(?m)^\| ([^|]+) \| (`\w+:[^|]+) \|$", PAGE.read_text("utf-8"))
    return {what: set(re.findall(r"`(\w+:\w+)`", actions)) for what, actions in rows}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The actions that were called, as IAM names them."""
    found: set[str] = set()
    real = botocore.client.BaseClient._make_api_call

    def call(self: Any, name: str, parameters: Any) -> Any:
        service = self.meta.service_model.service_name
        found.add(f"{PREFIXES.get(service, service)}:{name}")
        return real(self, name, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    return found


def test_verbs_call_what_the_page_lists(cloud: Cloud, call: Call, called: set[str]) -> None:
    cloud.deploy(answering({**ALL, "run-migration": RAN, "rollback": ROLLED}))
    needed = listed()["all verbs"]
    for words in ("run 017", "list", "plan", "verify", "history", "rollback 17 --confirm 018"):
        called.clear()
        assert call(*words.split(), "--env", "dev").code == 0
        assert called == needed, words
    for words in ("status", "logs"):
        called.clear()
        assert call(*words.split(), "--env", "dev").code == 0
        assert "states:ListExecutions" in called
        assert called <= needed | listed()["`status`, `logs`, `doctor`"]


def test_the_construct_in_a_stack_of_others_needs_its_tag(cloud: Cloud, call: Call, called: set[str]) -> None:
    assert call("list", "--env", "nowhere").code == 1
    (own,) = listed()["all verbs, with the construct in a stack of yours"]
    assert own in called


def test_doctor_calls_what_the_page_lists(cloud: Cloud, call: Call, called: set[str]) -> None:
    healthy(cloud)
    cloud.ended(cloud.start({"action": "status"}, "earlier"))
    needed = listed()["all verbs"] | listed()["`status`, `logs`, `doctor`"] | listed()["`doctor`"]
    called.clear()
    assert call("doctor", "--env", "dev").code == 0
    assert called == needed
    assert call("doctor", "--env", "dev", "--send-test-mail").code == 0
    assert called - needed == {"sns:Publish"}

"""Executions that are watched until they end."""

from __future__ import annotations

import queue
from datetime import UTC, datetime
from typing import Any

import pytest

from aurora_migrations.local.cloud.services import stepfunctions
from aurora_migrations.local.cloud.services.stepfunctions import Executions


class Ending:
    """An execution that ends after the first look at it, as moto runs each in a thread of its own."""

    execution_arn = state_machine_arn = name = "arn:x"
    execution_input, output, error, cause = "{}", {}, None, None
    start_date = stop_date = datetime.now(UTC)
    looks = 0

    @property
    def status(self) -> str:
        self.looks += 1
        return "RUNNING" if self.looks == 1 else "SUCCEEDED"


def test_an_execution_that_ends_between_two_looks_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    execution = Ending()
    monkeypatch.setattr(stepfunctions, "find", lambda arn: execution)
    told: queue.Queue[dict[str, Any]] = queue.Queue()
    executions = Executions(lambda detail, arn: told.put(detail))
    executions.watch("arn:x")
    try:
        assert [told.get(timeout=5)["status"] for _ in range(2)] == ["RUNNING", "SUCCEEDED"]
    finally:
        executions.close()

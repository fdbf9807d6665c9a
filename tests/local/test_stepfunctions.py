"""Executions that are watched until they end."""

from __future__ import annotations

import json
import queue
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from moto.core.config import default_user_config
from moto.stepfunctions.models import StepFunctionBackend
from moto.stepfunctions.parser.asl.eval.event.event_manager import EventManager
from moto.stepfunctions.parser.models import stepfunctions_parser_backends

from aurora_migrations.local.account import ACCOUNT, REGION
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


def test_a_stop_before_the_first_state_takes_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(default_user_config["stepfunctions"], "execute_state_machine", True)
    add_event = EventManager.add_event

    def add_slowly(manager: EventManager, *given: Any, **more: Any) -> int:
        time.sleep(0.3)
        return add_event(manager, *given, **more)

    monkeypatch.setattr(EventManager, "add_event", add_slowly)
    definition = json.dumps({"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 1, "End": True}}})
    backend: Any = stepfunctions_parser_backends[ACCOUNT][REGION]
    machine = StepFunctionBackend.create_state_machine(backend, "stopped", definition, f"arn:aws:iam::{ACCOUNT}:role/r")
    executions = Executions(lambda detail, arn: None)
    try:
        arn = executions.start(machine.arn, "{}")
        executions.stop(arn)
        time.sleep(3)  # by then one that goes on has succeeded
        assert stepfunctions.find(arn).status == "ABORTED"
    finally:
        executions.close()
        backend.delete_state_machine(machine.arn)

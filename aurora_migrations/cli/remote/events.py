"""What an execution does, as its history at Step Functions tells: states, failures, tries."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from aurora_migrations.cli.remote.environment import Place
from aurora_migrations.cli.remote.function_logs import Line
from aurora_migrations.cli.remote.outcome import document_in

MACHINE = "machine"
_TOLD = ("Start over",)  # states that do nothing by themselves, and mean something to people
_ENDINGS = {
    "ExecutionSucceeded": "Succeeded",
    "ExecutionFailed": "Failed",
    "ExecutionAborted": "Stopped",
    "ExecutionTimedOut": "Timed out",
}


@dataclass
class Events:
    """The history of one execution. Only ever asked for what is new; AWS's errors come as they are.

    Attributes:
        calls: functions' calls that are over.
        stopped: with which words somebody stopped it, if that is so.
    """

    place: Place
    execution: str
    calls: int = 0
    stopped: dict[str, Any] = field(default_factory=dict)
    _last: int = 0
    _state: str = ""
    _failed: bool = False

    def news(self) -> list[Line]:
        """What happened since it was last asked for, oldest first."""
        lines = [self._tell(event) for event in sorted(self._fresh(), key=lambda event: int(event["id"]))]
        return [line for line in lines if line]

    def _fresh(self) -> list[dict[str, Any]]:
        """Newest first: of a history of ten thousand events only what is new is read."""
        found: dict[int, dict[str, Any]] = {}
        pages = self.place.client("stepfunctions").get_paginator("get_execution_history")
        for page in pages.paginate(executionArn=self.execution, reverseOrder=True):
            numbers = [int(event["id"]) for event in page["events"]]
            found |= {int(event["id"]): event for event in page["events"] if int(event["id"]) > self._last}
            if not numbers or min(numbers) <= self._last:
                break
        self._last = max(found, default=self._last)
        return list(found.values())

    def _tell(self, event: dict[str, Any]) -> Line | None:
        kind = event["type"]
        if kind.endswith("StateEntered"):
            return self._entered(event, event["stateEnteredEventDetails"]["name"])
        if kind in ("TaskFailed", "TaskTimedOut", "LambdaFunctionFailed", "LambdaFunctionTimedOut"):
            return self._task_failed(event)
        if kind in ("TaskScheduled", "LambdaFunctionScheduled") and self._failed:
            self._failed = False
            return self._line(event, f"{self._state} is tried again", doing=self._state)
        if kind == "ExecutionAborted":
            self.stopped = event.get("executionAbortedEventDetails", {})
        if kind == "TaskSucceeded":
            self._ended(event["taskSucceededEventDetails"])
        return self._line(event, _ENDINGS[kind]) if kind in _ENDINGS else None

    def _entered(self, event: dict[str, Any], state: str) -> Line | None:
        self._state, self._failed = state, False
        if event["type"] in ("TaskStateEntered", "WaitStateEntered") or state in _TOLD:
            return self._line(event, state, doing=state)
        return None

    def _task_failed(self, event: dict[str, Any]) -> Line:
        details: dict[str, Any] = next((value for key, value in event.items() if key.endswith("EventDetails")), {})
        self._failed = True
        self._ended(details)
        told = document_in(details.get("cause"))
        why = f": {told['message']}" if told else ""
        name = details.get("error") or ("a timeout" if "TimedOut" in event["type"] else "an error")
        return self._line(event, f"{self._state} failed with {name}{why}", bad=True, doing=f"{self._state} failed")

    def _ended(self, details: dict[str, Any]) -> None:
        self.calls += details.get("resourceType", "lambda") == "lambda"

    def _line(self, event: dict[str, Any], text: str, *, bad: bool = False, doing: str | None = None) -> Line:
        return Line(event["timestamp"].astimezone(UTC), MACHINE, text, bad, doing)

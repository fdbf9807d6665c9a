"""The functions' log of an execution, read from CloudWatch while it is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aurora_migrations.cli.remote.environment import Environment
from aurora_migrations.cli.remote.executions import Execution

STEPS = ("preflight", "apply", "verify")
_LATE = timedelta(minutes=2)  # CloudWatch may show a line later than one that was written after it
_EARLY = timedelta(seconds=5)  # by which two clocks may differ


@dataclass(frozen=True)
class Line:
    """A line of an execution's progress, for people.

    Attributes:
        step: whose it is: a function's, or the state machine's.
        bad: whether it is shown in red.
        doing: what is being done from here on; None if that doesn't change.
        ends: whether it is the last line of a function's call.
        record: the function's log line, if it is one.
    """

    at: datetime
    step: str
    text: str
    bad: bool = False
    doing: str | None = None
    ends: bool = False
    record: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S}Z  {self.step:9}  {self.text}"


@dataclass
class FunctionLogs:
    """The log of one execution. Reads only what is new; AWS's errors are raised as they are."""

    environment: Environment
    execution: Execution
    _since: datetime = field(init=False)
    _seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._since = self.execution.started_at - _EARLY

    def new_records(self) -> list[dict[str, Any]]:
        """Records that haven't been returned yet, oldest first."""
        outputs, names = self.environment.outputs, [f"{step.capitalize()}FunctionLog" for step in STEPS]
        found = [event for name in names if name in outputs for event in self._events(outputs[name])]
        fresh = [event for event in found if event["eventId"] not in self._seen]
        self._seen |= {event["eventId"] for event in fresh}
        if found:
            newest = datetime.fromtimestamp(max(event["timestamp"] for event in found) / 1_000, UTC)
            self._since = max(self._since, newest - _LATE)
        records = [_record(event["message"]) for event in sorted(fresh, key=lambda event: event["timestamp"])]
        return [record for record in records if record.get("correlation_id") == self.execution.name]

    def _events(self, group: str) -> Iterator[dict[str, Any]]:
        pages = self.environment.client("logs").get_paginator("filter_log_events")
        since = int(self._since.timestamp() * 1_000)
        for page in pages.paginate(logGroupName=group, startTime=since, filterPattern=f'"{self.execution.name}"'):
            yield from page["events"]


def _record(text: str) -> dict[str, Any]:
    """A line of the log; empty for metrics, which are lines too."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("message"), str) else {}

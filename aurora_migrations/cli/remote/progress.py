"""Follows an execution to its end and shows its progress: states from Step Functions' history of it, and what the
functions log, read from CloudWatch while it is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from aurora_migrations.cli import options
from aurora_migrations.cli.output import Display, Line, plural
from aurora_migrations.cli.remote.aws_errors import (
    CALL_ERRORS,
    READ_ERRORS,
    CloudError,
    error_payload,
    is_transient,
    parse_object,
    to_cloud_error,
)
from aurora_migrations.cli.remote.environment import RUNNING, Environment, Execution
from aurora_migrations.engine.interface import LogEvent
from aurora_migrations.engine.options import format_duration
from aurora_migrations.engine.steps.layout import in_a_line

STEPS = ("preflight", "apply", "verify")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds
_PATIENCE = 60.0  # seconds that the network may be away
_LAST_LINES = 5.0  # seconds that CloudWatch gets to show the last lines, when the execution is over
_LATE = timedelta(minutes=2)  # CloudWatch may show a line later than one that was written after it
_EARLY = timedelta(seconds=5)  # by which two clocks may differ
_SHOWN = 300  # characters of one fact
_SHOWN_STATES = ("Start over",)  # states without a task that mean something to people
_ENDINGS = {
    "ExecutionSucceeded": "Succeeded",
    "ExecutionFailed": "Failed",
    "ExecutionAborted": "Stopped",
    "ExecutionTimedOut": "Timed out",
}
_Answer = TypeVar("_Answer")
_Record = Mapping[str, Any]


@dataclass
class Follower:
    """Follows one execution. Called again, it continues where it was."""

    environment: Environment
    execution: Execution
    display: Display
    _ended_calls: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._history = ExecutionHistory(self.environment, self.execution.arn)
        self._log: FunctionLogs | None = FunctionLogs(self.environment, self.execution)

    def to_the_end(self) -> Execution:
        """Waits for the end, and shows the progress meanwhile.

        Raises:
            CloudError: the execution can't be followed any more; it goes on.
        """
        pause = _FIRST_PAUSE
        with self.display.busy():
            while True:
                found = self._patiently(lambda: self.environment.read(self.execution.arn))
                self._show_progress()
                if found.status != RUNNING:
                    deadline = time.monotonic() + _LAST_LINES
                    while self._log and self._ended_calls < self._history.calls and time.monotonic() < deadline:
                        time.sleep(_FIRST_PAUSE)
                        self.display.show(self._logged())
                    return self._complete(found)
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)

    def once(self) -> Execution:
        """Shows the progress until now."""
        found = self._patiently(lambda: self.environment.read(self.execution.arn))
        self._show_progress()
        return self._complete(found)

    def lost(self, error: CloudError) -> CloudError:
        """The same error; but the execution goes on."""
        name = self.execution.name
        return error.while_running(name, f"The execution {name} has been started and goes on by itself.")

    def _complete(self, found: Execution) -> Execution:
        """With the reason for which it was stopped: that is always in its history, and elsewhere only sometimes."""
        stopped = self._history.stopped
        return replace(found, error=found.error or stopped.get("error"), cause=found.cause or stopped.get("cause"))

    def _show_progress(self) -> None:
        lines = self._patiently(self._history.new_lines)
        self.display.show(sorted([*lines, *self._logged()], key=lambda line: line.at))

    def _logged(self) -> list[Line]:
        """The functions' new log lines. Whoever may start executions but not read logs gets one note."""
        if self._log is None:
            return []
        try:
            lines = [log_line(record) for record in self._log.new_records()]
        except CALL_ERRORS as error:
            if not is_transient(error):
                self._log = None
                why = to_cloud_error(error)
                self.display.note(f"The functions' logs can't be read, so not everything is shown. {why}")
            return []
        self._ended_calls += sum(line.ends for line in lines)
        return lines

    def _patiently(self, call: Callable[[], _Answer]) -> _Answer:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return call()
            except READ_ERRORS as error:
                if not is_transient(error) or time.monotonic() > deadline:
                    raise self.lost(to_cloud_error(error)) from error
            time.sleep(_LONGEST_PAUSE)


# ---- states ---------------------------------------------------------------------------------------------------------


@dataclass
class ExecutionHistory:
    """Step Functions' history of one execution: states, failures, retries. Reads only what is new; AWS's errors are
    raised as they are."""

    environment: Environment
    execution: str
    calls: int = 0  # of functions, that have ended
    stopped: dict[str, Any] = field(default_factory=dict)  # error and cause given by whoever stopped the execution
    _last: int = 0
    _state: str = ""
    _failed: bool = False

    def new_lines(self) -> list[Line]:
        """The progress since the last call, oldest first. Read newest first: of a history of ten thousand events only
        what is new."""
        found: dict[int, dict[str, Any]] = {}
        pages = self.environment.client("stepfunctions").get_paginator("get_execution_history")
        for page in pages.paginate(executionArn=self.execution, reverseOrder=True):
            numbers = [int(event["id"]) for event in page["events"]]
            found |= {int(event["id"]): event for event in page["events"] if int(event["id"]) > self._last}
            if not numbers or min(numbers) <= self._last:
                break
        self._last = max(found, default=self._last)
        return [line for number in sorted(found) if (line := self._line_of(found[number]))]

    def _line_of(self, event: dict[str, Any]) -> Line | None:
        kind = event["type"]
        if kind.endswith("StateEntered"):
            self._state, self._failed = event["stateEnteredEventDetails"]["name"], False
            if kind in ("TaskStateEntered", "WaitStateEntered") or self._state in _SHOWN_STATES:
                return _machine_line(event, self._state, doing=self._state)
            return None
        if kind in ("TaskFailed", "TaskTimedOut", "LambdaFunctionFailed", "LambdaFunctionTimedOut"):
            return self._failed_task(event)
        if kind in ("TaskScheduled", "LambdaFunctionScheduled") and self._failed:
            self._failed = False
            return _machine_line(event, f"{self._state} is tried again", doing=self._state)
        if kind == "ExecutionAborted":
            self.stopped = event.get("executionAbortedEventDetails", {})
        if kind == "TaskSucceeded":
            self._count_call(event["taskSucceededEventDetails"])
        return _machine_line(event, _ENDINGS[kind]) if kind in _ENDINGS else None

    def _failed_task(self, event: dict[str, Any]) -> Line:
        details: dict[str, Any] = next((value for key, value in event.items() if key.endswith("EventDetails")), {})
        self._failed = True
        self._count_call(details)
        payload = error_payload(details.get("cause"))
        why = f": {payload['message']}" if payload else ""
        name = details.get("error") or ("a timeout" if "TimedOut" in event["type"] else "an error")
        text, doing = f"{self._state} failed with {name}{why}", f"{self._state} failed"
        return _machine_line(event, text, bad=True, doing=doing)

    def _count_call(self, details: dict[str, Any]) -> None:
        self.calls += details.get("resourceType", "lambda") == "lambda"


def _machine_line(event: dict[str, Any], text: str, *, bad: bool = False, doing: str | None = None) -> Line:
    return Line(event["timestamp"].astimezone(UTC), "machine", text, bad, doing)


# ---- log lines ------------------------------------------------------------------------------------------------------


@dataclass
class FunctionLogs:
    """The log of one execution. Reads only what is new; AWS's errors are raised as they are."""

    environment: Environment
    execution: Execution
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
        lines = [parse_object(event["message"]) for event in sorted(fresh, key=lambda event: event["timestamp"])]
        records = [line for line in lines if line and isinstance(line.get("message"), str)]  # metrics are lines, too
        return [record for record in records if record.get("correlation_id") == self.execution.name]

    def _events(self, group: str) -> Iterator[dict[str, Any]]:
        pages = self.environment.client("logs").get_paginator("filter_log_events")
        since = int(self._since.timestamp() * 1_000)
        for page in pages.paginate(logGroupName=group, startTime=since, filterPattern=f'"{self.execution.name}"'):
            yield from page["events"]


def log_line(record: _Record) -> Line:
    """A function's log line for people: its message and the facts that matter. What it means is in its `event`; nothing
    depends on the words of the message."""
    event, message = str(record.get("event", "")), str(record["message"])
    facts = _FACTS[event](record) if event in _FACTS else ""
    text = f"{message}: {facts}" if facts else message
    doing = None
    if event == LogEvent.STATEMENT_RUNNING:
        doing = facts
    elif event == LogEvent.MIGRATION_STARTED:
        doing = facts or message
    elif event in (LogEvent.WAITING_FOR_RUN, LogEvent.BLOCKED):
        doing = text
    try:
        at = datetime.fromisoformat(str(record.get("timestamp"))).astimezone(UTC)
    except ValueError:
        at = datetime.now(UTC)
    return Line(
        at,
        str(record.get("service", "")),
        text,
        bad=record.get("level") in ("ERROR", "CRITICAL"),
        doing=doing,
        ends=event in (LogEvent.CALL_FINISHED, LogEvent.CALL_FAILED),
        record=record,
    )


def _connected(record: _Record) -> str:
    tls = "with TLS" if record.get("tls") else "without TLS"
    return (
        f"{record.get('database')} on {record.get('host')}:{record.get('port')} as {record.get('role')}, "
        f"PostgreSQL {record.get('server_version')}, {tls}"
    )


def _blocked(record: _Record) -> str:
    who = ", ".join(map(str, record.get("blockers") or ())) or "nobody seen"
    return f"{record.get('mode')} on {record.get('table')}, held by {who}"


def _finished(record: _Record) -> str:
    facts = [str(record.get("file", ""))]
    if isinstance(record.get("duration_ms"), int | float):
        facts.append(format_duration(record["duration_ms"]))
    kept = len(record.get("verified") or ())
    facts.append(f"{plural(kept, 'promise')} kept" if kept else "")
    facts += [str(lock) for lock in record.get("locks") or ()]
    return ", ".join(filter(None, facts))


def _answer(record: _Record) -> str:
    answer = record.get("answer") or {}
    return ", ".join(f"{key} {value}" for key, value in answer.items() if value is not None)


def _fact(key: str) -> Callable[[_Record], str]:
    return lambda record: str(record.get(key) or "")[:_SHOWN]


_FACTS: Mapping[str, Callable[[_Record], str]] = {
    LogEvent.CALL_STARTED: lambda record: describe_input(record.get("asked")),
    LogEvent.SECRET_READ: lambda record: f"user {record.get('user')}",
    LogEvent.CONNECTED: _connected,
    LogEvent.WAITING_FOR_RUN: _fact("holder"),
    LogEvent.HAZARD_FOUND: _fact("hazard"),
    LogEvent.BLOCKED: _blocked,
    LogEvent.MIGRATION_STARTED: _fact("file"),
    LogEvent.STATEMENT_RUNNING: lambda record: f"{record.get('file')}:{record.get('line')}, {record.get('statements')}",
    LogEvent.MIGRATION_FINISHED: _finished,
    LogEvent.CALL_FINISHED: _answer,
}


def describe_input(asked: object) -> str:
    """An execution's input in a line: `action run-migration, target 017`. Anybody may have written anything there."""
    shown = {str(key): str(value) for key, value in asked.items()} if isinstance(asked, Mapping) else {}
    if "requested_by" in shown:
        shown["requested_by"] = options.initiator(shown["requested_by"])
    return ", ".join(f"{in_a_line(key)} {in_a_line(value)}" for key, value in shown.items())

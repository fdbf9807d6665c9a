"""Follows an execution to its end and shows its progress: states from Step Functions' history of it, and what the
functions log, read from CloudWatch while it is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
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
    to_cloud_error,
)
from aurora_migrations.cli.remote.environment import RUNNING, Environment, Execution
from aurora_migrations.engine.interface import LogEvent
from aurora_migrations.engine.options import format_duration
from aurora_migrations.engine.steps.execution import parse_object
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
_FAILURES = ("TaskFailed", "TaskTimedOut", "LambdaFunctionFailed", "LambdaFunctionTimedOut")
# Events of which one fact is shown.
_FACTS: Mapping[str, str] = {
    LogEvent.WAITING_FOR_RUN: "holder",
    LogEvent.HAZARD_FOUND: "hazard",
    LogEvent.MIGRATION_STARTED: "file",
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
        """Waits for the end, and shows the progress meanwhile. Raises CloudError if it can't be followed any more."""
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
        return error.while_running(name, f"The execution {name} has been started and is still running.")

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
                self.display.note(f"The functions' logs can't be read, so only the states are shown. {why}")
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
        details: dict[str, Any] = next((value for key, value in event.items() if key.endswith("EventDetails")), {})
        if kind.endswith("StateEntered"):
            self._state, self._failed = details["name"], False
            if kind in ("TaskStateEntered", "WaitStateEntered") or self._state in _SHOWN_STATES:
                return _machine_line(event, self._state, doing=self._state)
            return None
        if kind in ("TaskSucceeded", *_FAILURES):
            self.calls += details.get("resourceType", "lambda") == "lambda"
        if kind in _FAILURES:
            self._failed = True
            payload = error_payload(details.get("cause"))
            why = f": {payload['message']}" if payload else ""
            name = details.get("error") or ("a timeout" if "TimedOut" in kind else "an error")
            text, doing = f"{self._state} failed with {name}{why}", f"{self._state} failed"
            return _machine_line(event, text, bad=True, doing=doing)
        if kind in ("TaskScheduled", "LambdaFunctionScheduled") and self._failed:
            self._failed = False
            return _machine_line(event, f"{self._state} is tried again", doing=self._state)
        if kind == "ExecutionAborted":
            self.stopped = details
        return _machine_line(event, _ENDINGS[kind]) if kind in _ENDINGS else None


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
        pages = self.environment.client("logs").get_paginator("filter_log_events")
        since, word = int(self._since.timestamp() * 1_000), f'"{self.execution.name}"'
        found: list[dict[str, Any]] = []
        for group in (outputs[name] for name in names if name in outputs):
            for page in pages.paginate(logGroupName=group, startTime=since, filterPattern=word):
                found += page["events"]
        fresh = [event for event in found if event["eventId"] not in self._seen]
        self._seen |= {event["eventId"] for event in fresh}
        if found:
            newest = datetime.fromtimestamp(max(event["timestamp"] for event in found) / 1_000, UTC)
            self._since = max(self._since, newest - _LATE)
        lines = [parse_object(event["message"]) for event in sorted(fresh, key=lambda event: event["timestamp"])]
        records = [line for line in lines if isinstance(line.get("message"), str)]  # metrics are lines, too
        return [record for record in records if record.get("correlation_id") == self.execution.name]


def log_line(record: _Record) -> Line:
    """A function's log line for people: its message and the facts that matter. What it means is in its `event`; nothing
    depends on the words of the message."""
    event, message = str(record.get("event", "")), str(record["message"])
    facts = _facts(event, record)
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


def _facts(event: str, record: _Record) -> str:
    """The facts of a log line that matter to people."""
    fact = record.get
    match event:
        case LogEvent.CALL_STARTED:
            return describe_input(fact("asked"))
        case LogEvent.SECRET_READ:
            return f"user {fact('user')}"
        case LogEvent.CONNECTED:
            where = f"{fact('database')} on {fact('host')}:{fact('port')} as {fact('role')}"
            return f"{where}, PostgreSQL {fact('server_version')}, {'with' if fact('tls') else 'without'} TLS"
        case LogEvent.BLOCKED:
            blockers = ", ".join(map(str, fact("blockers") or ())) or "nobody seen"
            return f"{fact('mode')} on {fact('table')}, held by {blockers}"
        case LogEvent.STATEMENT_RUNNING:
            return f"{fact('file')}:{fact('line')}, {fact('statements')}"
        case LogEvent.MIGRATION_FINISHED:
            duration, kept = fact("duration_ms"), len(fact("verified") or ())
            took = format_duration(duration) if isinstance(duration, int | float) else ""
            found = [str(fact("file") or ""), took, f"{plural(kept, 'expectation')} met" if kept else ""]
            return ", ".join(filter(None, [*found, *map(str, fact("locks") or ())]))
        case LogEvent.CALL_FINISHED:
            return ", ".join(f"{key} {value}" for key, value in (fact("answer") or {}).items() if value is not None)
    return str(fact(_FACTS.get(event, "")) or "")[:_SHOWN]


def describe_input(asked: object) -> str:
    """An execution's input in a line: `action run-migration, target 017`. Anybody may have written anything there."""
    shown = {str(key): str(value) for key, value in asked.items()} if isinstance(asked, Mapping) else {}
    if "requested_by" in shown:
        shown["requested_by"] = options.initiator(shown["requested_by"])
    return ", ".join(f"{in_a_line(key)} {in_a_line(value)}" for key, value in shown.items())

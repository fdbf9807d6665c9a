"""Executions of the state machine: start, read, stop and find them, and how one ended: its output, or its error as the
engine would have raised it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from aurora_migrations.cli import options
from aurora_migrations.cli.remote import aws_errors as errors
from aurora_migrations.cli.remote.aws_errors import (
    CloudError,
    ExecutionFailed,
    aws_errors,
    is_unanswered,
    to_cloud_error,
)
from aurora_migrations.cli.remote.environment import Environment
from aurora_migrations.engine.errors import Cancelled, InvalidInput, MigratorError, NextCommand
from aurora_migrations.engine.steps.layout import in_a_line

RUNNING = "RUNNING"
CHANGES = ("run-migration", "rollback")
_PAGE = 1_000  # the most that one call returns: `status --watch` starts 240 executions an hour
_WORDS = ("message", "cause", "state", "solution", "next_command")
_NO_FACTS = (*_WORDS, "error", "execution", "mail")  # the mail says the same once more
_SHOWN = 1_000  # characters of a cause that nobody has written for people
_GOES_ON = "A call that was under way goes on to its end by itself. " + ExecutionFailed.state


@dataclass(frozen=True)
class Execution:
    """An execution, as it was when it was read.

    Attributes:
        status: RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED.
        input: empty where that isn't an object.
        output: if it succeeded.
        error, cause: what it ended with otherwise; may be missing.
    """

    arn: str
    name: str
    status: str
    started_at: datetime
    input: Mapping[str, Any]
    output: Mapping[str, Any] | None = None
    error: str | None = None
    cause: str | None = None


def is_change(asked: Mapping[str, Any]) -> bool:
    """Whether an input asks for a run (as it does without an action) or a rollback; all else is read-only."""
    return (asked.get("action") or CHANGES[0]) in CHANGES


def start(environment: Environment, name: str, asked: Mapping[str, str]) -> Execution:
    """Starts an execution of this name, which no other has: a call whose answer is lost is made again by botocore, and
    finds what it has started.

    Raises:
        CloudError: it wasn't started; or a run or rollback may have been, which the error's state says.
    """
    machine = environment.machine
    try:
        started = environment.client("stepfunctions").start_execution(
            stateMachineArn=machine, name=name, input=json.dumps(asked)
        )
        return Execution(str(started["executionArn"]), name, RUNNING, started["startDate"].astimezone(UTC), asked)
    except errors.READ_ERRORS as error:
        if isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") == "ExecutionAlreadyExists":
            try:  # a call whose answer was lost had started it, and it has ended since
                return find(environment, name)
            except CloudError as lost:
                raise lost.while_running(name, f"The execution {name} has been started, and has ended.") from lost
        known = to_cloud_error(error)
        if is_unanswered(error) and is_change(asked):
            known.solution += " But look first whether this one was started."
            known = known.while_running(name, f"The execution {name} may have been started.")
        raise known from error


def read(environment: Environment, arn: str) -> Execution:
    """An execution as it is now. AWS's errors are raised as they are."""
    found = environment.client("stepfunctions").describe_execution(executionArn=arn)
    return Execution(
        arn=arn,
        name=found["name"],
        status=found["status"],
        started_at=found["startDate"].astimezone(UTC),
        input=_object(found.get("input")) or {},
        output=_object(found.get("output")) if found["status"] == "SUCCEEDED" else None,
        error=found.get("error"),
        cause=found.get("cause"),
    )


def stop(environment: Environment, arn: str, why: str) -> None:
    """Stops an execution. A call of a function that is under way goes on to its end."""
    with aws_errors():
        environment.client("stepfunctions").stop_execution(executionArn=arn, error="Stopped", cause=why)


def find(environment: Environment, name: str | None) -> Execution:
    """The execution of this name or ARN, or the last run.

    Raises:
        ExecutionNotFound: there is none.
    """
    if name is not None:
        of_machine = environment.machine.replace(":stateMachine:", ":execution:")
        with aws_errors():
            return read(environment, f"{of_machine}:{name.rpartition(':')[2]}")
    if found := last_run(environment):
        return found
    if environment.endpoint is not None:
        raise errors.ExecutionNotFound(
            "This local cloud has run nothing so far.",
            cause="A local cloud is there for one command only, unless `up` keeps it running; of what earlier ones "
            "did, the database's history is left.",
            solution="See `aurora-migrations history --local`, or keep one running in another terminal.",
            next_command=NextCommand("up"),
        )
    raise errors.ExecutionNotFound(
        f"Nothing has been run in {environment.name} so far.",
        cause="No deployment, console or command has started a run yet.",
        solution="Start the first run.",
        next_command=NextCommand("run", ("--env", environment.name)),
    )


def last_run(environment: Environment) -> Execution | None:
    """The run or rollback that was started last, whatever was only read since."""
    pages = environment.client("stepfunctions").get_paginator("list_executions")
    machine, read_only = environment.machine, f"{options.READ_ONLY}-"
    with aws_errors():
        for page in pages.paginate(stateMachineArn=machine, PaginationConfig={"PageSize": _PAGE}):
            for each in page["executions"]:
                if each["name"].startswith(read_only):
                    continue
                found = read(environment, each["executionArn"])
                if is_change(found.input):
                    return found
    return None


def running(environment: Environment) -> list[dict[str, str]]:
    """Executions that haven't ended, the newest first: of very many the newest hundred."""
    machine = environment.machine
    with aws_errors():
        found = environment.client("stepfunctions").list_executions(
            stateMachineArn=machine, statusFilter=RUNNING, maxResults=100
        )["executions"]
    return [{"execution": each["name"], "started_at": iso(each["startDate"])} for each in found]


def iso(moment: datetime) -> str:
    """As everywhere: `2026-11-23T04:00:17Z`."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def describe_input(asked: object) -> str:
    """An execution's input in a line: `action run-migration, target 017`. Anybody may have written anything there."""
    shown = {str(key): str(value) for key, value in asked.items()} if isinstance(asked, Mapping) else {}
    if "requested_by" in shown:
        shown["requested_by"] = options.initiator(shown["requested_by"])
    return ", ".join(f"{in_a_line(key)} {in_a_line(value)}" for key, value in shown.items())


# ---- how an execution ended -----------------------------------------------------------------------------------------


def output_of(execution: Execution) -> dict[str, Any]:
    """The output of an execution that has ended.

    Raises:
        MigratorError: it didn't succeed; the name and the facts are those of the engine's error.
    """
    if execution.status != "SUCCEEDED":
        raise error_of(execution)
    output = dict(execution.output or {})
    if not {"status", "migration", "message"} <= output.keys():
        raise contract_broken(execution.name, "its answer isn't one of this product's")
    return output


def contract_broken(execution: str, what: str) -> ExecutionFailed:
    """The error of an execution that succeeded with an output that this version can't read."""
    error = ExecutionFailed(
        f"The execution {execution} succeeded, but {what}.",
        cause="The stack was made by something else, or: is the state machine of another version?",
        solution="Deploy the environment with this version of the product, or use that one's command line.",
        next_command=_logs_command(execution),
    )
    error.kind = "ContractBroken"
    return error


def error_of(execution: Execution) -> MigratorError:
    if execution.status == "ABORTED":
        return Cancelled(
            f"The execution {execution.name} was stopped: {execution.cause or 'nobody said why'}.",
            cause="Somebody stopped it, here or in the console.",
            state=_GOES_ON,
            next_command=NextCommand("status"),
        )
    if execution.status == "TIMED_OUT":
        return ExecutionFailed(
            f"The execution {execution.name} took longer than the environment's limits.run_timeout allows.",
            cause="It waited for others all the time, or there was more to do than fits into that time.",
            state=_GOES_ON,
            next_command=_logs_command(execution.name),
        )
    payload = error_payload(execution.cause)
    return _engine_error(payload) if payload else _unknown_error(execution)


def error_payload(cause: str | None) -> dict[str, Any] | None:
    """The engine's error in a Cause of Step Functions: JSON, as the text of what Lambda raised."""
    raised = _object(cause)
    found = _object(raised.get("errorMessage")) if raised else None
    return found if found and isinstance(found.get("error"), str) and isinstance(found.get("message"), str) else None


def _engine_error(payload: Mapping[str, Any]) -> MigratorError:
    words: dict[str, Any] = {key: str(payload[key]) for key in _WORDS if key in payload}
    if "next_command" in words:
        words["next_command"] = NextCommand.parse(words["next_command"])
    facts = {key: value for key, value in payload.items() if key not in _NO_FACTS}
    message = words.pop("message")
    if payload["error"] == InvalidInput.__name__:
        return InvalidInput(message, **words, **facts)
    error = ExecutionFailed(message, **words, **facts)
    error.kind = str(payload["error"])
    return error


def _unknown_error(execution: Execution) -> MigratorError:
    words = " ".join((execution.cause or "no cause was given").split())
    raised = _object(execution.cause)
    if raised and isinstance(raised.get("errorMessage"), str):
        words = raised["errorMessage"]
    error = ExecutionFailed(
        f"The execution {execution.name} failed: {words[:_SHOWN]}", next_command=_logs_command(execution.name)
    )
    error.kind = execution.error or ""
    return error


def _logs_command(execution: str) -> NextCommand:
    return NextCommand("logs", (execution,))


def _object(text: object) -> dict[str, Any] | None:
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None

"""Executions of the state machine: start one, look at it, stop it, find the last run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from aurora_migrations.cli import options
from aurora_migrations.cli.remote import aws_errors
from aurora_migrations.cli.remote.environment import Place
from aurora_migrations.cli.remote.failing import ANSWERS, explain, is_unanswered, named
from aurora_migrations.engine.errors import NextCommand

RUNNING = "RUNNING"
CHANGES = ("run-migration", "rollback")
_THERE = "ExecutionAlreadyExists"
_PAGE = 1_000  # as many as one call tells: `status --watch` makes 240 looks an hour


@dataclass(frozen=True)
class Execution:
    """An execution, as it was when it was looked at.

    Attributes:
        status: RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED.
        asked: its input; empty where that isn't an object.
        answer: its output, if it succeeded.
        error, cause: what it ended with otherwise; may be missing.
    """

    arn: str
    name: str
    status: str
    started_at: datetime
    asked: Mapping[str, Any]
    answer: Mapping[str, Any] | None = None
    error: str | None = None
    cause: str | None = None

    @property
    def changes(self) -> bool:
        """Whether it is a run or a rollback; others only look. Without an action it is a run."""
        return would_change(self.asked)


def would_change(asked: Mapping[str, Any]) -> bool:
    """Whether what is asked is a run or a rollback."""
    return (asked.get("action") or CHANGES[0]) in CHANGES


def start(place: Place, name: str, asked: Mapping[str, str]) -> Execution:
    """Starts an execution of this name, which no other has: a call whose answer is lost is made again by botocore, and
    finds what it has started.

    Raises:
        CloudError: it wasn't started; or what it changes may have been, which the error's state says.
    """
    machine = place.machine
    try:
        told = place.client("stepfunctions").start_execution(
            stateMachineArn=machine, name=name, input=json.dumps(asked)
        )
        return Execution(str(told["executionArn"]), name, RUNNING, told["startDate"].astimezone(UTC), asked)
    except ANSWERS as error:
        if isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") == _THERE:
            return _ours(place, name)
        explained = explain(error)
        if is_unanswered(error) and would_change(asked):
            raise _perhaps(explained, name) from error
        raise explained from error


def _ours(place: Place, name: str) -> Execution:
    """The execution that a call whose answer was lost had started, and that has ended since."""
    try:
        return find(place, name)
    except aws_errors.CloudError as error:
        raise error.while_it_goes_on(name, f"The execution {name} has been started, and has ended.") from error


def _perhaps(error: aws_errors.CloudError, name: str) -> aws_errors.CloudError:
    """The same error, of an execution that may have been started."""
    error = error.but(solution=f"{error.solution} But look first whether this one was started.")
    return error.while_it_goes_on(name, f"The execution {name} may have been started.")


def look(place: Place, arn: str) -> Execution:
    """How an execution stands. AWS's errors come as they are."""
    told = place.client("stepfunctions").describe_execution(executionArn=arn)
    return Execution(
        arn=arn,
        name=told["name"],
        status=told["status"],
        started_at=told["startDate"].astimezone(UTC),
        asked=_object(told.get("input")) or {},
        answer=_object(told.get("output")) if told["status"] == "SUCCEEDED" else None,
        error=told.get("error"),
        cause=told.get("cause"),
    )


def stop(place: Place, arn: str, why: str) -> None:
    """Stops an execution. A call of a function that is under way goes on to its end."""
    with named():
        place.client("stepfunctions").stop_execution(executionArn=arn, error="Stopped", cause=why)


def find(place: Place, name: str | None) -> Execution:
    """The execution of this name, or the last run.

    Raises:
        ExecutionNotFound: there is none.
    """
    if name is not None:
        with named():
            return look(place, arn_of(place, name))
    found = last_run(place)
    if found is None and place.endpoint is not None:
        raise aws_errors.ExecutionNotFound(
            "This local cloud has run nothing so far.",
            cause="A local cloud is there for one command only, unless `up` keeps it running; of what earlier ones "
            "did, the database's history is left.",
            solution="See `aurora-migrations history --local`, or keep one running in another terminal.",
            next_command=NextCommand("up"),
        )
    if found is None:
        raise aws_errors.ExecutionNotFound(
            f"Nothing has been run in {place.environment} so far.",
            cause="No deployment, console or command has started a run yet.",
            solution="Start the first run.",
            next_command=NextCommand("run", ("--env", place.environment)),
        )
    return found


def last_run(place: Place) -> Execution | None:
    """The run or rollback that was started last; what somebody only looked at since is passed over."""
    pages = place.client("stepfunctions").get_paginator("list_executions")
    own = f"{options.LOOK}-"
    with named():
        for page in pages.paginate(stateMachineArn=place.machine, PaginationConfig={"PageSize": _PAGE}):
            for each in page["executions"]:
                if not each["name"].startswith(own) and (found := look(place, each["executionArn"])).changes:
                    return found
    return None


def under_way(place: Place) -> list[dict[str, str]]:
    """Executions that aren't over, the newest first: of very many the newest hundred."""
    machine = place.machine
    with named():
        found = place.client("stepfunctions").list_executions(
            stateMachineArn=machine, statusFilter=RUNNING, maxResults=100
        )["executions"]
    return [{"execution": each["name"], "started_at": iso(each["startDate"])} for each in found]


def iso(moment: datetime) -> str:
    """As everywhere: `2026-11-23T04:00:17Z`."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def arn_of(place: Place, name: str) -> str:
    """The ARN of an execution, from its name or from itself."""
    return f"{place.machine.replace(':stateMachine:', ':execution:')}:{name.rpartition(':')[2]}"


def _object(text: str | None) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text or "null")
    except ValueError:
        return None
    return found if isinstance(found, Mapping) else None

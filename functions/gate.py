"""Gate: has CloudFormation wait for the run of a deployment, with the setting `deployment` "waits".

CloudFormation sends a request of its own form ("Custom resource request objects"), which starts the run and the state
machine that waits for it; that machine calls this function again until the run has ended, and then it answers.

While a stack rolls back, and when it is deleted, nothing is run, and the answer is success: the package that comes back
is older than the database, and a failure then would leave the stack in UPDATE_ROLLBACK_FAILED.
"""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from aurora_migrations.engine.steps.execution import parse_object
from aurora_migrations.engine.steps.layout import clean

_LONGEST_REASON = 1_200  # characters; a whole answer may have 4,096 bytes
_LINES = 12  # of a mail
_ANSWER_S = 20
_ENDS = {
    "TIMED_OUT": "it took longer than `limits.run_timeout`",
    "ABORTED": "somebody stopped it",
}
_KEPT = ("ResponseURL", "StackId", "RequestId", "LogicalResourceId", "PhysicalResourceId")


@dataclass(frozen=True)
class Cloud:
    """What the gate talks to. `send` puts a document at an address; `now` is the time."""

    states: Any
    stacks: Any
    send: Callable[[str, bytes], None]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def handler(event: Mapping[str, Any], context: object, cloud: Cloud | None = None) -> dict[str, Any]:
    """Lambda's entry point: a request of CloudFormation's, or the waiting machine's question whether the run has
    ended. Tests pass a `cloud` of their own."""
    cloud = cloud or _cloud()
    if "RequestType" in event:
        return _begin(event, cloud)
    return {"ended": _check(event["request"], cloud)}


@cache
def _cloud() -> Cloud:
    import boto3

    return Cloud(boto3.client("stepfunctions"), boto3.client("cloudformation"), _put)


def _begin(event: Mapping[str, Any], cloud: Cloud) -> dict[str, Any]:
    """Starts the run and the machine that waits for it. Both have names made of the request's, so that a request that
    Lambda delivers twice starts nothing twice."""
    properties = event["ResourceProperties"]
    request: dict[str, Any] = {"PhysicalResourceId": f"aurora-migrations-{properties['Environment']}", **event}
    request = {key: request[key] for key in _KEPT} | {
        "Environment": properties["Environment"],
        "LimitSeconds": int(properties["LimitSeconds"]),
    }
    if event["RequestType"] == "Delete":
        return _answer(request, cloud, None)
    try:
        if _is_rolling_back(event["StackId"], cloud):
            return _answer(request, cloud, None)
        asked = {"trigger": "deploy", "requested_by": event["StackId"]}
        request["Execution"] = _start(cloud, properties["Machine"], f"deploy-{event['RequestId']}", asked)
        _start(cloud, properties["Gate"], event["RequestId"], request)
    except Exception as error:  # whatever it is: without an answer CloudFormation would wait for an hour
        return _answer(request, cloud, f"The run could not be started: {error}")
    _log("Started the run", execution=request["Execution"])
    return request


def _start(cloud: Cloud, machine: str, name: str, asked: Mapping[str, Any]) -> str:
    """Starts an execution, unless an earlier call has; returns its ARN."""
    with contextlib.suppress(cloud.states.exceptions.ExecutionAlreadyExists):
        cloud.states.start_execution(stateMachineArn=machine, name=name, input=json.dumps(asked))
    return f"{machine.replace(':stateMachine:', ':execution:')}:{name}"


def _check(request: Mapping[str, Any], cloud: Cloud) -> bool:
    """Answers if the run has ended, or CloudFormation need not wait any more; returns whether it did."""
    if unread := request.get("unread"):  # the machine has given up
        _answer(request, cloud, f"How the run went can't be read: {_first_line(unread)}. {_see(request)}")
        return True
    try:
        found = cloud.states.describe_execution(executionArn=request["Execution"])
        status, lasted = found["status"], (cloud.now() - found["startDate"]).total_seconds()
        if status == "SUCCEEDED":
            reason = None
        elif status != "RUNNING":
            reason = _why(found, request)
        elif lasted > request["LimitSeconds"]:
            reason = f"The run hasn't ended after {lasted / 60:.0f} minutes, and continues. {_see(request)}"
        elif _is_rolling_back(request["StackId"], cloud):  # the deployment was cancelled meanwhile
            reason = None
        else:
            return False
    except cloud.states.exceptions.ExecutionDoesNotExist:
        reason = f"The run is unknown to Step Functions. {_see(request)}"
    _answer(request, cloud, reason)
    return True


def _is_rolling_back(stack: str, cloud: Cloud) -> bool:
    status = str(cloud.stacks.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"])
    return "ROLLBACK" in status


def _why(found: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """The first lines of the mail about the failure, if a function has written it; otherwise the error's name."""
    document = parse_object(parse_object(found.get("cause")).get("errorMessage"))
    mail = document.get("mail")
    if isinstance(mail, Mapping):
        lines = [str(mail.get("subject", "")), "", *str(mail.get("body", "")).splitlines()]
        return "\n".join(lines[:_LINES]).strip()
    if document.get("message"):  # no mail is sent of what somebody at a terminal sees
        return f"{document.get('error')}: {document['message']} {_see(request)}"
    how = _ENDS.get(found["status"], str(found.get("error") or "its error has no name"))
    return f"The run failed: {how}. A mail has the details. {_see(request)}"


def _see(request: Mapping[str, Any]) -> str:
    name = request["Execution"].rpartition(":")[2]
    return f"See: aurora-migrations logs {name} --env {request['Environment']}"


def _first_line(unread: Mapping[str, Any]) -> str:
    cause = str(parse_object(unread.get("Cause")).get("errorMessage") or unread.get("Cause") or "no reason is known")
    return f"{unread.get('Error')}, {cause.splitlines()[0].rstrip('.')}"


def _answer(request: Mapping[str, Any], cloud: Cloud, failure: str | None) -> dict[str, Any]:
    """Tells CloudFormation that the resource is done, or why it failed."""
    keys = ("StackId", "RequestId", "LogicalResourceId", "PhysicalResourceId")
    answer: dict[str, Any] = {key: request[key] for key in keys}
    answer |= {"Status": "SUCCESS"}
    if failure is not None:
        answer |= {"Status": "FAILED", "Reason": clean(failure)[:_LONGEST_REASON]}
    cloud.send(str(request["ResponseURL"]), json.dumps(answer).encode())
    _log("Answered CloudFormation", status=answer["Status"], reason=answer.get("Reason"))
    return answer


def _put(address: str, document: bytes) -> None:
    """Puts a document at the address that CloudFormation has signed; no header may say what it is."""
    request = urllib.request.Request(address, document, {"Content-Type": ""}, method="PUT")
    with urllib.request.urlopen(request, timeout=_ANSWER_S):
        pass


def _log(message: str, **facts: object) -> None:
    print(json.dumps({"level": "INFO", "message": message, "service": "gate", **facts}))

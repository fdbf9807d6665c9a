"""The gate's function, called as CloudFormation and the waiting state machine call it, on moto's Step Functions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from functions.gate import Cloud, handler

REGION = "eu-west-1"
ROLE = "arn:aws:iam::123456789012:role/any"
FOREVER = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3_600, "End": True}}}
ADDRESS = "https://cloudformation-custom-resource-response.example/answer"
LIMIT_S = 3_450


@dataclass
class Stack:
    """A stack that CloudFormation deploys, with the main state machine and the one that waits, and what the gate has
    answered. `cloud` is what its function talks to."""

    id: str
    machines: list[str]
    cloud: Cloud
    answers: list[dict[str, Any]] = field(default_factory=list)

    def request(self, kind: str = "Update", id: str = "r1") -> dict[str, Any]:
        main, gate = self.machines
        return {
            "RequestType": kind,
            "ResponseURL": ADDRESS,
            "StackId": self.id,
            "RequestId": id,
            "LogicalResourceId": "Gate",
            **({} if kind == "Create" else {"PhysicalResourceId": "aurora-migrations-dev"}),
            "ResourceProperties": {
                "ServiceToken": "arn",
                "Environment": "dev",
                "Machine": main,
                "Gate": gate,
                "LimitSeconds": str(LIMIT_S),
            },
        }

    def started(self, machine: int = 0) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cloud.states.list_executions(stateMachineArn=self.machines[machine])[
            "executions"
        ]
        return found

    def waiting(self) -> dict[str, Any]:
        """What the waiting machine was started with."""
        (execution,) = self.started(1)
        told = self.cloud.states.describe_execution(executionArn=execution["executionArn"])
        data: dict[str, Any] = json.loads(told["input"])
        return data

    def is_moved_to(self, status: str) -> None:
        from moto.cloudformation.models import cloudformation_backends

        cloudformation_backends["123456789012"][REGION].stacks[self.id].status = status


@pytest.fixture
def stack() -> Iterator[Stack]:
    # Which leaves every execution RUNNING. Said here, as the local cloud turns the interpreter on for a whole process.
    with mock_aws(config={"stepfunctions": {"execute_state_machine": False}}):
        keys = {"region_name": REGION, "aws_access_key_id": "x", "aws_secret_access_key": "x"}
        states, stacks = boto3.client("stepfunctions", **keys), boto3.client("cloudformation", **keys)
        machines = [
            states.create_state_machine(name=name, roleArn=ROLE, definition=json.dumps(FOREVER))["stateMachineArn"]
            for name in ("aurora-migrations-dev", "aurora-migrations-dev-gate")
        ]
        body = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
        id = stacks.create_stack(StackName="shop", TemplateBody=body)["StackId"]
        made = Stack(id, machines, Cloud(states, stacks, lambda address, document: None))

        def send(address: str, document: bytes) -> None:
            assert (address, len(document) < 4_096) == (ADDRESS, True)
            made.answers.append(json.loads(document))

        made.cloud = replace(made.cloud, send=send)
        yield made


def after(stack: Stack, **time: float) -> Cloud:
    """The cloud when so much time has passed since now."""
    return replace(stack.cloud, now=lambda: datetime.now(UTC) + timedelta(**time))


@pytest.mark.parametrize("kind", ["Create", "Update"])
def test_a_request_starts_the_run_and_what_waits_for_it_and_is_answered_later(stack: Stack, kind: str) -> None:
    handler(stack.request(kind), None, stack.cloud)
    assert [each["name"] for each in stack.started()] == ["deploy-r1"]
    assert stack.waiting()["Execution"] == stack.started()[0]["executionArn"]
    assert stack.answers == []


def test_a_request_that_is_delivered_twice_starts_one_run(stack: Stack) -> None:
    handler(stack.request(), None, stack.cloud)
    handler(stack.request(), None, stack.cloud)
    assert (len(stack.started()), len(stack.started(1)), stack.answers) == (1, 1, [])


def test_a_run_that_is_going_on_is_waited_for(stack: Stack) -> None:
    handler(stack.request(), None, stack.cloud)
    assert handler({"request": stack.waiting()}, None, after(stack, seconds=LIMIT_S - 30)) == {"ended": False}
    assert stack.answers == []


def test_a_run_that_goes_on_for_too_long_fails_the_deployment_before_cloudformation_gives_up(stack: Stack) -> None:
    handler(stack.request(), None, stack.cloud)
    assert handler({"request": stack.waiting()}, None, after(stack, seconds=LIMIT_S + 30)) == {"ended": True}
    (answer,) = stack.answers
    assert answer["Status"] == "FAILED"
    assert answer["Reason"] == (
        "The run hasn't ended after 58 minutes, and continues. See: aurora-migrations logs deploy-r1 --env dev"
    )


def test_a_run_that_was_stopped_fails_the_deployment(stack: Stack) -> None:
    handler(stack.request(), None, stack.cloud)
    stack.cloud.states.stop_execution(executionArn=stack.started()[0]["executionArn"])
    assert handler({"request": stack.waiting()}, None, stack.cloud) == {"ended": True}
    assert stack.answers[0]["Reason"].startswith("The run failed: somebody stopped it. A mail has the details.")


@pytest.mark.parametrize("status", ["UPDATE_ROLLBACK_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"])
def test_a_rollback_of_the_stack_succeeds_at_once_and_runs_nothing(stack: Stack, status: str) -> None:
    stack.is_moved_to(status)
    handler(stack.request(), None, stack.cloud)
    assert (stack.started(), [answer["Status"] for answer in stack.answers]) == ([], ["SUCCESS"])


def test_a_deployment_that_is_cancelled_waits_no_longer(stack: Stack) -> None:
    handler(stack.request(), None, stack.cloud)
    stack.is_moved_to("UPDATE_ROLLBACK_IN_PROGRESS")
    assert handler({"request": stack.waiting()}, None, stack.cloud) == {"ended": True}
    assert [answer["Status"] for answer in stack.answers] == ["SUCCESS"]


def test_deleting_succeeds_whatever_is_there(stack: Stack) -> None:
    stack.machines = ["arn:gone", "arn:gone"]
    handler(stack.request("Delete"), None, replace(stack.cloud, states=None, stacks=None))
    assert [answer["Status"] for answer in stack.answers] == ["SUCCESS"]


def test_a_run_that_can_not_be_started_fails_the_deployment_with_the_reason(stack: Stack) -> None:
    request = stack.request()
    request["ResourceProperties"]["Machine"] = f"{stack.machines[0]}-gone"
    handler(request, None, stack.cloud)
    (answer,) = stack.answers
    assert answer["Status"] == "FAILED"
    assert "The run could not be started: " in answer["Reason"]
    assert "StateMachineDoesNotExist" in answer["Reason"]


def test_the_machine_that_can_not_ask_any_more_fails_the_deployment(stack: Stack) -> None:
    handler(stack.request(), None, stack.cloud)
    cause = json.dumps({"errorMessage": "An error occurred (AccessDeniedException)\nmore"})
    unread = {"Error": "ClientError", "Cause": cause}
    assert handler({"request": stack.waiting() | {"unread": unread}}, None, stack.cloud) == {"ended": True}
    assert stack.answers[0]["Reason"].startswith(
        "How the run went can't be read: ClientError, An error occurred (AccessDeniedException). See: "
    )


def test_an_answer_names_the_request_and_keeps_the_physical_id(stack: Stack) -> None:
    stack.is_moved_to("UPDATE_ROLLBACK_IN_PROGRESS")
    for kind in ("Create", "Update"):
        handler(stack.request(kind), None, stack.cloud)
    ids = {(a["StackId"], a["RequestId"], a["LogicalResourceId"], a["PhysicalResourceId"]) for a in stack.answers}
    assert ids == {(stack.id, "r1", "Gate", "aurora-migrations-dev")}

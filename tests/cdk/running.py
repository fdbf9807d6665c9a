"""Runs a state machine's states from one of them on, by moto's interpreter; what is mailed is what moto's SNS got."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import boto3
from moto import mock_aws
from moto.awslambda_simple.models import lambda_simple_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sns.models import sns_backends

from aurora_migrations.local.cloud.services import stepfunctions  # noqa: F401 - it has moto parse each definition only once
from tests.cdk.cloud import REGION, Machine

ROLE = f"arn:aws:iam::{DEFAULT_ACCOUNT_ID}:role/any"
PATIENCE_S = 20


@dataclass(frozen=True)
class Ran:
    """How an execution ended: its status, error, cause and output, and the (subject, message) of each mail."""

    status: str
    error: str | None
    cause: str | None
    output: Any
    mails: list[tuple[str, str]]
    attributes: list[dict[str, str]]  # of each mail's message


def run(
    machine: Machine, start: str, data: dict[str, Any], *, topic: bool = True, answers: dict[str, Any] | None = None
) -> Ran:
    """Runs from `start` on.

    Args:
        topic: whether the topic that the machine publishes to is there.
        answers: what the functions answer, by the names of the states that call them.
    """
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        sns = boto3.client("sns", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
        arn = sns.create_topic(Name="alerts")["TopicArn"] if topic else f"arn:aws:sns:{REGION}:{DEFAULT_ACCOUNT_ID}:no"
        definition = _from(machine, start, arn, answers or {})
        states = boto3.client("stepfunctions", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
        made = states.create_state_machine(name="m", roleArn=ROLE, definition=json.dumps(definition))
        began = states.start_execution(stateMachineArn=made["stateMachineArn"], name="e", input=json.dumps(data))
        told = _ended(states, began["executionArn"])
        sent = sns_backends[DEFAULT_ACCOUNT_ID][REGION].topics[arn].sent_notifications if topic else []
        mails = [(subject, message) for _, message, subject, *_ in sent]
        attributes = [{key: str(each["Value"]) for key, each in given.items()} for _, _, _, given, *_ in sent]
    output = json.loads(told["output"]) if told.get("output") else None
    return Ran(told["status"], told.get("error"), told.get("cause"), output, mails, attributes)


def events(machine: Machine, start: str, data: dict[str, Any], answers: dict[str, Sequence[Any]]) -> list[str]:
    """The types of the events of an execution from `start` on that ends well.

    Args:
        answers: what the functions answer in call after call, by the names of the states that call them.
    """
    config: Any = {"stepfunctions": {"execute_state_machine": True}, "lambda": {"use_docker": False}}
    with mock_aws(config=config):
        region = {"region_name": REGION, "aws_access_key_id": "x", "aws_secret_access_key": "x"}
        role = boto3.client("iam", **region).create_role(RoleName="any", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        definition = _from(machine, start, "", {})
        results = []
        for name, given in answers.items():
            code = {"ZipFile": b"-"}
            made = boto3.client("lambda", **region).create_function(
                FunctionName=name.lower(), Role=role, Code=code, Runtime="python3.12", Handler="a.b"
            )
            definition["States"][name]["Parameters"]["FunctionName"] = made["FunctionArn"]
            results += map(json.dumps, given)
        lambda_simple_backends[DEFAULT_ACCOUNT_ID][REGION].lambda_simple_results_queue = results
        states = boto3.client("stepfunctions", **region)
        found = states.create_state_machine(name="m", roleArn=ROLE, definition=json.dumps(definition))
        began = states.start_execution(stateMachineArn=found["stateMachineArn"], name="e", input=json.dumps(data))
        ended = _ended(states, began["executionArn"])
        assert ended["status"] == "SUCCEEDED", ended
        pages = states.get_paginator("get_execution_history").paginate(executionArn=began["executionArn"])
        return [event["type"] for page in pages for event in page["events"]]


def _from(machine: Machine, start: str, topic: str, answers: dict[str, Any]) -> dict[str, Any]:
    """The definition, begun elsewhere, with answers in place of functions, and without waiting between attempts. What
    can't be reached is left out: moto takes half a second to read it all."""
    states = json.loads(json.dumps(machine.states))
    for state in states.values():
        state.pop("Retry", None)
        if state.get("Resource", "").endswith(":sns:publish"):
            state["Parameters"]["TopicArn"] = topic
        if state["Type"] == "Wait":
            state.pop("SecondsPath", None)
            state["Seconds"] = 0
    for name, answer in answers.items():
        kept = {key: states[name][key] for key in ("ResultPath", "OutputPath", "Next") if key in states[name]}
        states[name] = {"Type": "Pass", "Result": {"Payload": answer}, **kept}
    return {"StartAt": start, "States": {name: states[name] for name in _reached(states, start)}}


def _reached(states: dict[str, Any], start: str) -> list[str]:
    found = [start]
    for name in found:
        found += [next_one for next_one in _followers(states[name]) if next_one not in found]
    return found


def _followers(state: dict[str, Any]) -> set[str]:
    ways = [state, *state.get("Choices", []), *state.get("Catch", [])]
    return {way[key] for way in ways for key in ("Next", "Default") if key in way}


def _ended(states: Any, execution: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        told: dict[str, Any] = states.describe_execution(executionArn=execution)
        if told["status"] != "RUNNING":
            return told
        time.sleep(0.02)
    raise TimeoutError(f"{execution} did not end")

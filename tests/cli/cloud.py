"""An environment on AWS, by moto: a stack with the outputs of the real one, a state machine that runs, logs, mails."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError

from aurora_migrations.cdk.naming import STACK_TAG, Names

REGION = "eu-west-1"
ROLE = "arn:aws:iam::123456789012:role/any"
STEPS = ("preflight", "apply", "verify")
DOCUMENT = {
    "error": "LockTimeout",
    "message": "A lock on orders was not to be had within 2 s.",
    "cause": "Another session holds a lock that the statement needs.",
    "state": "Nothing was changed.",
    "solution": "Run again when that session has ended, or end it.",
    "next_command": "aurora-migrations run 018 --env dev",
    "migration": "018",
    "applied": ["017"],
}


def caused(document: Mapping[str, Any]) -> str:
    """A Cause as Step Functions has it of a function that raised."""
    told = {"errorMessage": json.dumps(document), "errorType": document["error"], "stackTrace": []}
    return json.dumps(told)


def answering(answers: Mapping[str, Any]) -> dict[str, Any]:
    """A state machine that answers by action: with a document, or with a failure (a pair of error and cause)."""
    names = {action: f"Answer {action}" for action in answers}
    choices = [{"Variable": "$.action", "StringEquals": action, "Next": name} for action, name in names.items()]
    states: dict[str, Any] = {"What?": {"Type": "Choice", "Choices": choices}}
    for action, answer in answers.items():
        if isinstance(answer, tuple):
            states[names[action]] = {"Type": "Fail", "Error": answer[0], "Cause": answer[1]}
        else:
            states[names[action]] = {"Type": "Pass", "Result": answer, "End": True}
    return {"StartAt": "What?", "States": states}


def waiting(seconds: int = 60, answer: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A state machine that takes long."""
    told = answer or {"status": "success", "migration": None, "message": "Nothing to do"}
    wait = {"Type": "Wait", "Seconds": seconds, "Next": "Answer"}
    return {"StartAt": "Apply", "States": {"Apply": wait, "Answer": {"Type": "Pass", "Result": told, "End": True}}}


def stops_explained(patch: pytest.MonkeyPatch) -> None:
    """moto forgets with which words an execution was stopped; AWS has them in the event that ends its history."""
    real, words = botocore.client.BaseClient._make_api_call, {}

    def call(self: Any, name: str, parameters: Any) -> Any:
        answer = real(self, name, parameters)
        if name == "StopExecution":
            words.update(error=parameters["error"], cause=parameters["cause"])
        for event in answer.get("events", []):
            if event.get("type") == "ExecutionAborted":
                event["executionAbortedEventDetails"] = dict(words)
        return answer

    patch.setattr(botocore.client.BaseClient, "_make_api_call", call)


def interrupted(patch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, when an execution is read for the third time."""
    from aurora_migrations.cli.remote.environment import Environment

    reads, real = [], Environment.read

    def read(*arguments: Any) -> Any:
        reads.append(arguments)
        if len(reads) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    patch.setattr(Environment, "read", read)


def spoilt(
    patch: pytest.MonkeyPatch, operation: str, error: BaseException | tuple[str, str], *, before: bool = False
) -> None:
    """What AWS answers to this operation is lost: an error comes in its place, or `before` it did anything."""
    real = botocore.client.BaseClient._make_api_call

    def call(self: Any, name: str, parameters: Any) -> Any:
        if name != operation:
            return real(self, name, parameters)
        if not before:
            real(self, name, parameters)
        if isinstance(error, tuple):
            raise ClientError({"Error": {"Code": error[0], "Message": error[1]}}, name)
        raise error

    patch.setattr(botocore.client.BaseClient, "_make_api_call", call)


@dataclass
class Cloud:
    """What was deployed. Call `deploy` once."""

    environment: str = "dev"
    outputs: dict[str, str] = field(default_factory=dict)
    _clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = boto3.client(service, region_name=REGION)
        return self._clients[service]

    @property
    def names(self) -> Names:
        return Names(self.environment)

    def deploy(self, definition: Mapping[str, Any]) -> Cloud:
        """Makes the machine, the functions' log groups, the topic, the queue, and the stack that tells of them."""
        machine = self._make_machine(definition)
        topic = self.client("sns").create_topic(Name=self.names.of("alerts"))
        queue = self.client("sqs").create_queue(QueueName=self.names.of("dead-letters"))
        self.outputs = {
            "StateMachineArn": machine,
            "AlertTopicArn": topic["TopicArn"],
            "DeadLetterQueueUrl": queue["QueueUrl"],
        }
        for step in STEPS:
            group = self.names.function_log(step)
            self.client("logs").create_log_group(logGroupName=group)
            self.client("logs").create_log_stream(logGroupName=group, logStreamName="s")
            self.outputs[f"{step.capitalize()}FunctionLog"] = group
            self.outputs[f"{step.capitalize()}FunctionName"] = self.names.of(step)
        self.stack(self.outputs)
        return self

    def deploy_bare(self, definition: Mapping[str, Any]) -> Cloud:
        """Makes the machine and the stack only, in a third of the time: nobody reads the log then."""
        self.outputs = {"StateMachineArn": self._make_machine(definition)}
        self.stack(self.outputs)
        return self

    def deploy_several(self, environment: str, definitions: Mapping[str, Mapping[str, Any]]) -> None:
        """Makes the stack of an environment with several databases, and the machine of each, by its name."""
        stack = Names(environment).stack
        for name, definition in definitions.items():
            self.environment = f"{environment}-{name}"
            machine, id = self._make_machine(definition), name.capitalize()
            tag = {"key": STACK_TAG, "value": f"{stack}/{id}"}
            self.client("stepfunctions").tag_resource(resourceArn=machine, tags=[tag])
            self.outputs |= {f"{id}StateMachineArn": machine, f"{id}StateMachineName": self.names.of()}
        self.environment = environment
        self.stack(self.outputs)

    def _make_machine(self, definition: Mapping[str, Any]) -> str:
        states, name = self.client("stepfunctions"), self.names.of()
        made = states.create_state_machine(name=name, roleArn=ROLE, definition=json.dumps(definition))
        return str(made["stateMachineArn"])

    def stack(self, outputs: Mapping[str, str]) -> None:
        template = {
            "Resources": {"Any": {"Type": "AWS::SNS::Topic", "Properties": {}}},
            "Outputs": {name: {"Value": value} for name, value in outputs.items()},
        }
        self.client("cloudformation").create_stack(StackName=self.names.stack, TemplateBody=json.dumps(template))

    def make_functions(self, subnets: list[str], groups: list[str], secret: str) -> None:
        """The three functions, in a network."""
        role = self.client("iam").create_role(RoleName="any", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("a.py", "")
        for step in STEPS:
            self.client("lambda").create_function(
                FunctionName=self.names.of(step),
                Runtime="python3.11",
                Role=role,
                Handler="a.b",
                Code={"ZipFile": code.getvalue()},
                VpcConfig={"SubnetIds": subnets, "SecurityGroupIds": groups},
                Environment={"Variables": {"DATABASE_SECRET_ARN": secret}},
            )

    def network(self, zones: str = "ab") -> tuple[list[str], list[str]]:
        """Subnets of a VPC, one a zone, and a security group."""
        ec2 = self.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")
            for number, zone in enumerate(zones)
        ]
        group = ec2.create_security_group(GroupName="functions", Description="any", VpcId=vpc)["GroupId"]
        return [subnet["Subnet"]["SubnetId"] for subnet in subnets], [group]

    def log(self, step: str, execution: str, message: str, *, level: str = "INFO", **facts: Any) -> None:
        """What a function would have logged."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}+00:00"
        record = {"level": level, "message": message, "timestamp": stamp, "service": step}
        record |= {"correlation_id": execution, **facts}
        self.put(step, json.dumps(record))

    def put(self, step: str, text: str) -> None:
        event = {"timestamp": int(time.time() * 1000), "message": text}
        self.client("logs").put_log_events(
            logGroupName=self.names.function_log(step), logStreamName="s", logEvents=[event]
        )

    def start(self, asked: Mapping[str, str], name: str) -> str:
        """An execution that somebody else starts; returns its ARN."""
        states = self.client("stepfunctions")
        began = states.start_execution(
            stateMachineArn=self.outputs["StateMachineArn"], name=name, input=json.dumps(asked)
        )
        return str(began["executionArn"])

    def ended(self, arn: str) -> dict[str, Any]:
        """An execution, when it is over."""
        deadline = time.monotonic() + 20
        while True:
            told = self.client("stepfunctions").describe_execution(executionArn=arn)
            if told["status"] != "RUNNING":
                return dict(told)
            assert time.monotonic() < deadline, told
            time.sleep(0.02)

    def executions(self) -> list[dict[str, Any]]:
        """All there were, the newest first, with their inputs."""
        states = self.client("stepfunctions")
        found = states.list_executions(stateMachineArn=self.outputs["StateMachineArn"])["executions"]
        told = [states.describe_execution(executionArn=each["executionArn"]) for each in found]
        return [{**each, "input": json.loads(each["input"])} for each in told]

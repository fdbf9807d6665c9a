"""The things that an environment consists of and leans on: are they there, and fit for use? AWS's errors come as they
are. Each answer is a result, what was found, and what to do."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, Literal

from botocore.exceptions import ClientError

from aurora_migrations.cli.remote.environment import Place
from aurora_migrations.cli.remote.function_logs import STEPS

Look = Iterator[tuple[Literal["ok", "warn", "FAILED"], str, str]]
_FEW_ADDRESSES = 8
_PENDING = "PendingConfirmation"
_SUBJECT = "[{environment}] test of the migrations' mails"
_MAIL = """\
This is a test.

Mails about the migrations of {environment} reach you: failures, and runs that never began.
Somebody typed: aurora-migrations doctor --send-test-mail

There is nothing to do."""
_REDEPLOY = "Deploy the environment again."
_SETTINGS = "Correct the environment's settings in cdk.json, and deploy."

_ANOTHER_VERSION = f"{_REDEPLOY} Until then, use the version of aurora-migrations that deployed it."
_MAY_NOT_DECRYPT = "Ask whoever manages your role for kms:Decrypt on the key of the variables, and look again."
_KEY_UNFIT = "See in the console whether the key of the functions' variables is there and switched on."


class NotTold(Exception):
    """AWS answered, and left out what is needed to look further.

    Attributes:
        solution: what to do, in sentences.
    """

    def __init__(self, message: str, solution: str) -> None:
        super().__init__(message)
        self.solution = solution


def machine(place: Place, arguments: argparse.Namespace) -> Look:
    """The state machine."""
    told = place.client("stepfunctions").describe_state_machine(stateMachineArn=place.machine)
    status = told.get("status", "ACTIVE")
    yield (
        ("ok", f"{told['name']} is {status}", "")
        if status == "ACTIVE"
        else (
            "FAILED",
            f"{told['name']} is {status}",
            _REDEPLOY,
        )
    )


def functions(place: Place, arguments: argparse.Namespace) -> Look:
    """The three functions."""
    for step in STEPS:
        told = _configuration(place, step)
        name, state = told["FunctionName"], told.get("State", "Active")
        update = told.get("LastUpdateStatus", "Successful")
        if state == "Failed" or update == "Failed":
            why = told.get("StateReason") or told.get("LastUpdateStatusReason") or "AWS doesn't say why"
            yield "FAILED", f"{name} can't be called: {why}", _SETTINGS
        elif "Pending" in state or update == "InProgress":
            yield "warn", f"{name} is being made ready", "Wait a minute and look again."
        else:
            yield "ok", f"{name} is {state.lower()}", ""


def email(place: Place, arguments: argparse.Namespace) -> Look:
    """Who is mailed failures: an address receives nothing before its owner has clicked the link in Amazon's mail."""
    topic, client = _output(place, "AlertTopicArn"), place.client("sns")
    pages = client.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
    found = [each for page in pages for each in page["Subscriptions"] if each["Protocol"].startswith("email")]
    waiting = [each["Endpoint"] for each in found if each["SubscriptionArn"] == _PENDING]
    confirmed = len(found) - len(waiting)
    if waiting:
        click = f"Have {', '.join(waiting)} click the link in the mail from AWS Notifications (spam folder, too)."
        again = "If it is older than two days: deploy again with the address taken out, then with it."
        told = f"{confirmed} of {len(found)} addresses confirmed"
        yield "warn" if confirmed else "FAILED", told, f"{click} {again}"
    elif not found:
        yield "FAILED", "Nobody is mailed failures", "Add `emails` to the environment in cdk.json, and deploy."
    else:
        yield "ok", f"{confirmed} of {len(found)} addresses confirmed", ""
    if arguments.send_test_mail:
        subject, text = (words.format(environment=place.environment) for words in (_SUBJECT, _MAIL))
        client.publish(TopicArn=topic, Subject=subject, Message=text)
        yield "ok", f"A test mail was sent to {confirmed} addresses", ""


def network(place: Place, arguments: argparse.Namespace) -> Look:
    """The VPC, the subnets and the security groups that the functions stand in."""
    found = _configuration(place, "apply").get("VpcConfig") or {}
    if not found.get("SubnetIds"):
        yield "FAILED", "The functions stand in no VPC", _REDEPLOY
        return
    ec2 = place.client("ec2")
    try:
        subnets = ec2.describe_subnets(SubnetIds=found["SubnetIds"])["Subnets"]
        ec2.describe_security_groups(GroupIds=found["SecurityGroupIds"])
        (vpc,) = ec2.describe_vpcs(VpcIds=list({subnet["VpcId"] for subnet in subnets}))["Vpcs"]
    except ClientError as error:
        if "NotFound" not in str(error.response["Error"]["Code"]):
            raise
        yield "FAILED", str(error.response["Error"]["Message"]), _SETTINGS
        return
    yield from _subnets(subnets, vpc["VpcId"])


def _subnets(subnets: list[dict[str, Any]], vpc: str) -> Look:
    zones = sorted({subnet["AvailabilityZone"] for subnet in subnets})
    told = f"{vpc}: {', '.join(subnet['SubnetId'] for subnet in subnets)} in {', '.join(zones)}"
    full = [subnet["SubnetId"] for subnet in subnets if subnet.get("AvailableIpAddressCount", 256) < _FEW_ADDRESSES]
    if full:
        yield "warn", f"{told}; hardly an address is free in {', '.join(full)}", "Free some, or use another subnet."
    elif len(zones) == 1:
        yield "warn", told, "All subnets are in one zone: add one in another, so that the loss of a zone stops no run."
    else:
        yield "ok", told, ""


def secret(place: Place, arguments: argparse.Namespace) -> Look:
    """The secret with the database's login. Its value isn't read."""
    arn = _variable(place, "preflight", "DATABASE_SECRET_ARN")
    try:
        told = place.client("secretsmanager").describe_secret(SecretId=arn)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        yield "FAILED", f"There is no secret {arn}", f"Restore it. Or: {_SETTINGS[0].lower()}{_SETTINGS[1:]}"
        return
    if told.get("DeletedDate"):
        yield "FAILED", f"{told['Name']} is scheduled for deletion", "Restore it: aws secretsmanager restore-secret."
    else:
        yield "ok", f"{told['Name']} is there", ""


def dead_letters(place: Place, arguments: argparse.Namespace) -> Look:
    """Events that started nothing: of deployments, of the daily check, of a run's end."""
    wanted = "ApproximateNumberOfMessages"
    told = place.client("sqs").get_queue_attributes(
        QueueUrl=_output(place, "DeadLetterQueueUrl"), AttributeNames=[wanted]
    )
    count = int(told["Attributes"][wanted])
    if count:
        events = "1 event" if count == 1 else f"{count} events"
        yield "warn", f"{events} started nothing", "Run what is pending, then purge the queue in the console."
    else:
        yield "ok", "Every event has started what it should", ""


def _configuration(place: Place, step: str) -> dict[str, Any]:
    name = _output(place, f"{step.capitalize()}FunctionName")
    told: dict[str, Any] = place.client("lambda").get_function_configuration(FunctionName=name)
    return told


def _variable(place: Place, step: str, name: str) -> str:
    """A variable of a function. To a role that may not decrypt them, Lambda tells all else, and says why not these.

    Raises:
        NotTold: it may not be seen, or isn't there.
    """
    told = _configuration(place, step).get("Environment") or {}
    if error := told.get("Error"):
        code = str(error.get("ErrorCode", "no reason"))
        solution = _MAY_NOT_DECRYPT if "AccessDenied" in code else _KEY_UNFIT
        raise NotTold(f"Lambda couldn't decrypt the variables of {step} ({code})", solution)
    if name not in told.get("Variables", {}):
        raise NotTold(f"{place.stack} was deployed by another version: {step} has no {name}", _ANOTHER_VERSION)
    return str(told["Variables"][name])


def _output(place: Place, name: str) -> str:
    """What the stack tells under this name.

    Raises:
        NotTold: it doesn't.
    """
    if name not in place.outputs:
        raise NotTold(f"{place.stack} was deployed by another version: it doesn't tell {name}", _ANOTHER_VERSION)
    return place.outputs[name]

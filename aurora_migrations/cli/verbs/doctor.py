"""`aurora-migrations doctor`: checks an environment and shows how to fix it: its stack, what it consists of and depends
on, its last run and its database. A check that can't be made doesn't keep the others from being made."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from botocore.exceptions import ClientError

from aurora_migrations.cli import options
from aurora_migrations.cli.output import (
    Display,
    Styled,
    note,
    paragraph,
    plural,
    print_json,
    show,
    show_styled,
    state_style,
)
from aurora_migrations.cli.remote.aws_errors import CALL_ERRORS, AccessDenied, error_of, to_cloud_error
from aurora_migrations.cli.remote.client import execute_in
from aurora_migrations.cli.remote.environment import RUNNING, Environment, iso, open_environment
from aurora_migrations.cli.remote.progress import STEPS
from aurora_migrations.engine import MigratorError
from aurora_migrations.engine.errors import PROGRAM, NextCommand

_BROKEN = ("FAILED", "ROLLBACK_COMPLETE", "DELETE")
_STABLE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")
_FEW_ADDRESSES = 8
_SUBJECT = "[{environment}] test of the migrations' mails"
_MAIL = """\
This is a test.

Mails about the migrations of {environment} reach you: failures, and runs that never began.
Somebody typed: aurora-migrations doctor --send-test-mail

There is nothing to do."""
_REDEPLOY = "Deploy the environment again."
_SETTINGS = "Correct the environment's settings in cdk.json, and deploy."
_OTHERWISE = "Another version may have deployed the environment: deploy it again, with this one."
_ANOTHER_VERSION = f"{_REDEPLOY} Until then, use the version of aurora-migrations that deployed it."
_MAY_NOT_DECRYPT = "Ask whoever manages your role for kms:Decrypt on the key of the variables, and check again."
_KEY_UNFIT = "Check in the console that the key of the functions' variables exists and is enabled."


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "doctor",
        "Checks login, stack, functions, e-mail, network, secret, the last run and, with a read-only execution, the "
        "database, and shows how to fix what is wrong. Exits with 1 if a check FAILED: migrations can't run, or "
        "nobody would receive their failures.",
        "doctor --env dev",
        "doctor --env dev --send-test-mail",
    )
    parser.add_argument("--send-test-mail", action="store_true", help="send a mail to everyone in `emails`")
    options.add_where(parser, database=False)
    arguments = options.parse(parser, argv)
    found: list[Finding] = []
    try:
        with open_environment(arguments) as environment:
            for finding in examine(environment, arguments):
                found.append(finding)
                if arguments.output == "text":
                    finding.print()
    except MigratorError as error:
        return options.fail(error, "doctor", arguments)
    well = all(finding.result != "FAILED" for finding in found)
    if arguments.output == "json":
        print_json({"ok": well, "checks": [asdict(finding) for finding in found]})
    elif not well:
        note("\nSome checks failed. The fix is under each.")
    return 0 if well else 1


@dataclass(frozen=True)
class Finding:
    """What a check found, and what to do about it; nothing to do if all is well."""

    check: str
    result: Literal["ok", "warn", "FAILED"]
    message: str
    solution: str = ""

    def print(self) -> None:
        """Prints the finding for people."""
        text = paragraph(f"{self.result:6}  {self.check:12}  ", self.message, sys.stdout)
        show_styled(Styled((text[:6], state_style(self.result)), (text[6:], "")))
        if self.solution:
            show(paragraph(f"{'':22}Do: ", self.solution, sys.stdout))


class NotShown(Exception):
    """AWS answered, and left out what a check needs."""

    def __init__(self, message: str, solution: str) -> None:
        super().__init__(message)
        self.solution = solution


Findings = Iterator[Finding]
Check = Callable[[Environment, argparse.Namespace], Findings]


def examine(environment: Environment, arguments: argparse.Namespace) -> Findings:
    """Every check in turn. Without a login or a stack there is nothing more to check."""
    for name, check in _CHECKS.items():
        if name == "network" and environment.endpoint is not None:  # the local cloud has none
            continue
        found = list(_made(name, check, environment, arguments))
        yield from found
        if name in ("login", "stack") and any(finding.result == "FAILED" for finding in found):
            return


def _made(name: str, check: Check, environment: Environment, arguments: argparse.Namespace) -> Findings:
    try:
        yield from check(environment, arguments)
    except (MigratorError, *CALL_ERRORS) as error:
        known = error if isinstance(error, MigratorError) else to_cloud_error(error)
        if isinstance(known, AccessDenied) and name != "login":  # it shows nothing about the environment
            yield Finding(name, "warn", f"Can't be checked: {known.message}", known.solution)
            return
        known = options.with_next_command(known, "status", arguments)
        following = "" if known.next_command.verb == "doctor" else f" Next: {known.next_command}"
        yield Finding(name, "FAILED", f"{known.name}: {known.message}", f"{known.solution}{following}")
    except NotShown as error:
        yield Finding(name, "warn", f"Can't be checked: {error}", error.solution)
    except LookupError as error:
        yield Finding(name, "warn", f"Can't be checked: the answer has no {error}", _OTHERWISE)


def _login(environment: Environment, arguments: argparse.Namespace) -> Findings:
    _ = environment.region  # first: without one STS can't be called
    yield Finding("login", "ok", environment.introduction)


def _stack(environment: Environment, arguments: argparse.Namespace) -> Findings:
    status = str(environment.described["StackStatus"])
    message = f"{environment.stack} is {status}"
    if status in _STABLE:
        yield Finding("stack", "ok", message)
    elif status.startswith("UPDATE_ROLLBACK") and not status.endswith("FAILED"):
        yield Finding("stack", "warn", message, "The last deployment failed and what was before is back: deploy again.")
    elif any(word in status for word in _BROKEN):
        yield Finding("stack", "FAILED", message, "See the stack's events in the console, and deploy again.")
    else:
        yield Finding("stack", "warn", message, "A deployment is under way: wait for it to end.")
    _ = environment.outputs  # StackNotReady, if there is no machine yet


def _machine(environment: Environment, arguments: argparse.Namespace) -> Findings:
    found = environment.client("stepfunctions").describe_state_machine(stateMachineArn=environment.machine)
    status = found.get("status", "ACTIVE")
    active, message = status == "ACTIVE", f"{found['name']} is {status}"
    yield Finding("machine", "ok", message) if active else Finding("machine", "FAILED", message, _REDEPLOY)


def _functions(environment: Environment, arguments: argparse.Namespace) -> Findings:
    for step in STEPS:
        found = _configuration(environment, step)
        name, state = found["FunctionName"], found.get("State", "Active")
        update = found.get("LastUpdateStatus", "Successful")
        if state == "Failed" or update == "Failed":
            why = found.get("StateReason") or found.get("LastUpdateStatusReason") or "AWS gives no reason"
            yield Finding("functions", "FAILED", f"{name} can't be called: {why}", _SETTINGS)
        elif "Pending" in state or update == "InProgress":
            yield Finding("functions", "warn", f"{name} is being updated", "Wait a minute and check again.")
        else:
            yield Finding("functions", "ok", f"{name} is {state.lower()}")


def _email(environment: Environment, arguments: argparse.Namespace) -> Findings:
    """Who receives mails about failures: nobody before they have clicked the link in Amazon's mail."""
    topic, client = _output(environment, "AlertTopicArn"), environment.client("sns")
    pages = client.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
    found = [each for page in pages for each in page["Subscriptions"] if each["Protocol"].startswith("email")]
    waiting = [each["Endpoint"] for each in found if each["SubscriptionArn"] == "PendingConfirmation"]
    confirmed = len(found) - len(waiting)
    message = f"{confirmed} of {len(found)} addresses confirmed"
    if waiting:
        click = f"Have {', '.join(waiting)} click the link in the mail from AWS Notifications (spam folder, too)."
        again = "If it is older than two days: deploy again with the address taken out, then with it."
        yield Finding("e-mail", "warn" if confirmed else "FAILED", message, f"{click} {again}")
    elif not found:
        add = "Add `emails` to the environment in cdk.json, and deploy."
        yield Finding("e-mail", "FAILED", "Nobody is mailed failures", add)
    else:
        yield Finding("e-mail", "ok", message)
    if arguments.send_test_mail:
        subject, text = (words.format(environment=environment.name) for words in (_SUBJECT, _MAIL))
        client.publish(TopicArn=topic, Subject=subject, Message=text)
        yield Finding("e-mail", "ok", f"A test mail was sent to {confirmed} addresses")


def _network(environment: Environment, arguments: argparse.Namespace) -> Findings:
    found = _configuration(environment, "apply").get("VpcConfig") or {}
    if not found.get("SubnetIds"):
        yield Finding("network", "FAILED", "The functions aren't in a VPC", _REDEPLOY)
        return
    ec2 = environment.client("ec2")
    try:
        subnets = ec2.describe_subnets(SubnetIds=found["SubnetIds"])["Subnets"]
        ec2.describe_security_groups(GroupIds=found["SecurityGroupIds"])
        (vpc,) = ec2.describe_vpcs(VpcIds=list({subnet["VpcId"] for subnet in subnets}))["Vpcs"]
    except ClientError as error:
        if "NotFound" not in str(error.response["Error"]["Code"]):
            raise
        yield Finding("network", "FAILED", str(error.response["Error"]["Message"]), _SETTINGS)
        return
    zones = sorted({subnet["AvailabilityZone"] for subnet in subnets})
    message = f"{vpc['VpcId']}: {', '.join(subnet['SubnetId'] for subnet in subnets)} in {', '.join(zones)}"
    full = [subnet["SubnetId"] for subnet in subnets if subnet.get("AvailableIpAddressCount", 256) < _FEW_ADDRESSES]
    if full:
        message += f"; hardly any free addresses in {', '.join(full)}"
        yield Finding("network", "warn", message, "Free some, or use another subnet.")
    elif len(zones) == 1:
        another = "All subnets are in one zone: add one in another, so that runs survive the loss of a zone."
        yield Finding("network", "warn", message, another)
    else:
        yield Finding("network", "ok", message)


def _secret(environment: Environment, arguments: argparse.Namespace) -> Findings:
    variables = _configuration(environment, "preflight").get("Environment") or {}
    # To a role that may not decrypt them, Lambda returns all else, and why not these.
    if refused := variables.get("Error"):
        code = str(refused.get("ErrorCode", "no reason"))
        solution = _MAY_NOT_DECRYPT if "AccessDenied" in code else _KEY_UNFIT
        raise NotShown(f"Lambda couldn't decrypt the variables of preflight ({code})", solution)
    arn = variables.get("Variables", {}).get("DATABASE_SECRET_ARN")
    if arn is None:
        missing = "preflight has no DATABASE_SECRET_ARN"
        raise NotShown(f"{environment.stack} was deployed by another version: {missing}", _ANOTHER_VERSION)
    try:  # its value isn't read
        found = environment.client("secretsmanager").describe_secret(SecretId=arn)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        restore = f"Restore it. Or: {_SETTINGS[0].lower()}{_SETTINGS[1:]}"
        yield Finding("secret", "FAILED", f"There is no secret {arn}", restore)
        return
    if found.get("DeletedDate"):
        restore = "Restore it: aws secretsmanager restore-secret."
        yield Finding("secret", "FAILED", f"{found['Name']} is scheduled for deletion", restore)
    else:
        yield Finding("secret", "ok", f"{found['Name']} is there")


def _dead_letters(environment: Environment, arguments: argparse.Namespace) -> Findings:
    """Events that started nothing: of deployments, of the daily check, of a run's end."""
    key = "ApproximateNumberOfMessages"
    queue = _output(environment, "DeadLetterQueueUrl")
    found = environment.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=[key])
    if count := int(found["Attributes"][key]):
        purge = "Run what is pending, then purge the queue in the console."
        yield Finding("dead letters", "warn", f"{plural(count, 'event')} started nothing", purge)
    else:
        yield Finding("dead letters", "ok", "Every event started its execution")


def _last_run(environment: Environment, arguments: argparse.Namespace) -> Findings:
    last = environment.last_run()
    if last is None:
        yield Finding("last run", "warn", "Nothing has been run yet", _command("run", arguments))
        return
    if last.status in (RUNNING, "SUCCEEDED"):
        word = "is under way since" if last.status == RUNNING else "succeeded; it was started"
        yield Finding("last run", "ok", f"{last.name} {word} {iso(last.started_at)}")
        return
    message = f"{last.name}, started {iso(last.started_at)}, ended by {error_of(last).name}"
    yield Finding("last run", "warn", message, _command(f"logs {last.name}", arguments))


def _database(environment: Environment, arguments: argparse.Namespace) -> Findings:
    """By an execution, which needs what a run needs: function, secret and network."""
    name = options.execution_name(options.READ_ONLY)
    status = execute_in(environment, arguments, name, {"action": "status"}, Display())
    message = f"{status['database']} as {status['user']}, PostgreSQL {status['server_version']}"
    yield Finding("database", "ok", message)
    if not status["sound"]:
        yield Finding("migrations", "FAILED", status["message"], _command("status", arguments))
    elif status["counts"]["pending"] or status["counts"]["partly applied"]:
        yield Finding("migrations", "warn", status["message"], _command("run", arguments))
    else:
        yield Finding("migrations", "ok", status["message"])


def _configuration(environment: Environment, step: str) -> dict[str, Any]:
    name = _output(environment, f"{step.capitalize()}FunctionName")
    found: dict[str, Any] = environment.client("lambda").get_function_configuration(FunctionName=name)
    return found


def _output(environment: Environment, name: str) -> str:
    if name not in environment.outputs:
        raise NotShown(
            f"{environment.stack} was deployed by another version: it has no output {name}", _ANOTHER_VERSION
        )
    return environment.outputs[name]


def _command(command: str, arguments: argparse.Namespace) -> str:
    return str(options.with_current_flags(NextCommand.parse(f"{PROGRAM} {command}"), arguments))


_CHECKS: dict[str, Check] = {
    "login": _login,
    "stack": _stack,
    "machine": _machine,
    "functions": _functions,
    "e-mail": _email,
    "network": _network,
    "secret": _secret,
    "dead letters": _dead_letters,
    "last run": _last_run,
    "database": _database,
}

"""CloudFormation: deploys the template into moto, with the resources that moto lacks or doesn't run.

An account is made first that has what the template expects: network, secret, parameters, bucket.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from moto.awslambda.models import lambda_backends
from moto.cloudformation.models import cloudformation_backends
from moto.cloudformation.parsing import get_model_map
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.ec2.models import ec2_backends
from moto.logs.models import LogGroup as MotoLogGroup
from moto.s3.models import s3_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.sns.models import sns_backends
from moto.ssm.models import ssm_backends
from moto.stepfunctions.models import StepFunctionBackend
from moto.stepfunctions.parser.models import stepfunctions_parser_backends

from aurora_migrations.cdk.naming import ALIAS, Names
from aurora_migrations.local.account import ACCOUNT, ENVIRONMENT, PARAMETERS, PARTITION, REGION
from aurora_migrations.local.database_login import Login

BUCKET = "local-packages"
FUNCTIONS = tuple(Names(ENVIRONMENT).of(function) for function in ("preflight", "apply", "verify"))
LONGEST_WAIT_S = 1  # of a state machine in a hurry
_BOOTSTRAPPED = {"/cdk-bootstrap/hnb659fds/version": "30"}
_Json = dict[str, Any]


@dataclass(frozen=True)
class Stack:
    """The deployed stack: its ARN, its outputs, and the ARN of the database's secret."""

    arn: str
    outputs: Mapping[str, str]
    secret: str


def deploy(template: str, package: str, login: Login, *, hurry: bool) -> Stack:
    """Makes everything in the template.

    Args:
        package: the key of the functions' package.
        hurry: whether waits of the state machines are shortened.
    """
    StateMachine.hurry = hurry
    kinds: dict[str, Any] = {resource.kind: resource for resource in RESOURCES}
    get_model_map().update(dict.fromkeys(_IGNORED, _Resource) | kinds)
    secret = _make_account(login, package)
    places = {"LambdaSourceBucketName": BUCKET, "LambdaSourceObjectKey": package}
    names = json.loads(template)["Parameters"]
    parameters = {name: value for name in names for place, value in places.items() if place in name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: Any = cloudformation_backends[ACCOUNT][REGION].create_stack(
            Names(ENVIRONMENT).stack, template, parameters
        )
    return Stack(made.stack_id, {output["OutputKey"]: output["OutputValue"] for output in made.outputs}, secret)


def deploy_package(package: str) -> None:
    """Gives the functions another package: new code, a new version, and the alias on it."""
    _upload(package)
    backend = lambda_backends[ACCOUNT][REGION]
    for name in FUNCTIONS:
        backend.get_function(name).update_function_code({"S3Bucket": BUCKET, "S3Key": package})
        version: Any = backend.publish_version(name)
        backend.update_alias(ALIAS, name, str(version.version), "", "")


def roles() -> list[str]:
    """The ARNs of the functions' roles."""
    backend = lambda_backends[ACCOUNT][REGION]
    return [str(backend.get_function(name).role) for name in FUNCTIONS]


def _make_account(login: Login, package: str) -> str:
    """What another stack, the console and `cdk bootstrap` make on AWS; returns the secret's ARN."""
    network = ec2_backends[ACCOUNT][REGION]
    vpc = network.default_vpc.id
    subnets = [subnet.id for zone in network.subnets.values() for subnet in zone.values()]
    groups = [group.id for group in network.groups[vpc].values()]
    secrets = secretsmanager_backends[ACCOUNT][REGION]
    made = secrets.create_secret("local/database", login.secret, None, None, [], None, None, [], False)
    secret = str(json.loads(made)["ARN"])
    values = {"vpc": vpc, "subnet": subnets[0], "group": groups[0], "secret": secret}
    where = {"host": login.host, "port": str(login.port), "database": login.database}
    parameters = {f"{PARAMETERS}/{name}": value for name, value in {**values, **where}.items()}
    for name, value in {**parameters, **_BOOTSTRAPPED}.items():
        ssm_backends[ACCOUNT][REGION].put_parameter(name, "", value, "String", "", "", False, [], "text", None, None)
    s3_backends[ACCOUNT][PARTITION].create_bucket(BUCKET, REGION)
    _upload(package)
    return secret


def _upload(package: str) -> None:
    """Puts an object under the package's key. The package itself stays in its folder, from which it runs."""
    s3_backends[ACCOUNT][PARTITION].put_object(BUCKET, package, package.encode())


def shorten_waits(definition: str) -> str:
    """A state machine's definition in which waits, and the pauses between attempts, take a second at most.

    What is retried, and how often, stays as it is.
    """
    machine = json.loads(definition)
    for state in machine["States"].values():
        if state["Type"] == "Wait" and "Seconds" in state:
            state["Seconds"] = min(state["Seconds"], LONGEST_WAIT_S)
        if state["Type"] == "Wait" and state.pop("SecondsPath", None):  # a number that the execution computes
            state["Seconds"] = LONGEST_WAIT_S
        for retry in state.get("Retry", []):
            retry["IntervalSeconds"] = min(retry.get("IntervalSeconds", 1), LONGEST_WAIT_S)
            retry["MaxDelaySeconds"] = LONGEST_WAIT_S + 1  # the language wants it above the interval
            retry["BackoffRate"] = 1.0
    return json.dumps(machine)


# ---- resources ------------------------------------------------------------------------------------------------------


class _Resource(CloudFormationModel):
    """A kind of resource for moto's CloudFormation. This base class has no effect on a laptop.

    Resources are only ever created: what changes later is deployed as a new package.
    """

    kind: ClassVar[str] = "AWS::Local::Resource"

    def __init__(self, physical_id: str, **attributes: str) -> None:
        self.physical_resource_id = physical_id
        self._attributes = attributes

    @classmethod
    def cloudformation_type(cls) -> str:
        return cls.kind

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return True

    def get_cfn_attribute(self, name: str) -> str:
        return self._attributes[name]

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: _Json, account_id: str, region_name: str, **more: Any
    ) -> Any:
        return cls.make(cloudformation_json["Properties"], account_id, region_name)

    @classmethod
    def make(cls, properties: _Json, account: str, region: str) -> Any:
        """Makes it in moto's service."""
        return cls(cls.kind)


class LogGroup(_Resource):
    """A log group whose ARN ends in `:*` as on AWS, so that a right to write to it covers its streams."""

    kind = "AWS::Logs::LogGroup"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: _Json, account_id: str, region_name: str, **more: Any
    ) -> LogGroup:
        made = MotoLogGroup.create_from_cloudformation_json(
            resource_name, cloudformation_json, account_id, region_name, **more
        )
        return cls(made.name, Arn=f"{made.arn}:*")


class Version(_Resource):
    """A function's version, whose number an alias refers to."""

    kind = "AWS::Lambda::Version"

    @classmethod
    def make(cls, properties: _Json, account: str, region: str) -> Version:
        name = properties["FunctionName"]
        made: Any = lambda_backends[account][region].publish_version(name)
        return cls(f"{name}:{made.version}", Version=str(made.version))


class Alias(_Resource):
    """A function's alias."""

    kind = "AWS::Lambda::Alias"

    @classmethod
    def make(cls, properties: _Json, account: str, region: str) -> Alias:
        wanted = (properties["Name"], properties["FunctionName"], properties["FunctionVersion"], "", "")
        return cls(lambda_backends[account][region].create_alias(*wanted).arn)


class StateMachine(_Resource):
    """A state machine, made in the backend that interprets it: moto's CloudFormation uses one that runs nothing."""

    kind = "AWS::StepFunctions::StateMachine"
    hurry: ClassVar[bool]

    @classmethod
    def make(cls, properties: _Json, account: str, region: str) -> Any:
        backend = stepfunctions_parser_backends[account][region]
        definition = properties["DefinitionString"]
        # Without moto's own check of the definition, which takes half a second: it is read again by each execution.
        return StepFunctionBackend.create_state_machine(
            backend,
            properties["StateMachineName"],
            shorten_waits(definition) if cls.hurry else definition,
            properties["RoleArn"],
        )


class Subscription(_Resource):
    """A topic's subscriber."""

    kind = "AWS::SNS::Subscription"

    @classmethod
    def make(cls, properties: _Json, account: str, region: str) -> Subscription:
        wanted = (properties["TopicArn"], properties["Endpoint"], properties["Protocol"])
        return cls(sns_backends[account][region].subscribe(*wanted).arn)


class Alarm(_Resource):
    """An alarm. moto only keeps it; eventbridge.py raises the one for dead letters."""

    kind = "AWS::CloudWatch::Alarm"

    @classmethod
    def make(cls, properties: _Json, account: str, region: str) -> Alarm:
        made = cloudwatch_backends[account][region].put_metric_alarm(
            name=properties["AlarmName"],
            namespace=properties["Namespace"],
            metric_name=properties["MetricName"],
            comparison_operator=properties["ComparisonOperator"],
            evaluation_periods=properties["EvaluationPeriods"],
            period=properties["Period"],
            threshold=properties["Threshold"],
            statistic=properties["Statistic"],
            description=properties["AlarmDescription"],
            dimensions=properties["Dimensions"],
            alarm_actions=properties["AlarmActions"],
        )
        return cls(made.name, Arn=made.alarm_arn)


RESOURCES: tuple[type[_Resource], ...] = (LogGroup, Version, Alias, StateMachine, Subscription, Alarm)
_IGNORED = (
    "AWS::EC2::SecurityGroupEgress",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
)

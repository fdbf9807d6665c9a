"""CloudFormation: deploys the template into moto, with the resources that moto lacks or doesn't run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from moto.awslambda.models import lambda_backends
from moto.cloudformation.models import cloudformation_backends
from moto.cloudformation.parsing import get_model_map
from moto.cloudwatch.models import cloudwatch_backends
from moto.ec2.models import ec2_backends
from moto.logs.models import LogGroup as MotoLogGroup
from moto.s3.models import s3_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.sns.models import sns_backends
from moto.ssm.models import ssm_backends
from moto.stepfunctions.models import StepFunctionBackend
from moto.stepfunctions.parser.models import stepfunctions_parser_backends

from aurora_migrations.cdk.naming import ALIAS
from aurora_migrations.local.account import ACCOUNT, PARAMETERS, PARTITION, REGION
from aurora_migrations.local.cloud.services.custom_resources import CustomResource, DeploymentFailed, Invoke
from aurora_migrations.local.database_login import Login

BUCKET = "local-packages"
LONGEST_WAIT_S = 1  # of a state machine in a hurry
_BOOTSTRAPPED = {"/cdk-bootstrap/hnb659fds/version": "30"}
_Json = dict[str, Any]


@dataclass(frozen=True)
class Stack:
    """The deployed stack. `secret` is the ARN of the database's secret."""

    arn: str
    outputs: Mapping[str, str]
    secret: str
    custom_resources: list[CustomResource] = field(default_factory=list)

    def output(self, name: str) -> str:
        """An output's value; in a stack of others its name begins with the construct's."""
        return next(value for key, value in self.outputs.items() if key.endswith(name))

    def update(self, package: str, invoke: Invoke) -> None:
        """Deploys another package, and rolls back if a custom resource fails.

        Raises:
            DeploymentFailed: what was deployed before is deployed again.
        """
        if not self.custom_resources:  # nothing can fail
            deploy_package(package)
            return
        before = _current_package()
        try:
            self._move("UPDATE", package, invoke)
        except DeploymentFailed:
            self._move("UPDATE_ROLLBACK", before, invoke)
            raise

    def _move(self, status: str, package: str, invoke: Invoke) -> None:
        stack: Any = cloudformation_backends[ACCOUNT][REGION].stacks[self.arn]
        stack.status = f"{status}_IN_PROGRESS"
        deploy_package(package)
        try:
            for each in self.custom_resources:
                each.request("Update", invoke)
        except DeploymentFailed:
            stack.status = f"{status}_FAILED"
            raise
        stack.status = f"{status}_COMPLETE"


def deploy(name: str, template: str, package: str, login: Login, invoke: Invoke, *, hurry: bool) -> Stack:
    """Makes everything in a stack's template. `package` is the key of the functions' package; `invoke` calls a
    function.

    Raises:
        DeploymentFailed: a custom resource failed.
    """
    custom: list[CustomResource] = []
    kinds: dict[str, Any] = {kind: _Kind(make) for kind, make in _MAKERS.items()}
    kinds["AWS::StepFunctions::StateMachine"] = _Kind(partial(_make_state_machine, hurry))
    kinds["AWS::CloudFormation::CustomResource"] = _Custom(invoke, custom)
    get_model_map().update(kinds)
    secret = _make_account(login, package)
    places = {"LambdaSourceBucketName": BUCKET, "LambdaSourceObjectKey": package}
    known = json.loads(template)["Parameters"]
    parameters = {parameter: value for parameter in known for place, value in places.items() if place in parameter}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: Any = cloudformation_backends[ACCOUNT][REGION].create_stack(name, template, parameters)
    outputs = {output["OutputKey"]: output["OutputValue"] for output in made.outputs}
    return Stack(made.stack_id, outputs, secret, custom)


def deploy_package(package: str) -> None:
    """Gives the functions another package: new code, a new version, and the alias on it."""
    _upload(package)
    backend = lambda_backends[ACCOUNT][REGION]
    for name in functions():
        function: Any = backend.get_function(name)
        function.update_function_code({"S3Bucket": BUCKET, "S3Key": package})
        version: Any = backend.publish_version(name)
        backend.update_alias(ALIAS, name, str(version.version), "", "")


def functions() -> list[str]:
    """The names of the deployed functions."""
    return sorted({str(each.function_name) for each in lambda_backends[ACCOUNT][REGION].list_functions()})


def _current_package() -> str:
    found: Any = lambda_backends[ACCOUNT][REGION].get_function(functions()[0])
    return str(found.code["S3Key"])


def roles() -> list[str]:
    """The ARNs of the functions' roles."""
    backend = lambda_backends[ACCOUNT][REGION]
    return [str(backend.get_function(name).role) for name in functions()]


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
    """A state machine's definition in which waits, and the pauses between attempts, take a second at most."""
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


@dataclass(frozen=True)
class _Kind:
    """A kind of resource, as far as moto's CloudFormation needs one of its models.

    Resources are only ever created: what changes later is deployed as a new package.
    """

    make: Callable[[_Json], Any]

    def has_cfn_attr(self, attr: str) -> bool:
        return True

    def create_from_cloudformation_json(self, name: str, given: _Json, *where: str, **more: Any) -> Any:
        return self.make(given["Properties"])


@dataclass(frozen=True)
class _Custom:
    """The kind of custom resources: `made` gets those that there are."""

    invoke: Invoke
    made: list[CustomResource]

    def has_cfn_attr(self, attr: str) -> bool:
        return True

    def create_from_cloudformation_json(self, name: str, given: _Json, *where: str, **more: Any) -> Any:
        resource = CustomResource(more["StackId"], more["LogicalId"], "", given["Properties"])
        self.made.append(resource.request("Create", self.invoke))
        return _Resource(self.made[-1].physical_id)


class _Resource:
    def __init__(self, physical_id: str, **attributes: str) -> None:
        self.physical_resource_id = physical_id
        self._attributes = attributes

    def get_cfn_attribute(self, name: str) -> str:
        return self._attributes[name]

    def is_created(self) -> bool:
        return True


def _make_nothing(properties: _Json) -> _Resource:
    return _Resource("without effect on a laptop")


def _make_log_group(properties: _Json) -> _Resource:
    made = MotoLogGroup.create_from_cloudformation_json(
        properties["LogGroupName"], {"Properties": properties}, ACCOUNT, REGION
    )
    return _Resource(made.name, Arn=f"{made.arn}:*")  # as on AWS: a right to write to the group covers its streams


def _make_version(properties: _Json) -> _Resource:
    name = properties["FunctionName"]
    made: Any = lambda_backends[ACCOUNT][REGION].publish_version(name)
    return _Resource(f"{name}:{made.version}", Version=str(made.version))


def _make_alias(properties: _Json) -> _Resource:
    wanted = (properties["Name"], properties["FunctionName"], properties["FunctionVersion"], "", "")
    return _Resource(lambda_backends[ACCOUNT][REGION].create_alias(*wanted).arn)


def _make_state_machine(hurry: bool, properties: _Json) -> Any:
    """Makes it in the backend that interprets it: moto's CloudFormation uses one that runs nothing."""
    definition = properties["DefinitionString"]
    # Without moto's own check of the definition, which takes half a second: it is read again by each execution.
    return StepFunctionBackend.create_state_machine(
        stepfunctions_parser_backends[ACCOUNT][REGION],
        properties["StateMachineName"],
        shorten_waits(definition) if hurry else definition,
        properties["RoleArn"],
    )


def _make_subscription(properties: _Json) -> _Resource:
    wanted = (properties["TopicArn"], properties["Endpoint"], properties["Protocol"])
    return _Resource(sns_backends[ACCOUNT][REGION].subscribe(*wanted).arn)


def _make_alarm(properties: _Json) -> _Resource:
    """Only kept by moto; eventbridge.py raises the one for dead letters."""
    made = cloudwatch_backends[ACCOUNT][REGION].put_metric_alarm(
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
    return _Resource(made.name, Arn=made.alarm_arn)


_MAKERS: Mapping[str, Callable[[_Json], Any]] = {
    "AWS::Logs::LogGroup": _make_log_group,
    "AWS::Lambda::Version": _make_version,
    "AWS::Lambda::Alias": _make_alias,
    "AWS::SNS::Subscription": _make_subscription,
    "AWS::CloudWatch::Alarm": _make_alarm,
    "AWS::EC2::SecurityGroupEgress": _make_nothing,
    "AWS::EC2::SecurityGroupIngress": _make_nothing,
    "AWS::SNS::TopicPolicy": _make_nothing,
    "AWS::SQS::QueuePolicy": _make_nothing,
}

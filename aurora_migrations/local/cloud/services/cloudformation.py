"""The kinds of resources that moto's CloudFormation lacks, or keeps apart from what works: made in moto's services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from moto.awslambda.models import lambda_backends
from moto.cloudformation.parsing import get_model_map
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.logs.models import LogGroup as MotoLogGroup
from moto.sns.models import sns_backends
from moto.stepfunctions.models import StepFunctionBackend
from moto.stepfunctions.parser.models import stepfunctions_parser_backends

_Json = dict[str, Any]


class _Resource(CloudFormationModel):
    """What they have in common. A stack is made once: what changes later is deployed as a new package."""

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
        """Makes it in moto's service; nothing where it has no effect on a laptop."""
        return cls(cls.kind)


class LogGroup(_Resource):
    """A log group whose ARN is AWS's: it ends in `:*`, so that a right to write to it holds for its streams."""

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
    """A function's version, whose number an alias can ask for."""

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
    """A state machine, made where moto interprets it; its own kind lands where nothing is run."""

    kind = "AWS::StepFunctions::StateMachine"
    prepare: ClassVar[Callable[[str], str]]

    @classmethod
    def make(cls, properties: _Json, account: str, region: str) -> Any:
        backend = stepfunctions_parser_backends[account][region]
        definition = cls.prepare(properties["DefinitionString"])
        # Without moto's own check of the definition, which takes half a second: it is read again by each execution.
        return StepFunctionBackend.create_state_machine(
            backend, properties["StateMachineName"], definition, properties["RoleArn"]
        )


class Subscription(_Resource):
    """A topic's subscriber."""

    kind = "AWS::SNS::Subscription"

    @classmethod
    def make(cls, properties: _Json, account: str, region: str) -> Subscription:
        wanted = (properties["TopicArn"], properties["Endpoint"], properties["Protocol"])
        return cls(sns_backends[account][region].subscribe(*wanted).arn)


class Alarm(_Resource):
    """An alarm. moto keeps it; eventbridge.py rings the one of the dead letters."""

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


class _WithoutEffect(_Resource):
    """Something that nothing on a laptop looks at."""


class _Egress(_WithoutEffect):
    kind = "AWS::EC2::SecurityGroupEgress"


class _Ingress(_WithoutEffect):
    kind = "AWS::EC2::SecurityGroupIngress"


class _TopicPolicy(_WithoutEffect):
    kind = "AWS::SNS::TopicPolicy"


class _QueuePolicy(_WithoutEffect):
    kind = "AWS::SQS::QueuePolicy"


RESOURCES = (LogGroup, Version, Alias, StateMachine, Subscription, Alarm, _Egress, _Ingress, _TopicPolicy, _QueuePolicy)


def teach(prepare: Callable[[str], str]) -> None:
    """Has moto's CloudFormation know them; `prepare` makes of a definition the one to interpret."""
    StateMachine.prepare = staticmethod(prepare)
    get_model_map().update({resource.kind: resource for resource in RESOURCES})

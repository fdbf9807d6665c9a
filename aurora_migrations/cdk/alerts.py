"""The alert topic: an SNS topic with e-mail subscribers. Also the key that encrypts it, and the logs under that key."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from aurora_migrations.cdk.config import Environment
from aurora_migrations.cdk.naming import Names

USE_KEY = ("kms:Decrypt", "kms:GenerateDataKey")  # what sending to an encrypted topic or queue takes

_LOGS_USE_KEY = (
    "Decrypt",
    "DescribeKey",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
)


def make_key(scope: Construct, settings: Environment, *others: Environment) -> kms.Key:
    """The key of topic, queue and logs, open to the services that write to them; `others` are the environment's other
    databases.

    AWS documents the statements for EventBridge and CloudWatch without a condition on the source: with one, alarms and
    dead letters would be lost without a word.
    """
    key = kms.Key(
        scope,
        "Key",
        alias=f"alias/{Names(settings.shared_name).of()}",
        description=f"Alerts, dead letters and logs of the migrations of {settings.shared_name}",
        enable_key_rotation=True,
        removal_policy=cdk.RemovalPolicy.DESTROY,
    )
    for service in ("events.amazonaws.com", "cloudwatch.amazonaws.com"):
        key.add_to_resource_policy(
            iam.PolicyStatement(principals=[iam.ServicePrincipal(service)], actions=list(USE_KEY), resources=["*"])
        )
    stack = cdk.Stack.of(scope)
    gate = ("gate",) if settings.deployment == "waits" else ()
    groups = []
    for names in (Names(each.name) for each in (settings, *others)):
        groups += [names.function_log(function) for function in ("preflight", "apply", "verify", *gate)]
        groups += [names.machine_log(), *(names.machine_log(part) for part in ("notice", "daily", *gate))]
    arns = [
        stack.format_arn(
            service="logs", resource="log-group", resource_name=group, arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME
        )
        for group in groups
    ]
    key.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal(f"logs.{stack.region}.amazonaws.com")],
            actions=[f"kms:{action}" for action in _LOGS_USE_KEY],
            resources=["*"],
            conditions={"ArnEquals": {"kms:EncryptionContext:aws:logs:arn": arns}},
        )
    )
    return key


def make_log(scope: Construct, settings: Environment, key: kms.Key, group: str) -> logs.LogGroup:
    """A log group, encrypted, and kept as long as the settings require."""
    log = logs.LogGroup(
        scope, "Log", log_group_name=group, encryption_key=key, removal_policy=cdk.RemovalPolicy.DESTROY
    )
    template = log.node.default_child
    assert isinstance(template, logs.CfnLogGroup)
    template.retention_in_days = settings.log_retention_days  # a number, where LogGroup takes a name for each
    return log


class Alerts(Construct):
    """The topic that failures go to; with `shared`, that of all databases of an environment."""

    def __init__(
        self, scope: Construct, name: str, *, settings: Environment, key: kms.Key, shared: Alerts | None = None
    ) -> None:
        super().__init__(scope, name)
        self.key = key
        self.environment = settings.name
        self.chat = settings.chat
        self.topic: sns.Topic = self._make_topic(settings) if shared is None else shared.topic

    def _make_topic(self, settings: Environment) -> sns.Topic:
        topic = sns.Topic(
            self,
            "Topic",
            topic_name=Names(settings.shared_name).of("alerts"),
            display_name=f"Migrations {settings.shared_name}",
            master_key=self.key,
            enforce_ssl=True,
        )
        for email in settings.emails:
            topic.add_subscription(subscriptions.EmailSubscription(email))
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AlarmsMayPublish",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}},
            )
        )
        return topic

    def grant_publish(self, role: iam.IRole) -> None:
        """Lets a role send to the topic, and use its key: without the second, every message would be lost."""
        for actions, resource in ((["sns:Publish"], self.topic.topic_arn), (list(USE_KEY), self.key.key_arn)):
            role.add_to_principal_policy(iam.PolicyStatement(actions=actions, resources=[resource]))

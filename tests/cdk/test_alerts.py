"""Topic, queue and logs are encrypted, and those who write to them can use the key."""

from __future__ import annotations

from typing import Any

import pytest

from aurora_migrations.cdk.config import read_environments
from tests.cdk.cloud import ACCOUNT, REGION, Template, listed, some
from tests.cdk.conftest import context


def open_to(template: Template, service: str) -> dict[str, Any]:
    (key,) = template.of("KMS::Key")
    statements = key.properties["KeyPolicy"]["Statement"]
    (found,) = [s for s in statements if s["Principal"].get("Service") == service]
    return found


def test_everything_that_can_be_is_encrypted_with_one_rotating_key(template: Template) -> None:
    (key,) = template.of("KMS::Key")
    (topic,), (queue,) = template.of("SNS::Topic"), template.of("SQS::Queue")
    assert key.properties["EnableKeyRotation"] is True
    assert topic.properties["KmsMasterKeyId"] == f"<{key.id}.Arn>"
    assert queue.properties["KmsMasterKeyId"] == f"<{key.id}.Arn>"


@pytest.mark.parametrize("service", ["events.amazonaws.com", "cloudwatch.amazonaws.com"])
def test_services_that_send_may_use_the_key(service: str, template: Template) -> None:
    """EventBridge writes dead letters, CloudWatch's alarms publish. With a condition both would fail silently."""
    statement = open_to(template, service)
    assert {"kms:Decrypt", "kms:GenerateDataKey"} <= set(statement["Action"])
    assert "Condition" not in statement


def test_logs_may_use_the_key_for_the_log_groups_of_the_stack_and_no_others(template: Template) -> None:
    statement = open_to(template, f"logs.{REGION}.amazonaws.com")
    arns = statement["Condition"]["ArnEquals"]["kms:EncryptionContext:aws:logs:arn"]
    groups = [log.properties["LogGroupName"] for log in template.of("Logs::LogGroup")]
    assert set(arns) == {f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}" for group in groups}
    assert {"kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"} <= set(statement["Action"])


def test_topic_lets_alarms_of_this_account_publish_and_refuses_plain_http(template: Template) -> None:
    (policy,) = template.of("SNS::TopicPolicy")
    statements = policy.properties["PolicyDocument"]["Statement"]
    (alarms,) = [s for s in statements if s["Effect"] == "Allow"]
    assert alarms["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert alarms["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    (denied,) = [s for s in statements if s["Effect"] == "Deny"]
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_queue_takes_dead_letters_of_every_rule(template: Template) -> None:
    (policy,) = template.of("SQS::QueuePolicy")
    allowed = [s for s in policy.properties["PolicyDocument"]["Statement"] if s["Effect"] == "Allow"]
    sources = {source for s in allowed for source in listed(s["Condition"]["ArnEquals"]["aws:SourceArn"])}
    assert sources == {f"<{rule.id}.Arn>" for rule in template.of("Events::Rule")}
    assert all(s["Principal"] == {"Service": "events.amazonaws.com"} for s in some(allowed))


def test_everybody_set_is_mailed(template: Template, environment: str) -> None:
    emails = {each.properties["Endpoint"] for each in template.of("SNS::Subscription")}
    (settings,) = read_environments(context()["environments"], environment)
    assert emails == {*settings.emails}
    assert {each.properties["Protocol"] for each in template.of("SNS::Subscription")} == {"email"}

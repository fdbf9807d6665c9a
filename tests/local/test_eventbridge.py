"""The event bus and the inbox, on moto's services: what a rule's target is told, dead letters, the alarm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from aurora_migrations.local.account import REGION
from aurora_migrations.local.cloud.console import Console, Mail, Page, mails
from aurora_migrations.local.cloud.services.eventbridge import Bus, Sent
from aurora_migrations.local.cloud.services.iam import Refused

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:m"


class Cloud:
    """Rules as a template would make them, and what their machine was started with."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.broken = False
        self.bus = Bus(self._start)

    def _start(self, arn: str, text: str) -> str:
        if self.broken:
            raise LookupError(f"no machine {arn}")
        self.started.append(json.loads(text))
        return f"{arn}:1"

    def client(self, service: str) -> Any:
        return boto3.client(service, region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")

    def rule(self, pattern: dict[str, Any] | None = None, schedule: str = "", **target: Any) -> None:
        events = self.client("events")
        how = {"EventPattern": json.dumps(pattern)} if pattern else {"ScheduleExpression": schedule}
        events.put_rule(Name="rule", **how)
        events.put_targets(Rule="rule", Targets=[{"Id": "1", "Arn": MACHINE, **target}])


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with mock_aws():
        yield Cloud()


def test_a_matching_event_reaches_the_target_as_its_template_says(cloud: Cloud) -> None:
    paths = {"who": "$.detail.stack-id", "gone": "$.detail.nothing.here"}
    template = '{"trigger":"deploy","requested_by":<who>,"more":<gone>}'
    transformer = {"InputPathsMap": paths, "InputTemplate": template}
    cloud.rule({"source": ["aws.cloudformation"]}, InputTransformer=transformer)
    sent = cloud.bus.put("aws.cloudformation", "Status", {"stack-id": 'a "quoted" one'})
    assert sent.started == (f"{MACHINE}:1",)
    assert cloud.started == [{"trigger": "deploy", "requested_by": 'a "quoted" one', "more": ""}]
    assert cloud.bus.put("aws.other", "Status", {}).started == ()


def test_a_target_with_a_path_is_told_that_part_of_the_event(cloud: Cloud) -> None:
    cloud.rule({"source": ["aws.states"]}, InputPath="$.detail")
    cloud.bus.put("aws.states", "Status", {"input": '{"a": "b"}', "output": None})
    assert cloud.started == [{"input": '{"a": "b"}', "output": None}]


def test_a_target_without_a_template_is_told_the_event(cloud: Cloud) -> None:
    cloud.rule({"detail": {"a": [1]}})
    cloud.bus.put("mine", "Kind", {"a": 1}, ["arn:x"])
    (event,) = cloud.started
    assert (event["source"], event["detail-type"], event["detail"], event["resources"]) == (
        "mine",
        "Kind",
        {"a": 1},
        ["arn:x"],
    )


def test_a_schedule_fires_on_demand_with_its_fixed_input_and_never_by_an_event(cloud: Cloud) -> None:
    cloud.rule(schedule="cron(0 6 * * ? *)", Input='{"trigger":"daily"}')
    assert cloud.bus.put("aws.events", "Scheduled Event", {}).started == ()
    cloud.bus.fire("rule")
    assert cloud.started == [{"trigger": "daily"}]


def test_a_rule_that_is_switched_off_starts_nothing(cloud: Cloud) -> None:
    cloud.rule({"source": ["mine"]})
    cloud.client("events").disable_rule(Name="rule")
    assert cloud.bus.put("mine", "Kind", {}).started == ()


def test_an_event_that_starts_nothing_is_kept_with_the_reason(cloud: Cloud) -> None:
    queue = cloud.client("sqs").create_queue(QueueName="dead")["QueueUrl"]
    cloud.rule({"source": ["mine"]}, DeadLetterConfig={"Arn": f"arn:aws:sqs:{REGION}:123456789012:dead"})
    cloud.broken = True
    assert cloud.bus.put("mine", "Kind", {"a": 1}).started == ()
    (message,) = cloud.client("sqs").receive_message(QueueUrl=queue, MessageAttributeNames=["All"])["Messages"]
    assert json.loads(message["Body"])["detail"] == {"a": 1}
    assert message["MessageAttributes"]["ERROR_MESSAGE"]["StringValue"] == f"no machine {MACHINE}"


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({"DetailType": "a", "Detail": "{}"}, "InvalidArgument"),
        ({"Source": "a", "Detail": "{}"}, "InvalidArgument"),
        ({"Source": "a", "DetailType": "b"}, "InvalidArgument"),
        ({"Source": "a", "DetailType": "b", "Detail": "{"}, "MalformedDetail"),
        ({"Source": "a", "DetailType": "b", "Detail": "[1]"}, "MalformedDetail"),
        ({"Source": "a", "DetailType": "b", "Detail": "{}", "EventBusName": "mine"}, "ResourceNotFoundException"),
    ],
    ids=["no-source", "no-type", "no-detail", "no-json", "no-object", "another-bus"],
)
def test_an_entry_that_is_no_event_is_refused_as_by_aws(cloud: Cloud, entry: dict[str, str], code: str) -> None:
    answer = cloud.bus.put_entries([entry, {"Source": "a", "DetailType": "b", "Detail": "{}"}])
    assert answer["FailedEntryCount"] == 1
    assert answer["Entries"][0]["ErrorCode"] == code
    assert "EventId" in answer["Entries"][1]


@pytest.mark.parametrize("entries", [None, [], [{}] * 11], ids=["missing", "none", "too-many"])
def test_a_call_without_events_or_with_too_many_is_refused_as_by_aws(cloud: Cloud, entries: Any) -> None:
    with pytest.raises(Refused, match="ValidationException"):
        cloud.bus.put_entries(entries)


def test_mails_are_what_was_published_to_topics_with_readers(cloud: Cloud) -> None:
    sns = cloud.client("sns")
    read, unread = (sns.create_topic(Name=name)["TopicArn"] for name in ("read", "unread"))
    sns.subscribe(TopicArn=read, Protocol="email", Endpoint="a@example.com")
    for topic in (read, unread):
        sns.publish(TopicArn=topic, Subject="s", Message="m")
    assert mails() == [Mail(("a@example.com",), "s", "m")]


def page(method: str, path: str) -> Page:
    sent = Sent("id", ("arn:1",))
    mails = [Mail(("a@example.com",), "first <script>", "body & more"), Mail(("b@example.com",), "second", "b")]
    return Console(lambda: sent, lambda: sent, lambda: mails, lambda: "f1").answer(method, path)


def test_the_inbox_shows_the_newest_mail_first_and_nothing_of_it_is_markup() -> None:
    shown = page("GET", "/local/inbox").text
    assert shown.index("second") < shown.index("first &lt;script&gt;")
    assert "body &amp; more" in shown


def test_a_deployment_over_http_tells_what_it_has_started() -> None:
    assert json.loads(page("POST", "/local/deploy").text) == {"started": ["arn:1"]}
    assert page("GET", "/local/deploy").status.startswith("404")
    assert json.loads(page("GET", "/local/files").text) == {"fingerprint": "f1"}
    assert page("GET", "/local/nowhere").status.startswith("404")

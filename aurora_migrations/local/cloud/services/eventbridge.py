"""EventBridge's delivery, which moto lacks: events to the rules' state machines, dead letters, and their alarm.

moto has the rules, patterns and targets of the deployed template.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.events.models import events_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from aurora_migrations.local.account import ACCOUNT, REGION
from aurora_migrations.local.cloud.services.iam import Refused

_PLACEHOLDER = re.compile(r"<([\w.-]+)>")
_MOST = 10  # events per call


@dataclass(frozen=True)
class Sent:
    """An event that was sent.

    Attributes:
        started: the ARNs of the executions that it started.
    """

    id: str
    started: tuple[str, ...]


class Bus:
    """The default event bus."""

    def __init__(self, start: Callable[[str, str], str]) -> None:
        """`start` takes a state machine's ARN and an input in JSON, and returns the execution's ARN."""
        self._start = start

    def put(self, source: str, detail_type: str, detail: Mapping[str, Any], resources: Sequence[str] = ()) -> Sent:
        """Sends an event to the targets of every rule that matches it."""
        event = _event(source, detail_type, detail, resources)
        started: list[str] = []
        for rule in list(_rules().values()):
            pattern = rule.event_pattern.get_pattern()
            if rule.state == "ENABLED" and pattern and rule.event_pattern.matches_event(event):
                started += self._deliver(rule, event)
        return Sent(str(event["id"]), tuple(started))

    def put_entries(self, entries: Any) -> dict[str, Any]:
        """Performs PutEvents; returns the response.

        Raises:
            Refused: there are none, or too many.
        """
        if not isinstance(entries, list) or not 1 <= len(entries) <= _MOST:
            raise Refused("ValidationException", f"Entries must be a list of 1 to {_MOST} events.")
        results = [self._put_entry(entry) for entry in entries]
        return {"FailedEntryCount": sum("ErrorCode" in result for result in results), "Entries": results}

    def fire(self, name: str) -> Sent:
        """Runs a rule as its schedule does.

        Raises:
            KeyError: there is no such rule.
        """
        rule = _rules()[name]
        event = _event("aws.events", "Scheduled Event", {}, [rule.arn])
        return Sent(str(event["id"]), tuple(self._deliver(rule, event)))

    def _put_entry(self, entry: Mapping[str, Any]) -> dict[str, str]:
        if str(entry.get("EventBusName") or "default").rpartition("/")[2] != "default":
            return {"ErrorCode": "ResourceNotFoundException", "ErrorMessage": "Here is the bus `default` only."}
        missing = [key for key in ("Source", "DetailType", "Detail") if not entry.get(key)]
        if missing:
            return {"ErrorCode": "InvalidArgument", "ErrorMessage": f"Parameter {missing[0]} is not valid."}
        try:
            detail = json.loads(entry["Detail"])
        except ValueError:
            detail = None
        if not isinstance(detail, dict):
            return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
        return {"EventId": self.put(entry["Source"], entry["DetailType"], detail, entry.get("Resources") or []).id}

    def _deliver(self, rule: Any, event: Mapping[str, Any]) -> Iterator[str]:
        for target in rule.targets:
            text = _input(target, event)
            try:
                yield self._start(target["Arn"], text)
            except Exception as error:  # whatever it is, EventBridge keeps the event
                queue = str(target.get("DeadLetterConfig", {}).get("Arn", "")).rpartition(":")[2]
                if queue:
                    why = {"ERROR_CODE": type(error).__name__, "ERROR_MESSAGE": str(error)[:1_000]}
                    why |= {"RULE_ARN": rule.arn, "TARGET_ARN": target["Arn"]}
                    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in why.items()}
                    sqs_backends[ACCOUNT][REGION].send_message(queue, json.dumps(event), message_attributes=attributes)
                    _raise_alarms(queue)


def _rules() -> dict[str, Any]:
    rules: dict[str, Any] = events_backends[ACCOUNT][REGION].event_buses["default"].rules
    return rules


def _event(source: str, detail_type: str, detail: Mapping[str, Any], resources: Sequence[str]) -> dict[str, Any]:
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": detail_type,
        "source": source,
        "account": ACCOUNT,
        "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "region": REGION,
        "resources": list(resources),
        "detail": dict(detail),
    }


def _input(target: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    """A target's input: a fixed text, a part of the event, a template filled from the event, or the event."""
    if "Input" in target:
        return str(target["Input"])
    if "InputPath" in target:
        return json.dumps(_found(target["InputPath"], event))
    transformer = target.get("InputTransformer")
    if transformer is None:
        return json.dumps(event)
    paths = transformer.get("InputPathsMap", {})
    values = {name: _found(path, event) for name, path in paths.items()}
    return _PLACEHOLDER.sub(lambda found: json.dumps(values.get(found[1], "")), transformer["InputTemplate"])


def _found(path: str, event: Mapping[str, Any]) -> Any:
    """The value at a path such as `$.detail.stack-id`; an empty text if there is none."""
    found: Any = event
    for key in path.removeprefix("$.").split("."):
        found = found.get(key, "") if isinstance(found, Mapping) else ""
    return found


def _raise_alarms(queue: str) -> None:
    """Mails the alarms on messages sent to a queue, at once. CloudWatch does so after a while, one mail for several
    messages."""
    for alarm in cloudwatch_backends[ACCOUNT][REGION].alarms.values():
        watched = {dimension.name: dimension.value for dimension in alarm.dimensions or []}
        if watched.get("QueueName") == queue and alarm.metric_name == "NumberOfMessagesSent":
            text = f"{alarm.description}\n\nAlarm: {alarm.name}\nState: OK -> ALARM"
            for topic in alarm.alarm_actions:
                subject = f'ALARM: "{alarm.name}" in {REGION}'
                sns_backends[ACCOUNT][REGION].publish(text, arn=topic, subject=subject[:100])

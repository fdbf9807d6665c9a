"""The two states that every mail takes: write it into `$.mail`, or take it from where a function has written it; and
send it to the topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from aurora_migrations.cdk.alerts import Alerts
from aurora_migrations.cdk.conditions import is_text
from aurora_migrations.cdk.retries import MAIL
from aurora_migrations.cdk.states import try_again
from aurora_migrations.cdk.texts import Text

_MAIL = "$.mail"
_TIMEOUT = cdk.Duration.seconds(30)


def write(scope: Construct, name: str, text: Text) -> sfn.Pass:
    """A state that writes a mail."""
    parameters = {"subject": _filled(text.subject, text.subject_words), "body": _filled(text.body, text.words)}
    return sfn.Pass(scope, name, parameters=parameters, result_path=_MAIL)


def take(scope: Construct, name: str, path: str) -> sfn.Pass:
    """A state that takes a mail as a function has written it."""
    parameters = {part: sfn.JsonPath.string_at(f"{path}.{part}") for part in ("subject", "body")}
    return sfn.Pass(scope, name, parameters=parameters, result_path=_MAIL)


def is_written(path: str) -> sfn.Condition:
    """Whether a function has written a mail there."""
    return sfn.Condition.and_(*(is_text(f"{path}.{part}") for part in ("subject", "body")))


def send(scope: Construct, name: str, alerts: Alerts) -> tasks.SnsPublish:
    """A state that sends the mail in `$.mail`, and leaves the state's data as they are."""
    task = tasks.SnsPublish(
        scope,
        name,
        topic=alerts.topic,
        subject=sfn.JsonPath.string_at(f"{_MAIL}.subject"),
        message=sfn.TaskInput.from_json_path_at(f"{_MAIL}.body"),
        result_path=sfn.JsonPath.DISCARD,
        task_timeout=sfn.Timeout.duration(_TIMEOUT),
    )
    try_again(task, MAIL)
    return task


def parts(texts: Mapping[str, str], paths: Mapping[str, str]) -> dict[str, str]:
    """Texts by their names, each with what stands under its path in its place, if it has one."""
    return {name: _filled(text, (paths[name],) if "{}" in text else ()) for name, text in texts.items()}


def _filled(template: str, words: Sequence[str]) -> str:
    """A text with what stands under the paths in its places, as a machine makes it.

    Raises:
        ValueError: the text would break the machines' language.
    """
    if "'" in template or "\\" in template:
        raise ValueError(f"An apostrophe or backslash would end the text of a States.Format: {template!r}")
    if not words:
        return template
    arguments = ", ".join((f"'{template}'", *words))
    return sfn.JsonPath.string_at(f"States.Format({arguments})")

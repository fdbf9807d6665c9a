"""The two states that every mail takes: write it into `$.mail`, send it to the topic."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from infra.alerts import Alerts
from infra.machines import try_again
from infra.retries import MAIL

_MAIL = "$.mail"
_TIMEOUT = cdk.Duration.seconds(30)
_CONSOLE = "https://console.aws.amazon.com/states/home?region={region}#/v2/executions/details/{{}}"


def write(scope: Construct, name: str, *, subject: str, text: str, words: Sequence[str] = ()) -> sfn.Pass:
    """A state that writes a mail.

    Args:
        subject: ASCII, at most 100 characters with the first of `words` in place of its `{}`, if it has one.
        text: where each `{}` stands for the next of `words`.
        words: paths into the state.
    """
    for fixed in (subject, text):
        if "'" in fixed or "\\" in fixed:
            raise ValueError(f"An apostrophe or backslash would end the text of a States.Format: {fixed!r}")
    return sfn.Pass(
        scope,
        name,
        parameters={
            "subject": sfn.JsonPath.string_at(_format(subject, words[:1])) if "{}" in subject else subject,
            "message": sfn.JsonPath.string_at(_format(text, words)),
        },
        result_path=_MAIL,
    )


def execution(scope: Construct, name: str, arn: str) -> tuple[str, tuple[str, str]]:
    """The lines that lead to an execution, and the words in them. `name` and `arn` are paths."""
    link = _CONSOLE.format(region=cdk.Stack.of(scope).region)
    return f"Execution  {{}}\nConsole    {link}", (name, arn)


def send(scope: Construct, name: str, alerts: Alerts) -> tasks.SnsPublish:
    """A state that sends the mail in `$.mail`, and leaves the state's data as they are."""
    task = tasks.SnsPublish(
        scope,
        name,
        topic=alerts.topic,
        subject=sfn.JsonPath.string_at(f"{_MAIL}.subject"),
        message=sfn.TaskInput.from_json_path_at(f"{_MAIL}.message"),
        result_path=sfn.JsonPath.DISCARD,
        task_timeout=sfn.Timeout.duration(_TIMEOUT),
    )
    try_again(task, MAIL)
    return task


def _format(template: str, words: Sequence[str]) -> str:
    arguments = ", ".join((f"'{template}'", *words))
    return f"States.Format({arguments})"

"""Building blocks of the state machines: a machine with its log, function calls, mails, and conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from aurora_migrations.cdk.alerts import Alerts, make_log
from aurora_migrations.cdk.config import TASK_MARGIN_MS, Environment
from aurora_migrations.cdk.functions import Functions
from aurora_migrations.cdk.naming import Names
from aurora_migrations.cdk.retries import MAIL, Retry
from aurora_migrations.engine.steps import layout

_SENDING = cdk.Duration.seconds(30)


def make_machine(
    scope: Construct,
    part: str,
    settings: Environment,
    alerts: Alerts,
    diagram: sfn.IChainable,
    timeout_ms: int,
    mails: bool = True,
) -> tuple[sfn.StateMachine, logs.LogGroup]:
    """A standard state machine, with everything it does in an encrypted log; with `mails` it may send some. Its name
    ends in `part`, which is empty for the main state machine."""
    names, parts = Names(settings.name), [part] if part else []
    log = make_log(scope, settings, alerts.key, names.machine_log(*parts))
    machine = sfn.StateMachine(
        scope,
        "Machine",
        state_machine_name=names.of(*parts),
        state_machine_type=sfn.StateMachineType.STANDARD,
        definition_body=sfn.DefinitionBody.from_chainable(diagram),
        timeout=cdk.Duration.millis(timeout_ms),
        logs=sfn.LogOptions(destination=log, level=sfn.LogLevel.ALL, include_execution_data=True),
        tracing_enabled=True,
    )
    if mails:
        alerts.grant_publish(machine.role)
    return machine, log


# ---- calls of the functions -----------------------------------------------------------------------------------------


def report(
    scope: Construct,
    name: str,
    functions: Functions,
    about: str,
    *,
    trigger: str,
    into: str = "$",
    **more: Any,
) -> tasks.LambdaInvoke:
    """A call of preflight that reads the database and returns a mail about a `failure`, an `end` or what is `pending`:
    see its handler. By default the answer is all that is left of the state."""
    payload = {"input": {"action": "plan", "trigger": trigger}, "report": {"about": about, **more}}
    return invoke(scope, name, functions, "preflight", payload, into=into, output="$.Payload" if into == "$" else None)


def invoke(
    scope: Construct,
    name: str,
    functions: Functions,
    kind: str,
    payload: Mapping[str, Any],
    *,
    into: str,
    output: str | None = None,
) -> tasks.LambdaInvoke:
    """A call of a function, whose answer is in `Payload` under `into`; `output` is all that is left of the state."""
    execution = {
        "execution": sfn.JsonPath.execution_name,
        "execution_arn": sfn.JsonPath.execution_id,
        "started_at": sfn.JsonPath.execution_start_time,
    }
    task = tasks.LambdaInvoke(
        scope,
        name,
        lambda_function=functions.aliases[kind],
        payload=sfn.TaskInput.from_object({**execution, **payload}),
        result_selector={"Payload": sfn.JsonPath.object_at("$.Payload")},  # without the call's HTTP headers
        result_path=into,
        output_path=output,
        task_timeout=sfn.Timeout.duration(cdk.Duration.millis(functions.timeouts[kind] + TASK_MARGIN_MS)),
        retry_on_service_exceptions=False,  # it has no jitter or cap, and ignores throttling; ours follow
    )
    try_again(task, *functions.retries)
    return task


def try_again(task: sfn.TaskStateBase, *retries: Retry) -> None:
    for retry in retries:
        task.add_retry(
            errors=list(retry.errors),
            interval=cdk.Duration.seconds(retry.first_wait),
            max_attempts=retry.attempts,
            backoff_rate=2,
            max_delay=None if retry.longest_wait is None else cdk.Duration.seconds(retry.longest_wait),
            jitter_strategy=sfn.JitterType.FULL if retry.jitter else sfn.JitterType.NONE,
        )


# ---- mails ----------------------------------------------------------------------------------------------------------


def send(scope: Construct, name: str, alerts: Alerts, path: str) -> tasks.SnsPublish:
    """A state that sends the mail under a path, and leaves the state's data as they are. The message has attributes,
    by which a subscription can filter."""
    attributes = {key: sfn.JsonPath.string_at(f"{path}.{key}") for key in layout.ATTRIBUTES}
    message = sfn.TaskInput.from_json_path_at(f"{path}.body")
    if alerts.chat:  # which subscribes by HTTPS
        text, for_chat = sfn.JsonPath.string_at(f"{path}.body"), sfn.JsonPath.string_at(f"{path}.chat")
        message = sfn.TaskInput.from_object({"default": text, "https": for_chat})
    task = tasks.SnsPublish(
        scope,
        name,
        topic=alerts.topic,
        subject=sfn.JsonPath.string_at(f"{path}.subject"),
        message=message,
        message_per_subscription_type=alerts.chat,
        message_attributes={
            key: tasks.MessageAttribute(value=value)
            for key, value in {"environment": alerts.environment, **attributes}.items()
        },
        result_path=sfn.JsonPath.DISCARD,
        task_timeout=sfn.Timeout.duration(_SENDING),
    )
    try_again(task, MAIL)
    return task


def fill(written: layout.Mail, *paths: str) -> dict[str, str]:
    """A mail as a state writes it, with the values of the paths in the placeholders of its body; the first is of its
    error.

    Raises:
        ValueError: the text can't be quoted in the state language.
    """
    if set("'\\") & set(written.body):
        raise ValueError(f"An apostrophe or backslash would end the text of a States.Format: {written.body!r}")
    arguments = ", ".join((f"'{written.body}'", *paths))
    body = sfn.JsonPath.string_at(f"States.Format({arguments})")
    return {**written.to_dict(), "body": body, "error": sfn.JsonPath.string_at(paths[0])}


# ---- conditions: a missing path is an error that can't be caught, so each checks for presence first -----------------


def is_text(path: str, *more: sfn.Condition) -> sfn.Condition:
    """Whether there is a text, and all `more` conditions hold, which may rely on it."""
    return sfn.Condition.and_(sfn.Condition.is_present(path), sfn.Condition.is_string(path), *more)


def is_word(path: str, word: str, *more: sfn.Condition) -> sfn.Condition:
    """Whether the text is exactly this word, and all `more` conditions hold."""
    return is_text(path, sfn.Condition.string_equals(path, word), *more)


def is_true(path: str) -> sfn.Condition:
    """Whether the value is present and true."""
    known = sfn.Condition.and_(sfn.Condition.is_present(path), sfn.Condition.is_boolean(path))
    return sfn.Condition.and_(known, sfn.Condition.boolean_equals(path, True))


def is_mail(path: str) -> sfn.Condition:
    """Whether a function has written a mail there."""
    parts = ("subject", "body", *layout.ATTRIBUTES, "chat")
    return sfn.Condition.and_(*(is_text(f"{path}.{part}") for part in parts))

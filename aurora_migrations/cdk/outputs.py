"""Stack outputs: the names that people and the command line need."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from aurora_migrations.cdk.alerts import Alerts
from aurora_migrations.cdk.functions import Functions
from aurora_migrations.cdk.triggers import DeadLetters
from aurora_migrations.cdk.workflow import Workflow


def add_outputs(
    scope: Construct, *, workflow: Workflow, functions: Functions, alerts: Alerts, dead_letters: DeadLetters
) -> None:
    """Adds the stack's outputs. None is exported: what others import can't be changed any more."""
    machine = workflow.machine
    values = {
        "StateMachineName": (machine.state_machine_name, "Start executions of this one; an empty input {} will do."),
        "StateMachineArn": (machine.state_machine_arn, "The same, as an ARN."),
        "StateMachineLog": (workflow.log.log_group_name, "What the state machine did."),
        "AlertTopicName": (alerts.topic.topic_name, "Failures are mailed to its subscribers."),
        "AlertTopicArn": (alerts.topic.topic_arn, "The same, as an ARN."),
        "DeadLetterQueueName": (dead_letters.queue.queue_name, "Events that started nothing."),
        "DeadLetterQueueUrl": (dead_letters.queue.queue_url, "The same, as a URL."),
    }
    for kind, alias in functions.aliases.items():
        word = kind.capitalize()
        values[f"{word}FunctionName"] = (alias.version.lambda_.function_name, f"The function {kind}.")
        values[f"{word}FunctionArn"] = (alias.function_arn, "Its alias, which the state machine calls.")
        values[f"{word}FunctionLog"] = (functions.logs[kind].log_group_name, "Its log.")
    for name, (value, description) in values.items():
        cdk.CfnOutput(cdk.Stack.of(scope), name, value=value, description=description)

"""The stack of an environment: puts together the constructs of the other modules, and names its outputs."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from aurora_migrations.cdk import compliance
from aurora_migrations.cdk.alerts import Alerts, make_key
from aurora_migrations.cdk.config import Environment
from aurora_migrations.cdk.functions import Functions, Package
from aurora_migrations.cdk.naming import Names
from aurora_migrations.cdk.network import Network
from aurora_migrations.cdk.triggers import DeadLetters, DeployTrigger
from aurora_migrations.cdk.watchdogs import DailyCheck, Notice, Watchdogs
from aurora_migrations.cdk.workflow import Workflow


class MigrationsStack(cdk.Stack):
    """Runs one database's migrations after a deployment, on demand, and reports every failure."""

    def __init__(self, scope: Construct, settings: Environment, package: Package) -> None:
        """Builds the stack. On AWS its package is `bundled(migrations)`."""
        super().__init__(
            scope,
            Names(settings.name).stack,
            env=cdk.Environment(account=settings.account, region=settings.region),
            description=f"Migrations of the PostgreSQL database of {settings.name}: state machine, functions, alerts.",
        )
        key = make_key(self, settings)
        network = Network(self, "Network", settings)
        alerts = Alerts(self, "Alerts", settings=settings, key=key)
        functions = Functions(self, "Functions", settings=settings, network=network, key=key, package=package)
        workflow = Workflow(self, "Workflow", settings=settings, functions=functions, alerts=alerts)
        dead_letters = DeadLetters(self, "DeadLetters", settings=settings, alerts=alerts, key=key)
        DeployTrigger(self, "OnDeploy", settings=settings, machine=workflow.machine, dead_letters=dead_letters)
        watchdogs = Watchdogs(settings=settings, functions=functions, alerts=alerts, dead_letters=dead_letters)
        Notice(self, "Notice", watchdogs, workflow.machine)
        if settings.daily_check:
            DailyCheck(self, "Daily", watchdogs)
        for output, (value, description) in _outputs(workflow, functions, alerts, dead_letters).items():
            cdk.CfnOutput(self, output, value=value, description=description)
        compliance.acknowledge(self)


def _outputs(
    workflow: Workflow, functions: Functions, alerts: Alerts, dead_letters: DeadLetters
) -> dict[str, tuple[str, str]]:
    """The names that people and the command line need. None is exported: what others import can't be changed any
    more."""
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
    return values

"""What all state machines have in common: a name, an encrypted log of everything, traces, the right to mail."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from aurora_migrations.cdk.alerts import Alerts
from aurora_migrations.cdk.config import Environment
from aurora_migrations.cdk.functions import retention
from aurora_migrations.cdk.naming import Names
from aurora_migrations.cdk.retries import Retry


def make_machine(
    scope: Construct, part: str, settings: Environment, alerts: Alerts, diagram: sfn.IChainable, timeout_ms: int
) -> tuple[sfn.StateMachine, logs.LogGroup]:
    """A standard state machine that may send mails, with everything it does in an encrypted log.

    Args:
        part: what its name ends in; empty for the one that people start.
    """
    names, parts = Names(settings.name), [part] if part else []
    log = logs.LogGroup(
        scope,
        "Log",
        log_group_name=names.machine_log(*parts),
        retention=retention(settings),
        encryption_key=alerts.key,
        removal_policy=cdk.RemovalPolicy.DESTROY,
    )
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
    alerts.let_publish(machine.role)
    return machine, log


def try_again(task: sfn.TaskStateBase, *retries: Retry) -> None:
    """Hooks retries to a task."""
    for retry in retries:
        task.add_retry(
            errors=list(retry.errors),
            interval=cdk.Duration.seconds(retry.first_wait),
            max_attempts=retry.attempts,
            backoff_rate=2,
            max_delay=None if retry.longest_wait is None else cdk.Duration.seconds(retry.longest_wait),
            jitter_strategy=sfn.JitterType.FULL if retry.jitter else sfn.JitterType.NONE,
        )

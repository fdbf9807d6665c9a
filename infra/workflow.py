"""The state machine:

    Begin -> Preflight -> What next? -> Apply -> All applied? -> Verify -> Succeeded
                              |           ^___________| more          \\
                              |__ nothing to apply: Verify, or the     |
                              |   answer that was asked for            |
    any failure -> Notify failure (e-mail) -> Failed with the original error and cause
    another package deployed meanwhile -> Start over, at most twice
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from functions.migrator.errors import PackageChanged
from infra.alerts import Alerts
from infra.asking import ask
from infra.failures import FAILURE, FailureBranch
from infra.functions import Functions, retention
from infra.naming import Names
from infra.settings import Settings

STARTS = 3  # how often a run begins before it gives up on deployments in its middle

MISUNDERSTOOD = (
    "ContractBroken",
    "A function answered what this state machine has no way for: the two were not deployed together.",
)


class Workflow(Construct):
    """Preflight, apply, verify, and what happens if one of them fails. `machine` is the state machine, `log`
    what it did."""

    def __init__(
        self, scope: Construct, name: str, *, settings: Settings, functions: Functions, alerts: Alerts
    ) -> None:
        super().__init__(scope, name)
        self._functions = functions
        self._failure = FailureBranch(self, "Failure", environment=settings.name, alerts=alerts)
        self.machine, self.log = make_machine(self, "", settings, alerts, self._diagram(), settings.limits.run_timeout)

    def _diagram(self) -> sfn.IChainable:
        begin = sfn.Pass(self, "Begin", result=sfn.Result.from_object({"starts": 1, "apply": {"Payload": {}}}))
        preflight = ask(self, "Preflight", self._functions, "preflight", into="$.preflight")
        package = "$.preflight.Payload.package"
        apply = ask(self, "Apply", self._functions, "apply", into="$.apply", package=package, so_far="$.apply.Payload")
        verify = ask(
            self, "Verify", self._functions, "verify", into="$.verify", package=package, so_far="$.apply.Payload"
        )
        succeeded = sfn.Succeed(self, "Succeeded", input_path="$.verify.Payload")
        answered = sfn.Succeed(self, "Answered", input_path="$.preflight.Payload.result")
        start_over = self._start_over(preflight)
        misunderstood = self._failure.give_up("Answer not understood", *MISUNDERSTOOD)

        preflight.next(
            sfn.Choice(self, "What next?")
            .when(_says("$.preflight.Payload.next", "apply"), apply)
            .when(_says("$.preflight.Payload.next", "verify"), verify)
            .when(_says("$.preflight.Payload.next", "done", and_has="$.preflight.Payload.result"), answered)
            .otherwise(misunderstood)
        )
        apply.next(
            sfn.Choice(self, "All applied?")
            .when(_says("$.apply.Payload.outcome", "more"), apply)
            .when(_says("$.apply.Payload.outcome", "done"), verify)
            .otherwise(misunderstood)
        )
        verify.next(succeeded)

        for task in (apply, verify):
            task.add_catch(start_over, errors=[PackageChanged.__name__], result_path=FAILURE)
        for task in (preflight, apply, verify):
            self._failure.catch(task)
        return begin.next(preflight)

    def _start_over(self, preflight: tasks.LambdaInvoke) -> sfn.Choice:
        """Another package was deployed: begin again with it, and keep what has been applied until now."""
        again = sfn.Pass(
            self,
            "Start over",
            parameters={
                "starts": sfn.JsonPath.math_add(sfn.JsonPath.number_at("$.starts"), 1),
                "apply": sfn.JsonPath.object_at("$.apply"),
            },
        )
        again.next(preflight)
        often = sfn.Condition.number_less_than("$.starts", STARTS)
        return sfn.Choice(self, "Start over?").when(often, again).otherwise(self._failure.go_on())


def make_machine(
    scope: Construct, part: str, settings: Settings, alerts: Alerts, diagram: sfn.IChainable, timeout_ms: int
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


def _says(path: str, word: str, and_has: str | None = None) -> sfn.Condition:
    """Looks before it compares: in a Choice, a path that leads nowhere can't be caught."""
    present = [sfn.Condition.is_present(each) for each in (path, and_has) if each]
    return sfn.Condition.and_(*present, sfn.Condition.string_equals(path, word))

"""The gate: a custom resource that starts a run with the new package while CloudFormation deploys, and makes the
deployment fail if the run does.

CloudFormation calls the function `gate` (functions/gate.py), which starts the run and this state machine, and answers
when the run has ended. A function can't wait for that long, so the machine calls it every ten seconds:

Check ─▶ Ended? ─▶ Done
  ▲         └─ no ─▶ Wait ─┐
  └────────────────────────┘     a check that fails again and again ─▶ Give up, and have the deployment fail

Why not the CDK's provider framework: docs/decisions/0029.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct, IDependable

from aurora_migrations.cdk.alerts import Alerts, make_log
from aurora_migrations.cdk.config import GATE_MARGIN_MS, Environment
from aurora_migrations.cdk.functions import Functions, Package
from aurora_migrations.cdk.machines.states import is_true, make_machine, try_again
from aurora_migrations.cdk.naming import ALIAS, Names
from aurora_migrations.cdk.retries import DIED, SERVICE, Retry

POLL = cdk.Duration.seconds(10)
_CALL = cdk.Duration.seconds(60)
# What botocore and urllib raise, after attempts of their own, where AWS is busy or out of reach.
_UNANSWERED = Retry(
    ("ClientError", "EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "URLError", "HTTPError"),
    first_wait=5,
    attempts=5,
    longest_wait=60,
)


class Gate(Construct):
    """The function, the machine and the custom resource, which is `resource`."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        settings: Environment,
        functions: Functions,
        alerts: Alerts,
        package: Package,
    ) -> None:
        super().__init__(scope, name)
        names, stack = Names(settings.name), cdk.Stack.of(self)

        def machine_arn(*parts: str) -> str:
            # Written out: function and machine can't both wait for the other.
            return stack.format_arn(
                service="states",
                resource="stateMachine",
                resource_name=names.of(*parts),
                arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
            )

        place = Construct(self, "Function")
        log = make_log(place, settings, alerts.key, names.function_log("gate"))
        function = lambda_.Function(
            place,
            "Function",
            function_name=names.of("gate"),
            description="Starts the run of a deployment, and tells CloudFormation how it ended.",
            code=package.code,
            runtime=package.runtime,
            architecture=package.architecture,
            handler="functions.gate.handler",
            timeout=_CALL,
            memory_size=256,
            role=self._role(place, machine_arn(), machine_arn("gate")),
            log_group=log,
        )
        log.grant_write(function)
        alias = lambda_.Alias(place, "Alias", alias_name=ALIAS, version=function.current_version)
        limit = settings.limits.run_timeout + GATE_MARGIN_MS
        make_machine(self, "gate", settings, alerts, self._diagram(alias), limit, mails=False)
        self.resource = cdk.CustomResource(
            self,
            "Run",
            service_token=alias.function_arn,
            properties={
                "Environment": settings.name,
                "Machine": machine_arn(),
                "Gate": machine_arn("gate"),
                "LimitSeconds": str((limit - GATE_MARGIN_MS // 2) // 1_000),
                # What the run depends on: with others CloudFormation updates the resource.
                "Versions": [alias.version.version for alias in functions.aliases.values()],
            },
        )
        template = self.resource.node.default_child
        assert isinstance(template, cdk.CfnResource)
        template.add_property_override("ServiceTimeout", limit // 1_000)  # the CDK would write it as a text
        self.resource.node.add_dependency(self.node.find_child("Machine"), place)

    def open_after(self, *others: IDependable) -> None:
        """Has the run begin after these exist."""
        self.resource.node.add_dependency(*others)

    def _role(self, place: Construct, machine: str, gate: str) -> iam.Role:
        role = iam.Role(
            place,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description="What the gate may do: start the run, read how it ended, and see whether the stack rolls back.",
        )
        executions = f"{machine.replace(':stateMachine:', ':execution:')}:*"
        for actions, resource in (
            (["states:StartExecution"], machine),
            (["states:StartExecution"], gate),
            (["states:DescribeExecution"], executions),
            (["cloudformation:DescribeStacks"], cdk.Stack.of(self).stack_id),
        ):
            role.add_to_policy(iam.PolicyStatement(actions=actions, resources=[resource]))
        return role

    def _diagram(self, function: lambda_.Alias) -> sfn.IChainable:
        check = self._call("Check", function)
        wait = sfn.Wait(self, "Wait", time=sfn.WaitTime.duration(POLL))
        wait.next(check)
        ended = sfn.Choice(self, "Ended?").when(is_true("$.check.Payload.ended"), sfn.Succeed(self, "Done"))
        give_up = self._call("Give up", function)
        give_up.next(sfn.Succeed(self, "Given up"))
        check.add_catch(give_up, result_path="$.unread")
        return check.next(ended.otherwise(wait))

    def _call(self, name: str, function: lambda_.Alias) -> tasks.LambdaInvoke:
        task = tasks.LambdaInvoke(
            self,
            name,
            lambda_function=function,
            payload=sfn.TaskInput.from_object({"request": sfn.JsonPath.entire_payload}),
            result_selector={"Payload": sfn.JsonPath.object_at("$.Payload")},
            result_path="$.check",
            task_timeout=sfn.Timeout.duration(_CALL.plus(_CALL)),
            retry_on_service_exceptions=False,
        )
        try_again(task, SERVICE, DIED, _UNANSWERED)
        return task

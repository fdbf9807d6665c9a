"""The state machine:

                                            ┌─ more ─┐
Begin ─▶ Preflight ─▶ What next? ─ apply ─▶ Apply ─▶ All applied? ─▶ Verify ─▶ Succeeded
             ▲            ├─ nothing to apply ─────────────────────────┘
             │            └─ list, plan ─▶ Result returned
         Start over, after a wait ◀─ another package was deployed meanwhile (four times at most)

any failure ─▶ Notify failure (e-mail) ─▶ Failed, with the original error and cause

With `on_verify_failure` = `rollback`, a failed check of Verify leads to Roll back, which runs the down files of what
this execution has applied, and then fails with what it has left. With the setting `success_mail`, a run that has
changed something passes Notify success on its way to Succeeded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from aurora_migrations.cdk.alerts import Alerts
from aurora_migrations.cdk.config import Environment
from aurora_migrations.cdk.functions import Functions
from aurora_migrations.cdk.machines.failure_branch import FAILURE, FailureBranch
from aurora_migrations.cdk.machines.states import invoke, is_mail, is_word, make_machine, send
from aurora_migrations.engine.errors import PackageChanged, VerificationFailed

STARTS = 5  # how often a run begins before it gives up on deployments in its middle
PAUSE = 30  # seconds before it begins again, and so many more each time: the functions are deployed one after the other


class Workflow(Construct):
    """Preflight, apply, verify, and what happens if one of them fails. `machine` is the state machine, `log`
    what it did."""

    def __init__(
        self, scope: Construct, name: str, *, settings: Environment, functions: Functions, alerts: Alerts
    ) -> None:
        super().__init__(scope, name)
        self._functions = functions
        self._alerts = alerts
        self._mails_success = settings.success_mail
        self._rolls_back = settings.on_verify_failure == "rollback"
        self._failure = FailureBranch(self, "Failure", environment=settings.name, alerts=alerts, functions=functions)
        self._failed = self._failure.read()
        self.machine, self.log = make_machine(self, "", settings, alerts, self._diagram(), settings.limits.run_timeout)

    def _diagram(self) -> sfn.IChainable:
        begin = sfn.Pass(
            self, "Begin", result=sfn.Result.from_object({"starts": 1, "pause": 0, "apply": {"Payload": {}}})
        )
        given = {"input": sfn.JsonPath.object_at("$$.Execution.Input")}
        first = {**given, "package": "", "so_far": {}}
        preflight = invoke(self, "Preflight", self._functions, "preflight", first, into="$.preflight")
        has_result = sfn.Condition.is_present("$.preflight.Payload.result")
        # The digest of the package that the run began with, and what apply has done before this call.
        known = {
            **given,
            "package": sfn.JsonPath.string_at("$.preflight.Payload.package"),
            "so_far": sfn.JsonPath.object_at("$.apply.Payload"),
        }
        apply = invoke(self, "Apply", self._functions, "apply", known, into="$.apply")
        if self._mails_success:  # then verify's answer is `result`, and with it the `mail` about it
            known["wants_mail"] = True
        verify = invoke(self, "Verify", self._functions, "verify", known, into="$.verify", output="$.verify")
        succeeded = sfn.Succeed(self, "Succeeded", input_path="$.Payload")
        answered = sfn.Succeed(self, "Result returned", input_path="$.preflight.Payload.result")
        start_over = self._start_over(preflight)

        preflight.next(
            sfn.Choice(self, "What next?")
            .when(is_word("$.preflight.Payload.next", "apply"), apply)
            .when(is_word("$.preflight.Payload.next", "verify"), verify)
            .when(is_word("$.preflight.Payload.next", "done", has_result), answered)
            .otherwise(self._failure.misunderstood("preflight", self._failed))
        )
        apply.next(
            sfn.Choice(self, "All applied?")
            .when(is_word("$.apply.Payload.outcome", "more"), apply)
            .when(is_word("$.apply.Payload.outcome", "done"), verify)
            .otherwise(self._failure.misunderstood("apply", self._failed))
        )
        verify.next(self._add_success_mail(succeeded) if self._mails_success else succeeded)

        for task in (apply, verify):
            task.add_catch(start_over, errors=[PackageChanged.__name__], result_path=FAILURE)
        noted = {step: self._note(step) for step in ("preflight", "apply", "verify")}
        if self._rolls_back:
            undo = self._roll_back(given, noted["verify"])
            verify.add_catch(undo, errors=[VerificationFailed.__name__], result_path=FAILURE)
        for task, step in ((preflight, "preflight"), (apply, "apply"), (verify, "verify")):
            task.add_catch(noted[step], result_path=FAILURE)
        return begin.next(preflight)

    def _note(self, step: str) -> sfn.Pass:
        """A state that notes where it failed."""
        noted = sfn.Pass(
            self, f"{step.capitalize()} failed", result=sfn.Result.from_string(step), result_path=f"{FAILURE}.step"
        )
        noted.next(self._failed)
        return noted

    def _roll_back(self, given: Mapping[str, Any], nothing_done: sfn.IChainable) -> tasks.LambdaInvoke:
        """Runs the down files of what this execution has applied, in as many calls as it takes. The last one raises: a
        failed check is a failed execution, whatever was undone. If nothing was to be undone, verify's failure is all
        that there is to report."""
        failed = {"about": "undo", "failure": sfn.JsonPath.object_at(FAILURE)}
        payload = {**given, "package": sfn.JsonPath.string_at("$.preflight.Payload.package"), "report": failed}
        task = invoke(self, "Roll back", self._functions, "apply", payload, into="$.undo")
        task.next(
            sfn.Choice(self, "All rolled back?")
            .when(is_word("$.undo.Payload.outcome", "more"), task)
            .otherwise(nothing_done)
        )
        task.add_catch(self._note("rollback"), result_path=FAILURE)
        return task

    def _add_success_mail(self, plain: sfn.Succeed) -> sfn.Choice:
        """Adds the states that send the success mail, if verify has written one. If it can't be sent, the execution
        still succeeds."""
        path = "$.Payload.mail"
        succeeded = sfn.Succeed(self, "Succeeded, with a result", input_path="$.Payload.result")
        sending = send(self, "Notify success", self._alerts, path)
        sending.add_catch(succeeded, result_path="$.unsent")
        sending.next(succeeded)
        answered = sfn.Condition.is_present("$.Payload.result")
        return (
            sfn.Choice(self, "Success mail written?")
            .when(sfn.Condition.and_(is_mail(path), answered), sending)
            .when(answered, succeeded)
            .otherwise(plain)
        )

    def _start_over(self, preflight: tasks.LambdaInvoke) -> sfn.Choice:
        """Another package was deployed: begin again with it, and keep what has been applied until now."""
        again = sfn.Pass(
            self,
            "Start over",
            parameters={
                "starts": sfn.JsonPath.math_add(sfn.JsonPath.number_at("$.starts"), 1),
                "pause": sfn.JsonPath.math_add(sfn.JsonPath.number_at("$.pause"), PAUSE),
                "apply": sfn.JsonPath.object_at("$.apply"),
            },
        )
        settle = sfn.Wait(self, "Wait for the deployment", time=sfn.WaitTime.seconds_path("$.pause"))
        again.next(settle)
        settle.next(preflight)
        often = sfn.Condition.number_less_than("$.starts", STARTS)
        return sfn.Choice(self, "Start over?").when(often, again).otherwise(self._failed)

"""The failure branch: from a caught error to a mail that a person can act on, then a Fail that keeps error and cause.

    $.failure            what a Catch wrote: Error and Cause; and in which step
      Cause is JSON      (a function raised)                       -> read it
        errorMessage is JSON   (it is one of the engine's errors)  -> read it: it has its own mail, which is sent
          seen_by_asker  (shown at the terminal that it was typed at) -> Fail without a mail
    anything else        (a function died, or could not be called) -> preflight writes the mail
      preflight fails    -> a short text of the machine's own
    Fail                 with the original Error and Cause, whether the mail could be sent or not; Error is prefixed
                         with `Workflow.` if it is one of Step Functions' own names, which a Fail can't use

A text is parsed only if it has the form that Lambda and our functions write, because a failing `States.StringToJson`
can't be caught. Preflight reads whatever has another form, and passes on a mail that it finds there. Functions keep
their errors below 15 KB; Step Functions cuts a Cause at 32 KB, SNS takes 256 KB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from aurora_migrations.cdk.alerts import Alerts
from aurora_migrations.cdk.functions import Functions
from aurora_migrations.cdk.machines.states import fill, is_mail, is_text, is_true, is_word, report, send
from aurora_migrations.engine.steps import execution, layout
from aurora_migrations.engine.steps.execution import ADOPTIONS, READ_ONLY_ACTIONS, SEEN_BY_INITIATOR

FAILURE = "$.failure"
SETTLE = cdk.Duration.seconds(10)  # in which the server ends what a dead function left
FAILED = "Migration FAILED"
CONTRACT_BROKEN = {
    "Error": execution.CONTRACT_BROKEN,
    "Cause": "Function and state machine do not fit each other; deploy them again.",
}
TYPED = "read-only, at a terminal"
_ERROR, _CAUSE = f"{FAILURE}.Error", f"{FAILURE}.Cause"
_RAISED, _ANSWER = "$.raised", "$.answer"
_MESSAGE = f"{_RAISED}.json.errorMessage"
# What Lambda makes of an exception, and the document of an error of ours: a text that was cut doesn't end so.
_RAISED_FORM, _DOCUMENT_FORM = '{"errorMessage":*}', '{"error": "*"mail": {"subject": "*"}}'
_DOCUMENT = f"{_ANSWER}.Payload"  # a function's error document, or preflight's answer
_MAIL = f"{_DOCUMENT}.mail"


class FailureBranch(Construct):
    """The states from `$.failure` to the topic and to Fail: `write` has preflight write the mail, whatever the failure
    is; `end` fails, and mails nobody."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: str,
        alerts: Alerts,
        functions: Functions,
        what: str = FAILED,
        execution_input: Mapping[str, str] | None = None,
    ) -> None:
        """Builds the states. `what` is the subject of the machine's own mail; `execution_input` is the input that
        the mail shows, if not the execution's own."""
        super().__init__(scope, name)
        self.end = self._fail()
        self._send = send(self, "Notify failure", alerts, _MAIL)
        self._send.add_catch(self.end, result_path="$.unsent")
        self._send.next(self.end)
        given = sfn.JsonPath.object_at("$$.Execution.Input") if execution_input is None else dict(execution_input)
        unwritten = layout.unwritten(environment, cdk.Stack.of(self).region, what)
        self.write = self._write(functions, given, fill(unwritten, _ERROR, "$$.Execution.Id"))

    def read(self) -> sfn.Choice:
        """The states that read the mail that the function which failed has written, and otherwise have one written."""
        settle = sfn.Wait(self, "Wait for sessions to end", time=sfn.WaitTime.duration(SETTLE))
        settle.next(self.write)
        written = sfn.Choice(self, "Mail written?")
        written.when(is_true(f"{_DOCUMENT}.{SEEN_BY_INITIATOR}"), self.end, comment="shown at the terminal")
        written.when(is_mail(_MAIL), self._send).otherwise(settle)
        read_error = _parse(self, "Read error", _MESSAGE, _ANSWER, "Payload")
        read_error.next(written)
        ours = sfn.Choice(self, "Named error?").when(_has_form(_MESSAGE, _DOCUMENT_FORM), read_error).otherwise(settle)
        read_cause = _parse(self, "Read cause", _CAUSE, _RAISED, "json")
        read_cause.next(ours)
        raised = sfn.Choice(self, "Function raised an error?").when(
            is_typed_read_only_command(), self.end, comment=TYPED
        )
        return raised.when(_has_form(_CAUSE, _RAISED_FORM), read_cause).otherwise(settle)

    def misunderstood(self, step: str, then: sfn.IChainable) -> sfn.Pass:
        """A state that notes that the answer of a step isn't understood, and keeps nothing else: the answer may be all
        that there is, and no object."""
        known = sfn.Result.from_object({"failure": {**CONTRACT_BROKEN, "step": step}})
        noted = sfn.Pass(self, f"Invalid answer of {step}", result=known)
        noted.next(then)
        return noted

    def _write(self, functions: Functions, execution_input: Any, short: dict[str, str]) -> sfn.TaskStateBase:
        task = report(
            self,
            "Write the mail",
            functions,
            "failure",
            trigger="failure",
            into=_ANSWER,
            failure=sfn.JsonPath.object_at(FAILURE),
            input=execution_input,
            retries=sfn.JsonPath.number_at("$$.State.RetryCount"),
        )
        own = sfn.Pass(self, "Write a short mail", parameters={"Payload": {"mail": short}}, result_path=_ANSWER)
        own.next(self._send)
        task.add_catch(own, result_path="$.unwritten")
        task.next(sfn.Choice(self, "Mail valid?").when(is_mail(_MAIL), self._send).otherwise(own))
        return task

    def _fail(self) -> sfn.Choice:
        """Ends with the original error and cause. A Fail may not bear a name of Step Functions' own, such as
        `States.Timeout`: those get a word before them. So does what has no cause, as a task that timed out may have
        none: what a function raises always has one."""
        comment = "The original error and cause. Start a new execution; a redrive would only fail again."
        failed = sfn.Fail(self, "Failed", comment=comment, error_path=_ERROR, cause_path=_CAUSE)
        named = f"States.Format('Workflow.{{}}', {_ERROR})"
        stopped = sfn.Fail(self, "Failed in the workflow", comment=comment, error_path=named, cause_path=_CAUSE)
        reserved = sfn.Condition.string_matches(_ERROR, "States.*")
        end = sfn.Choice(self, "Error of Step Functions?")
        nothing = sfn.Pass(self, "No cause", result=sfn.Result.from_string(execution.NO_CAUSE), result_path=_CAUSE)
        nothing.next(stopped)
        end.when(sfn.Condition.not_(sfn.Condition.is_present(_CAUSE)), nothing, comment="no cause")
        return end.when(reserved, stopped).otherwise(failed)


def is_typed_read_only_command() -> sfn.Condition:
    """Whether somebody typed this execution's command at a terminal, and it is a read-only action: that person sees the
    error. A Choice may read the context, which has the execution's input."""
    action, confirm = "$$.Execution.Input.action", "$$.Execution.Input.confirm"
    read_only = sfn.Condition.or_(
        *(sfn.Condition.string_equals(action, name) for name in READ_ONLY_ACTIONS),
        sfn.Condition.and_(
            sfn.Condition.not_(sfn.Condition.is_present(confirm)),
            sfn.Condition.or_(*(sfn.Condition.string_equals(action, name) for name in ADOPTIONS)),
        ),
    )
    return sfn.Condition.and_(is_word("$$.Execution.Input.trigger", "cli"), is_text(action, read_only))


def _has_form(path: str, form: str) -> sfn.Condition:
    return is_text(path, sfn.Condition.string_matches(path, form))


def _parse(scope: Construct, name: str, text: str, into: str, key: str) -> sfn.Pass:
    """JSON out of a text, under a key of `into`: a Pass can't write it without a key."""
    parameters = {key: sfn.JsonPath.string_to_json(sfn.JsonPath.string_at(text))}
    return sfn.Pass(scope, name, parameters=parameters, result_path=into)

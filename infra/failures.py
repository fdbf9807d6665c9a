"""The failure branch: from a caught error to a mail that a person can act on, then a Fail that keeps error and cause.

    $.failure            what a Catch wrote: Error and Cause
      no Cause           (a task that timed out may have none)     -> say so
      Cause is JSON      (a function raised)                       -> read it
        errorMessage is JSON   (it is one of the engine's errors)  -> read it: message, cause, state, solution ...
    mail                 from what could be read; what couldn't is sent as it is
    Fail                 with the original Error and Cause, whether the mail could be sent or not; `Workflow.` stands
                         before Error where it is one of Step Functions' own, which a Fail may not bear

Every text is looked at before it is parsed, because a failing `States.StringToJson` can't be caught. JSONPath has no
way to cut a text: functions keep their errors below 8 KB, Step Functions cuts a Cause at 32 KB, SNS takes 256 KB.
"""

from __future__ import annotations

from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra import mail
from infra.alerts import Alerts

FAILURE = "$.failure"
MISUNDERSTOOD = (
    "ContractBroken",
    "A function answered what this state machine has no way for: the two were not deployed together.",
)
_ERROR, _CAUSE = f"{FAILURE}.Error", f"{FAILURE}.Cause"
_RAISED, _OURS = "$.raised", "$.error"
_ANSWER = '{"*}'  # how the JSON of an object begins and ends; a text that was cut doesn't end so

_KNOWN = """\
The migrations of {environment} failed.

What   {{}}: {{}}
Why    {{}}
State  {{}}
Do     {{}}
Next   {{}}

{execution}"""
_KNOWN_FIELDS = ("error", "message", "cause", "state", "solution", "next_command")
_UNKNOWN = """\
The migrations of {environment} failed, and not by an error of their own.

What   {{}}
Why    {{}}
State  A file is in with its record in the history, or not at all; the history tells which.
Do     Read the log of the function and the history of the execution. A new execution is always safe; a redrive is not.
Next   aurora-migrations run --env {environment}

{execution}"""


class FailureBranch(Construct):
    """The states from `$.failure` to the topic and to Fail."""

    def __init__(self, scope: Construct, name: str, *, environment: str, alerts: Alerts) -> None:
        super().__init__(scope, name)
        self._environment = environment
        send = mail.send(self, "Notify failure", alerts)
        end = self._fail()
        send.add_catch(end, result_path="$.unsent")
        send.next(end)
        self._start = self._read(self._write_known(send), self._write_unknown(send))

    def catch(self, task: sfn.TaskStateBase) -> None:
        """Leads everything that a task can fail with here. A Catch for some errors must have been added before."""
        task.add_catch(self._start, result_path=FAILURE)

    def go_on(self) -> sfn.IChainable:
        """For a failure that stands in `$.failure` already."""
        return self._start

    def give_up(self, name: str, error: str, cause: str) -> sfn.Pass:
        """A state that ends the execution for a reason of the machine's own."""
        told = sfn.Pass(
            self, name, result=sfn.Result.from_object({"Error": error, "Cause": cause}), result_path=FAILURE
        )
        told.next(self._start)
        return told

    def _fail(self) -> sfn.Choice:
        """Ends with the original error and cause. A Fail may not bear a name of Step Functions' own, such as
        `States.Timeout`: those get a word before them."""
        comment = "The original error and cause. Start a new execution; a redrive would only fail again."
        failed = sfn.Fail(self, "Failed", comment=comment, error_path=_ERROR, cause_path=_CAUSE)
        named = f"States.Format('Workflow.{{}}', {_ERROR})"
        stopped = sfn.Fail(self, "Failed in the workflow", comment=comment, error_path=named, cause_path=_CAUSE)
        reserved = sfn.Condition.string_matches(_ERROR, "States.*")
        return sfn.Choice(self, "By Step Functions itself?").when(reserved, stopped).otherwise(failed)

    def _read(self, known: sfn.Pass, unknown: sfn.Pass) -> sfn.Choice:
        read_error = _parse(self, "Read error", f"{_RAISED}.json.errorMessage", _OURS)
        read_error.next(known)
        is_ours = sfn.Choice(self, "Error of ours?")
        is_ours.when(_is_object(f"{_RAISED}.json.errorMessage"), read_error).otherwise(unknown)
        read_cause = _parse(self, "Read cause", _CAUSE, _RAISED)
        read_cause.next(is_ours)
        is_raised = sfn.Choice(self, "Raised by a function?")
        is_raised.when(_is_object(_CAUSE), read_cause).otherwise(unknown)
        nothing = sfn.Pass(self, "No cause", result=sfn.Result.from_string("No cause was given."), result_path=_CAUSE)
        nothing.next(is_raised)
        given = sfn.Choice(self, "Cause given?")
        return given.when(sfn.Condition.is_present(_CAUSE), is_raised).otherwise(nothing)

    def _write_known(self, send: sfn.IChainable) -> sfn.Pass:
        words = [f"{_OURS}.json.{field}" for field in _KNOWN_FIELDS]
        return self._write("Write mail", f"[{self._environment}] {{}}: migrations failed", _KNOWN, words, send)

    def _write_unknown(self, send: sfn.IChainable) -> sfn.Pass:
        """Any class name may stand in `Error`; in the subject, a long one would make SNS refuse the mail."""
        subject = f"[{self._environment}] migrations failed"
        return self._write("Write mail about the unknown", subject, _UNKNOWN, [_ERROR, _CAUSE], send)

    def _write(self, name: str, subject: str, text: str, words: list[str], send: sfn.IChainable) -> sfn.Pass:
        lines, more = mail.execution(self, "$$.Execution.Name", "$$.Execution.Id")
        text = text.format(environment=self._environment, execution=lines)
        written = mail.write(self, name, subject=subject, text=text, words=[*words, *more])
        written.next(send)
        return written


def _parse(scope: Construct, name: str, text: str, into: str) -> sfn.Pass:
    """JSON out of a text, as `json` beneath `into`."""
    parameters = {"json": sfn.JsonPath.string_to_json(sfn.JsonPath.string_at(text))}
    return sfn.Pass(scope, name, parameters=parameters, result_path=into)


def _is_object(path: str) -> sfn.Condition:
    return sfn.Condition.and_(
        sfn.Condition.is_present(path), sfn.Condition.is_string(path), sfn.Condition.string_matches(path, _ANSWER)
    )

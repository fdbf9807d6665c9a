"""The failure branch: from a caught error to a mail that a person can act on, then a Fail that keeps error and cause.

    $.failure            what a Catch wrote: Error and Cause; and in which step
      no Cause           (a task that timed out may have none)     -> say so
      Cause is JSON      (a function raised)                       -> read it
        errorMessage is JSON   (it is one of the engine's errors)  -> read it: it has its own mail
          seen_by_asker  (who typed a command sees the error)      -> Fail without a mail
    a look that was typed  (a function died, and who typed the command sees it) -> Fail without a mail
    mail                 as the function has written it; otherwise, from what could be read and a look at the database
    Fail                 with the original Error and Cause, whether the mail could be sent or not; `Workflow.` stands
                         before Error where it is one of Step Functions' own, which a Fail may not bear

Every text is looked at before it is parsed, because a failing `States.StringToJson` can't be caught. JSONPath has no
way to cut or wrap a text: so functions write their mails (`functions/mail.py`) and keep their errors below 15 KB; Step
Functions cuts a Cause at 32 KB, SNS takes 256 KB. The look is a help: if it fails, the mail is sent without.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from aurora_migrations.cdk import mail, texts
from aurora_migrations.cdk.again import noted, tell_next
from aurora_migrations.cdk.alerts import Alerts
from aurora_migrations.cdk.conditions import is_text
from aurora_migrations.cdk.functions import Functions
from aurora_migrations.cdk.looking import IN_WORDS, is_seen, look
from aurora_migrations.cdk.starters import STARTED, of_this_execution, tell_who, unless_typed
from functions.mail import SEEN_BY_ASKER

FAILURE = "$.failure"
MISUNDERSTOOD = {  # as a Catch writes it
    "Error": "ContractBroken",
    "Cause": "Function and state machine do not fit each other; deploy them again.",
}
NOT_LOOKED_AT = "that is what failed"
ASKER = "Seen by who asked?"
SETTLE = cdk.Duration.seconds(10)  # in which the server ends what a dead function left behind
_ERROR, _CAUSE = f"{FAILURE}.Error", f"{FAILURE}.Cause"
_RAISED, _OURS = "$.raised", "$.error"
_MESSAGE = f"{_RAISED}.json.errorMessage"
_NAME, _WHY, _UNSEEN = "$.name", "$.why", "$.unseen"
_STEP, _REMEDY = f"{FAILURE}.step", f"{FAILURE}.remedy"
_OUT_OF_TIME = "*Task timed out after*"  # what Lambda says of it, as JSON within a sentence too (`Lambda.Unknown`)
_ANSWER = '{"*}'  # how the JSON of an object begins and ends; a text that was cut doesn't end so


class FailureBranch(Construct):
    """The states from `$.failure` to the topic and to Fail."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: str,
        alerts: Alerts,
        functions: Functions | None = None,
        what: str = "run of migrations",
        started: str = "",
        again: str = "",
    ) -> None:
        """Builds the states.

        Args:
            functions: look at the database for a mail about a function that died; None where a look is what failed.
            what: fails here, in the mail's words.
            started: a path to a function's words about who or what started it; empty where that is the daily check.
            again: a path to what asks for the same again, as a function says it; empty there too.
        """
        super().__init__(scope, name)
        self._what = what
        self._started = started
        self._again = again
        self._steps: dict[str, sfn.Pass] = {}
        self._environment = environment
        send = mail.send(self, "Notify failure", alerts)
        end = self._fail()
        send.add_catch(end, result_path="$.unsent")
        send.next(end)
        self._end = end
        self._start = self._read(send, self._write_unknown(send, functions))

    def catch(self, task: sfn.TaskStateBase, step: str) -> None:
        """Leads everything that a task can fail with here. A Catch for some errors must have been added before.

        Args:
            step: of the run, in the mail's words.
        """
        task.add_catch(self.go_on(step), result_path=FAILURE)

    def go_on(self, step: str) -> sfn.Pass:
        """For a failure in a step, which stands in `$.failure` already."""
        if step not in self._steps:
            entered = sfn.Pass(self, f"In {step}", result=_text(step), result_path=_STEP)
            entered.next(self._start)
            self._steps[step] = entered
        return self._steps[step]

    def misunderstood(self, step: str) -> sfn.Pass:
        """A state that ends the execution because a step has answered amiss."""
        known = {**MISUNDERSTOOD, "step": {"text": step}, "remedy": noted(texts.deploy_again(self._environment))}
        told = sfn.Pass(self, f"Answer of {step} not understood", parameters=known, result_path=FAILURE)
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

    def _read(self, send: sfn.IChainable, unknown: sfn.IChainable) -> sfn.Choice:
        unreadable = self._say("Nothing to read", texts.CANNOT_BE_READ, _WHY, unknown)
        is_raised = sfn.Choice(self, "Raised by a function?")
        is_raised.when(_is_object(_CAUSE), self._read_raised(send, unknown, unreadable))
        is_raised.when(_is_prose(_CAUSE), self._take("Take cause", _CAUSE, _WHY, unknown))
        cut_off = is_text(_CAUSE, sfn.Condition.string_matches(_CAUSE, _OUT_OF_TIME))
        said = self._say("Cut off", texts.CUT_OFF, _WHY, unknown)
        is_raised.when(cut_off, said, comment="its time was over").otherwise(unreadable)
        nothing = sfn.Pass(self, "No cause", result=sfn.Result.from_string(texts.NO_CAUSE), result_path=_CAUSE)
        nothing.next(is_raised)
        given = sfn.Condition.and_(
            sfn.Condition.is_present(_CAUSE), sfn.Condition.not_(sfn.Condition.string_equals(_CAUSE, ""))
        )
        return sfn.Choice(self, "Cause given?").when(given, is_raised).otherwise(nothing)

    def _read_raised(self, send: sfn.IChainable, unknown: sfn.IChainable, unreadable: sfn.IChainable) -> sfn.Pass:
        written = mail.take(self, "Take mail", f"{_OURS}.json.mail")
        written.next(send)
        is_written = sfn.Choice(self, "Mail written?")
        is_written.when(mail.is_written(f"{_OURS}.json.mail"), written).otherwise(unreadable)
        read_error = _parse(self, "Read error", _MESSAGE, _OURS)
        path = f"{_OURS}.json.{SEEN_BY_ASKER}"
        seen = sfn.Condition.and_(sfn.Condition.is_present(path), sfn.Condition.is_boolean(path))
        seen = sfn.Condition.and_(seen, sfn.Condition.boolean_equals(path, True))
        read_error.next(sfn.Choice(self, ASKER).when(seen, self._end).otherwise(is_written))
        is_ours = sfn.Choice(self, "Error of ours?").when(_is_object(_MESSAGE), read_error)
        is_ours.when(_is_prose(_MESSAGE), self._take("Take message", _MESSAGE, _WHY, unknown)).otherwise(unreadable)
        read_cause = _parse(self, "Read cause", _CAUSE, _RAISED)
        read_cause.next(is_ours)
        return read_cause

    def _write_unknown(self, send: sfn.IChainable, functions: Functions | None) -> sfn.Choice:
        """Any class's name may stand in `Error`, and in the subject a long one would make SNS refuse the mail. Those
        with a dot are AWS's own and short."""
        then = self._write("Write mail without a look", _UNSEEN, False, send)
        if functions is None:
            begin: sfn.IChainable = self._say("Not looked at", NOT_LOOKED_AT, _UNSEEN, then)
        else:
            begin = self._look(functions, then, self._write("Write mail with what was seen", IN_WORDS, True, send))
        begin = self._advise(begin)
        if self._started:
            begin = tell_who(self, self._started, of_this_execution(), begin)
        short = sfn.Condition.or_(
            sfn.Condition.string_matches(_ERROR, "*.*"), sfn.Condition.string_equals(_ERROR, MISUNDERSTOOD["Error"])
        )
        named = self._take("Take name", _ERROR, _NAME, begin)
        nameless = self._say("No name", texts.NAMELESS, _NAME, begin)
        unknown = sfn.Choice(self, "Named by AWS?").when(short, named).otherwise(nameless)
        return unless_typed(self, of_this_execution(), self._end, unknown) if self._started else unknown

    def _advise(self, then: sfn.IChainable) -> sfn.Choice:
        """What to do, and the next command, if that isn't known already: a deployment, where an answer is amiss."""
        if self._again:
            ways = texts.run_again(self._environment), texts.look_first(self._environment)
            advise: sfn.IChainable = tell_next(self, self._again, *ways, _REMEDY, then)
        else:
            again = noted(texts.look_again(self._environment))
            look_again = sfn.Pass(self, "Look again", parameters=again, result_path=_REMEDY)
            look_again.next(then)
            advise = look_again
        known = sfn.Condition.is_present(_REMEDY)
        return sfn.Choice(self, "Remedy known?").when(known, then).otherwise(advise)

    def _look(self, functions: Functions, unseen: sfn.Pass, seen: sfn.Pass) -> sfn.Wait:
        looking = look(self, "Look at the database", functions, "failure")
        looking.add_catch(self._take("Take why unseen", "$.unlooked.Error", _UNSEEN, unseen), result_path="$.unlooked")
        odd = self._say("Look not understood", MISUNDERSTOOD["Error"], _UNSEEN, unseen)
        looking.next(sfn.Choice(self, "Database seen?").when(is_seen(), seen).otherwise(odd))
        settle = sfn.Wait(self, "Let it settle", time=sfn.WaitTime.duration(SETTLE))
        settle.next(looking)
        return settle

    def _write(self, name: str, state: str, seen: bool, send: sfn.IChainable) -> sfn.Pass:
        paths = {"name": f"{_NAME}.text", "error": _ERROR, "why": f"{_WHY}.text", "started": STARTED}
        paths |= {"step": f"{_STEP}.text", "to_do": f"{_REMEDY}.to_do", "command": f"{_REMEDY}.command"}
        daily = None if self._started else texts.started_by(texts.DAILY)
        paths["look"] = state if seen else f"{state}.text"
        region = cdk.Stack.of(self).region
        text = texts.broken(self._environment, region, self._what, paths, seen, daily)
        written = mail.write(self, name, text)
        written.next(send)
        return written

    def _take(self, name: str, path: str, into: str, then: sfn.IChainable) -> sfn.Pass:
        taken = sfn.Pass(self, name, parameters={"text": sfn.JsonPath.string_at(path)}, result_path=into)
        taken.next(then)
        return taken

    def _say(self, name: str, text: str, into: str, then: sfn.IChainable) -> sfn.Pass:
        said = sfn.Pass(self, name, result=_text(text), result_path=into)
        said.next(then)
        return said


def _text(words: str) -> sfn.Result:
    return sfn.Result.from_object({"text": words})


def _parse(scope: Construct, name: str, text: str, into: str) -> sfn.Pass:
    """JSON out of a text, as `json` beneath `into`."""
    parameters = {"json": sfn.JsonPath.string_to_json(sfn.JsonPath.string_at(text))}
    return sfn.Pass(scope, name, parameters=parameters, result_path=into)


def _is_object(path: str) -> sfn.Condition:
    return is_text(path, sfn.Condition.string_matches(path, _ANSWER))


def _is_prose(path: str) -> sfn.Condition:
    """A text for people: no JSON, whole or cut, and none within a sentence."""
    json = "{*", "[*", '*{"*'
    return is_text(path, *(sfn.Condition.not_(sfn.Condition.string_matches(path, begin)) for begin in json))

"""What no Catch sees: an execution that timed out, was aborted or broke inside the machine; and a run that never began.

Notice: EventBridge tells that an execution ended so; after a while, in which the server ends what was left behind,
the database is looked at and its state mailed. DailyCheck: once a day, and a mail only if something is wrong. Both are
state machines, because a rule that leads straight to SNS can set neither subject nor text; both only read.
"""

from __future__ import annotations

from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from infra import mail
from infra.alerts import Alerts
from infra.asking import ask
from infra.failures import FAILURE, MISUNDERSTOOD, FailureBranch
from infra.functions import Functions
from infra.machines import make_machine
from infra.naming import Names
from infra.settings import Settings
from infra.triggers import DeadLetters, start

GRACE = cdk.Duration.seconds(60)
TIMEOUT_MS = 3_600_000
HOUR = "6"  # of the daily check, UTC
UNCAUGHT = ["States.Runtime", "States.DataLimitExceeded"]  # no Catch can catch these

_LOOK = "$.look"
_SEEN = f"{_LOOK}.Payload"
_ENDED = """\
A run of the migrations of {environment} ended without a result of its own.

What   {{}} (of the whole execution, not of a statement)
State  {state}
Do     See in the history of the execution how far it came. A new execution is always safe; a redrive is not.
Next   aurora-migrations run --env {environment}

{execution}"""
_KNOWN_STATE = "{} applied, {} pending, as seen a minute later."
_UNKNOWN_STATE = "The database could not be looked at: {}"
_PENDING = """\
Migrations of {environment} are waiting, and nothing runs them.

What   {{}} pending, {{}} applied
Why    A deployment whose event was missed, or a run that failed and was not started again.
Next   aurora-migrations run --env {environment}

{execution}"""


@dataclass(frozen=True)
class Watching:
    """What both need."""

    settings: Settings
    functions: Functions
    alerts: Alerts
    dead_letters: DeadLetters


class Notice(Construct):
    """Mails when an execution of `machine` ended in a way that it couldn't mail itself."""

    def __init__(self, scope: Construct, name: str, watching: Watching, machine: sfn.StateMachine) -> None:
        super().__init__(scope, name)
        settings = watching.settings
        self._environment = settings.name
        diagram = self._diagram(watching.functions, watching.alerts)
        own, self.log = make_machine(self, "notice", settings, watching.alerts, diagram, TIMEOUT_MS)
        event = {name: events.EventField.from_path(f"$.detail.{name}") for name in ("executionArn", "name", "status")}
        events.Rule(
            self,
            "Rule",
            rule_name=Names(settings.name).of("on-end"),
            description="An execution of the migrations that ended without telling anybody.",
            event_pattern=events.EventPattern(
                source=["aws.states"],
                detail_type=["Step Functions Execution Status Change"],
                detail={
                    "stateMachineArn": [machine.state_machine_arn],
                    "$or": [{"status": ["TIMED_OUT", "ABORTED"]}, {"status": ["FAILED"], "error": UNCAUGHT}],
                },
            ),
            targets=[start(own, watching.dead_letters, event)],
        )

    def _diagram(self, functions: Functions, alerts: Alerts) -> sfn.IChainable:
        wait = sfn.Wait(self, "Let it settle", time=sfn.WaitTime.duration(GRACE))
        look = _look(self, functions)
        seen = self._write("Write what was seen", _KNOWN_STATE, [f"{_SEEN}.applied", f"{_SEEN}.pending"])
        unseen = self._write("Write that nothing was seen", _UNKNOWN_STATE, [f"{FAILURE}.Error"])
        send = mail.send(self, "Send", alerts)
        not_sent = sfn.Fail(self, "Not sent", error_path="$.unsent.Error", cause_path="$.unsent.Cause")

        look.add_catch(unseen, result_path=FAILURE)
        send.add_catch(not_sent, result_path="$.unsent")
        understood = sfn.Choice(self, "Seen?").when(_counted(), seen).otherwise(_misunderstood(self, unseen))
        seen.next(send)
        unseen.next(send)
        send.next(sfn.Succeed(self, "Told"))
        wait.next(look)
        look.next(understood)
        return wait

    def _write(self, name: str, state: str, words: list[str]) -> sfn.Pass:
        lines, more = mail.execution(self, "$.name", "$.executionArn")
        return mail.write(
            self,
            name,
            subject=f"[{self._environment}] {{}}: migrations ended",
            text=_ENDED.format(environment=self._environment, state=state, execution=lines),
            words=["$.status", *words, *more],
        )


class DailyCheck(Construct):
    """Looks once a day, and mails if anything is pending, has drifted, or can't be looked at."""

    def __init__(self, scope: Construct, name: str, watching: Watching) -> None:
        super().__init__(scope, name)
        settings = watching.settings
        self._environment = settings.name
        diagram = self._diagram(watching.functions, watching.alerts)
        own, self.log = make_machine(self, "daily", settings, watching.alerts, diagram, TIMEOUT_MS)
        events.Rule(
            self,
            "Rule",
            rule_name=Names(settings.name).of("daily"),
            description="The net under: it was deployed, and nothing ran.",
            schedule=events.Schedule.cron(hour=HOUR, minute="0"),
            targets=[start(own, watching.dead_letters, {"trigger": "daily"})],
        )

    def _diagram(self, functions: Functions, alerts: Alerts) -> sfn.IChainable:
        failure = FailureBranch(self, "Failure", environment=self._environment, alerts=alerts)
        look = _look(self, functions)
        lines, more = mail.execution(self, "$$.Execution.Name", "$$.Execution.Id")
        write = mail.write(
            self,
            "Write what is pending",
            subject=f"[{self._environment}] migrations pending",
            text=_PENDING.format(environment=self._environment, execution=lines),
            words=[f"{_SEEN}.pending", f"{_SEEN}.applied", *more],
        )
        send = mail.send(self, "Send", alerts)
        nothing = sfn.Succeed(self, "Nothing pending")
        misunderstood = failure.give_up("Answer not understood", *MISUNDERSTOOD)

        look.next(
            sfn.Choice(self, "Anything pending?")
            .when(sfn.Condition.and_(_counted(), sfn.Condition.number_equals(f"{_SEEN}.pending", 0)), nothing)
            .when(_counted(), write)
            .otherwise(misunderstood)
        )
        write.next(send)
        send.next(sfn.Succeed(self, "Told"))
        for task in (look, send):
            failure.catch(task)
        return look


def _look(scope: Construct, functions: Functions) -> tasks.LambdaInvoke:
    return ask(scope, "Look", functions, "preflight", into=_LOOK, input={"action": "plan", "trigger": "watch"})


def _counted() -> sfn.Condition:
    """Whether preflight answered with two numbers."""
    counts = (f"{_SEEN}.applied", f"{_SEEN}.pending")
    return sfn.Condition.and_(
        *(check(count) for count in counts for check in (sfn.Condition.is_present, sfn.Condition.is_numeric))
    )


def _misunderstood(scope: Construct, then: sfn.IChainable) -> sfn.Pass:
    error, cause = MISUNDERSTOOD
    words = sfn.Result.from_object({"Error": error, "Cause": cause})
    told = sfn.Pass(scope, "Answer not understood", result=words, result_path=FAILURE)
    told.next(then)
    return told

"""What no Catch sees: an execution that timed out, was aborted or broke inside the machine; and a run that never began.

Notice: EventBridge tells that an execution ended so; after a while, in which the server ends what was left behind,
the database is looked at and its state mailed. DailyCheck: once a day, and a mail only if something is wrong. Both look
again while a run is at work: the call of a function goes on when its execution has ended, and a run may just be
applying what is pending. Both are state machines, because a rule that leads straight to SNS can set neither subject
nor text; both only read. AWS delivers the events of executions as well as it can, and promises nothing: the daily
check is the net.
"""

from __future__ import annotations

from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra import mail, texts
from infra.alerts import Alerts
from infra.failures import FAILURE, MISUNDERSTOOD, FailureBranch
from infra.functions import Functions
from infra.looking import IN_WORDS, PENDING, again_while_at_work, first_look, is_seen, look
from infra.machines import make_machine
from infra.naming import Names
from infra.settings import Settings
from infra.triggers import DeadLetters, start

GRACE = cdk.Duration.seconds(60)
WHILE_AT_WORK = cdk.Duration.minutes(5)  # between two looks of the daily check
TIMEOUT_MS = 21_600_000
HOUR = "6"  # of the daily check, UTC
# What a failed execution says that no Catch caught: our own Fails always bear a name, and never one of Step Functions'.
UNCAUGHT = events.Match.any_of(events.Match.prefix("States."), events.Match.does_not_exist())


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
        self._lasting = settings.limits.task_timeout
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
        looking = look(self, "Look", functions, "notice")
        seen = self._write("Write what was seen", IN_WORDS, True)
        unseen = self._write("Write that nothing was seen", f"{FAILURE}.Error", False)
        send = mail.send(self, "Send", alerts)
        not_sent = sfn.Fail(self, "Not sent", error_path="$.unsent.Error", cause_path="$.unsent.Cause")

        looking.add_catch(unseen, result_path=FAILURE)
        send.add_catch(not_sent, result_path="$.unsent")
        at_rest = again_while_at_work(self, looking, seen, every=GRACE, lasting=self._lasting)
        understood = sfn.Choice(self, "Seen?").when(is_seen(), at_rest).otherwise(_misunderstood(self, unseen))
        seen.next(send)
        unseen.next(send)
        send.next(sfn.Succeed(self, "Told"))
        wait.next(looking)
        looking.next(understood)
        return first_look(self).next(wait)

    def _write(self, name: str, state: str, seen: bool) -> sfn.Pass:
        return mail.write(self, name, texts.ended(self._environment, cdk.Stack.of(self).region, state, seen))


class DailyCheck(Construct):
    """Looks once a day, and mails if anything is pending, has drifted, or can't be looked at."""

    def __init__(self, scope: Construct, name: str, watching: Watching) -> None:
        super().__init__(scope, name)
        settings = watching.settings
        self._environment = settings.name
        self._lasting = settings.limits.task_timeout
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
        failure = FailureBranch(
            self, "Failure", environment=self._environment, alerts=alerts, what="daily check of migrations"
        )
        looking = look(self, "Look", functions, "daily")
        text = texts.pending(self._environment, cdk.Stack.of(self).region, IN_WORDS)
        write = mail.write(self, "Write what is pending", text)
        send = mail.send(self, "Send", alerts)
        nothing = sfn.Succeed(self, "Nothing pending")
        misunderstood = failure.give_up("Answer not understood", *MISUNDERSTOOD)
        at_rest = again_while_at_work(self, looking, write, every=WHILE_AT_WORK, lasting=self._lasting)

        looking.next(
            sfn.Choice(self, "Anything pending?")
            .when(sfn.Condition.and_(is_seen(), sfn.Condition.number_equals(PENDING, 0)), nothing)
            .when(is_seen(), at_rest)
            .otherwise(misunderstood)
        )
        write.next(send)
        send.next(sfn.Succeed(self, "Told"))
        for task in (looking, send):
            failure.catch(task)
        return first_look(self).next(looking)


def _misunderstood(scope: Construct, then: sfn.IChainable) -> sfn.Pass:
    error, cause = MISUNDERSTOOD
    words = sfn.Result.from_object({"Error": error, "Cause": cause})
    told = sfn.Pass(scope, "Answer not understood", result=words, result_path=FAILURE)
    told.next(then)
    return told

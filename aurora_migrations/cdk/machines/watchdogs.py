"""Watchdogs for what no Catch handles: an execution that timed out, was aborted or broke inside the state machine, and
a run that never started.

Notice: EventBridge reports such an end; after a pause, in which the server ends abandoned sessions, preflight reads the
database and writes the mail. DailyCheck: runs once a day, and mails only if something is wrong. Both check again while
a run is in progress: a function call continues after its execution has ended, and a run may just be applying what is
pending. Both are state machines, because a rule that targets SNS directly can set neither subject nor text; both only
read. AWS delivers execution events on a best-effort basis, so the daily check catches what was missed.
"""

from __future__ import annotations

from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from aurora_migrations.cdk.alerts import Alerts
from aurora_migrations.cdk.config import Environment
from aurora_migrations.cdk.functions import Functions
from aurora_migrations.cdk.machines.failure_branch import FAILURE, TYPED, FailureBranch
from aurora_migrations.cdk.machines.states import fill, is_mail, is_text, is_true, make_machine, report, send
from aurora_migrations.cdk.naming import Names
from aurora_migrations.cdk.triggers import DeadLetters, start
from aurora_migrations.engine.steps.execution import ADOPTIONS, READ_ONLY_ACTIONS
from aurora_migrations.engine.steps.layout import unwritten

_MAIL, _AGAIN = "$.mail", "$.again"  # in preflight's answer, which is all that is left of the state
ENDED = "Migration STOPPED"
GRACE = cdk.Duration.seconds(60)  # before the notice machine's first check, and between checks
WHILE_AT_WORK = cdk.Duration.minutes(5)  # between two checks of the daily check
TIMEOUT_MS = 21_600_000
HOUR = "6"  # of the daily check, UTC
# The error of a failed execution that no Catch caught. Our own Fails always have a name, never one of Step Functions'.
UNCAUGHT = events.Match.any_of(events.Match.prefix("States."), events.Match.does_not_exist())


@dataclass(frozen=True)
class Watchdogs:
    """What both watchdogs need."""

    settings: Environment
    functions: Functions
    alerts: Alerts
    dead_letters: DeadLetters

    def max_checks(self, every: cdk.Duration) -> int:
        """How often to check while a run is in progress: until a call that was running at first must have ended."""
        return -(-self.settings.limits.task_timeout // int(every.to_milliseconds())) + 1


class Notice(Construct):
    """Mails when an execution of `machine` ended in a way in which it couldn't send a mail itself."""

    def __init__(self, scope: Construct, name: str, watchdogs: Watchdogs, machine: sfn.StateMachine) -> None:
        super().__init__(scope, name)
        settings = watchdogs.settings
        own, _ = make_machine(self, "notice", settings, watchdogs.alerts, self._diagram(watchdogs), TIMEOUT_MS)
        detail = events.RuleTargetInput.from_event_path("$.detail")  # as it is: a template might miss what is missing
        events.Rule(
            self,
            "Rule",
            rule_name=Names(settings.name).of("on-end"),
            description="An execution of the migrations ended without a mail of its own.",
            event_pattern=events.EventPattern(
                source=["aws.states"],
                detail_type=["Step Functions Execution Status Change"],
                detail={
                    "stateMachineArn": [machine.state_machine_arn],
                    "$or": [{"status": ["TIMED_OUT", "ABORTED"]}, {"status": ["FAILED"], "error": UNCAUGHT}],
                },
            ),
            targets=[start(own, watchdogs.dead_letters, detail)],
        )

    def _diagram(self, watchdogs: Watchdogs) -> sfn.IChainable:
        settings = watchdogs.settings
        settle = sfn.Wait(self, "Wait for sessions to end", time=sfn.WaitTime.duration(GRACE))
        writing = report(
            self,
            "Write the mail",
            watchdogs.functions,
            "end",
            trigger="notice",
            state=sfn.JsonPath.entire_payload,
            looks=watchdogs.max_checks(GRACE),
            limit_ms=settings.limits.run_timeout,
            retries=sfn.JsonPath.number_at("$$.State.RetryCount"),
        )
        text = unwritten(settings.name, cdk.Stack.of(self).region, ENDED)
        event = "$$.Execution.Input"  # not the state: there an answer may be that isn't understood
        short = sfn.Pass(
            self, "Write a short mail", parameters={"mail": fill(text, f"{event}.status", f"{event}.executionArn")}
        )
        sending = send(self, "Send", watchdogs.alerts, _MAIL)
        understood = sfn.Choice(self, "Mail written?").when(is_true(_AGAIN), settle, comment="a run is in progress")

        settle.next(writing)
        writing.add_catch(short, result_path=sfn.JsonPath.DISCARD)  # beside a long input nothing may fit
        writing.next(understood.when(is_mail(_MAIL), sending).otherwise(short))
        short.next(sending)
        not_sent = sfn.Fail(self, "Not sent", error_path="$.unsent.Error", cause_path="$.unsent.Cause")
        sending.add_catch(not_sent, result_path="$.unsent")
        sending.next(sfn.Succeed(self, "Sent"))
        nobody = sfn.Succeed(self, "No mail needed")
        return (
            sfn.Choice(self, "Read-only command?")
            .when(_was_typed_read_only_command(), nobody, comment=TYPED)
            .otherwise(settle)
        )


def _was_typed_read_only_command() -> sfn.Condition:
    """Whether somebody typed a read-only command, by an event's detail, where the input is a text or missing.

    There must be no doubt: key and value are as the command line writes them, or without the space between. Within a
    value they can't be, because a quotation mark has a backslash before it there.
    """

    def has(key: str, value: str) -> sfn.Condition:
        found = (sfn.Condition.string_matches("$.input", f'*"{key}":{space}"{value}"*') for space in ("", " "))
        return sfn.Condition.or_(*found)

    unconfirmed = sfn.Condition.not_(sfn.Condition.string_matches("$.input", '*"confirm":*'))
    read_only = sfn.Condition.or_(
        *(has("action", name) for name in READ_ONLY_ACTIONS),
        sfn.Condition.and_(unconfirmed, sfn.Condition.or_(*(has("action", name) for name in ADOPTIONS))),
    )
    return is_text("$.input", has("trigger", "cli"), read_only)


class DailyCheck(Construct):
    """Checks once a day, and mails if anything is pending or has drifted, or if the check fails."""

    def __init__(self, scope: Construct, name: str, watchdogs: Watchdogs) -> None:
        super().__init__(scope, name)
        settings = watchdogs.settings
        own, _ = make_machine(self, "daily", settings, watchdogs.alerts, self._diagram(watchdogs), TIMEOUT_MS)
        events.Rule(
            self,
            "Rule",
            rule_name=Names(settings.name).of("daily"),
            description="Checks every day that nothing that was deployed is still pending.",
            schedule=events.Schedule.cron(hour=HOUR, minute="0"),
            targets=[start(own, watchdogs.dead_letters, events.RuleTargetInput.from_object({"trigger": "daily"}))],
        )

    def _diagram(self, watchdogs: Watchdogs) -> sfn.IChainable:
        failure = FailureBranch(
            self,
            "Failure",
            environment=watchdogs.settings.name,
            alerts=watchdogs.alerts,
            functions=watchdogs.functions,
            what="Daily check FAILED",
            execution_input={"action": "plan", "trigger": "daily"},
        )
        checking = report(
            self,
            "Check the database",
            watchdogs.functions,
            "pending",
            trigger="daily",
            state=sfn.JsonPath.entire_payload,
            looks=watchdogs.max_checks(WHILE_AT_WORK),
        )
        wait = sfn.Wait(self, "Wait for the run", time=sfn.WaitTime.duration(WHILE_AT_WORK))
        sending = send(self, "Send", watchdogs.alerts, _MAIL)

        checking.add_catch(failure.write, result_path=FAILURE)
        pending = sfn.Choice(self, "Anything pending?").when(is_true(_AGAIN), wait, comment="a run is in progress")
        no_mail = sfn.Condition.and_(sfn.Condition.is_present(_MAIL), sfn.Condition.is_null(_MAIL))
        pending.when(no_mail, sfn.Succeed(self, "Nothing pending"), comment="no")
        misunderstood = failure.misunderstood("preflight", failure.write)
        checking.next(pending.when(is_mail(_MAIL), sending).otherwise(misunderstood))
        wait.next(checking)
        sending.add_catch(failure.end, result_path=FAILURE)
        sending.next(sfn.Succeed(self, "Sent"))
        return checking

"""What no Catch sees: an execution that timed out, was aborted or broke inside the machine; and a run that never began.

Notice: EventBridge tells that an execution ended so, and with what input it had begun, which a function puts into
words; after a while, in which the server ends what was left behind, the database is looked at and its state mailed.
DailyCheck: once a day, and a mail only if something is wrong. Both look again while a run is at work: the call of a
function goes on when its execution has ended, and a run may just be applying what is pending. Both are state
machines, because a rule that leads straight to SNS can set neither subject nor text; both only read. AWS delivers the
events of executions as well as it can, and promises nothing: the daily check is the net.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import aws_cdk as cdk
from aws_cdk import aws_events as events
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from aurora_migrations.cdk import mail, texts
from aurora_migrations.cdk.again import tell_next
from aurora_migrations.cdk.alerts import Alerts
from aurora_migrations.cdk.conditions import is_text, says
from aurora_migrations.cdk.config import Environment
from aurora_migrations.cdk.failure_branch import FAILURE, MISUNDERSTOOD, FailureBranch
from aurora_migrations.cdk.functions import Functions
from aurora_migrations.cdk.looking import (
    IN_WORDS,
    PENDING,
    again_while_at_work,
    first_look,
    is_seen,
    look,
    put_into_words,
)
from aurora_migrations.cdk.naming import Names
from aurora_migrations.cdk.starters import STARTED, of_an_event, tell_who, unless_typed
from aurora_migrations.cdk.states import make_machine
from aurora_migrations.cdk.texts import End
from aurora_migrations.cdk.triggers import DeadLetters, start

_ASKED, _END, _NEXT = "$.asked", "$.end", "$.next"
_PARTS = {part.name: f"{_END}.{part.name}" for part in fields(End)}
GRACE = cdk.Duration.seconds(60)
WHILE_AT_WORK = cdk.Duration.minutes(5)  # between two looks of the daily check
TIMEOUT_MS = 21_600_000
HOUR = "6"  # of the daily check, UTC
# What a failed execution says that no Catch caught: our own Fails always bear a name, and never one of Step Functions'.
UNCAUGHT = events.Match.any_of(events.Match.prefix("States."), events.Match.does_not_exist())


@dataclass(frozen=True)
class Watching:
    """What both need."""

    settings: Environment
    functions: Functions
    alerts: Alerts
    dead_letters: DeadLetters


class Notice(Construct):
    """Mails when an execution of `machine` ended in a way that it couldn't mail itself."""

    def __init__(self, scope: Construct, name: str, watching: Watching, machine: sfn.StateMachine) -> None:
        super().__init__(scope, name)
        settings = watching.settings
        self._environment = settings.name
        self._limits = settings.limits
        diagram = self._diagram(watching.functions, watching.alerts)
        own, self.log = make_machine(self, "notice", settings, watching.alerts, diagram, TIMEOUT_MS)
        detail = events.RuleTargetInput.from_event_path("$.detail")  # as it is: a template might miss what is missing
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
            targets=[start(own, watching.dead_letters, detail)],
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
        still = self._still_at_work(seen)
        lasting = self._limits.task_timeout
        at_rest = again_while_at_work(self, looking, seen, still, every=GRACE, lasting=lasting)
        understood = sfn.Choice(self, "Seen?").when(is_seen(), at_rest).otherwise(_misunderstood(self, unseen))
        seen.next(send)
        unseen.next(send)
        send.next(sfn.Succeed(self, "Told"))
        wait.next(looking)
        looking.next(understood)
        begin = first_look(self)
        begin.next(wait)
        return self._begin(functions, begin)

    def _begin(self, functions: Functions, then: sfn.IChainable) -> sfn.Choice:
        """Who or what started it, what to type next, and how it ended. What goes on is small, however long its input
        was."""
        asking = put_into_words(self, "Ask who started it", functions, "notice", _ASKED)
        ways = texts.begin_again(self._environment), texts.look_before(self._environment)
        next_one = tell_next(self, f"{_ASKED}.Payload.again", *ways, _NEXT, self._ended(then))
        who = tell_who(self, f"{_ASKED}.Payload.started", of_an_event(), next_one)
        asking.add_catch(who, result_path=sfn.JsonPath.DISCARD)
        asking.next(who)
        return unless_typed(self, of_an_event(), sfn.Succeed(self, "Nobody to tell"), asking)

    def _ended(self, then: sfn.IChainable) -> sfn.Choice:
        environment, error = self._environment, "$.error"
        advised = {part: f"{_NEXT}.{part}" for part in ("to_do", "command")}
        ways = {
            "Aborted": (says("$.status", "ABORTED"), texts.aborted(environment, "{}"), {"command": "$.name"}),
            "Timed out": (
                says("$.status", "TIMED_OUT"),
                texts.timed_out(environment, self._limits.run_timeout),
                advised,
            ),
            "Broke by name": (is_text(error), texts.broke(environment, "{}"), {**advised, "why": error}),
        }
        choice = sfn.Choice(self, "How did it end?")
        for name, (condition, end, words) in ways.items():
            said = "its error has a name" if "why" in words else None
            choice.when(condition, self._tell(name, end, words, then), comment=said)
        return choice.otherwise(self._tell("Broke", texts.broke(environment), advised, then))

    def _tell(self, name: str, end: End, words: Mapping[str, str], then: sfn.IChainable) -> sfn.Pass:
        """What is left of the state: the texts of this end, with what stands under the paths in their places, and what
        the mail names."""
        kept = {key: sfn.JsonPath.string_at(f"$.{key}") for key in ("executionArn", "name", "status")}
        started = {"text": sfn.JsonPath.string_at(STARTED)}
        told = sfn.Pass(self, name, parameters={**kept, "started": started, "end": mail.parts(end.parts(), words)})
        told.next(then)
        return told

    def _still_at_work(self, then: sfn.IChainable) -> sfn.Pass:
        parts = mail.parts(End("{}", "{}", "{}", "").at_work(self._environment).parts(), _PARTS)
        told = sfn.Pass(self, "Still at work", parameters=parts, result_path=_END)
        told.next(then)
        return told

    def _write(self, name: str, state: str, seen: bool) -> sfn.Pass:
        paths = {**_PARTS, "started": STARTED}
        return mail.write(self, name, texts.ended(self._environment, cdk.Stack.of(self).region, paths, state, seen))


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
            targets=[start(own, watching.dead_letters, events.RuleTargetInput.from_object({"trigger": "daily"}))],
        )

    def _diagram(self, functions: Functions, alerts: Alerts) -> sfn.IChainable:
        failure = FailureBranch(
            self, "Failure", environment=self._environment, alerts=alerts, what="daily check of migrations"
        )
        looking = look(self, "Look", functions, "daily")
        where = self._environment, cdk.Stack.of(self).region
        write = mail.write(self, "Write what is pending", texts.pending(*where, IN_WORDS))
        send = mail.send(self, "Send", alerts)
        nothing = sfn.Succeed(self, "Nothing pending")
        misunderstood = failure.misunderstood("preflight")
        still = mail.write(self, "Write that a run is at work", texts.pending(*where, IN_WORDS, at_work=True))
        at_rest = again_while_at_work(self, looking, write, still, every=WHILE_AT_WORK, lasting=self._lasting)

        looking.next(
            sfn.Choice(self, "Anything pending?")
            .when(sfn.Condition.and_(is_seen(), sfn.Condition.number_equals(PENDING, 0)), nothing)
            .when(is_seen(), at_rest)
            .otherwise(misunderstood)
        )
        write.next(send)
        still.next(send)
        send.next(sfn.Succeed(self, "Told"))
        failure.catch(looking, "preflight")
        failure.catch(send, "mail")
        return first_look(self).next(looking)


def _misunderstood(scope: Construct, then: sfn.IChainable) -> sfn.Pass:
    told = sfn.Pass(scope, "Answer not understood", result=sfn.Result.from_object(MISUNDERSTOOD), result_path=FAILURE)
    told.next(then)
    return told

"""A look at the database by preflight, which only reads: how much is applied, and what is pending."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from aurora_migrations.cdk.asking import ask
from aurora_migrations.cdk.conditions import is_text
from aurora_migrations.cdk.functions import Functions

_LOOK = "$.look"
PENDING = f"{_LOOK}.Payload.pending"
IN_WORDS = f"{_LOOK}.Payload.database_now"  # several lines of a mail
_AT_WORK = f"{_LOOK}.Payload.running"  # who has the run lock; null if nobody has
_AGAIN, _LOOKS = "$.again", "$.again.looks"


def look(scope: Construct, name: str, functions: Functions, trigger: str) -> tasks.LambdaInvoke:
    """The state that looks. `trigger` says whose look it is, in logs and mails."""
    return ask(scope, name, functions, "preflight", into=_LOOK, input={"action": "plan", "trigger": trigger})


def put_into_words(scope: Construct, name: str, functions: Functions, trigger: str, into: str) -> tasks.LambdaInvoke:
    """The state that has preflight say who or what started an execution that ended: the one of the machine's input,
    which is what an event says of it. It looks at no database."""
    asked = {"action": "plan", "trigger": trigger}
    return ask(scope, name, functions, "preflight", into=into, input=asked, ended="$")


def is_seen() -> sfn.Condition:
    """Whether preflight answered in words and numbers."""
    return sfn.Condition.and_(sfn.Condition.is_present(PENDING), sfn.Condition.is_numeric(PENDING), is_text(IN_WORDS))


def first_look(scope: Construct) -> sfn.Pass:
    """The state that begins to count the looks; see `again_while_at_work`."""
    return sfn.Pass(scope, "Begin", result=sfn.Result.from_object({"looks": 1}), result_path=_AGAIN)


def again_while_at_work(
    scope: Construct,
    looking: tasks.LambdaInvoke,
    then: sfn.IChainable,
    still: sfn.IChainable,
    *,
    every: cdk.Duration,
    lasting: int,
) -> sfn.Choice:
    """Looks again for as long as somebody has the run lock, and then goes on.

    A call of a function doesn't end with the execution that made it: it goes on with what it was at.

    Args:
        then: where it goes on once nobody has.
        still: where it goes on if somebody has it all that time.
        lasting: milliseconds in which a call must have ended.
    """
    most = -(-lasting // every.to_milliseconds()) + 1
    at_work = is_text(_AT_WORK)
    few = sfn.Condition.and_(sfn.Condition.is_present(_LOOKS), sfn.Condition.number_less_than(_LOOKS, most))
    looks = sfn.JsonPath.math_add(sfn.JsonPath.number_at(_LOOKS), 1)
    count = sfn.Pass(scope, "Once more", parameters={"looks": looks}, result_path=_AGAIN)
    wait = sfn.Wait(scope, "Let it go on", time=sfn.WaitTime.duration(every))
    count.next(wait)
    wait.next(looking)
    again = sfn.Condition.and_(at_work, few)
    choice = sfn.Choice(scope, "At work?").when(again, count, comment="yes")
    return choice.when(at_work, still, comment="after the last look too").otherwise(then)

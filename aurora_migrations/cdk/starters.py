"""Who or what started an execution, for a mail that a state machine writes.

A function puts it into words, cleaned and cut, which JSONPath can't do. Where none could, the machine tells as much as
it can know without showing a text that somebody typed: that may be of any length, and hold anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from aurora_migrations.cdk.conditions import is_text, says
from aurora_migrations.cdk.texts import started_by
from functions.mail import LOOKS, origin

TYPED_LOOK = "Who typed sees it?"
_STARTED = "$.started"
STARTED = f"{_STARTED}.text"  # lines of a mail
TRIGGERS = {
    "deploy": ("By a deployment", "a deployment; the input on the page below names the stack"),
    "cli": ("By a command line", "a command line; the input on the page below names who typed"),
}
_BY_HAND = ("By hand", origin("", ""))
_SOMEHOW = ("By somebody", "somebody; the input on the page below may say who")


@dataclass(frozen=True)
class Clues:
    """What a machine can tell without a function.

    Attributes:
        says: whether the input names this trigger.
        empty: whether it names nobody.
        typed_look: whether somebody typed a command that only looks, and so sees how it ended.
    """

    says: Callable[[str], sfn.Condition]
    empty: sfn.Condition
    typed_look: sfn.Condition


def of_this_execution() -> Clues:
    """Of the execution itself: AWS lets a Choice look into the context, where its input stands."""
    trigger, who, action = (f"$$.Execution.Input.{key}" for key in ("trigger", "requested_by", "action"))
    nobody = sfn.Condition.and_(
        sfn.Condition.not_(sfn.Condition.is_present(trigger)), sfn.Condition.not_(sfn.Condition.is_present(who))
    )
    looks = sfn.Condition.or_(*(sfn.Condition.string_equals(action, look) for look in LOOKS))
    typed = sfn.Condition.and_(says(trigger, "cli"), is_text(action, looks))
    return Clues(lambda word: says(trigger, word), nobody, typed)


def of_an_event() -> Clues:
    """Of an execution that ended: in the detail of that event its input is a text, and may be missing.

    A look without a mail must be one for certain: key and value stand there as the command line writes them, or without
    a space between. In a value they can't, as a quotation mark has a backslash before it there.
    """
    told = "$.input"
    looks = (_has(told, "action", look) for look in LOOKS)
    typed = is_text(told, _has(told, "trigger", "cli"), sfn.Condition.or_(*looks))
    return Clues(
        lambda word: is_text(told, sfn.Condition.string_matches(told, f'*"trigger"*"{word}"*')),
        says(told, "{}"),
        typed,
    )


def _has(told: str, key: str, value: str) -> sfn.Condition:
    return sfn.Condition.or_(
        *(sfn.Condition.string_matches(told, f'*"{key}":{space}"{value}"*') for space in ("", " "))
    )


def unless_typed(scope: Construct, clues: Clues, silently: sfn.IChainable, then: sfn.IChainable) -> sfn.Choice:
    """The state that leads past the mail if somebody typed a command that only looks: who typed sees how it ended."""
    said = "a look from a terminal"
    return sfn.Choice(scope, TYPED_LOOK).when(clues.typed_look, silently, comment=said).otherwise(then)


def tell_who(scope: Construct, said: str, clues: Clues, then: sfn.IChainable) -> sfn.Choice:
    """The states that write who or what started it to `STARTED`.

    Args:
        said: where a function's words stand, if one could say any.
    """
    take = sfn.Pass(
        scope, "Take who started it", parameters={"text": sfn.JsonPath.string_at(said)}, result_path=_STARTED
    )
    take.next(then)
    choice = sfn.Choice(scope, "Who started it?").when(is_text(said), take, comment="a function said it")
    for word, told in TRIGGERS.items():
        choice.when(clues.says(word), _say(scope, *told, then))
    choice.when(clues.empty, _say(scope, *_BY_HAND, then), comment="nobody is named")
    return choice.otherwise(_say(scope, *_SOMEHOW, then))


def _say(scope: Construct, name: str, words: str, then: sfn.IChainable) -> sfn.Pass:
    result = sfn.Result.from_object({"text": started_by(words)})
    said = sfn.Pass(scope, name, result=result, result_path=_STARTED)
    said.next(then)
    return said

"""A look at the database by preflight, which only reads: how much is applied, and what is pending."""

from __future__ import annotations

from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from infra.asking import ask
from infra.functions import Functions

_LOOK = "$.look"
PENDING = f"{_LOOK}.Payload.pending"
IN_WORDS = f"{_LOOK}.Payload.database_now"  # several lines of a mail


def look(scope: Construct, name: str, functions: Functions, trigger: str) -> tasks.LambdaInvoke:
    """The state that looks. `trigger` says whose look it is, in logs and mails."""
    return ask(scope, name, functions, "preflight", into=_LOOK, input={"action": "plan", "trigger": trigger})


def is_seen() -> sfn.Condition:
    """Whether preflight answered in words and numbers."""
    checks = (sfn.Condition.is_present, sfn.Condition.is_numeric), (sfn.Condition.is_present, sfn.Condition.is_string)
    return sfn.Condition.and_(
        *(check(path) for path, pair in zip((PENDING, IN_WORDS), checks, strict=True) for check in pair)
    )

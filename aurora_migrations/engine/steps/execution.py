"""An execution: who or what started it, its page in the console, and names in its state."""

from __future__ import annotations

from aurora_migrations.engine.steps.execution_input import ACTIONS

READ_ONLY_ACTIONS = tuple(action for action in ACTIONS if action not in ("run-migration", "rollback"))
CONTRACT_BROKEN = "ContractBroken"  # the error of a state machine that doesn't understand an answer
NO_CAUSE = "No cause was given."
SEEN_BY_INITIATOR = "seen_by_asker"  # the fact that marks an error about which no mail is sent
_CONSOLES = {"cn-": "console.amazonaws.cn", "us-gov-": "console.amazonaws-us-gov.com"}  # by how regions begin


def console(arn: str) -> str:
    """The page of an execution in AWS's console."""
    return f"{console_page(f'{arn}::::'.split(':')[3])}{arn}"


def console_page(region: str) -> str:
    """The page of an execution in AWS's console, but for the execution's ARN at its end."""
    host = next((host for begin, host in _CONSOLES.items() if region.startswith(begin)), "console.aws.amazon.com")
    return f"https://{host}/states/home?region={region}#/v2/executions/details/"


def initiator(trigger: str, requested_by: str) -> str:
    """Who or what started an execution, as text."""
    if trigger == "deploy":  # by the rule on deployments, which passes the stack's ARN on
        return f"the deployment of stack {f'{requested_by}//'.split('/')[1] or requested_by or 'unknown'}"
    if trigger == "daily":
        return "the daily check"
    if not (trigger or requested_by):
        return "hand, and nobody is named (the console, or AWS's own tools)"
    return f"{requested_by or 'somebody'}{f' ({trigger})' if trigger else ''}"

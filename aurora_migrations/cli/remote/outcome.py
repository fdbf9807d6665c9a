"""How an execution ended: its answer, or its error as the engine would have raised it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aurora_migrations.cli.remote.aws_errors import ExecutionFailed
from aurora_migrations.cli.remote.executions import Execution
from aurora_migrations.engine.errors import Cancelled, InvalidInput, MigratorError, NextCommand

_WORDS = ("message", "cause", "state", "solution", "next_command")
_NO_FACTS = (*_WORDS, "error", "execution", "mail")  # the mail says the same once more
_SHOWN = 1_000  # characters of a cause that nobody has written for people
_GOES_ON = "A call that was under way goes on to its end by itself. " + ExecutionFailed.state


def answer_of(execution: Execution) -> dict[str, Any]:
    """The execution's answer.

    Raises:
        MigratorError: it ended otherwise; by the name and with the facts that the engine had given its error.
    """
    if execution.status != "SUCCEEDED":
        raise error_of(execution)
    answer = dict(execution.answer or {})
    if not {"status", "migration", "message"} <= answer.keys():
        raise contract_broken(execution.name, "its answer isn't one of this product's")
    return answer


def contract_broken(execution: str, what: str) -> ExecutionFailed:
    """The error of an execution that succeeded with an answer that this version can't read."""
    error = ExecutionFailed(
        f"The execution {execution} succeeded, but {what}.",
        cause="The stack was made by something else, or: is the state machine of another version?",
        solution="Deploy the environment with this version of the product, or use that one's command line.",
        next_command=_log_of(execution),
    )
    error.kind = "ContractBroken"
    return error


def error_of(execution: Execution) -> MigratorError:
    """The error that an execution ended with."""
    if execution.status == "ABORTED":
        return Cancelled(
            f"The execution {execution.name} was stopped: {execution.cause or 'nobody said why'}.",
            cause="Somebody stopped it, here or in the console.",
            state=_GOES_ON,
            next_command=NextCommand("status"),
        )
    if execution.status == "TIMED_OUT":
        return ExecutionFailed(
            f"The execution {execution.name} took longer than the environment's limits.run_timeout allows.",
            cause="It waited for others all the time, or there was more to do than fits into that time.",
            state=_GOES_ON,
            next_command=_log_of(execution.name),
        )
    told = document_in(execution.cause)
    return _known(told, execution) if told else _unknown(execution)


def document_in(cause: str | None) -> dict[str, Any] | None:
    """The engine's error in a Cause of Step Functions: a JSON document, as the text of what Lambda raised."""
    raised = _object(cause)
    told = _object(raised.get("errorMessage")) if raised else None
    return told if told and isinstance(told.get("error"), str) and isinstance(told.get("message"), str) else None


def _known(told: Mapping[str, Any], execution: Execution) -> MigratorError:
    words: dict[str, Any] = {key: str(told[key]) for key in _WORDS if key in told}
    if "next_command" in words:
        words["next_command"] = NextCommand.parse(words["next_command"])
    facts = {key: value for key, value in told.items() if key not in _NO_FACTS}
    message = words.pop("message")
    if told["error"] == InvalidInput.__name__:
        return InvalidInput(message, **words, **facts)
    error = ExecutionFailed(message, **words, **facts)
    error.kind = str(told["error"])
    return error


def _unknown(execution: Execution) -> MigratorError:
    words = " ".join((execution.cause or "no cause was given").split())
    raised = _object(execution.cause)
    if raised and isinstance(raised.get("errorMessage"), str):
        words = raised["errorMessage"]
    error = ExecutionFailed(
        f"The execution {execution.name} failed: {words[:_SHOWN]}", next_command=_log_of(execution.name)
    )
    error.kind = execution.error or ""
    return error


def _log_of(execution: str) -> NextCommand:
    return NextCommand("logs", (execution,))


def _object(text: object) -> dict[str, Any] | None:
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None

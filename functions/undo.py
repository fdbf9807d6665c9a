"""After a failed verification, where `on_verify_failure` is `rollback`: rolls back what the execution has applied.

It ends with an error in any case, because the run has failed; its fact `schema` is the state that now holds: `before`
the run, `after` it, `neither` or `unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from aurora_migrations.engine.errors import InDoubt, MigratorError, NextCommand, VerificationFailed
from aurora_migrations.engine.status import first
from aurora_migrations.engine.steps.step import Step
from aurora_migrations.engine.steps.undo import Undone, check_undone
from functions import workflow_mails
from functions.entrypoint import Call

_CHECKS_BUDGET = 2_000  # bytes of JSON
_SHOWN = 5  # differences in the message
_BEFORE = "The schema is as it was before this run."
_MEND = "Repair what differs, by hand or with a new migration. The next run applies again what was rolled back."


def undo(call: Call, roll_back: Callable[[Step], Any]) -> dict[str, Any]:
    """Returns `outcome`: `more`, if another call has to go on, or `nothing`, if the execution has applied nothing.

    Raises:
        VerificationFailed: verify's error, with what was rolled back and the state that holds now.
        MigratorError: why the rollback can't go on now, if the state machine retries that.
    """
    caught = workflow_mails.read_failure(call.report.get("failure"))
    # Without a target: what the execution has applied. No input can ask for that.
    given = replace(call.step.input, action="rollback", target=None, confirm=None)

    def as_rollback(step: Step) -> Step:
        return replace(step, input=given)

    try:
        batch = call.with_database_login(lambda step: roll_back(as_rollback(step)))
        if batch.remaining:
            return {"outcome": "more", "remaining": batch.remaining}
        undone = call.with_database_login(lambda step: check_undone(as_rollback(step)))
    except MigratorError as error:
        raise _stopped(error, caught) from error
    if not undone.labels:
        return {"outcome": "nothing"}
    raise undone_error(undone, caught)


def _stopped(error: MigratorError, caught: workflow_mails.Failure) -> MigratorError:
    """The rollback failed; what it had rolled back before is in the error's facts."""
    done = error.facts.get("rolled_back")
    stopped = f"{error.message} This stopped the rollback after a failed check: {caught.why}"
    if isinstance(error, InDoubt):
        return error.but(message=stopped)
    facts: dict[str, Any] = {"schema": "neither" if done else "after"}
    stays = "What isn't rolled back stays applied." if done else "The migrations stay applied."
    if error.retryable:
        return error.but(message=stopped, state=stays, **facts)
    kept = ("rolled_back", "not_done", "not_done_count")
    return VerificationFailed(
        f"{caught.why} The rollback {'stopped' if done else 'was refused'}: {error.message}",
        cause=caught.fact("cause"),
        solution=f"{error.solution}\n{caught.fact('solution')}",
        state=stays,
        next_command=NextCommand("status"),
        by_deployment=False,
        migration=caught.facts.get("migration"),
        checks=caught.facts.get("checks"),
        **{name: error.facts[name] for name in kept if name in error.facts},
        **facts,
    )


def undone_error(undone: Undone, caught: workflow_mails.Failure) -> VerificationFailed:
    """Verify's error, with what was rolled back and whether the schema is as before."""
    schema = "neither" if undone.checks else "unknown" if undone.why_not else "before"
    state, solution = _BEFORE, None
    if undone.checks:
        state = f"The schema isn't as it was before this run: {_differences(list(map(str, undone.checks)))}."
        solution = _MEND
    elif undone.why_not:
        state, solution = f"Whether the schema is as it was before isn't known: {undone.why_not}.", _MEND
    return VerificationFailed(
        caught.why,
        cause=caught.fact("cause"),
        solution=solution,
        state=state,
        next_command=NextCommand("verify") if solution else None,
        by_deployment=schema == "before",
        migration=caught.facts.get("migration"),
        checks=caught.facts.get("checks"),
        left=first([check.to_dict() for check in undone.checks], _CHECKS_BUDGET),
        rolled_back=list(undone.labels),
        schema=schema,
    )


def _differences(checks: Sequence[str]) -> str:
    more = f"; and {len(checks) - _SHOWN} more" if len(checks) > _SHOWN else ""
    return f"{'; '.join(checks[:_SHOWN])}{more}"

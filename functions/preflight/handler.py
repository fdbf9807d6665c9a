"""Preflight: the secret, the connection, the package, and what there is to do. Changes nothing.

The state machines also call it for the mails that no function could write: about a step whose function died, about an
execution that ended, about what is pending.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aurora_migrations.engine.errors import MigratorError
from aurora_migrations.engine.layout import Mail
from functions import workflow_mails
from functions.entrypoint import Call, entrance, unexpected
from functions.preflight.report import preflight
from functions.workflow_mails import Database

LOOKS = 6  # attempts after which a mail goes out without a look; no retry of the state machine has fewer


@entrance("preflight")
def handler(call: Call) -> dict[str, Any]:
    """Tells the state machine which step comes next, and what was found; or writes a mail.

    Args:
        call: the execution's input, and a database that is reached with the secret as it is now. Its `report` says
            about what to write a mail (`about`: failure, end or pending); its input is then that of a plan.

    Returns:
        `next` (apply, verify or done), the package's digest and how much is pending; with `done`, the `result` too.
        Of a report the `mail`, as `subject` and `body`. About an end or what is pending also `again`: whether to ask
        once more after a while, with this answer as the report's `state`, because a run is at work; there is no mail
        then, nor where nothing is pending.

    Raises:
        MigratorError: why nothing can be run; see engine/errors.py. Of a report about a failure or an end only what
            may be over when the state machine calls again.
    """
    about = call.report.get("about")
    if about == "failure":
        return {"mail": _failure(call).to_dict()}
    if about == "end":
        return _end(call)
    report = call.logged_in(preflight)
    call.story.count("MigrationsPending", len(report.pending))
    if about == "pending":
        database = workflow_mails.seen(report.applied, [m.name for m in report.pending], report.running)
        if not report.pending:
            return {"again": False, "mail": None}
        answer = _again(call, database)
        written = None if answer["again"] else workflow_mails.pending(call.run, database).to_dict()
        return {**answer, "mail": written}
    return report.to_dict()


def _failure(call: Call) -> Mail:
    """The mail about a step that failed: as its function has written it, if that can be read after all."""
    caught = workflow_mails.read_failure(call.report.get("failure"))
    run = replace(call.run, step=caught.step, asked=workflow_mails.known_input(call.report.get("input")))
    return caught.mail or workflow_mails.failure(caught, run, _look(call))


def _end(call: Call) -> dict[str, Any]:
    state = call.report.get("state")
    end = workflow_mails.read_end(state if isinstance(state, Mapping) else {})
    database = _look(call)
    answer: dict[str, Any] = {**end, **_again(call, database), "mail": None}
    if not answer["again"]:
        limit_ms = int(call.report.get("limit_ms") or 0)
        answer["mail"] = workflow_mails.ended(end, call.run.environment, limit_ms, database).to_dict()
    return answer


def _look(call: Call) -> Database:
    """Where the database is. A look that fails does not keep the mail, which then says why.

    Raises:
        MigratorError: it may be seen when the state machine calls again.
    """
    try:
        report = call.logged_in(preflight)
    except Exception as error:
        known = error if isinstance(error, MigratorError) else unexpected(error)
        if known.retryable and int(call.report.get("retries") or 0) < LOOKS:
            raise
        call.story.failed(known)
        return workflow_mails.unseen(known)
    return workflow_mails.seen(report.applied, [m.name for m in report.pending], report.running)


def _again(call: Call, database: Database) -> dict[str, Any]:
    """Whether to look again while a run is at work, and how often that was done: a call of a function goes on when its
    execution has ended, but no longer than the machine's `looks` last."""
    state = call.report.get("state")
    before = state.get("looks") if isinstance(state, Mapping) else None
    looks = before + 1 if isinstance(before, int) else 1
    most = call.report.get("looks")
    return {"looks": looks, "again": database.at_work and isinstance(most, int) and looks < most}

"""Preflight: checks the secret, the connection, the package, and what there is to do. Changes nothing.

The state machines also call it to write the mails that no other function could write: about a step whose function died,
an execution that ended, or pending migrations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aurora_migrations.engine.errors import MigratorError
from aurora_migrations.engine.steps.layout import Mail
from functions import workflow_mails
from functions.entrypoint import Call, Deployment, lambda_handler, unexpected
from functions.preflight.report import Report, preflight
from functions.workflow_mails import Database

ATTEMPTS = 6  # to read the database, before a mail is sent without; no retry of the state machine has fewer


def handler(event: Any, context: Any, deployment: Deployment | None = None) -> dict[str, Any]:
    """Lambda's entry point. Tests pass a `deployment` of their own."""
    return lambda_handler("preflight", check_or_report, event, context, deployment)


def check_or_report(call: Call) -> dict[str, Any]:
    """Returns which step comes next (`next`: apply, verify or done), the package's digest and how much is pending; with
    `done`, the `result` too.

    With a `report`, whose key `about` is failure, end or pending, and an input that is that of a plan, it returns a
    `mail`. For an end and for pending also `again`, which is true while a run is at work: the state machine calls again
    later, with this answer as the report's `state`. Until then `mail` is null; so it is where nothing is pending.

    Raises:
        MigratorError: why nothing can be run. For a failure or an end only errors that the state machine retries.
    """
    about = call.report.get("about")
    if about == "failure":
        return {"mail": _failure(call).to_dict()}
    if about == "end":
        return _end(call)
    report = _preflight(call)
    return _pending(call, report) if about == "pending" else report.to_dict()


def _preflight(call: Call) -> Report:
    report = call.with_database_login(preflight)
    call.telemetry.count("MigrationsPending", len(report.pending))
    return report


def _pending(call: Call, report: Report) -> dict[str, Any]:
    if not report.pending:
        return {"again": False, "mail": None}
    database = _describe_database(report)
    answer = _call_again(call, database)
    written = None if answer["again"] else workflow_mails.pending(call.run, database).to_dict()
    return {**answer, "mail": written}


def _failure(call: Call) -> Mail:
    """The mail about a step that failed: the one that its function has written, or else a new one."""
    caught = workflow_mails.read_failure(call.report.get("failure"))
    run = replace(call.run, step=caught.step, input=workflow_mails.known_input(call.report.get("input")))
    return caught.mail or workflow_mails.failure(caught, run, _read_database(call))


def _end(call: Call) -> dict[str, Any]:
    state = call.report.get("state")
    end = workflow_mails.read_end(state if isinstance(state, Mapping) else {})
    database = _read_database(call)
    answer: dict[str, Any] = {**end, **_call_again(call, database), "mail": None}
    if not answer["again"]:
        limit_ms = int(call.report.get("limit_ms") or 0)
        answer["mail"] = workflow_mails.ended(end, call.run.environment, limit_ms, database).to_dict()
    return answer


def _read_database(call: Call) -> Database:
    """The state of the database. If it can't be read, the mail is written all the same, with the reason in it; unless
    the state machine retries the error."""
    try:
        return _describe_database(_preflight(call))
    except Exception as error:
        known = error if isinstance(error, MigratorError) else unexpected(error)
        if known.retryable and int(call.report.get("retries") or 0) < ATTEMPTS:
            raise
        call.telemetry.log_error(known)
        return workflow_mails.unknown_database_state(known)


def _describe_database(report: Report) -> Database:
    return workflow_mails.database_state(
        report.applied, [migration.name for migration in report.pending], report.running
    )


def _call_again(call: Call, database: Database) -> dict[str, Any]:
    """Whether to call again because a run is in progress, and how often that was done. A function call can outlive its
    execution, but not the number of checks (`looks`) that the state machine allows."""
    state = call.report.get("state")
    before = state.get("looks") if isinstance(state, Mapping) else None
    checks = before + 1 if isinstance(before, int) else 1
    most = call.report.get("looks")
    return {"looks": checks, "again": database.at_work and isinstance(most, int) and checks < most}

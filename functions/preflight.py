"""Preflight: checks the secret, the connection, the package, and what there is to do. Changes nothing: a rehearsal,
where an environment allows one, is rolled back.

The state machines also call it to write the mails that no other function could write: about a step whose function died,
an execution that ended, or pending migrations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aurora_migrations.engine import status
from aurora_migrations.engine.adoption.adopt import check_adoption, plan_adoption, wanted_by
from aurora_migrations.engine.adoption.guard import check_foreign_histories, check_not_applied_by_others
from aurora_migrations.engine.adoption.proof import expectations_of
from aurora_migrations.engine.catalog.facts import read_facts
from aurora_migrations.engine.catalog.pages import digest, without_secrets, write_pages
from aurora_migrations.engine.diagnostics.file_errors import hazards_refused
from aurora_migrations.engine.errors import InvalidInput, MigratorError
from aurora_migrations.engine.history import Applied, read_applied, read_attempts, read_state, read_undone
from aurora_migrations.engine.migrations import Migration
from aurora_migrations.engine.nontransactional.intents import (
    find_in_doubt,
    find_own_cancel,
    find_running,
    find_what_to_cancel,
)
from aurora_migrations.engine.plan import Plan, build_plan, find_target, plan_rollback, read_edits
from aurora_migrations.engine.postgres.session import Holder, Session
from aurora_migrations.engine.preview.rehearsal import LONGEST, jobs_of, rehearse
from aurora_migrations.engine.steps.step import Step, read_only_session
from functions import workflow_mails
from functions.entrypoint import Call, Deployment, lambda_handler, unexpected
from functions.workflow_mails import DatabaseState

# Bytes of JSON. The status has three lists; all together stay far below the 256 KiB that a state may have.
_LIST_BUDGET, _PLAN_BUDGET, _STATUS_BUDGET, _WARNINGS_BUDGET = 100_000, 24_000, 20_000, 4_000
_REHEARSAL_BUDGET = 60_000
_TLS = "SELECT ssl, version, cipher FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()"
DATABASE_ATTEMPTS = 6  # to read the database, before a mail is sent without; no retry of the state machine has fewer


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
    if about == "failure":  # the mail is the one that the step's function has written, or else a new one
        caught = workflow_mails.read_failure(call.report.get("failure"))
        run = replace(call.run, step=caught.step, input=workflow_mails.known_input(call.report.get("input")))
        return {"mail": (caught.mail or workflow_mails.failure(caught, run, _read_database(call))).to_dict()}
    if about == "end":
        return _end(call)
    report = _preflight(call)
    if about != "pending":
        return report.to_dict()
    if not report.pending:
        return {"again": False, "mail": None}
    database = _describe_database(report)
    answer = _call_again(call, database)
    written = None if answer["again"] else workflow_mails.pending(call.run, database).to_dict()
    return {**answer, "mail": written}


@dataclass(frozen=True)
class Report:
    """The result of preflight."""

    step: Step
    pending: tuple[Migration, ...]  # what the run would apply or roll back, in order
    applied: int  # how many migrations the history has
    next: str  # the step that comes now, or `done`
    warnings: tuple[str, ...]
    server: Mapping[str, object]  # server, database, role and TLS of our session
    result: Mapping[str, object] | None = None  # the machine's output, where it is done
    running: Holder | None = None  # the holder of the run lock; read only for the actions plan and cancel
    in_doubt: str | None = None  # the statement that the action resolve settles

    def to_dict(self) -> dict[str, object]:
        """The answer to the state machine: counts, not lists, so that it stays small."""
        given = self.step.input
        return {
            "action": given.action,
            "target": given.target,
            "package": self.step.source.digest,
            "pending": len(self.pending),
            "applied": self.applied,
            "next": self.next,
            "warnings": status.newest(self.warnings, _WARNINGS_BUDGET),
            "requested_by": given.requested_by,
            "trigger": given.trigger,
            "server": dict(self.server),
            "running": str(self.running) if self.running else None,
            **({"in_doubt": self.in_doubt} if self.in_doubt else {}),
            **({"result": dict(self.result)} if self.result is not None else {}),
        }


def preflight(step: Step) -> Report:
    """Checks package and connection, and finds what is pending."""
    _ = step.source  # first: errors in the package don't depend on the database
    with read_only_session(step, "preflight") as session:
        return _ACTIONS[step.input.action](step, session)


def _run(step: Step, session: Session) -> Report:
    plan = _plan(step, session)
    return _report(step, session, plan.pending, plan.applied, "apply" if plan.pending else "verify", plan.warnings)


def _show_plan(step: Step, session: Session) -> Report:
    running = find_running(session)  # first: if no run is in progress then, what is read after it stays true
    plan = _plan(step, session)
    answer = status.plan_answer(session, step.source, plan, _PLAN_BUDGET)
    answer["warnings"] = status.newest(plan.warnings, _WARNINGS_BUDGET)
    if step.input.action == "rehearse":
        answer["rehearsal"] = _rehearse(step, session, plan)
    report = _report(step, session, plan.pending, plan.applied, "done", plan.warnings, answer)
    return replace(report, running=running)


def _rehearse(step: Step, session: Session, plan: Plan) -> dict[str, object]:
    """What a rehearsal of the plan has shown, in a session of its own, as this one can't write."""
    limits, unfinished = step.settings.limits, read_state(session).unfinished
    jobs = jobs_of(step.source, plan.pending, limits)
    with Session(step.url, step.execution, "rehearsal") as writing:
        longest = min(LONGEST, step.deadline.left / 1_000)
        rehearsal = rehearse(writing, jobs, unfinished, limits.lock_timeout, longest)
    files = status.first([each.to_dict() for each in rehearsal.files], _REHEARSAL_BUDGET)
    return {**rehearsal.to_dict(), "files": files, "files_omitted": len(rehearsal.files) - len(files)}


def _read_only(step: Step, session: Session) -> Report:
    """The report of `list-migrations`, `status` or `history`."""
    if step.input.action == "status":
        overview = status.read_overview(session, step.source)
        entries, answer = overview.entries, status.status_answer(overview, session.server, _STATUS_BUDGET)
    else:
        attempts, entries = read_attempts(session, status.ATTEMPTS + 1), status.read_entries(session, step.source)
        answer = status.list_answer(entries, _LIST_BUDGET)
        if step.input.action == "history":
            answer = status.history_answer(attempts, status.ATTEMPTS, _LIST_BUDGET)
    known = {migration.label: migration for migration in step.source.package.migrations}
    pending = tuple(known[entry.migration] for entry in entries if entry.state in ("pending", "partly applied"))
    return _report(step, session, pending, read_applied(session), "done", (), answer)


def _facts(step: Step, session: Session) -> Report:
    """The report of a page of the database's facts."""
    facts = without_secrets(read_facts(session))
    pages, number = write_pages(facts), step.input.page
    if number > len(pages):
        raise InvalidInput(
            f"There is no page {number} of the facts: there are {len(pages)}.",
            cause="The schema has changed, or the number is wrong.",
            solution="Read them again from page 1 on.",
        )
    answer = {
        "message": f"{len(facts)} facts of the catalogue, page {number} of {len(pages)}",
        "server_version": session.server.version,
        "facts": pages[number - 1],
        "count": len(facts),
        "page": number,
        "pages": len(pages),
        "digest": digest(facts),
    }
    return _report(step, session, (), read_applied(session), "done", (), answer)


def _verify(step: Step, session: Session) -> Report:
    package, applied = step.source.package, read_applied(session)
    if step.input.target is not None:
        find_target(package, step.input.target)
    pending = tuple(m for m in package.migrations if m.version not in applied)
    return _report(step, session, pending, applied, "verify")


def _roll_back(step: Step, session: Session) -> Report:
    state = read_state(session)
    check_foreign_histories(session, state)
    applied, undone = state.applied, read_undone(session, step.execution, step.started_at)
    chosen = plan_rollback(step.source.package, applied, step.input.target or "", step.input.confirm, undone)
    step.source.problems("rollback", chosen)
    return _report(step, session, tuple(chosen), applied, "apply" if chosen else "verify")


def _resolve(step: Step, session: Session) -> Report:
    migration = find_target(step.source.package, step.input.target or "")
    name = find_in_doubt(session, migration, step.started_at)
    report = _report(step, session, (), read_applied(session), "apply")
    return replace(report, in_doubt=f"{name} of {migration.name}")


def _cancel(step: Step, session: Session) -> Report:
    # Begun by this execution: another package was deployed meanwhile, and it starts over.
    running = None if find_own_cancel(session, step.started_at) else find_what_to_cancel(session)
    return replace(_report(step, session, (), read_applied(session), "apply"), running=running)


def _adopt(step: Step, session: Session) -> Report:
    """With a confirmation, checks what apply would refuse; without one, returns what would be recorded."""
    adoption = plan_adoption(session, step.source, wanted_by(step.input), expectations_of(step.source))
    new = adoption.migrations
    if step.input.confirm is not None:
        check_adoption(adoption, step.input.confirm)
        return _report(step, session, new, read_applied(session), "apply")
    answer = adoption.to_dict()
    for key, budget in (("migrations", _PLAN_BUDGET), ("differences", _PLAN_BUDGET), ("accept", _WARNINGS_BUDGET)):
        whole: Any = answer[key]
        answer[key] = status.first(whole, budget)
        answer[f"{key}_omitted"] = len(whole) - len(status.first(whole, budget))
    return _report(step, session, new, read_applied(session), "done", (), answer)


_ACTIONS: Mapping[str, Callable[[Step, Session], Report]] = {
    "run-migration": _run,
    "list-migrations": _read_only,
    "status": _read_only,
    "history": _read_only,
    "plan": _show_plan,
    "rehearse": _show_plan,
    "verify": _verify,
    "facts": _facts,
    "rollback": _roll_back,
    "resolve": _resolve,
    "cancel": _cancel,
    "adopt": _adopt,
    "baseline": _adopt,
}


def _plan(step: Step, session: Session) -> Plan:
    """Builds the plan of a run. Files that can't be run are refused now, not when half of them are applied."""
    state = read_state(session)
    check_foreign_histories(session, state)
    check_not_applied_by_others(session, state, step.source.package)
    plan = build_plan(step.source.package, state, read_edits(session, step.source, state.applied), step.input.target)
    step.source.problems("apply", plan.pending)
    return plan


def _report(
    step: Step,
    session: Session,
    pending: tuple[Migration, ...],
    applied: Mapping[int, Applied],
    following: str,
    warnings: Sequence[str] = (),
    answer: Mapping[str, object] | None = None,
) -> Report:
    """HazardRefused, if pending files have hazards that they don't allow, and the environment refuses them."""
    action, server, result = step.input.action, session.server, None
    runs = pending if action in ("run-migration", "plan", "rehearse") else ()
    hazards = [hazard for migration in runs for hazard in step.source.script("apply", migration).open_hazards]
    if hazards and step.settings.hazards == "refuse" and action == "run-migration":
        raise hazards_refused(hazards)
    if answer is not None:
        result = status.complete_answer(action, step.execution, server, answer)
    ((ssl, version, cipher),) = session.query(_TLS)
    proof = {
        "version": server.version,
        "database": server.database,
        "role": server.user,
        "writer": not server.in_recovery,
        "tls": version if ssl == "t" else None,
        "cipher": cipher if ssl == "t" else None,
    }
    return Report(step, pending, len(applied), following, (*warnings, *map(str, hazards)), proof, result)


def _preflight(call: Call) -> Report:
    report = call.with_database_login(preflight)
    call.telemetry.count("MigrationsPending", len(report.pending))
    return report


def _end(call: Call) -> dict[str, Any]:
    state = call.report.get("state")
    end = workflow_mails.read_end(state if isinstance(state, Mapping) else {})
    database = _read_database(call)
    answer: dict[str, Any] = {**end, **_call_again(call, database), "mail": None}
    if not answer["again"]:
        limit_ms = int(call.report.get("limit_ms") or 0)
        answer["mail"] = workflow_mails.ended(end, call.run.environment, limit_ms, database).to_dict()
    return answer


def _read_database(call: Call) -> DatabaseState:
    """The state of the database. If it can't be read, the mail is written all the same, with the reason in it; unless
    the state machine retries the error."""
    try:
        return _describe_database(_preflight(call))
    except Exception as error:
        known = error if isinstance(error, MigratorError) else unexpected(error)
        if known.retryable and int(call.report.get("retries") or 0) < DATABASE_ATTEMPTS:
            raise
        call.telemetry.log_error(known)
        return workflow_mails.unknown_database_state(known)


def _describe_database(report: Report) -> DatabaseState:
    return workflow_mails.database_state(report.applied, [each.name for each in report.pending], report.running)


def _call_again(call: Call, database: DatabaseState) -> dict[str, Any]:
    """Whether to call again because a run is in progress, and how often that was done. A function call can outlive its
    execution, but not the number of checks (`looks`) that the state machine allows."""
    state = call.report.get("state")
    before = state.get("looks") if isinstance(state, Mapping) else None
    checks = before + 1 if isinstance(before, int) else 1
    most = call.report.get("looks")
    return {"looks": checks, "again": database.at_work and isinstance(most, int) and checks < most}

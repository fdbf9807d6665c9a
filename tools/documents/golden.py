"""Golden files of the mails, made from the code as it is now. Those of the terminal are made by
tests/cli/test_messages.py, which has every error come about."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from aurora_migrations.cdk.machines.failure_branch import CONTRACT_BROKEN, FAILED
from aurora_migrations.cdk.machines.watchdogs import ENDED
from aurora_migrations.cdk.naming import Names
from aurora_migrations.cdk.triggers import DEAD_LETTERS
from aurora_migrations.engine.errors import DatabaseUnreachable
from aurora_migrations.engine.postgres.session import Holder, application_name
from aurora_migrations.engine.steps import layout
from aurora_migrations.engine.steps.layout import Mail
from functions import mail, workflow_mails
from functions.mail import Run
from functions.remediation import in_environment
from functions.workflow_mails import Failure
from tests.examples import results
from tests.examples.examples import ARN, ENVIRONMENT, EXECUTION, REGION, Example, examples
from tools.documents import ROOT

FOLDER = ROOT / "tests" / "golden"
MAILS, CHAT, TERMINAL = FOLDER / "mails", FOLDER / "chat", FOLDER / "terminal"
HOLDER = Holder(5120, "migrator", application_name(EXECUTION), "2026-11-23T04:00:17Z")
ASKED = {"target": "018", "trigger": "cli", "requested_by": "ana@build-7"}
UNDOING = {**ASKED, "action": "rollback", "confirm": "018"}
DAILY = {"action": "plan", "trigger": "daily"}
_WAITING = ["017_create_dry_run_log_micro_agente.sql", "018_add_email_to_users.sql"]
PENDING = workflow_mails.database_state(16, _WAITING, None)
BUSY = workflow_mails.database_state(16, _WAITING, HOLDER)
UNSEEN = workflow_mails.unknown_database_state(
    DatabaseUnreachable("db.example:5432 can't be reached: connection refused.")
)
DIED = Failure(
    "Runtime.ExitError", "RequestId: 11111111-2222 Error: Runtime exited with error: signal: killed", "apply"
)
RUN = Run(ENVIRONMENT, "", EXECUTION, ARN, ASKED)
LIMIT_MS = 43_200_000
ENDS = ("TIMED_OUT", "ABORTED", "FAILED")


def files() -> dict[Path, str]:
    """What every golden file must hold."""
    return mails() | {CHAT / f"{name}.json": text for name, text in chats()}


def mails() -> dict[Path, str]:
    """The same for the mails alone."""
    return {MAILS / f"{name}.txt": text for name, text in (*errors(), *successes(), *machines())}


def errors() -> Iterator[tuple[str, str]]:
    for example in examples():
        yield example.name, _format_mail(*failure_mail(example))


def failure_mail(example: Example) -> tuple[str, str]:
    """Subject and body of the mail about an example, written as `functions.entrypoint` has it written."""
    written = _failure(example)
    return written.subject, written.body


def _failure(example: Example) -> Mail:
    run = mail.Run(ENVIRONMENT, example.step, EXECUTION, ARN, example.asked)
    return mail.failure(in_environment(example.error, example.asked, run), run)


def chats() -> Iterator[tuple[str, str]]:
    """Some mails as messages for chat: of each writer one, and a success."""
    by_name = {example.name: example for example in examples()}
    answer, execution_input = results.ANSWERS["success"]
    success = mail.success(answer, mail.Run(ENVIRONMENT, "verify", EXECUTION, ARN, execution_input))
    assert success is not None
    written = {
        "MigrationFailed": _failure(by_name["MigrationFailed"]),
        "function-died": workflow_mails.failure(DIED, RUN, PENDING),
        "failure-no-function-could-tell": unwritten(FAILED, DIED.error),
        "success": success,
    }
    for name, each in written.items():
        yield name, json.dumps(json.loads(each.chat), indent=2, ensure_ascii=False) + "\n"


def successes() -> Iterator[tuple[str, str]]:
    for name, (answer, execution_input) in results.ANSWERS.items():
        written = mail.success(answer, mail.Run(ENVIRONMENT, "verify", EXECUTION, ARN, execution_input))
        if written is not None:
            yield name, _format_mail(written.subject, written.body)


def machines() -> Iterator[tuple[str, str]]:
    """What preflight writes for the state machines, and what needs no function."""
    written = {
        "function-died": workflow_mails.failure(DIED, RUN, PENDING),
        "function-died-and-no-look": workflow_mails.failure(DIED, RUN, UNSEEN),
        "function-died-in-a-rollback": workflow_mails.failure(DIED, replace(RUN, input=UNDOING), PENDING),
        "answer-not-understood": workflow_mails.failure(
            workflow_mails.read_failure(CONTRACT_BROKEN | {"step": "apply"}), RUN, PENDING
        ),
        **dict(ends()),
        "daily-check-pending": workflow_mails.pending(replace(RUN, input=DAILY), PENDING),
        "daily-check-pending-and-still-at-work": workflow_mails.pending(replace(RUN, input=DAILY), BUSY),
        "daily-check-died": workflow_mails.failure(replace(DIED, step="preflight"), replace(RUN, input=DAILY), UNSEEN),
        "failure-no-function-could-tell": unwritten(FAILED, DIED.error),
        "end-no-function-could-tell": unwritten(ENDED, "TIMED_OUT"),
    }
    for name, each in written.items():
        yield name, _format_mail(each.subject, each.body)
    name = Names(ENVIRONMENT).of(DEAD_LETTERS)
    alarm = f'ALARM: "{name}" in EU (Ireland)'  # CloudWatch's own subject
    yield "run-never-started", _format_mail(alarm, layout.never_started(ENVIRONMENT, name))


def ends() -> Iterator[tuple[str, Mail]]:
    for status in ENDS:
        name = f"execution-{status.lower().replace('_', '-')}"
        for case, database in (("", PENDING), ("-and-still-at-work", BUSY), ("-and-no-look", UNSEEN)):
            yield f"{name}{case}", workflow_mails.ended(end(status), ENVIRONMENT, LIMIT_MS, database)
    for case, execution_input in (("in-a-rollback", UNDOING), ("and-nobody-knows-what-was-asked", None)):
        written = workflow_mails.ended(end("TIMED_OUT", execution_input), ENVIRONMENT, LIMIT_MS, PENDING)
        yield f"execution-timed-out-{case}", written


def end(status: str, execution_input: Mapping[str, str] | None = ASKED) -> dict[str, str | None]:
    """The event of an execution's end, as preflight reads it."""
    details = {"ABORTED": {"cause": "Ctrl-C by ben@build-8"}, "FAILED": {"error": "States.Runtime"}}.get(status, {})
    known = {} if execution_input is None else {"input": json.dumps(execution_input)}
    return workflow_mails.read_end({"name": EXECUTION, "executionArn": ARN, "status": status, **known, **details})


def unwritten(what: str, *details: str) -> Mail:
    """A state machine's own mail, with what it knows in its places."""
    text = layout.unwritten(ENVIRONMENT, REGION, what)
    return text._replace(body=text.body.format(*details, ARN), error=details[0])


def _format_mail(subject: str, body: str) -> str:
    return f"Subject: {subject}\n\n{body}"

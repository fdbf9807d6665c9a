"""Golden files of the mails, made from the code as it is now. Those of the terminal are made by
tests/cli/test_messages.py, which has every error come about."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from documents import ROOT, results
from documents.examples import ARN, ENVIRONMENT, EXECUTION, REGION, Example, examples
from functions import mail
from functions.migrator.errors import MigratorError
from functions.migrator.runlock import Holder
from functions.migrator.session import application_name
from functions.remedy import in_environment
from infra import texts
from infra.failures import MISUNDERSTOOD, NOT_LOOKED_AT
from infra.naming import Names
from infra.triggers import DEAD_LETTERS

FOLDER = ROOT / "tests" / "golden"
MAILS, TERMINAL = FOLDER / "mails", FOLDER / "terminal"
_WAITING = ["017_create_dry_run_log_micro_agente.sql", "018_add_email_to_users.sql"]
HOLDER = Holder(5120, "migrator", application_name(EXECUTION), "2026-11-23T04:00:17Z")
ASKED = {"trigger": "cli", "requested_by": "ana@build-7"}
PENDING, BUSY = mail.database_now(16, _WAITING), mail.database_now(16, _WAITING, HOLDER)
# What a machine finds under the paths that its texts name.
VALUES = {
    "$.name": EXECUTION,
    "$.executionArn": ARN,
    "$$.Execution.Name": EXECUTION,
    "$$.Execution.Id": ARN,
    "step": "apply",
    "started": mail.started(ASKED),
    "name": "Runtime.ExitError",
    "error": "Runtime.ExitError",
    "why": "RequestId: 11111111-2222 Error: Runtime exited with error: signal: killed",
    "seen": PENDING,
    "busy": BUSY,
    "unseen": "DatabaseUnreachable",
}
_PATHS = {name: name for name in ("name", "error", "step", "why", "to_do", "command", "started")}
ENDS = {
    "TIMED_OUT": texts.timed_out(ENVIRONMENT, 43_200_000),
    "ABORTED": texts.aborted(ENVIRONMENT, EXECUTION),
    "FAILED": texts.broke(ENVIRONMENT, "States.Runtime"),
}


def files() -> dict[Path, str]:
    """What every golden mail must hold."""
    return {MAILS / f"{name}.txt": text for name, text in (*errors(), *successes(), *machines())}


def first_of(kind: type[MigratorError]) -> str:
    """The first of what terminals have shown of a class: the golden file has each under a heading and its command."""
    text = (TERMINAL / f"{kind.__name__}.txt").read_text("utf-8")
    return re.split(r"(?m)^# ", text)[1].partition("\n\n")[2].strip()


def errors() -> Iterator[tuple[str, str]]:
    """The mail about each example of an error."""
    for example in examples():
        yield example.name, _shown(*told(example))


def told(example: Example) -> tuple[str, str]:
    """Subject and body of the mail about an example, written as `functions.edge` has it written."""
    error: MigratorError = copy.copy(example.error)
    run = mail.Run(ENVIRONMENT, example.step, EXECUTION, ARN, example.asked)
    in_environment(error, example.asked, run)
    written = mail.failure(error, run)
    return written.subject, written.body


def successes() -> Iterator[tuple[str, str]]:
    """The mails about runs that went well."""
    for name, (answer, asked) in results.ANSWERS.items():
        written = mail.success(answer, mail.Run(ENVIRONMENT, "verify", EXECUTION, ARN, asked))
        if written is not None:
            yield name, _shown(written.subject, written.body)


def machines() -> Iterator[tuple[str, str]]:
    """What the state machines and the alarm write themselves."""
    for seen, state, case in ((True, "seen", ""), (False, "unseen", "-and-no-look")):
        broken = texts.broken(ENVIRONMENT, REGION, "run of migrations", {**_PATHS, "look": state}, seen)
        yield f"function-died{case}", _shown(*broken.filled(VALUES | _remedy(texts.run_again(ENVIRONMENT))))
    yield from ends()
    error, why = MISUNDERSTOOD
    misunderstood = {"error": error, "name": error, "why": why, "step": "preflight"}
    misunderstood |= _remedy(texts.deploy_again(ENVIRONMENT))
    odd = texts.broken(ENVIRONMENT, REGION, "run of migrations", {**_PATHS, "look": "seen"}, True)
    yield (
        "answer-not-understood",
        _shown(*odd.filled({**VALUES, **misunderstood})),
    )
    yield "daily-check-pending", _shown(*texts.pending(ENVIRONMENT, REGION, "seen").filled(VALUES))
    busy = texts.pending(ENVIRONMENT, REGION, "busy", at_work=True)
    yield "daily-check-pending-and-still-at-work", _shown(*busy.filled(VALUES))
    daily = texts.broken(
        *(ENVIRONMENT, REGION, "daily check of migrations", {**_PATHS, "look": "unseen"}, False),
        started=texts.started_by(texts.DAILY),
    )
    failed = {**VALUES, "step": "preflight", "unseen": NOT_LOOKED_AT, **_remedy(texts.look_again(ENVIRONMENT))}
    yield "daily-check-died", _shown(*daily.filled(failed))
    name = Names(ENVIRONMENT).of(DEAD_LETTERS)
    alarm = f'ALARM: "{name}" in EU (Ireland)'  # CloudWatch's own subject
    yield "run-never-started", _shown(alarm, texts.never_started(ENVIRONMENT, name))


def ends() -> Iterator[tuple[str, str]]:
    """What the notice machine writes about each way to end."""
    for status, end in ENDS.items():
        name = f"execution-{status.lower().replace('_', '-')}"
        yield name, _ended(status, end, "seen")
        yield f"{name}-and-still-at-work", _ended(status, end.at_work(ENVIRONMENT), "busy")
        yield f"{name}-and-no-look", _ended(status, end, "unseen", seen=False)


def _ended(status: str, end: texts.End, look: str, seen: bool = True) -> str:
    paths = {name: name for name in (*end.parts(), "started")}
    text = texts.ended(ENVIRONMENT, REGION, paths, look, seen)
    reason = "Ctrl-C by ben@build-8" if status == "ABORTED" else None
    told = end.parts()
    return _shown(*text.filled({**VALUES, **told, "started": mail.started(ASKED, reason), "$.status": status}))


def _remedy(remedy: texts.Remedy) -> dict[str, str]:
    return {key: text.format(EXECUTION) for key, text in asdict(remedy).items()}


def _shown(subject: str, body: str) -> str:
    return f"Subject: {subject}\n\n{body}"

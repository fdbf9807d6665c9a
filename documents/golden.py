"""Golden files of the mails, made from the code as it is now. Those of the terminal are made by
tests/cli/test_messages.py, which has every error come about."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path

from documents import ROOT, results
from documents.examples import ARN, ENVIRONMENT, EXECUTION, REGION, Example, examples
from functions import mail
from functions.edge import in_environment
from functions.migrator.errors import MigratorError
from functions.migrator.runlock import Holder
from functions.migrator.session import application_name
from infra import texts
from infra.failures import MISUNDERSTOOD
from infra.naming import Names
from infra.triggers import DEAD_LETTERS

FOLDER = ROOT / "tests" / "golden"
MAILS, TERMINAL = FOLDER / "mails", FOLDER / "terminal"
_WAITING = ["017_create_dry_run_log_micro_agente.sql", "018_add_email_to_users.sql"]
HOLDER = Holder(5120, "migrator", application_name(EXECUTION), "2026-11-23T04:00:17Z")
PENDING, BUSY = mail.database_now(16, _WAITING), mail.database_now(16, _WAITING, HOLDER)
# What a machine finds under the paths that its texts name.
VALUES = {
    "$.name": EXECUTION,
    "$.executionArn": ARN,
    "$$.Execution.Name": EXECUTION,
    "$$.Execution.Id": ARN,
    "$.status": "TIMED_OUT",
    "name": "Runtime.ExitError",
    "error": "Runtime.ExitError",
    "why": "RequestId: 11111111-2222 Error: Runtime exited with error: signal: killed",
    "seen": PENDING,
    "busy": BUSY,
    "unseen": "DatabaseUnreachable",
}
_PATHS = {"name": "name", "error": "error", "why": "why"}


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
        yield f"function-died{case}", _shown(*broken.filled(VALUES))
        yield f"execution-ended{case}", _shown(*texts.ended(ENVIRONMENT, REGION, state, seen).filled(VALUES))
    still = texts.ended(ENVIRONMENT, REGION, "busy", True)
    yield "execution-ended-and-still-at-work", _shown(*still.filled(VALUES))
    misunderstood = dict(zip(("error", "why"), MISUNDERSTOOD, strict=True))
    odd = texts.broken(ENVIRONMENT, REGION, "run of migrations", {**_PATHS, "look": "seen"}, True)
    yield "answer-not-understood", _shown(*odd.filled({**VALUES, **misunderstood, "name": MISUNDERSTOOD[0]}))
    yield "daily-check-pending", _shown(*texts.pending(ENVIRONMENT, REGION, "seen").filled(VALUES))
    name = Names(ENVIRONMENT).of(DEAD_LETTERS)
    alarm = f'ALARM: "{name}" in EU (Ireland)'  # CloudWatch's own subject
    yield "run-never-started", _shown(alarm, texts.never_started(ENVIRONMENT, name))


def _shown(subject: str, body: str) -> str:
    return f"Subject: {subject}\n\n{body}"

"""Golden files of the mails, made from the code as it is now. Those of the terminal are made by
tests/cli/test_messages.py, which has every error come about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from aurora_migrations.cdk import texts
from aurora_migrations.cdk.failure_branch import MISUNDERSTOOD, NOT_LOOKED_AT
from aurora_migrations.cdk.naming import Names
from aurora_migrations.cdk.starters import TRIGGERS
from aurora_migrations.cdk.triggers import DEAD_LETTERS
from aurora_migrations.engine.errors import TRY_AGAIN, MigratorError
from aurora_migrations.engine.postgres.advisory_lock import Holder
from aurora_migrations.engine.postgres.session import application_name
from functions import mail
from functions.remediation import in_environment, next_command
from tests.examples import results
from tests.examples.examples import ARN, ENVIRONMENT, EXECUTION, REGION, Example, examples
from tools.documents import ROOT

FOLDER = ROOT / "tests" / "golden"
MAILS, TERMINAL = FOLDER / "mails", FOLDER / "terminal"
_WAITING = ["017_create_dry_run_log_micro_agente.sql", "018_add_email_to_users.sql"]
HOLDER = Holder(5120, "migrator", application_name(EXECUTION), "2026-11-23T04:00:17Z")
ASKED = {"target": "018", "trigger": "cli", "requested_by": "ana@build-7"}
UNDOING = {**ASKED, "action": "rollback", "confirm": "018"}
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
UNTOLD = texts.started_by(TRIGGERS["cli"][1])  # where no function said who
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
    """Subject and body of the mail about an example, written as `functions.entrypoint` has it written."""
    run = mail.Run(ENVIRONMENT, example.step, EXECUTION, ARN, example.asked)
    written = mail.failure(in_environment(example.error, example.asked, run), run)
    return written.subject, written.body


def successes() -> Iterator[tuple[str, str]]:
    """The mails about runs that went well."""
    for name, (answer, asked) in results.ANSWERS.items():
        written = mail.success(answer, mail.Run(ENVIRONMENT, "verify", EXECUTION, ARN, asked))
        if written is not None:
            yield name, _shown(written.subject, written.body)


def machines() -> Iterator[tuple[str, str]]:
    """What the state machines and the alarm write themselves."""
    yield "function-died", _died(again(texts.run_again(ENVIRONMENT)))
    yield "function-died-and-no-look", _died(again(texts.run_again(ENVIRONMENT)), seen=False)
    undoing = {"started": mail.started(UNDOING), **again(texts.run_again(ENVIRONMENT), UNDOING)}
    yield "function-died-in-a-rollback", _died(undoing)
    untold = {"started": UNTOLD, "step": "preflight", **again(texts.look_first(ENVIRONMENT))}
    yield "function-died-and-told-nothing", _died(untold)
    yield from ends()
    error, why = MISUNDERSTOOD["Error"], MISUNDERSTOOD["Cause"]
    misunderstood = {"error": error, "name": error, "why": why, "step": "preflight"}
    misunderstood |= again(texts.deploy_again(ENVIRONMENT))
    odd = texts.broken(ENVIRONMENT, REGION, "run of migrations", {**_PATHS, "look": "seen"}, True)
    yield "answer-not-understood", _shown(*odd.filled({**VALUES, **misunderstood}))
    yield "daily-check-pending", _shown(*texts.pending(ENVIRONMENT, REGION, "seen").filled(VALUES))
    busy = texts.pending(ENVIRONMENT, REGION, "busy", at_work=True)
    yield "daily-check-pending-and-still-at-work", _shown(*busy.filled(VALUES))
    daily = texts.broken(
        *(ENVIRONMENT, REGION, "daily check of migrations", {**_PATHS, "look": "unseen"}, False),
        started=texts.started_by(texts.DAILY),
    )
    failed = {**VALUES, "step": "preflight", "unseen": NOT_LOOKED_AT, **again(texts.look_again(ENVIRONMENT))}
    yield "daily-check-died", _shown(*daily.filled(failed))
    name = Names(ENVIRONMENT).of(DEAD_LETTERS)
    alarm = f'ALARM: "{name}" in EU (Ireland)'  # CloudWatch's own subject
    yield "run-never-started", _shown(alarm, texts.never_started(ENVIRONMENT, name))


def ends() -> Iterator[tuple[str, str]]:
    """What the notice machine writes about each way to end."""
    known = texts.begin_again(ENVIRONMENT)
    for status, end in ENDS.items():
        name = f"execution-{status.lower().replace('_', '-')}"
        yield name, _ended(status, advised(end, known), "seen")
        yield f"{name}-and-still-at-work", _ended(status, advised(end, known).at_work(ENVIRONMENT), "busy")
        yield f"{name}-and-no-look", _ended(status, advised(end, known), "unseen", seen=False)
    end = ENDS["TIMED_OUT"]
    undoing = advised(end, known, UNDOING)
    yield "execution-timed-out-in-a-rollback", _ended("TIMED_OUT", undoing, "seen", started=mail.started(UNDOING))
    unknown = advised(end, texts.look_before(ENVIRONMENT))
    yield "execution-timed-out-and-nobody-told", _ended("TIMED_OUT", unknown, "seen", started=UNTOLD)


def advised(
    end: texts.End, remedy: texts.Remedy, asked: Mapping[str, str] = ASKED, environment: str = ENVIRONMENT
) -> texts.End:
    """An end with what to do in its places."""
    told = again(remedy, asked, environment)
    parts = {part: text.replace("{}", told[part]) if part in told else text for part, text in end.parts().items()}
    return texts.End(**parts)


def _died(values: Mapping[str, str], seen: bool = True) -> str:
    look = "seen" if seen else "unseen"
    broken = texts.broken(ENVIRONMENT, REGION, "run of migrations", {**_PATHS, "look": look}, seen)
    return _shown(*broken.filled({**VALUES, **values}))


def _ended(status: str, end: texts.End, look: str, seen: bool = True, started: str = "") -> str:
    paths = {name: name for name in (*end.parts(), "started")}
    text = texts.ended(ENVIRONMENT, REGION, paths, look, seen)
    reason = "Ctrl-C by ben@build-8" if status == "ABORTED" else None
    told = {**end.parts(), "started": started or mail.started(ASKED, reason)}
    return _shown(*text.filled({**VALUES, **told, "$.status": status}))


def again(remedy: texts.Remedy, asked: Mapping[str, str] = ASKED, environment: str = ENVIRONMENT) -> dict[str, str]:
    """A remedy's texts, with the execution and what a function says to type in their places."""
    words = {"to_do": EXECUTION, "command": str(next_command(TRY_AGAIN, asked, environment))}
    return {key: text.format(words[key]) for key, text in asdict(remedy).items()}


def _shown(subject: str, body: str) -> str:
    return f"Subject: {subject}\n\n{body}"

"""Mails about executions whose own functions could not write one, and about pending migrations.

Preflight writes them when a state machine calls it for that (`functions/preflight.py`). Two mails that
no function writes are in `engine/steps/layout.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aurora_migrations.engine.diagnostics.redaction import without_password
from aurora_migrations.engine.errors import TRY_AGAIN, MigratorError, NextCommand
from aurora_migrations.engine.postgres.session import Holder
from aurora_migrations.engine.steps import layout
from aurora_migrations.engine.steps.execution import CONTRACT_BROKEN, KEYS, NO_CAUSE, parse_object
from aurora_migrations.engine.steps.layout import (
    ATTRIBUTES,
    NO_REDRIVE,
    NONE,
    SETTLED,
    UNKNOWN,
    Mail,
    Severity,
    in_a_line,
    numbered,
    wrapped,
)
from functions import mail
from functions.mail import Run, undoes
from functions.remediation import deploy_command, next_command

CANNOT_BE_READ = "Its message isn't readable text; see the page of the execution."
CUT_OFF = "AWS stopped the call at the time limit of the function."
_OUT_OF_TIME = "Task timed out after"  # Lambda's message, also as JSON within a sentence (`Lambda.Unknown`)
_LONGEST_WHY, _LONGEST_ARN = 1_000, 300  # characters
_NAMES = 12
_NO_ACTION = "?"  # the action of an input that can't be shown unchanged
_START = f"Start a new run ({NO_REDRIVE}):"
# What an error of Lambda's or Step Functions' own means. The first that its name begins with holds.
_MEANINGS = {
    CONTRACT_BROKEN: "the state machine did not understand the answer",
    "Runtime.OutOfMemory": "the function ran out of memory",
    "Runtime.": "the function crashed",
    "Sandbox.Timedout": "the function was cut off by its time limit",
    "States.Timeout": "the function was cut off by its time limit",
    "Lambda.": "the function could not be called",
}


@dataclass(frozen=True)
class DatabaseState:
    """The state of the database, for a mail."""

    lines: Sequence[str]  # what is applied and pending, or why that isn't known
    at_work: bool = False  # whether a run holds the run lock
    is_known: bool = False
    summary: str = "the database could not be read"
    pending: int = 0


def database_state(applied: int, pending: Sequence[str], running: Holder | None) -> DatabaseState:
    """The state that preflight has read: how many are applied, the names of pending ones, who holds the run lock."""
    summary = f"{applied} applied, {len(pending)} pending"
    lines = wrapped(f"{summary}{':' if pending else '.'}")
    lines += [f"    {name}" for name in pending[:_NAMES]]
    lines += [f"    and {len(pending) - _NAMES} more"] if len(pending) > _NAMES else []
    in_progress = f"In progress: {running}." if running else "No run is in progress."
    return DatabaseState([*lines, *wrapped(in_progress, hang="  ")], running is not None, True, summary, len(pending))


def unknown_database_state(error: MigratorError) -> DatabaseState:
    """The state if preflight couldn't read it."""
    return DatabaseState(wrapped(f"It could not be read: {layout.cut(error.message, _LONGEST_WHY)}"))


@dataclass(frozen=True)
class Failure:
    """An error that a Catch has caught, as far as it can be read."""

    error: str
    why: str  # the reason, as readable text
    step: str  # the step that failed; empty if that isn't known
    mail: Mail | None = None  # the mail that the function which failed has written
    facts: Mapping[str, Any] = field(default_factory=dict)  # those of an error of ours

    def fact(self, name: str) -> str | None:
        """A fact that is a text; None, if there is none of that name."""
        value = self.facts.get(name)
        return value if isinstance(value, str) else None


def read_failure(caught: object) -> Failure:
    """Reads `Error` and `Cause` of a Catch, and the `step` that the state machine has noted beside them. Never raises:
    a value that isn't understood is described as that."""
    given = caught if isinstance(caught, Mapping) else {}
    cause = str(given.get("Cause") or "")
    message = str(parse_object(cause).get("errorMessage") or "")
    document = parse_object(message)
    written = document.get("mail")
    parts = ("subject", "body", *ATTRIBUTES, "chat")
    texts: dict[str, Any] = {part: written.get(part) for part in parts} if isinstance(written, Mapping) else {}
    is_mail = bool(texts) and all(isinstance(text, str) and text for text in texts.values())
    ours = isinstance(document.get("message"), str) and document.get("error") == parse_object(cause).get("errorType")
    return Failure(
        in_a_line(str(given.get("Error") or "Unknown")),
        str(document["message"]) if ours else _read_cause(cause, message),
        in_a_line(str(given.get("step") or "")),
        Mail(**texts) if is_mail else None,
        document if ours else {},
    )


def failure(caught: Failure, run: Run, database: DatabaseState) -> Mail:
    """The mail about a failure of which no function has written one: it died, was cut off, or could not be called."""
    meaning = next((words for name, words in _MEANINGS.items() if caught.error.startswith(name)), "a step failed")
    meaning = _MEANINGS["Sandbox.Timedout"] if caught.why == CUT_OFF else meaning
    meaning += f" in step {caught.step}" if caught.step else ""
    verdict = f"{_urgency(database)}: {meaning}; {database.summary}."
    why = layout.cut(without_password(caught.why), _LONGEST_WHY)
    to_do = _after_failure(caught, run)
    what = "Daily check FAILED" if _is_daily(run) else f"{_noun(run)} FAILED"
    return _compose(run, what, meaning, verdict, why, database, to_do, error=caught.error)


def _compose(
    run: Run,
    what: str,
    details: str,
    verdict: str,
    why: str,
    database: DatabaseState,
    to_do: tuple[Sequence[str], NextCommand],
    reason: str = "",
    error: str = "",
) -> Mail:
    sections = [
        ("What to do", numbered(*to_do)),
        ("What happened", wrapped(why)),
        ("Database", [*database.lines, *wrapped(SETTLED)]),
        ("Execution", mail.execution(run, reason, error)),
    ]
    severity: Severity = "low" if database.is_known else "high"  # as `_urgency` puts it
    subject = layout.subject(run.environment, what, details)
    written = Mail(subject, layout.body(verdict, sections), severity, error or NONE)
    return layout.for_chat(written, run.environment, verdict, *to_do, mail.link(run))


def _urgency(database: DatabaseState) -> str:
    """How urgent a failure is, which nobody has described; the beginning of the verdict."""
    if database.is_known:
        return "Can wait until morning if the application works"
    return "Look at this now if the application does not work; otherwise it can wait until morning"


def _noun(run: Run) -> str:
    return "Rollback" if undoes(run) else "Migration"


def _after_failure(caught: Failure, run: Run) -> tuple[list[str], NextCommand]:
    """What to do, and the next command, which the last step is about."""
    environment = run.environment
    if caught.error == CONTRACT_BROKEN:
        deploy = "Deploy again, so that the state machine and the functions match; the deployment starts a new run:"
        return [deploy], deploy_command(environment, run.deploy)
    if _is_daily(run):
        log = f"If it fails again, read the log: `{_logs(run)}`. Runs would fail, too."
        return [log, "Check now:"], _status(environment)
    to_do, command = _start_again(run)
    return [f"If it has failed like this before, read the log: `{_logs(run)}`.", *to_do], command


def _read_cause(cause: str, message: str) -> str:
    """A function's message, or AWS's own words. JSON, whole or cut, is never shown: it may hold anything."""
    for text in (message, cause):
        if text and text[0] not in "{[" and '{"' not in text:
            return text
    if _OUT_OF_TIME in cause:
        return CUT_OFF
    return CANNOT_BE_READ if cause else NO_CAUSE


def _is_daily(run: Run) -> bool:
    return (run.key("trigger"), run.key("action")) == ("daily", "plan")


def read_end(detail: Mapping[str, Any]) -> dict[str, str | None]:
    """What a mail needs of the event of an execution's end, cleaned and cut, because a state can't hold the longest
    input and an answer. Reading the result again gives the same."""
    texts = {key: in_a_line(str(detail.get(key) or "")) for key in ("name", "status", "error", "cause")}
    arn = str(detail.get("executionArn") or "")
    try:
        given = json.loads(str(detail.get("input") or "null"))
    except (ValueError, RecursionError):
        given = None
    arn = arn if arn.isprintable() and len(arn) <= _LONGEST_ARN else ""
    return {**texts, "executionArn": arn, "input": None if given is None else json.dumps(known_input(given))}


def ended(end: Mapping[str, str | None], environment: str, limit_ms: int, database: DatabaseState) -> Mail:
    """The mail about an execution that was stopped, timed out (after `limit_ms`), or broke inside its state machine;
    `end` is the event, as `read_end` returns it."""
    status, execution_input = str(end["status"]), json.loads(end["input"] or "null")
    run = Run(environment, "", str(end["name"]), str(end["executionArn"]), execution_input)
    to_do, command = _start_again(run)
    reason = error = ""
    what = f"{_noun(run)} STOPPED"
    if status == "ABORTED":
        details = "by a person or a program"
        why = "Somebody stopped the execution; it did not fail. A function call that was already running continues to "
        why += "its end, and what it commits stays."
        agreed = f"When everybody agrees: {to_do[-1][:1].lower()}{to_do[-1][1:]}"
        first = ["Ask whoever stopped it why, before you start anything.", f"See how far it got: `{_logs(run)}`."]
        to_do = [*first, *to_do[:-1], agreed]
        reason = str(end["cause"])
        if reason[:1] in ("{", "[") or '{"' in reason:
            reason = ""  # not readable text
    elif status == "TIMED_OUT":
        hours, rest = divmod(limit_ms, 3_600_000)
        span = f"{hours} h" if hours and not rest else f"{limit_ms / 60_000:g} min"
        details = f"it took longer than {span}"
        why = f"An execution can take at most {span} in all."
        to_do = ["If it needs more time, raise `limits.run_timeout` and deploy.", *to_do]
    else:
        what, error = f"{_noun(run)} FAILED", str(end["error"] or "")
        details = "Step Functions ended the execution"
        why = "Step Functions ended the execution for an error in the state machine, often a missing permission. "
        read = "Read the message on the page of the execution."
        deploy = "Correct what it names; or deploy again, if the state machine and the functions don't match."
        to_do = [read, deploy, *to_do]
    ended = "was stopped" if status == "ABORTED" else "ended early:"
    verdict = f"{_urgency(database)}. The {_noun(run).lower()} {ended} {details}; "
    verdict += f"{database.summary}."
    if database.at_work:
        wait = "A run is in progress. Watch it until it has ended; a new run would only wait for it:"
        to_do, command = [wait], _watch(environment)
    return _compose(run, what, details, verdict, why, database, (to_do, command), reason, error)


def pending(run: Run, database: DatabaseState) -> Mail:
    """The mail about migrations that are deployed and not applied."""
    to_do, command = ["Start a run (always safe):"], NextCommand("run", ("--env", run.environment))
    if database.at_work:
        wait = "A run is in progress. Watch it, and see whether anything is still pending when it has ended:"
        to_do, command = [wait], _watch(run.environment)
    details = f"{database.pending} not applied"
    verdict = "Can wait until morning unless a deployed release needs a pending migration. The daily check found "
    verdict += f"migrations that are deployed but not applied ({database.summary})."
    why = "Either no run was started after a deployment, or a run failed or is waiting for a retry."
    return _compose(run, "Migrations PENDING", details, verdict, why, database, (to_do, command))


def known_input(execution_input: object) -> dict[str, str] | None:
    """The known keys of an execution's input, each as one line of limited length; None if the input isn't known. If
    that changes an action or a number, the action becomes an unknown one: the next command can't be for something
    else."""
    if execution_input is None:
        return None
    run, given = Run("", "", "", "", execution_input), execution_input if isinstance(execution_input, Mapping) else {}
    known = {key: run.key(key) for key in KEYS if run.key(key)}
    exact = all(known.get(key, "") == str(given.get(key) or "") for key in ("action", "target", "confirm"))
    return known if exact else {**known, "action": _NO_ACTION}


def _start_again(run: Run) -> tuple[list[str], NextCommand]:
    """What to do, and the command that does the same again, up to the same migration. After a rollback, or if the input
    isn't known, the command is `status`."""
    if run.input is None or run.key("action") == _NO_ACTION:
        return [UNKNOWN, "See what is applied, then start the same action again:"], _status(run.environment)
    if undoes(run):
        caution = "Careful: a run applies again what the rollback has undone."
        return [caution, "See what is applied, then start the rollback again:"], _status(run.environment)
    return [_START], next_command(TRY_AGAIN, run.input, run.environment)


def _logs(run: Run) -> NextCommand:
    return NextCommand("logs", (run.execution, "--env", run.environment))


def _status(environment: str) -> NextCommand:
    return NextCommand("status", ("--env", environment))


def _watch(environment: str) -> NextCommand:
    return _status(environment).plus("--watch")

"""Mails about executions whose own functions could not write one, and about pending migrations.

Preflight writes them when a state machine calls it for that (`functions/preflight.py`). Two mails that
no function writes are in `engine/steps/layout.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aurora_migrations.engine.diagnostics.redaction import without_password
from aurora_migrations.engine.errors import TRY_AGAIN, MigratorError, NextCommand
from aurora_migrations.engine.postgres.session import Holder
from aurora_migrations.engine.steps import layout
from aurora_migrations.engine.steps.execution import CONTRACT_BROKEN, KEYS, NO_CAUSE
from aurora_migrations.engine.steps.layout import SAFE, SETTLED, UNKNOWN, Mail, in_a_line, wrapped
from functions import mail
from functions.mail import Run, undoes
from functions.remediation import deploy_command, next_command

CANNOT_BE_READ = "What it said is no text for people; the page of the execution has it."
CUT_OFF = "AWS cut the call off when the time limit of the function was over."
_OUT_OF_TIME = "Task timed out after"  # Lambda's message, also as JSON within a sentence (`Lambda.Unknown`)
_LONGEST_WHY, _LONGEST_ARN = 1_000, 300  # characters
_NAMES = 12
_SAFE_BUT_NO_REDRIVE = "That is always safe, and goes on from what is true; a redrive would only fail again."
_NO_ACTION = "?"  # the action of an input that can't be shown unchanged
_LOOK_AGAIN = "The check has changed nothing. Look again; if that fails in the same way, so would a run of migrations, "
_LOOK_AGAIN += "and the log of the function preflight, which the page below leads to, says more."


@dataclass(frozen=True)
class DatabaseState:
    """The state of the database, for a mail."""

    lines: Sequence[str]  # what is applied and pending, or why that isn't known
    at_work: bool = False  # whether a run holds the run lock


def database_state(applied: int, pending: Sequence[str], running: Holder | None) -> DatabaseState:
    """The state that preflight has read: how many are applied, the names of pending ones, who holds the run lock."""
    lines = wrapped(f"{applied} applied, {len(pending)} pending{':' if pending else '.'}")
    lines += [f"    {name}" for name in pending[:_NAMES]]
    lines += [f"    and {len(pending) - _NAMES} more"] if len(pending) > _NAMES else []
    at_work = f"At work now: {running}." if running else "Nobody holds the run lock."
    return DatabaseState([*lines, *wrapped(at_work, hang="  ")], running is not None)


def unknown_database_state(error: MigratorError) -> DatabaseState:
    """The state if preflight couldn't read it."""
    return DatabaseState(wrapped(f"It could not be looked at: {error.name}: {layout.cut(error.message, _LONGEST_WHY)}"))


@dataclass(frozen=True)
class Failure:
    """An error that a Catch has caught, as far as it can be read."""

    error: str
    why: str  # the reason, as readable text
    step: str  # the step that failed; empty if that isn't known
    mail: Mail | None = None  # the mail that the function which failed has written


def read_failure(caught: object) -> Failure:
    """Reads `Error` and `Cause` of a Catch, and the `step` that the state machine has noted beside them. Never raises:
    a value that isn't understood is described as that."""
    given = caught if isinstance(caught, Mapping) else {}
    cause = str(given.get("Cause") or "")
    message = str(_parse_object(cause).get("errorMessage") or "")
    document = _parse_object(message)
    written = document.get("mail")
    parts = [written.get(part) for part in ("subject", "body")] if isinstance(written, Mapping) else []
    texts = [part for part in parts if isinstance(part, str)]
    ours = isinstance(document.get("message"), str) and document.get("error") == _parse_object(cause).get("errorType")
    return Failure(
        in_a_line(str(given.get("Error") or "Unknown")),
        str(document["message"]) if ours else _read_cause(cause, message),
        in_a_line(str(given.get("step") or "")),
        Mail(*texts) if len(texts) == 2 else None,
    )


def failure(caught: Failure, run: Run, database: DatabaseState) -> Mail:
    """The mail about a failure of which no function has written one: it died, was cut off, or could not be called."""
    what = "daily check of migrations" if _is_daily(run) else "run of migrations"
    where = f", in the step {caught.step}" if caught.step else ""
    happened = f"{caught.error}{where}\nA function died, was cut off by its time limit, could not be called, or "
    to_do, command = _after_failure(caught, run)
    why = layout.cut(without_password(caught.why), _LONGEST_WHY)
    headline = f"The {what} on {run.environment} failed, and no function was left to say why."
    subject = f"{caught.error} in {caught.step}" if caught.step else caught.error
    now = [*database.lines, *wrapped(SETTLED)]
    return _compose(run, subject, headline, f"{happened}answered amiss.", why, now, to_do, command)


def _compose(
    run: Run,
    subject: str,
    headline: str,
    happened: str,
    why: str,
    now: Sequence[str],
    to_do: Sequence[str],
    command: NextCommand,
    reason: str = "",
) -> Mail:
    sections = [
        ("What happened", wrapped(happened)),
        ("Why", wrapped(why)),
        ("The database now", now),
        ("What to do", to_do),
        ("Next command", [f"  {command}"]),
        ("This execution", mail.execution(run, reason)),
    ]
    return Mail(layout.subject(run.environment, subject), layout.body(headline, sections))


def _after_failure(caught: Failure, run: Run) -> tuple[list[str], NextCommand]:
    """What to do, and the next command."""
    environment = run.environment
    if caught.error == CONTRACT_BROKEN:
        deploy = f"Deploy again: state machine and functions then fit each other, and a run starts by itself. {SAFE}"
        return wrapped(deploy), deploy_command(environment)
    if _is_daily(run):
        return wrapped(_LOOK_AGAIN), _status(environment)
    to_do, command = _start_again(run, _SAFE_BUT_NO_REDRIVE)
    log = wrapped("If it fails in the same way again, this shows what the function has said:")
    return [*to_do, *log, f"  {_logs(run)}"], command


def _parse_object(text: str) -> Mapping[str, Any]:
    """The JSON object that a text is; empty for any other text, such as one that was cut."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


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
    happened = "A call of a function that was under way goes on to its end, and what it has committed counts."
    to_do, command = _start_again(run, SAFE)
    reason = ""
    if status == "ABORTED":
        headline = "was stopped before its end"
        why = "A person or a program stopped the execution, at a terminal or at the console: it did not fail. If a "
        why += "reason was given, it stands below, or on the page of the execution."
        advice = (
            "Do not fight whoever stopped it: ask first who did it and why. Its log shows how far it came. When all "
        )
        to_do, command = [*wrapped(f"{advice}agree that it shall go on:"), *to_do], _logs(run)
        reason = str(end["cause"])
        if reason[:1] in ("{", "[") or '{"' in reason:
            reason = ""  # not readable text
    elif status == "TIMED_OUT":
        headline = "ran out of time"
        hours, rest = divmod(limit_ms, 3_600_000)
        span = f"{hours} h" if hours and not rest else f"{limit_ms / 60_000:g} min"
        why = f"An execution may take {span} in all (the setting limits.run_timeout). "
        why += "This one had not ended."
        to_do = [*to_do, *wrapped("If it takes as long again, raise the setting.")]
    else:
        headline = "broke inside its state machine"
        why = f"{end['error']}\n" if end["error"] else ""
        why += "Step Functions itself ended the execution, where its failure branch could not catch it: mostly because "
        why += "of data that do not fit, or a right that is missing. The page of the execution has its words."
        deploy = "If it breaks in the same way again, deploy anew: state machine and functions may not fit each other."
        to_do = [*to_do, *wrapped(deploy)]
    if database.at_work:
        wait = wrapped("Wait until the run that is at work has ended: a new one would only wait for it. Then:")
        to_do, command = [*wait, *to_do], _watch(environment)
    subject, headline = f"{status}: migrations ended", f"A run of migrations on {environment} {headline}."
    now = [*database.lines, *wrapped(SETTLED)]
    return _compose(run, subject, headline, f"{status}\n{happened}", why, now, to_do, command, reason)


def pending(run: Run, database: DatabaseState) -> Mail:
    """The mail about migrations that are deployed and not applied."""
    to_do = "Start a run: that is always safe. One that is at work is waited for."
    command = NextCommand("run", ("--env", run.environment))
    if database.at_work:
        to_do = "Wait until the run that is at work has ended, and see whether it has left anything: a new one would "
        to_do, command = f"{to_do}only wait for it.", _watch(run.environment)
    why = "The event of a deployment was missed, or a run failed and was not started again. Or a run is under way and "
    happened = "The daily check found migrations that were deployed and are not applied."
    headline = f"Migrations are waiting on {run.environment}."
    now = [*database.lines, *wrapped("The check changed nothing.")]
    why += "waits between two tries."
    return _compose(run, "Migrations pending", headline, happened, why, now, wrapped(to_do), command)


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


def _start_again(run: Run, safe: str) -> tuple[list[str], NextCommand]:
    """What to do, and the command that does the same again, up to the same migration. After a rollback, or if the input
    isn't known, the command is `status`."""
    if run.input is None or run.key("action") == _NO_ACTION:
        return wrapped(f"{UNKNOWN} Then start the same again. {safe}"), _status(run.environment)
    caution = "Look first (status): a run applies anew what the rollback has undone. Then start"
    first = caution if undoes(run) else "Start"
    return wrapped(f"{first} a new execution. {safe}"), next_command(TRY_AGAIN, run.input, run.environment)


def _logs(run: Run) -> NextCommand:
    return NextCommand("logs", (run.execution, "--env", run.environment))


def _status(environment: str) -> NextCommand:
    return NextCommand("status", ("--env", environment))


def _watch(environment: str) -> NextCommand:
    return _status(environment).plus("--watch")

"""Entrypoint of the functions: turns an event into a step, and an error into JSON that the state machine can read.

The Lambda runtime reports a raised exception by its class's name (errorType) and its text (errorMessage), with the
frames it came through, but neither causes nor contexts: see `handle_event_request` in awslambdaric's bootstrap.py. So
an error leaves with the name that the workflow knows and with its facts as JSON for a text, and with nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

from aurora_migrations.engine.errors import InternalError, InvalidInput, MigratorError
from aurora_migrations.engine.interface import LogEvent
from aurora_migrations.engine.script import PAST
from aurora_migrations.engine.steps import layout
from aurora_migrations.engine.steps.execution import SEEN_BY_INITIATOR, read_input
from aurora_migrations.engine.steps.layout import in_a_line
from aurora_migrations.engine.steps.settings import ROOT, Settings, read_settings
from aurora_migrations.engine.steps.step import Deadline, Step, read_event_text, read_so_far
from functions import mail
from functions.database_secret import Login, SecretsClient, read_login, secrets_client, with_login
from functions.remediation import in_environment
from functions.telemetry import Telemetry

_Answer = TypeVar("_Answer")
_DONE = 100  # the newest migrations that earlier calls did, in an error
# Characters. https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
_LONGEST_NAME, _LONGEST_ARN = 80, 300
_LONGEST_FACT = 64  # of a time or a digest
# Step Functions cuts a Cause at 32 KiB, and a truncated document isn't JSON any more. In the Cause the document is
# escaped once more, which at worst doubles it.
LIMIT = 15_000  # bytes of an error's document, the mail included
FACTS_LIMIT = 6_800  # bytes
_SIZES = ((2_000, 50), (1_000, 20), (500, 10), (200, 5), (100, 2))  # characters of a text, items of a list
_CORE = ("error", "message", "cause", "state", "solution", "next_command", "execution")


@dataclass(frozen=True)
class Deployment:
    """What a function finds where it is deployed."""

    settings: Settings
    secrets: SecretsClient


@dataclass(frozen=True)
class Call:
    """One call of a function."""

    step: Step
    telemetry: Telemetry
    deployment: Deployment
    run: mail.Run  # the execution, for a mail
    report: Mapping[str, Any]  # the mail, or the rollback, that the state machine wants; empty for a step of the run

    def with_database_login(self, work: Callable[[Step], _Answer]) -> _Answer:
        """The result of `work`, called with the login that the secret has now."""
        return with_login(self._read, lambda login: work(replace(self.step, url=login.url)))

    def _read(self) -> Login:
        login = read_login(self.deployment.secrets, self.deployment.settings)
        self.telemetry.log_login(self.deployment.settings.secret, login.user)
        return login


@cache
def _deployed() -> Deployment:
    return Deployment(read_settings(os.environ), secrets_client())


@cache
def _telemetry(step: str) -> Telemetry:
    """A sandbox's own: it knows whether a call is the first."""
    return Telemetry(step)


def lambda_handler(
    step: str, work: Callable[[Call], dict[str, Any]], event: Any, context: Any, deployment: Deployment | None
) -> dict[str, Any]:
    """Handles one event of the state machine: reads it, does the work, and returns its answer; where the event's
    `wants_mail` is true, `{"result": ..., "mail": ...}`. The text of an error is JSON, with the mail about it."""
    payload, telemetry = event if isinstance(event, Mapping) else {}, _telemetry(step)
    run = _run(payload, step, deployment)
    telemetry.begin_call(run.execution, str(context.aws_request_id))
    try:
        telemetry.log_input(run.input)
        answer = work(_call(payload, context, telemetry, deployment or _deployed(), run))
        telemetry.log_answer(answer)
        if payload.get("wants_mail"):
            return {"result": answer, "mail": _write_mail(lambda: mail.success(answer, run), telemetry)}
        return answer
    except Exception as error:
        raise _to_lambda_error(error, payload, telemetry, run) from None
    finally:
        telemetry.end_call()


def _call(
    payload: Mapping[str, Any], context: Any, telemetry: Telemetry, deployment: Deployment, run: mail.Run
) -> Call:
    telemetry.log_settings(deployment.settings.environment)
    execution = payload.get("execution")
    if not isinstance(execution, str) or not execution:
        raise InvalidInput(
            "The event doesn't name its execution.",
            cause="The function was called directly; it works for a state machine, which passes more than an input.",
            solution="Start an execution of the state machine instead.",
        )
    execution = read_event_text(payload, "execution", _LONGEST_NAME)
    step = Step(
        settings=deployment.settings,
        input=read_input(payload.get("input", {}), execution, deployment.settings.actions),
        execution=execution,
        started_at=read_event_text(payload, "started_at", _LONGEST_FACT),
        package=read_event_text(payload, "package", _LONGEST_FACT),
        so_far=read_so_far(payload),
        deadline=Deadline(context.get_remaining_time_in_millis),
        listener=telemetry,
    )
    report = payload.get("report")
    return Call(step, telemetry, deployment, run, report if isinstance(report, Mapping) else {})


def _run(payload: Mapping[str, Any], step: str, deployment: Deployment | None) -> mail.Run:
    """The execution, for mails and logs. Neither a broken setting nor an odd event may prevent the mail of an error."""
    environment = deployment.settings.environment if deployment else os.environ.get("ENVIRONMENT", "unknown")
    execution, arn = (str(payload.get(key) or "") for key in ("execution", "execution_arn"))
    arn = arn if arn.isprintable() and len(arn) <= _LONGEST_ARN else ""
    return mail.Run(
        environment,
        step,
        in_a_line(execution)[:_LONGEST_NAME],
        arn,
        payload.get("input"),
        os.environ.get("DEPLOY_COMMAND", ""),
    )


def _write_mail(write: Callable[[], layout.Mail | None], telemetry: Telemetry) -> dict[str, str] | None:
    """A mail, if there is one to write. A mistake in it must neither fail a run that went well nor hide an error: the
    state machine then has preflight write one."""
    try:
        written = write()
    except Exception as error:
        telemetry.log_error(unexpected(error), LogEvent.MAIL_FAILED)
        return None
    return written.to_dict() if written else None


def _to_lambda_error(
    error: Exception, payload: Mapping[str, Any], telemetry: Telemetry, run: mail.Run
) -> MigratorError:
    """The error to leave with: logged, named as the workflow names it, its facts and its mail as JSON for a text, and
    bare of the frames and causes of its making."""
    known = error if isinstance(error, MigratorError) else unexpected(error)
    known = in_environment(known, payload.get("input"), run)
    with contextlib.suppress(InvalidInput):  # what earlier calls have done, for a step that doesn't know it
        so_far = read_so_far(payload)
        facts = [fact for fact in PAST.values() if so_far.get(fact) and fact not in known.facts]
        done: dict[str, Any] = {fact: [file["migration"] for file in so_far[fact]][-_DONE:] for fact in facts}
        known = known.but(**done)
    telemetry.log_error(known)
    written = _write_mail(lambda: mail.failure(known, run), telemetry)
    if mail.is_seen_by_initiator(known, run):
        seen: dict[str, Any] = {SEEN_BY_INITIATOR: True}
        known = known.but(**seen)
    known.args = (document(known, written, execution=run.execution),)
    return known.with_traceback(None)


def unexpected(error: Exception) -> InternalError:
    """The error for a bug. Its message may contain anything, so only class and place are shown."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    places = [f"{os.path.relpath(frame.filename, ROOT)}:{frame.lineno} {frame.name}" for frame in frames]
    kind = type(error).__name__
    return InternalError(f"An unexpected {kind}, raised in {places[-1]}.", kind=kind, frames=places)


def document(error: MigratorError, mail: Mapping[str, str] | None = None, **more: object) -> str:
    """The error's facts, and more, as JSON of at most `LIMIT` bytes: what is cut is marked. The mail is never cut here:
    its own size is limited."""
    whole = {**error.to_dict(), **more}
    core = {key: value for key, value in whole.items() if key in _CORE}
    sizes = (whole, *(_shortened(whole, *size) for size in _SIZES))
    facts = next((each for each in sizes if len(json.dumps(each, default=str)) <= FACTS_LIMIT), None)
    facts = _shortened({**core, "cut": True}, 500, 0) if facts is None else facts
    return json.dumps({**facts, "mail": mail} if mail else facts, default=str)


def _shortened(value: Any, characters: int, items: int) -> Any:
    if isinstance(value, str):
        return layout.cut(value, characters)
    if isinstance(value, Mapping):
        return {key: _shortened(each, characters, items) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        more = [f"... ({len(value) - items} more)"] if len(value) > items else []
        return [*(_shortened(each, characters, items) for each in value[:items]), *more]
    return value

"""An execution: its input, parsed and validated, who or what started it, and its page in the console."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from aurora_migrations.engine.diagnostics.redaction import without_password
from aurora_migrations.engine.errors import ActionNotAllowed, InvalidInput

ActionName = Literal[
    "run-migration",
    "list-migrations",
    "status",
    "history",
    "plan",
    "verify",
    "facts",
    "rollback",
    "resolve",
    "cancel",
    "adopt",
    "baseline",
    "rehearse",
]
ACTIONS: tuple[ActionName, ...] = get_args(ActionName)
CHANGES: tuple[ActionName, ...] = ("run-migration", "rollback", "resolve", "cancel", "adopt", "baseline")
ADOPTIONS = ("adopt", "baseline")  # without `confirm` they only show what they would record
# `rehearse` among them: it takes locks, but leaves nothing.
READ_ONLY_ACTIONS = tuple(action for action in ACTIONS if action not in CHANGES)
USUAL_ACTIONS = ACTIONS[: ACTIONS.index("rollback")]  # the others only where an environment allows them
KEYS = ("action", "target", "confirm", "table", "accept", "page", "trigger", "requested_by")
# What AWS writes there itself: the console into its default input, Step Functions into that of an
# execution that another one has started. See docs/decisions/0018.
IGNORED = ("Comment", "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID")
_WITH_TARGET = ("run-migration", "plan", "verify", "rollback", "resolve", *ADOPTIONS, "rehearse")
_WITH_CONFIRM = ("rollback", "resolve", *ADOPTIONS)
OUTCOMES = ("applied", "again")  # what `confirm` is for the action resolve
_LONGEST = 256  # characters of a value
_MOST = 100  # values of a list
_EXAMPLE = '{"action": "run-migration", "target": "017"}'
CONTRACT_BROKEN = "ContractBroken"  # the error of a state machine that doesn't understand an answer
NO_CAUSE = "No cause was given."
SEEN_BY_INITIATOR = "seen_by_asker"  # the fact that marks an error about which no mail is sent
_CONSOLES = {"cn-": "console.amazonaws.cn", "us-gov-": "console.amazonaws-us-gov.com"}  # by how regions begin


@dataclass(frozen=True)
class ExecutionInput:
    """A valid execution input."""

    action: str
    target: str | None  # a migration's number; None means all
    # For a rollback, the number of the newest applied migration, as the initiator knows it; for resolve an outcome;
    # for adopt and baseline, the number of the newest migration to record.
    confirm: str | None
    trigger: str | None  # what started the execution, if it is given: `deploy`, `daily`, `cli`
    requested_by: str  # the initiator's name, as it gives it; else the execution's
    table: str | None = None  # for adopt, the other tool's table, where there are several
    accept: tuple[str, ...] = ()  # for adopt and baseline, names of what may differ
    page: int = 1  # for facts, which page of them


def is_change(asked: Mapping[str, Any]) -> bool:
    """Whether an input starts a run (as it does without an action) or another change; all else is read-only."""
    action = asked.get("action") or CHANGES[0]
    return action in CHANGES and (action not in ADOPTIONS or bool(asked.get("confirm")))


def read_input(data: object, execution: str, allowed: Sequence[str]) -> ExecutionInput:
    """Reads and validates an input. All keys are optional: `{}` runs everything that is pending."""
    if not isinstance(data, Mapping):
        raise _invalid(f"The input must be a JSON object, such as {{}} or {_EXAMPLE}.")
    unknown = sorted(str(key)[:60] for key in data if key not in (*KEYS, *IGNORED))
    if unknown:
        raise _invalid(f"The input has unknown keys: {', '.join(unknown[:10])}. Known are: {', '.join(KEYS)}.")
    action = _text(data, "action") or ACTIONS[0]
    if action not in ACTIONS:
        raise _invalid(f"There is no action {action!r}. There are: {', '.join(ACTIONS)}.")
    if action not in allowed:
        message = f"The action {action} isn't allowed in this environment, which allows {', '.join(allowed) or 'none'}."
        raise ActionNotAllowed(message, action=action, allowed=list(allowed))
    given = ExecutionInput(
        action,
        _text(data, "target", number=True),
        _text(data, "confirm", number=True),
        _text(data, "trigger"),
        _text(data, "requested_by") or execution,
        _text(data, "table"),
        _texts(data, "accept"),
        _page(data),
    )
    # Nothing in an input may be ignored silently.
    if given.target is not None and given.action not in _WITH_TARGET:
        raise _invalid(f"The action {given.action} takes no target; these do: {', '.join(_WITH_TARGET)}.")
    if given.confirm is not None and given.action not in _WITH_CONFIRM:
        raise _invalid(f"The action {given.action} takes no `confirm`; these do: {', '.join(_WITH_CONFIRM)}.")
    if given.table is not None and given.action != "adopt":
        raise _invalid(f"Only the action adopt takes a `table`, not {given.action}.")
    if given.accept and given.action not in ADOPTIONS:
        raise _invalid(f"The action {given.action} takes no `accept`; these do: {', '.join(ADOPTIONS)}.")
    if data.get("page") is not None and given.action != "facts":
        raise _invalid(f"Only the action facts takes a `page`, not {given.action}.")
    if given.action == "baseline" and given.target is None:
        raise _invalid(
            "A baseline needs a target, the last migration that is applied already: "
            '{"action": "baseline", "target": "017"}.'
        )
    if given.action == "rollback" and (given.target is None or given.confirm is None):
        raise _invalid(
            "A rollback needs a target, the lowest migration to undo, and confirm, the newest applied one: "
            '{"action": "rollback", "target": "017", "confirm": "018"}.'
        )
    if given.action == "resolve" and (given.target is None or given.confirm not in OUTCOMES):
        raise _invalid(
            "The action resolve needs a target, the migration in doubt, and confirm, which is `applied` or `again`: "
            '{"action": "resolve", "target": "018", "confirm": "applied"}.'
        )
    return given


def _text(data: Mapping[str, object], key: str, number: bool = False) -> str | None:
    """A key's text; None where it is missing, null or empty. Of a migration's number 17 is taken as 17."""
    value = data.get(key)
    if number and isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**20:
        value = str(value)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
        raise _invalid(f"The input's key {key} must be a text of at most {_LONGEST} printable characters.")
    if without_password(value) != value:
        raise _invalid(f"The input's key {key} has a password in it; an execution's input is kept and mailed.")
    return value


def _page(data: Mapping[str, object]) -> int:
    text = _text(data, "page", number=True) or "1"
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text) > 0):
        raise _invalid(f"The input's key page is {text[:40]!r}; it must be a number from 1 on.")
    return int(text)


def _texts(data: Mapping[str, object], key: str) -> tuple[str, ...]:
    """A key's list of texts; empty where it is missing or null."""
    values = data.get(key)
    if values is None:
        return ()
    if not isinstance(values, list) or len(values) > _MOST:
        raise _invalid(f"The input's key {key} must be a list of at most {_MOST} texts.")
    return tuple(text for value in values if (text := _text({key: value}, key)))


def _invalid(message: str) -> InvalidInput:
    return InvalidInput(
        without_password(message),
        cause="The execution was started with an invalid input.",
        solution=f"Start it again with a valid input: {{}} runs everything that is pending, {_EXAMPLE} up to 017.",
    )


def parse_object(text: object) -> dict[str, Any]:
    """The JSON object that a text is, such as an execution's cause; empty for any other text, and one that was cut."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def console(arn: str) -> str:
    """The page of an execution in AWS's console."""
    return f"{console_page(f'{arn}::::'.split(':')[3])}{arn}"


def console_page(region: str) -> str:
    """The page of an execution in AWS's console, but for the execution's ARN at its end."""
    host = next((host for begin, host in _CONSOLES.items() if region.startswith(begin)), "console.aws.amazon.com")
    return f"https://{host}/states/home?region={region}#/v2/executions/details/"


def initiator(trigger: str, requested_by: str) -> str:
    """Who or what started an execution, as text."""
    if trigger == "deploy":  # by the rule on deployments, which passes the stack's ARN on
        return f"the deployment of stack {f'{requested_by}//'.split('/')[1] or requested_by or 'unknown'}"
    if trigger == "daily":
        return "the daily check"
    if not (trigger or requested_by):
        return "an unnamed user (the console or AWS tools)"
    return f"{requested_by or 'somebody'}{f' ({trigger})' if trigger else ''}"

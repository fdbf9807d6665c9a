"""The mails that functions write about what they did themselves: an error, or a run that went well.

An alarm should not depend on one more function. So the function that fails writes the mail about it, and the state
machine only passes it on; where it couldn't, see `functions.workflow_mails`. What a mail is made of carries neither
passwords nor rows: an error's words and facts (`aurora_migrations.engine.errors`) and the execution's input.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aurora_migrations.engine.errors import (
    AnotherRunInProgress,
    ConnectionLost,
    InDoubt,
    InvalidInput,
    MigratorError,
    NotAWriter,
)
from aurora_migrations.engine.steps import layout
from aurora_migrations.engine.steps.execution import KEYS, console, initiator
from aurora_migrations.engine.steps.layout import Mail, Section, in_a_line, listed, named, quoted, wrapped

LIMIT = 6_000  # bytes that a text takes as JSON
_SIZES = (1_500, 600, 300)  # characters of one item: the first size with which everything fits
_NAMES, _DIFFERENCE, _LONGEST_NAME = 12, 20, 100
_NOUNS = {"": "run of migrations", "run-migration": "run of migrations", "rollback": "rollback of migrations"}
_NOUNS |= {"resolve": "action resolve", "cancel": "action cancel"}
_UNSURE = (ConnectionLost, NotAWriter, InDoubt)  # the session was lost, not closed
_AS_IT_IS = "Without a change, a new run would fail in the same way, and so would a redrive."
_RETRIED = "The state machine has tried it again, with growing pauses, and has now given up."
_ANEW = "Start a new execution: that is always safe. A redrive of this one would only fail again."
# A new execution of what? One of a run's would apply what a rollback has undone.
_STILL_TO_UNDO = "Without a change, a new rollback would fail in the same way, and so would a redrive."
_NO_REDRIVE = "A redrive of this execution would only fail again."


@dataclass(frozen=True)
class Run:
    """What is known of an execution beside what happened in it."""

    environment: str
    step: str  # the function that is at work: preflight, apply or verify
    execution: str
    arn: str  # the execution's; names partition and region, too
    input: object  # of this, mails show known keys only; None if it isn't known

    def key(self, name: str) -> str:
        """The value of a key of the input, in one line: it can't be mistaken for another section of the mail."""
        value = self.input.get(name) if isinstance(self.input, Mapping) and name in KEYS else None
        return in_a_line(str(value)) if isinstance(value, (str, int)) else ""


def failure(error: MigratorError, run: Run) -> Mail:
    """The mail about an error with which an execution ends."""
    place = where(error)
    subject = layout.subject(run.environment, error.name if place else f"{error.name} in {run.step}", place)
    noun = _NOUNS.get(run.key("action"), f"action {run.key('action')}")
    headline = f"The {noun} on {run.environment} failed, in its step {run.step}."
    if run.key("trigger") == "daily":
        headline = f"The daily check of {run.environment} failed, and so would a run of its migrations."
    return Mail(subject, _fit_limit(lambda most: layout.body(headline, _failure(error, run, most)), _SIZES))


def success(answer: Mapping[str, Any], run: Run) -> Mail | None:
    """The mail about a run that changed something, from verify's answer; None if it changed nothing."""
    key, word = ("rolled_back", "Rolled back") if "rolled_back" in answer else ("applied", "Migrated")
    files = answer.get(key) or []
    if not files:
        return None
    names = [str(file.get("file") or file["migration"]) for file in files]
    count = int(answer.get(f"{key}_count") or len(files))
    what = names[0] if count == 1 else f"{count} files, {'up' if key == 'applied' else 'down'} to {names[-1]}"
    headline = layout.cut(f"{run.environment}: {answer['message']}.", _SIZES[-1])
    text = _fit_limit(lambda most: layout.body(headline, _success(answer, run, most)), (_NAMES, 3, 1))
    return Mail(layout.subject(run.environment, word, what), text)


def _fit_limit(write: Callable[[int], str], sizes: Sequence[int]) -> str:
    """The text of the first size with which it takes no more than its share of the document that it leaves in; else
    the smallest, without what JSON has long words for."""
    text = ""
    for size in sizes:
        text = write(size)
        if len(json.dumps(text)) <= LIMIT:
            return text
    return text.encode("ascii", "replace").decode().replace("\\", "/").replace('"', "'")


def where(error: MigratorError) -> str:
    """The place of an error in a few characters; empty if it has none."""
    facts = error.facts
    files = [_in_file(each) if isinstance(each, Mapping) else str(each) for each in _list(facts, "files", "hazards")]
    if facts.get("file"):
        return _in_file(facts)
    if files:
        return listed(files, 1)
    if facts.get("host"):
        return f"{facts['host']} ({facts['step']})" if facts.get("step") else str(facts["host"])
    return str(facts.get("secret") or "").rpartition(":")[2]


def _in_file(facts: Mapping[str, object]) -> str:
    return f"{facts['file']}:{facts['line']}" if facts.get("line") else str(facts["file"])


def _failure(error: MigratorError, run: Run, most: int) -> list[Section]:
    cause, solution = layout.cut(error.cause, most), layout.cut(error.solution, most)
    # The last queries of the blockers, whose literals were removed when they were read.
    blockers = [each for each in _list(error.facts, "blockers") if isinstance(each, Mapping) and each.get("query")]
    last = [f"pid {each['pid']} was last at: {layout.cut(str(each['query']), 200)}" for each in blockers[:3]]
    queries = [line for query in last for line in wrapped(query, hang="  ")]
    deployed = is_deployed(error, run)
    and_then = _AS_IT_IS if deployed else _ANEW
    if undoes(run):
        and_then = _STILL_TO_UNDO if deployed else _NO_REDRIVE
    return [
        ("What happened", _happened(error, most)),
        ("Why", [*wrapped(cause), *queries, *(wrapped(_RETRIED) if error.retryable else [])]),
        ("The database now", _state(error, run, most)),
        ("What to do", [*wrapped(solution), *wrapped(and_then)]),
        ("Next command", [f"  {error.next_command}"]),
        ("This execution", execution(run)),
    ]


def undoes(run: Run) -> bool:
    """Whether the execution is a rollback."""
    return run.key("action") == "rollback"


def is_deployed(error: MigratorError, run: Run) -> bool:
    """Whether the remedy is a deployment; what verify finds is wrong in the database itself."""
    return error.by_deployment and run.step != "verify"


def is_seen_by_initiator(error: MigratorError, run: Run) -> bool:
    """Whether no mail is needed: the person at the terminal sees that a read-only command failed or was mistyped."""
    reads_only = run.key("action") not in _NOUNS
    return run.key("trigger") == "cli" and (reads_only or isinstance(error, InvalidInput))


def _happened(error: MigratorError, most: int) -> list[str]:
    lines = wrapped(f"{error.name}: {layout.cut(error.message, most)}")
    excerpt, difference = (str(error.facts.get(fact) or "") for fact in ("excerpt", "difference"))
    number = error.facts.get("statement")
    if excerpt:
        place = f"  Statement {number} of the file:" if isinstance(number, int) else "  There:"
        lines += ["", place, "", *layout.pointed(excerpt)]
    if difference:
        lines += ["", "  What differs:", "", *quoted(difference, _DIFFERENCE if most > _SIZES[-1] else 4)]
    return lines


def _state(error: MigratorError, run: Run, most: int) -> list[str]:
    left = [layout.cut(str(name), _LONGEST_NAME) for name in _list(error.facts, "not_done")]
    undone = "Not rolled back" if undoes(run) else "Not applied"
    undone = f"In doubt, or {undone.lower()}" if isinstance(error, InDoubt) else undone
    count = error.facts.get("not_done_count")
    names = listed(left, _NAMES if most > _SIZES[-1] else 3, count if isinstance(count, int) else None)
    return [
        *wrapped(layout.cut(error.whole_state, most)),
        *(wrapped(f"{undone} of what this run was for: {names}.") if left else []),
        *wrapped(_lock(error, run)),
    ]


def _lock(error: MigratorError, run: Run) -> str:
    holder = error.facts.get("holder")
    if isinstance(error, AnotherRunInProgress) and isinstance(holder, Mapping):
        who = holder.get("application") or "a session without a name"
        return f"The run lock is held by {who}, pid {holder.get('pid')}, user {holder.get('user') or 'unknown'}."
    clean = "" if error.facts.get("rolled_back") is False else " Nothing has to be cleaned up by hand."
    if run.step != "apply":
        return f"This run doesn't hold the run lock.{clean}"
    if isinstance(error, _UNSURE):
        return f"The run lock is free as soon as the server ends the lost session: within 5 seconds.{clean}"
    return f"This run has let go of the run lock.{clean}"


def _success(answer: Mapping[str, Any], run: Run, most: int) -> list[Section]:
    key = "rolled_back" if "rolled_back" in answer else "applied"
    files, tables = answer[key], (answer.get("verified") or {}).get("tables") or []
    changed = []
    for file in files:
        ms = file.get("duration_ms")
        duration = f"{ms / 1_000:.1f} s" if isinstance(ms, (int, float)) else "a time that isn't known"
        changed.append(f"{file.get('file') or file['migration']}, in {duration}")
    warnings = [layout.cut(str(warning), _SIZES[-1]) for warning in answer.get("warnings", [])[:most]]
    title = "What changed" if key == "applied" else "What was undone"
    return [
        (title, _newest_lines(changed, most, answer.get(f"{key}_count"))),
        ("What is there now", _newest_lines([_table(table) for table in tables], most)),
        ("Worth knowing", [line for warning in warnings for line in wrapped(warning, hang="  ")]),
        ("This execution", execution(run)),
    ]


def _newest_lines(items: Sequence[str], most: int, count: int | None = None) -> list[str]:
    """The newest items, one a line."""
    total = max(len(items), count or 0)
    lines = [line for item in items[-most:] for line in wrapped(item, hang="  ")]
    return [*([f"  {total - most} before these"] if total > most else []), *lines]


def _table(table: Mapping[str, Any]) -> str:
    if not table.get("exists"):
        return f"{table['table']}: isn't there"
    rows = "" if table.get("rows") is None else f", {'' if table.get('counted') else 'about '}{table['rows']:,} rows"
    indexes = len(table.get("indexes") or [])
    return f"{table['table']}: there{rows}, {indexes or 'no'} {'index' if indexes == 1 else 'indexes'}"


def execution(run: Run, reason: str = "") -> list[str]:
    """What an execution was for, who or what started it, and the `reason` why it was stopped, as lines of a mail,
    with a link to its page."""
    action, target = run.key("action") or "run-migration", run.key("target")
    requested, began = f"{action} {target}".strip(), initiator(run.key("trigger"), run.key("requested_by"))
    if run.input is None:
        requested, began = "", "somebody; the page below may say who"
    elif action == "run-migration":
        requested = f"everything up to and including {target}" if target else "everything that is pending"
    pairs = [("Asked for", requested), ("Started by", began), ("Reason", reason), ("Execution", run.execution)]
    return [*named(pairs), *([f"  {console(run.arn)}"] if run.arn else [])]


def _list(facts: Mapping[str, object], *names: str) -> list[Any]:
    return next((value for name in names if isinstance(value := facts.get(name), list)), [])

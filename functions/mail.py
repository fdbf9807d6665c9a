"""The mails that functions write about what they did themselves: an error, or a run that went well.

An alarm should not depend on one more function. So the function that fails writes the mail about it, and the state
machine only passes it on; where it couldn't, see `functions.workflow_mails`. What a mail is made of carries neither
passwords nor rows: an error's words and facts (`aurora_migrations.engine.errors`) and the execution's input.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aurora_migrations.engine.errors import (
    AnotherRunInProgress,
    ConnectionLost,
    DatabaseBusy,
    DatabaseUnreachable,
    InDoubt,
    InternalError,
    InvalidFile,
    InvalidInput,
    MigrationFailed,
    MigratorError,
    NotAWriter,
    VerificationFailed,
)
from aurora_migrations.engine.steps import layout
from aurora_migrations.engine.steps.execution import KEYS, console, initiator, is_change
from aurora_migrations.engine.steps.layout import Mail, Section, in_a_line, listed, named, numbered, quoted, wrapped

LIMIT = 5_500  # bytes that a text takes as JSON
_SIZES = (1_500, 600, 300)  # characters of one item: the first size with which everything fits
_NAMES, _DIFFERENCE, _LONGEST_NAME = 12, 20, 100
_NOUNS = {"": "Migration", "run-migration": "Migration", "rollback": "Rollback"}
_NOUNS |= {action: f"Action {action}" for action in ("resolve", "cancel", "adopt", "baseline")}
_UNSURE = (ConnectionLost, NotAWriter, InDoubt)  # the session was lost, not closed
_UNREACHABLE = (ConnectionLost, DatabaseBusy, DatabaseUnreachable)
_RETRIED = "Automatic retries failed as well."
_NOW, _LATER = "Look at this now", "Can wait until morning"
_PLACE_AND_CODE = re.compile(r"\S+\.sql(?::\d+:\d+|, at COMMIT)?: (.+?)(?: \([0-9A-Z]{5}\))?\.?")
_ROLLED_BACK = "was rolled back"  # in the state of a file
_SQL = re.compile(r"\b(?:SELECT|GRANT|CREATE|REINDEX|ALTER|DROP) [^`]*;|pg_stat_activity|has committed\.")
_WITHOUT_BASTION = (
    "No access to the VPC? The query editor of the RDS console runs SQL if the cluster's Data API is enabled."
)
_LEADS = {
    "run": f"Start a new run ({layout.NO_REDRIVE}):",
    "status": "See what is applied:",
    "list": "See which migrations there are:",
    "history": "See what was done and when:",
    "logs": "See how far it got:",
    "verify": "Check again:",
    "plan": "Check again:",
}


@dataclass(frozen=True)
class Run:
    """What is known of an execution beside what happened in it."""

    environment: str
    step: str  # the function that is at work: preflight, apply or verify
    execution: str
    arn: str  # the execution's; names partition and region, too
    input: object  # of this, mails show known keys only; None if it isn't known
    deploy: str = ""  # the command that deploys it, if it isn't the usual one

    def key(self, name: str) -> str:
        """The value of a key of the input, in one line: it can't be mistaken for another section of the mail."""
        value = self.input.get(name) if isinstance(self.input, Mapping) and name in KEYS else None
        return in_a_line(str(value)) if isinstance(value, (str, int)) else ""


def failure(error: MigratorError, run: Run) -> Mail:
    """The mail about an error with which an execution ends."""
    noun = _NOUNS.get(run.key("action"), f"Action {run.key('action')}")
    noun = "Daily check" if run.key("trigger") == "daily" else noun
    details = ", ".join(filter(None, [where(error), _in_a_few_words(error)]))
    subject = layout.subject(run.environment, f"{noun} FAILED", details)
    verdict = layout.cut(_verdict(error, run), _SIZES[-1])
    text = _fit_limit(lambda most: layout.body(verdict, _failure(error, run, most)), _SIZES)
    migration = in_a_line(str(error.facts.get("migration") or layout.NONE))
    written = Mail(subject, text, "high" if verdict.startswith(_NOW) else "low", error.name, migration)
    steps = _steps(error, run, _SIZES[0])
    return layout.for_chat(written, run.environment, verdict, steps, error.next_command, link(run))


def _in_a_few_words(error: MigratorError) -> str:
    """PostgreSQL's or the parser's own words where they are about a file, else those of the class."""
    words = _PLACE_AND_CODE.fullmatch(error.message[: _SIZES[-1]].partition("\n")[0])
    return words[1] if words and isinstance(error, InvalidFile | MigrationFailed) else error.headline


def _verdict(error: MigratorError, run: Run) -> str:
    """Whether it can wait, the state of the database, and whether the application is affected."""
    file = str(error.facts.get("file") or "the migration")
    undone = [str(each) for each in _list(error.facts, "rolled_back")]
    unchanged = _is_unchanged(error) or run.step == "preflight"
    if undoes(run) and undone:
        return (
            f"{_NOW}: the rollback stopped halfway. Rolled back: {listed(undone, _NAMES)}; the rest is still applied."
        )
    if undoes(run) and unchanged:
        return f"{_LATER}, unless the application needs this rollback: nothing was rolled back."
    if isinstance(error, InDoubt) and error.next_command.verb == "resolve":
        return f"{_NOW}: {file} was interrupted and may be partly committed. Migrations stay blocked until you decide."
    if isinstance(error, InDoubt):
        return f"{_NOW}: the connection was lost during COMMIT. It isn't known yet whether {file} is applied."
    if (schema := error.facts.get("schema")) is not None:  # verify failed, and this step was to undo the run
        return _after_undoing(str(schema), [str(each) for each in _list(error.facts, "rolled_back")])
    if run.step == "verify":
        failed = "a check failed afterwards" if isinstance(error, VerificationFailed) else "could not be verified"
        return f"{_NOW}: the migrations are applied, but {failed}. The application may be affected."
    rolled_back = _ROLLED_BACK in error.state
    state = f"{file} was rolled back" if rolled_back else "nothing was changed"
    state = state if unchanged else "what this run has applied so far is complete"
    if isinstance(error, _UNREACHABLE):
        otherwise = f"otherwise it can wait until morning: {state}."
        return f"{_NOW} if the application can't reach the database either; {otherwise}"
    if not unchanged and (error.facts.get("file") or isinstance(error, InternalError)):
        return f"{_NOW}: {file} may be partly applied, and the application may be affected."
    if run.key("trigger") == "daily":
        return f"{_LATER}: {state}, and the application isn't affected. But no migration can run until this is fixed."
    needed = "it" if rolled_back else "a pending migration"
    return f"{_LATER}: {state}, and the application isn't affected unless a deployed release needs {needed}."


def _after_undoing(schema: str, undone: list[str]) -> str:
    """Which of the two states holds, that before the run or that after it."""
    labels, failed = listed(undone, _NAMES), "a check failed after the run"
    if schema == "before":
        return (
            f"{_LATER}: {failed}, and {labels} {'was' if len(undone) == 1 else 'were'} rolled back. The schema is as "
            "before, and the application isn't affected unless a deployed release needs the change."
        )
    if schema == "after":
        return f"{_NOW}: {failed}, and the migrations could not be rolled back. The application may be affected."
    compared = "it isn't known if the schema is as before" if schema == "unknown" else "the schema isn't as before"
    return f"{_NOW}: {failed}. Rolled back: {labels}, but {compared}. The application may be affected."


def _is_unchanged(error: MigratorError) -> bool:
    """Whether the database is as it was before what failed: the verdict states it, and the rest doesn't repeat it."""
    return error.state == MigratorError.state or _ROLLED_BACK in error.state


def success(answer: Mapping[str, Any], run: Run) -> Mail | None:
    """The mail about a run that changed something, from verify's answer; None if it changed nothing."""
    key, word = ("rolled_back", "Rolled back") if "rolled_back" in answer else ("applied", "Migrated")
    files = answer.get(key) or []
    if not files:
        return None
    names = [str(file.get("file") or file["migration"]) for file in files]
    count = int(answer.get(f"{key}_count") or len(files))
    what = names[0] if count == 1 else f"{count} migrations, {'up' if key == 'applied' else 'down'} to {names[-1]}"
    verdict = layout.cut(f"Nothing to do. {run.environment}: {answer['message']}.", _SIZES[-1])
    text = _fit_limit(lambda most: layout.body(verdict, _success(answer, run, most)), (_NAMES, 3, 1))
    migration = str(files[-1]["migration"])[:_LONGEST_NAME]
    written = Mail(layout.subject(run.environment, word, what), text, "info", migration=migration)
    return layout.for_chat(written, run.environment, verdict, link=link(run))


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
    """The files that an error is about, shortened; empty if it is about none."""
    facts = error.facts
    files = [str(each["file"] if isinstance(each, Mapping) else each) for each in _list(facts, "files", "hazards")]
    return str(facts.get("file") or listed(files, 1))


def _failure(error: MigratorError, run: Run, most: int) -> list[Section]:
    # The last queries of the blockers, whose literals were removed when they were read.
    blockers = [each for each in _list(error.facts, "blockers") if isinstance(each, Mapping) and each.get("query")]
    last = [f"Last query of pid {each['pid']}: {layout.cut(str(each['query']), 200)}" for each in blockers[:3]]
    queries = [line for query in last for line in wrapped(query, hang="  ")]
    retried = f" {_RETRIED}" if error.retryable else ""
    return [
        ("What to do", numbered(_steps(error, run, most), error.next_command)),
        ("What happened", [*_happened(error, most), *wrapped(f"{layout.cut(error.cause, most)}{retried}"), *queries]),
        ("Database", _state(error, run, most)),
        ("Execution", execution(run, error=f"{error.name} in {run.step}")),
    ]


def _steps(error: MigratorError, run: Run, most: int) -> list[str]:
    """What to do, step by step; the last is about the next command. A line of a solution is a step."""
    steps = [step for step in layout.cut(error.solution, most).splitlines() if step.strip()]
    if _SQL.search(error.solution) and run.environment != "local":
        steps.insert(1, _WITHOUT_BASTION)
    if steps and steps[-1].endswith(":"):
        return steps
    return [*steps, _LEADS.get(error.next_command.verb, "Then:")]


def undoes(run: Run) -> bool:
    """Whether the execution is a rollback."""
    return run.key("action") == "rollback"


def is_deployed(error: MigratorError, run: Run) -> bool:
    """Whether the remedy is a deployment; what verify finds is wrong in the database itself."""
    return error.by_deployment and run.step != "verify"


def is_seen_by_initiator(error: MigratorError, run: Run) -> bool:
    """Whether no mail is needed: the person at the terminal sees that a read-only command failed or was mistyped."""
    reads_only = not is_change({key: run.key(key) for key in ("action", "confirm")})
    return run.key("trigger") == "cli" and (reads_only or isinstance(error, InvalidInput))


def _happened(error: MigratorError, most: int) -> list[str]:
    lines = wrapped(layout.cut(error.message, most))
    excerpt, difference = (str(error.facts.get(fact) or "") for fact in ("excerpt", "difference"))
    if excerpt:
        lines += ["", *layout.pointed(excerpt), ""]
    if difference:
        lines += ["", *quoted(difference, _DIFFERENCE if most > _SIZES[-1] else 4), ""]
    return lines


def _state(error: MigratorError, run: Run, most: int) -> list[str]:
    left = [layout.cut(str(name), _LONGEST_NAME) for name in _list(error.facts, "not_done")]
    rest = "Still applied" if undoes(run) else "Still pending"
    rest = f"Not known, or {rest.lower()}" if isinstance(error, InDoubt) else rest
    count = error.facts.get("not_done_count")
    names = listed(left, _NAMES if most > _SIZES[-1] else 3, count if isinstance(count, int) else None)
    return [
        *wrapped("" if _is_unchanged(error) else layout.cut(error.state, most)),
        *wrapped(layout.cut(error.done, most)),
        *(wrapped(f"{rest}: {names}.") if left else []),
        *wrapped(_lock(error, run)),
    ]


def _lock(error: MigratorError, run: Run) -> str:
    """The state of the run lock, which only apply holds. If another run holds it, the message names that one."""
    if run.step != "apply" or isinstance(error, AnotherRunInProgress):
        return ""
    if isinstance(error, _UNSURE) and error.next_command.verb != "resolve":
        return "The run lock is released within 5 seconds, when the server ends the lost session."
    is_clean = error.facts.get("rolled_back") is not False and error.facts.get("schema") in (None, "before")
    clean = "; nothing needs cleaning up." if is_clean else "."
    return f"The run lock has been released{clean}"


def _success(answer: Mapping[str, Any], run: Run, most: int) -> list[Section]:
    key = "rolled_back" if "rolled_back" in answer else "applied"
    files, tables = answer[key], (answer.get("verified") or {}).get("tables") or []
    changed = []
    for file in files:
        ms = file.get("duration_ms")
        duration = f" in {ms / 1_000:.1f} s" if isinstance(ms, (int, float)) else ""
        changed.append(f"{file.get('file') or file['migration']}{duration}")
    warnings = [layout.cut(str(warning), _SIZES[-1]) for warning in answer.get("warnings", [])[:most]]
    title = "Applied" if key == "applied" else "Rolled back"
    return [
        (title, _newest_lines(changed, most, answer.get(f"{key}_count"))),
        ("Tables", _newest_lines([_table(table) for table in tables], most)),
        ("Warnings", [line for warning in warnings for line in wrapped(warning, hang="  ")]),
        ("Execution", execution(run)),
    ]


def _newest_lines(items: Sequence[str], most: int, count: int | None = None) -> list[str]:
    """The newest items, one a line."""
    total = max(len(items), count or 0)
    lines = [line for item in items[-most:] for line in wrapped(item, hang="  ")]
    return [*([f"  ... and {total - most} before these"] if total > most else []), *lines]


def _table(table: Mapping[str, Any]) -> str:
    if not table.get("exists"):
        return f"{table['table']}: doesn't exist"
    rows = "" if table.get("rows") is None else f", {'' if table.get('counted') else 'about '}{table['rows']:,} rows"
    indexes = len(table.get("indexes") or [])
    return f"{table['table']}: exists{rows}, {indexes or 'no'} {'index' if indexes == 1 else 'indexes'}"


def execution(run: Run, reason: str = "", error: str = "") -> list[str]:
    """What an execution was for, who or what started it, the `reason` why it was stopped and the name of its error, as
    lines of a mail, with a link to its page."""
    action, target = run.key("action") or "run-migration", run.key("target")
    requested, began = f"{action} {target}".strip(), initiator(run.key("trigger"), run.key("requested_by"))
    if run.input is None:
        requested, began = "", "unknown; see the page below"
    elif action == "plan":
        requested = "check what is pending"
    elif action == "run-migration":
        requested = f"run up to {target}" if target else "run everything pending"
    pairs = [("Action", requested), ("Started by", began), ("Reason", reason), ("Error", error)]
    pairs += [] if run.arn else [("Name", run.execution)]
    return [*named(pairs), *([f"  {link(run)}"] if run.arn else [])]


def link(run: Run) -> str:
    """The link to the page of an execution; empty if its ARN isn't known."""
    return console(run.arn) if run.arn else ""


def _list(facts: Mapping[str, object], *names: str) -> list[Any]:
    return next((value for name in names if isinstance(value := facts.get(name), list)), [])

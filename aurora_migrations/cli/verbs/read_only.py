"""The verbs that only read: `list`, `status`, `plan`, `verify`, `history`. Each prints a document, as text or JSON,
that is read from a database or by an environment's state machine."""

from __future__ import annotations

import argparse
import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aurora_migrations.cli import options
from aurora_migrations.cli.output import (
    Styled,
    note,
    paragraph,
    plural,
    print_json,
    print_table,
    print_verified,
    print_warnings,
    screen,
    show,
    show_styled,
    size_of,
    state_style,
)
from aurora_migrations.engine import MigratorError, Session, read_entries, read_overview
from aurora_migrations.engine.history import read_attempts, read_state
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.plan import build_plan, read_edits
from aurora_migrations.engine.postgres.session import Holder
from aurora_migrations.engine.preview.rehearsal import jobs_of, rehearse
from aurora_migrations.engine.script import Source
from aurora_migrations.engine.status import complete_answer, history_answer, list_answer, plan_answer, status_answer

Data = Mapping[str, Any]
_NOT_IN = ("pending", "partly applied", "out of order")
_DIRECT_PAUSE, _REMOTE_PAUSE = 2.0, 15.0  # seconds; each status of an environment is an execution
_HOUR_MS = 3_600_000
_WORTH_SHOWING_MS = 10.0  # of a rehearsed statement without locks on existing tables


def main(verb: str, argv: Sequence[str]) -> int:
    """Runs one of these verbs; returns the exit code."""
    query = _QUERIES[verb]
    parser = options.make_parser(verb, query.description, *query.examples)
    if query.target:
        options.add_target(parser, query.target)
    options.add_where(parser)
    if verb == "plan":
        rehearse = "also run the files, in a transaction that is rolled back: real times, locks and rows"
        parser.add_argument("--rehearse", action="store_true", help=rehearse)
    if verb == "history":
        parser.add_argument("--last", metavar="N", type=_positive, default=20, help="how many attempts (default: 20)")
    if verb == "status":
        parser.add_argument("--watch", action="store_true", help="repeat it until Ctrl-C")
        every = "how often (default: 2s; of an environment 15s)"
        parser.add_argument("--every", metavar="TIME", type=options.seconds, help=every)
    arguments = options.parse(parser, argv)
    if verb == "status" and arguments.watch:
        if arguments.output == "json":
            parser.error("--watch prints for people only; with --output json, call status repeatedly")
        return _watch(arguments)
    execution, target = options.execution_name(options.READ_ONLY), arguments.target
    try:
        options.check_numbers(arguments, "target")
        if options.is_remote(arguments):
            from aurora_migrations.cli.remote.client import execute

            action = "rehearse" if _rehearses(arguments) else query.action
            data: Data = execute(arguments, execution, {"action": action, "target": target})
        else:
            data = query.read(arguments, execution)
        with _readable(arguments, execution):
            code = 1 if query.action == "status" and not data["sound"] else 0
            if _rehearses(arguments):
                code = int(any(file["result"] == "failed" for file in data["rehearsal"]["files"]))
            if arguments.output == "text":
                query.show(data, arguments)
    except MigratorError as error:
        return options.fail(error, f"{arguments.verb} {target or ''}".rstrip(), arguments, execution)
    if arguments.output == "json":
        print_json(data)
    return code


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 7 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number from 1 on")
    return int(text)


@contextlib.contextmanager
def _readable(arguments: argparse.Namespace, execution: str) -> Iterator[None]:
    """For reading an environment's document: a state machine of another version may have answered differently."""
    try:
        yield
    except (LookupError, TypeError) as error:
        if not options.is_remote(arguments):
            raise
        from aurora_migrations.cli.remote.aws_errors import contract_broken

        what = f"its answer has no {error}" if isinstance(error, KeyError) else "its answer can't be read"
        raise contract_broken(execution, what) from error


_Read = Callable[[argparse.Namespace, str], Data]  # without a state machine; gets a name for the session


def _reader(
    action: str,
    answer: Callable[[Session, Any, argparse.Namespace], Mapping[str, object]],
    of_files: bool = True,
) -> _Read:
    """Reads what a state machine would answer from a database that can be reached from here. `answer` gets the folder's
    files, if it is `of_files`."""

    def read(arguments: argparse.Namespace, execution: str) -> Data:
        source = options.source(arguments) if of_files else None
        with Session(options.database_url(arguments), execution) as session:
            return complete_answer(action, execution, session.server, answer(session, source, arguments))

    return read


def _show_list(data: Data, arguments: argparse.Namespace) -> None:
    entries = data["migrations"]
    by = any(entry.get("origin") for entry in entries)  # an environment of an older version doesn't know it
    rows = [
        (entry["state"], entry["applied_at"] or "", *([entry["origin"] or ""] if by else []), entry["name"])
        for entry in entries
    ]
    heads = ("State", "Applied at", *(["By"] if by else []), "Migration")
    print_table(heads, rows, long=("Migration",), state="State")
    if data["omitted"]:
        note(f"The oldest {data['omitted']} aren't shown: an execution's output is limited in size.")


def _show_history(data: Data, arguments: argparse.Namespace) -> None:
    attempts = data["attempts"][: arguments.last]
    if not attempts:
        show("No attempts yet: nothing has been applied to this database.")
        return
    rows = []
    for each in attempts:
        result = each["result"] or "under way, or interrupted"
        if each["error"]:
            result = f"{result}: {each['error'].get('error')}"
        file = each["name"] if each["action"] == "apply" else f"{each['name']} ({each['action']})"
        rows.append((each["started_at"], result, file, options.initiator(each["requested_by"])))
    headers = ("Started", "Result", "File", "Started by")
    print_table(headers, rows, long=headers[2:], state="Result")
    if len(attempts) < arguments.last and data["older"]:
        note("Older attempts are in the database, in aurora_migrations.attempts.")


def _plan(session: Session, source: Source, arguments: argparse.Namespace) -> dict[str, object]:
    state = read_state(session)
    plan = build_plan(source.package, state, read_edits(session, source, state.applied), arguments.target)
    source.problems("apply", plan.pending)
    answer = {**plan_answer(session, source, plan), "warnings": plan.warnings}
    if _rehearses(arguments):
        limits = Limits()
        with Session(options.database_url(arguments), session.execution, "rehearsal") as writing:
            jobs = jobs_of(source, plan.pending, limits)
            found = rehearse(writing, jobs, state.unfinished, limits.lock_timeout)
        answer["rehearsal"] = {**found.to_dict(), "files": [each.to_dict() for each in found.files], "files_omitted": 0}
    return answer


def _rehearses(arguments: argparse.Namespace) -> bool:
    return bool(getattr(arguments, "rehearse", False))


def _show_plan(data: Data, arguments: argparse.Namespace) -> None:
    print_warnings(data["warnings"])
    show_styled(Styled((data["message"], "bold")))
    doubt = {"yes": "", "maybe": "perhaps "}
    words = {"rewrites": "rewrites all its rows", "scans": "reads all its rows"}
    for file in data["pending"]:
        units = "one transaction" if file.get("transactional", True) else "outside any transaction"
        if file["parts"] > 1:
            units = f"{file['parts']} units that commit separately"
        what = f": {plural(file['statements'], 'statement')}, {units}"
        lines = [Styled(), Styled((file["file"], state_style("pending")), (what, ""))]
        if change := file.get("change"):  # of an environment of an older version there is none; nor are the tables
            lines.append(Styled((paragraph("  ", f"{change[:1].upper()}{change[1:]}", sys.stdout), "")))
        if reason := file.get("unreplayed"):
            lines.append(Styled((paragraph("  ", f"What it changes isn't known: {reason}", sys.stdout), "")))
        existing = {table["table"]: table for table in file.get("existing", ())}
        for lock in file["locks"]:
            work = " and ".join(f"{doubt[lock[key]]}{word}" for key, word in words.items() if lock[key] in doubt)
            text = f"{lock['mode']} on {lock['table']}"
            if table := existing.get(lock["table"]):
                text += f" (about {plural(table['rows'], 'row')}, {size_of(table['bytes']) or 'size unknown'})"
            lines.append(Styled((paragraph("  ", f"{text}{f', {work}' if work else ''}", sys.stdout), "")))
        for table in existing.values():
            if table["blockers"]:
                begin = f"  Blockers of {table['table']} now: "
                lines.append(Styled((paragraph(begin, ", ".join(table["blockers"]), sys.stdout), state_style("warn"))))
        if missing := file.get("missing"):
            text = paragraph("  ", f"Missing privileges: {'; '.join(missing)}", sys.stdout)
            lines.append(Styled((text, state_style("failed"))))
        for hazard in file["hazards"]:
            lines.append(Styled(("  Warning:", state_style("warn")), (f" {hazard}", "")))
        show_styled(*lines)
    if data["omitted"]:
        show(f"\n... and {data['omitted']} more files")
    if rehearsal := data.get("rehearsal"):
        show_styled(*_rehearsal_lines(rehearsal))


def _rehearsal_lines(rehearsal: Data) -> Iterator[Styled]:
    yield Styled()
    yield Styled(("Rehearsed in a transaction that was rolled back:", "bold"))
    for file in rehearsal["files"]:
        result, reason = file["result"], file["reason"]
        style = state_style({"done": "applied", "failed": "failed"}.get(result, "warn"))
        took = "" if result == "skipped" else f" in {file['duration_ms']:g} ms"
        yield Styled((f"  {file['file']}: ", ""), (f"{result.replace('skipped', 'not rehearsed')}{took}", style))
        for each in file["statements"]:
            if each["locks"] or each["duration_ms"] >= _WORTH_SHOWING_MS:
                locks = f", {', '.join(each['locks'])}" if each["locks"] else ""
                text = f"{each['line']}:{each['column']} took {each['duration_ms']:g} ms{locks}"
                yield Styled((paragraph("    ", text, sys.stdout), ""))
        for text in (*file["rows"], *([f"{reason[:1].upper()}{reason[1:]}"] if reason else [])):
            yield Styled((paragraph("    ", text, sys.stdout), ""))
    if rehearsal["files_omitted"]:
        yield Styled((f"  ... and {rehearsal['files_omitted']} more files", ""))
    if rehearsal["blocked_ms"]:
        held = f"Locks that block the application were held for {rehearsal['blocked_ms']:g} ms."
        yield Styled((paragraph("  ", held, sys.stdout), ""))
    if rehearsal["sequences"]:
        moved = f"Not rolled back: numbers that these sequences gave out: {', '.join(rehearsal['sequences'])}."
        yield Styled((paragraph("  ", moved, sys.stdout), ""))


def _read_verify(arguments: argparse.Namespace, execution: str) -> Data:
    """By the step that the state machine would call, for the folder and a database that can be reached from here."""
    from aurora_migrations.engine.steps.execution import ACTIONS, read_input
    from aurora_migrations.engine.steps.settings import read_settings
    from aurora_migrations.engine.steps.step import Deadline, Step
    from aurora_migrations.engine.steps.verify import verify

    # Of a function's settings only the limits matter here, which are the usual ones.
    given = {"ENVIRONMENT": "-", "DATABASE_SECRET_ARN": "-", "DATABASE_SSLMODE": "prefer"}
    settings = read_settings(given | {"ALLOWED_ACTIONS": ",".join(ACTIONS)})
    step = Step(
        settings=settings,
        input=read_input({"action": "verify", "target": arguments.target}, execution, ACTIONS),
        execution=execution,
        started_at=datetime.now(UTC).isoformat(),
        package="",
        so_far={},
        deadline=Deadline(lambda: _HOUR_MS),
        url=options.database_url(arguments),
        folder=options.source(arguments),
    )
    return verify(step).to_dict()


def _show_verify(data: Data, arguments: argparse.Namespace) -> None:
    print_warnings(data["warnings"])
    show_styled(Styled((data["message"], "bold")))
    print_verified(data["verified"])


def _status_lines(data: Data) -> list[Styled]:
    styles = {"Pending": "pending", "Ahead": "ahead", "Refused": "failed"}
    lines = []
    for name, value in _status_facts(data):
        style = "" if value == "0" else state_style(styles.get(name, ""))
        if name == "Last":
            style = state_style(value.partition(" ")[2])  # after the file's name
        label = f"{name:10} "
        lines.append(Styled((label, "bold"), (paragraph(label, value, sys.stdout).removeprefix(label), style)))
    return lines


def _status_facts(data: Data) -> Iterator[tuple[str, str]]:
    """Each line of the status: its label and text."""
    standby = ", a standby (reader)" if data["standby"] else ""
    yield "Database", f"{data['database']} as {data['user']} (PostgreSQL {data['server_version']}{standby})"
    counts, newest, pending = data["counts"], data["newest"], data["pending"]
    applied = sum(count for state, count in counts.items() if state not in _NOT_IN)
    yield "Applied", f"{applied}, the newest {newest['name']} at {newest['applied_at']}" if newest else "0"
    if origins := data.get("origins"):
        yield "Adopted", ", ".join(f"{count} ({origin})" for origin, count in origins.items())
    left = f"{counts['pending']}, the next {pending[0]}" if pending else "0"
    begun = counts.get("partly applied", 0)
    yield "Pending", f"{left}; {begun} partly applied" if begun else left
    if data["ahead"]:
        yield "Ahead", f"{', '.join(data['ahead'])} applied, but not in this folder: is it an older one?"
    for entry in data["refused"]:
        yield "Refused", f"{entry['name']} is {entry['state']}; a run would be refused"
    if data["last_attempt"]:
        attempt = data["last_attempt"]
        word = attempt["result"] or ("under way" if data["running"] else "interrupted")
        at = attempt["finished_at"] or attempt["started_at"]
        asked = f"{attempt['action']}, {options.initiator(attempt['requested_by'])}"
        yield "Last", f"{attempt['name']} {word} at {at} ({asked})"
    yield "Running", str(Holder(**data["running"])) if data["running"] else "nothing"
    for execution in data.get("executions", []):
        yield "Execution", f"{execution['execution']} is under way since {execution['started_at']}"


def _watch(arguments: argparse.Namespace) -> int:
    """Prints the status until Ctrl-C, which needs no question here. A status that can't be read is shown and isn't the
    end: perhaps a failover is being watched."""
    pause = _REMOTE_PAUSE if options.is_remote(arguments) else _DIRECT_PAUSE
    if arguments.every is not None:
        pause = max(0.1, arguments.every)
    sound = True
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as closing:
        read: Callable[[str], Data] = functools.partial(_QUERIES["status"].read, arguments)
        if options.is_remote(arguments):  # the environment stays open in between
            from aurora_migrations.cli.remote.client import status_reader

            read = status_reader(arguments, closing.enter_context(contextlib.ExitStack()))
        draw = closing.enter_context(screen())
        while True:
            execution = options.execution_name(options.READ_ONLY)
            try:
                data = read(execution)
                with _readable(arguments, execution):
                    sound, lines = bool(data["sound"]), _status_lines(data)
            except MigratorError as error:
                sound, lines = False, [Styled((f"{error.name}: ", state_style("failed")), (error.message, ""))]
            seen = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            draw([*lines, Styled((f"{'Seen':10} ", "bold"), (f"{seen}, again in {pause:g} s", "dim"))])
            time.sleep(pause)
    return 0 if sound else 1


# ---- the verbs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Query:
    action: str  # as a state machine calls it
    description: str
    examples: tuple[str, ...]
    read: _Read
    show: Callable[[Data, argparse.Namespace], None]
    target: str = ""  # an example of a TARGET, if the verb takes one


_QUERIES = {
    "list": _Query(
        "list-migrations",
        "Lists every migration of folder and history with its state: applied, pending, ahead (newer than the folder), "
        "out of order, changed (edited since it was applied) or missing.",
        ("list --env dev", "list --database-url postgresql://app:secret@localhost/shop"),
        _reader("list-migrations", lambda session, source, _: list_answer(read_entries(session, source))),
        _show_list,
    ),
    "status": _Query(
        "status",
        "Shows what is applied and pending, what a run would refuse, what is running and the last attempt. Exits with "
        "1 if a run would be refused.",
        ("status --watch --env dev", "status --database-url postgresql://app:secret@localhost/shop"),
        _reader("status", lambda session, source, _: status_answer(read_overview(session, source), session.server)),
        lambda data, arguments: show_styled(*_status_lines(data)),
    ),
    "plan": _Query(
        "plan",
        "Shows what a run up to and including TARGET would do: for each file what it creates, changes and drops, its "
        "locks on existing tables, their sizes and current blockers, missing privileges, and its risky statements. "
        "With --rehearse, which an environment must allow (allowed_actions: rehearse), files also run and are rolled "
        "back.",
        ("plan --env dev", "plan 018 --database-url postgresql://app:secret@localhost/shop"),
        _reader("plan", _plan),
        _show_plan,
        target="017",
    ),
    "verify": _Query(
        "verify",
        "Compares the database with what the applied migrations, or TARGET, make of an empty one, shows the rows and "
        "indexes of their tables, and checks every lasting expectation. Exits with 1 if something is wrong.",
        ("verify 017 --env dev", "verify --database-url postgresql://app:secret@localhost/shop"),
        _read_verify,
        _show_verify,
        target="017",
    ),
    "history": _Query(
        "history",
        "Lists every attempt to apply or roll back a file, newest first, with its result and initiator. For an "
        "environment, at most 200.",
        ("history --env dev", "history --last 5 --database-url postgresql://app:secret@localhost/shop"),
        _reader(
            "history",
            lambda session, _, arguments: history_answer(read_attempts(session, arguments.last + 1), arguments.last),
            of_files=False,
        ),
        _show_history,
    ),
}

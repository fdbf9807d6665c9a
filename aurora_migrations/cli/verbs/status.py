"""`aurora-migrations status`: where the database stands."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from aurora_migrations.cli import options, where
from aurora_migrations.cli.queries import Data, asker, session, understood
from aurora_migrations.compiler.folder_source import source_of
from aurora_migrations.engine import MigratorError, failure, read_overview
from aurora_migrations.engine.postgres.advisory_lock import Holder

_NOT_IN = ("pending", "partly in", "out of order")


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    made = options.parser(
        "status",
        "Where the database stands: how much is applied and pending, what a run would refuse, who is at work on it, "
        "what happened last. Exits with 1 if a run would be refused. With --watch it looks again and again, until "
        "Ctrl-C.",
        "status --watch --env dev",
        "status --database-url postgresql://app:secret@localhost/shop",
    )
    where.add_where(made)
    made.add_argument("--watch", action="store_true", help="look again and again, until Ctrl-C")
    made.add_argument(
        "--every",
        metavar="TIME",
        type=options.pause,
        help="how often: by default every 2s, of an environment every 15s",
    )
    arguments = where.parse(made, argv)
    if arguments.watch:
        if arguments.output == "json":
            made.error("--watch is for people; call status again and again for --output json")
        from aurora_migrations.cli.verbs.watching import watch

        return watch(arguments)
    return _once(arguments)


def _once(arguments: argparse.Namespace) -> int:
    execution = options.look_name()
    try:
        data = _asked(arguments, execution)
        with understood(arguments, execution):
            sound, told = bool(data["sound"]), list(lines(data))
    except MigratorError as error:
        options.go_on_with(error, "status", arguments)
        return options.tell_error(error, arguments, failure(error, None, execution))
    if arguments.output == "json":
        options.print_json(data)
    else:
        print(*told, sep="\n")
    return 0 if sound else 1


def _asked(arguments: argparse.Namespace, execution: str) -> Data:
    """Where the database stands, from the state machine or from the database itself."""
    if where.is_remote(arguments):
        from aurora_migrations.cli.remote.client import ask_status

        return ask_status(arguments, execution)
    return look(arguments, execution)


def look(arguments: argparse.Namespace, execution: str) -> Data:
    """Where a database stands that one can reach."""
    from aurora_migrations.engine.status import complete_answer, status_answer

    source = source_of(arguments.migrations)
    with session(arguments, execution) as opened:
        overview, server = read_overview(opened, source), opened.server
        return complete_answer("status", execution, server, status_answer(overview, server))


def lines(data: Data) -> Iterator[str]:
    """The same for people."""
    for name, value in _facts(data):
        yield f"{name:10} {value}"


def _facts(data: Data) -> Iterator[tuple[str, str]]:
    standby = ", a standby (reader)" if data["standby"] else ""
    yield "Database", f"{data['database']} as {data['user']} (PostgreSQL {data['server_version']}{standby})"
    counts, newest, pending = data["counts"], data["newest"], data["pending"]
    applied = sum(count for state, count in counts.items() if state not in _NOT_IN)
    yield "Applied", f"{applied}, the newest {newest['name']} at {newest['applied_at']}" if newest else "0"
    yield "Pending", f"{counts['pending']}, the next {pending[0]}" if pending else "0"
    if data["ahead"]:
        yield "Ahead", f"{', '.join(data['ahead'])} applied, but not in this folder: is it an older one?"
    for entry in data["refused"]:
        yield "Refused", f"{entry['name']} is {entry['state']}; a run would be refused"
    if data["last_attempt"]:
        yield "Last", _last(data["last_attempt"], bool(data["running"]))
    yield "Running", str(Holder(**data["running"])) if data["running"] else "nobody"
    for execution in data.get("executions", []):
        yield "Execution", f"{execution['execution']} is under way since {execution['started_at']}"


def _last(attempt: Data, running: bool) -> str:
    word = attempt["result"] or ("under way" if running else "interrupted")
    at = attempt["finished_at"] or attempt["started_at"]
    return f"{attempt['name']} {word} at {at} ({attempt['action']}, {asker(attempt['requested_by'])})"

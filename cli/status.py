"""`aurora-migrations status`: where the database stands."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from cli import common
from compiler.source import source_of
from functions.migrator import MigratorError, Session, failure, read_overview
from functions.migrator.overview import Overview
from functions.migrator.session import Server


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    made = common.parser(
        "status",
        "Where the database stands: how much is applied and pending, what a run would refuse, who is at work on it, "
        "what happened last. Exits with 1 if a run would be refused.",
        "status --database-url postgresql://app:secret@localhost/shop",
    )
    common.add_database(made)
    arguments = made.parse_args(argv)
    execution = common.execution_name()
    try:
        source = source_of(arguments.migrations)
        with Session(common.database_url(arguments), execution) as session:
            overview, server = read_overview(session, source), session.server
    except MigratorError as error:
        common.go_on_with(error, "status", arguments)
        return common.tell_error(error, arguments, failure(error, None, execution))
    _tell(overview, server, arguments)
    return 0 if overview.sound else 1


def _tell(overview: Overview, server: Server, arguments: argparse.Namespace) -> None:
    if arguments.output == "json":
        common.print_json(_data(overview, server))
        return
    for name, value in _lines(overview, server):
        print(f"{name:10} {value}")


def _data(overview: Overview, server: Server) -> dict[str, object]:
    return {
        "database": server.database,
        "user": server.user,
        "server_version": server.version,
        "standby": server.in_recovery,
        "sound": overview.sound,
        "counts": overview.counts,
        "pending": [entry.name for entry in overview.entries if entry.state == "pending"],
        "refused": [entry.to_dict() for entry in overview.refused],
        "running": asdict(overview.running) if overview.running else None,
        "last_attempt": asdict(overview.last) if overview.last else None,
    }


def _lines(overview: Overview, server: Server) -> Iterator[tuple[str, str]]:
    standby = ", a standby (reader)" if server.in_recovery else ""
    yield "Database", f"{server.database} as {server.user} (PostgreSQL {server.version}{standby})"
    applied = [entry for entry in overview.entries if entry.applied_at]
    yield (
        "Applied",
        f"{len(applied)}{f', the newest {applied[-1].name} at {applied[-1].applied_at}' if applied else ''}",
    )
    pending = [entry.name for entry in overview.entries if entry.state == "pending"]
    yield "Pending", f"{len(pending)}{f', the next {pending[0]}' if pending else ''}"
    ahead = [entry.name for entry in overview.entries if entry.state == "ahead"]
    if ahead:
        yield "Ahead", f"{', '.join(ahead)} applied, but not in this folder: is it an older one?"
    for entry in overview.refused:
        yield "Refused", f"{entry.name} is {entry.state}; a run would be refused"
    last = overview.last
    if last:
        word = last.result or ("under way" if overview.running else "interrupted")
        yield (
            "Last",
            f"{last.name} {word} at {last.finished_at or last.started_at} ({last.action}, {last.requested_by})",
        )
    yield "Running", str(overview.running or "nobody")

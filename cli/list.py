"""`aurora-migrations list`: every migration and its state."""

from __future__ import annotations

from collections.abc import Sequence

from cli import common
from cli.tables import print_table
from compiler.source import source_of
from functions.migrator import MigratorError, Session, failure, read_entries


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    made = common.parser(
        "list",
        "Every migration of the folder and of the database's history, with its state: applied, pending, ahead "
        "(applied, newer than this folder), out of order, changed (edited since it was applied) or missing.",
        "list --database-url postgresql://app:secret@localhost/shop",
    )
    common.add_database(made)
    arguments = made.parse_args(argv)
    execution = common.execution_name()
    try:
        source = source_of(arguments.migrations)
        with Session(common.database_url(arguments), execution) as session:
            entries = read_entries(session, source)
    except MigratorError as error:
        common.go_on_with(error, "list", arguments)
        return common.tell_error(error, arguments, failure(error, None, execution))
    if arguments.output == "json":
        common.print_json({"migrations": [entry.to_dict() for entry in entries]})
    else:
        print_table(("State", "Applied at", "Migration"), [(e.state, e.applied_at or "", e.name) for e in entries])
    return 0

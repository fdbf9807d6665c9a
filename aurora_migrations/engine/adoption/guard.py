"""Refuses runs where another tool has changed its history since that was adopted: two tools at work on one database."""

from __future__ import annotations

from aurora_migrations.engine.adoption.histories import read_place, read_rows
from aurora_migrations.engine.adoption.matching import listed
from aurora_migrations.engine.adoption.tools import TOOLS
from aurora_migrations.engine.errors import MigrationMissing, NextCommand
from aurora_migrations.engine.history import State
from aurora_migrations.engine.postgres.session import Session


def check_foreign_histories(session: Session, state: State) -> None:
    """Compares the tables of other tools with what was adopted of them. A table that is gone is fine.

    Raises:
        MigrationMissing: rows have come or gone.
    """
    tools = {tool.name: tool for tool in TOOLS}
    for origin in state.origins:
        place = read_place(session, origin.source)
        if place is None or origin.tool not in tools:
            continue
        now = [row.key for row in read_rows(session, tools[origin.tool], place)]
        gained, lost = [key for key in now if key not in origin.keys], sorted(origin.keys - {*now})
        if not gained and not lost:
            continue
        found = [f"applied {listed(gained)}"] if gained else []
        found += [f"undone {listed(lost)}"] if lost else []
        raise MigrationMissing(
            f"Since its history ({origin.source}) was adopted, {origin.tool} has {' and '.join(found)}.",
            cause="Two tools migrate this database, and each knows only what it has done itself.",
            solution=f"Stop using {origin.tool} here. Add what it has applied to the migrations, and adopt its history "
            "again; a table that isn't needed any more can be dropped.",
            next_command=NextCommand("adopt"),
            tool=origin.tool,
            gained=gained[:50],
            lost=lost[:50],
        )

"""Refuses runs where another tool has changed its history since that was adopted, or has applied the same migrations:
two tools at work on one database.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from aurora_migrations.engine.errors import InsufficientPrivilege, InvalidInput, MigrationMissing, NextCommand
from aurora_migrations.engine.history import State
from aurora_migrations.engine.migrations import Package
from aurora_migrations.engine.postgres.session import Session

if TYPE_CHECKING:
    from aurora_migrations.engine.adoption.histories import Row


def check_foreign_histories(session: Session, state: State) -> None:
    """Compares the tables of other tools with what was adopted of them. A table that is gone is fine.

    Raises:
        MigrationMissing: rows have come or gone.
    """
    if not state.origins:
        return
    from aurora_migrations.engine.adoption.histories import read_place, read_rows
    from aurora_migrations.engine.adoption.matching import listed
    from aurora_migrations.engine.adoption.tools import TOOLS

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


def check_not_applied_by_others(session: Session, state: State, package: Package) -> None:
    """Before the first run on a database: whether another tool has applied the same migrations. They would run again,
    and not every statement fails the second time.

    Raises:
        InvalidInput: it has.
    """
    if state.applied or state.unfinished:
        return
    from aurora_migrations.engine.adoption.histories import find_all, read_rows
    from aurora_migrations.engine.adoption.matching import find_files, wrong_checksums

    for history in find_all(session):
        rows: tuple[Row, ...] = ()
        with contextlib.suppress(InsufficientPrivilege):
            rows = tuple(read_rows(session, history.tool, history.place))
        read = replace(history, rows=rows)
        files = find_files(read, package)
        # Drizzle's rows have nothing but a checksum.
        others = {row.key for _, row in wrong_checksums(read, files)} if history.tool.by_order else set()
        same = [row for row in rows if row.key in files and row.key not in others]
        if same:
            row = same[-1]
            raise InvalidInput(
                f"{history.tool.name} has applied {row.key}, which is {files[row.key].name} here: it would run again.",
                cause=f"The database has {history.tool.name}'s history ({history.source}), which wasn't adopted.",
                solution="Adopt it: that compares the schema, records what is applied and runs nothing. If these are "
                "other migrations, give them other numbers.",
                next_command=NextCommand("adopt"),
            )

"""Status of a database: every migration of the package and of the history, with its state. Reads only.

The answers of the read-only actions are made here: the same JSON documents at a terminal and from the state machine.
The size of its state is limited, so there long lists are cut to a budget (bytes of JSON), and the answer shows how many
items were left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from aurora_migrations.engine.history import Attempt, read_attempts, read_state
from aurora_migrations.engine.interface import success
from aurora_migrations.engine.migrations import read_text
from aurora_migrations.engine.plan import Plan, read_edits
from aurora_migrations.engine.postgres.session import Holder, Server, Session

if TYPE_CHECKING:
    from aurora_migrations.engine.script import Source

# From healthy to not: what `list` and `status` call a migration.
STATES = ("applied", "pending", "partly applied", "ahead", "out of order", "changed", "partly rolled back", "missing")
_SOUND = frozenset({"applied", "pending", "partly applied", "ahead"})
ATTEMPTS = 200  # how many the state machine returns at most
UNLIMITED = 2**40
_LISTED = 20  # locks, tables or hazards of one file
_BLOCKERS = 5  # of one table
_OF_ERRORS = ("error", "message", "file", "line", "column", "sqlstate")
_SHOWN = 500  # characters of one of these
_Item = TypeVar("_Item")


class Entry(NamedTuple):
    """A migration and its state, one of `STATES`. `applied_at` is UTC, ISO 8601; `parts`: of a file that is applied
    (or rolled back) in part, how many of its units; `has_down_file`: whether the package can undo it; `origin`: of one
    that was recorded without being run, the tool that had applied it, or `baseline`."""

    migration: str
    name: str
    state: str
    applied_at: str | None = None
    execution: str | None = None
    parts: int | None = None
    has_down_file: bool = False
    origin: str | None = None

    def to_dict(self) -> dict[str, object]:
        """The entry as JSON-able data."""
        return self._asdict()


class Overview(NamedTuple):
    """The status of a database."""

    entries: tuple[Entry, ...]  # every migration, by version
    running: Holder | None  # the holder of the run lock
    last: Attempt | None  # the newest attempt

    @property
    def refused(self) -> list[Entry]:
        """The migrations because of which a run would be refused."""
        return [entry for entry in self.entries if entry.state not in _SOUND]


def read_entries(session: Session, source: Source) -> tuple[Entry, ...]:
    """Every migration that the package or the history knows, by version."""
    state, package = read_state(session), source.package
    edits = read_edits(session, source, state.applied)
    names = {v: progress.name for v, progress in state.unfinished.items()}
    names |= {v: record.name for v, record in state.applied.items()}
    names |= {migration.version: migration.name for migration in package.migrations}
    newest_applied, highest = max(state.applied, default=-1), package.migrations[-1].version
    migrations = package.by_version

    def entry(version: int, name: str) -> Entry:
        record, progress, migration = state.applied.get(version), state.unfinished.get(version), migrations.get(version)
        if migration is None:
            word = "ahead" if version > highest else "missing"
        elif record is not None:
            edit = edits.get(version)
            word = "changed" if edit and edit.changed else "partly rolled back" if progress else "applied"
        elif version < newest_applied:
            word = "out of order"
        else:
            word = "partly applied" if progress else "pending"
        parts = len(progress.units) if progress and (word.startswith("partly") or record is None) else None
        at, execution = (record.applied_at, record.execution) if record else (None, None)
        has_down_file = migration is not None and migration.down_name is not None
        origin = record.origin if record else None
        return Entry(name.partition("_")[0], name, word, at, execution, parts, has_down_file, origin)

    return tuple(entry(version, name) for version, name in sorted(names.items()))


def read_overview(session: Session, source: Source) -> Overview:
    """The status of the database, the holder of the run lock, and the newest attempt."""
    from aurora_migrations.engine.nontransactional.intents import find_running

    attempts = read_attempts(session, 1)
    entries, running = read_entries(session, source), find_running(session)
    return Overview(entries, running, attempts[0] if attempts else None)


def complete_answer(action: str, execution: str, server: Server, answer: Mapping[str, object]) -> dict[str, object]:
    """An answer with what every result has."""
    begins = success(action, execution, server.database, answer.get("migration"), answer.get("message"))
    return {**begins, **answer}


def list_answer(entries: Sequence[Entry], budget: int = UNLIMITED) -> dict[str, object]:
    """Every migration and its state; if they are too many, the newest."""
    states = [entry.state for entry in entries]
    counts = {state: states.count(state) for state in STATES if state in states}
    shown = first([entry.to_dict() for entry in reversed(entries)], budget)[::-1]
    summary = ", ".join(f"{count} {state}" for state, count in counts.items())
    return {
        "message": f"{len(entries)} migrations: {summary}",
        "migrations": shown,
        "omitted": len(entries) - len(shown),
        "counts": counts,
    }


def status_answer(overview: Overview, server: Server, budget: int = UNLIMITED) -> dict[str, object]:
    """The status. Of the names in each list the first, if they are too many; `counts` has their number."""
    refused, states = overview.refused, [entry.state for entry in overview.entries]
    applied = [entry for entry in overview.entries if entry.applied_at]
    left = states.count("pending") + states.count("partly applied")
    message = f"{_count(left)} pending" if left else "Every migration is applied"
    if refused:
        message = f"A run would be refused for {_count(len(refused))}"
    return {
        "message": message,
        "database": server.database,
        "user": server.user,
        "server_version": server.version,
        "standby": server.in_recovery,
        "sound": not refused,
        "counts": {state: states.count(state) for state in STATES},
        "newest": applied[-1].to_dict() if applied else None,
        "origins": dict(Counter(entry.origin for entry in overview.entries if entry.origin)),
        **{word: first([e.name for e in overview.entries if e.state == word], budget) for word in ("pending", "ahead")},
        "refused": first([entry.to_dict() for entry in refused], budget),
        "running": overview.running._asdict() if overview.running else None,
        "last_attempt": _cut(overview.last)._asdict() if overview.last else None,
    }


def history_answer(attempts: Sequence[Attempt], most: int, budget: int = UNLIMITED) -> dict[str, object]:
    """At most so many attempts, newest first; `older`: whether there are more before them."""
    shown = first([_cut(attempt)._asdict() for attempt in attempts[:most]], budget)
    message = f"The newest {len(shown)} attempts" if shown else "No attempt yet"
    return {"message": message, "attempts": shown, "older": len(attempts) > len(shown)}


def plan_answer(session: Session, source: Source, plan: Plan, budget: int = UNLIMITED) -> dict[str, object]:
    """What a run would do, file by file; if they are too many, the first. And what it would meet: the tables that are
    there already, who holds locks on them that conflict with those of the file, and what our role lacks for it."""
    from aurora_migrations.engine.catalog.change import describe_change
    from aurora_migrations.engine.locks.blockers import read_tables_now
    from aurora_migrations.engine.preview.privileges import find_missing

    files: list[dict[str, object]] = []
    scripts = {migration: source.script("apply", migration) for migration in plan.pending}
    named = {lock.table for script in scripts.values() for each in script.statements for lock in each.locks}
    there = read_tables_now(session, named) if named else {}
    missing = find_missing(session, scripts, {migration: read_text(migration.path) for migration in scripts})
    for migration, script in scripts.items():
        locks = dict.fromkeys(lock for statement in script.statements for lock in statement.locks)
        modes: dict[str, list[str]] = {}
        for lock in locks:
            modes.setdefault(lock.table, []).append(lock.mode)
        existing = [
            {
                "table": table,
                "rows": there[table].rows,
                "bytes": there[table].size,
                "blockers": [str(blocker) for blocker in there[table].blockers(modes[table])[:_BLOCKERS]],
            }
            for table in modes
            if table in there
        ]
        files.append(
            {
                "migration": migration.label,
                "file": migration.name,
                "parts": len(script.units),
                "transactional": not any(unit.nontransactional for unit in script.units),
                "statements": len(script.statements),
                "tables": list(script.tables[:_LISTED]),
                "locks": [asdict(lock) for lock in locks][:_LISTED],
                "existing": existing[:_LISTED],
                "change": describe_change(script.change) if script.change else None,
                "unreplayed": script.unreplayed or None,
                "missing": missing.get(migration, [])[:_LISTED],
                "hazards": [str(hazard) for hazard in script.open_hazards[:_LISTED]],
            }
        )
    shown = first(files, budget)
    message = "Nothing to do: every migration is applied"
    if plan.pending:
        labels = dict.fromkeys((plan.pending[0].label, plan.pending[-1].label))
        message = f"{_count(len(plan.pending))} to run: {' to '.join(labels)}"
    return {
        "migration": plan.target.label if plan.target else None,
        "message": message,
        "pending": shown,
        "omitted": len(files) - len(shown),
    }


def first(items: Sequence[_Item], budget: int) -> list[_Item]:
    """The first items whose JSON takes no more than `budget` bytes."""
    return list(items) if budget == UNLIMITED else newest(items[::-1], budget)[::-1]


def newest(items: Sequence[_Item], budget: int) -> list[_Item]:
    """The last items whose JSON takes no more than `budget` bytes in all: the state that steps hand on is limited."""
    kept: list[_Item] = []
    for item in reversed(items):
        budget -= len(json.dumps(item).encode()) + 2
        if budget < 0:
            break
        kept.append(item)
    return kept[::-1]


def _count(number: int) -> str:
    return f"{number} {'migration' if number == 1 else 'migrations'}"


def _cut(attempt: Attempt) -> Attempt:
    """An attempt with the main facts of its error: an excerpt alone may have a hundred lines."""
    facts = [(key, attempt.error[key]) for key in _OF_ERRORS if key in attempt.error] if attempt.error else []
    shortened = {key: value[:_SHOWN] if isinstance(value, str) else value for key, value in facts}
    return attempt._replace(error=shortened if attempt.error else None)

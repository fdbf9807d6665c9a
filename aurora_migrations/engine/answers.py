"""What is answered to those who only look: the same document from a terminal and from the state machine.

The state machine's state is limited, so there long lists are cut to a budget (bytes of JSON), and say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TypeVar

from aurora_migrations.engine.history import Attempt
from aurora_migrations.engine.migrations import Migration
from aurora_migrations.engine.plan import Plan
from aurora_migrations.engine.postgres.session import Server
from aurora_migrations.engine.script import Hazard, Script, Source
from aurora_migrations.engine.status import STATES, Entry, Overview
from aurora_migrations.engine.steps.step import newest

ATTEMPTS = 200  # what the state machine tells of the history, at most
UNLIMITED = 2**40
_LISTED = 20  # locks, tables or hazards of one file
_OF_ERRORS = ("error", "message", "file", "line", "column", "sqlstate")
_SHOWN = 500  # characters of one of these
_Item = TypeVar("_Item")


def complete(action: str, execution: str, server: Server, answer: Mapping[str, object]) -> dict[str, object]:
    """An answer with what every answer has: `status`, `migration` and `message` stay; more may join."""
    about = {"action": action, "execution": execution, "database": server.database}
    told = {key: answer.get(key) for key in ("migration", "message")}
    return {"status": "success", **told, **about, **answer}


def list_answer(entries: Sequence[Entry], budget: int = UNLIMITED) -> dict[str, object]:
    """Every migration and its state; if they are too many, the newest."""
    states = [entry.state for entry in entries]
    counts = {state: states.count(state) for state in STATES if state in states}
    shown = first([entry.to_dict() for entry in reversed(entries)], budget)[::-1]
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    return {
        "message": f"{len(entries)} migrations: {told}",
        "migrations": shown,
        "omitted": len(entries) - len(shown),
        "counts": counts,
    }


def status_answer(overview: Overview, server: Server, budget: int = UNLIMITED) -> dict[str, object]:
    """Where the database stands. Of the names in each list the first, if they are too many; `counts` tells how many."""
    told = replace(overview, last=_cut(overview.last) if overview.last else None).to_dict(server)
    lists = {key: first(value, budget) if isinstance(value, list) else value for key, value in told.items()}
    return {"message": _standing(overview), **lists}


def history_answer(attempts: Sequence[Attempt], most: int, budget: int = UNLIMITED) -> dict[str, object]:
    """At most so many attempts, newest first; `older` tells whether there are more before them."""
    shown = first([asdict(_cut(attempt)) for attempt in attempts[:most]], budget)
    message = f"The newest {len(shown)} attempts" if shown else "No attempt yet"
    return {"message": message, "attempts": shown, "older": len(attempts) > len(shown)}


def plan_answer(source: Source, plan: Plan, budget: int = UNLIMITED) -> dict[str, object]:
    """What a run would do, file by file; if they are too many, the first."""
    files = [_planned(migration, source.script("apply", migration)) for migration in plan.pending]
    shown = first(files, budget)
    return {
        "migration": plan.target.label if plan.target else None,
        "message": _pending(plan.pending),
        "pending": shown,
        "omitted": len(files) - len(shown),
    }


def open_hazards(script: Script) -> list[Hazard]:
    """What may hurt in a file, and nobody has accepted."""
    return [hazard for hazard in script.hazards if hazard.allowed_because is None]


def first(items: Sequence[_Item], budget: int) -> list[_Item]:
    """The first items whose JSON takes no more than `budget` bytes."""
    return list(items) if budget == UNLIMITED else newest(items[::-1], budget)[::-1]


def _planned(migration: Migration, script: Script) -> dict[str, object]:
    """A pending file, and what it will do to tables that are there already."""
    locks = [lock for statement in script.statements for lock in statement.locks]
    return {
        "migration": migration.label,
        "file": migration.name,
        "parts": len(script.units),
        "statements": len(script.statements),
        "tables": list(script.tables[:_LISTED]),
        "locks": [asdict(lock) for lock in dict.fromkeys(locks)][:_LISTED],
        "hazards": [str(hazard) for hazard in open_hazards(script)[:_LISTED]],
    }


def _pending(pending: Sequence[Migration]) -> str:
    if not pending:
        return "Nothing to do: every migration is applied"
    labels = pending[0].label if len(pending) == 1 else f"{pending[0].label} to {pending[-1].label}"
    return f"{_count(len(pending))} to run: {labels}"


def _standing(overview: Overview) -> str:
    if overview.refused:
        return f"A run would be refused for {_count(len(overview.refused))}"
    left = overview.counts["pending"] + overview.counts["partly in"]
    return f"{_count(left)} pending" if left else "Every migration is applied"


def _count(number: int) -> str:
    return f"{number} {'migration' if number == 1 else 'migrations'}"


def _cut(attempt: Attempt) -> Attempt:
    """An attempt with so much of its error as people look for: an excerpt alone may have a hundred lines."""
    told = {key: attempt.error[key] for key in _OF_ERRORS if key in attempt.error} if attempt.error else None
    shortened = {key: value[:_SHOWN] if isinstance(value, str) else value for key, value in (told or {}).items()}
    return replace(attempt, error=shortened if told is not None else None)

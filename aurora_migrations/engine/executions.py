"""What one execution has done, according to the history, which is right even if the answer of a call was lost.

An execution is identified by its name and its start time, both as it passes them and as the history stores them: a
name can be reused (after 90 days, or when the state machine was created again), and no two clocks need to agree.
"""

from __future__ import annotations

from dataclasses import dataclass

from aurora_migrations.engine.history import (
    SCHEMA,
    WITH_STARTS,
    WITH_UNIT_ROWS,
    iso,
    read,
    read_format,
    version_of,
)
from aurora_migrations.engine.postgres.protocol import Command
from aurora_migrations.engine.postgres.session import Session
from aurora_migrations.engine.script import PAST, Action

_DONE = f"""
    SELECT version, name, finished_at,
           pg_catalog.round(EXTRACT(epoch FROM finished_at - started_at) * 1000, 1)
      FROM {SCHEMA}.attempts
     WHERE execution = $1 AND execution_start = $2 AND action = $3 AND result = $4 ORDER BY id
"""
# Files that others have changed the database by, since an execution undid its first one.
_OTHERS = f"""
    SELECT name FROM {SCHEMA}.attempts AS tried
     WHERE (execution, execution_start) <> ($1, $2) AND (result IN ('applied', 'rolled back') OR {{committed}})
       AND id > (SELECT pg_catalog.min(id) FROM {SCHEMA}.attempts
                  WHERE execution = $1 AND execution_start = $2 AND action = 'rollback' AND result = 'rolled back')
     GROUP BY name ORDER BY pg_catalog.min(id)
"""
_COMMITTED = f"EXISTS (SELECT FROM {SCHEMA}.units WHERE first_attempt = coalesce(resumes, id) AND attempt = id)"


@dataclass(frozen=True)
class Done:
    """A migration that an execution applied or rolled back. `at` is UTC, ISO 8601."""

    version: int
    name: str
    at: str
    duration_ms: float

    @property
    def label(self) -> str:
        """Its version as its file's name writes it: `017`."""
        return self.name.partition("_")[0]

    def to_dict(self) -> dict[str, object]:
        """The migration as JSON-able data."""
        return {"migration": self.label, "file": self.name, "at": self.at, "duration_ms": self.duration_ms}


@dataclass(frozen=True)
class Undone:
    """What an execution has rolled back in calls before this one, also in those that failed after it."""

    versions: frozenset[int] = frozenset()
    # Names of files that others have applied or rolled back since the first of them, wholly or in part.
    others: tuple[str, ...] = ()


NOTHING_UNDONE = Undone()


def read_done(session: Session, execution: str, start: str, action: Action) -> tuple[Done, ...]:
    """What the execution of this name that began then has applied or rolled back, in that order."""
    if read_format(session) < WITH_STARTS:
        return ()  # made by an earlier version of the product, and so by earlier executions
    (rows,) = read(session, Command(_DONE, [execution, start, action, PAST[action].replace("_", " ")]))
    return tuple(
        Done(version_of(version, "attempts", name), str(name), iso(str(at)), float(str(ms)))
        for version, name, at, ms in rows
    )


def read_undone(session: Session, execution: str, start: str) -> Undone:
    """What the execution has rolled back, and what others have done since."""
    done = read_done(session, execution, start, "rollback")
    if not done:
        return NOTHING_UNDONE
    committed = _COMMITTED if read_format(session) >= WITH_UNIT_ROWS else "units <> '{}'"
    (others,) = read(session, Command(_OTHERS.format(committed=committed), [execution, start]))
    return Undone(frozenset(each.version for each in done), tuple(str(name) for (name,) in others))

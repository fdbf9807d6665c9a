"""What shows whether a statement outside any transaction was done: the catalogue before it, and after an interruption.

Each kind of statement has its own rule. An invalid index is dropped only if an intent of ours is there; what isn't ours
stops the run and stays. Definitions of indexes are compared by the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aurora_migrations.engine.diagnostics.file_errors import nobody_knows
from aurora_migrations.engine.errors import MigrationFailed, MigratorError
from aurora_migrations.engine.history_format import SCHEMA, read
from aurora_migrations.engine.nontransactional.intents import (
    COLUMNS,
    Intent,
    as_ourselves,
    forget,
    intent_of,
    read_intents,
)
from aurora_migrations.engine.nontransactional.limits import LOOK_EVERY, LeftToServer, without_limits
from aurora_migrations.engine.postgres.protocol import BatchError, Command, Row
from aurora_migrations.engine.postgres.session import BEGIN, COMMIT, HELD_BY_US, OURS, Session
from aurora_migrations.engine.postgres.sqlstate import named_error
from aurora_migrations.engine.script import PROBE, Job, NontransactionalStatement

_BETWEEN_QUERIES = 0.5  # seconds, where another session's build is waited for
_BUILDING = "waiting for another session's index build"

# The tables on whose indexes, and on whose TOAST table's, a killed REINDEX CONCURRENTLY may leave others. $1 is the
# scope's oid.
_TABLE = "t.oid IN (SELECT $1::oid UNION SELECT relid FROM pg_partition_tree($1::oid))"
_SCOPES = {
    "INDEX": _TABLE,
    "TABLE": _TABLE,
    "SCHEMA": "t.relnamespace = $1::oid",
    "DATABASE": "$1::oid IS NOT NULL",
}
# Only a superuser may drop the index of a TOAST table: nobody else may use its schema.
_LEFTOVERS = """
    SELECT i.indexrelid, i.indexrelid::regclass
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' AND has_schema_privilege(c.relnamespace, 'USAGE')
       AND EXISTS (SELECT FROM pg_class t WHERE i.indrelid IN (t.oid, t.reltoastrelid) AND {scope})
     ORDER BY 1
"""
# The relation of this name where the index of a table would be; and who builds it, if somebody does. What another role
# builds isn't shown, but its lock on the table is.
_INDEX = """
    SELECT c.oid, c.oid::regclass, i.indrelid = t.oid, i.indisvalid,
           (SELECT min(p.pid) FROM pg_stat_progress_create_index p
             WHERE p.datname = current_database() AND (p.index_relid = c.oid OR p.index_relid IS NULL AND EXISTS (
                   SELECT FROM pg_locks l WHERE l.pid = p.pid AND l.relation = t.oid
                      AND l.mode = 'ShareUpdateExclusiveLock')))
      FROM pg_class t JOIN pg_class c ON c.relnamespace = t.relnamespace AND c.relname = $2
           LEFT JOIN pg_index i ON i.indexrelid = c.oid
     WHERE t.oid = $1::oid
"""
_DEFINITION = """
    SELECT indisunique, quote_ident(c.relname), quote_ident(t.relname), pg_get_indexdef(c.oid)
      FROM pg_index i JOIN pg_class c ON c.oid = indexrelid JOIN pg_class t ON t.oid = indrelid WHERE indexrelid = {oid}
"""
_CATALOGUES = {
    "DATABASE": "SELECT FROM pg_database WHERE datname = $1",
    "TABLESPACE": "SELECT FROM pg_tablespace WHERE spcname = $1",
    "SUBSCRIPTION": "SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid"
    " WHERE subname = $1 AND datname = current_database()",
}
_OF_INDEX = "SELECT indexrelid::regclass FROM pg_index WHERE indexrelid = $1::oid"
_ATTACHED = "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = $1::oid AND inhparent = $2::oid"
_KIND = re.compile(r"(?:CREATE|DROP) (\w+)")


def describe(session: Session, statement: NontransactionalStatement) -> dict[str, Any]:
    """The facts that an intent keeps: which objects the names mean now, and what was already invalid."""
    if statement.settlement == "create index":
        return {"table": _oid(session, statement.relation)}
    if statement.settlement == "drop index":
        index = _oid(session, statement.object)
        return {"index": index, "valid": bool(session.query(f"{_OF_INDEX} AND indisvalid", index))}
    if statement.settlement == "detach partition":
        return {"partition": _oid(session, statement.object), "parent": _oid(session, statement.relation)}
    if statement.settlement == "reindex":
        scope = _scope(session, statement)
        return {"scope": scope, "invalid": [oid for oid, _ in _leftovers(session, statement, scope)]}
    if statement.settlement in ("create", "drop"):
        return {"exists": _exists(session, statement)}
    return {}


def settle(
    session: Session, job: Job, number: int, statement: NontransactionalStatement, intent: Intent | None
) -> bytes | None:
    """The text to run for a unit, after whatever an earlier attempt has left is cleared away; None if it is done.

    Args:
        intent: that of an earlier attempt at this unit.

    Raises:
        MigrationFailed: something that isn't ours has the name.
    """
    unit = job.unit(number)
    text = job.text[unit.start : unit.end]
    if statement.settlement == "create index":
        return None if _is_index_there(session, job, statement, intent) else text
    if statement.settlement == "detach partition":
        facts = intent.facts if intent else describe(session, statement)
        attached = session.query(_ATTACHED, facts["partition"], facts["parent"])
        if attached == [("t",)]:  # PostgreSQL refuses the statement then, whoever began it
            return f"ALTER TABLE {statement.relation} DETACH PARTITION {statement.object} FINALIZE".encode()
        return None if intent and facts["partition"] and not attached else text
    if intent is None:
        return text
    if statement.settlement == "drop index":
        return None if intent.facts["index"] and not session.query(_OF_INDEX, intent.facts["index"]) else text
    clear(session, intent, job.is_time_up)
    if statement.settlement in ("create", "drop"):
        # As it was before it: the statement failed, or will; what is there isn't ours.
        done, before = _exists(session, statement), intent.facts.get("exists")
        return None if done == (statement.settlement == "create") and done != before else text
    return text


def clear_changed(session: Session, job: Job) -> None:
    """Settles what was begun of a file and stands no longer in it, or at another place, before any of it runs.

    Raises:
        InDoubt: only a person can find out how far it got.
        LeftToServer: the run's time is up before that.
    """
    for intent in read_intents(session, job):
        if not intent.matches(job):
            if intent.statement.settlement == "unknown":
                raise nobody_knows(job, intent.number, intent.statement, changed=True)
            clear(session, intent, job.is_time_up)
            forget(session, job, intent.number)


def clear_all(
    session: Session, versions: Iterable[int] | None = None, is_time_up: Callable[[], bool] = lambda: False
) -> list[str]:
    """Drops what interrupted statements of all migrations, or of those with these versions, have left invalid, forgets
    them, and returns the names of the indexes. One that only a person can settle stays."""
    settled = f"FROM {SCHEMA}.intents WHERE statement ->> 'settlement' <> 'unknown'"
    if versions is not None:
        settled += f" AND version IN ({', '.join(map(str, versions))})"
    (rows,) = read(session, Command(f"SELECT {COLUMNS} {settled}"))
    dropped = [name for row in rows for name in clear(session, intent_of(row), is_time_up)]
    # What shows the next run that its index is gone stays.
    session.execute(BEGIN, OURS, Command(f"DELETE {settled} AND statement ->> 'settlement' <> 'drop index'"), COMMIT)
    return dropped


def clear(session: Session, intent: Intent, is_time_up: Callable[[], bool] = lambda: False) -> list[str]:
    """Drops the invalid indexes that an interrupted statement has left, and returns their names. One that it was about
    to drop is invalid, too: nothing but building it again would make it valid.

    Raises:
        LeftToServer: the run's time is up before that.
    """
    statement, facts = intent.statement, intent.facts
    if statement.settlement == "create index":
        found = _find_index(session, facts["table"], statement.object)
        names = [found.name] if found and found.is_on_table and not found.is_valid and not found.builder else []
        if found and names and not _may_be_ours(session, intent, found.oid):
            names = []
    elif statement.settlement == "reindex":
        names = [name for oid, name in _leftovers(session, statement, facts["scope"]) if oid not in facts["invalid"]]
    else:
        names = find_half_dropped(session, intent)
    for name in names:
        text = f"DROP INDEX CONCURRENTLY IF EXISTS {name}"

        def check(elapsed: float, text: str = text) -> tuple[bool, float]:
            if is_time_up():
                raise LeftToServer(text)
            return False, LOOK_EVERY

        # It waits for all readers of the table, and outlives its run as the statement does: the next one waits for it.
        claim = (
            f"UPDATE {SCHEMA}.intents SET lock_holder = {HELD_BY_US}, started_at = clock_timestamp() "
            "WHERE version = $1::numeric AND action = $2 AND number = $3::integer"
        )
        as_ourselves(session, Command(claim, [intent.version, intent.action, intent.number]))
        with without_limits(session):
            try:
                session.wire.execute_pipeline([Command(text)], check)
            except BatchError as error:
                raise named_error(error.error) from error
    return names


def find_half_dropped(session: Session, intent: Intent) -> list[str]:
    """The index that an interrupted DROP INDEX CONCURRENTLY has made invalid, if it has."""
    if intent.statement.settlement != "drop index" or not intent.facts.get("valid"):
        return []
    return [str(name) for (name,) in session.query(f"{_OF_INDEX} AND NOT indisvalid", intent.facts["index"])]


@dataclass(frozen=True)
class _Index:
    """A relation that has an index's name."""

    oid: int
    name: str
    is_on_table: bool  # whether it is an index of the table
    is_valid: bool
    builder: int | None  # the process that builds it


def _find_index(session: Session, table: int | None, name: str) -> _Index | None:
    for oid, found, on_table, valid, builder in session.query(_INDEX, table, name) if table else []:
        return _Index(int(str(oid)), str(found), on_table == "t", valid == "t", int(builder) if builder else None)
    return None


def _is_index_there(session: Session, job: Job, statement: NontransactionalStatement, intent: Intent | None) -> bool:
    """Whether the index that a statement makes is there, valid and as the statement defines it. An invalid one that we
    have begun is dropped; another session's build is waited for."""
    table = _oid(session, statement.relation)
    while (found := _find_index(session, table, statement.object)) and not found.is_valid and found.builder:
        if job.is_time_up():
            raise LeftToServer(f"{job.file}: {_BUILDING} of {found.name}")
        session.pause(_BETWEEN_QUERIES, _BUILDING)
    if found is None:
        return False
    if not found.is_on_table:
        raise _not_ours(job, found, "Something else has the index's name.", "Give the index another name.")
    if not found.is_valid and intent is None:
        raise _not_ours(
            job,
            found,
            "The index is invalid, and aurora-migrations didn't begin it: a build by hand or by another tool failed.",
            f"Drop it and run again: DROP INDEX CONCURRENTLY {found.name};",
        )
    if not found.is_valid and intent and _may_be_ours(session, intent, found.oid):
        clear(session, intent, job.is_time_up)
        return False
    try:
        is_same = found.is_valid and _same_definition(session, statement, statement.relation, found.oid)
    except MigratorError as error:
        if error.retryable:
            raise
        raise _not_ours(
            job,
            found,
            f"An index of this name is there, and its definition can't be compared: {error.message}",
            f"Look at it. To have it built again, drop it: DROP INDEX CONCURRENTLY {found.name};",
        ) from error
    if not is_same:
        raise _not_ours(
            job,
            found,
            "An index of this name is there, with another definition.",
            f"Give the index another name, or drop the one that is there: DROP INDEX CONCURRENTLY {found.name};",
        )
    return True


def _not_ours(job: Job, found: _Index, cause: str, solution: str) -> MigrationFailed:
    return MigrationFailed(
        f"{job.file}: {found.name} already exists.",
        cause=cause,
        solution=solution,
        migration=job.migration.label,
        file=job.file,
        index=found.name,
    )


def _may_be_ours(session: Session, intent: Intent, oid: int) -> bool:
    """Whether an invalid index may be what an interrupted statement of ours has left: it isn't, if its definition is
    another one. Then somebody else's build of that name has failed, before or after ours had made anything."""
    with suppress(MigratorError):  # such as one of a function that the session's search_path doesn't find
        ((table,),) = session.query("SELECT $1::oid::regclass", intent.facts["table"])
        return _same_definition(session, intent.statement, str(table), oid)
    return True


def _same_definition(session: Session, statement: NontransactionalStatement, relation: str, oid: int) -> bool:
    """Whether an index is as the statement defines it: by the server, which makes it once more on an empty table that
    is like this one."""
    table = f"CREATE TEMPORARY TABLE {PROBE} (LIKE {relation})"
    definitions = [Command(_DEFINITION.format(oid=each)) for each in (oid, f"'pg_temp.{PROBE}_index'::regclass")]
    commands = [BEGIN, Command(table), Command(statement.probe), OURS]
    answers = session.execute(*commands, *definitions)
    session.roll_back()
    first, second = (_definition(rows[0]) for rows in answers[-2:])
    return first == second


def _definition(row: Row) -> tuple[bool, str]:
    """An index's definition without its name and its table."""
    unique, index, table, text = (str(value) for value in row)
    start = len(f"CREATE {'UNIQUE ' if unique == 't' else ''}INDEX {index} ON ")
    return unique == "t", text[text.index(f"{table} USING ", start) + len(table) :]


def _exists(session: Session, statement: NontransactionalStatement) -> bool:
    """Whether there is the database, tablespace or subscription that a statement makes or drops."""
    kind = _KIND.match(statement.name)
    return bool(kind and session.query(_CATALOGUES[kind[1]], statement.object))


def _oid(session: Session, name: str) -> int | None:
    """What a relation's name means in the session, whose search_path the file may have set."""
    (rows,) = session.execute(Command("SELECT pg_catalog.to_regclass($1)::oid", [name]))
    return int(rows[0][0]) if rows[0][0] else None


def _scope(session: Session, statement: NontransactionalStatement) -> int | None:
    if statement.relation == "TABLE":
        return _oid(session, statement.object)
    if statement.relation == "INDEX":  # its table: the index that a REINDEX CONCURRENTLY has built is another one
        index = _oid(session, statement.object)
        rows = session.query("SELECT indrelid FROM pg_index WHERE indexrelid = $1::oid", index)
        return int(str(rows[0][0])) if rows else None
    rows = session.query("SELECT oid FROM pg_namespace WHERE nspname = $1", statement.object)
    return int(str(rows[0][0])) if rows and statement.relation == "SCHEMA" else 0


def _leftovers(session: Session, statement: NontransactionalStatement, scope: int | None) -> list[tuple[int, str]]:
    rows = session.query(_LEFTOVERS.format(scope=_SCOPES[statement.relation]), scope)
    return [(int(str(oid)), str(name)) for oid, name in rows]

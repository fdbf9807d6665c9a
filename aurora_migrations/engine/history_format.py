"""The format of the history: its tables, created and upgraded only under the run lock, and the errors of a history that
can't be read because it was changed by hand or created by a newer version of the product.
"""

from __future__ import annotations

import re

import psycopg

from aurora_migrations.engine.errors import (
    HistoryUnreadable,
    InsufficientPrivilege,
    MigrationFailed,
    MigratorError,
)
from aurora_migrations.engine.postgres.protocol import BatchError, Command, Row
from aurora_migrations.engine.postgres.session import BEGIN, COMMIT, OURS, Session
from aurora_migrations.engine.postgres.sqlstate import diagnose, named_error

SCHEMA = "aurora_migrations"


def _grants_like_attempts(table: str) -> str:
    """Roles that may read or write the other tables may do so with this one."""
    return f"""
        DO $$
        DECLARE statement text;
        BEGIN
            FOR statement IN
                SELECT pg_catalog.format('GRANT %s ON {SCHEMA}.{table} TO %s%s', acl.privilege_type,
                                         CASE grantee WHEN 0 THEN 'PUBLIC'
                                              ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(grantee)) END,
                                         CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
                  FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) AS acl
                 WHERE c.oid = '{SCHEMA}.attempts'::pg_catalog.regclass AND acl.grantee <> c.relowner
            LOOP
                EXECUTE statement;
            END LOOP;
        END $$
    """


# Upgrades from one format to the next, starting with no history. Only ever append: databases out there are at any of
# these. `lock_holder` is NOT NULL, and NULL is what we get without the run lock: no row can be written without it.
FORMATS: list[tuple[str, ...]] = [
    (
        f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
        f"""
        CREATE TABLE {SCHEMA}.attempts (
            id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            action       text NOT NULL CHECK (action IN ('apply', 'rollback')),
            version      numeric NOT NULL,
            name         text NOT NULL,
            sha256       text NOT NULL,
            package      text NOT NULL,
            execution    text NOT NULL,
            requested_by text NOT NULL,
            database_user text NOT NULL DEFAULT session_user,
            lock_holder  integer NOT NULL,
            started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
            finished_at  timestamptz,
            result       text CHECK (result IN ('applied', 'rolled back', 'failed', 'interrupted')),
            error        jsonb,
            CHECK ((result IS NULL) = (finished_at IS NULL))
        )
        """,
        f"CREATE INDEX attempts_version_idx ON {SCHEMA}.attempts (version, id)",
        f"CREATE INDEX attempts_unfinished_idx ON {SCHEMA}.attempts (id) WHERE result IS NULL",
        f"""
        CREATE TABLE {SCHEMA}.applied (
            version      numeric PRIMARY KEY,
            name         text NOT NULL,
            sha256       text NOT NULL,
            sql          text NOT NULL,
            attempt      bigint NOT NULL REFERENCES {SCHEMA}.attempts,
            execution    text NOT NULL,
            requested_by text NOT NULL,
            applied_at   timestamptz NOT NULL DEFAULT clock_timestamp()
        )
        """,
        f"COMMENT ON SCHEMA {SCHEMA} IS 'History of aurora-migrations; read it freely, change nothing'",
    ),
    (
        # Token hashes: of an applied text, to distinguish a changed meaning from a changed comment; of the committed
        # units of a file, so that the next attempt resumes after them.
        f"ALTER TABLE {SCHEMA}.applied ADD COLUMN tokens text",
        f"ALTER TABLE {SCHEMA}.attempts ADD COLUMN units text[] NOT NULL DEFAULT '{{}}'",
    ),
    (
        # An execution's name can be reused; name and start time together are unique.
        f"ALTER TABLE {SCHEMA}.attempts ADD COLUMN execution_start text NOT NULL DEFAULT ''",
    ),
    (
        # A row per unit: the array `attempts.units` was rewritten for every unit, so a file took time that grew with
        # the square of its units. The array stays, unused, for runs that are reading the older format at this moment.
        f"""
        CREATE TABLE {SCHEMA}.units (
            first_attempt bigint NOT NULL REFERENCES {SCHEMA}.attempts ON DELETE CASCADE,
            number       integer NOT NULL,
            tokens       text NOT NULL,
            attempt      bigint NOT NULL,
            lock_holder  integer NOT NULL,
            applied_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (first_attempt, number)
        )
        """,
        f"ALTER TABLE {SCHEMA}.attempts ADD COLUMN resumes bigint REFERENCES {SCHEMA}.attempts",
        f"""
        INSERT INTO {SCHEMA}.units
        SELECT id, number, tokens, id, lock_holder, coalesce(finished_at, started_at)
          FROM {SCHEMA}.attempts, unnest(units) WITH ORDINALITY AS unit (tokens, number)
        """,
        _grants_like_attempts("units"),
    ),
    (
        # What a statement outside any transaction is about to do, committed before it. Deleted with the record of its
        # unit: one that is there belongs to a statement that may have got anywhere.
        f"""
        CREATE TABLE {SCHEMA}.intents (
            version      numeric NOT NULL,
            action       text NOT NULL,
            number       integer NOT NULL,
            tokens       text NOT NULL,
            statement    jsonb NOT NULL,
            facts        jsonb NOT NULL,
            attempt      bigint NOT NULL REFERENCES {SCHEMA}.attempts ON DELETE CASCADE,
            lock_holder  integer NOT NULL,
            started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (version, action, number)
        )
        """,
        _grants_like_attempts("intents"),
    ),
    (
        # What was recorded without being run, and the rows of another tool's history as they were then: each run
        # compares them with that tool's table, and refuses if it has changed.
        f"ALTER TABLE {SCHEMA}.applied ADD COLUMN origin text",
        f"""
        CREATE TABLE {SCHEMA}.origins (
            source       text NOT NULL,
            key          text NOT NULL,
            tool         text NOT NULL,
            checksum     text,
            applied_at   text,
            version      numeric,
            lock_holder  integer NOT NULL,
            adopted_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (source, key)
        )
        """,
        _grants_like_attempts("origins"),
    ),
    (
        # Where the database wasn't as the files make it when they were recorded without being run, and somebody has
        # accepted that: no drift. All rows are of the newest such recording; `attempt` was the newest by then.
        f"""
        CREATE TABLE {SCHEMA}.accepted (
            number       integer PRIMARY KEY,
            kind         text NOT NULL,
            identity     text NOT NULL,
            expected     text,
            found        text,
            attempt      bigint NOT NULL,
            major        integer NOT NULL,
            lock_holder  integer NOT NULL,
            accepted_at  timestamptz NOT NULL DEFAULT clock_timestamp()
        )
        """,
        _grants_like_attempts("accepted"),
    ),
]
# In one snapshot: a history that is being created is visible with its comment, or not at all.
_RELATIONS = """
    SELECT c.relname, c.relkind, c.relpersistence, d.description
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
     WHERE n.nspname = $1 AND c.relname IN ('accepted', 'applied', 'attempts', 'intents', 'origins', 'units')
     ORDER BY c.relname
"""
WITH_UNITS = 2  # since this format `attempts` has the units, in an array
WITH_STARTS = 3  # since this format `attempts` distinguishes executions of the same name
WITH_UNIT_ROWS = 4  # since this format they are rows of `units`
WITH_INTENTS = 5  # since this format there are intents
WITH_ORIGINS = 6  # since this format there are origins
WITH_ACCEPTED = 7  # since this format there are accepted differences
COMMENT = "aurora-migrations history, format "  # on the table `applied`, and after it the number
BEFORE_FILES = "No file was begun; the history may have been created or upgraded."
_FORMAT = re.compile(rf"{COMMENT}([1-9][0-9]{{0,5}})")
_KINDS = {"v": "view", "m": "materialized view", "S": "sequence", "f": "foreign table", "p": "partitioned table"}
# What a format has and older ones don't: this identifies the format if the comment is lost.
_MARKS = (
    "applied.attempt",
    "applied.tokens",
    "attempts.execution_start",
    "units.tokens",
    "intents.facts",
    "origins.key",
    "accepted.identity",
)
_COLUMNS = """
    SELECT c.relname || '.' || a.attname
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE n.nspname = 'aurora_migrations' AND a.attnum > 0 AND NOT a.attisdropped
"""
_HIDING = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 'aurora_migrations' AND row_security_active(c.oid) ORDER BY c.relname
"""
BY_HAND = "Somebody has changed the history by hand, or another program has."
BACKUP = "the schema aurora_migrations back from a backup"
SHOWN = 60  # characters of a value in the history


def read_format(session: Session) -> int:
    """The format of the database's history, from the comment on `applied`; 0 if there is no history."""
    relations = session.query(_RELATIONS, SCHEMA)
    if not relations:
        return 0
    found = {str(name): (kind, comment) for name, kind, _, comment in relations}
    if "applied" not in found:
        names = " and ".join(f"aurora_migrations.{name}" for name in found)
        raise changed_by_hand(
            f"There is no table aurora_migrations.applied, but {names} {'are' if len(found) > 1 else 'is'} there.",
            cause="Somebody has dropped or renamed it, or something else has made the others.",
            solution=f"Bring {BACKUP}. If this isn't a history of aurora-migrations, rename or drop what is there.",
        )
    kind, comment = found["applied"]
    if kind != "r":
        raise _foreign(_KINDS.get(str(kind), "relation"))
    number = _FORMAT.fullmatch(comment or "")
    if number is None:
        raise _comment_lost(session, comment)
    if int(number[1]) > len(FORMATS):
        raise HistoryUnreadable(
            f"The history has format {number[1]}; this version of aurora-migrations knows formats up to "
            f"{len(FORMATS)}.",
            cause="A newer version of aurora-migrations has worked on this database.",
        )
    unlogged = [f"aurora_migrations.{name}" for name, _, persistence, _ in relations if persistence == "u"]
    if unlogged:
        raise changed_by_hand(
            f"{' and '.join(unlogged)} is UNLOGGED.",
            cause="A crash of the server empties such a table; then all migrations would be applied again.",
            solution=f"Run {' '.join(f'ALTER TABLE {table} SET LOGGED;' for table in unlogged)}",
        )
    return int(number[1])


def upgrade(session: Session) -> None:
    """Creates the history, or upgrades it to this version's format, in one transaction. The run lock must be held."""
    current = read_format(session)
    if current == len(FORMATS):
        return
    # Even with IF NOT EXISTS, CREATE SCHEMA needs CREATE on the database.
    exists = session.query("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", SCHEMA)
    needless = ("CREATE SCHEMA", "COMMENT ON SCHEMA") if exists else ()
    steps = [Command(sql) for step in FORMATS[current:] for sql in step if not sql.startswith(needless)]
    mark = Command(f"COMMENT ON TABLE {SCHEMA}.applied IS '{COMMENT}{len(FORMATS)}'")
    try:
        session.wire.execute_pipeline([BEGIN, OURS, *steps, mark, COMMIT])
    except BatchError as error:
        session.roll_back()
        found, server = diagnose(error.error), session.server
        if found.sqlstate != "42501":
            raise named_error(error.error).but(state=BEFORE_FILES) from error
        database, user = (name.replace('"', '""') for name in (server.database, server.user))
        raise InsufficientPrivilege(
            f"The role {server.user} can't create the history: {found.message}.",
            solution=f'As its owner: GRANT CREATE ON DATABASE "{database}" TO "{user}"; or create the schema for it: '
            f'CREATE SCHEMA {SCHEMA} AUTHORIZATION "{user}";',
            user=server.user,
        ) from error


def read(session: Session, *commands: Command) -> list[list[Row]]:
    """The rows of queries on the history's tables, read in one round trip. Raises HistoryUnreadable if the tables
    aren't as this product created them, or row-level security hides rows."""
    try:
        return session.wire.execute_pipeline([BEGIN, OURS, *commands, COMMIT])[2:-1]
    except BatchError as error:
        session.roll_back()
        raise _read_error(session, error.error) from error


def _read_error(session: Session, error: psycopg.Error) -> MigratorError:
    """The error for a failed query on the history's tables."""
    named = named_error(error)
    if isinstance(named, InsufficientPrivilege):
        hiding = [f"aurora_migrations.{table}" for (table,) in session.query(_HIDING)]
        off = "NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;"
        if not hiding:
            return named
        return changed_by_hand(
            f"Row-level security may hide records from the role {session.server.user}: it is on for "
            f"{', '.join(hiding)}.",
            cause="Migrations whose records are hidden would look pending, and be applied again.",
            solution=f"As the owner: {' '.join(f'ALTER TABLE {table} {off}' for table in hiding)}",
        )
    if not isinstance(named, MigrationFailed):
        return named
    found = diagnose(error)
    return changed_by_hand(
        f"The history can't be read: {found.message} ({found.sqlstate}).",
        cause="Its tables aren't as this product made them: a table or a column was dropped, renamed or changed.",
        solution=f"Undo that, or bring {BACKUP}. docs/reference/history.md shows its tables.",
        sqlstate=found.sqlstate,
    )


def _foreign(kind: str) -> HistoryUnreadable:
    """The obstacle is in the database: no deployment removes it."""
    return changed_by_hand(
        f"There is a {kind} aurora_migrations.applied, but it isn't a history of this product.",
        cause="Another program created it.",
        solution="See what it is (\\d+ aurora_migrations.applied) and rename or drop it if it isn't needed.",
    )


def _comment_lost(session: Session, comment: str | None) -> HistoryUnreadable:
    columns = {name for (name,) in session.query(_COLUMNS)}
    number = sum(mark in columns for mark in _MARKS)
    if not number:
        return _foreign("table")
    found = "is missing" if comment is None else f"is {comment[:SHOWN]!r} instead"
    return changed_by_hand(
        f"The comment on aurora_migrations.applied, which holds the history's format, {found}.",
        cause="Somebody has changed it, or the database was restored without its comments.",
        solution=f"By its columns the history has format {number}. If it is this product's, write the comment again: "
        f"COMMENT ON TABLE aurora_migrations.applied IS '{COMMENT}{number}';",
    )


def changed_by_hand(
    message: str, *, solution: str, cause: str = BY_HAND, sqlstate: str | None = None
) -> HistoryUnreadable:
    """An error whose remedy is in the database: a deployment doesn't help."""
    return HistoryUnreadable(message, cause=cause, solution=solution, by_deployment=False, sqlstate=sqlstate)

"""The phases of statements, and how a statement is halted in each: by sessions that it waits for, a function that
waits, or a process of the server that is stopped."""

from dataclasses import dataclass

# The rows that the function `halt` waits at, while somebody has the advisory lock of that number.
EARLY, LATE = 1, 2
# Inserted while an index is being built, this row isn't in it: the validation adds it.
LATE_ROW = f"INSERT INTO items SELECT {LATE}, 'late' WHERE NOT EXISTS (SELECT FROM items WHERE id = {LATE})"
_RUN = "a.datname = current_database() AND a.application_name LIKE 'aurora-migrations %' AND a.state = 'active'"
_ACTIVITY = f"SELECT a.pid FROM pg_stat_activity a WHERE {_RUN}"


@dataclass(frozen=True)
class Halt:
    """Something that a statement waits for.

    Attributes:
        reached: a query; the process that waits, once it does.
        session: the statements of a session, one by one; they keep what is waited for until the session is closed.
        database: of that session; the case's own, if none is named.
        stops: the process of the server that is stopped before the run: `checkpointer`; or `backend`, which is stopped
            again and again, until `reached` is true.
    """

    reached: str
    session: tuple[str, ...] = ()
    database: str = ""
    stops: str = ""


@dataclass(frozen=True)
class Phase:
    """A point that a statement is halted at.

    Attributes:
        halts: one after the other: as soon as the statement waits for one, the next is set up and this one ends.
        needle: if there are no halts: a message of the run with this text; the fault strikes before or after the server
            has it.
    """

    name: str
    halts: tuple[Halt, ...] = ()
    needle: bytes = b""


def _phase(name: str) -> str:
    """Waiting for something in this phase of building an index."""
    return (
        "SELECT a.pid FROM pg_stat_progress_create_index p JOIN pg_stat_activity a USING (pid)"
        f" WHERE {_RUN} AND phase = '{name}' AND wait_event_type IN ('Lock', 'Timeout', 'IPC')"
    )


def _in_phase(name: str) -> Halt:
    """The phase, without anything to wait for."""
    query = f"SELECT p.pid FROM pg_stat_progress_create_index p JOIN pg_stat_activity a USING (pid) WHERE {_RUN}"
    return Halt(f"{query} AND phase = '{name}'", stops="backend")


def _waits(event: str, text: str = "") -> str:
    return f"{_ACTIVITY} AND wait_event = '{event}'" + (f" AND strpos(query, '{text}') > 0" if text else "")


def _locks(reached: str, *tables: str) -> Halt:
    """A transaction with locks, which has no snapshot."""
    return Halt(reached, ("BEGIN", *(f"LOCK TABLE {table} MODE" for table in tables)))


def _advisory(reached: str, *before: str, key: int) -> Halt:
    return Halt(reached, (*before, f"SELECT pg_advisory_lock({key})"))


BUILDING = "building index: scanning table"
VALIDATING = "index validation: scanning table"
_IN_FUNCTION = _waits("PgSleep")
_LOCKED = _waits("relation")
_ON_LOCKERS = "locktype = 'virtualxid' AND NOT granted"
_build = _advisory(_phase(BUILDING), key=EARLY)
_writer = "items IN ROW EXCLUSIVE"
_reader = "items IN ACCESS SHARE"
_snapshot = Halt(
    _phase("waiting for old snapshots"), ("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM ledger")
)

_queue = _locks(_LOCKED, "items IN SHARE UPDATE EXCLUSIVE")
QUEUED = Phase("queued for its table", (_queue,))
CREATING = (
    QUEUED,
    Phase("initializing", (_queue, _locks(_phase("initializing"), "pg_catalog.pg_index IN SHARE"))),
    Phase("waiting for writers before build", (_locks(_phase("waiting for writers before build"), _writer),)),
    Phase(BUILDING, (_build,)),
    Phase(
        "waiting for writers before validation",
        (_build, _locks(_phase("waiting for writers before validation"), _writer)),
    ),
    Phase(VALIDATING, (_build, _advisory(_phase(VALIDATING), LATE_ROW, key=LATE))),
    Phase("waiting for old snapshots", (_snapshot,)),
)
# Nobody can be waited for in these.
IN_LARGE = tuple(
    Phase(name, (_in_phase(name),))
    for name in (
        BUILDING,
        "building index: sorting live tuples",
        "building index: loading tuples in tree",
        "index validation: scanning index",
        "index validation: sorting tuples",
        VALIDATING,
    )
)
_dead, _gone = (f"waiting for readers before {what}" for what in ("marking dead", "dropping"))
REBUILDING = (
    *CREATING,
    Phase(_dead, (_locks(_phase(_dead), _reader),)),
    Phase(_gone, (_locks(_phase(_dead), _reader), _locks(_phase(_gone), _reader))),
)


def _dropping(flags: str) -> str:
    """A DROP INDEX that waits for readers, with these flags of the index."""
    return (
        f"{_waits('virtualxid')} AND EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('wanted') AND {flags})"
    )


DROPPING = (
    QUEUED,
    Phase(
        "waiting for readers, no longer valid",
        (_locks(_dropping("NOT indisvalid AND indislive"), _reader),),
    ),
    Phase(
        "waiting for readers, dead",
        (
            _locks(_dropping("NOT indisvalid AND indislive"), _reader),
            _locks(_dropping("NOT indislive"), _reader),
        ),
    ),
)
_PENDING = "EXISTS (SELECT FROM pg_inherits WHERE inhdetachpending)"
DETACHING = (
    Phase("queued for its table", (_locks(_LOCKED, "ONLY sales IN SHARE UPDATE EXCLUSIVE"),)),
    Phase("waiting for readers", (_locks(f"{_waits('virtualxid')} AND {_PENDING}", "ONLY sales IN ACCESS SHARE"),)),
    Phase("locking the partition", (_locks(f"{_LOCKED} AND {_PENDING}", "sales_1 IN ACCESS SHARE"),)),
)
_PINNED = _waits("BufferPin")
FREEZING = (
    QUEUED,
    Phase(
        "scanning heap",
        (Halt(_PINNED, ("BEGIN", "DECLARE pin CURSOR FOR SELECT * FROM items", "FETCH 1 FROM pin")),),
    ),
)
VACUUMING = (
    QUEUED,
    Phase(
        "vacuuming indexes",
        (
            Halt(
                _PINNED,
                (
                    "SET enable_seqscan = off",
                    "SET enable_bitmapscan = off",
                    "BEGIN",
                    "DECLARE pin CURSOR FOR SELECT id FROM items ORDER BY id",
                    "FETCH 1 FROM pin",
                ),
            ),
        ),
    ),
)
_DATABASES = Phase("queued for pg_database", (_locks(_LOCKED, "pg_catalog.pg_database IN SHARE"),))
_SPACES = Phase("queued for pg_tablespace", (_locks(_LOCKED, "pg_catalog.pg_tablespace IN SHARE"),))
_CHECKPOINT = Halt(f"{_ACTIVITY} AND wait_event IN ('CheckpointStart', 'CheckpointDone')", stops="checkpointer")
CREATING_DATABASE = (_DATABASES, Phase("waiting for a checkpoint", (_CHECKPOINT,)))
COPYING_DATABASE = (
    _DATABASES,
    # Its folder is there, and no session sees its row.
    Phase(
        "copying",
        (
            Halt(
                f"{_ACTIVITY} AND (SELECT max(d::bigint) FROM pg_ls_dir('base') d WHERE d ~ '^[0-9]+$')"
                " > (SELECT max(oid::bigint) FROM pg_database)",
                stops="backend",
            ),
        ),
    ),
)
DROPPING_DATABASE = (
    _DATABASES,
    Phase(
        "waiting for its sessions",
        (Halt(f"{_ACTIVITY} AND query ~ '^(DROP|ALTER) DATABASE'", ("SELECT 1",), database="unwanted"),),
    ),
    Phase("waiting for a checkpoint", (_CHECKPOINT,)),
)
MOVING_DATABASE = (DROPPING_DATABASE[0], DROPPING_DATABASE[2])
IN_SPACES = (_SPACES,)
SUBSCRIBING = (Phase("queued for pg_subscription", (_locks(_LOCKED, "pg_catalog.pg_subscription IN SHARE"),)),)
REFRESHING_SUBSCRIPTION = (
    *SUBSCRIBING,
    # It has read the tables at the publisher, and adds them.
    Phase("adding its tables", (_locks(_LOCKED, "pg_catalog.pg_subscription_rel IN SHARE"),)),
)
CLUSTERING = (
    Phase("queued for its table", (_locks(_LOCKED, _reader),)),
    Phase("rebuilding indexes", (_advisory(_IN_FUNCTION, key=EARLY),)),
)
ANALYZING = (QUEUED, Phase("computing", (_advisory(_IN_FUNCTION, key=EARLY),)))
ADDING_VALUE = (Phase("queued for pg_enum", (_locks(_LOCKED, "pg_catalog.pg_enum IN SHARE"),)),)
# Of a procedure or a block that commits after each of two steps.
COMMITTING = (
    Phase("after its first commit", (_advisory(_IN_FUNCTION, key=EARLY),)),
    Phase("after its last commit", (_advisory(_IN_FUNCTION, key=LATE),)),
)
UPDATING = (
    Phase("queued for its table", (_locks(_LOCKED, "items IN SHARE"),)),
    Phase("running", (_advisory(_IN_FUNCTION, key=EARLY),)),
)
REFRESHING = (
    Phase("queued for the view", (Halt(_LOCKED, ("BEGIN", "ANALYZE totals")),)),
    Phase("running its query", (_advisory(_IN_FUNCTION, key=EARLY),)),
)
CHECKING = (QUEUED, Phase("scanning table", (_advisory(_IN_FUNCTION, key=EARLY),)))

# At a message, and not halted.
AT_INTENT = Phase("at its intent", needle=b"INSERT INTO aurora_migrations.intents")
AT_RECORD = Phase("at its record", needle=b"DELETE FROM aurora_migrations.intents")
AT_UNIT = Phase("at its record", needle=b"INSERT INTO aurora_migrations.units")

"""The kinds of statements, what a database holds before them, and what shows that one was done as wanted."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.torture.nontransactional import phases
from tests.torture.nontransactional.phases import Phase

# `halt` waits at a row while somebody has the advisory lock of its number. It says that it is immutable, and is where
# no lock is held. It doesn't wait in the server's lock queue: lock_timeout isn't what is tried here.
BEFORE = """
    CREATE TABLE ledger (step text);
    CREATE FUNCTION halt(id int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
        IF id <= 2 THEN
            WHILE NOT pg_catalog.pg_try_advisory_xact_lock_shared(id) LOOP PERFORM pg_catalog.pg_sleep(0.01); END LOOP;
        END IF;
        RETURN id;
    END $$;
    CREATE TABLE items (id int PRIMARY KEY, note text);
    INSERT INTO items SELECT n, repeat(n::text, 40) FROM generate_series(1, 400) n WHERE n <> 2;
"""
_WANTED = "CREATE INDEX wanted ON items (halt(id), note);"
_LARGE = "CREATE TABLE large AS SELECT n AS id, n % 1000 AS part FROM generate_series(1, 150000) n;"
_SALES = """
    CREATE TABLE sales (at date) PARTITION BY RANGE (at);
    CREATE TABLE sales_1 PARTITION OF sales FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE TABLE sales_2 PARTITION OF sales FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
    INSERT INTO sales VALUES ('2026-05-05'), ('2027-05-05');
"""
_TOTALS = """
    CREATE MATERIALIZED VIEW totals AS SELECT halt(id) AS id, length(note) AS total FROM items;
    CREATE UNIQUE INDEX ON totals (id);
    UPDATE items SET note = 'changed' WHERE id % 10 = 0;
"""
_POSITIVE = "ALTER TABLE items ADD CONSTRAINT positive CHECK (halt(id) > 0) NOT VALID;"
_CLUSTERED = f"{_WANTED} ALTER TABLE items CLUSTER ON items_pkey;"
_MOOD = "CREATE TYPE mood AS ENUM ('calm');"
# A person can see in the ledger how far it got; started again, it skips what is done.
_STEPS = """
    INSERT INTO ledger SELECT 'step 1' WHERE NOT EXISTS (SELECT FROM ledger WHERE step = 'step 1');
    COMMIT;
    PERFORM halt(1);
    INSERT INTO ledger SELECT 'step 2' WHERE NOT EXISTS (SELECT FROM ledger WHERE step = 'step 2');
    COMMIT;
    PERFORM halt(2);
"""
_FILL = f"CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$ BEGIN {_STEPS} END $$;"
_SUBSCRIBE = "SUBSCRIPTION {} CONNECTION '{{publisher}}' PUBLICATION news WITH (enabled = false)"
# Not connected when it is made, so that it knows none of its publication's tables; a refresh needs it enabled.
_WITHOUT_TABLES = """
    CREATE SUBSCRIPTION wanted CONNECTION '{publisher}' PUBLICATION news WITH (connect = false);
    ALTER SUBSCRIPTION wanted ENABLE;
"""
OFF, DETACH = "-- migration: transaction = off\n", "-- migration: detach = on\n"
_DELETED = "DELETE FROM items WHERE id > 100;"
_UNIQUE = "UNIQUE INDEX CONCURRENTLY {}wanted ON items (halt(id)) INCLUDE (note) WHERE id < 1000"


@dataclass(frozen=True)
class Kind:
    """A kind of statement.

    Attributes:
        setup: what there is before it, after `BEFORE`.
        databases: other databases that are there before it.
        in_transaction: whether it runs in a transaction with its record.
        renews: the index that it builds anew.
        option: the line at the top of its file.
        superuser: whether the owner of the tables may not do it.
        prepare: what each database, or the server, needs before it.
        commits: whether it commits by itself: where it was interrupted, a person resolves it.
    """

    name: str
    statement: str
    phases: tuple[Phase, ...]
    setup: str = ""
    databases: tuple[str, ...] = ()
    in_transaction: bool = False
    renews: str = ""
    option: str = ""
    superuser: bool = False
    prepare: str = ""
    commits: bool = False

    @property
    def has_slot(self) -> bool:
        """Whether it makes or drops a slot on another server, which isn't undone where it is interrupted."""
        return self.name in ("CREATE SUBSCRIPTION", "DROP SUBSCRIPTION")

    @property
    def at_messages(self) -> tuple[Phase, ...]:
        if self.commits:  # its record is sent with it
            return (phases.AT_INTENT,)
        return (phases.AT_UNIT,) if self.in_transaction else (phases.AT_INTENT, phases.AT_RECORD)


KINDS = (
    Kind("CREATE INDEX", "CREATE INDEX CONCURRENTLY wanted ON items (halt(id), note)", phases.CREATING),
    Kind(
        "CREATE INDEX IF NOT EXISTS",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS wanted ON items (halt(id), note)",
        phases.CREATING,
    ),
    Kind("CREATE UNIQUE INDEX", f"CREATE {_UNIQUE.format('')}", phases.CREATING),
    Kind("CREATE UNIQUE INDEX IF NOT EXISTS", f"CREATE {_UNIQUE.format('IF NOT EXISTS ')}", phases.CREATING),
    Kind("CREATE INDEX, large", "CREATE INDEX CONCURRENTLY wanted ON large (part, id)", phases.IN_LARGE, _LARGE),
    Kind("REINDEX INDEX", "REINDEX INDEX CONCURRENTLY wanted", phases.REBUILDING, _WANTED, renews="wanted"),
    # What a killed REINDEX leaves on a TOAST table only a superuser can drop.
    Kind(
        "REINDEX TABLE", "REINDEX TABLE CONCURRENTLY items", phases.REBUILDING, _WANTED, (), False, "wanted", "", True
    ),
    Kind(
        "REINDEX SCHEMA",
        "REINDEX SCHEMA CONCURRENTLY public",
        phases.REBUILDING,
        _WANTED,
        (),
        False,
        "wanted",
        "",
        True,
    ),
    Kind("DROP INDEX", "DROP INDEX CONCURRENTLY wanted", phases.DROPPING, _WANTED),
    Kind("DETACH PARTITION", "ALTER TABLE sales DETACH PARTITION sales_1 CONCURRENTLY", phases.DETACHING, _SALES),
    Kind("VACUUM FREEZE", "VACUUM (FREEZE) items", phases.FREEZING, _DELETED),
    Kind("VACUUM", "VACUUM (INDEX_CLEANUP ON) items", phases.VACUUMING, _DELETED),
    Kind("CREATE DATABASE", "CREATE DATABASE wanted", phases.COPYING_DATABASE),
    Kind("CREATE DATABASE by files", "CREATE DATABASE wanted STRATEGY file_copy", phases.CREATING_DATABASE),
    Kind("DROP DATABASE", "DROP DATABASE unwanted", phases.DROPPING_DATABASE, databases=("unwanted",)),
    Kind(
        "REFRESH MATERIALIZED VIEW",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY totals",
        phases.REFRESHING,
        _TOTALS,
        in_transaction=True,
        option=OFF,
    ),
    Kind(
        "VALIDATE CONSTRAINT",
        "ALTER TABLE items VALIDATE CONSTRAINT positive",
        phases.CHECKING,
        _POSITIVE,
        in_transaction=True,
        option=OFF,
    ),
    Kind(
        "VALIDATE CONSTRAINT, detached",
        "ALTER TABLE items VALIDATE CONSTRAINT positive",
        phases.CHECKING,
        _POSITIVE,
        option=DETACH,
    ),
    Kind("UPDATE, detached", "UPDATE items SET note = 'new' WHERE halt(id) < 9", phases.UPDATING, option=DETACH),
    Kind("ANALYZE", "ANALYZE items", phases.ANALYZING, _WANTED, in_transaction=True, option=OFF),
    Kind(
        "ALTER TYPE ADD VALUE",
        "ALTER TYPE mood ADD VALUE 'glad'",
        phases.ADDING_VALUE,
        _MOOD,
        in_transaction=True,
        option=OFF,
    ),
    Kind("CLUSTER", "CLUSTER", phases.CLUSTERING, _CLUSTERED, renews="wanted"),
    Kind("CALL", "CALL fill()", phases.COMMITTING, _FILL, commits=True, option=OFF),
    Kind("DO", f"DO $$ BEGIN {_STEPS} END $$", phases.COMMITTING, commits=True, option=OFF),
    Kind("ALTER SYSTEM", "ALTER SYSTEM SET cursor_tuple_fraction = 0.3", (), superuser=True),
    Kind("CREATE TABLESPACE", "CREATE TABLESPACE wanted_space LOCATION ''", phases.IN_SPACES, superuser=True),
    Kind(
        "DROP TABLESPACE",
        "DROP TABLESPACE unwanted_space",
        phases.IN_SPACES,
        superuser=True,
        prepare="CREATE TABLESPACE unwanted_space LOCATION ''",
    ),
    Kind(
        "ALTER DATABASE SET TABLESPACE",
        "ALTER DATABASE unwanted SET TABLESPACE unwanted_space",
        phases.MOVING_DATABASE,
        databases=("unwanted",),
        superuser=True,
        prepare="CREATE TABLESPACE unwanted_space LOCATION ''",
    ),
    Kind("CREATE SUBSCRIPTION", f"CREATE {_SUBSCRIBE.format('wanted')}", phases.SUBSCRIBING, superuser=True),
    Kind(
        "DROP SUBSCRIPTION",
        "DROP SUBSCRIPTION unwanted",
        phases.SUBSCRIBING,
        superuser=True,
        prepare=f"CREATE {_SUBSCRIBE.format('unwanted')}",
    ),
    Kind(
        "REFRESH SUBSCRIPTION",
        "ALTER SUBSCRIPTION wanted REFRESH PUBLICATION",
        phases.REFRESHING_SUBSCRIPTION,
        superuser=True,
        prepare=_WITHOUT_TABLES,
    ),
)
DATABASES, SPACES = ("wanted", "unwanted"), ("wanted_space", "unwanted_space")


def cells() -> Iterator[tuple[Kind, Phase]]:
    """Each kind in each of its phases."""
    for kind in KINDS:
        for phase in (*kind.phases, *kind.at_messages):
            yield kind, phase

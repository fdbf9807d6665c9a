"""One session: nothing of a file leaks into the next, nothing that a role or a file sets bends our own statements."""

import re

import pytest

from aurora_migrations.engine import Session
from aurora_migrations.engine.errors import (
    Cancelled,
    ConnectionLost,
    InvalidFile,
    LockTimeout,
    MigrationFailed,
    StatementTimeout,
)
from aurora_migrations.engine.options import Limits, parse_duration
from aurora_migrations.engine.postgres import connect
from aurora_migrations.engine.postgres.protocol import Command
from aurora_migrations.engine.postgres.session import BEGIN, COMMIT, OURS, RUN_LOCK, application_name, ours_and_limits
from tests.database.helpers import (
    ROLLED_BACK,
    Task,
    Watcher,
    applied,
    apply,
    at,
    attempts,
    backend,
    entries,
    exists,
    holding,
    labels,
    last_error,
    locks,
    tables,
    until,
)

# What a session is made of: its settings, names and belongings.
STATE = """
CREATE TABLE {table} AS
SELECT 'user' AS name, current_user::text AS value
UNION ALL SELECT 'session user', session_user::text
UNION ALL SELECT 'schemas', current_schemas(false)::text
UNION ALL SELECT 'temporary', relname::text FROM pg_class WHERE relpersistence = 't'
UNION ALL SELECT 'cursor', name FROM pg_cursors WHERE name <> ''
UNION ALL SELECT 'prepared', name FROM pg_prepared_statements WHERE name !~ '^(aurora_migrations_.*)?$'
UNION ALL SELECT 'channel', pg_listening_channels()
UNION ALL SELECT 'isolation', current_setting('transaction_isolation')
UNION ALL SELECT 'setting ' || name, setting FROM pg_settings
 WHERE context IN ('user', 'superuser') AND name NOT IN ('transaction_isolation', 'transaction_timeout');
"""
# Schemas with things that lie, for our statements to trip over if they looked there.
HOSTILE = """
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.lie() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'a lie was told'; END $$;
CREATE FUNCTION hostile.equals(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.lie()';
CREATE FUNCTION hostile.equals(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.lie()';
CREATE FUNCTION hostile.equals(integer, integer) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.lie()';
CREATE FUNCTION hostile.equals(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.lie()';
CREATE FUNCTION hostile.equals(numeric, numeric) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.lie()';
CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.equals);
CREATE OPERATOR hostile.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = hostile.equals);
CREATE OPERATOR hostile.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = hostile.equals);
CREATE OPERATOR hostile.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = hostile.equals);
CREATE OPERATOR hostile.= (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = hostile.equals);
CREATE FUNCTION hostile.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT hostile.lie(); SELECT NULL::timestamptz';
CREATE FUNCTION hostile.clock_timestamp() RETURNS timestamptz LANGUAGE sql
    AS 'SELECT hostile.lie(); SELECT NULL::timestamptz';
CREATE FUNCTION hostile.pg_backend_pid() RETURNS integer LANGUAGE sql AS 'SELECT hostile.lie(); SELECT 1';
CREATE FUNCTION hostile.set_config(text, text, boolean) RETURNS text LANGUAGE sql AS 'SELECT hostile.lie()::text';
CREATE FUNCTION hostile.to_regclass(text) RETURNS regclass LANGUAGE sql
    AS 'SELECT hostile.lie(); SELECT NULL::regclass';
CREATE FUNCTION hostile.pg_try_advisory_lock(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.lie()';
CREATE VIEW hostile.pg_locks AS SELECT hostile.lie() AS granted;
CREATE VIEW hostile.pg_database AS SELECT hostile.lie() AS datname;
CREATE VIEW hostile.pg_namespace AS SELECT hostile.lie() AS nspname;
CREATE DOMAIN hostile.numeric AS integer CHECK (hostile.lie());
CREATE DOMAIN hostile.text AS integer CHECK (hostile.lie());
GRANT USAGE ON SCHEMA hostile TO PUBLIC;
"""


# What a file leaves behind

LEFTOVERS = {
    "role": "SET ROLE pg_monitor;",
    "role of the transaction": "SET LOCAL ROLE pg_monitor;",
    "session authorization": "SET SESSION AUTHORIZATION pg_monitor;",
    "both": "SET SESSION AUTHORIZATION pg_monitor; SET ROLE pg_monitor;",
    "search path": "SET search_path = nowhere;",
    "empty search path": "SELECT pg_catalog.set_config('search_path', '', false);",
    "search path with pg_catalog last": "CREATE SCHEMA mine; SET search_path = mine, public, pg_catalog;",
    "settings": "SET work_mem = '1MB'; SET statement_timeout = '1h'; SET timezone = 'Asia/Tokyo';",
    "settings of the transaction": "SET LOCAL work_mem = '1MB'; SET LOCAL lock_timeout = 0;",
    "dates": "SET datestyle = 'SQL, DMY'; SET intervalstyle = 'sql_standard';",
    "encoding": "SET client_encoding = 'LATIN1'; CREATE TABLE sign (a text); INSERT INTO sign VALUES ('é€');",
    "strings": "SET escape_string_warning = off; SET quote_all_identifiers = on;",
    "messages": "SET client_min_messages = error; SET log_statement = 'none';",
    "check interval": "SET client_connection_check_interval = 0; SET idle_in_transaction_session_timeout = 0;",
    "all reset": "RESET ALL;",
    "isolation of later transactions": "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE;",
    "isolation first": "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;",
    "isolation first, after a comment": "-- strict\nSET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE;",
    "read only later": "SELECT set_config('default_transaction_read_only', 'on', false);",
    "triggers off": "SET session_replication_role = replica;",
    "application name": "SET application_name = 'somebody else';",
    "temporary table": "CREATE TEMP TABLE scratch (id integer); INSERT INTO scratch VALUES (1);",
    "temporary table gone at commit": "CREATE TEMP TABLE scratch (id integer) ON COMMIT DROP;",
    "temporary things": "CREATE TEMP SEQUENCE s; CREATE TEMP VIEW v AS SELECT 1; SELECT nextval('s');",
    "temporary names that shadow": "CREATE TEMP TABLE pg_locks (a int); CREATE TEMP VIEW applied AS SELECT 1;",
    "channel": "LISTEN news; NOTIFY news, 'hello';",
    "cursor": "DECLARE c CURSOR FOR SELECT 1;",
    "cursor with hold": "CREATE TEMP TABLE scratch AS SELECT 1; DECLARE c CURSOR WITH HOLD FOR TABLE scratch;",
    "prepared statement": "PREPARE p AS SELECT 1;",
    "savepoint": "SAVEPOINT a; SET LOCAL ROLE pg_monitor; SAVEPOINT b;",
    "constraints deferred": "SET CONSTRAINTS ALL DEFERRED;",
}  # fmt: skip


def test_next_file_finds_a_clean_session(database, migrations, subtests) -> None:
    for name, leftover in LEFTOVERS.items():
        with subtests.test(name):
            migrations.write("001_before.sql", STATE.format(table="before"))
            migrations.write("002_leaves.sql", f"{leftover}\n")
            migrations.write("003_after.sql", STATE.format(table="public.after"))
            assert labels(apply(database, migrations)) == ["001", "002", "003"]
            assert applied(database) == ["001", "002", "003"]
            difference = "(TABLE before EXCEPT TABLE after) UNION ALL (TABLE after EXCEPT TABLE before)"
            assert database.query(difference) == []
            assert int(database.query("SELECT count(*) FROM after")[0][0]) > 100
        database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP SCHEMA aurora_migrations CASCADE")


def test_two_files_may_use_the_same_temporary_names(database, migrations) -> None:
    for number in (1, 2):
        text = "CREATE TEMP TABLE scratch AS SELECT 1; PREPARE p AS SELECT 1; DECLARE c CURSOR WITH HOLD FOR SELECT 1;"
        migrations.write(f"00{number}_scratch.sql", text)
    assert labels(apply(database, migrations)) == ["001", "002"]


def test_file_that_fails_leaves_a_session_that_records_it(database, migrations) -> None:
    migrations.write("001_first.sql", "CREATE TABLE a (id integer);")
    text = "SET SESSION AUTHORIZATION pg_monitor; SET search_path = nowhere; SELECT 1 / 0;"
    migrations.write("002_fails.sql", text)
    with pytest.raises(MigrationFailed):
        apply(database, migrations)
    assert attempts(database) == [("001", "applied"), ("002", "failed")]
    assert last_error(database)["sqlstate"] == "22012"


def test_things_made_under_another_role_belong_to_it(database, migrations, roles) -> None:
    owner = roles.create()
    database.execute(f"GRANT CREATE ON SCHEMA public TO {owner.name}")
    migrations.write("001_owned.sql", f"SET ROLE {owner.name};\nCREATE TABLE owned (id integer);")
    migrations.write("002_ours.sql", "CREATE TABLE ours (id integer);")
    apply(database, migrations)
    owners = database.query("SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    assert owners == [("ours", "postgres"), ("owned", owner.name)]


# Names that lie


def test_hostile_names_in_a_files_search_path_mislead_nobody(database, migrations) -> None:
    database.execute(HOSTILE)
    migrations.write(
        "001_path.sql", "SET search_path = hostile, public, pg_catalog;\nCREATE TABLE public.a (b integer);"
    )
    migrations.write("002_after.sql", "-- verify: rows a = 0\nCREATE TABLE c (d integer);")
    assert labels(apply(database, migrations)) == ["001", "002"]
    assert applied(database) == ["001", "002"]
    assert tables(database) == ["a", "c"]


@pytest.mark.parametrize("level", ["role", "database"])
def test_hostile_names_in_the_default_search_path_mislead_nobody(database, migrations, roles, level: str) -> None:
    """Where pg_catalog doesn't come first, whoever may create in the other schemas would run code as the runner."""
    runner = roles.create("LOGIN SUPERUSER")
    database.execute(HOSTILE)
    whose = f"ROLE {runner.name}" if level == "role" else f"DATABASE {database.name}"
    database.execute(f"ALTER {whose} SET search_path = hostile, public, pg_catalog")
    migrations.write("001_table.sql", "CREATE TABLE public.a (b pg_catalog.int4);")
    migrations.write("001_table.down.sql", "DROP TABLE public.a;")
    url = database.url_as(runner)
    assert labels(apply(database, migrations, url=url)) == ["001"]
    assert apply(database, migrations, url=url).applied == ()
    assert [entry.state for entry in entries(database, migrations, url)] == ["applied"]


def test_table_in_the_temporary_schema_shadows_no_catalog(database, migrations) -> None:
    migrations.write("001_shadow.sql", "CREATE TEMP VIEW pg_locks AS SELECT 1 / 0 AS pid; CREATE TABLE a (b integer);")
    apply(database, migrations)
    assert applied(database) == ["001"]


# What a role or a database sets


def test_file_runs_under_the_roles_own_search_path(database, migrations, roles) -> None:
    runner = roles.create("LOGIN SUPERUSER")
    database.execute(f"CREATE SCHEMA app; ALTER ROLE {runner.name} SET search_path = app")
    migrations.write("001_table.sql", "-- verify: rows things = 1\nCREATE TABLE things AS SELECT 1 AS id;")
    migrations.write("001_table.verify.sql", "SELECT count(*) = 1 FROM things;")
    apply(database, migrations, url=database.url_as(runner))
    assert exists(database, "app.things")


SETTINGS = [
    "statement_timeout = '100ms'",
    "lock_timeout = '1ms'",
    "idle_in_transaction_session_timeout = '50ms'",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_deferrable = on",
    "client_encoding = 'LATIN1'",
    "timezone = 'Pacific/Kiritimati'",
    "client_min_messages = 'debug5'",
    "bytea_output = 'escape'",
    "standard_conforming_strings = off",
    "role = 'pg_monitor'",
]


def test_settings_of_a_role_dont_hinder_a_run(database, migrations, roles, subtests) -> None:
    runner = roles.create("LOGIN SUPERUSER")
    database.execute(f"GRANT CREATE ON DATABASE {database.name} TO pg_monitor")
    migrations.write("001_slow.sql", "CREATE TABLE a (what text); INSERT INTO a VALUES ('é'); SELECT pg_sleep(0.15);")
    migrations.write("002_more.sql", "CREATE TABLE b (id integer);")
    for setting in SETTINGS:
        with subtests.test(setting):
            database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT ALL ON SCHEMA public TO PUBLIC")
            database.execute("DROP SCHEMA IF EXISTS aurora_migrations CASCADE")
            database.execute(f"ALTER ROLE {runner.name} RESET ALL; ALTER ROLE {runner.name} SET {setting}")
            assert labels(apply(database, migrations, url=database.url_as(runner))) == ["001", "002"]
            assert database.query("SELECT what FROM a") == [("é",)]


@pytest.mark.parametrize("style", ["SQL, DMY", "German", "Postgres, MDY"])
def test_times_are_told_alike_whatever_the_date_style_is(database, migrations, roles, style: str) -> None:
    runner = roles.create("LOGIN SUPERUSER")
    database.execute(f"ALTER ROLE {runner.name} SET datestyle = '{style}'")
    migrations.write("001_table.sql", "CREATE TABLE a (id integer);")
    apply(database, migrations)
    seconds = (
        "SELECT to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM aurora_migrations.applied"
    )
    [(since,)] = database.query(seconds)
    result = apply(database, migrations, "001", url=database.url_as(runner))
    assert result.already_applied == since
    assert [entry.applied_at for entry in entries(database, migrations, database.url_as(runner))] == [since]


def test_read_only_by_default_is_told_with_the_way_out(database, migrations, roles) -> None:
    runner = roles.create("LOGIN SUPERUSER")
    migrations.write("001_table.sql", "CREATE TABLE a (id integer);")
    apply(database, migrations)
    database.execute(f"ALTER ROLE {runner.name} SET default_transaction_read_only = on")
    migrations.write("002_table.sql", "CREATE TABLE b (id integer);")
    url = database.url_as(runner)
    with pytest.raises(Exception, match="read-only") as caught:
        apply(database, migrations, url=url)
    assert "default_transaction_read_only" in f"{caught.value.cause} {caught.value.solution}"  # type: ignore[attr-defined]
    assert tables(database) == ["a"]


# Isolation, read-only


def test_file_may_begin_with_set_transaction(database, migrations) -> None:
    look = "CREATE TABLE {} AS SELECT current_setting('transaction_isolation') AS b;"
    migrations.write("001_strict.sql", f"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;\n{look.format('a')}")
    migrations.write("002_loose.sql", look.format("c"))
    apply(database, migrations)
    assert database.query("TABLE a UNION ALL TABLE c") == [("serializable",), ("read committed",)]


def test_file_that_makes_its_transaction_read_only_is_told_so(database, migrations) -> None:
    migrations.write("001_reads.sql", "SELECT set_config('transaction_read_only', 'on', true);\nSELECT 1;")
    with pytest.raises(MigrationFailed, match="read-only") as caught:
        apply(database, migrations)
    assert caught.value.facts["sqlstate"] == "25006"
    assert "READ ONLY" in caught.value.solution
    assert applied(database) == []
    assert attempts(database) == [("001", "failed")]


def test_serialization_failure_rolls_the_file_back(database, migrations) -> None:
    database.execute("CREATE TABLE counter AS SELECT 0 AS n; CREATE TABLE gate (id integer)")
    options = "-- migration: lock_timeout = 20s\nSET TRANSACTION ISOLATION LEVEL REPEATABLE READ;\n"
    migrations.write("001_update.sql", f"{options}TABLE counter;\nLOCK TABLE gate;\nUPDATE counter SET n = 1;")
    with holding(database.url, "LOCK TABLE gate"):
        run = Task(apply, database, migrations)
        until(lambda: database.query("SELECT 1 FROM pg_locks WHERE NOT granted"), "it waits at the gate")
        database.execute("UPDATE counter SET n = 2")
    with pytest.raises(MigrationFailed) as caught:
        run.result()
    assert caught.value.facts["sqlstate"] == "40001"
    assert caught.value.facts["line"] == 5
    assert database.query("TABLE counter") == [(2,)]
    assert applied(database) == []


# Timeouts


def test_lock_timeout_ends_a_files_wait_for_a_lock(database, migrations) -> None:
    database.execute("CREATE TABLE a (id integer)")
    migrations.write("001_waits.sql", "-- migration: lock_timeout = 200ms\nCREATE TABLE b (id integer);\nDROP TABLE a;")
    with holding(database.url, "LOCK TABLE a IN ACCESS SHARE MODE"), pytest.raises(LockTimeout) as caught:
        apply(database, migrations)
    assert caught.value.facts["sqlstate"] == "55P03"
    assert (caught.value.facts["line"], caught.value.facts["statement"]) == (3, 2)
    assert "200 ms" in caught.value.cause
    assert caught.value.retryable
    assert caught.value.state == ROLLED_BACK
    assert tables(database) == ["a"]
    assert attempts(database) == [("001", "failed")]
    assert labels(apply(database, migrations)) == ["001"]  # the other is gone


def test_lock_timeout_of_the_request_holds_for_files_that_say_nothing(database, migrations) -> None:
    database.execute("CREATE TABLE a (id integer)")
    migrations.write("001_waits.sql", "DROP TABLE a;")
    with holding(database.url, "LOCK TABLE a"), pytest.raises(LockTimeout, match="55P03") as caught:
        apply(database, migrations, limits=Limits(lock_timeout=100, lock_wait=0))
    assert "100 ms" in caught.value.cause


def test_statement_timeout_ends_a_slow_statement(database, migrations) -> None:
    options = "-- migration: statement_timeout = 400ms\n-- migration: lock_timeout = 300ms\n"
    migrations.write("001_slow.sql", f"{options}CREATE TABLE a (id integer);\nSELECT pg_sleep(60);")
    with pytest.raises(StatementTimeout) as caught:
        apply(database, migrations)
    assert caught.value.facts["sqlstate"] == "57014"
    assert (caught.value.facts["line"], caught.value.facts["statement"]) == (4, 2)
    assert "400 ms" in caught.value.cause
    assert tables(database) == []
    assert attempts(database) == [("001", "failed")]


def test_statement_timeout_counts_each_statement_by_itself(database, migrations) -> None:
    naps = "SELECT pg_sleep(0.3);\n" * 4
    text = f"-- migration: statement_timeout = 900ms\n-- migration: lock_timeout = 300ms\n{naps}"
    migrations.write("001_naps.sql", text)
    assert labels(apply(database, migrations)) == ["001"]


@pytest.mark.parametrize(
    "slow",
    [
        pytest.param("CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON a DEFERRABLE INITIALLY DEFERRED", id="at COMMIT"),
        pytest.param("CREATE TRIGGER slow AFTER INSERT ON a", id="in the file"),
    ],
)
def test_statement_timeout_is_told_as_one_wherever_it_strikes(database, migrations, slow: str) -> None:
    text = f"""-- migration: statement_timeout = 400ms
-- migration: lock_timeout = 300ms
CREATE TABLE a (id integer);
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END';
{slow} FOR EACH ROW EXECUTE FUNCTION slow();
INSERT INTO a VALUES (1);"""
    migrations.write("001_slow.sql", text)
    with pytest.raises(StatementTimeout):
        apply(database, migrations)
    assert tables(database) == []


def test_timeouts_of_a_file_dont_reach_the_next(database, migrations) -> None:
    options = "-- migration: lock_timeout = 100ms\n-- migration: statement_timeout = 200ms\n"
    migrations.write("001_short.sql", f"{options}CREATE TABLE a (id integer);")
    migrations.write(
        "002_long.sql", "SELECT pg_sleep(0.4);\nCREATE TABLE b AS SELECT current_setting('lock_timeout') AS c;"
    )
    apply(database, migrations)
    assert database.query("TABLE b") == [("2s",)]
    assert parse_duration("2s") == Limits().lock_timeout


# People who intervene


def test_statement_cancelled_by_a_person_is_told_so(database, migrations) -> None:
    migrations.write("001_long.sql", "CREATE TABLE a (id integer);\nSELECT pg_sleep(60);")
    run = Task(apply, database, migrations)
    database.query("SELECT pg_cancel_backend(%s)", (backend(database, "pg_sleep"),))
    with pytest.raises(Cancelled) as caught:
        run.result()
    assert caught.value.facts["sqlstate"] == "57014"
    assert caught.value.facts["line"] == 2
    assert not caught.value.retryable
    assert tables(database) == []
    assert attempts(database) == [("001", "failed")]


def test_cancelling_is_no_timeout_though_the_file_took_longer_than_one_statement_may(database, migrations) -> None:
    """The server tells a run nothing of a file's statements before the last one has ended."""
    database.execute("CREATE TABLE mark (id integer)")
    options = "-- migration: statement_timeout = 900ms\n-- migration: lock_timeout = 500ms\n"
    naps = "SELECT pg_sleep(0.5);\nSELECT pg_sleep(0.5);\nLOCK TABLE mark;\nSELECT pg_sleep(0.8);"
    migrations.write("001_long.sql", options + naps)
    run = Task(apply, database, migrations)
    pids = until(lambda: database.query("SELECT pid FROM pg_locks WHERE relation = 'mark'::regclass"), "the last nap")
    database.query("SELECT pg_cancel_backend(%s)", pids[0])
    with pytest.raises(Cancelled):
        run.result()


def test_session_ended_by_a_person_is_a_lost_connection(database, migrations) -> None:
    migrations.write("001_first.sql", "CREATE TABLE a (id integer);")
    migrations.write("002_long.sql", "CREATE TABLE b (id integer);\nSELECT pg_sleep(60);")
    run = Task(apply, database, migrations)
    database.query("SELECT pg_terminate_backend(%s)", (backend(database, "pg_sleep"),))
    with pytest.raises(ConnectionLost) as caught:
        run.result()
    assert caught.value.retryable
    assert caught.value.facts["applied"] == ["001"]
    assert caught.value.facts["file"] == "002_long.sql"
    assert tables(database) == ["a"]
    assert applied(database) == ["001"]
    migrations.write("002_long.sql", "CREATE TABLE b (id integer);")
    assert labels(apply(database, migrations)) == ["002"]
    assert attempts(database) == [("001", "applied"), ("002", "interrupted"), ("002", "applied")]


def test_session_ended_between_two_files_is_a_lost_connection(database, migrations) -> None:
    migrations.write("001_first.sql", "CREATE TABLE a (id integer);")
    migrations.write("002_second.sql", "CREATE TABLE b (id integer);")
    end = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'aurora-migrations %'"
    )
    ends = Watcher(at("002", lambda: database.query(f"{end} AND datname = current_database()")))
    with pytest.raises(ConnectionLost) as caught:
        apply(database, migrations, listener=ends)
    assert caught.value.facts["applied"] == ["001"]
    assert labels(apply(database, migrations)) == ["002"]


@pytest.mark.parametrize("table", ["attempts", "applied"])
def test_somebody_who_locks_the_history_is_contention_not_a_wrong_file(
    database, migrations, monkeypatch, table
) -> None:
    """`VACUUM FULL`, or a person in psql: nothing is wrong with the file, and a retry is right."""
    monkeypatch.setitem(connect.STARTUP_SETTINGS, "lock_timeout", "200")
    migrations.write("001_first.sql", "CREATE TABLE a (id integer);")
    migrations.write("002_second.sql", "-- migration: lock_timeout = 200ms\nCREATE TABLE b (id integer);")
    with database.connect() as other:
        lock = Watcher(at("002", lambda: other.execute(f"BEGIN; LOCK TABLE aurora_migrations.{table}")))
        with pytest.raises(LockTimeout) as caught:
            apply(database, migrations, listener=lock)
    assert caught.value.facts["applied"] == ["001"]
    assert tables(database) == ["a"]
    assert labels(apply(database, migrations)) == ["002"]


# The run lock

DROPS = {
    "built in a block": "DO $$ BEGIN EXECUTE 'SELECT pg_advisory_unlock' || '_all()'; END $$;",
    "by its key": "SELECT pg_advisory_unlock(((classid::bigint << 32) | objid::bigint)) FROM pg_locks "
    "WHERE locktype = 'advisory' AND pid = pg_backend_pid();",
    "at COMMIT": "CREATE TABLE x (y integer); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN EXECUTE 'SELECT pg_advisory_unlock' || '_all()'; RETURN NULL; END $$; "
    "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON x DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION f(); "
    "INSERT INTO x VALUES (1);",
}


@pytest.mark.parametrize("drop", DROPS.values(), ids=DROPS)
def test_file_that_drops_the_run_lock_is_rolled_back(database, migrations, drop: str) -> None:
    migrations.write("001_first.sql", "CREATE TABLE a (id integer);")
    migrations.write("002_drops.sql", f"CREATE TABLE b (id integer);\n{drop}")
    migrations.write("003_after.sql", "CREATE TABLE c (id integer);")
    with pytest.raises(MigrationFailed, match=re.escape("002_drops.sql released the run lock")) as caught:
        apply(database, migrations)
    assert caught.value.state == ROLLED_BACK
    assert caught.value.facts["applied"] == ["001"]
    assert tables(database) == ["a"]
    assert applied(database) == ["001"]


@pytest.mark.parametrize("drop", DROPS.values(), ids=DROPS)
def test_unit_that_drops_the_run_lock_is_rolled_back_though_its_file_goes_on(database, migrations, drop: str) -> None:
    migrations.write("001_drops.sql", f"CREATE TABLE a ();\nBEGIN;\nCREATE TABLE b ();\n{drop}\nCOMMIT;\nSELECT 1;\n")
    with pytest.raises(MigrationFailed, match=re.escape("001_drops.sql released the run lock")) as caught:
        apply(database, migrations)
    assert "unit 1 is applied" in caught.value.state
    assert tables(database) == ["a"]


def test_run_lock_that_another_session_has_taken_meanwhile_is_not_ours(database, migrations) -> None:
    wait = "WHILE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid <> pg_backend_pid())"
    pause = f"DO $$ BEGIN {wait} LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;"
    migrations.write("001_drops.sql", f"CREATE TABLE a ();\n{DROPS['built in a block']}\n{pause}\n")
    with database.connect() as other:
        take = (other.execute, f"SELECT pg_advisory_lock({RUN_LOCK})")
        others: list[Task] = []
        taken = Watcher(at("001", lambda: others.append(Task(*take))))
        with pytest.raises(MigrationFailed, match="released the run lock"):
            apply(database, migrations, listener=taken)
        others[0].result()
    assert tables(database) == []


def test_verify_query_that_drops_the_run_lock_is_noticed(database, migrations) -> None:
    database.execute(
        "CREATE FUNCTION f() RETURNS boolean LANGUAGE sql AS 'SELECT pg_advisory_unlock_all() IS NOT NULL'"
    )
    migrations.write("001_first.sql", "CREATE TABLE a (id integer);")
    migrations.write("001_first.verify.sql", "SELECT f();")
    with pytest.raises(MigrationFailed, match="released the run lock"):
        apply(database, migrations)
    assert tables(database) == []


def test_file_may_use_advisory_locks_of_its_own(database, migrations) -> None:
    text = "SELECT pg_advisory_lock(42); SELECT pg_advisory_xact_lock(43); SELECT pg_advisory_unlock(42);"
    migrations.write("001_locks.sql", text)
    migrations.write("002_after.sql", "CREATE TABLE b AS SELECT count(*) FROM pg_locks WHERE locktype = 'advisory';")
    apply(database, migrations)
    assert database.query("TABLE b") == [(2,)]  # the run lock, and the shared one that goes with it
    until(lambda: not locks(database), "the end of the run's session")


# What can't run in a transaction, or ends it

OUTSIDE = {
    "procedure that commits": ("CALL commits();", "2D000"),
    "block that commits": ("DO $$ BEGIN COMMIT; END $$;", "2D000"),
    "block that rolls back": ("DO $$ BEGIN ROLLBACK; END $$;", "2D000"),
}


def test_what_needs_to_be_outside_a_transaction_is_refused(database, migrations, subtests) -> None:
    database.execute(
        "CREATE TABLE a (id integer); CREATE PROCEDURE commits() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'; "
    )
    for name, (statement, sqlstate) in OUTSIDE.items():
        with subtests.test(name):
            migrations.write("001_first.sql", f"CREATE TABLE b (id integer);\n{statement}")
            with pytest.raises(MigrationFailed) as caught:
                apply(database, migrations)
            assert caught.value.facts["sqlstate"] == sqlstate
            assert (caught.value.facts["line"], caught.value.facts["statement"]) == (2, 2)
            assert "transaction = off" in str(caught.value.facts["hint"])
            assert caught.value.state == ROLLED_BACK
            assert tables(database) == ["a"]
            assert applied(database) == []


ENDS = ["COMMIT", "ROLLBACK", "END", "ABORT", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "BEGIN", "/* x */ commit"]


def test_statement_that_ends_the_transaction_is_refused_before_anything_runs(database, migrations, subtests) -> None:
    migrations.write("001_first.sql", "CREATE TABLE a (id integer);")
    for statement in ENDS:
        with subtests.test(statement):
            migrations.write(
                "002_ends.sql", f"CREATE TABLE b (id integer);\n{statement};\nCREATE TABLE c (id integer);"
            )
            with pytest.raises(InvalidFile) as caught:
                apply(database, migrations)
            assert caught.value.facts["files"][0]["line"] == 2  # type: ignore[index]
            assert tables(database) == []


def test_new_enum_value_in_its_own_transaction_is_told_with_the_way_out(database, migrations) -> None:
    database.execute("CREATE TYPE mood AS ENUM ('sad')")
    text = "ALTER TYPE mood ADD VALUE 'happy';\nCREATE TABLE a AS SELECT CAST('happy' AS mood);"
    migrations.write("001_enum.sql", text)
    with pytest.raises(MigrationFailed) as caught:
        apply(database, migrations)
    assert caught.value.facts["sqlstate"] == "55P04"
    assert "next file" in caught.value.cause
    assert database.query("SELECT enum_range(NULL::mood)::text") == [("{sad}",)]

    migrations.write("001_enum.sql", "ALTER TYPE mood ADD VALUE 'happy';")
    migrations.write("002_use.sql", "CREATE TABLE a AS SELECT 'happy'::mood;")
    assert labels(apply(database, migrations)) == ["001", "002"]


# Who we are


def test_session_says_who_it_is(database, migrations) -> None:
    with Session(database.url, "nightly-17") as session:
        names = database.query("SELECT application_name FROM pg_stat_activity WHERE pid = %s", (session.server.pid,))
        assert names == [(application_name("nightly-17"),)]
        assert session.server.database == database.name
        assert session.server.user == "postgres"


def test_no_query_of_ours_is_compiled(database) -> None:
    """Before PostgreSQL 18 a query over the catalogue looks expensive enough, and compiling one took 15 s on 15: of the
    comparison before COMMIT, under the file's locks."""
    database.execute(f"ALTER DATABASE {database.name} SET jit = on")
    with Session(database.url, "jit") as session:
        assert session.execute(BEGIN, OURS, Command("SHOW jit"), COMMIT)[2] == [("off",)]
        limits = ours_and_limits(0, 0)
        assert session.execute(BEGIN, limits, Command("SHOW jit"), COMMIT)[2] == [("off",)]


def test_nothing_of_a_run_stays_on_the_server(database, migrations) -> None:
    migrations.write("001_first.sql", "CREATE TABLE a (id integer);")
    apply(database, migrations)
    until(lambda: not locks(database), "the end of the run's session")


ROLES = [
    "GRANT SELECT ON t TO CURRENT_USER, missing_role",
    "REVOKE ALL ON t FROM missing_role",
    "GRANT missing_role TO CURRENT_USER",
    "ALTER TABLE t OWNER TO missing_role",
    "CREATE POLICY p ON t TO missing_role",
    "ALTER DEFAULT PRIVILEGES FOR ROLE missing_role GRANT SELECT ON TABLES TO CURRENT_USER",
    "ALTER ROLE missing_role SET work_mem = '4MB'",
    "DO $$ BEGIN EXECUTE format('GRANT SELECT ON t TO %I', 'missing_role'); END $$",
]


def test_rows_of_the_first_query_after_a_script_are_all_there(database) -> None:
    with Session(database.url, "x") as session:
        session.wire.execute_script(b"SELECT generate_series(1, 3)")
        first = Command("SELECT n FROM generate_series(1, 3) n")
        assert session.execute(first, Command("SELECT 5"), first) == [
            [("1",), ("2",), ("3",)],
            [("5",)],
            [("1",), ("2",), ("3",)],
        ]


def test_missing_role_is_named_with_what_to_do(database, migrations, subtests) -> None:
    for statement in ROLES:
        with subtests.test(statement):
            migrations.write("001_grant.sql", f"CREATE TABLE t (a int);\n{statement};")
            with pytest.raises(MigrationFailed, match='role "missing_role" does not exist') as caught:
                apply(database, migrations)
            assert "create the role in an earlier migration" in caught.value.cause
            assert caught.value.facts["line"] == 2


def test_other_missing_objects_are_not_taken_for_roles(database, migrations) -> None:
    migrations.write("001_type.sql", "CREATE TABLE t (a missing_role);")
    with pytest.raises(MigrationFailed, match='type "missing_role" does not exist') as caught:
        apply(database, migrations)
    assert "role in an earlier" not in caught.value.cause

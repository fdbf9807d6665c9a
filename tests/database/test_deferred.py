"""Deferred checks, which pass with every statement and fail at COMMIT: the file is told of it and rolled back."""

import pytest

from aurora_migrations.engine.errors import MigrationFailed, VerificationFailed
from tests.database.helpers import ROLLED_BACK, applied, apply, attempts, labels, last_error, tables

BEFORE = """
CREATE TABLE parent (id integer PRIMARY KEY);
CREATE TABLE child (parent integer REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE once (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE apart (span int4range, EXCLUDE USING gist (span WITH &&) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE lazy (parent integer REFERENCES parent DEFERRABLE INITIALLY IMMEDIATE);
CREATE TABLE watched (id integer);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
CREATE CONSTRAINT TRIGGER refusing AFTER INSERT ON watched DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION refuse();
"""
VIOLATIONS = {
    "foreign key": ("INSERT INTO child VALUES (1);", "23503"),
    "unique": ("INSERT INTO once VALUES (1), (1);", "23505"),
    "exclusion": ("INSERT INTO apart VALUES ('[1,5)'), ('[4,9)');", "23P01"),
    "constraint trigger": ("INSERT INTO watched VALUES (1);", "P0001"),
    "deferred by the file": ("SET CONSTRAINTS ALL DEFERRED; INSERT INTO lazy VALUES (1);", "23503"),
    "under another role": ("INSERT INTO child VALUES (1); SET ROLE pg_monitor; SET search_path = nowhere;", "23503"),
    "on a temporary table": (
        "CREATE TEMP TABLE t (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO t VALUES (1), (1);",
        "23505",
    ),
}


@pytest.mark.parametrize("promise", ["", "-- verify: rows parent = 0\n"], ids=["no promise", "with a promise"])
@pytest.mark.parametrize(("violation", "sqlstate"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_deferred_violation_rolls_its_file_back(database, migrations, violation, sqlstate, promise) -> None:
    migrations.write("001_before.sql", BEFORE)
    apply(database, migrations)
    before = tables(database)
    migrations.write("002_violates.sql", f"{promise}CREATE TABLE gone (id integer);\n{violation}")
    migrations.write("003_after.sql", "CREATE TABLE after (id integer);")

    with pytest.raises(MigrationFailed) as caught:
        apply(database, migrations)

    assert caught.value.message.startswith("002_violates.sql, at COMMIT: ")
    assert caught.value.facts["sqlstate"] == sqlstate
    assert caught.value.facts["file"] == "002_violates.sql"
    assert "line" not in caught.value.facts
    assert caught.value.state == ROLLED_BACK
    assert tables(database) == before
    assert applied(database) == ["001"]
    assert attempts(database) == [("001", "applied"), ("002", "failed")]
    assert last_error(database)["sqlstate"] == sqlstate


def test_deferred_checks_that_hold_in_the_end_are_no_error(database, migrations) -> None:
    migrations.write("001_before.sql", BEFORE)
    migrations.write("002_holds.sql", "INSERT INTO child VALUES (1); INSERT INTO parent VALUES (1);")
    assert labels(apply(database, migrations)) == ["001", "002"]


def test_deferred_trigger_runs_as_in_psql_under_the_files_role_and_search_path(database, migrations, roles) -> None:
    app = roles.create()
    migrations.write(
        "001_trigger.sql",
        f"""
        CREATE SCHEMA app AUTHORIZATION {app.name};
        CREATE TABLE app.log (who text, scratch integer, language text);
        CREATE TABLE public.watched (id integer);
        GRANT ALL ON app.log, public.watched TO {app.name};
        CREATE FUNCTION public.write_log() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO log SELECT current_user, (SELECT id FROM scratch), current_setting('my.language');
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON public.watched DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION public.write_log();
        """,
    )
    migrations.write(
        "002_fires.sql",
        f"-- verify: rows app.log = 1\nSET ROLE {app.name};\nSET search_path = app;\nSET my.language = 'pt';\n"
        "CREATE TEMP TABLE scratch AS SELECT 17 AS id;\nINSERT INTO public.watched VALUES (1);",
    )
    assert labels(apply(database, migrations)) == ["001", "002"]
    assert database.query("TABLE app.log") == [(app.name, 17, "pt")]


def test_what_deferred_triggers_queue_is_run_too(database, migrations) -> None:
    migrations.write(
        "001_chain.sql",
        """
        CREATE TABLE chain (n integer);
        CREATE FUNCTION next() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.n < 5 THEN INSERT INTO chain VALUES (NEW.n + 1); END IF;
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER next AFTER INSERT ON chain DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION next();
        """,
    )
    migrations.write("002_start.sql", "-- verify: rows chain = 5\nINSERT INTO chain VALUES (1);")
    assert labels(apply(database, migrations)) == ["001", "002"]
    assert database.query("SELECT n FROM chain ORDER BY n") == [(1,), (2,), (3,), (4,), (5,)]


def test_promise_sees_what_deferred_triggers_did(database, migrations) -> None:
    migrations.write(
        "001_trigger.sql",
        """
        CREATE TABLE watched (id integer);
        CREATE TABLE log (id integer);
        CREATE FUNCTION write_log() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO log VALUES (NEW.id); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON watched DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION write_log();
        """,
    )
    migrations.write("002_fires.sql", "-- verify: rows log = 0\nINSERT INTO watched VALUES (1);")
    with pytest.raises(VerificationFailed):
        apply(database, migrations)
    migrations.write("002_fires.sql", "-- verify: rows log = 1\nINSERT INTO watched VALUES (1);")
    assert labels(apply(database, migrations)) == ["002"]


def test_failing_constraint_that_the_file_itself_makes_immediate_has_its_place(database, migrations) -> None:
    migrations.write("001_before.sql", BEFORE)
    migrations.write("002_checks.sql", "INSERT INTO child VALUES (1);\nSET CONSTRAINTS ALL IMMEDIATE;\nSELECT 1;")
    with pytest.raises(MigrationFailed) as caught:
        apply(database, migrations)
    assert (caught.value.facts["line"], caught.value.facts["statement"]) == (2, 2)

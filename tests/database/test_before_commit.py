"""Before a file commits, what it has done to the catalogue is what its replay did, and no table has lost rows."""

import contextlib
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest

from aurora_migrations.engine import MigratorError
from aurora_migrations.engine.catalog.change import difference
from aurora_migrations.engine.catalog.effects import REPORT, ROLLBACK_TO, SAVEPOINT, Rows
from aurora_migrations.engine.catalog.facts import same
from aurora_migrations.engine.errors import LockTimeout, VerificationFailed
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.postgres.protocol import Command, Row, Wire
from tests.database.helpers import (
    Task,
    applied,
    apply,
    ask,
    attempts,
    exists,
    holding,
    labels,
    released_after,
    roll_back,
    until,
)
from tests.database.replayed import Replayed
from tests.servers import Database, Migrations


def run(database: Database, migrations: Migrations, **changes: Any):
    return apply(database, migrations, source=Replayed(migrations, database), **changes)


def failure(database: Database, migrations: Migrations, **changes: Any) -> VerificationFailed:
    with pytest.raises(VerificationFailed) as caught:
        run(database, migrations, **changes)
    return caught.value


def test_what_does_the_same_as_in_an_empty_database_commits_with_its_rows(database: Database, migrations: Migrations):
    database.execute("CREATE TABLE other (id int)")  # nobody's, and nothing to worry about
    migrations.write("001_a.sql", "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 5);")
    migrations.write("002_b.sql", "DELETE FROM a WHERE id > 3; UPDATE a SET id = id + 10;")
    migrations.write("003_c.sql", "ALTER TABLE a ADD b text;")
    result = run(database, migrations)
    assert labels(result) == ["001", "002", "003"]
    rows = [each.rows for each in result.applied]
    assert rows == [(Rows("public.a", 5, 0, 0),), (Rows("public.a", 0, 3, 2),), ()]
    assert result.warnings == ()
    assert result.to_dict()["applied"][0]["rows"] == ({"table": "public.a", "inserted": 5, "updated": 0, "deleted": 0},)


# What was there before; the file; what is said of it.
HIDDEN = {
    "a table": (
        "CREATE TABLE a (id bigint)",
        "-- a comment\nCREATE TABLE IF NOT EXISTS a (id int, name text);",
        [
            "column public.a.id: expected integer, found bigint (001_a.sql:2:1)",
            "column public.a.name: expected text, found not there (001_a.sql:2:1)",
        ],
    ),
    "a column": (
        "CREATE TABLE a (id int, total text)",
        "CREATE TABLE IF NOT EXISTS a (id int);\n"
        "ALTER TABLE a ADD COLUMN IF NOT EXISTS total numeric NOT NULL DEFAULT 0;",
        ["column public.a.total: expected numeric NOT NULL DEFAULT 0, found text (001_a.sql:2:1)"],
    ),
    "an index": (
        "CREATE TABLE a (id int, b int); CREATE INDEX i ON a (b)",
        "CREATE TABLE IF NOT EXISTS a (id int, b int);\nCREATE UNIQUE INDEX IF NOT EXISTS i ON a (id);",
        [
            "index public.i: expected CREATE UNIQUE INDEX i ON public.a USING btree (id), "
            "found CREATE INDEX i ON public.a USING btree (b) (001_a.sql:2:1)"
        ],
    ),
    "an index that is another kind of thing": (
        "CREATE TABLE a (id int); CREATE VIEW i AS SELECT 1",
        "CREATE TABLE IF NOT EXISTS a (id int);\nCREATE INDEX IF NOT EXISTS i ON a (id);",
        [
            "index public.i: expected CREATE INDEX i ON public.a USING btree (id), found not there (001_a.sql:2:1)",
        ],
    ),
    "a sequence": (
        "CREATE SEQUENCE s AS int",
        "CREATE SEQUENCE IF NOT EXISTS s INCREMENT 5;",
        [
            "sequence public.s: expected AS bigint START 1 INCREMENT 5 MINVALUE 1 MAXVALUE 9223372036854775807, "
            "found AS integer START 1 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 (001_a.sql:1:1)"
        ],
    ),
    "what DROP IF EXISTS does not drop": (
        "CREATE SCHEMA app; CREATE TABLE app.a (id int); CREATE TABLE public.a (id int)",
        "CREATE SCHEMA IF NOT EXISTS app; CREATE TABLE IF NOT EXISTS app.a (id int);\n"
        "CREATE TABLE IF NOT EXISTS a (id int);\nALTER TABLE a DROP COLUMN IF EXISTS b;\nALTER TABLE a ADD b text;",
        [],
    ),
}


@pytest.mark.parametrize(("before", "text", "said"), HIDDEN.values(), ids=HIDDEN)
def test_what_if_not_exists_hides_is_found(database: Database, migrations: Migrations, before, text, said):
    database.execute(before)
    migrations.write("001_a.sql", text)
    if not said:
        run(database, migrations)
        return
    error = failure(database, migrations)
    assert str(error.message) == f"001_a.sql: {'; '.join(said)}."
    assert error.facts["migration"] == "001"
    assert "as it was before it" in str(error.state)
    assert applied(database) == []


def test_a_view_differs_by_what_it_selects(database: Database, migrations: Migrations):
    migrations.write("001_a.sql", "CREATE TABLE a (id int, b int);\nCREATE VIEW v AS SELECT id FROM a WHERE b > 1;")
    source = Replayed(migrations, database)
    migrations.write("001_a.sql", "CREATE TABLE a (id int, b int);\nCREATE VIEW v AS SELECT id FROM a WHERE b > 2;")
    with pytest.raises(VerificationFailed, match=r"view public\.v: expected query \w{8}, found query \w{8} .*:2:1"):
        apply(database, migrations, source=Replayed(migrations, database, source.changes))


def test_of_dynamic_sql_there_is_only_a_warning(database: Database, migrations: Migrations):
    database.execute("CREATE TABLE a (id bigint)")
    migrations.write(
        "001_a.sql", "DO $$ BEGIN CREATE TABLE IF NOT EXISTS a (id int); END $$;\nCREATE TABLE b (id int);"
    )
    result = run(database, migrations)
    assert result.warnings == ("001_a.sql: column public.a.id: expected integer, found bigint",)
    assert exists(database, "b")


def test_what_a_file_names_beside_dynamic_sql_fails_it(database: Database, migrations: Migrations):
    database.execute("CREATE TABLE a (id bigint)")
    migrations.write("001_a.sql", "DO 'begin end';\nCREATE TABLE IF NOT EXISTS a (id int);")
    assert "001_a.sql:2:1" in failure(database, migrations).message


def test_what_a_file_ignores_with_a_reason_is_left_out(database: Database, migrations: Migrations):
    database.execute("CREATE TABLE a (id bigint); CREATE TABLE b (id int); CREATE INDEX i ON b ((id + 1))")
    migrations.write(
        "001_a.sql",
        "-- verify: ignore column public.a.id because it was widened by hand in production\n"
        "-- verify: ignore index i because its expression depends on the day\n"
        "CREATE TABLE IF NOT EXISTS a (id int);\n"
        "CREATE TABLE IF NOT EXISTS b (id int);\nCREATE INDEX IF NOT EXISTS i ON b (id);",
    )
    assert labels(run(database, migrations)) == ["001"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-- verify: ignore index i", "gives no reason"),
        ("-- verify: ignore index i because ", "gives no reason"),
        ("-- verify: ignore indexes i because of me", "names no kind of object"),
        ("-- verify: ignore", "names no kind of object"),
        ("-- verify ignore index i because of me", "looks like an option"),
        ("SELECT 1;\n-- verify: ignore index i because of me", "top of the file"),
    ],
)
def test_an_ignore_that_says_too_little_is_an_error(database: Database, migrations: Migrations, line: str, said: str):
    migrations.write("001_a.sql", f"{line}\nSELECT 1;\n")
    with pytest.raises(MigratorError, match=said):
        apply(database, migrations)


POLICY = ("policy", "public.a.p")
TRIGGER = """
    CREATE TABLE a (id int); CREATE TABLE kept (id int); INSERT INTO kept VALUES (1), (2);
    CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'begin delete from kept; return new; end';
    CREATE TRIGGER t AFTER INSERT ON a FOR EACH ROW EXECUTE FUNCTION t();
"""


def test_a_table_that_loses_rows_though_no_statement_removes_any_fails_the_file(
    database: Database, migrations: Migrations
):
    database.execute(TRIGGER)
    migrations.write("001_a.sql", "CREATE TABLE IF NOT EXISTS a (id int);\nINSERT INTO a VALUES (1);")
    found = "rows public.kept: expected none removed, as no statement of the file does, found 2 deleted"
    assert failure(database, migrations).message == f"001_a.sql: {found}."
    assert database.query("SELECT count(*) FROM kept") == [(2,)]
    migrations.write(
        "001_a.sql",
        "-- verify: ignore rows kept because its trigger clears it\n"
        "CREATE TABLE IF NOT EXISTS a (id int);\nINSERT INTO a VALUES (1);",
    )
    assert run(database, migrations).applied[0].rows == (Rows("public.kept", 0, 0, 2), Rows("public.a", 1, 0, 0))


def test_rows_that_an_update_moves_between_partitions_are_not_lost(database: Database, migrations: Migrations):
    migrations.write(
        "001_a.sql",
        "CREATE TABLE p (id int) PARTITION BY RANGE (id);\n"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);\n"
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);\nINSERT INTO p VALUES (1), (2);",
    )
    migrations.write("002_b.sql", "UPDATE p SET id = id + 10;")
    assert labels(run(database, migrations)) == ["001", "002"]


def test_after_a_unit_outside_transactions_the_file_is_not_recorded_as_applied(
    database: Database, migrations: Migrations
):
    database.execute("CREATE TABLE a (id int, b text)")
    migrations.write("001_a.sql", "CREATE TABLE IF NOT EXISTS a (id int);\nCREATE INDEX CONCURRENTLY i ON a (id);")
    source = Replayed(migrations, database)
    source.changes["apply", 1].changed["index", "public.i"] = "CREATE INDEX i ON public.a USING hash (id)"
    with pytest.raises(VerificationFailed, match=r"index public\.i: .*001_a\.sql:2:1") as caught:
        apply(database, migrations, source=source)
    assert "2 of" in str(caught.value.state) or "units" in str(caught.value.state)
    assert applied(database) == []
    assert labels(run(database, migrations)) == ["001"]  # it resumes at the check


def test_a_rollback_is_compared_with_the_replay_of_its_down_file(database: Database, migrations: Migrations):
    migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    migrations.write("001_a.down.sql", "DROP TABLE IF EXISTS public.a;")
    source = Replayed(migrations, database)
    apply(database, migrations, source=source)
    database.execute("ALTER TABLE a RENAME TO b; CREATE VIEW a AS SELECT 1 AS id")
    with pytest.raises(MigratorError):
        roll_back(database, migrations, "001", "001", source=source)
    database.execute("DROP VIEW a; ALTER TABLE b RENAME TO a")
    assert labels(roll_back(database, migrations, "001", "001", source=source)) == ["001"]


def test_a_transaction_that_may_outlive_the_run_is_compared_after_its_commit(
    database: Database, migrations: Migrations
):
    database.execute("CREATE TABLE a (id bigint)")
    migrations.write("001_a.sql", "-- migration: detach = on\nCREATE TABLE IF NOT EXISTS a (id int);")
    error = failure(database, migrations)
    assert "column public.a.id" in error.message
    assert "001_a.sql is applied" in str(error.state)
    assert applied(database) == ["001"]


def test_a_check_after_a_commit_that_waits_too_long_does_not_run_the_file_again(
    database: Database, migrations: Migrations
):
    makes = "IF to_regclass('v') IS NULL THEN CREATE VIEW v AS SELECT 1 AS a; END IF;"
    migrations.write("001_a.sql", f"-- migration: detach = on\nDO $$ BEGIN {makes} END $$;")
    source = Replayed(migrations, database)
    database.execute("CREATE VIEW v AS SELECT 1 AS a")
    limits = Limits(lock_timeout=200, lock_wait=5_000)
    with (
        holding(database.url, "CREATE OR REPLACE VIEW v AS SELECT 1 AS a, 2 AS b"),
        pytest.raises(VerificationFailed, match="what it did wasn't checked") as caught,
    ):
        apply(database, migrations, source=source, limits=limits)
    assert "001_a.sql is applied" in str(caught.value.state)
    assert attempts(database) == [("001", "applied")]


def test_what_may_be_a_password_is_not_shown(database: Database, migrations: Migrations):
    database.execute("CREATE TABLE a (password text DEFAULT 'open sesame')")
    migrations.write("001_a.sql", "CREATE TABLE IF NOT EXISTS a (password text DEFAULT 'hunter2-password');")
    error = failure(database, migrations)
    assert "hunter2" not in str(error.to_dict())
    migrations.write("001_a.sql", "CREATE TABLE IF NOT EXISTS a (password text DEFAULT 'hunter3');")
    assert not re.search("hunter3|sesame", str(failure(database, migrations).to_dict()))


def test_the_comparison_does_not_depend_on_what_the_file_leaves_in_its_session(
    database: Database, migrations: Migrations, roles
):
    role = roles.create()
    migrations.write(
        "001_a.sql",
        f"CREATE SCHEMA app;\nGRANT ALL ON SCHEMA app TO {role.name};\nSET ROLE {role.name};\nSET search_path = app;\n"
        "CREATE TABLE a (id int DEFAULT 5);\nPREPARE p AS SELECT 1;",
    )
    migrations.write("002_b.sql", "CREATE TABLE b (id int);\nDEALLOCATE ALL;")
    migrations.write("003_c.sql", "CREATE TABLE c (id int);\nPREPARE p AS SELECT 1;")
    assert labels(run(database, migrations)) == ["001", "002", "003"]


def test_a_role_whose_names_are_in_another_schema_makes_what_the_replay_made_in_public(
    database: Database, migrations: Migrations
):
    migrations.write("001_a.sql", "CREATE SCHEMA IF NOT EXISTS app;")
    migrations.write("002_b.sql", "CREATE TABLE a (id int PRIMARY KEY);\nCREATE INDEX i ON a (id);")
    migrations.write(
        "003_c.sql", "CREATE TABLE b (id int REFERENCES a);\nDROP INDEX i;\nCREATE TABLE public.c (id int);"
    )
    source = Replayed(migrations, database)
    database.execute(f"ALTER DATABASE {database.name} SET search_path = app")
    assert labels(apply(database, migrations, source=source)) == ["001", "002", "003"]
    assert database.query("SELECT count(*) FROM app.b") == [(0,)]
    migrations.write("004_d.sql", "CREATE TABLE IF NOT EXISTS d (id int);")
    source = Replayed(migrations, database)
    database.execute("CREATE TABLE app.d (id bigint)")
    with pytest.raises(VerificationFailed, match=r"column public\.d\.id: expected integer, found bigint"):
        apply(database, migrations, source=source)


def test_how_a_database_writes_values_makes_no_difference(database: Database, migrations: Migrations):
    migrations.write(
        "001_a.sql",
        "CREATE TABLE a (i interval DEFAULT '1 day 2 hours', f float8 DEFAULT 0.1 + 0.2, b bytea DEFAULT '\\x00ff',"
        " d date DEFAULT '2024-01-02', CHECK (f < 1.1::float8));\nCREATE VIEW v AS SELECT i, f FROM a;",
    )
    source = Replayed(migrations, database)
    settings = {"quote_all_identifiers": "on", "intervalstyle": "iso_8601", "extra_float_digits": "-3"}
    for name, value in {**settings, "bytea_output": "escape", "datestyle": "'German, DMY'"}.items():
        database.execute(f"ALTER DATABASE {database.name} SET {name} = {value}")
    assert labels(apply(database, migrations, source=source)) == ["001"]


# Nothing but the comparison reads this catalogue.
COMPARISON_WAITS = "LOCK TABLE pg_inherits IN ACCESS EXCLUSIVE MODE"
when_compared = pytest.mark.parametrize(
    "expects", ["", "-- verify: rows a = 0\n"], ids=["at COMMIT", "before expectations"]
)


@when_compared
def test_limits_that_a_file_sets_are_not_those_of_the_comparison(database, migrations, expects: str) -> None:
    migrations.write("001_a.sql", f"{expects}CREATE TABLE a (id int);\nSET lock_timeout = '1ms';")
    source = Replayed(migrations, database)
    waits = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'pg_inherits'::regclass"
    with holding(database.url, COMPARISON_WAITS) as other:
        running = Task(apply, database, migrations, source=source, limits=Limits(lock_timeout=20_000, lock_wait=0))
        until(lambda: ask(database, waits) or not running.is_alive(), "the comparison waits")
        time.sleep(0.1)  # much longer than the file's own limit
        waits_still = running.is_alive()
        other.execute("ROLLBACK")
        assert labels(running.result()) == ["001"]
        assert waits_still


@when_compared
def test_comparison_waits_for_a_lock_no_longer_than_the_run_allows(database, migrations, expects: str) -> None:
    migrations.write("001_a.sql", f"{expects}CREATE TABLE a (id int);\nSET lock_timeout = 0;")
    source = Replayed(migrations, database)
    with released_after(database, COMPARISON_WAITS, 2), pytest.raises(LockTimeout):
        apply(database, migrations, source=source, limits=Limits(lock_timeout=200, lock_wait=0))


def test_a_database_in_another_time_zone_has_the_same_constants(database: Database, migrations: Migrations):
    migrations.write(
        "001_a.sql",
        "CREATE TABLE a (at timestamptz DEFAULT '2024-01-01 00:00') PARTITION BY RANGE (at);\n"
        "CREATE TABLE a1 PARTITION OF a FOR VALUES FROM ('2024-01-01') TO ('2024-07-01');\n"
        "CREATE VIEW v AS SELECT at FROM a WHERE at > '2024-02-01';\n"
        "CREATE RULE r AS ON DELETE TO a WHERE old.at < '2024-02-01' DO INSTEAD NOTHING;\n"
        "CREATE FUNCTION f() RETURNS bool RETURN (SELECT now() > timestamptz '2024-02-01');\n"
        "CREATE POLICY p ON a USING (EXISTS (SELECT 1 FROM a1 WHERE at > '2024-02-01'));\n"
        "CREATE DOMAIN d AS timestamptz DEFAULT '2024-02-01' CHECK (VALUE > '2024-02-01');\n"
        "CREATE TABLE b (r tstzrange DEFAULT '[2024-02-01,2024-03-01)', s timestamptz[] DEFAULT '{2024-02-01}');",
    )
    source = Replayed(migrations, database)
    database.execute(f"ALTER DATABASE {database.name} SET timezone = 'America/Sao_Paulo'")
    assert labels(apply(database, migrations, source=source)) == ["001"]
    text = "FOR VALUES FROM ('2024-01-01 00:00:00+00') TO ('2024-07-01 00:00:00+00')"
    assert same(text, text.replace("01-01 00", "01-01 03"), same_major=True)
    assert not same(text, text.replace("01-01 00", "01-03 00"), same_major=True)
    no_times = "DEFAULT '2024-99-99 00:00:00+00'::text"
    assert not same(no_times, no_times.replace("99-99", "99-98"), same_major=True)


def test_another_time_in_a_view_is_found(database: Database, migrations: Migrations):
    text = "CREATE TABLE a (at timestamptz);\nCREATE VIEW v AS SELECT at FROM a WHERE at > '2024-02-01';"
    migrations.write("001_a.sql", text)
    source = Replayed(migrations, database)
    migrations.write("001_a.sql", text.replace("2024-02-01", "2024-02-03"))
    with pytest.raises(VerificationFailed, match=r"view public\.v: expected query .*2024-02-01 .* found .*2024-02-03 "):
        apply(database, migrations, source=Replayed(migrations, database, source.changes))


def test_a_query_in_the_schema_that_stands_for_public_is_no_alarm(database: Database, migrations: Migrations):
    migrations.write("001_a.sql", "CREATE SCHEMA IF NOT EXISTS app;")
    migrations.write("002_b.sql", "CREATE TABLE a (id int);\nCREATE VIEW v AS SELECT id FROM a;")
    source = Replayed(migrations, database)
    database.execute(f"ALTER DATABASE {database.name} SET search_path = app")
    assert labels(apply(database, migrations, source=source)) == ["001", "002"]


def test_a_policy_for_the_role_that_migrates_is_for_another_in_each_environment(
    database: Database, migrations: Migrations, roles
):
    role, reader = roles.create(), roles.create()
    database.execute(f"GRANT CREATE ON DATABASE {database.name} TO {role.name}; GRANT ALL ON SCHEMA public TO PUBLIC")
    text = f"CREATE TABLE a (id int);\nCREATE POLICY p ON a TO {reader.name}, CURRENT_USER USING (id > 1);"
    migrations.write("001_a.sql", text)
    source = Replayed(migrations, database)
    assert labels(apply(database, migrations, source=source, url=database.url_as(role))) == ["001"]
    database.execute("DROP TABLE a; DROP SCHEMA aurora_migrations CASCADE")
    migrations.write("001_a.sql", text.replace("id > 1", "id > 2"))
    with pytest.raises(VerificationFailed, match=r"policy public\.a\.p: expected .*id > 1.*found .*id > 2"):
        apply(database, migrations, source=Replayed(migrations, database, source.changes), url=database.url_as(role))
    migrations.write("001_a.sql", text.replace(", CURRENT_USER", ""))
    other = {
        key: difference({}, {**change.created, POLICY: f"FOR ALL TO {role.name} USING ((id > 1))"})
        for key, change in source.changes.items()
    }
    with pytest.raises(
        VerificationFailed, match=rf"expected FOR ALL TO {role.name} .* found FOR ALL TO {reader.name} "
    ):
        apply(database, migrations, source=Replayed(migrations, database, other))


# ---- with the next file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "before", "messages"),
    [
        ("CREATE TABLE a (id int);", "", 1),
        ("CREATE TABLE a (id int); INSERT INTO a VALUES (1);", "", 1),
        ("-- verify: ignore table b because it is there\nCREATE TABLE IF NOT EXISTS b (id int);", "(id text)", 3),
    ],
)
def test_what_is_to_the_letter_as_in_the_replay_is_committed_in_one_message(
    database: Database, migrations: Migrations, monkeypatch: pytest.MonkeyPatch, text: str, before: str, messages: int
):
    """With the next file's beginning; where something differs, that is read and judged before COMMIT is sent."""
    migrations.write("001_a.sql", text)
    migrations.write("002_c.sql", "CREATE TABLE c (id int);")
    source = Replayed(migrations, database)
    database.execute(f"CREATE TABLE b {before}" if before else "")
    sent: list[Sequence[Command]] = []
    watched(monkeypatch, sent.append)
    assert labels(apply(database, migrations, source=source)) == ["001", "002"]
    records = [number for number, commands in enumerate(sent) if any(SAVEPOINT is each for each in commands)]
    assert records[1] - records[0] == messages
    assert sent[records[1] - 1][-1].sql.startswith("BEGIN")


def test_characters_that_mark_expressions_are_compared_too(database: Database, migrations: Migrations):
    text = "CREATE TABLE IF NOT EXISTS a (t text DEFAULT {});\nCOMMENT ON TABLE a IS E'\\x01b\\x02';"
    migrations.write("001_a.sql", text.format("'a'"))
    database.execute(text.format("E'a\\x01'"))
    assert "column public.a.t: expected text DEFAULT 'a'::text" in failure(database, migrations).message
    database.execute("DROP TABLE a")
    migrations.write("001_a.sql", text.format("E'\\x02a\\x01'"))
    assert labels(run(database, migrations)) == ["001"]


def test_a_database_whose_encoding_lacks_a_character_of_the_replay_is_compared(
    database: Database, migrations: Migrations
):
    made = "chr(CASE getdatabaseencoding() WHEN 'UTF8' THEN 8364 ELSE 69 END)"
    migrations.write(
        "001_a.sql",
        'CREATE TABLE "ä $1 \'""\\" (b text DEFAULT \'ü\');\n'
        f"DO $$ BEGIN EXECUTE format('CREATE TABLE c (d text DEFAULT %L)', {made}); END $$;",
    )
    source = Replayed(migrations, database)
    other = Database(database.server)
    with psycopg.connect(database.server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {other.name} ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
    try:
        (warning,) = apply(other, migrations, source=source).warnings
        assert "expected text DEFAULT '€'::text, found text DEFAULT 'E'::text" in warning
    finally:
        other.drop()


def test_files_that_differ_from_their_replay_leave_no_statement_prepared_twice(
    database: Database, migrations: Migrations, monkeypatch: pytest.MonkeyPatch
):
    for number in range(1, 6):
        migrations.write(
            f"00{number}_a.sql",
            f"-- verify: ignore table a{number} because it is there\nCREATE TABLE IF NOT EXISTS a{number} (id int);",
        )
    source = Replayed(migrations, database)
    for number in range(1, 6):
        database.execute(f"CREATE TABLE a{number} (id text)")
    prepared = list[str]()
    send = Wire.execute_pipeline

    def sends(wire: Wire, commands: Sequence[Command], *more: Any, **ahead: Any) -> list[list[Row]]:
        if any(each is SAVEPOINT for each in commands):
            texts = send(wire, [Command("SELECT statement FROM pg_prepared_statements")])[0]
            prepared[:] = [str(text) for (text,) in texts]
        return send(wire, commands, *more, **ahead)

    monkeypatch.setattr(Wire, "execute_pipeline", sends)
    assert len(apply(database, migrations, source=source).applied) == 5
    assert prepared
    assert len(prepared) == len(set(prepared))


def test_what_the_assertions_take_is_no_longer_left_to_compare(
    database: Database, migrations: Migrations, monkeypatch: pytest.MonkeyPatch
):
    """Of the time in which the file may hold locks that block the application."""
    migrations.write(
        "001_a.sql",
        "-- verify: ignore column a.id because it is there\n"
        "CREATE TABLE IF NOT EXISTS a (id int);\nALTER TABLE a ADD b text;",
    )
    source = Replayed(migrations, database)
    database.execute("CREATE TABLE a (id bigint)")
    timeouts = list[int]()

    def slowly(commands: Sequence[Command]) -> None:
        if any(each is SAVEPOINT or each is ROLLBACK_TO for each in commands):
            timeouts.extend(
                int(str(each.params[1])) for each in commands if "'statement_timeout', $2, true" in each.sql
            )
            time.sleep(0.2)

    watched(monkeypatch, slowly)
    assert labels(apply(database, migrations, source=source)) == ["001"]
    *_, before, after = timeouts
    assert after <= before - 200


def test_a_down_file_that_writes_rows_is_rolled_back_in_one_message_with_its_record(
    database: Database, migrations: Migrations, monkeypatch: pytest.MonkeyPatch
):
    """The row that it removes from the history is none of the application's."""
    migrations.write("001_a.sql", "CREATE TABLE a (id int);\nINSERT INTO a VALUES (1);")
    migrations.write("001_a.down.sql", "DROP TABLE a;")
    migrations.write("002_b.sql", "UPDATE a SET id = 2;")
    migrations.write("002_b.down.sql", "UPDATE a SET id = 1;")
    source = Replayed(migrations, database)
    apply(database, migrations, source=source)
    sent: list[Sequence[Command]] = []
    watched(monkeypatch, sent.append)
    (file,) = roll_back(database, migrations, "002", "002", source=source).applied
    assert [str(rows) for rows in file.rows] == ["public.a: 1 updated"]
    assert any(each is SAVEPOINT for each in sent[-1])


def test_a_record_that_is_not_as_written_is_no_difference_to_the_replay(database: Database, migrations: Migrations):
    """Both are a division by zero in one message."""
    migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    migrations.write("002_b.sql", "CREATE TABLE b (id int);")
    source = Replayed(migrations, database)
    apply(database, migrations, "001", source=source)
    database.execute(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
        "CREATE TRIGGER t BEFORE INSERT ON aurora_migrations.applied FOR EACH ROW EXECUTE FUNCTION f()"
    )
    with pytest.raises(MigratorError, match="002_b") as caught:
        apply(database, migrations, source=source)
    assert not isinstance(caught.value, VerificationFailed)
    assert applied(database) == ["001"]


def test_rows_are_counted_where_a_file_also_has_expectations(database: Database, migrations: Migrations):
    migrations.write("001_a.sql", "-- verify: rows a = 2\nCREATE TABLE a (id int);\nINSERT INTO a VALUES (1), (2);")
    (file,) = run(database, migrations).applied
    assert [str(rows) for rows in file.rows] == ["public.a: 2 inserted"]
    assert len(file.checks) == 1


def test_a_function_of_the_file_may_deallocate_our_statements(database: Database, migrations: Migrations):
    """What runs then is the file once more, without prepared statements of ours."""
    migrations.write(
        "001_a.sql",
        "CREATE TABLE a (id int);\nCREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN DEALLOCATE ALL; RETURN NEW; END $$;\n"
        "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f();",
    )
    migrations.write("002_b.sql", "INSERT INTO a VALUES (1), (2);")
    migrations.write("003_c.sql", "CREATE TABLE c (id int);")
    result = run(database, migrations)
    assert labels(result) == applied(database) == ["001", "002", "003"]
    assert [str(rows) for rows in result.applied[1].rows] == ["public.a: 2 inserted"]
    assert database.query("SELECT count(*) FROM a") == [(2,)]
    assert attempts(database) == [("001", "applied"), ("002", "failed"), ("002", "applied"), ("003", "applied")]


@pytest.mark.parametrize("replayed", [True, False])
def test_a_file_that_cannot_begin_with_the_commit_of_the_one_before_fails_alone(
    database: Database, migrations: Migrations, replayed: bool
):
    for number in (1, 2, 3):
        migrations.write(f"00{number}_a.sql", f"CREATE TABLE a{number} (id int);\nINSERT INTO a{number} VALUES (1);")
    source = Replayed(migrations, database) if replayed else None
    apply(database, migrations, "001", source=source) if source else apply(database, migrations, "001")
    database.execute(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;"
        "CREATE TRIGGER t BEFORE INSERT ON aurora_migrations.attempts FOR EACH ROW WHEN (NEW.version = 3) "
        "EXECUTE FUNCTION f()"
    )
    with pytest.raises(MigratorError, match=r"003_a\.sql: its record can.t be written") as caught:
        apply(database, migrations, source=source) if source else apply(database, migrations)
    assert caught.value.facts["applied"] == ["002"]
    assert applied(database) == ["001", "002"]
    assert attempts(database) == [("001", "applied"), ("002", "applied")]


def test_where_a_commit_fails_the_next_file_has_not_begun(database: Database, migrations: Migrations):
    """What is sent after a COMMIT whose effects are reported runs even if that fails."""
    migrations.write("001_a.sql", "CREATE TABLE a (id int);\nINSERT INTO a VALUES (1);")
    migrations.write(
        "002_b.sql",
        "-- verify: ignore table b because it is there already, so the effects are compared before COMMIT is sent\n"
        "BEGIN ISOLATION LEVEL SERIALIZABLE;\nCREATE TABLE IF NOT EXISTS b (id int);\n"
        "INSERT INTO a SELECT count(*) FROM a;\nCOMMIT;",
    )
    migrations.write("003_c.sql", "CREATE TABLE c (id int);")
    source = Replayed(migrations, database)
    apply(database, migrations, "001", source=source)
    database.execute("CREATE TABLE b (name text)")
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(psycopg.connect(database.url))
        other.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        other.execute("INSERT INTO a SELECT count(*) FROM a")

        def commit_first(commands: object) -> None:
            if isinstance(commands, list) and REPORT in commands[:1]:
                other.commit()

        watched(stack.enter_context(pytest.MonkeyPatch.context()), commit_first)
        with pytest.raises(MigratorError, match=r"002_b\.sql, at COMMIT: could not serialize"):
            apply(database, migrations, source=source)
    assert applied(database) == ["001"]
    assert attempts(database) == [("001", "applied"), ("002", "failed")]


def watched(patch: pytest.MonkeyPatch, notify: Callable[[object], None]) -> None:
    """Calls it with the commands of each pipeline, and those that are sent ahead with it, before they are sent."""
    send = Wire.execute_pipeline

    def sends(wire: Wire, commands: Sequence[Command], *more: Any, ahead: Any = (), **rest: Any) -> Any:
        notify([*commands, *ahead])
        return send(wire, commands, *more, ahead=ahead, **rest)

    patch.setattr(Wire, "execute_pipeline", sends)

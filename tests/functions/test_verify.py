"""Verify: the tables a run has touched, their rows and indexes, and promises that hold for ever."""

from __future__ import annotations

import re
from typing import Any

import pytest

from aurora_migrations.engine.errors import MigrationChanged, MigrationFailed, VerificationFailed
from aurora_migrations.engine.postgres.session import RUN_LOCK
from aurora_migrations.engine.steps import tables
from tests.database.helpers import holding
from tests.database.replayed import Replayed
from tests.functions.helpers import Machine


def run(machine: Machine, *texts: str, asked: Any = None, replayed: bool = True) -> dict[str, Any]:
    """Runs files 001, 002 ... of these texts; the answer's part about what was verified."""
    for number, text in enumerate(texts, 1):
        machine.migrations.write(f"{number:03}_step.sql", text)
    machine.write_replayed() if replayed else machine.write_manifest()
    found: dict[str, Any] = machine.run(asked)["verified"]
    return found


def names(verified: dict[str, Any]) -> list[str]:
    return [table["table"] for table in verified["tables"]]


# ---- which tables ---------------------------------------------------------------------------------------------------


def test_tables_that_were_made_changed_or_filled_are_looked_at(machine, database) -> None:
    database.execute("CREATE TABLE old (id int); CREATE TABLE read_only (id int); CREATE TABLE filled (id int)")
    text = "CREATE TABLE made (id int);\nALTER TABLE old ADD COLUMN x int;\n"
    text += "INSERT INTO filled SELECT * FROM read_only;\nCREATE VIEW v AS SELECT * FROM read_only;"
    assert names(run(machine, text, replayed=False)) == ["made", "old", "filled"]


def test_table_is_found_by_the_name_it_has_at_the_end(machine) -> None:
    text = "CREATE TABLE a (id int);\nALTER TABLE a RENAME TO b;\nCREATE TABLE c (id int);\nDROP TABLE c;"
    assert names(run(machine, text)) == ["b"]


def test_table_in_another_schema_and_with_a_name_in_quotes_is_found(machine) -> None:
    text = 'CREATE SCHEMA app;\nCREATE TABLE app."Order" (id int);'
    assert names(run(machine, text)) == ['app."Order"']


def test_table_is_found_where_the_file_set_the_search_path(machine) -> None:
    assert names(run(machine, "CREATE SCHEMA app;\nSET search_path = app;\nCREATE TABLE t (id int);")) == ["app.t"]


@pytest.mark.parametrize("target", ["001", None])
def test_table_that_a_file_has_made_and_none_has_taken_away_is_missed(machine, database, target) -> None:
    run(machine, "CREATE TABLE a (id int);", "ALTER TABLE a ADD COLUMN x int;")
    database.execute("DROP TABLE a")
    machine.execution = "later"
    told = machine.refused("verify", VerificationFailed, {"action": "verify", "target": target})
    assert told["message"] == "table public.a: expected there, found not there (001_step.sql)."
    assert told["solution"].startswith("If somebody changed the database by hand, change it back")
    assert told["next_command"] == "aurora-migrations verify --env dev"
    machine.migrations.write("003_gone.sql", "DROP TABLE IF EXISTS a;")  # as it says there
    machine.write_replayed()
    machine.run()
    assert machine.run({"action": "verify"})["message"].endswith("all is as it should be")


def test_tables_of_other_schemas_and_with_odd_names_are_missed_by_these(machine, database) -> None:
    long = "t" * 70  # PostgreSQL cuts it
    odd = ['app."a.B"', 'app."say ""no"""', '"Ünique"', "app.plain", long]
    texts = "".join(f"CREATE TABLE {name} (id int);\n" for name in odd)
    run(machine, f"CREATE SCHEMA app;\n{texts}")
    machine.execution = "later"
    assert machine.run({"action": "verify"})["message"].endswith("all is as it should be")
    for name in odd:
        database.execute(f"DROP TABLE {name}")
    told = machine.refused("verify", VerificationFailed, {"action": "verify"})
    there = [*odd[:2], 'public."Ünique"', odd[3], f"public.{long[:63]}"]
    assert {check["promise"] for check in told["checks"]} == {f"table {name}" for name in there}


def test_run_whose_table_is_gone_when_it_is_verified_fails(machine, database) -> None:
    machine.migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    package = machine.write_replayed()
    so_far = machine.call("apply", package=package)
    database.execute("DROP TABLE a")
    told = machine.refused("verify", VerificationFailed, package=package, so_far=so_far)
    assert [check["promise"] for check in told["checks"]] == ["table public.a"]
    assert told["state"] == "The migrations stay applied: the checks run after the commit."


UNCERTAIN = {  # what the first file makes, and what a later one does
    "partition": ("CREATE TABLE p (id int) PARTITION BY LIST (id);\nCREATE TABLE a PARTITION OF p DEFAULT;", ""),
    "attached": (
        "CREATE TABLE p (id int) PARTITION BY LIST (id);\nCREATE TABLE a (id int);",
        "ALTER TABLE p ATTACH PARTITION a DEFAULT;",
    ),
    "detached": (
        "CREATE TABLE p (id int) PARTITION BY LIST (id);\nCREATE TABLE a PARTITION OF p DEFAULT;",
        "ALTER TABLE p DETACH PARTITION a;",
    ),
    "inheriting": ("CREATE TABLE p (id int);\nCREATE TABLE a () INHERITS (p);", ""),
    "DO block": ("CREATE TABLE a (id int);", "DO $$ BEGIN NULL; END $$;"),
    "function": (
        "CREATE TABLE a (id int);\nCREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';",
        "SELECT f();",
    ),
    "procedure": (
        "CREATE TABLE a (id int);\nCREATE PROCEDURE f() LANGUAGE sql AS 'SELECT 1';",
        "CALL f();",
    ),
    "function with a harmless beginning": (
        "CREATE TABLE a (id int);\nCREATE FUNCTION to_archive(x text) RETURNS int LANGUAGE sql AS 'SELECT 1';",
        "SELECT to_archive('a');",
    ),
    "prepared": (
        "CREATE TABLE a (id int);",
        "PREPARE p AS SELECT 1 AS x;\nCREATE TABLE kept AS EXECUTE p;\nDEALLOCATE p;",
    ),
    "explained": ("CREATE TABLE a (id int);", "PREPARE p AS SELECT 1;\nEXPLAIN ANALYZE EXECUTE p;\nDEALLOCATE p;"),
    "search_path": ("SELECT set_config('search_path', 'pg_temp', true);\nCREATE TABLE a (id int);", ""),
    "schema": ("CREATE SCHEMA app;\nCREATE TABLE a (id int);", "DROP SCHEMA app CASCADE;"),
    "swapped": (
        "CREATE TABLE a (id int);\nCREATE TABLE b (id int);",
        "ALTER TABLE b RENAME TO c;\nDROP TABLE public.a;",
    ),
}


@pytest.mark.parametrize("case", UNCERTAIN)
def test_table_is_missed_however_it_was_made(machine, database, case: str) -> None:
    first, later = UNCERTAIN[case]
    run(machine, first, later or "SELECT 1;")
    database.execute("DROP TABLE IF EXISTS a CASCADE")
    machine.execution = "later"
    if case in ("search_path", "swapped"):  # made for its session only; dropped by a migration
        answer = machine.run({"action": "verify"})
        assert {"table": "a", "exists": False} in answer["verified"]["tables"]
        return
    told = machine.refused("verify", VerificationFailed, {"action": "verify"})
    assert [check["promise"] for check in told["checks"]] == ["table public.a"]


def test_table_that_was_moved_to_another_schema_by_hand_is_missed(machine, database) -> None:
    run(machine, "CREATE TABLE a (id int);")
    database.execute("CREATE SCHEMA x; CREATE SCHEMA y; CREATE TABLE y.a (id int); ALTER TABLE a SET SCHEMA x")
    machine.execution = "later"
    machine.refused("verify", VerificationFailed, {"action": "verify"})


def test_nothing_is_missed_by_an_older_package(machine, database) -> None:
    run(machine, "CREATE TABLE a (id int);", "DROP TABLE a;")
    (machine.migrations.dir / "002_step.sql").unlink()
    machine.write_replayed()
    machine.execution = "later"
    assert machine.run({"action": "verify"})["status"] == "success"


def test_file_that_is_not_what_was_applied_misses_nothing(machine, database) -> None:
    run(machine, "CREATE TABLE a (id int);")
    machine.execution = "later"
    machine.migrations.write("001_step.sql", "CREATE TABLE b (id int);")
    machine.write_replayed()
    machine.refused("verify", MigrationChanged, {"action": "verify"})
    database.execute("DROP TABLE a")
    machine.migrations.write("001_step.sql", "-- only a comment\ncreate table a (id int);")
    machine.write_replayed()
    machine.refused("verify", VerificationFailed, {"action": "verify"})


LEFT_AWAY = {  # what a migration does, and its down file
    "drops it": ("DROP TABLE a;", "SELECT 1;"),
    "renames it": ("ALTER TABLE a RENAME TO b;", "DROP TABLE b;"),
    "its down file drops it": ("ALTER TABLE a ADD COLUMN x int;", "DROP TABLE a;"),
    "its down file may": ("CREATE TABLE c (id int);", "DROP TABLE c;\nDO $$ BEGIN DROP TABLE a; END $$;"),
}


def rolled_back(machine: Machine, up: str, down: str) -> None:
    """After a table is made, a migration comes in and goes out again."""
    machine.migrations.write("002_step.down.sql", down)
    run(machine, "CREATE TABLE a (id int);", up)
    machine.execution = "undo"
    machine.run({"action": "rollback", "target": "002", "confirm": "002"})
    machine.execution = "later"


@pytest.mark.parametrize("case", LEFT_AWAY)
def test_table_that_a_rollback_left_away_is_not_missed(machine, case: str) -> None:
    rolled_back(machine, *LEFT_AWAY[case])
    assert machine.run({"action": "verify"})["message"].endswith("all is as it should be")


def test_table_that_a_file_took_which_was_edited_since_its_rollback_is_not_missed(machine) -> None:
    rolled_back(machine, "DROP TABLE a;", "SELECT 1;")
    for edited in ("SELECT 2;", None):
        machine.migrations.write("002_step.sql", edited or "")
        if edited is None:
            for path in machine.migrations.dir.glob("002_*"):
                path.unlink()
        machine.write_replayed()
        assert machine.run({"action": "verify"})["message"].endswith(": 1 of 1 table is not there")


def test_table_of_a_file_that_is_in_again_after_a_rollback_is_missed(machine, database) -> None:
    rolled_back(machine, "CREATE TABLE b (id int);", "DROP TABLE b;")
    machine.run()
    machine.execution = "last"
    database.execute("DROP TABLE a; DROP TABLE b")
    told = machine.refused("verify", VerificationFailed, {"action": "verify"})
    assert [check["promise"] for check in told["checks"]] == ["table public.a", "table public.b"]


def test_trigger_that_drops_a_table_is_not_seen_and_the_remedy_holds(machine, database) -> None:
    """As docs/reference/functions.md says."""
    drops = "CREATE FUNCTION drops() RETURNS trigger LANGUAGE plpgsql AS\n"
    drops += "  'BEGIN DROP TABLE a; RETURN NEW; END';\nCREATE TABLE jobs (id int);\n"
    drops += "CREATE TRIGGER drops BEFORE INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION drops();"
    run(machine, "CREATE TABLE a (id int);", drops)
    database.execute("INSERT INTO jobs VALUES (1)")
    machine.execution = "later"
    machine.refused("verify", VerificationFailed, {"action": "verify"})
    machine.migrations.write("003_gone.sql", "DROP TABLE IF EXISTS a;")
    machine.write_replayed()
    machine.run()
    assert machine.run({"action": "verify"})["message"].endswith("all is as it should be")


def test_nothing_is_missed_while_a_file_is_in_in_part(machine, database) -> None:
    run(machine, "CREATE TABLE a (id int);")
    known = Replayed(machine.migrations, database).changes
    machine.migrations.write("002_b.sql", "BEGIN;\nDROP TABLE a;\nCOMMIT;\nBEGIN;\nSELECT missing;\nCOMMIT;\n")
    package = Replayed(machine.migrations, database, known).write_manifest()
    machine.execution = "second"
    machine.refused("apply", MigrationFailed, package=package)
    machine.execution = "third"
    assert machine.run({"action": "verify"})["message"].endswith(": 1 of 1 table is not there")


def test_nothing_is_missed_while_another_run_is_at_work(machine, database) -> None:
    run(machine, "CREATE TABLE a (id int);")
    database.execute("DROP TABLE a")
    machine.execution = "later"
    with holding(database.url, f"SELECT pg_advisory_lock({RUN_LOCK})"):
        assert machine.run({"action": "verify"})["message"].endswith(": 1 of 1 table is not there")
    machine.refused("verify", VerificationFailed, {"action": "verify"})


@pytest.mark.parametrize(
    "later", ["DROP TABLE a;", "ALTER TABLE a RENAME TO b;", "CREATE SCHEMA app;\nALTER TABLE a SET SCHEMA app;"]
)
def test_table_that_a_later_file_took_away_is_as_it_should_be(machine, later: str) -> None:
    run(machine, "CREATE TABLE a (id int);", later)
    machine.execution = "later"
    for asked in ({"action": "verify"}, {"action": "verify", "target": "001"}):
        assert machine.run(asked)["message"].endswith("all is as it should be")


def test_table_that_a_later_file_made_anew_is_missed(machine, database) -> None:
    run(machine, "CREATE TABLE a (id int);", "DROP TABLE a;\nCREATE TABLE a (id bigint);", "CREATE TABLE b (id int);")
    database.execute("DROP TABLE a")
    machine.execution = "later"
    told = machine.refused("verify", VerificationFailed, {"action": "verify"})
    assert told["message"] == "table public.a: expected there, found not there (001_step.sql)."


def test_migration_that_is_not_applied_is_not_verified(machine) -> None:
    run(machine, "CREATE TABLE a (id int);")
    machine.migrations.write("002_b.sql", "CREATE TABLE b (id int);")
    machine.write_replayed()
    told = machine.refused("verify", VerificationFailed, {"action": "verify", "target": "002"})
    assert told["message"] == "Migration 002 isn't applied here."
    assert told["next_command"] == "aurora-migrations run 002 --env dev"
    assert [(check["expected"], check["found"]) for check in told["checks"]] == [("applied", "pending")]


def test_only_what_this_execution_touched_is_looked_at(machine) -> None:
    run(machine, "CREATE TABLE a (id int);")
    machine.execution = "later"
    assert names(run(machine, "CREATE TABLE a (id int);", "CREATE TABLE b (id int);")) == ["b"]


def test_action_verify_looks_at_everything_that_is_applied(machine) -> None:
    run(machine, "CREATE TABLE a (id int);", "CREATE TABLE b (id int);")
    machine.execution = "later"
    answer = machine.run({"action": "verify"})
    assert names(answer["verified"]) == ["a", "b"]
    assert answer["status"] == "success"


# ---- rows -----------------------------------------------------------------------------------------------------------


def test_rows_now_stand_beside_what_was_promised(machine, database) -> None:
    machine.migrations.write("001_a.sql", "-- verify: rows a = 0\nCREATE TABLE a (id int);")
    package = machine.write_replayed()
    so_far = machine.call("apply", package=package)
    database.execute("INSERT INTO a VALUES (1), (2)")  # the application, before anybody verifies
    answer = machine.call("verify", package=package, so_far=so_far)
    (table,) = answer["verified"]["tables"]
    assert (table["rows"], table["promised_at_commit"]) == (2, ["= 0"])
    assert answer["applied"][0]["verified"] == [{"promise": "rows a = 0", "found": "0"}]


def test_large_table_is_estimated_and_says_so(machine, database, monkeypatch) -> None:
    monkeypatch.setattr(tables, "COUNTED", 8_192)
    text = "CREATE TABLE a (id int);\nINSERT INTO a SELECT generate_series(1, 5000);"
    (table,) = run(machine, text)["tables"]
    assert (table["rows"], table["counted"]) == (None, False)
    database.execute("ANALYZE a")
    machine.execution = "later"
    (table,) = machine.run({"action": "verify"})["verified"]["tables"]
    assert (table["rows"], table["counted"]) == (5_000, False)


def test_rows_of_all_partitions_are_counted(machine) -> None:
    text = "CREATE TABLE p (id int) PARTITION BY RANGE (id);\n"
    text += "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);\nINSERT INTO p VALUES (1), (2);"
    assert [(t["table"], t["rows"]) for t in run(machine, text)["tables"]] == [("p", 2), ("p1", 2)]


def test_table_that_somebody_locks_is_not_waited_for_long(machine, database) -> None:
    run(machine, "CREATE TABLE a (id int);")
    machine.execution = "later"
    with holding(database.url, "LOCK TABLE a"):
        (table,) = machine.run({"action": "verify"})["verified"]["tables"]
    assert table["counted"] is False


# ---- indexes --------------------------------------------------------------------------------------------------------


def broken(database: Any, index: str, column: str = "indisvalid") -> None:
    """What a failed CREATE INDEX CONCURRENTLY leaves behind."""
    database.execute(f"UPDATE pg_index SET {column} = false WHERE indexrelid = '{index}'::regclass")


def test_invalid_index_on_a_touched_table_fails_though_the_file_is_in(machine, database) -> None:
    database.execute("CREATE TABLE a (id int); CREATE INDEX a_id ON a (id)")
    broken(database, "a_id")
    machine.migrations.write("001_a.sql", "ALTER TABLE a ADD COLUMN x int;")
    package = machine.write_manifest()
    so_far = machine.call("apply", package=package)
    told = machine.refused("verify", VerificationFailed, package=package, so_far=so_far)
    (check,) = told["checks"]
    assert (check["promise"], check["expected"], check["found"]) == ("index a_id on a", "valid and ready", "invalid")
    assert told["state"] == "The migrations stay applied: the checks run after the commit."
    assert told["solution"] == "To repair it (a run doesn't): REINDEX INDEX CONCURRENTLY a_id;"
    assert told["next_command"] == "aurora-migrations verify --env dev"


def test_every_expectation_that_fails_is_listed(machine, database) -> None:
    database.execute("CREATE TABLE a (id int); CREATE INDEX i1 ON a (id); CREATE INDEX i2 ON a (id)")
    run(
        machine,
        "-- verify always: rows b = 0\nCREATE TABLE b (id int);\nALTER TABLE a ADD COLUMN x int;",
        replayed=False,
    )
    broken(database, "i1")
    broken(database, "i2", "indisready")
    database.execute("INSERT INTO b VALUES (1)")
    told = machine.refused("verify", VerificationFailed, {"action": "verify"})
    assert [(check["promise"], check["found"]) for check in told["checks"]] == [
        ("index i1 on a", "invalid"),
        ("index i2 on a", "not ready"),
        ("rows b = 0", "1 or more"),
    ]


def test_invalid_index_of_a_partition_is_found(machine, database) -> None:
    text = "CREATE TABLE p (id int) PARTITION BY RANGE (id);\n"
    text += "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);\nCREATE INDEX i ON p (id);"
    run(machine, text)
    broken(database, "p1_id_idx")
    machine.refused("verify", VerificationFailed, {"action": "verify"})


# ---- promises that hold for ever ------------------------------------------------------------------------------------


def test_lasting_promise_is_asked_at_the_commit(machine) -> None:
    machine.migrations.write("001_a.sql", "-- verify always: rows a = 0\nCREATE TABLE a AS SELECT 1 AS id;")
    package = machine.write_manifest()
    machine.refused("apply", VerificationFailed, package=package)


def test_lasting_promise_is_asked_again_by_every_later_run(machine, database) -> None:
    verified = run(machine, "-- verify always: rows a <= 1\nCREATE TABLE a (id int);")
    assert verified["always"] == [{"promise": "rows a <= 1", "found": "0"}]
    database.execute("INSERT INTO a VALUES (1), (2)")
    machine.execution = "later"
    machine.migrations.write("002_b.sql", "CREATE TABLE b (id int);")
    package = machine.write_replayed()
    so_far = machine.call("apply", package=package)
    told = machine.refused("verify", VerificationFailed, package=package, so_far=so_far)
    assert told["checks"][0] == {
        "promise": "rows a <= 1",
        "expected": "<= 1",
        "found": "2 or more",
        "true": False,
        "place": "001_step.sql",
    }


def test_promise_of_the_commit_alone_is_not_asked_again(machine, database) -> None:
    run(machine, "-- verify: rows a = 0\nCREATE TABLE a (id int);")
    database.execute("INSERT INTO a VALUES (1)")
    machine.execution = "later"
    assert machine.run({"action": "verify"})["status"] == "success"


def test_lasting_promise_may_be_taken_back_as_comments_may_change(machine, database) -> None:
    run(machine, "-- verify always: rows a = 0\nCREATE TABLE a (id int);")
    database.execute("DROP TABLE a")
    told = machine.refused("verify", VerificationFailed, {"action": "verify"})
    assert [check["found"] for check in told["checks"]] == ["not there", "no such table"]
    assert "remove its line from the file" in told["solution"]
    machine.execution = "later"
    database.execute("CREATE TABLE a AS SELECT 1 AS id")
    assert run(machine, "CREATE TABLE a (id int);", asked={"action": "verify"})["always"] == []


def test_migration_that_is_not_applied_after_all_fails(machine) -> None:
    machine.migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    machine.write_replayed()
    told = machine.refused("verify", VerificationFailed)
    assert told["checks"][0] | {"place": ""} == {
        "promise": "migration 001",
        "expected": "applied",
        "found": "pending",
        "true": False,
        "place": "",
    }


def test_verify_can_write_nothing(machine, database) -> None:
    from aurora_migrations.engine.errors import NotAWriter
    from aurora_migrations.engine.postgres.protocol import Command
    from aurora_migrations.engine.steps.step import Deadline, Step, read_only_session
    from functions.database_secret import read_login

    run(machine, "CREATE TABLE a (id int);")
    url = read_login(machine.aws, machine.settings).url
    step = Step(machine.settings, None, "e", "", "", {}, Deadline(lambda: 60_000), url=url)  # type: ignore[arg-type]
    with read_only_session(step, "verify") as session, pytest.raises(NotAWriter):
        session.execute(Command("INSERT INTO a VALUES (1)"))


def test_what_a_file_of_unknown_changes_may_have_made_is_not_listed_as_made_by_nobody(machine, database) -> None:
    run(machine, "CREATE TABLE a (id int);")
    known = Replayed(machine.migrations, database).changes
    machine.migrations.write("002_b.sql", "CREATE TABLE b (id int PRIMARY KEY);")
    Replayed(machine.migrations, database, known).write_manifest()
    machine.execution = "second"
    machine.run()
    database.execute("CREATE TABLE by_hand (id int)")
    machine.execution = "later"
    catalogue = machine.run({"action": "verify"})["verified"]["catalogue"]
    assert "002_b.sql" in str(catalogue["unknown"])
    assert "table public.by_hand" in str(catalogue["unexpected"])
    assert "public.b'" not in str(catalogue["unexpected"])


def test_functions_that_a_file_of_unknown_changes_names_are_not_compared(machine, database) -> None:
    makes = "CREATE OR REPLACE FUNCTION {0}() RETURNS int LANGUAGE sql AS 'SELECT {1}';\n"
    run(machine, makes.format("f", 1) + makes.format("g", 1))
    known = Replayed(machine.migrations, database).changes
    machine.migrations.write("002_b.sql", makes.format("f", 2) + 'CREATE COLLATION c FROM "C";')
    Replayed(machine.migrations, database, known).write_manifest()
    machine.execution = "second"
    catalogue = machine.run()["verified"]["catalogue"]
    assert "002_b.sql" in str(catalogue["unknown"])
    assert (catalogue["unexpected"], catalogue["expected"]) == ([], 1)
    database.execute("CREATE OR REPLACE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 3'")
    machine.execution = "later"
    assert "function public.g()" in machine.refused("verify", VerificationFailed, {"action": "verify"})["message"]


def test_what_only_dynamic_sql_can_have_made_is_a_warning_as_before_the_commit(machine, database) -> None:
    makes = "DO $$ BEGIN EXECUTE 'CREATE TABLE copy_in_' || current_database() || ' (id int)'; END $$;"
    machine.migrations.write("001_a.sql", f"{makes}\nCREATE TABLE named (id int);")
    machine.write_replayed()  # in a database of another name
    answer = machine.run()
    (warning,) = (each for each in answer["warnings"] if each.startswith("Drift"))
    assert re.fullmatch(r"Drift: table public\.copy_in_\w+: expected there, found not there \(001_a\.sql\)", warning)
    assert f"table public.copy_in_{database.name}" in answer["verified"]["catalogue"]["unexpected"]
    database.execute("DROP TABLE named")
    machine.execution = "later"
    found = machine.refused("verify", VerificationFailed, {"action": "verify"})
    assert [check["promise"] for check in found["checks"]] == ["table public.named"]


def test_drift_of_what_may_be_a_password_shows_neither_value_nor_sql(machine, database) -> None:
    run(machine, "CREATE TABLE a (id int, api_key text DEFAULT 'hunter2');")
    database.execute("ALTER TABLE a ALTER api_key SET DEFAULT 'sesame'")
    machine.execution = "later"
    found = machine.refused("verify", VerificationFailed, {"action": "verify"})
    assert "column public.a.api_key" in found["message"]
    assert not re.search("hunter2|sesame", str(found))


def test_what_others_have_changed_of_a_table_before_a_run_is_no_failure_of_it(machine, database) -> None:
    run(machine, "CREATE TABLE a (id int, b int DEFAULT 1);")
    database.execute("ALTER TABLE a ALTER b SET DEFAULT 2")
    machine.execution = "second"
    machine.migrations.write("002_step.sql", "ALTER TABLE a ADD c int;")
    machine.write_replayed()
    drift = "column public.a.b: expected integer DEFAULT 1, found integer DEFAULT 2 (001_step.sql)"
    assert f"Drift: {drift}" in machine.run()["warnings"]
    machine.execution = "later"
    for asked in ({"action": "verify"}, {"action": "verify", "target": "002"}):
        assert drift in machine.refused("verify", VerificationFailed, asked)["message"]


def test_table_of_others_that_is_gone_with_what_a_run_has_added_fails_it(machine, database) -> None:
    run(machine, "CREATE TABLE a (id int);")
    machine.migrations.write("002_step.sql", "ALTER TABLE a ADD c int;")
    package = machine.write_replayed()
    machine.execution = "second"
    so_far = machine.call("apply", package=package)
    database.execute("DROP TABLE a")
    told = machine.refused("verify", VerificationFailed, package=package, so_far=so_far)
    assert [check["promise"] for check in told["checks"]] == ["table public.a"]

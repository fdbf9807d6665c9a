"""What a file promises is checked in its transaction: what isn't true doesn't commit."""

import pytest

from aurora_migrations.engine.errors import Cancelled, InvalidFile, StatementTimeout, VerificationFailed
from tests.database.helpers import (
    ROLLED_BACK,
    Task,
    applied,
    apply,
    attempts,
    backend,
    exists,
    labels,
    last_error,
    roll_back,
    tables,
)

THREE = "CREATE TABLE things AS SELECT generate_series(1, 3) AS id;"


def failed_checks(database, migrations) -> list[dict[str, object]]:
    """The promises of the pending file that weren't kept, after seeing to it that it left nothing behind."""
    before = tables(database), applied(database)
    with pytest.raises(VerificationFailed) as caught:
        apply(database, migrations)
    assert (tables(database), applied(database)) == before
    assert attempts(database)[-1][1] == "failed"
    assert last_error(database)["checks"] == caught.value.facts["checks"]
    assert caught.value.state == ROLLED_BACK
    checks = caught.value.facts["checks"]
    assert isinstance(checks, list)
    for check in checks:
        assert check["true"] is False
        assert f"{check['promise']}: expected {check['expected']}, found {check['found']}" in caught.value.message
    checks = caught.value.facts["checks"]
    return [{name: value for name, value in check.items() if name != "place"} for check in checks]  # type: ignore[attr-defined]


# -- verify: rows


KEPT = {
    "= 3": "3",
    ">= 3": "3",
    ">= 2": "3 or more",
    "<= 3": "3",
    "<= 4": "3",
    "> 2": "3 or more",
    "> 0": "1 or more",
    "< 4": "3",
    ">= 0": "1 or more",
    "< 999999999999999999": "3",
}
BROKEN = {
    "= 2": "3 or more",
    "= 4": "3",
    "= 0": "1 or more",
    ">= 4": "3",
    "<= 2": "3 or more",
    "> 3": "3",
    "< 3": "3",
    "< 0": "1 or more",
    "> 999999999999999999": "3",
}


def test_counts_that_are_as_promised_commit_and_are_told(database, migrations) -> None:
    promises = "".join(f"-- verify: rows things {promise}\n" for promise in KEPT)
    migrations.write("001_three.sql", promises + THREE)
    result = apply(database, migrations)
    verified = result.to_dict()["applied"][0]["verified"]  # type: ignore[index]
    assert verified == tuple({"promise": f"rows things {promise}", "found": found} for promise, found in KEPT.items())
    assert applied(database) == ["001"]


def test_count_that_is_not_as_promised_rolls_back(database, migrations, subtests) -> None:
    for promise, found in BROKEN.items():
        with subtests.test(promise):
            migrations.write("001_three.sql", f"-- verify: rows things {promise}\n{THREE}")
            assert failed_checks(database, migrations) == [
                {"promise": f"rows things {promise}", "expected": promise, "found": found, "true": False}
            ]


NAMES = {
    "things": "things",
    "THINGS": "things",
    "public.things": "things",
    '"Odd Things"': '"Odd Things"',
    '"odd ""things"""': '"odd ""things"""',
    'public."Odd; DROP TABLE x"': '"Odd; DROP TABLE x"',
    '"S.1"."a.b"': '"S.1"."a.b"',
    "größe": "größe",
    "app.things": "app.things",
    '"select"': '"select"',
    "a$1": "a$1",
}


def test_names_are_understood_as_postgresql_does(database, migrations, subtests) -> None:
    database.execute('CREATE SCHEMA "S.1"; CREATE SCHEMA app')
    for number, (name, table) in enumerate(NAMES.items(), 1):
        with subtests.test(name):
            made = f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} AS SELECT generate_series(1, {number});"
            migrations.write("001_named.sql", f"-- verify: rows {name} = {number}\n{made}")
            migrations.write("001_named.down.sql", f"DROP TABLE {table};")
            assert labels(apply(database, migrations)) == ["001"]
            roll_back(database, migrations, "001", "001")


def test_table_that_isnt_there_is_told(database, migrations) -> None:
    migrations.write("001_none.sql", "-- verify: rows nothing = 0\nCREATE TABLE a (id integer);")
    [check] = failed_checks(database, migrations)
    assert check["found"] == "no such table"


def test_promise_that_cant_be_asked_doesnt_make_others_untrue(database, migrations) -> None:
    text = "-- verify: rows things_idx = 0\n-- verify: rows things = 3\n-- verify: rows things = 2\n"
    migrations.write("001_three.sql", f"{text}{THREE} CREATE INDEX things_idx ON things (id);")
    migrations.write(
        "001_three.verify.sql", "SELECT true;\nSELECT 1 / 0 = 0;\nSELECT count(*) = 3 FROM things;\nSELECT false;"
    )
    checks = failed_checks(database, migrations)
    assert [check["promise"] for check in checks] == [
        "rows things_idx = 0",
        "rows things = 2",
        "SELECT 1 / 0 = 0",
        "SELECT false",
    ]
    assert "25P02" not in str(checks)


def test_every_promise_that_isnt_true_is_told(database, migrations) -> None:
    migrations.write("001_three.sql", f"-- verify: rows things = 1\n-- verify: rows things > 5\n{THREE}")
    migrations.write("001_three.verify.sql", "SELECT false;\nSELECT true;\nSELECT NULL::boolean;")
    promises = [check["promise"] for check in failed_checks(database, migrations)]
    assert promises == ["rows things = 1", "rows things > 5", "SELECT false", "SELECT NULL::boolean"]


def test_counting_stops_where_the_promise_does(database, migrations) -> None:
    """Rows are counted while the file's locks are held: a promise of few must not cost a scan of many."""
    slowly = "pg_sleep(CASE WHEN id > 2 THEN 30 ELSE 0 END)::text = ''"
    view = f"CREATE VIEW slow AS SELECT id FROM generate_series(1, 9) AS id WHERE {slowly};"
    migrations.write("001_slow.sql", f"-- migration: statement_timeout = 20s\n-- verify: rows slow > 1\n{view}")
    assert labels(apply(database, migrations)) == ["001"]


# .verify.sql


TRUE = [
    "SELECT true;",
    "SELECT count(*) = 3 FROM things",
    "SELECT EXISTS (SELECT FROM things); -- the last line is a comment",
    "VALUES (true);",
    "WITH three AS (SELECT 3 AS n) SELECT count(*) = max(n) FROM things, three;",
    "SELECT true UNION SELECT true;",
    "SELECT true FROM things ORDER BY id LIMIT 1;",
    "SELECT current_setting('transaction_read_only') = 'on';",
    "(SELECT id = 1 FROM things WHERE id = 1);",
    "SELECT '%' LIKE '\\%' AND 'a' || '?' = 'a?' AND '$1' = $$$1$$;",
    "SELECT bool_and(id > 0) FROM things -- no semicolon",
]
UNTRUE = [
    ("SELECT false;", "false"),
    ("SELECT count(*) = 4 FROM things;", "false"),
    ("SELECT NULL::boolean;", "NULL"),
    ("SELECT true WHERE false;", "no row"),
    ("SELECT true FROM things;", "21000"),
    ("SELECT id FROM things WHERE id = 1;", "42804"),
    ("SELECT 'true';", "42804"),
    ("SELECT nowhere FROM things;", "42703"),
    ("SELECT 1 / 0 = 1;", "22012"),
    ("SELECT writes();", "25006"),
    ("SELECT nextval('numbers') = 1;", "25006"),
    ("WITH gone AS (DELETE FROM things RETURNING id) SELECT count(*) = 3 FROM gone;", "0A000"),
    ("SELECT set_config('transaction_read_only', 'off', false) = 'off';", "25001"),
    ("SELECT true FROM things WHERE id = 1 FOR UPDATE;", "25006"),
]


def test_query_that_is_true_lets_the_file_commit(database, migrations, subtests) -> None:
    for query in TRUE:
        with subtests.test(query):
            migrations.write("001_three.sql", THREE)
            migrations.write("001_three.down.sql", "DROP TABLE things;")
            migrations.write("001_three.verify.sql", query)
            result = apply(database, migrations)
            [verified] = result.to_dict()["applied"][0]["verified"]  # type: ignore[index]
            assert verified["found"] == "true"
            assert applied(database) == ["001"]
            roll_back(database, migrations, "001", "001")


def test_query_that_isnt_true_rolls_the_file_back(database, migrations, subtests) -> None:
    database.execute(
        "CREATE TABLE written (id integer); CREATE SEQUENCE numbers; CREATE FUNCTION writes() RETURNS boolean "
        "LANGUAGE sql AS 'INSERT INTO public.written VALUES (1); SELECT true'"
    )
    migrations.write("001_three.sql", THREE)
    for query, found in UNTRUE:
        with subtests.test(query):
            migrations.write("001_three.verify.sql", query)
            [check] = failed_checks(database, migrations)
            assert check["expected"] == "true"
            assert found in str(check["found"])
    assert database.query("TABLE written") == []


def test_promise_is_called_by_the_comment_above_it(database, migrations) -> None:
    migrations.write("001_three.sql", THREE)
    four = "-- There are four things. Really.\nSELECT count(*) = 4 FROM things;\n"
    migrations.write("001_three.verify.sql", f"{four}\nSELECT id = 2\n  FROM things WHERE id = 1;")
    checks = failed_checks(database, migrations)
    assert [check["promise"] for check in checks] == [
        "There are four things",
        "SELECT id = 2 FROM things WHERE id = 1",
    ]


@pytest.mark.parametrize(
    "text", ["", "-- nothing\n", "INSERT INTO things VALUES (4);", "SELECT true; DROP TABLE things;", "SELEC"]
)
def test_verify_file_that_isnt_queries_is_refused_before_anything_runs(database, migrations, text: str) -> None:
    migrations.write("001_first.sql", "CREATE TABLE first (id integer);")
    migrations.write("002_three.sql", THREE)
    migrations.write("002_three.verify.sql", text)
    with pytest.raises(InvalidFile, match=r"002_three\.verify\.sql"):
        apply(database, migrations)
    assert tables(database) == []


# Where they are asked


def test_promises_are_asked_in_a_session_as_the_next_file_finds_it(database, migrations, roles) -> None:
    app = roles.create()
    database.execute("CREATE SCHEMA app; CREATE TABLE things (id integer)")
    text = (
        "-- verify: rows things = 0\n-- verify: rows app.things = 3\n"
        f"SET ROLE {app.name}; SET search_path = app; RESET ROLE; CREATE TABLE things AS SELECT generate_series(1, 3);"
        f"SET ROLE {app.name}; CREATE TEMP TABLE things (id integer);"
    )
    migrations.write("001_elsewhere.sql", text)
    migrations.write("001_elsewhere.verify.sql", "SELECT count(*) = 0 AND current_user = session_user FROM things;")
    assert labels(apply(database, migrations)) == ["001"]


def test_promises_leave_no_trace(database, migrations) -> None:
    migrations.write("001_three.sql", THREE)
    migrations.write(
        "001_three.verify.sql",
        "SELECT set_config('my.setting', 'x', false) = 'x';\nSELECT pg_notify('a', 'b') IS NOT NULL;",
    )
    migrations.write(
        "002_after.sql", "CREATE TABLE after AS SELECT current_setting('my.setting', true) AS s, txid_current();"
    )
    assert labels(apply(database, migrations)) == ["001", "002"]
    assert database.query("SELECT coalesce(s, '') FROM after") == [("",)]


def test_file_may_use_the_savepoint_name_of_the_promises(database, migrations) -> None:
    migrations.write("001_three.sql", f"-- verify: rows things = 3\nSAVEPOINT promises; {THREE} SAVEPOINT promises;")
    migrations.write("001_three.verify.sql", "SELECT true;")
    assert labels(apply(database, migrations)) == ["001"]


def test_values_in_a_promises_error_are_not_told(database, migrations) -> None:
    migrations.write("001_secret.sql", "CREATE TABLE secrets AS SELECT 'can' || 'ary' AS s;")
    migrations.write("001_secret.verify.sql", "SELECT s::integer = 1 FROM secrets;")
    with pytest.raises(VerificationFailed) as caught:
        apply(database, migrations)
    assert "22P02" in caught.value.message
    assert "canary" not in str(caught.value.to_dict())
    assert "canary" not in str(last_error(database))


# What else can end a promise


def test_cancelling_a_promises_query_is_told_as_such(database, migrations) -> None:
    migrations.write("001_three.sql", THREE)
    migrations.write("001_three.verify.sql", "SELECT pg_sleep(60) IS NOT NULL;")
    run = Task(apply, database, migrations)
    database.query("SELECT pg_cancel_backend(%s)", (backend(database, "pg_sleep(60)"),))
    with pytest.raises(Cancelled):
        run.result()
    assert not exists(database, "things")
    assert attempts(database) == [("001", "failed")]


def test_promise_that_takes_too_long_is_a_timeout(database, migrations) -> None:
    options = "-- migration: statement_timeout = 400ms\n-- migration: lock_timeout = 300ms\n"
    migrations.write("001_three.sql", f"{options}{THREE}")
    migrations.write("001_three.verify.sql", "SELECT pg_sleep(60) IS NOT NULL;")
    with pytest.raises(StatementTimeout):
        apply(database, migrations)
    assert not exists(database, "things")
    assert attempts(database) == [("001", "failed")]

"""Applying: each file is wholly in with its record or not at all; its text is sent as written; order is by number."""

import hashlib
import multiprocessing
import re
import sys
from collections.abc import Callable

import pytest

from aurora_migrations.engine import Listener
from aurora_migrations.engine.errors import (
    Deadlock,
    InvalidFile,
    MigrationChanged,
    MigrationFailed,
    MigrationMissing,
    MigratorError,
    OutOfOrder,
    PackageChanged,
)
from aurora_migrations.engine.script import RunningStatement
from tests.database.helpers import (
    ROLLED_BACK,
    Task,
    Watcher,
    agreed,
    applied,
    apply,
    at,
    attempts,
    exists,
    holding,
    labels,
    last_error,
    tables,
    until,
    write_steps,
)

STATEMENTS = ["CREATE TABLE one (id integer)", "CREATE TABLE two (id integer)", "CREATE TABLE three (id integer)"]


# A file that fails


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first statement", "middle statement", "last statement"])
def test_nothing_of_a_failing_file_stays(database, migrations, place: int) -> None:
    broken = [*STATEMENTS]
    broken[place] = "ALTER TABLE missing ADD COLUMN x integer"
    migrations.write("001_before.sql", "CREATE TABLE before (id integer);")
    migrations.write("002_broken.sql", "".join(f"{statement};\n" for statement in broken))
    migrations.write("003_after.sql", "CREATE TABLE after (id integer);")

    with pytest.raises(MigrationFailed) as caught:
        apply(database, migrations)

    error = caught.value
    assert tables(database) == ["before"]
    assert applied(database) == ["001"]
    assert attempts(database) == [("001", "applied"), ("002", "failed")]
    assert error.facts["file"] == "002_broken.sql"
    assert error.facts["migration"] == "002"
    assert error.facts["applied"] == ["001"]
    assert error.facts["statement"] == place + 1
    assert (error.facts["line"], error.facts["column"]) == (place + 1, 1)
    assert error.facts["sqlstate"] == "42P01"
    assert error.facts["excerpt"] == "ALTER TABLE missing ADD COLUMN x integer;\n^"
    assert error.state == ROLLED_BACK
    assert error.message == f'002_broken.sql:{place + 1}:1: relation "missing" does not exist (42P01).'
    assert last_error(database)["message"] == error.message


@pytest.mark.parametrize("number", [1, 3, 5], ids=["first file", "middle file", "last file"])
def test_files_before_the_failing_one_stay_and_a_corrected_run_goes_on_after_them(database, migrations, number) -> None:
    steps = write_steps(migrations, 5)
    path = migrations.dir / f"{number:03}_step.sql"
    right = path.read_text()
    path.write_text(f"{right}\nSELECT 1 / 0;")

    with pytest.raises(MigrationFailed) as caught:
        apply(database, migrations)
    assert caught.value.facts["applied"] == steps[: number - 1]
    assert caught.value.facts["sqlstate"] == "22012"
    assert agreed(database) == steps[: number - 1]

    path.write_text(right)
    assert labels(apply(database, migrations)) == steps[number - 1 :]
    assert agreed(database) == steps


PLACES = [
    pytest.param(
        "CREATE TABLE a (id integer);\n\nSELECT id,\n       nme\n  FROM a;\n",
        4,
        8,
        2,
        "42703",
        "       nme\n       ^",
        id="inside a statement",
    ),
    pytest.param("SELECT 'é€😀', nowhere;", 1, 15, 1, "42703", None, id="after non-ASCII letters"),
    pytest.param("\ufeffSELECT nowhere;", 1, 8, 1, "42703", "SELECT nowhere;\n       ^", id="after a BOM"),
    pytest.param("SELECT 1;\r\nSELECT\r\n  nowhere;\r\n", 3, 3, 2, "42703", "  nowhere;\n  ^", id="CRLF"),
    pytest.param("SELECT 1;\n\tSELECT\tnowhere;", 2, 9, 2, "42703", " SELECT nowhere;\n        ^", id="tabs"),
    pytest.param(
        "-- a comment; with a semicolon\nSELECT ';';;\n/* ; */ INSERT INTO nowhere VALUES (1);",
        3,
        21,
        2,
        "42P01",
        None,
        id="semicolons that end nothing",
    ),
    pytest.param(
        "SELECT 1;\nDO $$\nBEGIN\n  PERFORM 1;\n  RAISE EXCEPTION 'stop';\nEND $$;",
        5,
        3,
        2,
        "P0001",
        "  RAISE EXCEPTION 'stop';\n  ^",
        id="inside a block",
    ),
    pytest.param(
        "CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS $$\n  SELECT nowhere\n$$;",
        2,
        10,
        1,
        "42703",
        "  SELECT nowhere\n         ^",
        id="inside a function's body",
    ),
    pytest.param(
        "CREATE TABLE a (id integer CHECK (id > 0));\nINSERT INTO a VALUES (1);\n\n  INSERT INTO a VALUES (-1);",
        4,
        3,
        3,
        "23514",
        "  INSERT INTO a VALUES (-.);\n  ^",
        id="a constraint",
    ),
    pytest.param(f"SELECT '{'x' * 500}', nowhere;", 1, 512, 1, "42703", None, id="far to the right"),
]


def test_error_names_the_place(database, migrations, subtests) -> None:
    for case in PLACES:
        text, line, column, statement, sqlstate, excerpt = case.values
        with subtests.test(case.id):
            migrations.write("001_broken.sql", text)
            with pytest.raises(MigrationFailed) as caught:
                apply(database, migrations)
            facts = caught.value.facts
            assert (facts["line"], facts["column"]) == (line, column)
            assert facts.get("statement") == statement
            assert facts["sqlstate"] == sqlstate
            assert caught.value.message.startswith(f"001_broken.sql:{line}:{column}: ")
            if excerpt is not None:
                assert facts["excerpt"] == excerpt
            shown, caret = facts["excerpt"].split("\n")
            assert len(shown) <= 100
            assert re.fullmatch(" *\\^", caret)
            assert len(caret) <= len(shown) + 1
            assert applied(database) == []


def test_a_line_with_a_password_is_not_shown(database, migrations) -> None:
    migrations.write("001_role.sql", "CREATE ROLE nobody PASSWORD 'hunter2' IN ROLE nowhere;")
    with pytest.raises(MigrationFailed) as caught:
        apply(database, migrations)
    assert caught.value.facts["line"] == 1
    assert "hunter2" not in str(caught.value.to_dict())
    assert "hunter2" not in str(last_error(database))


def test_hint_of_the_server_is_told(database, migrations) -> None:
    migrations.write("001_hint.sql", "CREATE TABLE a (number integer); SELECT numbr FROM a;")
    with pytest.raises(MigrationFailed) as caught:
        apply(database, migrations)
    assert caught.value.facts["hint"] == 'Perhaps you meant to reference the column "a.number".'
    assert "Perhaps you meant" in caught.value.cause


def test_first_error_is_kept_when_recording_it_fails(database, migrations) -> None:
    """The file has dropped the run lock, so the history refuses the record of its failure too."""
    migrations.write("001_first.sql", "CREATE TABLE a (id integer);")
    text = "DO $$ BEGIN EXECUTE 'SELECT pg_advisory_unlock' || '_all()'; END $$;\nALTER TABLE missing ADD x integer;"
    migrations.write("002_broken.sql", text)
    with pytest.raises(MigrationFailed) as caught:
        apply(database, migrations)
    assert caught.value.facts["sqlstate"] == "42P01"
    assert caught.value.facts["line"] == 2
    assert applied(database) == ["001"]


def test_deadlock_is_named_and_rolled_back(database, migrations) -> None:
    database.execute("CREATE TABLE one (id integer); CREATE TABLE two (id integer)")
    waits = "-- migration: lock_timeout = 20s\nLOCK TABLE one; CREATE TABLE three (id integer); SELECT pg_sleep(0.3);\n"
    migrations.write("001_deadlock.sql", f"{waits}LOCK TABLE two;")
    with holding(database.url, "SET LOCAL deadlock_timeout = '60s'; LOCK TABLE two") as other:
        run = Task(apply, database, migrations)
        until(
            lambda: database.query("SELECT 1 FROM pg_locks WHERE relation = 'one'::regclass"), "the file has its lock"
        )
        wants_both = Task(other.execute, "LOCK TABLE one")
        with pytest.raises(Deadlock) as caught:
            run.result()
        wants_both.result()
    assert caught.value.retryable
    assert caught.value.facts["line"] == 3
    assert not exists(database, "three")
    assert applied(database) == []


def test_a_problem_in_the_last_file_is_found_before_the_first_runs(database, migrations) -> None:
    migrations.write("001_fine.sql", "CREATE TABLE a (id integer);")
    migrations.write("002_commits.sql", "CREATE TABLE b (id integer);\nCOMMIT;")
    migrations.write("003_option.sql", "-- migration: no_such_option = 1\nSELECT 1;")
    with pytest.raises(InvalidFile) as caught:
        apply(database, migrations)
    assert [(problem["file"], problem["line"]) for problem in caught.value.facts["files"]] == [
        ("002_commits.sql", 2),
        ("003_option.sql", 1),
    ]
    assert tables(database) == []
    assert applied(database) == []


def test_what_the_history_keeps_is_what_ran_even_if_a_file_changes_meanwhile(database, migrations) -> None:
    """Somebody pulls a branch while a run is under way: the hash recorded must be that of the text that ran."""
    migrations.write("001_first.sql", "CREATE TABLE a (id integer);")
    migrations.write("002_second.sql", "CREATE TABLE b (id integer);")
    changes = Watcher(at("001", lambda: migrations.write("002_second.sql", "CREATE TABLE c (id integer);")))
    with pytest.raises(PackageChanged, match=r"002_second\.sql"):
        apply(database, migrations, listener=changes)
    assert tables(database) == ["a"]
    assert labels(apply(database, migrations)) == ["002"]
    assert tables(database) == ["a", "c"]
    for text, sha256 in database.query("SELECT sql, sha256 FROM aurora_migrations.applied"):
        assert hashlib.sha256(text.encode()).hexdigest() == sha256, text


# The text goes as it is written

AWKWARD = {
    "percent signs": ("INSERT INTO said VALUES ('100% %s %d %% %(name)s');", "100% %s %d %% %(name)s"),
    "placeholders": ("INSERT INTO said VALUES ('? :name $1 @x {0}');", "? :name $1 @x {0}"),
    "question mark operator": (
        """INSERT INTO said SELECT (jsonb '{"a": 1}' ? 'a')::text || (jsonb '{"b": 1}' ?| ARRAY['a', 'b'])::text;""",
        "truetrue",
    ),
    "cast and slice": ("INSERT INTO said SELECT (ARRAY[1, 2, 3])[2:3]::text;", "{2,3}"),
    "format": ("INSERT INTO said SELECT format('%s-%I-%%', 'x', 'Y');", 'x-"Y"-%'),
    "dollar quotes": ("INSERT INTO said VALUES ($a$it's $$ $1; $b$ \\ $a$);", "it's $$ $1; $b$ \\ "),
    "backslashes": ("INSERT INTO said VALUES ('C:\\new\\' || E'\\t\\\\n');", "C:\\new\\\t\\n"),
    "a line that begins with a backslash": ("INSERT INTO said VALUES ('\n\\q\n');", "\n\\q\n"),
    "non-ASCII": ("INSERT INTO said VALUES ('naïve Å 日本語 😀 e\u0301 \u200b');", "naïve Å 日本語 😀 e\u0301 \u200b"),
    "non-ASCII names": (
        "CREATE TABLE größe (maß text); INSERT INTO said SELECT relname FROM pg_class "
        "WHERE relname LIKE 'gr%e' AND relkind = 'r';",
        "größe",
    ),
    "unicode escapes": ("INSERT INTO said VALUES (U&'d\\0061t\\+000061');", "data"),
    "CRLF": ("INSERT INTO said\r\nVALUES ('a\r\nb');\r\n", "a\nb"),
    "lone CR": ("INSERT INTO said VALUES ('a\rb');", "a\rb"),
    "BOM": ("\ufeffINSERT INTO said VALUES ('after the BOM');", "after the BOM"),
    "BOM inside": ("INSERT INTO said VALUES ('\ufeff');", "\ufeff"),
    "no final semicolon": ("INSERT INTO said VALUES ('no semicolon')", "no semicolon"),
    "last line a comment": ("INSERT INTO said VALUES ('commented');\n-- it's the end; no newline", "commented"),
    "last line an open comment": ("INSERT INTO said VALUES ('commented')\n-- no semicolon; no newline", "commented"),
    "nested comments": ("/* a /* b; */ ' */ INSERT INTO said VALUES ('/* no */ -- comment');", "/* no */ -- comment"),
    "apostrophes in comments": ("-- don't; stop\n/* it's */ INSERT INTO said VALUES ('it''s');", "it's"),
    "empty statements": (";;INSERT INTO said VALUES ('between');;\n;", "between"),
    "words that look like control": ("INSERT INTO said VALUES ('COMMIT; BEGIN') -- COMMIT;\n;", "COMMIT; BEGIN"),
    "savepoints": (
        "SAVEPOINT a; INSERT INTO said VALUES ('gone'); ROLLBACK TO a; RELEASE a;\n"
        "SAVEPOINT promises; INSERT INTO said VALUES ('kept');",
        "kept",
    ),
    "copy to stdout": ("COPY (SELECT 1) TO STDOUT; INSERT INTO said VALUES ('copied'); COPY said TO STDOUT;", "copied"),
    "rows that nobody reads": ("SELECT generate_series(1, 10000); INSERT INTO said VALUES ('x'); TABLE said;", "x"),
    "notices": (
        "DO $$ BEGIN FOR i IN 1..500 LOOP RAISE NOTICE '%', repeat('x', 200); END LOOP; END $$;\n"
        "INSERT INTO said VALUES ('noticed');",
        "noticed",
    ),
    "a case expression": ("INSERT INTO said SELECT CASE WHEN true THEN 'case' END;", "case"),
    "BEGIN ATOMIC": (
        "CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE sql\n"
        "BEGIN ATOMIC\n  SELECT n;\n  SELECT n * 2;\nEND;\nINSERT INTO said SELECT twice(21);",
        "42",
    ),
    "a body in dollar quotes": (
        "CREATE FUNCTION thrice(n integer) RETURNS integer LANGUAGE plpgsql AS $body$\nBEGIN\n"
        "  RETURN n * 3; -- it's $1; COMMIT;\nEND\n$body$;\nINSERT INTO said SELECT thrice(5);",
        "15",
    ),
    "a rule": (
        "CREATE TABLE plain (a text);\n"
        "CREATE RULE twice AS ON INSERT TO plain DO ALSO INSERT INTO said VALUES (NEW.a);\n"
        "INSERT INTO plain VALUES ('ruled');",
        "ruled",
    ),
}


EMPTY = ["", "\ufeff", "\n\n", "-- nothing yet", "-- nothing yet\n", "/* nothing\n   yet */", ";", " ;\n;-- x\n;"]


def test_text_reaches_the_server_as_it_is_written(database, migrations, subtests) -> None:
    database.execute("CREATE TABLE said (what text)")
    for number, (name, (text, said)) in enumerate(AWKWARD.items(), 1):
        with subtests.test(name):
            path = migrations.write(f"{number}_text.sql", text)
            try:
                assert labels(apply(database, migrations)) == [str(number)]
            except MigratorError:
                path.unlink()  # the next one shan't suffer from it
                raise
            assert database.query("DELETE FROM said RETURNING what") == [(said,)]
            kept = text.removeprefix("\ufeff").replace("\r\n", "\n")
            query = "SELECT sql, sha256 FROM aurora_migrations.applied ORDER BY version DESC LIMIT 1"
            assert database.query(query) == [(kept, hashlib.sha256(kept.encode()).hexdigest())]


def test_a_file_without_a_statement_is_applied(database, migrations) -> None:
    for number, text in enumerate(EMPTY, 1):
        migrations.write(f"{number}_nothing.sql", text)
    migrations.write("017_something.sql", "CREATE TABLE a (id integer);")
    assert len(apply(database, migrations).applied) == len(EMPTY) + 1
    kept = database.query("SELECT sql FROM aurora_migrations.applied WHERE version < 17 ORDER BY version")
    assert [text for (text,) in kept] == [text.removeprefix("\ufeff") for text in EMPTY]
    assert exists(database, "a")


def test_line_ends_and_a_bom_are_no_change(database, migrations) -> None:
    migrations.write("001_text.sql", "\ufeffSELECT 1;\r\nSELECT 2;\r\n")
    apply(database, migrations)
    migrations.write("001_text.sql", "SELECT 1;\nSELECT 2;\n")
    assert apply(database, migrations).applied == ()


def test_megabytes_go_in_as_they_are(database, migrations) -> None:
    insert = "INSERT INTO big VALUES ('%s');\n"
    rows = 5
    body = "é" * 524_288  # a mebibyte of UTF-8, so that a character lies across every edge of what is read at once
    text = "CREATE TABLE big (what text);\n" + insert % body * rows
    migrations.write("001_big.sql", text)
    assert len(text.encode()) > 5 * 1024 * 1024
    apply(database, migrations)
    assert database.query("SELECT count(*), min(length(what)), max(md5(what)) FROM big") == [
        (rows, len(body), hashlib.md5(body.encode()).hexdigest())
    ]
    kept = "SELECT md5(sql), octet_length(sql) FROM aurora_migrations.applied"
    assert database.query(kept) == [(hashlib.md5(text.encode()).hexdigest(), len(text.encode()))]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_rows_that_nobody_reads_are_not_kept(database, migrations) -> None:
    """`SELECT convert(id) FROM users` is common in migrations, and has as many rows as the table."""
    migrations.write("001_rows.sql", "SELECT repeat('x', 1000) FROM generate_series(1, 100000); CREATE TABLE a ();")
    assert memory_of(apply, database, migrations) < 30 * 1024 * 1024  # the rows are 100 MB
    assert exists(database, "a")


def memory_of(work: Callable[..., object], *arguments: object) -> int:
    """By how many bytes a process grows that does this."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    fork = multiprocessing.get_context("fork")
    grown = fork.SimpleQueue()

    def child() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        work(*arguments)
        grown.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit)

    process = fork.Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    return int(grown.get())


def test_error_at_the_end_of_many_statements_is_found(database, migrations) -> None:
    """A thousand statements and half a megabyte from the beginning."""
    count = 1_000
    many = "CREATE TABLE a (id integer);\n" + f"INSERT INTO a VALUES (1); -- {'x' * 500}\n" * count
    migrations.write("001_many.sql", f"{many}nonsense")
    with pytest.raises(InvalidFile, match=f"001_many.sql:{count + 2}:1: syntax error"):
        apply(database, migrations)

    migrations.write("001_many.sql", f"{many}TABLE b;")
    with pytest.raises(MigrationFailed) as caught:
        apply(database, migrations)
    assert (caught.value.facts["statement"], caught.value.facts["line"]) == (count + 2, count + 2)
    assert not exists(database, "a")


# What is run


def test_all_that_is_pending_is_run_in_order(database, migrations) -> None:
    steps = write_steps(migrations, 4)
    watcher = Watcher()
    result = apply(database, migrations, listener=watcher)
    assert labels(result) == steps
    assert result.migration == "004"
    assert result.message == "4 migrations executed successfully, 001 to 004"
    assert watcher.heard == [(word, step) for step in steps for word in ("executing", "executed")]
    assert agreed(database) == steps


def test_what_the_server_is_at_for_long_is_told_with_its_line(database, migrations) -> None:
    database.execute("CREATE TABLE busy (id int)")
    told: list[str] = []

    class Hears(Listener):
        def statement_running(self, at: RunningStatement) -> None:
            told.append(str(at))

    text = "-- a file\n\nSELECT 1;\nSELECT pg_sleep(4);\nALTER TABLE busy ADD y int;\n"
    migrations.write("001_slow.sql", text)
    apply(database, migrations, listener=Hears())
    assert told == ["001_slow.sql:3, statements 1 to 2 of 3"]


def test_up_to_a_target_means_with_it_and_no_further(database, migrations) -> None:
    steps = write_steps(migrations, 4)
    result = apply(database, migrations, "2")
    assert (result.migration, result.message) == ("002", "Migration 002 executed successfully")
    assert agreed(database) == steps[:2]
    assert labels(apply(database, migrations, "004")) == steps[2:]
    assert agreed(database) == steps


def test_target_already_applied_is_success_and_says_since_when(database, migrations) -> None:
    steps = write_steps(migrations, 3)
    apply(database, migrations, "003")
    seconds = (
        "SELECT to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM aurora_migrations.applied"
    )
    [(since,)] = database.query(f"{seconds} WHERE version = 1")
    result = apply(database, migrations, "001")  # others came later
    assert result.already_applied == since
    assert result.message == f"Migration 001 was already applied at {since}"
    assert (result.migration, result.applied) == ("001", ())
    assert result.to_dict()["status"] == "success"
    assert agreed(database) == steps


def test_target_already_applied_is_success_whatever_is_wrong_after_it(database, migrations) -> None:
    write_steps(migrations, 3)
    apply(database, migrations)
    (migrations.dir / "003_step.sql").write_text("SELECT 'changed'")
    migrations.write("004_new.sql", "CREATE TABLE t004 (id integer);")
    assert apply(database, migrations, "002").already_applied is not None
    with pytest.raises(MigrationChanged):
        apply(database, migrations, "003")
    with pytest.raises(MigrationChanged):
        apply(database, migrations)
    assert not exists(database, "t004")


def test_nothing_pending_is_success(database, migrations) -> None:
    write_steps(migrations, 2)
    apply(database, migrations)
    result = apply(database, migrations)
    assert (result.migration, result.applied, result.already_applied) == (None, (), None)
    assert result.message == "Nothing to do: every migration is applied"


def test_numbers_decide_the_order_not_texts(database, migrations) -> None:
    numbers = ["2", "10", "0100", "9", "20260101120000", "1", "00030"]
    for number in numbers:
        first = "CREATE TABLE seen (at serial, number text);" if number == "1" else ""
        migrations.write(f"{number}_file.sql", f"{first} INSERT INTO seen (number) VALUES ('{number}');")
    ordered = ["1", "2", "9", "10", "00030", "0100", "20260101120000"]
    result = apply(database, migrations)
    assert labels(result) == ordered
    assert result.migration == "20260101120000"
    assert [number for (number,) in database.query("SELECT number FROM seen ORDER BY at")] == ordered
    assert apply(database, migrations, "30").already_applied is not None


def test_gaps_are_fine_and_a_number_below_the_highest_is_not(database, migrations) -> None:
    migrations.write("010_a.sql", "CREATE TABLE a (id integer);")
    migrations.write("030_c.sql", "CREATE TABLE c (id integer);")
    apply(database, migrations)
    migrations.write("020_b.sql", "CREATE TABLE b (id integer);")
    migrations.write("040_d.sql", "CREATE TABLE d (id integer);")
    for target in (None, "020", "040"):
        with pytest.raises(OutOfOrder, match=r"020_b\.sql"):
            apply(database, migrations, target)
    assert tables(database) == ["a", "c"]
    assert apply(database, migrations, "030").already_applied is not None


def test_applied_file_that_is_gone_is_refused_in_the_middle_and_warned_of_at_the_end(database, migrations) -> None:
    write_steps(migrations, 3)
    apply(database, migrations)
    for name in ("003_step.sql", "003_step.down.sql"):
        (migrations.dir / name).unlink()
    result = apply(database, migrations)
    assert result.applied == ()
    assert "003_step.sql" in result.warnings[0]

    migrations.write("004_new.sql", "CREATE TABLE t004 (id integer);")
    with pytest.raises(MigrationMissing, match=r"003_step\.sql"):
        apply(database, migrations)
    assert not exists(database, "t004")


def test_numbers_beyond_sixty_four_bits_work(database, migrations) -> None:
    migrations.write("20260101120000123456789_a.sql", "CREATE TABLE a (id integer);")
    migrations.write("9_b.sql", "CREATE TABLE b (id integer);")
    assert labels(apply(database, migrations)) == ["9", "20260101120000123456789"]
    assert apply(database, migrations, "20260101120000123456789").already_applied is not None

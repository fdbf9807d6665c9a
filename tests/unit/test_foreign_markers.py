"""What may not run and what must not be refused, and where statements are."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_migrations.compiler.compile import compile_text, read_expectations
from aurora_migrations.compiler.parser import NotSql, parse
from aurora_migrations.engine.options import Options

FILE = "1_a.sql"


def problems(text: str, file: str = FILE) -> list[str]:
    return [str(problem) for problem in compile_text(file, text.encode(), Options()).problems]


def statements(text: str) -> list[str]:
    data = text.encode()
    return [data[s.start : s.end].decode() for s in parse(data)]


# ---- what is refused ------------------------------------------------------------------------------------------------

PLACES = [
    ("DISCARD ALL", "1:1"),
    ("\n\n  DISCARD ALL;", "3:3"),
    ("SELECT 1;DISCARD ALL", "1:10"),
    ("SELECT 'ação';DISCARD ALL", "1:15"),
    ("SELECT '\n😀';  DISCARD ALL", "2:6"),
    (";;;\n;DISCARD ALL", "2:2"),
    ("/* a comment */ DISCARD ALL", "1:17"),
    ("/* DISCARD ALL */\nDISCARD ALL;", "2:1"),
    ("-- DISCARD ALL\nDISCARD ALL;", "2:1"),
    ("-- first SELECT 1, then COMMIT\nSELECT 1;\n-- now DISCARD ALL;\nDISCARD ALL;", "4:1"),
    ("SELECT $$\n$$;\n/* /* nested */ */ DISCARD ALL", "3:20"),
]


@pytest.mark.parametrize(("text", "place"), PLACES, ids=[repr(text) for text, _ in PLACES])
def test_refusal_names_the_place_of_the_statement(text: str, place: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(f"{FILE}:{place}: ")


@pytest.mark.parametrize("statement", ["DISCARD ALL", "discard  all", "DISCARD\nALL", "DISCARD /* everything */ ALL"])
def test_discard_all_is_refused(statement: str) -> None:
    (problem,) = problems(f"SELECT 1;\n{statement};")
    assert problem.startswith(f"{FILE}:2:1: DISCARD ALL would drop the run lock")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_advisory_unlock_all()",
        "select PG_ADVISORY_UNLOCK_ALL()",
        "SELECT pg_catalog.pg_advisory_unlock_all()",
        "DO $$ BEGIN PERFORM pg_advisory_unlock_all(); END $$",
        "WITH x AS (SELECT pg_advisory_unlock_all()) SELECT 1 FROM x",
        "INSERT INTO t SELECT pg_advisory_unlock_all()",
        "(SELECT pg_advisory_unlock_all())",
    ],
)
def test_dropping_the_run_lock_is_refused(statement: str) -> None:
    (problem,) = problems(f"SELECT 1;\n{statement};")
    assert problem.startswith(f"{FILE}:2:1: pg_advisory_unlock_all() would drop the run lock")


@pytest.mark.parametrize(
    "text",
    [
        "COPY t FROM STDIN;\n1\tana\n2\tbob\n\\.\n",
        "COPY public.t (a, b) FROM stdin;\nana\t1\n\\.\n",
        "COPY t FROM stdin WITH (FORMAT csv, HEADER);\na,b\n1,'x'\n\\.\n",
        "COPY t FROM stdin CSV;\n'\n\\.\n",
        "COPY t FROM stdin;\n\\.\n",
        "COPY t FROM stdin",
        "COPY t FROM stdin;",
        "copy t from\n  stdin;\n😀\n\\.\nSELECT 1;",
        "COPY t FROM STDOUT;",
    ],
)
def test_copy_from_stdin_is_refused_with_or_without_its_data(text: str) -> None:
    (problem,) = problems(f"CREATE TABLE t (a text);\n {text}")
    assert problem == f"{FILE}:2:2: COPY FROM STDIN needs data that a file can't carry; write INSERT statements instead"


@pytest.mark.parametrize("line", ["\\i other.sql", "\\set name value", "\\c shop", "\\echo done", "\\.", "\\"])
def test_psql_command_is_refused(line: str) -> None:
    (problem,) = problems(f"SELECT 1;\n  {line}\nSELECT 2;\n")
    assert problem == f"{FILE}:2:3: this is a psql command, not SQL; write its SQL instead"


@pytest.mark.parametrize("command", ["\\gset", "\\gexec", "\\g", "\\watch 2"])
def test_psql_command_after_a_query_is_refused(command: str) -> None:
    (problem,) = problems(f"SELECT 1\n;\nSELECT 'CREATE ROLE a' {command}\nSELECT 2;")
    assert problem.startswith(f"{FILE}:3:24: this is a psql command")


def test_error_at_a_backslash_within_a_string_is_no_psql_command() -> None:
    assert problems("SELECT U&'\\zzzz'") == [f"{FILE}:1:11: invalid Unicode escape"]


@pytest.mark.parametrize("token", ["{}", '"{}'])
def test_token_as_long_as_a_page_is_told_in_part(token: str) -> None:
    (problem,) = problems("SELECT 1 FROM a b " + token.format("c" * 500))
    assert problem.endswith('..."')
    assert problem.count("c") < 70


@pytest.mark.parametrize("option", ['"password$x$hunter2$x$"', "passwordhunter2", '"pass\\wd" passwordhunter2'])
def test_nothing_of_a_text_about_passwords_stands_in_the_parsers_words(option: str) -> None:
    (problem,) = problems(f"CREATE ROLE a {option}")
    assert "hunter2" not in problem
    assert problem.startswith(f"{FILE}:1:")


SYNTAX = [
    ("BEGIN;\nSELEC 1;", "2:1", 'syntax error at or near "SELEC"'),
    ("SELECT 'é', 'é' begin bogus", "1:23", 'syntax error at or near "bogus"'),
    ("COMMIT; SELECT 1 +", "1:19", "syntax error at end of input"),
    ("COMMIT;\n'never closed", "2:1", "unterminated quoted string"),
    ("COMMIT; $$ never closed", "1:9", "unterminated dollar-quoted string"),
    ("COMMIT; /* never closed", "1:9", "unterminated /* comment"),
]


@pytest.mark.parametrize(("text", "place", "reason"), SYNTAX, ids=[repr(text) for text, _, _ in SYNTAX])
def test_syntax_error_in_a_file_that_is_parsed_is_told_with_its_place(text: str, place: str, reason: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith(f"{FILE}:{place}: ")
    assert reason in problem


@pytest.mark.parametrize("value", ["off", "'off'", "false", "0", "DEFAULT"])
def test_strings_are_read_in_one_way(value: str) -> None:
    (problem,) = problems(f"SELECT 1;\nSET standard_conforming_strings = {value};")
    assert problem.startswith(f"{FILE}:2:1: standard_conforming_strings can't change within a file")


# ---- what other tools leave in a file -------------------------------------------------------------------------------

# As goose, dbmate, sql-migrate, micrate, tern, node-pg-migrate, MyBatis Migrations, rambler and Play write them.
DOWN = [
    *("-- +goose Down", "-- +goose down", "--+goose DOWN", "-- migrate:down", "--\tmigrate:down transaction:false"),
    *(
        "-- +migrate Down",
        "-- +migrate Down notransaction",
        "-- +micrate Down",
        "-- Down Migration",
        "--- DOWN migration",
    ),
    *(
        "---- create above / drop below ----",
        "-- //@UNDO",
        "\t-- //@UNDO",
        "-- rambler down",
        "-- !Downs",
        "-- --- !Downs",
    ),
]
UP = [
    *("-- +goose Up", "-- +goose up", "-- migrate:up", "-- +migrate Up", "-- +micrate Up", "-- Up Migration"),
    *("-- rambler up", "-- !Ups"),
]


@pytest.mark.parametrize("marker", DOWN)
def test_marker_above_what_another_tool_would_only_roll_back_is_refused(marker: str) -> None:
    (problem,) = problems(f"CREATE TABLE t (id int);\n{marker}\n-- Undo it.\nDROP TABLE t;\n")
    words = " ".join(marker.split())
    assert problem == (
        f"{FILE}:2:{marker.index('--') + 1}: `{words}` divides no file here: the SQL below it would run as well; "
        "move it to 1_a.down.sql, and delete this line"
    )


@pytest.mark.parametrize("marker", UP)
def test_marker_above_what_a_down_file_is_to_undo_is_refused(marker: str) -> None:
    text = f"{marker}\nCREATE TABLE t (id int);\n-- +goose Down\nDROP TABLE t;\n"
    assert problems(text, "1_a.down.sql") == [
        f"1_a.down.sql:1:1: `{marker}` divides no file here: the SQL below it would run as well; "
        "keep only what undoes 1_a.sql in this file"
    ]


@pytest.mark.parametrize("marker", DOWN)
def test_down_file_with_what_stood_above_the_marker_is_refused(marker: str) -> None:
    (problem,) = problems(f"CREATE TABLE t (id int);\n{marker}\nDROP TABLE t;\n", "1_a.down.sql")
    assert "the SQL above it would run as well; keep only what undoes 1_a.sql in this file" in problem


@pytest.mark.parametrize("marker", ["-- +goose Down", "-- migrate:down"])
def test_marker_in_a_verify_file_is_refused(marker: str) -> None:
    _, wrong = read_expectations("1_a.verify.sql", f"SELECT true;\n{marker}\nSELECT false;".encode())
    assert [str(problem).partition(" divides")[0] for problem in wrong] == [f"1_a.verify.sql:2:1: `{marker}`"]


def test_every_part_that_goes_the_other_way_is_told() -> None:
    part = "-- migrate:up\nSELECT 1;\n-- migrate:down\nSELECT 2;\n"
    assert [problem.split(" ")[0] for problem in problems(part * 2)] == [f"{FILE}:3:1:", f"{FILE}:7:1:"]
    assert [problem.split(" ")[0] for problem in problems(part * 2, "1_a.down.sql")] == [
        f"1_a.down.sql:{line}:1:" for line in (1, 5)
    ]


# sqlx, Graphile Migrate, tern, Atlas, yoyo, postgres-migrations and Flyway have a marker for this alone.
NO_TRANSACTION = [
    *("-- +goose NO TRANSACTION", "-- +goose no transaction", "-- migrate:up transaction:false"),
    *("-- +migrate Up notransaction", "-- no-transaction", "--! no-transaction", "---- tern: disable-tx ----"),
    *("-- atlas:txmode none", "-- transactional: false", "-- postgres-migrations disable-transaction"),
    *("-- flyway:executeInTransaction=false", "--changeset bob:1 runInTransaction:false"),
]


@pytest.mark.parametrize("marker", NO_TRANSACTION)
def test_marker_that_asks_for_no_transaction_gets_the_option_to_write(marker: str) -> None:
    text = f"-- A title.\n{marker}\nUPDATE t SET a = 1;\nUPDATE t SET b = 1;\n"
    assert problems(text) == [
        f"{FILE}:2:1: `{marker}` has no effect here: the file would run in one transaction; "
        "write `-- migration: transaction = off` at its top"
    ]
    assert problems(f"-- migration: transaction = off\n{text}") == []
    assert problems(f"{marker}\nBEGIN; SELECT 1; COMMIT; BEGIN; SELECT 2; COMMIT;") == []


def test_variables_that_goose_would_fill_in_are_refused() -> None:
    (problem,) = problems(
        "-- +goose Up\n-- +goose ENVSUB ON\nINSERT INTO t VALUES ('${REGION}');\n-- +goose ENVSUB OFF"
    )
    assert problem.startswith(f"{FILE}:2:1: `-- +goose ENVSUB ON` has no effect here: ${{...}} would stay as it is")


LIQUIBASE = "--liquibase formatted sql\n--changeset bob:1\nCREATE TABLE t (id int);\n"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1;\n\n\n--rollback DROP TABLE t;",
        f"{LIQUIBASE}-- Rollback comment on table t is null;",
        f"{LIQUIBASE}/* liquibase rollback\nDROP TABLE t;\n*/",
    ],
)
def test_rollback_of_liquibase_is_refused_as_it_would_undo_nothing(text: str) -> None:
    told = "Liquibase's rollback is only a comment here, which undoes nothing;"
    assert problems(text) == [f"{FILE}:4:1: {told} move it to 1_a.down.sql, and delete this line"]
    assert problems(text, "1_a.down.sql") == [f"1_a.down.sql:4:1: {told} write its SQL without the comment"]


@pytest.mark.parametrize(
    "line",
    [
        *("--preconditions onFail:MARK_RAN", "--precondition-sql-check expectedResult:0 SELECT count(*) FROM t"),
        *(
            "--ignoreLines:start",
            "--changeset bob:2 context:test",
            "--changeset bob:2 labels:a",
            "--changeset b:2 dbms:h2",
        ),
    ],
)
def test_line_by_which_liquibase_would_leave_sql_out_is_refused(line: str) -> None:
    (problem,) = problems(f"{LIQUIBASE}{line}\nSELECT 1;")
    assert problem.startswith(f"{FILE}:4:1: by this line Liquibase decides whether SQL runs; here all of it runs")


HARMLESS = [
    *(f"{marker}\nSELECT 1;" for marker in UP),
    *(f"SELECT 1;\n{marker}\n-- nothing to undo\n" for marker in DOWN),
    *(
        f"SELECT '\n{marker}\n', $$\n{marker}\n$$; /*\n{marker}\n*/ SELECT 1;"
        for marker in (DOWN[0], NO_TRANSACTION[0])
    ),
    *(f"SELECT 1; {marker}\nSELECT 2;" for marker in (DOWN[0], NO_TRANSACTION[0])),
    "-- +goose Up\n-- +goose StatementBegin\nSELECT 1;\n-- +goose StatementEnd\n-- +goose ENVSUB OFF",
    "-- Down migration: see 1_a.down.sql\n-- rollback plan: none\n-- rollback\n--rollback;\nSELECT 1;",
    "-- precondition: t is empty\nSELECT 1;",
    "-- no-transaction mode is for others\n-- migrate:upwards\n-- ups and downs\n-- liquibase did this\nSELECT 1;",
    f"{LIQUIBASE}--rollback not required\n--rollback empty\n--comment: a\n--changeset b:2 dbms:postgresql\nSELECT 1;",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_marker_that_changes_nothing_is_accepted(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize("marker", ["-- +goose Down", "-- migrate:down transaction:false", "-- Down Migration"])
def test_marker_that_stayed_in_the_down_file_is_accepted(marker: str) -> None:
    assert problems(f"-- migration: transaction = off\n{marker}\nDROP TABLE t;", "1_a.down.sql") == []


# ---- what must not be refused ---------------------------------------------------------------------------------------

FINE = [
    "",
    "-- nothing but a comment without line end, about COMMIT",
    "/* BEGIN; */",
    ";;;",
    "SELECT 1",
    "SELECT 'BEGIN; COMMIT;'",
    "SELECT $$BEGIN; COMMIT$$, $x$ ROLLBACK $x$, E'\\nCOMMIT', U&'COMMIT'",
    'CREATE TABLE "begin" ("end" int, "commit" text)',
    "ALTER TABLE t ADD start date, ADD commit int",
    "SELECT CASE WHEN true THEN 1 END",
    "-- it's odd; COMMIT\nSELECT 1 -- isn't it; ROLLBACK",
    "SAVEPOINT a; INSERT INTO t VALUES (1); ROLLBACK TO a; RELEASE a",
    "SAVEPOINT a; ROLLBACK TO SAVEPOINT a; ROLLBACK WORK TO a; RELEASE SAVEPOINT a",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "PREPARE x AS SELECT 1; EXECUTE x; DEALLOCATE x",
    "PREPARE transaction_x (int) AS SELECT $1",
    "DO $$ BEGIN RAISE NOTICE 'hello'; EXCEPTION WHEN others THEN NULL; END $$",
    "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$",
    "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT 1",
    "CREATE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (CASE WHEN true THEN 1 END); END",
    "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN COMMIT; ROLLBACK; END $$",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2)",
    "DISCARD TEMP; DISCARD SEQUENCES; DISCARD PLANS; DISCARD TEMPORARY",
    "COPY t TO STDOUT; COPY (SELECT 1) TO STDOUT; COPY t TO stdin",
    "COPY t FROM '/tmp/stdin'; COPY t FROM PROGRAM 'cat stdin'",
    "INSERT INTO notes VALUES ('COPY t FROM stdin;\n1\n\\.\n')",
    "SELECT 'line\n\\i is no command here'",
    "SELECT $$\n\\set no command either\n$$",
    "/*\n\\echo nor here\n*/ SELECT 1",
    "SELECT pg_advisory_unlock(1), pg_advisory_xact_lock(2)",
    "SELECT pg_advisory_unlock(1) -- not pg_advisory_unlock_all()",
    "SELECT 'never call pg_advisory_unlock_all() in a file'",
    "COMMENT ON TABLE t IS 'start with BEGIN; pg_advisory_unlock_all() would be wrong'",
    "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_unlock_all()'",
    "SELECT a ? 'begin', a ?| array['x'], '%s %% :name' FROM t",
    *(f"SET standard_conforming_strings = {on}" for on in ("on", "'on'", "true", "1")),
    "SELECT pg_catalog.set_config('search_path', '', false); SET default_table_access_method = heap",
]


@pytest.mark.parametrize("text", FINE)
def test_text_is_not_refused(text: str) -> None:
    assert problems(text) == []


# ---- verify files ---------------------------------------------------------------------------------------------------


def promises(text: str) -> list[tuple[str, str]]:
    found, wrong = read_expectations("1_a.verify.sql", text.encode())
    assert wrong == []
    return [(promise.name, promise.query) for promise in found]


def not_queries(text: str) -> list[str]:
    return [str(problem) for problem in read_expectations("1_a.verify.sql", text.encode())[1]]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT true, false", "this query has 2 columns"),
        ("SELECT a.*, true, false FROM a", "this query has 2 columns"),
        ("SELECT 1, 2 UNION SELECT 3, 4 UNION ALL SELECT 5, 6", "this query has 2 columns"),
        ("VALUES (true, true)", "this query has 2 columns"),
        ("SELECT FROM t", "this query has no columns"),
        ("SELECT true INTO x", "INTO would make a table"),
        ("SELECT true INTO TEMP x UNION SELECT false", "INTO would make a table"),
    ],
)
def test_query_that_can_be_no_promise_is_refused(query: str, words: str) -> None:
    (problem,) = [
        str(problem) for problem in read_expectations("1_a.verify.sql", f"SELECT true;\n {query};".encode())[1]
    ]
    assert problem.startswith(f"1_a.verify.sql:2:2: {words}")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT *",
        "TABLE t",
        "SELECT t.* FROM t",
        "SELECT true, t.* FROM t",
        "VALUES (true)",
        "(SELECT true)",
        "SELECT true UNION SELECT false",
        "WITH x AS (SELECT 1, 2) SELECT true FROM x",
        "SELECT (SELECT 1) = 1",
    ],
)
def test_query_that_may_be_one_boolean_is_a_promise(query: str) -> None:
    found, wrong = read_expectations("1_a.verify.sql", query.encode())
    assert ([promise.query for promise in found], wrong) == ([query], [])


@pytest.mark.parametrize(
    "text",
    [
        "-- The password is hunter2.\nSELECT true",
        "-- It is so.\nSELECT crypt('hunter2', a) = a FROM users",
        "\nSELECT count(*) = 0 FROM users WHERE password = 'hunter2'",
    ],
)
def test_promise_that_speaks_of_a_password_is_called_by_its_place(text: str) -> None:
    (promise,), _ = read_expectations("1_a.verify.sql", text.encode())
    assert promise.name == promise.place == "1_a.verify.sql:2:1"


def test_promise_is_called_by_the_first_sentence_above_it() -> None:
    text = """
-- Two rules hold.

-- Every user has an e-mail address. It is
-- what they log in with.
SELECT true;
SELECT
    1 = 1;
/* not a name */ SELECT 2 = 2
"""
    assert promises(text) == [
        ("Every user has an e-mail address", "SELECT true"),
        ("SELECT 1 = 1", "SELECT\n    1 = 1"),
        ("SELECT 2 = 2", "SELECT 2 = 2"),
    ]


def test_promise_whose_words_stand_in_its_comment_keeps_its_name() -> None:
    assert promises("-- That SELECT true; is true\nSELECT true;") == [("That SELECT true; is true", "SELECT true")]


def test_long_name_is_cut() -> None:
    ((name, query),) = promises(f"SELECT '{'x' * 200}' = 'y'")
    assert len(name) == 100
    assert name.endswith("...")
    assert len(query) > 200


@pytest.mark.parametrize(
    "query", ["SELECT true", "VALUES (true)", "WITH x AS (SELECT 1) SELECT true FROM x", "(SELECT true)", "TABLE t"]
)
def test_query_is_a_promise(query: str) -> None:
    assert [found for _, found in promises(f"{query};")] == [query]


@pytest.mark.parametrize("size", [10, 100])
@pytest.mark.parametrize("operator", ["||", "+", "OR", ","])
def test_long_query_is_a_promise_too(size: int, operator: str) -> None:
    query = f"SELECT ({f' {operator} '.join(['1'] * size)}) IS NOT NULL"
    assert [found for _, found in promises(query)] == [query]


@pytest.mark.parametrize(
    "statement", ["INSERT INTO t VALUES (1)", "DO $$ $$", "CREATE TABLE t ()", "COMMIT", "SET a = 1"]
)
def test_anything_but_a_query_is_refused(statement: str) -> None:
    (problem,) = not_queries(f"SELECT true;\n  {statement};")
    assert problem.startswith("1_a.verify.sql:2:3: a verify file holds queries only")


@pytest.mark.parametrize("text", ["", "-- nothing yet", ";"])
def test_verify_file_without_a_query_is_refused(text: str) -> None:
    assert not_queries(text) == [
        "1_a.verify.sql: has no query, so it would verify nothing; write one (SELECT ...), or delete the file"
    ]


def test_syntax_error_in_a_verify_file_is_told_with_its_place() -> None:
    assert not_queries("SELECT true;\nSELECT tru e x") == ['1_a.verify.sql:2:14: syntax error at or near "x"']


# ---- where statements are -------------------------------------------------------------------------------------------


def test_statements_are_found_without_what_is_around_them() -> None:
    text = "-- one\nSELECT 1;\n;;\n/* two */ SELECT 'ção;' ;\nSELECT $$;$$\n-- three"
    assert statements(text)[:2] == ["SELECT 1", "SELECT 'ção;'"]
    assert statements(text)[2].startswith("SELECT $$;$$")


def test_statement_that_stands_in_a_comment_before_is_not_taken_for_it() -> None:
    text = b"-- e.g. SELECT 1;\nSELECT 1;\n/* SELECT 1 */ SELECT 1;"
    assert [(s.start, s.end) for s in parse(text)] == [(18, 26), (43, 51)]


PIECES = [
    "SELECT 1",
    "BEGIN",
    "COMMIT",
    "INSERT INTO t VALUES ('ação; 😀')",
    "DO $$ BEGIN NULL; END $$",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END",
    'SELECT "a;b" -- tail; of it\n',
    "SELECT /* in; it */ 2",
    "DISCARD ALL",
]
GAPS = ["", " ", "\n", "-- note; SELECT 1\n", "/* SELECT 1; BEGIN */", ";", "\t;\n", "-- COMMIT\n"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(GAPS), st.sampled_from(PIECES), st.sampled_from(GAPS))))
def test_statements_and_what_is_between_them_give_the_text_in_its_order(parts: list[tuple[str, str, str]]) -> None:
    text, begins = b"", []
    for before, statement, after in parts:
        begins.append(len(text + before.encode()))
        text += f"{before}{statement}{after};".encode()
    found = parse(text)
    assert [span.start for span in found] == begins
    assert all(
        text[span.start : span.end].decode().startswith(statement.removesuffix(" -- tail; of it\n"))
        for span, (_, statement, _) in zip(found, parts, strict=True)
    )
    ends = [0, *(span.end for span in found)]
    between = [text[end:start] for end, start in zip(ends, [*begins, len(text)], strict=True)]
    assert not any(parse(gap) for gap in between)


# ---- it never fails in another way ----------------------------------------------------------------------------------

WORDS = """
BEGIN | COMMIT | END | START | ROLLBACK TO | PREPARE | DISCARD | ALL | COPY t FROM STDIN | COPY t FROM STDOUT | SELECT
| FROM | AS | x | 1 | ' | " | $$ | $a$ | ; | -- | /* | */ | ( | ) | , | é | 😀 | \\i | \\. | U&' | E'\\ | \u00a0
| pg_advisory_unlock_all() | CREATE FUNCTION f() RETURNS int BEGIN ATOMIC
"""
LIKE_SQL = st.lists(st.sampled_from([*re.split(r"\s\|\s", WORDS.strip("\n")), "\n", "\r", "\x0c"])).map(" ".join)
TEXTS = (LIKE_SQL | st.text()).map(lambda text: text.replace("\0", " ").encode(errors="ignore"))
ASKED: list[Callable[[bytes], object]] = [
    parse,
    lambda text: compile_text(FILE, text, Options()),
    lambda text: read_expectations(FILE, text),
    lambda text: compile_text(FILE, b"COMMIT;" + text, Options()),
]


@settings(deadline=None)
@given(TEXTS)
def test_no_text_makes_it_raise_anything_but_not_sql(text: bytes) -> None:
    for ask in ASKED:
        with contextlib.suppress(NotSql):
            ask(text)


@pytest.mark.parametrize("depth", [20, 40, 400])
@pytest.mark.parametrize(
    ("left", "right"), [("(", ")"), ("(SELECT ", ")"), ("CASE WHEN true THEN ", " END"), ("1 + ", ""), ("NOT ", "")]
)
def test_deep_nesting_does_not_break_it(left: str, right: str, depth: int) -> None:
    query = f"SELECT {left * depth}true{right * depth}"
    assert statements(query) == [query]
    assert problems(f"{query} -- BEGIN") == []
    assert problems(f"PREPARE x AS {query}") == []
    assert problems(f"COPY ({query}) TO STDOUT -- stdin") == []
    assert [found for _, found in promises(query)] == [query]

"""What a file asks of its runner in the comments at its top, and what is refused there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_migrations.engine.options import Options, RowsExpectation, read_options
from tests.bounds import NO_HANG

FILE = "1_a.sql"


def read(text: str, defaults: Options | None = None) -> Options:
    options, problems = read_options(FILE, text.encode(), defaults or Options())
    assert [str(problem) for problem in problems] == []
    return options


def refused(text: str) -> list[str]:
    return [str(problem) for problem in read_options(FILE, text.encode(), Options())[1]]


def rows(line: str) -> RowsExpectation:
    (expectation,) = read(f"-- verify: {line}").rows
    return expectation


# ---- what is understood ---------------------------------------------------------------------------------------------


def test_file_without_options_has_the_defaults() -> None:
    assert read("CREATE TABLE t ();") == Options(lock_timeout=None, statement_timeout=None, rows=())
    assert read("", Options(lock_timeout=7)) == Options(lock_timeout=7)


@pytest.mark.parametrize(
    "line",
    [
        "-- migration: lock_timeout = 5s",
        "--migration:lock_timeout=5s",
        "  --  migration : lock_timeout  =  5 s  ",
        "\t-- migration: lock_timeout = 5000ms\t",
    ],
)
def test_white_space_around_an_option_does_not_matter(line: str) -> None:
    assert read(f"{line}\nSELECT 1;").lock_timeout == 5_000


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_option_is_read_whatever_the_line_end(end: str) -> None:
    assert read(f"-- migration: statement_timeout = 10min{end}").statement_timeout == 600_000


def test_options_join() -> None:
    text = """
-- Adds the channel.

-- migration: lock_timeout = 3s
-- migration: statement_timeout = 4s
-- verify: rows a = 0
-- verify: rows b >= 7
ALTER TABLE a ADD b int;
"""
    assert read(text) == Options(3_000, 4_000, (RowsExpectation("a", "=", 0), RowsExpectation("b", ">=", 7)))


def test_statement_timeout_of_zero_is_none() -> None:
    assert read("-- migration: statement_timeout = 0s").statement_timeout == 0


@pytest.mark.parametrize("operator", ["=", ">=", "<=", ">", "<"])
@pytest.mark.parametrize("table", ["t", "app.t", '"My Table"', 'app."My ""T"""', '"a.b".c', "t$1", "_t", "tabela_ação"])
def test_rows_promise_is_understood(table: str, operator: str) -> None:
    assert rows(f"rows {table} {operator} 12") == RowsExpectation(table, operator, 12)


def test_rows_promise_is_told_as_it_was_written() -> None:
    assert str(rows("rows  app.t   >=12")) == "rows app.t >= 12"


# ---- titles that only look alike ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "-- Migration: creates the users",
        "-- MIGRATION: 017",
        "-- Verify: see the page on checks",
        "-- This migration: creates the users",
        "-- migration 017 creates the users",
        "-- migrations: lock_timeout = 2s is for single files",
        "-- migrations: transaction = off and on",
        "-- migrations: allow = what you must",
        "-- migration lock_timeout: see the page on locks",
        "-- migration 017: lock_timeout = 2s",
        "--- migration: creates the users ---",
        "-- migrations",
        "-- verify rows by hand",
        "-- verify rows of t = 0",
        "/* migration: lock_timeout = 2s */",
    ],
)
def test_title_is_no_option(line: str) -> None:
    assert read(f"{line}\nSELECT 1;") == Options()


# ---- what is refused ------------------------------------------------------------------------------------------------

REFUSED = [
    ("-- migration: lock_timeout = soon", "'soon' is not a span of time"),
    ("-- migration: lock_timeout =", "'' is not a span of time"),
    ("-- migration: lock_timeout = 2", "'2' is not a span of time"),
    ("-- migration: lock_timeout = 2s -- a bit", "'2s -- a bit' is not a span of time"),
    ("-- migration: lock_timeout = 0s", "would wait for ever"),
    ("-- migration: lock_timeout = 600h", "longer than PostgreSQL's timeouts"),
    ("-- migration: statement_timeout = 5 minutes", "is not a span of time"),
    (
        "-- migration: locktimeout = 2s",
        "no option `locktimeout`; there are: allow, detach, lock_timeout, statement_timeout, transaction",
    ),
    (
        "-- migration: LOCK_TIMEOUT = 2s",
        "no option `LOCK_TIMEOUT`; there are: allow, detach, lock_timeout, statement_timeout, transaction",
    ),
    ("-- migration: transaction = maybe", "either on or off"),
    ("-- migration: detach = yes", "detach is either on or off"),
    ("-- migration: creates the users", "options written as `-- migration: name = value`"),
    ("-- migration:", "options written as `-- migration: name = value`"),
    ("-- Migration: lock_timeout = 2s", "options written as `-- migration: name = value`"),
    ("-- MIGRATION: lock_timeout = 2s", "options written as `-- migration: name = value`"),
    ("-- verify: by hand that the report works", "write `-- verify: rows TABLE = COUNT`"),
    ("-- Verify: rows t = 0", "write `-- verify: rows TABLE = COUNT`"),
    ("-- Verify always: rows t = 0", "write `-- verify always: rows TABLE = COUNT`"),
    ("-- verify always: rows t is 0", "write `-- verify always: rows TABLE = COUNT`"),
    ("-- verify: rows t = many", "write `-- verify: rows TABLE = COUNT`"),
    ("-- verify: rows t = -1", "write `-- verify: rows TABLE = COUNT`"),
    ("-- verify: rows t != 1", "write `-- verify: rows TABLE = COUNT`"),
    ("-- verify: rows t", "write `-- verify: rows TABLE = COUNT`"),
    ("-- verify: rows = 0", "write `-- verify: rows TABLE = COUNT`"),
    ("-- verify: rows a.b.c = 0", "write `-- verify: rows TABLE = COUNT`"),
    ("-- verify: rows t; drop table t = 0", "write `-- verify: rows TABLE = COUNT`"),
    ("-- verify: rows t = 1234567890123456789", "write `-- verify: rows TABLE = COUNT`"),
]


@pytest.mark.parametrize(("line", "reason"), REFUSED, ids=[line for line, _ in REFUSED])
def test_option_is_refused_with_its_line_and_what_to_write(line: str, reason: str) -> None:
    (problem,) = refused(f"-- a title\n\n{line}\nSELECT 1;")
    assert problem.startswith(f"{FILE}:3:1: ")
    assert reason in problem


@pytest.mark.parametrize("words", ["verify always", "verify  always", "verify\talways"])
def test_promise_may_hold_for_ever(words: str) -> None:
    assert read(f"-- {words}: rows t = 0\nSELECT 1;").rows == (RowsExpectation("t", "=", 0, always=True),)
    assert not read("-- verify: rows t = 0\nSELECT 1;").rows[0].always


@pytest.mark.parametrize(
    "lines",
    [
        ("lock_timeout = 5s", "statement_timeout = 5s"),
        ("statement_timeout = 5s", "lock_timeout = 6s"),
        ("statement_timeout = 2s",),
        ("statement_timeout = 500ms",),
        ("transaction = on", "statement_timeout = 500ms"),
    ],
    ids=" · ".join,
)
def test_lock_timeout_must_be_below_statement_timeout(lines: tuple[str, ...]) -> None:
    (problem,) = refused("".join(f"-- migration: {line}\n" for line in lines) + "-- migration: allow = x because y\n")
    assert problem.startswith(f"{FILE}:{len(lines)}:1: lock_timeout must be below statement_timeout")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("transaction = off", "transaction = on"),
        ("transaction = off", "transaction = off"),
        ("lock_timeout = 1s", "lock_timeout = 2s"),
        ("statement_timeout = 0s", "statement_timeout=10min"),
        ("lock_timeout = soon", "lock_timeout = 2s"),
    ],
)
def test_option_given_twice_is_refused_where_it_is_given_again(one: str, other: str) -> None:
    problem = refused(f"-- migration: {one}\n\n-- migration: {other}\nSELECT 1;")[-1]
    name = one.partition(" ")[0]
    assert problem == f"{FILE}:3:1: {name} is given twice, first in line 1; take one of the two out"


def test_hazards_and_promises_may_be_many() -> None:
    text = "-- migration: allow = a because b\n-- verify: rows t = 0\n"
    assert len(read(text * 2).allow) == len(read(text * 2).rows) == 2


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("-- migrations: lock_timeout = 2s", "-- migration: lock_timeout = 2s"),
        ("-- migration transaction = off", "-- migration: transaction = off"),
        ("-- migration; transaction=off", "-- migration: transaction = off"),
        ("--- migration: lock_timeout = 2s", "-- migration: lock_timeout = 2s"),
        ("-- migrations lock_timeout: 2s;", "-- migration: lock_timeout = 2s"),
        ("-- Migrations: Statement_Timeout = 10min\t", "-- migration: statement_timeout = 10min"),
        (
            "-- migrations: allow = ban-drop-table because nobody reads it",
            "-- migration: allow = ban-drop-table because nobody reads it",
        ),
        ("-- verify rows t >= 1", "-- verify: rows t >= 1"),
        ("--- verify: rows t = 0", "-- verify: rows t = 0"),
    ],
)
def test_comment_that_was_meant_for_an_option_says_what_to_write(line: str, meant: str) -> None:
    (problem,) = refused(f"-- a title\n{line}\nSELECT 1;")
    assert problem == f"{FILE}:2:1: this comment looks like an option, but has no effect; write `{meant}`"


def test_all_problems_are_told_at_once() -> None:
    text = "-- migration: a = 1\n-- migration: b = 2\nSELECT 1;\n-- migration: lock_timeout = 2s\n"
    assert [problem.split(" ")[0] for problem in refused(text)] == [f"{FILE}:{n}:1:" for n in (1, 2, 4)]


# ---- where the top ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["SELECT 1;", "/* licence */", ";", "x", "\x0c"])
def test_top_ends_at_the_first_line_that_is_no_comment(first: str) -> None:
    (problem,) = refused(f"{first}\n -- migration: lock_timeout = 5s\n")
    assert problem.startswith(f"{FILE}:2:1: options belong at the top of the file")


@pytest.mark.parametrize("line", ["-- migration: anything = 1", "-- Migration: x=", "-- VERIFY: rows t = 0"])
def test_option_below_the_top_is_refused_as_it_would_have_no_effect(line: str) -> None:
    (problem,) = refused(f"SELECT 'é';\n\n  {line}\n")
    assert problem.startswith(f"{FILE}:3:1: options belong at the top")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1; -- migration: lock_timeout = 2s",
        "SELECT 1;\n-- Migration: notes\n-- verify: by hand\n",
        "SELECT 1;\n-- no migration: lock_timeout = 2s\n",
    ],
)
def test_remark_below_the_top_is_none_of_our_business(text: str) -> None:
    assert read(text) == Options()


def test_twenty_megabytes_of_comments_are_read_in_reasonable_time() -> None:
    text = b"-- migrations are fun; verify: rows\n" * (20_000_000 // 36)
    assert read_options(FILE, text, Options()) == (Options(), [])


@pytest.mark.parametrize(
    "start", ["-- migration: transaction = off", "-- migration", "-- verify: rows", "--", "-- verify"]
)
@NO_HANG
def test_blanks_by_the_hundred_thousand_take_no_time_with_their_square(start: str) -> None:
    read_options(FILE, f"{start}{' ' * 100_000}!\n".encode(), Options())


@given(st.text())
def test_no_text_makes_it_fail(text: str) -> None:
    options, problems = read_options(FILE, text.encode(errors="ignore"), Options())
    assert isinstance(options, Options)
    assert all(problem.line > 0 for problem in problems)


@given(st.text(alphabet="-migraton:verfyskl_u= 2\n\t"))
def test_no_text_like_an_option_makes_it_fail(text: str) -> None:
    read_options(FILE, text.encode(), Options())

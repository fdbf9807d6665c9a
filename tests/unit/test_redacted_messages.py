"""What of PostgreSQL's words is shown, whatever a value holds and whatever language the server speaks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_migrations.engine.diagnostics.redaction import Origin, redact
from aurora_migrations.engine.postgres.sqlstate import diagnose
from tests.unit.test_sqlstate import said

FILE = "DO $$ ... RAISE EXCEPTION 'bad address of %: %', r.name, r.note; EXECUTE 'DROP TABLE ' || r.name; ... $$"
BLOCK = 'SQL statement "DROP TABLE {0}"\nPL/pgSQL function inline_code_block line 3 at EXECUTE'
BARE = (
    "cannot drop table {0} because other objects depend on it",
    "permission denied for table {0}",
    "must be owner of schema {0}",
    "function {0}(integer, {0}) does not exist",
    "operator does not exist: integer = {0}",
    "column {0}.{0} does not exist",
    "cannot cast type {0} to {0}",
    "{0} is not a domain",
    'table {0} is not a member of extension "{0}"',
)
QUOTED = (
    'relation "{0}" does not exist',
    'column "{0}" of relation "name" does not exist',
    'constraint "name" of relation "{0}" does not exist',
    'could not open file "{0}" for reading: No such file or directory',
    'syntax error in tsquery: "{0}"',
)
VALUES = st.text(min_size=1, max_size=30).filter(str.strip)
TRICKY = st.text(alphabet="ab\"'. :\nname,", min_size=1, max_size=12).filter(str.strip)


@given(st.sampled_from(BARE), VALUES | TRICKY)
def test_bare_name_is_not_shown_where_a_statement_was_put_together(message: str, value: str) -> None:
    canary = f"{value}canary{value}"
    shown = redact(message.format(canary), "42P01", Origin.NAMES, FILE)
    assert "canary" not in shown
    assert shown


@given(st.sampled_from(QUOTED), st.sampled_from([Origin.ROWS, Origin.NAMES]), VALUES | TRICKY)
def test_quoted_value_is_not_shown_whatever_is_in_it(message: str, origin: Origin, value: str) -> None:
    shown = redact(message.format(f"{value}canary{value}"), "42P01", origin, FILE)
    assert "canary" not in shown


@given(VALUES)
def test_of_what_is_raised_only_words_of_the_file_are_shown(value: str) -> None:
    canary = f"{value}canary{value}"
    shown = redact(f"bad address of {canary}: {canary}", "P0001", Origin.RAISED, FILE)
    assert "canary" not in shown
    assert shown.startswith("bad address of")
    assert {word.strip(":?") for word in shown.split()} <= {"", *FILE.replace("'", " ").split(), *value.split()}


@given(TRICKY)
def test_nothing_is_shown_of_an_exception_whose_words_the_file_has_not(value: str) -> None:
    assert redact(f"{value} canary", "P0001", Origin.RAISED, "SELECT refuse(it);") == ""


SHOWN = [
    ("42883", "function f(integer, canary) does not exist", "function ? does not exist"),
    ("42883", "operator does not exist: canary = integer", "operator does not exist: ? integer"),
    ("22P02", 'invalid input value for enum canary: "b"', 'invalid input value for enum ?: "..."'),
    ("23502", 'null value in column "name" of relation "canary"', 'null value in column "..."'),
    ("42703", 'column "name" of relation "canary" does not exist', 'column "name" of relation "..." does not exist'),
    ("42704", "large object 19870231 does not exist", "large object ? does not exist"),
    ("2BP01", "cannot drop table name because other objects depend on it", None),
    ("58P01", 'could not open file "name": No such file or directory', None),
    ("57014", "canceling statement due to statement timeout", None),
    ("57014", "canceling statement due to user request", None),
    ("55P03", "canceling statement due to lock timeout", None),
    ("40P01", "deadlock detected", None),
    ("25006", "cannot execute DROP TABLE in a read-only transaction", None),
]


@pytest.mark.parametrize(("state", "message", "shown"), SHOWN, ids=[message for _, message, _ in SHOWN])
def test_words_of_the_server_and_names_of_the_file_stay(state: str, message: str, shown: str | None) -> None:
    error = said(state, message, CONTEXT=BLOCK.format("canary"))
    assert diagnose(error, FILE.encode()).message == (shown or message)


@pytest.mark.parametrize(
    ("state", "message", "context", "shown"),
    [
        (
            "2BP01",
            "kann Tabelle canary nicht löschen, weil andere Objekte davon abhängen",
            "SQL-Anweisung »DROP TABLE canary«\nPL/pgSQL-Funktion inline_code_block Zeile 3 bei EXECUTE",
            "dependent objects still exist",
        ),
        (
            "42883",
            "la fonction canary() n'existe pas",
            "fonction PL/pgSQL inline_code_block, ligne 3 à EXECUTE",
            "undefined function",
        ),
        ("42846", "型canaryからintegerへの型変換ができません", "PL/pgSQL関数inline_code_blockの3行目", "cannot coerce"),
        ("42501", "нет доступа к таблице canary", "функция PL/pgSQL x(text), строка 3", "insufficient privilege"),
        ("42P01", "la relation « canary » n'existe pas", "", "la relation \"...\" n'existe pas"),
        ("P0001", "bad canary", "PL/pgSQL-Funktion inline_code_block Zeile 3 bei RAISE", "bad ?"),
    ],
)  # fmt: skip
def test_other_language_shows_no_value(state: str, message: str, context: str, shown: str) -> None:
    found = diagnose(said(state, message, CONTEXT=context), FILE.encode(), FILE.encode())
    assert found.message == shown
    assert [frame.line for frame in found.frames] == [3] * bool(context)


def test_detail_and_context_of_a_statement_that_reads_rows_stay_behind() -> None:
    error = said("23505", "duplicate key", MESSAGE_DETAIL="Key (email)=(canary)", CONTEXT="COPY users: canary")
    assert "canary" not in repr(diagnose(error, FILE.encode()))

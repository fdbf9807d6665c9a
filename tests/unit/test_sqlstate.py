"""From PostgreSQL's errors to ours: row values stay behind, names stay."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import errors as postgres
from psycopg.pq import DiagnosticField

from aurora_migrations.engine import errors
from aurora_migrations.engine.postgres.sqlstate import connection_lost, diagnose, kind_of, named_error


def said(state: str, message: str, **fields: str) -> psycopg.Error:
    """An error as psycopg makes it of what a server sends."""
    told = {"SQLSTATE": state, "MESSAGE_PRIMARY": message, **fields}
    info = {DiagnosticField[name]: value.encode() for name, value in told.items()}
    try:
        kind: type[psycopg.Error] = postgres.lookup(state)
    except KeyError:
        kind = psycopg.DatabaseError
    return kind(message, info=info)


# ---- values are masked ----------------------------------------------------------------------------------------------

SECRET = "ana@example.com"
WITH_VALUES = [
    ("22P02", f'invalid input syntax for type integer: "{SECRET}"'),
    ("22P02", f'invalid input value for enum mood: "{SECRET}"'),
    ("22P02", f'malformed array literal: "{SECRET}"'),
    ("22007", f'invalid input syntax for type date: "{SECRET}"'),
    ("22008", f'date/time field value out of range: "{SECRET}"'),
    ("22003", f'value "{SECRET}" is out of range for type integer'),
    ("22023", f'time zone "{SECRET}" not recognized'),
    ("22P02", f'invalid input syntax for type integer: "a"b {SECRET}"'),
    ("22P02", f'invalid input syntax for type integer: ""{SECRET}"'),
    ("22P02", f'invalid input syntax for type integer: "{SECRET}""'),
    ("22P02", f'invalid input syntax for type integer: "x" {SECRET} "x"'),
    ("22P02", f'invalid input syntax for type integer: "{SECRET}\nsecond line"'),
    ("22P02", f'invalid input syntax for type integer: "first line\n{SECRET}"'),
    ("22P02", f"ungültige Eingabesyntax für Typ integer: »{SECRET}«"),
    ("22P02", f"syntaxe en entrée invalide pour le type integer : « {SECRET} »"),
    ("22P02", f"integer型の入力構文が不正です: “{SECRET}”"),
]


@pytest.mark.parametrize(("state", "message"), WITH_VALUES, ids=[repr(message) for _, message in WITH_VALUES])
def test_value_is_masked(state: str, message: str) -> None:
    found = diagnose(said(state, message))
    assert "ana" not in found.message
    assert found.sqlstate == state


@given(st.text(min_size=1).filter(str.strip))
def test_no_value_is_told_whatever_stands_in_it(value: str) -> None:
    canary = f"{value}canary{value}"
    found = diagnose(said("22P02", f'invalid input syntax for type integer: "{canary}"'.replace("\0", " ")))
    assert "canary" not in found.message
    assert found.message.startswith("invalid input syntax for type integer")


WITH_NAMES = [
    (
        "23505",
        'duplicate key value violates unique constraint "users_email_key"',
        {"CONSTRAINT_NAME": "users_email_key"},
    ),
    (
        "23503",
        'insert or update on table "orders" violates foreign key constraint "orders_user_fkey"',
        {"TABLE_NAME": "orders", "CONSTRAINT_NAME": "orders_user_fkey"},
    ),
    (
        "23502",
        'null value in column "email" of relation "users" violates not-null constraint',
        {"COLUMN_NAME": "email", "TABLE_NAME": "users"},
    ),
    (
        "23514",
        'new row for relation "users" violates check constraint "adult"',
        {"TABLE_NAME": "users", "CONSTRAINT_NAME": "adult"},
    ),
    ("23P01", 'conflicting key value violates exclusion constraint "no overlap"', {"CONSTRAINT_NAME": "no overlap"}),
    ("22012", "division by zero", {}),
    ("42P01", 'relation "users" does not exist', {}),
    ("42703", 'column "emial" of relation "users" does not exist', {}),
    ("42601", 'syntax error at or near "selec"', {}),
]


@pytest.mark.parametrize(("state", "message", "fields"), WITH_NAMES, ids=[state for state, _, _ in WITH_NAMES])
def test_names_stay(state: str, message: str, fields: dict[str, str]) -> None:
    assert diagnose(said(state, message, **fields)).message == message


def test_detail_and_context_stay_behind() -> None:
    error = said("23505", "duplicate key", MESSAGE_DETAIL=f"Key (email)=({SECRET})", CONTEXT=f"COPY users: {SECRET}")
    found = diagnose(error)
    assert SECRET not in repr(found)
    assert SECRET not in str(named_error(error).to_dict())


# ---- what else is told ----------------------------------------------------------------------------------------------


def test_place_and_hint_are_told() -> None:
    found = diagnose(said("42703", "no such column", STATEMENT_POSITION="8", MESSAGE_HINT="Perhaps you meant email."))
    assert (found.offset, found.hint) == (7, "Perhaps you meant email.")


def test_only_the_first_line_is_told() -> None:
    assert diagnose(said("P0001", "stop\nbecause of that"), b"RAISE 'stop'").message == "stop"
    assert diagnose(psycopg.OperationalError("first\nsecond")).message == "first"


@pytest.mark.parametrize("error", [psycopg.OperationalError(), psycopg.OperationalError(" \n ")])
def test_error_without_words_is_a_lost_connection(error: psycopg.Error) -> None:
    assert diagnose(error).message == "the connection is lost"
    assert connection_lost(error)


@pytest.mark.parametrize("state", ["25001", "2D000", "55P04"])
def test_well_known_mistakes_have_a_hint_of_ours(state: str) -> None:
    assert diagnose(said(state, "no", MESSAGE_HINT="theirs")).hint not in (None, "theirs")


# ---- which error it is ----------------------------------------------------------------------------------------------

OURS = [
    ("08006", errors.ConnectionLost),
    ("57P01", errors.ConnectionLost),
    ("57P02", errors.ConnectionLost),
    ("25P03", errors.ConnectionLost),
    ("42501", errors.InsufficientPrivilege),
    ("25006", errors.NotAWriter),
    ("57P03", errors.DatabaseBusy),
    ("57014", errors.Cancelled),
    ("55P03", errors.LockTimeout),
    ("53300", errors.DatabaseBusy),
    ("53100", errors.DatabaseBusy),
    ("42703", errors.MigrationFailed),
    ("XX000", errors.MigrationFailed),
]


@pytest.mark.parametrize(("state", "kind"), OURS)
def test_error_of_a_statement_of_ours_has_a_name(state: str, kind: type[errors.MigratorError]) -> None:
    error = named_error(said(state, "it broke"))
    assert type(error) is kind
    assert "it broke" in error.message
    assert error.message.endswith(".")


KINDS = [
    ("55P03", 0, 0, errors.LockTimeout),
    ("40P01", 0, 0, errors.Deadlock),
    ("42601", 0, 0, errors.MigrationFailed),
    ("57014", 5_000, 5_000, errors.StatementTimeout),
    ("57014", 4_000, 5_000, errors.Cancelled),
    ("57014", 5_000, 0, errors.Cancelled),
    (None, 0, 0, errors.MigrationFailed),
]


@pytest.mark.parametrize(("state", "elapsed", "limit", "kind"), KINDS)
def test_error_of_a_file_has_a_name(state: str, elapsed: float, limit: int, kind: type[errors.MigratorError]) -> None:
    found = diagnose(said(state, "no") if state else psycopg.Error("no"))
    assert kind_of(found, elapsed, limit) is kind

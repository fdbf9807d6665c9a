"""Where something stands in a text, and what may be shown of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_migrations.engine.diagnostics.redaction import (
    Lines,
    excerpt,
    pointed,
    position,
    speaks_of_secrets,
    without_literals,
    without_password,
    without_values,
)
from tests.bounds import NO_HANG

BOUNDED = settings(max_examples=200, deadline=None, database=None)
TEXT = st.text("ab\né😀\r ;'", max_size=60)


@BOUNDED
@given(TEXT, st.lists(st.integers(0, 60), max_size=10))
def test_lines_know_what_counting_from_the_beginning_finds(text: str, places: list[int]):
    data = text.encode()
    offsets = [len(text[:place].encode()) for place in places]
    lines = Lines(data)
    assert [lines.position(offset) for offset in offsets] == [position(data, offset) for offset in offsets]


@pytest.mark.parametrize("line_end", [b"\n", b" "], ids=["many lines", "one long line"])
@NO_HANG  # counted anew each time it would take minutes
def test_many_places_of_a_large_text_are_found_at_once(line_end: bytes):
    text = ("é;".encode() + line_end) * 200_000
    lines = Lines(text)
    last = [lines.position(offset) for offset in range(0, len(text), 4)][-1]
    assert last == position(text, len(text) - 4)


# ---- excerpts -------------------------------------------------------------------------------------------------------


def shown(text: str, at: str, statement: str | None = None, hide_values: bool = False) -> str:
    data = text.encode()
    start = data.index((statement or at).encode())
    span = (start, start + len(statement.encode())) if statement else None
    return excerpt(data, data.index(at.encode()), span, hide_values)


def test_line_is_shown_with_a_caret():
    assert shown("SELECT 1;\nSELECT 'é', x;\n", "x") == "SELECT 'é', x;\n            ^"


def test_long_line_is_shown_around_the_caret():
    line, caret = shown(f"SELECT '{'a' * 500}', x, '{'b' * 500}';", "x").split("\n")
    assert len(line) == 100
    assert line[len(caret) - 1] == "x"


def test_values_are_hidden_where_the_error_is_about_them():
    statement = "INSERT INTO t VALUES (17, 'a''b', E'c\\'d', $$e$$, \"f1\", g2)"
    told = shown(f"{statement}; SELECT 5;", "INSERT", statement, hide_values=True)
    assert told == "INSERT INTO t VALUES (.., '....', ......., ....., \"f1\", g2);\n^"


def test_statement_about_a_secret_is_shown_without_values_and_alone_on_its_line():
    text = "SELECT 'a'; ALTER ROLE r\n  PASSWORD 'hunter2' VALID UNTIL 'x'; SELECT 'b', 2;"
    statement = "ALTER ROLE r\n  PASSWORD 'hunter2' VALID UNTIL 'x'"
    assert shown(text, "PASSWORD", statement) == "  PASSWORD '.......' VALID UNTIL '.';\n  ^"
    assert shown(text, "ALTER", statement) == "            ALTER ROLE r\n            ^"


def test_value_that_goes_on_from_the_line_before_is_hidden():
    statement = "UPDATE users SET password = 'one\nhunter2', b = nowhere"
    assert shown(f"{statement};", "nowhere", statement) == ".......', b = nowhere;\n              ^"


def test_comment_in_a_statement_about_a_secret_is_hidden():
    statement = "ALTER ROLE r -- password is hunter2\n  NOLOGI"
    assert "hunter2" not in shown(statement, "ALTER", statement)


def test_nothing_is_shown_of_a_line_about_a_secret_whose_statement_is_unknown():
    assert shown("SELECT 'password=hunter2', x", "x") == ""


@pytest.mark.parametrize(
    "text",
    [
        "ALTER ROLE a PASSWORD 'b'",
        "SELECT crypt ('a', gen_salt('bf'))",
        "SELECT dblink('host=a pwd=b')",
        "COPY t FROM PROGRAM 'curl https://user:pw@host'",
        "INSERT INTO settings VALUES ('API_KEY', 'b')",
        "UPDATE users SET client_secret = 'b'",
    ],
)
def test_words_beside_which_secrets_stand_are_known(text: str):
    assert speaks_of_secrets(text)
    assert speaks_of_secrets(text.encode())


@pytest.mark.parametrize(
    "sql",
    [
        "/* a /* b */ it's */ CREATE ROLE rx PASSWORD 'hunter2';",
        "SELECT name'C:\\'; ALTER ROLE rx PASSWORD 'hunter2';",
        "CREATE TABLE a$b$ (i int); SELECT ' a$b$ y'; ALTER ROLE rx PASSWORD 'hunter2';",
        "SELECT E'\\'', 'hunter2', $q$ hunter2 $$ ' $q$, $1;",
        "-- it's\nSELECT 'hunter2'",
        "SELECT \"it's\", 'hunter2'",
    ],
)
def test_values_are_told_as_the_server_tells_them(sql: str):
    assert "hunter2" not in without_values(sql)
    assert "hunter2" not in without_literals(sql)


@pytest.mark.parametrize("length", range(1, 60, 7))
def test_query_that_is_cut_off_shows_no_value(length: int):
    query = "UPDATE users SET a = 'hunter2', b = $$hunter2$$ /* hunter2 */ WHERE id = 17"
    assert "hunter" not in without_literals(query[:length])
    assert without_literals(query) == "UPDATE users SET a = ?, b = ? WHERE id = ?"


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("got postgresql://u:p/w@h:5/d and x", "got postgresql://u:...@h:5/d and x"),
        ("postgresql://u:p@hunter2/x:y@h:5/d", "postgresql://u:...@h:5/d"),
        ("postgresql://u@x:hunter2@h/d", "postgresql://u@x:...@h/d"),
        ("postgresql://:hunter2 x@h/d", "postgresql://:...@h/d"),
        ("--url=jdbc:postgresql://h/d?user=u&password=hunter2", "--url=jdbc:postgresql://h/d?user=u&password=..."),
        ("host=h password=hunter2 dbname=d", "host=h password=... dbname=d"),
        ("PGPASSWORD=hunter2 x", "PGPASSWORD=... x"),
        ("password = 'it\\'s hunter2' host=h", "password = ... host=h"),
        ("pwd='hunter2 x", "pwd=..."),
        ("unknown: --password hunter2", "unknown: --password ..."),
    ],
)
def test_password_that_was_typed_is_not_shown_again(typed: str, shown: str):
    assert without_password(typed) == shown


@pytest.mark.parametrize("typed", ["017", "postgresql://u@h:5/d", "http://[::1]:5", "add password to users", "a@b:c"])
def test_what_was_typed_without_a_password_is_shown_as_it_is(typed: str):
    assert without_password(typed) == typed


@pytest.mark.parametrize("text", ["x", "://a:", "://a@", "password ", "pwd='", "password= "])
@NO_HANG
def test_passwords_are_looked_for_in_a_text_of_any_length(text: str):
    assert without_password(text * 100_000)


def test_what_is_hidden_takes_as_much_room():
    sql = "SELECT 'é\nb', 12, 'c' -- 'd\nFROM \"e'f\""
    assert without_values(sql) == "SELECT '.\n.', .., '.' .....\nFROM \"e'f\""
    assert without_values(sql, numbers=False) == "SELECT '.\n.', 12, '.' .....\nFROM \"e'f\""


@BOUNDED
@given(st.text("ab'\"$-/*\\eE1\n ", max_size=60))
def test_hiding_keeps_length_and_lines_of_anything(sql: str):
    hidden = without_values(sql)
    assert len(hidden) == len(sql)
    assert [i for i, c in enumerate(hidden) if c == "\n"] == [i for i, c in enumerate(sql) if c == "\n"]


def test_pointing_at_a_password_shows_nothing():
    assert pointed(b"SELECT 1;\nALTER ROLE a PASSWORD 'b';", 2, 3) == ""
    assert pointed(b"SELECT 1;\nSELECT 2;", 2, 3) == "SELECT 2;\n  ^"
    assert pointed(b"SELECT 1;", 9, 1) == "\n^"

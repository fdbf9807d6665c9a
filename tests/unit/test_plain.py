"""What regular expressions read of a text is what PostgreSQL's grammar reads."""

from __future__ import annotations

import random

import postgast
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_migrations.compiler import compile as compiling
from aurora_migrations.compiler import parser, token_hash
from aurora_migrations.compiler.compile import compile_text
from aurora_migrations.compiler.parser import NotSql, parse, tokens
from aurora_migrations.compiler.plain import tokens as plain
from aurora_migrations.compiler.plain.rows import shape_of
from aurora_migrations.engine.options import Options

BOUNDED = settings(max_examples=400, deadline=None, database=None)

# ---- tokens ---------------------------------------------------------------------------------------------------------

WORDS = ["a", "E", "u&", "U&", "n", "b", "x1", "a$b", "_", "é", "select", "NULL", "\u00a0", "\x85", "\x7f", "\x01"]
STRINGS = ["'", "''", "'a'", "'a''b'", "'a\\'", "'a\nb'", "'a'\n'b'", "'a' -- c\n'b'", "$$", "$$ x $$", "$a$", "$1"]
NAMES = ['"', '""', '"a"', '"a""b"']
NUMBERS = ["1", "12.5", "1.", ".5", "1..2", "1e5", "0x1F", "1_000", "99999999999999999999"]
COMMENTS = ["--", "-- c\n", "--\r", "/*", "*/", "/* c */", "/* * / */", "/**/", "//", "/*/"]
SIGNS = [*"+-*/%^<>=|:.,()[];?@#~!&`\\{}", *("<=", ">=", "<>", "!=", "=>", "->", "->>", "||", "::", ":=", "..", "@>")]
PIECES = [*WORDS, *STRINGS, *NAMES, *NUMBERS, *COMMENTS, *SIGNS, " ", "\n", "\t", "\r", "\f", "\v"]
SEVERAL = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
TEXTS = st.one_of(SEVERAL, st.text("'\"$-*/\\.:e1 \n;(", max_size=12))


def assert_as_scanned(text: bytes) -> bool:
    """Compares both, if the text is plain; returns whether it is."""
    found = plain.read(text)
    if found is None:
        return False
    assert found == [token for _, token in tokens(text)]
    assert [(token, text[start : start + len(token)]) for token, start in plain.places(text) or []] == [
        (token, token) for token in found
    ]
    return True


@settings(BOUNDED, max_examples=5_000)
@given(TEXTS)
def test_plain_tokens_are_those_of_the_scanner(text: str) -> None:
    assert_as_scanned(text.encode())


def test_usual_text_is_plain() -> None:
    text = b"""
        CREATE TABLE a."B" (id bigint PRIMARY KEY, at timestamptz DEFAULT now(), /* why */ b numeric(10, 2)); -- x
        INSERT INTO a."B" VALUES (1, 'it''s', -2.50, 'a'::text || NULL);
        DO $$ BEGIN PERFORM '$1'; END $$;
    """
    assert assert_as_scanned(text)
    assert assert_as_scanned(b"")
    assert assert_as_scanned(b" -- nothing\n")


@pytest.mark.parametrize(
    "text", ["E'a'", "'a'\n'b'", "'a' -- c\n'b'", "$1", "$a$ b $a$", "1e5", "1..2", "a @> b", "'a"]
)
def test_what_depends_on_the_scanner_is_left_to_it(text: str) -> None:
    assert plain.read(text.encode()) is None


# ---- rows -----------------------------------------------------------------------------------------------------------

USUAL = [
    "1",
    "12345678901",
    "1.5",
    "-7",
    "- 7",
    "-1.25",
    "'a'",
    "'it''s; -- é'",
    "''",
    "'\\'",
    "NULL",
    "null",
    "DEFAULT",
]
USUAL += ["true", "FALSE", "Null", "'a'::text", "'5'::numeric(4,2)", "1::numeric(4)", "'x'::timestamp(3)", "'%d'"]
CONSTANTS = [
    *USUAL,
    "date '2026-01-01'",
    "'a''",
    "E'a'",
    "$$a$$",
    "1e3",
    "now()",
    "nextval('s')",
    "(1)",
    "x",
    "",
    "1,2",
]
CONSTANTS += ["'x'::timestamp('y')", "'x'::timestamp(99999999999)", "'a\nb'", "'a\rb'", "(SELECT 1)::int", "%s"]
CONSTANTS += ["ARRAY[1,2]::int[]", "'a' 'b'"]
HEADS = ["INSERT INTO t VALUES (", "insert into s.t (a, b) values (", "INSERT INTO values (values, b) VALUES("]
HEADS += ["INSERT INTO t VALUES (3, 'x'), ("]
TAILS = [");\n", ") ;\n", "); \n", ") RETURNING (timestamp(3) '2026-01-01');\n", ") ON CONFLICT DO NOTHING;\n"]
TAILS += [");", "); -- c\n"]
VALUES = st.lists(st.sampled_from(CONSTANTS), min_size=1, max_size=3)
ROWS = st.tuples(st.sampled_from(HEADS), VALUES, st.sampled_from(TAILS))


OTHERS = [b"", b"\n", b";\n", b"SELECT 1;\n", b"-- ;\n", b"ALTER TABLE t ADD c int;\n", b"SELECT '\n"]
OTHERS += [b"CREATE TYPE e AS ENUM ('a');\n", b"ALTER TYPE e ADD VALUE 'a';\n", b"COMMIT;\n", b"BEGIN;\n"]


def line(row: tuple[str, list[str], str]) -> bytes:
    head, constants, tail = row
    return f"{head}{', '.join(constants)}{tail}".encode()


@settings(BOUNDED, max_examples=4_000)
@given(ROWS, VALUES)
def test_line_that_is_like_a_row_is_one_to_the_grammar(row, constants) -> None:
    first, other = line(row), line((row[0], constants, row[2]))
    try:
        (found,) = postgast.parse(first.decode()).stmts
    except (postgast.PgQueryError, ValueError):
        return
    shape = shape_of(first)
    if shape is None:
        return
    assert shape.rows.fullmatch(first)
    assert found.stmt.HasField("insert_stmt")
    if shape.rows.fullmatch(other):
        (like,) = postgast.parse(other.decode()).stmts
        assert like.stmt.insert_stmt.relation.relname == found.stmt.insert_stmt.relation.relname
        assert shape_of(other)


def text_of(seed: int) -> bytes:
    """Rows, most of them alike, and other statements."""
    choose = random.Random(seed)
    parts = []
    for _ in range(choose.randint(1, 4)):
        head, tail = choose.choice(HEADS), choose.choice(TAILS[:3]) if choose.random() < 0.9 else choose.choice(TAILS)
        some = choose.sample(USUAL, 4) if choose.random() < 0.8 else choose.sample(CONSTANTS, 6)
        width = choose.randint(1, 3)
        for _ in range(choose.randint(1, 30)):
            parts.append(line((head, [choose.choice(some) for _ in range(width)], tail)))
        parts += [choose.choice(OTHERS), choose.choice(OTHERS)]
    return b"".join(parts)


@settings(BOUNDED, max_examples=300)
@given(st.integers(0, 2**32), st.sampled_from([1, 200, 5_000]))
def test_rows_are_compiled_as_by_the_grammar(seed: int, chunk: int) -> None:
    text = text_of(seed)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parser, "WHOLE", 0)
        patched.setattr(parser, "CHUNK", chunk)
        fast = compile_text("1_a.sql", text, Options())
        hashed = _hash(text)
        patched.setattr(parser, "shape_of", lambda _: None)
        patched.setattr(token_hash.plain, "meanings", lambda _: None)
        slow = compile_text("1_a.sql", text, Options())
        assert hashed == _hash(text)
    assert [*fast.script.statements] == [*slow.script.statements]
    assert fast.script == slow.script
    assert fast.problems == slow.problems
    assert (fast.effects, fast.on_new) == (slow.effects, slow.on_new)
    assert [(s.start, s.end, s.kind) for s in fast.statements] == [(s.start, s.end, s.kind) for s in slow.statements]


def _hash(text: bytes) -> str | None:
    try:
        return token_hash.token_hash(text)
    except NotSql:
        return None


def test_rows_take_little_memory_and_are_all_there() -> None:
    rows = [f"INSERT INTO t (a, b) VALUES ({n}, 'é{n % 7}', NULL);\n" for n in range(20_000)]
    text = f"CREATE TABLE t (a int, b text);\n{''.join(rows)}".encode()
    statements = parse(text)
    assert len(statements) == 20_001
    assert len(statements.heads) < 3_000
    assert [each.text + b";\n" for each in statements[-3:]] == [row.encode() for row in rows[-3:]]
    script = compiling.compile_text("1_a.sql", text, Options()).script
    assert [(each.line, each.column) for each in script.statements] == [(n, 1) for n in range(1, 20_002)]
    assert script.tokens == token_hash.token_hash(text)


PAD = "1" * 60
NOT_ALIKE = {  # a line above many, these, and one below, with which the file is refused
    "a second semicolon": ("", f"INSERT INTO t VALUES (1, '{PAD}');;\n", ""),
    "a second semicolon, apart": ("", f"INSERT INTO t VALUES (1, '{PAD}'); ;\n", ""),
    "a precision that the grammar refuses": (
        "",
        f"INSERT INTO t VALUES ('{PAD}'::float(5));\n",
        "INSERT INTO t VALUES ('1'::float(0));\n",
    ),
    "a large one": ("", f"INSERT INTO t VALUES ('{PAD}'::FLOAT (5));\n", "INSERT INTO t VALUES ('1'::FLOAT (54));\n"),
    # To what looks for deep comments, E'\\'' begins a string that goes on, until it reads a later part for the hash.
    "comments too deep": ("SELECT E'\\'';\n", f"SELECT {PAD};\n", "/*" * 501 + "*/" * 501 + "\nSELECT 1;\n"),
}


@pytest.mark.parametrize("case", NOT_ALIKE)
def test_what_looks_like_rows_is_compiled_as_by_the_grammar(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, row, last = NOT_ALIKE[case]
    text = (first + row * (2 * parser.WHOLE // len(row)) + last).encode()
    fast = compile_text("1_a.sql", text, Options())
    monkeypatch.setattr(parser, "shape_of", lambda _: None)
    monkeypatch.setattr(token_hash.plain, "meanings", lambda _: None)
    slow = compile_text("1_a.sql", text, Options())
    assert fast.problems == slow.problems == compile_text("1_a.sql", text, Options(), only_findings=True).problems
    assert bool(fast.problems) == bool(last)
    assert fast.script == slow.script

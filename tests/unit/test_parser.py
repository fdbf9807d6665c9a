"""A text cut into statements by PostgreSQL's grammar: where each begins and ends, what it is, where a text is none."""

from __future__ import annotations

import random
import re

import postgast
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_migrations.compiler import parser
from aurora_migrations.compiler.parser import NotSql, parse, parse_deep, tokens
from tests.bounds import NO_HANG

BOUNDED = settings(max_examples=80, deadline=None, database=None)
pytestmark = NO_HANG


def summed(terms: int) -> str:
    return " + ".join(["1"] * terms)


# ---- statements and what is between them ----------------------------------------------------------------------------

STATEMENTS = {
    "SelectStmt": [
        "SELECT 1",
        "select 'a;b', \";\", $$;$$, $é$ ; $$ $é$",
        r"SELECT E'it\'s; \\', e'\'' || U&'d\0061t;' || U&'!0061;' UESCAPE '!'",
        "SELECT a ->> 'b', a @> b, a ? 'b', a ?| b, a ?& b, a #>> b, -a, @a, !!a FROM \"ü;\" AS naïve",
        "SELECT /* a /* ; */ b */ 1 -- ;\n + 2",
        "SELECT $1 + $2, B'01', X'Ff', 1e5, .5, 0xFF, 1_000",
        "SELECT 'one'\n'two'",
        "VALUES (1, 'é😀')",
        "TABLE t",
    ],
    "CreateFunctionStmt": [
        "CREATE FUNCTION f(a int) RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN a > 1 THEN 2 END; END",
        "CREATE OR REPLACE PROCEDURE p() LANGUAGE plpgsql AS $body$ BEGIN COMMIT; SELECT $$a;b$$; END; $body$",
        "CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1; SELECT 2;' STABLE",
        "CREATE FUNCTION h() RETURNS int LANGUAGE sql RETURN 1",
    ],
    "DoStmt": ["DO $do$ BEGIN PERFORM 'a;b'; END $do$ LANGUAGE plpgsql"],
    "CreateStmt": ['CREATE TABLE "t;" (a int DEFAULT 1 CHECK (a > 0), b text COLLATE "C")'],
    "RuleStmt": ["CREATE RULE r AS ON UPDATE TO t DO ALSO (INSERT INTO u VALUES (1); DELETE FROM v)"],
    "CreateSchemaStmt": ["CREATE SCHEMA s CREATE TABLE t (a int) CREATE VIEW v AS SELECT 1"],
    "IndexStmt": ["CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (lower(a)) WHERE b"],
    "TransactionStmt": ["BEGIN ISOLATION LEVEL SERIALIZABLE, READ WRITE", "COMMIT", "SAVEPOINT a", "ROLLBACK TO a"],
    "VariableSetStmt": ["SET search_path = a, b", "RESET ALL", "SET TIME ZONE 'UTC'"],
    "InsertStmt": [f"INSERT INTO t VALUES {', '.join(['(1)'] * 300)}", "INSERT INTO é SELECT 'ß;'"],
}
POOL = [(kind, text) for kind, texts in STATEMENTS.items() for text in texts]
BETWEEN = [
    ";",
    ";;",
    ";\n",
    " ; ",
    ";\n\n-- a; 'b\n",
    ";/* ' ; /* \" */ $$ */",
    "\n;\r\n ;\t",
    ";-- é😀\n",
    "; -- $q$\n;",
]
BEFORE = ["", "\n", "-- migration: x = y\n", "/* '; */ ", "; ;", "\t-- é\n"]
AFTER = [";", "", ";\n", "\n", " -- end", "; -- end", "\n/* end; */\n", ";;"]


def without_comments(gap: bytes) -> bytes:
    """What is left of a gap: told by another program than the one under test."""
    left, depth, at = b"", 0, 0
    while at < len(gap):
        two = gap[at : at + 2]
        if two == b"--" and not depth:
            at += len(re.match(rb"[^\r\n]*", gap[at:])[0])
        elif two in (b"/*", b"*/") and (depth or two == b"/*"):
            depth += 1 if two == b"/*" else -1
            at += 2
        else:
            left += b"" if depth else gap[at : at + 1]
            at += 1
    return left


@pytest.fixture(params=["whole", "apart"])
def way(request, monkeypatch) -> None:
    """Both ways to parse a text: at once, and in pieces (here as small as can be), as large ones are."""
    if request.param == "apart":
        monkeypatch.setattr(parser, "WHOLE", 0)
        monkeypatch.setattr(parser, "CHUNK", 1)


def texts(seed: int) -> tuple[bytes, list[tuple[int, int, str]]]:
    """A file of statements and, of each, where it begins and ends, and its kind."""
    draw = random.Random(seed)
    text, expected = draw.choice(BEFORE).encode(), []
    for number in range(draw.randint(0, 8)):
        text += draw.choice(BETWEEN).encode() if number else b""
        kind, statement = draw.choice(POOL)
        text += draw.choice(["", " ", "\n/* before */ "]).encode()
        expected.append((len(text), len(text) + len(statement.encode()), kind))
        text += statement.encode()
    return text + draw.choice(AFTER).encode(), expected


@pytest.mark.usefixtures("way")
@settings(BOUNDED)
@given(st.integers(0, 2**32))
def test_boundaries_are_those_of_the_statements_and_reassemble_the_file(seed: int):
    text, expected = texts(seed)
    found = parse(text)
    assert [(statement.start, statement.end, statement.kind) for statement in found] == expected
    ends = [0, *(statement.end for statement in found)]
    starts = [*(statement.start for statement in found), len(text)]
    gaps = [text[end:start] for end, start in zip(ends, starts, strict=True)]
    pieces = [piece for gap, each in zip(gaps, [*(s.text for s in found), b""], strict=True) for piece in (gap, each)]
    assert b"".join(pieces) == text
    assert {without_comments(gap).strip(b"; \t\r\n") for gap in gaps} == {b""}
    assert all(b";" in gap for gap in gaps[1:-1])


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("before", [" ", "-- why\n", "/* why */", " -- a\n/* b */ -- c\n"])
@pytest.mark.parametrize("statement", ["SET a = 1", f"SELECT {summed(60)}"], ids=["flat", "deep"])
def test_what_stands_before_its_semicolon_is_not_the_statements(statement: str, before: str):
    """Two hyphens in a statement's text would swallow what is put after it."""
    first, second = parse(f"{statement}{before}; SELECT 2{before};".encode())
    assert (first.text.decode(), first.end) == (statement, len(statement))
    assert second.text == b"SELECT 2"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("comment", ["-- DROP TABLE b;\n", "/* DROP TABLE b */ "])
def test_statement_is_not_found_in_the_comment_above_it(comment: str):
    text = f"DROP TABLE a; {comment}DROP TABLE b;"
    assert [statement.start for statement in parse(text.encode())] == [0, text.rindex("DROP")]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("text", ["", " \n\t", ";", ";; ;\n", "-- only a comment", "/* a\n/* b */ */\n", "\r\n;--\n"])
def test_text_without_a_statement_has_none(text: str):
    assert parse(text.encode()) == []


@pytest.mark.parametrize(("kind", "text"), POOL, ids=[text[:30] for _, text in POOL])
def test_each_kind_of_statement_is_one(kind: str, text: str):
    (found,) = parse(text.encode())
    assert (found.kind, found.text.decode()) == (kind, text)


# ---- deep and long --------------------------------------------------------------------------------------------------

DEEP = {
    "sum": lambda terms: f"SELECT {summed(terms)}",
    "conditions": lambda terms: f"DELETE FROM t WHERE {' AND '.join(['a OR b'] * terms)}",
    "brackets": lambda terms: f"SELECT {'(' * terms}1{')' * terms}",
    "calls": lambda terms: f"SELECT {'f(' * terms}{')' * terms}",
    "selects": lambda terms: f"SELECT {'(SELECT ' * terms}1{')' * terms}",
    "unions": lambda terms: f"SELECT 1{' UNION ALL SELECT 2' * terms}",
    "default": lambda terms: f"CREATE TABLE t (a int DEFAULT {summed(terms)}, b text)",
    "strings": lambda terms: f"INSERT INTO é VALUES ({' || '.join(['$$ü$$'] * terms)})",
    "arrays": lambda terms: f"UPDATE t SET a = {'a[' * terms}1{']' * terms}",
}


@pytest.mark.parametrize("terms", [60, 400, 3000])
@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_deep_statement_is_read_among_others(text, terms: int):
    statements = ["SELECT 'é'", text(terms), "DROP TABLE z"]
    found = parse(("-- ü\n" + ";\n/* é */ ".join(statements) + ";\n").encode())
    assert [statement.text.decode() for statement in found] == statements
    assert found[1].kind == parse(text(2).encode())[0].kind


@pytest.mark.parametrize("terms", [60, 400, 3000])
def test_deep_expression_hides_nothing_that_rules_look_at(terms: int):
    index, table = parse(
        f"CREATE INDEX CONCURRENTLY i ON t (a) WHERE {summed(terms)} > 1;\n"
        f"ALTER TABLE a.t ADD CONSTRAINT c CHECK ({summed(terms)} > 1) NOT VALID".encode()
    )
    assert (index.node.concurrent, index.node.idxname, index.node.relation.relname) == (True, "i", "t")
    assert (table.node.relation.schemaname, table.node.relation.relname) == ("a", "t")


def test_deeper_than_the_grammar_itself_goes_is_no_sql():
    with pytest.raises(NotSql, match="memory exhausted"):
        parse(b"SELECT " + b"(" * 50_000 + b"1" + b")" * 50_000)


@pytest.mark.parametrize(("kind", "text"), POOL, ids=[text[:30] for _, text in POOL])
def test_tree_that_came_the_long_way_round_is_the_same(kind: str, text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("aurora_migrations.compiler.parser._KEPT", 10_000)
    assert parse_deep(text.encode()) == postgast.parse(text)


@pytest.mark.parametrize("last", ["SELECT 1", f"SELECT {summed(400)}"], ids=["flat", "one of them deep"])
def test_thousand_statements_are_read_at_once(last: str):
    lines = [f"INSERT INTO t{number} VALUES ('é;{number}'); -- {number}" for number in range(999)]
    text = "\n".join([*lines, last]).encode()
    found = parse(text)
    assert len(found) == 1000
    assert [statement.node.relation.relname for statement in found[:999]] == [f"t{number}" for number in range(999)]
    assert found[999].text.decode() == last


@pytest.mark.parametrize("text", [DEEP[name] for name in ("sum", "conditions", "unions", "strings")])
def test_very_deep_statement_is_read_and_does_not_end_the_program(text):
    assert [statement.text.decode()[:6] for statement in parse(f"{text(20_000)}; SELECT 1".encode())][-1] == "SELECT"


def test_statement_deeper_than_any_stack_is_refused_at_once():
    with pytest.raises(NotSql, match="too deep to be read") as caught:
        parse(b"SELECT 0, 1" + b"+1" * 1_000_000)
    assert caught.value.offset == 9


@pytest.mark.parametrize("text", [b"/*" * 50_000, b"SELECT 1; " + b"/*" * 50_000 + b"*/" * 50_000 + b"SELECT 2"])
@pytest.mark.parametrize("read", [parse, tokens])
def test_deeply_nested_comments_are_refused_at_once(read, text: bytes):
    with pytest.raises(NotSql, match="comments are nested") as caught:
        read(text)
    assert caught.value.offset == text.index(b"/*")


def test_what_only_looks_like_deep_comments_or_a_deep_tree_is_read():
    paths = ", ".join(f"('/api/{number}/*')" for number in range(2_000))
    long = "x" * 600_000
    text = f"INSERT INTO t VALUES {paths};\n-- {'/*' * 2_000}\nSELECT '{long}', $$ {'+1' * 300_000} $$ /* {long} */;"
    assert len(parse(text.encode())) == 2


# ---- what is no SQL -------------------------------------------------------------------------------------------------

BROKEN = {  # the sign | marks where the parser stops
    "word": "|SELEC 1",
    "in the middle": "SELECT 1;\nCREATE TABLE t (a int |int2)",
    "end": "SELECT (1|",
    "semicolon": "SELECT (1|; SELECT 2)",
    "beyond ASCII": "SELECT 'é😀' FROMM |t WHERE ü",
    "after comments": "/* é */ -- ü\n  |FOO",
    "string": "SELECT |'a",
    "name": 'SELECT é, |"a',
    "dollar": "SELECT |$$a",
    "comment": "SELECT 1 |/* a /* b */",
    "meta-command": "SELECT 1;\n|\\d t",
    "last of many": "SELECT 1;\n" * 100 + "SELECT 'é',|, 2",
}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("marked", BROKEN.values(), ids=BROKEN)
def test_where_the_text_is_no_sql(marked: str):
    before, text = marked.partition("|")[0], marked.replace("|", "", 1)
    with pytest.raises(NotSql) as caught:
        parse(text.encode())
    assert text.encode()[: caught.value.offset].decode() == before

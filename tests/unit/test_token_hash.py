"""The token hash: blind to layout, sees everything else."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aurora_migrations.compiler.parser import NotSql, tokens
from aurora_migrations.compiler.token_hash import VERSION, token_hash

BOUNDED = settings(max_examples=100, deadline=None, database=None)

# ---- texts made of tokens -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Token:
    """A token. `folds`: its letters' case doesn't count. `string`: two of them in a row would be read as one."""

    text: str
    folds: bool = False
    string: bool = False


def token(texts: list[str], folds: bool = False, string: bool = False) -> st.SearchStrategy[Token]:
    return st.sampled_from(texts).map(lambda text: Token(text, folds, string))


PREFIX = re.compile("""(?:[ebxn]|u&)(?=['"])""", re.IGNORECASE)  # of a string or a name: its case is none of meaning

KEYWORDS = ["SELECT", "create", "Table", "NOT", "null", "default", "BEGIN", "atomic", "user", "double", "uescape"]
LETTERS = st.characters(min_codepoint=0x20, exclude_categories=("Cs", "Cc"))
BARE = st.from_regex(r"[a-zA-Z_é日][a-zA-Z0-9_$é日]{0,8}", fullmatch=True)
OPERATORS = ["+", "-", "*", "/", "<", ">", "=", "<>", "!=", "<=", "->", "->>", "#>>", "@>", "<@", "?", "?|", "?&"]
OPERATORS += ["||", "&&", "~*", "!~~*", "|/", "@@@", "::", ":=", "=>", "..", "%"]

TOKENS = st.one_of(
    token(KEYWORDS, folds=True),
    BARE.map(lambda text: Token(text, folds=True)),
    st.text(LETTERS, min_size=1, max_size=8).map(lambda text: Token('"' + text.replace('"', '""') + '"')),
    st.text(LETTERS, max_size=8).map(lambda text: Token("'" + text.replace("'", "''") + "'", string=True)),
    st.text("ab'\\ é", max_size=6).map(lambda text: Token("$q$" + text + "$q$", string=True)),
    token([r"E'it\'s'", r"e'\\'", r"E'\u00e9'", "U&'d!0061t'", "B'01'", "X'fF'", "N'é'"], string=True),
    token(['U&"d!0061t"', 'u&"x"', '"A"', '"a"', '"a b"', '"a""b"']),
    token(["0", "1", "10", "1.5", "1e5", ".5", "0xFF", "0b10", "1_000"], folds=True),
    token(["$1", "$2", "(", ")", "[", "]", ",", ";", ".", *OPERATORS]),
)


def apart(found: list[Token]) -> list[Token]:
    """The same with a comma between strings that PostgreSQL would put together."""
    result: list[Token] = []
    for each in found:
        if each.string and result and result[-1].string:
            result.append(Token(","))
        result.append(each)
    return result


TEXTS = st.lists(TOKENS, min_size=1, max_size=10).map(apart)
PLACES = st.floats(0, 1, exclude_max=True)
GAPS = [" ", "\n", "\t\r\n", "\f ", " --\n", " -- $q$ ' é\n", " --'\r\n", " /* ; */ ", ' /* /* " */ -- */\n', "/**/ "]
LAYOUTS = st.integers(0, 2**32).map(random.Random)


def laid_out(found: list[Token], layout: random.Random) -> bytes:
    """A text of these tokens, with any gaps and any case of letters that doesn't count."""
    text = layout.choice(GAPS)
    for each in found:
        prefix = PREFIX.match(each.text)
        folding = len(each.text) if each.folds else prefix.end() if prefix else 0
        written = "".join(layout.choice((letter, flipped(letter))) for letter in each.text[:folding])
        written += each.text[folding:]
        text += f" {written} {layout.choice(GAPS)}{layout.choice(GAPS)}"
    return text.encode()


def flipped(letter: str) -> str:
    return letter.swapcase() if letter.isascii() else letter


def meaning(each: Token) -> str:
    """What the hash sees of a token: all of it, but the case of ASCII's letters where that doesn't count."""
    if each.folds:
        return "".join(letter.lower() if letter.isascii() else letter for letter in each.text)
    return PREFIX.sub(lambda match: match[0].lower(), each.text, count=1) if PREFIX.match(each.text) else each.text


@BOUNDED
@given(TEXTS, LAYOUTS)
def test_layout_comments_and_case_never_change_it(found: list[Token], layout: random.Random):
    assert token_hash(laid_out(found, layout)) == token_hash(laid_out(found, layout))


@BOUNDED
@given(TEXTS, PLACES, TOKENS, LAYOUTS)
def test_another_token_in_one_place_changes_it(found: list[Token], place: float, other: Token, layout: random.Random):
    number = int(place * len(found))
    assume(meaning(other) != meaning(found[number]))
    changed = apart([*found[:number], other, *found[number + 1 :]])
    assert token_hash(laid_out(found, layout)) != token_hash(laid_out(changed, layout))


@BOUNDED
@given(TEXTS, PLACES, TOKENS, LAYOUTS)
def test_a_token_more_or_less_changes_it(found: list[Token], place: float, other: Token, layout: random.Random):
    number = int(place * len(found))
    more = apart([*found[:number], other, *found[number:]])
    assert token_hash(laid_out(found, layout)) != token_hash(laid_out(more, layout))


@BOUNDED
@given(TEXTS, PLACES, LAYOUTS)
def test_another_order_changes_it(found: list[Token], place: float, layout: random.Random):
    number = int(place * len(found))
    moved = [*found[number:], *found[:number]]
    assume(apart(moved) == moved and [meaning(each) for each in moved] != [meaning(each) for each in found])
    assert token_hash(laid_out(found, layout)) != token_hash(laid_out(moved, layout))


# By the letters before the quote: what a string may be cut between. (No \\' in E'': behind a comment libpg_query
# takes the next part for a plain string, though a server doesn't.)
PIECES = {
    "": ["a", "''", "é", "\\", " "],
    "E": ["a", "''", r"\n", r"\\", "é"],
    "B": ["0", "1"],
    "X": ["0", "f", "F"],
    "U&": ["a", "''", r"\0061", "é"],
    "N": ["a", "''", "é"],
}
CUT_STRINGS = st.sampled_from(sorted(PIECES)).flatmap(
    lambda prefix: st.tuples(st.just(prefix), st.lists(st.lists(st.sampled_from(PIECES[prefix])), min_size=1))
)
BREAKS = ["\n", " \t\r\n", "\n\n  ", " -- why\n", "\n-- why's\n "]


@BOUNDED
@given(CUT_STRINGS, LAYOUTS)
def test_a_string_in_parts_is_the_string_in_one(cut: tuple[str, list[list[str]]], layout: random.Random):
    prefix, parts = cut
    whole = "".join(piece for part in parts for piece in part)
    written = "".join(f"'{''.join(part)}'{layout.choice(BREAKS)}" for part in parts)
    # libpg_query's scanner, unlike the server's, takes what stands behind a comment for a string without its letter.
    assume("--" not in written or r"\'" not in written)
    one = f"SELECT {prefix}'{whole}'".encode()
    assert token_hash(f"SELECT {prefix.lower()}{written}".encode()) == token_hash(one)
    assert token_hash(f"SELECT {prefix}{written.replace(chr(39), chr(39) + '0', 1)}".encode()) != token_hash(one)


# ---- real statements -----------------------------------------------------------------------------------------------

SAME = {
    "case of keywords and names": ("CREATE TABLE Users (ID int)", "create table users (id INT)"),
    "blank space": ("SELECT a,b FROM t;", "\n\tSELECT  a , b\r\nFROM t ; "),
    "comments": ("SELECT 1 + 2", "/* a */ SELECT -- one\n 1/* /* nested */ */+ 2 -- end"),
    "options at the top": ("SELECT 1", "-- migration: lock_timeout = 5s\n-- why: because\nSELECT 1"),
    "a hint": ("SELECT 1", "SELECT /*+ SeqScan(t) */ 1"),
    "case of numbers": ("SELECT 1e5, 0xff", "SELECT 1E5, 0XFF"),
    "a body that is parsed": (
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END",
        "create function F() returns INT\nbegin atomic\n  select 1; -- one\nend",
    ),
    "nothing": ("", "  -- only a comment"),
    "the letter before a string": ("SELECT E'a', B'1', X'f', N'a', U&'a'", "SELECT e'a', b'1', x'f', n'a', u&'a'"),
    "the letter before a name": ('DROP TABLE U&"a"', 'DROP TABLE u&"a"'),
    "an escape string in parts": ("SELECT E'ab'", "SELECT E'a'\n'b'"),
    "an escaped quote in a later part": (r"SELECT E'a\'b'", "SELECT e'a'\n'\\'b'"),
    "a backslash at the end of a part": (r"SELECT 'a\b'", "SELECT 'a\\'\n'b'"),
    "bits in parts": ("SELECT B'10'", "SELECT B'1'\n'0'"),
    "hex digits in parts": ("SELECT X'1F'", "SELECT x'1' -- why\n  'F'"),
}
CHANGED = {
    "default": ("CREATE TABLE t (a int DEFAULT 1)", "CREATE TABLE t (a int DEFAULT 2)"),
    "string": ("INSERT INTO t VALUES ('a')", "INSERT INTO t VALUES ('b')"),
    "case in a string": ("SELECT 'a'", "SELECT 'A'"),
    "blank space in a string": ("SELECT 'a b'", "SELECT 'a  b'"),
    "line end in a string": ("SELECT 'a\nb'", "SELECT 'a b'"),
    "comment in a string": ("SELECT 'a --b'", "SELECT 'a --c'"),
    "a function's body": ("DO $$ BEGIN END $$", "DO $$ BEGIN  END $$"),
    "case in a body": ("DO $$ BEGIN END $$", "DO $$ begin END $$"),
    "tag of a dollar quote's content": ("SELECT $a$ $b$ $a$", "SELECT $a$ $c$ $a$"),
    "escape": (r"SELECT E'\n'", r"SELECT E'\t'"),
    "between escaped quotes on several lines": ("SELECT E'a\\'x\n\\'b'", "SELECT E'a\\'y\n\\'b'"),
    "kind of string": (r"SELECT E'\n'", r"SELECT '\n'"),
    "bits": ("SELECT B'01'", "SELECT B'10'"),
    "bits or hex digits": ("SELECT B'01'", "SELECT X'01'"),
    "case in an escape string": ("SELECT E'a'", "SELECT E'A'"),
    "case in a name with escapes": ('DROP TABLE U&"a"', 'DROP TABLE U&"A"'),
    "unicode escape": (r"SELECT U&'\0061'", r"SELECT U&'\0062'"),
    "escape character": ("SELECT U&'!0061' UESCAPE '!'", "SELECT U&'!0061' UESCAPE '?'"),
    "name": ("DROP TABLE a", "DROP TABLE b"),
    "case of a quoted name": ('DROP TABLE "a"', 'DROP TABLE "A"'),
    "quotes around a name": ('DROP TABLE "A"', "DROP TABLE A"),
    "blank space in a quoted name": ('DROP TABLE "a b"', 'DROP TABLE "a  b"'),
    "case beyond ASCII, which PostgreSQL leaves": ("DROP TABLE é", "DROP TABLE É"),
    "schema": ("DROP TABLE a.t", "DROP TABLE b.t"),
    "type": ("CREATE TABLE t (a int)", "CREATE TABLE t (a bigint)"),
    "length": ("CREATE TABLE t (a varchar(10))", "CREATE TABLE t (a varchar(20))"),
    "option": ("DROP TABLE a CASCADE", "DROP TABLE a RESTRICT"),
    "option more": ("DROP TABLE a", "DROP TABLE IF EXISTS a"),
    "constraint": ("ALTER TABLE t ADD CHECK (a > 1) NOT VALID", "ALTER TABLE t ADD CHECK (a > 1)"),
    "action": (
        "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u ON DELETE CASCADE",
        "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u ON DELETE SET NULL",
    ),
    "operator": ("SELECT a -> 'b'", "SELECT a ->> 'b'"),
    "operator of one sign": ("SELECT a ? 'b'", "SELECT a @ 'b'"),
    "sign": ("SELECT 1", "SELECT -1"),
    "parameter": ("SELECT $1", "SELECT $2"),
    "number": ("SELECT 1.0", "SELECT 1.00"),
    "order": ("SELECT 1; SELECT 2", "SELECT 2; SELECT 1"),
    "one name or two": ("SELECT ab", "SELECT a b"),
    "one operator or two": ("SELECT 1 <> 2", "SELECT 1 < > 2"),
    "semicolon": ("SELECT 1", "SELECT 1;"),
    "transaction": ("BEGIN; SELECT 1; COMMIT", "SELECT 1"),
    "isolation": ("BEGIN; COMMIT", "BEGIN ISOLATION LEVEL SERIALIZABLE; COMMIT"),
    "a comment's end that isn't one": ("SELECT 1 /* a */ + 2", "SELECT 1 /* a + 2 */"),
}


@pytest.mark.parametrize(("before", "now"), SAME.values(), ids=SAME)
def test_edit_of_layout_is_none(before: str, now: str):
    assert token_hash(before.encode()) == token_hash(now.encode())


@pytest.mark.parametrize(("before", "now"), CHANGED.values(), ids=CHANGED)
def test_edit_of_meaning_shows(before: str, now: str):
    assert token_hash(before.encode()) != token_hash(now.encode())


def test_blank_space_between_the_parts_of_one_string_is_none():
    """PostgreSQL puts strings together that only blank space with a line end (and `--` comments) sets apart."""
    hashes = {token_hash(f"SELECT 'a'{gap}'b'".encode()) for gap in ("\n", "\n\n", "\n\t", "  \n", " -- why\n")}
    assert len(hashes) == 1


def test_it_names_the_way_it_was_made():
    assert re.fullmatch(rf"{VERSION}:[0-9a-f]{{64}}", token_hash(b"SELECT 1"))
    # Histories hold hashes: another result for a text is another version.
    known = "2:b8394ce6603eb517"
    assert token_hash(b"SELECT 'a', \"B\", c -- d").startswith(known)


def test_tokens_can_not_be_mistaken_for_others():
    """Each is written with its length, or two might read as one."""
    assert token_hash(b"SELECT '1:a,'") != token_hash(b"SELECT '', a, ''")


@pytest.mark.parametrize("text", ["SELECT 'a", 'SELECT "a', "SELECT $$a", "SELECT /* a", "SELECT 'é' 'b", "SELECT 0x"])
def test_text_without_an_end_has_none(text: str):
    with pytest.raises(NotSql):
        token_hash(text.encode())


def test_tokens_are_bytes_of_the_text():
    found = tokens("SELECT 'é', \"日本\" ->> $1 -- c\n, U&'x';".encode())
    assert [part.decode() for _, part in found] == ["SELECT", "'é'", ",", '"日本"', "->>", "$1", ",", "U&'x'", ";"]

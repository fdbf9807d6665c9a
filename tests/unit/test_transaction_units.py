"""Which transactions a text runs in: its units and why, and what of it no unit can be made of."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from aurora_migrations.compiler.nontransactional import read_nontransactional
from aurora_migrations.compiler.parser import parse, tokens
from aurora_migrations.compiler.transaction_units import Layout, find_units, is_read_only

PLAIN = "one transaction"
WRAPPED = "one transaction: the file's own BEGIN ... COMMIT"
BLOCKS = "each block on its own: the file has BEGIN ... COMMIT blocks of its own"
OFF = "each statement and block on its own: transaction = off"


def alone(what: str) -> str:
    return f"each statement and block on its own: {what} can't run inside a transaction"


def layout(text: str, transaction: str | None = None) -> Layout:
    return find_units(text.encode(), parse(text.encode()), transaction)


@dataclass(frozen=True)
class Case:
    """A text, and what of it are units: their text without what surrounds it, or with the modes of their BEGIN."""

    text: str
    units: list[str | tuple[str, str]]
    reason: str
    transaction: str | None = None


CASES = {
    # One transaction, as nothing asks for anything else: the unit is the whole text.
    "plain": Case("SELECT 1;\nSELECT 2;\n", ["SELECT 1;\nSELECT 2;"], PLAIN),
    "one statement without semicolon": Case("SELECT 1", ["SELECT 1"], PLAIN),
    "nothing": Case("", [""], PLAIN),
    "only a comment": Case("-- BEGIN; COMMIT;", ["-- BEGIN; COMMIT;"], PLAIN),
    "transaction = on": Case("SELECT 1; SELECT 2", ["SELECT 1; SELECT 2"], PLAIN, "on"),
    "savepoints": Case(
        "SAVEPOINT a; SELECT 1; ROLLBACK TO SAVEPOINT a; RELEASE a; SELECT 2;",
        ["SAVEPOINT a; SELECT 1; ROLLBACK TO SAVEPOINT a; RELEASE a; SELECT 2;"],
        PLAIN,
    ),
    "words in strings and bodies": Case(
        "SELECT 'BEGIN; COMMIT;'; DO $$ BEGIN COMMIT; END $$; SELECT \"BEGIN\"",
        ["SELECT 'BEGIN; COMMIT;'; DO $$ BEGIN COMMIT; END $$; SELECT \"BEGIN\""],
        PLAIN,
    ),
    "an atomic body": Case(
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; SELECT 2",
        ["CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; SELECT 2"],
        PLAIN,
    ),
    # One BEGIN ... COMMIT around everything is taken for the file's transaction.
    "wrapped": Case("BEGIN;\nSELECT 1;\nSELECT 2;\nCOMMIT;\n", ["SELECT 1;\nSELECT 2;"], WRAPPED),
    "wrapped, comments outside": Case(
        "-- a\n/* b; */ BEGIN;\n-- c\nSELECT 1;\nCOMMIT; -- d\n/* e */;", ["-- c\nSELECT 1;"], WRAPPED
    ),
    "wrapped, lower case": Case("begin transaction; select 1; commit work", ["select 1;"], WRAPPED),
    "START TRANSACTION, END": Case("START TRANSACTION; SELECT 1; END TRANSACTION;", ["SELECT 1;"], WRAPPED),
    "wrapped, with a savepoint": Case(
        "BEGIN; SAVEPOINT a; SELECT 1; ROLLBACK TO a; COMMIT;", ["SAVEPOINT a; SELECT 1; ROLLBACK TO a;"], WRAPPED
    ),
    "wrapped, transaction = on": Case("BEGIN; SELECT 1; COMMIT;", ["SELECT 1;"], WRAPPED, "on"),
    "wrapped, nothing in it": Case("BEGIN; COMMIT;", [""], WRAPPED),
    "wrapped, AND NO CHAIN": Case("BEGIN; SELECT 1; COMMIT AND NO CHAIN", ["SELECT 1;"], WRAPPED),
    "isolation level": Case(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; COMMIT;",
        [("SELECT 1;", "ISOLATION LEVEL REPEATABLE READ")],
        WRAPPED,
    ),
    "all modes": Case(
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE; SELECT 1; COMMIT;",
        [("SELECT 1;", "ISOLATION LEVEL SERIALIZABLE , READ ONLY , DEFERRABLE")],
        WRAPPED,
    ),
    "modes on lines of their own": Case(
        "BEGIN WORK\n  READ WRITE\n  ISOLATION LEVEL SERIALIZABLE\n; SELECT 1; COMMIT;",
        [("SELECT 1;", "READ WRITE ISOLATION LEVEL SERIALIZABLE")],
        WRAPPED,
    ),
    # Otherwise each block, and each statement beside blocks, is one.
    "two blocks": Case("BEGIN; SELECT 1; COMMIT; BEGIN; SELECT 2; END;", ["SELECT 1;", "SELECT 2;"], BLOCKS),
    "blocks with modes": Case(
        "BEGIN READ WRITE; SELECT 1; COMMIT; START TRANSACTION ISOLATION LEVEL SERIALIZABLE; SELECT 2; COMMIT;",
        [("SELECT 1;", "READ WRITE"), ("SELECT 2;", "ISOLATION LEVEL SERIALIZABLE")],
        BLOCKS,
    ),
    "statements beside blocks": Case(
        "SET a = 1;\n-- c\nSELECT 'é;';\nBEGIN;\nSELECT 1;\nSELECT 2;\nCOMMIT;\nSELECT 3 -- end\n",
        ["SET a = 1", "SELECT 'é;'", "SELECT 1;\nSELECT 2;", "SELECT 3"],
        BLOCKS,
    ),
    "one block and one statement": Case("SELECT 1; BEGIN; SELECT 2; COMMIT", ["SELECT 1", "SELECT 2;"], BLOCKS),
    "savepoints in blocks": Case(
        "BEGIN; SAVEPOINT a; COMMIT; BEGIN; SELECT 1; ROLLBACK TO a; COMMIT",
        ["SAVEPOINT a;", "SELECT 1; ROLLBACK TO a;"],
        BLOCKS,
    ),
    "transaction = off": Case("SELECT 1; -- a\nSELECT 2;", ["SELECT 1", "SELECT 2"], OFF, "off"),
    "transaction = off, one statement": Case("SELECT 1", ["SELECT 1"], OFF, "off"),
    "transaction = off, nothing": Case("-- a", [], OFF, "off"),
    "transaction = off, blocks": Case(
        "SELECT 1; BEGIN; SELECT 2; SELECT 3; COMMIT; SELECT 4",
        ["SELECT 1", "SELECT 2; SELECT 3;", "SELECT 4"],
        OFF,
        "off",
    ),
    "transaction = off, wrapped": Case("BEGIN; SELECT 1; COMMIT", ["SELECT 1;"], OFF, "off"),
    # What PostgreSQL runs in no transaction makes all statements of its file units.
    "concurrently": Case(
        "CREATE TABLE t (a int); CREATE INDEX CONCURRENTLY i ON t (a); SELECT 1;",
        ["CREATE TABLE t (a int)", "CREATE INDEX CONCURRENTLY i ON t (a)", "SELECT 1"],
        alone("CREATE INDEX CONCURRENTLY"),
    ),
    "concurrently beside a block": Case(
        "BEGIN; SELECT 1; COMMIT; DROP INDEX CONCURRENTLY i;",
        ["SELECT 1;", "DROP INDEX CONCURRENTLY i"],
        alone("DROP INDEX CONCURRENTLY"),
    ),
    "concurrently, transaction = off": Case(
        "CREATE INDEX CONCURRENTLY i ON t (a);", ["CREATE INDEX CONCURRENTLY i ON t (a)"], OFF, "off"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_units_hold_their_statements_in_the_order_written_and_say_why(case: Case):
    statements, found = parse(case.text.encode()), layout(case.text, case.transaction)
    units = [
        (case.text.encode()[part.start : part.end].decode().strip(" \n;"), said(part.modes)) for part in found.units
    ]
    expected = [(unit, "") if isinstance(unit, str) else unit for unit in case.units]
    assert units == [(unit.strip(" \n;"), modes) for unit, modes in expected]
    assert (found.reason, found.problems) == (case.reason, ())
    inside = [number for part in found.units for number in range(*part.statements)]
    around = [number for number, each in enumerate(statements) if each.text.split()[0].upper() in _CONTROLS]
    around = [number for number in around if b" TO " not in statements[number].text]
    assert sorted(inside + around) == list(range(len(statements)))
    assert inside == sorted(inside)
    for part in found.units:
        assert all(part.start <= s.start < s.end <= part.end for s in statements[slice(*part.statements)])
    assert all(before.end <= after.start for before, after in zip(found.units, found.units[1:], strict=False))


_CONTROLS = (b"BEGIN", b"START", b"COMMIT", b"END")


def test_unit_that_can_not_run_in_a_transaction_says_what_it_is():
    found = layout("SELECT 1; CREATE INDEX CONCURRENTLY i ON t (a); VACUUM t")
    names = [unit.nontransactional and unit.nontransactional.name for unit in found.units]
    assert names == [None, "CREATE INDEX CONCURRENTLY", "VACUUM"]


def said(modes: str) -> str:
    """What a BEGIN's modes are to the server."""
    return " ".join(word.decode() for _, word in tokens(modes.encode()) if word not in (b"TRANSACTION", b"WORK"))


@pytest.mark.parametrize(
    ("begin", "modes"),
    [
        ("BEGIN/**/READ WRITE", "READ WRITE"),
        ("BEGIN/* a */ISOLATION LEVEL SERIALIZABLE", "ISOLATION LEVEL SERIALIZABLE"),
        ("BEGIN--a b\nREAD ONLY", "READ ONLY"),
        ("BEGIN /* a */ WORK/* b */READ ONLY", "READ ONLY"),
        ("START/* a */TRANSACTION READ ONLY", "READ ONLY"),
        ("START /* a b */ TRANSACTION /* c */ READ ONLY", "READ ONLY"),
        ("BEGIN/* READ ONLY */", ""),
        ("BEGIN -- READ ONLY\n", ""),
        ("BEGIN--;\n", ""),
        ("BEGIN READ WRITE/*;*/", "READ WRITE"),
    ],
)
def test_comments_in_begin_are_no_modes(begin: str, modes: str):
    text = f"{begin}; SELECT 1; COMMIT".encode()
    (part,) = layout(text.decode()).units
    assert said(part.modes) == modes
    assert [statement.text for statement in parse(text[part.start : part.end])] == [b"SELECT 1"]


# ---- what no unit can be made of ------------------------------------------------------------------------------------

NAMED = "transaction = off"  # what the way out is called
PROBLEMS = {  # the sign | marks where the problem is
    "lone COMMIT": ("SELECT 1; |COMMIT;", [NAMED]),
    "lone END": ("SELECT 1; |END;", [NAMED]),
    "first COMMIT of two": ("SELECT 1; |COMMIT; SELECT 2; |COMMIT;", [NAMED, NAMED]),
    "COMMIT too many": ("BEGIN; SELECT 1; COMMIT; |COMMIT;", [NAMED]),
    "top-level ROLLBACK": ("SELECT 1; |ROLLBACK;", [NAMED]),
    "ABORT": ("|ABORT;", [NAMED]),
    "ROLLBACK AND CHAIN": ("SELECT 1; |ROLLBACK AND CHAIN", ["AND CHAIN"]),
    "ROLLBACK after a block": ("BEGIN; SELECT 1; COMMIT; |ROLLBACK", [NAMED]),
    "BEGIN in a block": ("BEGIN; SELECT 1; |BEGIN; SELECT 2; COMMIT;", ["inside another block"]),
    "BEGIN in a block, on": ("BEGIN; |START TRANSACTION; COMMIT;", ["inside another block"]),
    "BEGIN without COMMIT": ("-- é\n|BEGIN; SELECT 1;", ["no COMMIT"]),
    "second BEGIN without COMMIT": ("BEGIN; SELECT 1; COMMIT;\n|BEGIN; SELECT 2;", ["no COMMIT"]),
    "only BEGIN": ("|BEGIN", ["no COMMIT"]),
    "COMMIT PREPARED": ("|COMMIT PREPARED 'a'", ["two-phase"]),
    "ROLLBACK PREPARED": ("SELECT 1;\n|ROLLBACK PREPARED 'a'", ["two-phase"]),
    "VACUUM in a block": ("BEGIN; |VACUUM; COMMIT;", ["VACUUM can't run inside"]),
    "concurrently in a block": (
        "SELECT 1; BEGIN; SELECT 2; |CREATE INDEX CONCURRENTLY i ON t (a); COMMIT;",
        ["CREATE INDEX CONCURRENTLY can't run inside"],
    ),
    "concurrently in two blocks": (
        "BEGIN; |DROP INDEX CONCURRENTLY i; COMMIT; BEGIN; |REINDEX TABLE CONCURRENTLY t; COMMIT",
        ["DROP INDEX CONCURRENTLY", "REINDEX CONCURRENTLY"],
    ),
}


@pytest.mark.parametrize("transaction", [None, "off"])
@pytest.mark.parametrize(("marked", "words"), PROBLEMS.values(), ids=PROBLEMS)
def test_problems_and_where(marked: str, words: list[str], transaction: str | None):
    text = marked.replace("|", "")
    places = [len(before) for before in _befores(marked)]
    found = layout(text, transaction).problems
    statements = parse(text.encode())
    told = [(statements[number].start, reason) for number, reason in found]
    assert [start for start, _ in told] == [len(text[:place].encode()) for place in places]
    assert all(word in reason for word, (_, reason) in zip(words, told, strict=True)), told


def _befores(marked: str) -> list[str]:
    pieces = marked.split("|")
    return ["".join(pieces[: number + 1]) for number in range(len(pieces) - 1)]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("BEGIN; SELECT 1; ROLLBACK;", "ROLLBACK"),
        ("BEGIN; SELECT 1; ABORT; SELECT 2;", "ABORT"),
        ("BEGIN; SELECT 1; COMMIT AND CHAIN; SELECT 2; COMMIT;", "COMMIT AND"),
        ("BEGIN; SELECT 1; PREPARE TRANSACTION 'a';", "PREPARE"),
    ],
)
def test_block_that_ends_otherwise_is_refused_there(text: str, place: str):
    found = {parse(text.encode())[number].start: reason for number, reason in layout(text).problems}
    assert text.index(place) in found
    reason = found[text.index(place)]
    assert "ROLLBACK" in reason if place in ("ROLLBACK", "ABORT") else "two-phase commit and AND CHAIN" in reason


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("SELECT 1; BEGIN; SELECT 2; COMMIT;", "BEGIN", "blocks of its own"),
        ("BEGIN; SELECT 1; COMMIT; BEGIN; SELECT 2; COMMIT;", "BEGIN", "blocks of its own"),
        ("SELECT 1; VACUUM t;", "VACUUM", "VACUUM can't run inside a transaction, but `transaction = on`"),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE", "CREATE INDEX CONCURRENTLY can't run inside"),
    ],
)
def test_one_transaction_asked_for_in_vain(text: str, place: str, words: str):
    ((number, reason),) = layout(text, "on").problems
    assert parse(text.encode())[number].start == text.index(place)
    assert words in reason


def test_reasons_are_whole_sentences():
    (_, lone), (_, undone) = layout("COMMIT; ROLLBACK;").problems
    assert "write `-- migration: transaction = off` at the top and a BEGIN where the block begins" in lone
    assert "`-- migration: transaction = off`" in undone


# ---- what PostgreSQL runs in no transaction -------------------------------------------------------------------------
# tests/database/test_unit_runs.py holds this table against real servers.

ALONE = {
    "CREATE INDEX CONCURRENTLY i ON t (a)": "CREATE INDEX CONCURRENTLY",
    "create unique index concurrently if not exists i on t (a)": "CREATE INDEX CONCURRENTLY",
    "DROP INDEX CONCURRENTLY IF EXISTS i": "DROP INDEX CONCURRENTLY",
    "REINDEX INDEX CONCURRENTLY i": "REINDEX CONCURRENTLY",
    "REINDEX (VERBOSE, CONCURRENTLY) TABLE t": "REINDEX CONCURRENTLY",
    "VACUUM": "VACUUM",
    "VACUUM (ANALYZE) t": "VACUUM",
    "ALTER TABLE p DETACH PARTITION q CONCURRENTLY": "DETACH PARTITION CONCURRENTLY",
    "ALTER SYSTEM RESET ALL": "ALTER SYSTEM",
}


@pytest.mark.parametrize(("text", "name"), ALONE.items())
def test_statement_that_runs_in_no_transaction_is_named(text: str, name: str):
    (statement,) = parse(text.encode())
    found = read_nontransactional(statement)
    assert found is not None
    assert found.name == name


READ_ONLY = [
    "BEGIN READ ONLY",
    "SET TRANSACTION READ ONLY",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
    *(f"SET transaction_read_only = {on}" for on in ("on", "true", "1", "yes", "'on'", "'TRUE'", "'t'", "'1'", "ON")),
    "SET default_transaction_read_only TO on",
    "SET SESSION default_transaction_read_only = 'yes'",
    "SET LOCAL default_transaction_read_only = 'Y'",
    'SET "Default_Transaction_Read_Only" = on',
]
READ_WRITE = [
    "BEGIN READ WRITE",
    "SET TRANSACTION READ WRITE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    *(f"SET transaction_read_only = {off}" for off in ("off", "false", "0", "no", "'off'", "DEFAULT", "''", "2.5")),
    "RESET default_transaction_read_only",
    "SET search_path = on",
]


@pytest.mark.parametrize("text", READ_ONLY)
def test_what_makes_transactions_read_only_is_known(text: str):
    assert is_read_only(parse(text.encode())[0])


@pytest.mark.parametrize("text", READ_WRITE)
def test_what_leaves_transactions_writable_is_not_taken_for_it(text: str):
    assert not is_read_only(parse(text.encode())[0])

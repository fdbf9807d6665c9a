"""One file, understood: what the engine will go by, whatever stands in the file."""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_migrations.compiler import compile as live
from aurora_migrations.compiler import folder_source, squawk
from aurora_migrations.compiler.check import check
from aurora_migrations.compiler.compile import Compiled, compile_migration, compile_text
from aurora_migrations.compiler.folder_source import Compiler
from aurora_migrations.compiler.parser import WHOLE
from aurora_migrations.compiler.token_hash import token_hash, unit_hash
from aurora_migrations.engine.errors import InvalidFile
from aurora_migrations.engine.migrations import Package, discover, position, read_text
from aurora_migrations.engine.options import Options
from aurora_migrations.engine.script import Action, Outline
from tests.bounds import NO_HANG
from tests.servers import Migrations

ROOT = Path(__file__).resolve().parents[2]
BOUNDED = settings(max_examples=150, deadline=None, database=None)
NO_SQL = ""  # the token hash of a text that the grammar refuses


def compiled(text: str | bytes, defaults: Options | None = None) -> Compiled:
    return compile_text("1_a.sql", text if isinstance(text, bytes) else text.encode(), defaults or Options())


def problems(text: str | bytes) -> list[str]:
    return [str(problem) for problem in compiled(text).problems]


def sound(found: Compiled) -> None:
    """What must hold of any text, or the engine would send the wrong bytes."""
    text, script = found.text, found.script
    assert script.sha256 == hashlib.sha256(text).hexdigest()
    if script.tokens == NO_SQL:
        assert found.problems
        assert (script.units, script.statements) == ((), ())
        return
    assert script.tokens == token_hash(text)
    places = [(s.start, s.end) for s in script.statements]
    assert [text[start:end] for start, end in places] == [s.text for s in found.statements]
    assert [(s.line, s.column) for s in script.statements] == [position(text, start) for start, _ in places]
    assert [s.kind for s in script.statements] == [s.kind for s in found.statements]
    spans = [(unit.start, unit.end) for unit in script.units]
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    for unit in script.units:
        assert all(unit.start <= start and end <= unit.end for start, end in places[slice(*unit.statements)])
        begin = f"BEGIN {unit.modes};".encode() if unit.modes else b""
        assert unit.tokens == unit_hash(begin + text[unit.start : unit.end])
    assert all(problem.file == "1_a.sql" and problem.reason for problem in found.problems)
    assert all(0 < problem.line <= text.count(b"\n") + 1 for problem in found.problems)


# ---- any text -------------------------------------------------------------------------------------------------------

SNIPPETS = [
    *("BEGIN", "COMMIT", "START TRANSACTION", "END", "ROLLBACK", "ROLLBACK TO a", "SAVEPOINT a", "BEGIN READ ONLY"),
    *("SELECT 1", "SELECT 'é;'", "SELECT $$;$$", "SET a = 1", "VACUUM", "CREATE INDEX CONCURRENTLY i ON t (a)"),
    *("CREATE TABLE t (a int)", "INSERT INTO t VALUES (1), (2)", "DO $$ BEGIN COMMIT; END $$", "DISCARD ALL"),
    *("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END", f"SELECT {' + '.join(['1'] * 70)}", ""),
]
JOINTS = [";", ";\n", " ;\n", "; -- é; 'b\n", "; /* ; /* 😀 */ */ ", ";;\n\t"]
TOPS = [
    "",
    "-- migration: transaction = off\n",
    "-- migration: transaction = on\n",
    "-- ü\n",
    "-- verify: rows t = 1\n",
]
SPLINTERS = """
' " $$ $a$ -- /* */ ; : :: := \\ \\d ( ) [ ] { } , . .. ? ?| @> ->> || E' U&' U&" B' x' N' $1 $ 0x 1e 1_ é 😀 \ufeff
SELECT FROM BEGIN COMMIT ATOMIC END CASE WHEN CREATE TABLE FUNCTION AS COPY t STDIN UESCAPE SET TO ON INDEX VACUUM NULL
migration: verify: rows = transaction off allow because
"""
LIKE_SQL = st.lists(
    st.sampled_from([*SPLINTERS.split(), "\n", "\r", "\t", "-- migration:", "\x0c", "\x01", "\x7f", "\u00a0"])
)


def written(seed: int) -> bytes:
    """A file of statements and blocks, with all that may stand around them."""
    draw = random.Random(seed)
    pieces = [draw.choice(SNIPPETS) + draw.choice(JOINTS) for _ in range(draw.randint(0, 9))]
    return (draw.choice(TOPS) + "".join(pieces)).encode()


@BOUNDED
@given(st.integers(0, 2**32))
def test_units_and_statements_are_parts_of_the_file_in_its_order(seed: int):
    sound(compiled(written(seed)))


@BOUNDED
@given(LIKE_SQL.map(" ".join) | LIKE_SQL.map("".join) | st.text())
def test_text_that_is_no_sql_is_a_problem_and_nothing_worse(text: str):
    sound(compiled(text.replace("\0", "").encode()))


@BOUNDED
@given(data=st.binary() | st.integers(0, 2**32).map(written), at=st.integers(0, 300), byte=st.binary(max_size=2))
def test_bytes_are_refused_by_name_or_understood(tmp_path_factory: pytest.TempPathFactory, data, at, byte):
    path = tmp_path_factory.getbasetemp() / "1_a.sql"
    path.write_bytes(data[:at] + byte + data[at:])
    try:
        text = read_text(path)
    except InvalidFile as error:
        (problem,) = error.problems
        assert str(problem).startswith("1_a.sql:")
    else:
        sound(compiled(text))


sum_of_100 = "+".join(["1"] * 100)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 200_000,
        "'" * 200_001,
        "/*" * 3_000,  # the scanner's own time grows with the square of this
        "$a" * 200_000,
        ";" * 200_000,
        "-- migration: allow = a\n" * 5_000,
        "BEGIN; COMMIT; " * 5_000,
        "COMMIT; " * 5_000,
        "BEGIN; " * 5_000,
        f"SELECT {'-' * 5_000}1",
        f"SELECT '{'é' * 1_000_000}'",
        "copy t from stdin" + " x" * 100_000 + ";\n\\.",
        "copy t from stdin " * 3_000 + ";\n\\.",
        "\ufeff" * 1_000 + "SELECT 1",
        "INSERT INTO t VALUES ('" + "x" * 10_000_000 + "')",
        "DO $$ BEGIN " + "PERFORM 1;\n" * 300_000 + "END $$",
        f"CREATE TABLE t ({','.join(f'c{n} int DEFAULT {sum_of_100}' for n in range(300))})",
    ],
    ids=lambda text: text[:20],
)
@NO_HANG
def test_monstrous_text_takes_no_monstrous_time(text: str):
    found = compiled(text)
    assert found.problems or found.script.tokens


# ---- what the engine goes by ----------------------------------------------------------------------------------------


def test_script_of_a_file_with_blocks():
    text = "-- migration: lock_timeout = 5s\n-- é\nBEGIN READ WRITE;\n\tSELECT 'é'; SELECT 2;\nCOMMIT;\nSELECT 3;\n"
    script = compiled(text).script
    assert (script.file, script.options.lock_timeout, script.options.transaction) == ("1_a.sql", 5_000, None)
    assert [(unit.statements, unit.modes, unit.nontransactional) for unit in script.units] == [
        ((1, 3), "READ WRITE", None),
        ((4, 5), "", None),
    ]
    assert [text.encode()[unit.start : unit.end].decode().strip() for unit in script.units] == [
        "SELECT 'é'; SELECT 2;",
        "SELECT 3",
    ]
    assert [(s.line, s.column, s.kind) for s in script.statements] == [
        (3, 1, "TransactionStmt"),
        (4, 2, "SelectStmt"),
        (4, 14, "SelectStmt"),
        (5, 1, "TransactionStmt"),
        (6, 1, "SelectStmt"),
    ]


def test_unit_is_known_by_what_it_means_not_by_where_or_how_it_stands():
    first = compiled("BEGIN; SELECT 1; COMMIT; SELECT 2;").script
    second = compiled("-- new\nBEGIN;\n  select /* one */ 1;\nCOMMIT;\n\nSELECT 2; SELECT 3").script
    assert [unit.tokens for unit in second.units[:2]] == [unit.tokens for unit in first.units]


@pytest.mark.parametrize("begin", ["BEGIN ;", "BEGIN\n;", "begin work;", "START TRANSACTION;", "BEGIN -- a\n;"])
def test_layout_of_begin_is_no_part_of_its_unit(begin: str):
    first = compiled("BEGIN; SELECT 1; COMMIT; SELECT 2").script.units[0]
    assert compiled(f"{begin} SELECT 1; COMMIT; SELECT 2").script.units[0].tokens == first.tokens


def test_isolation_level_is_a_part_of_what_a_unit_means():
    first = compiled("BEGIN; SELECT 1; COMMIT; SELECT 2").script.units[0]
    other = compiled("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1; COMMIT; SELECT 2").script.units[0]
    assert other.tokens != first.tokens


def test_defaults_hold_where_the_file_says_nothing():
    defaults = Options(lock_timeout=7_000, statement_timeout=60_000, transaction="off")
    script = compiled("-- migration: lock_timeout = 1s\nSELECT 1; SELECT 2", defaults).script
    assert (script.options.lock_timeout, script.options.statement_timeout) == (1_000, 60_000)
    assert len(script.units) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "BEGIN;\n VACUUM t; COMMIT; SELECT 1",
            "1_a.sql:2:2: VACUUM can't run inside a transaction block; move it out",
        ),
        ("-- migration: transaction = on\nVACUUM;", "1_a.sql:2:1: VACUUM can't run inside a transaction, but"),
        ("SELECT 1;\n\tCOMMIT;", "1_a.sql:2:2: there is no BEGIN that this COMMIT ends"),
        ("-- migration: transation = off\nSELECT 1", "1_a.sql:1:1: there is no option `transation`"),
        ("SELECT 1;\n-- migration: transaction = off\n", "1_a.sql:2:1: options belong at the top"),
        ("SELECT 1;\nSELECT 2 +;\n", '1_a.sql:2:11: syntax error at or near ";"'),
        ("SELECT ':é' || :name", "1_a.sql:1:16: variables of psql aren't replaced here"),
    ],
)
def test_problem_is_told_with_its_place(text: str, told: str):
    assert problems(text)[0].startswith(told)


DUMP = "--\n-- PostgreSQL database dump\n--\n\n\\restrict aB3\n\n-- é\n\nSET a = 1;\n{}\n\n\\unrestrict aB3\n\n"


@pytest.mark.parametrize("body", ["SELECT 'é';", "BEGIN; SELECT 1; COMMIT;", "BEGIN; SELECT 1; COMMIT; SELECT 2;", ""])
def test_restrict_of_a_dump_is_read_over_and_never_sent(body: str):
    text = DUMP.format(body)
    found = compiled(text)
    assert found.problems == ()
    script, plain = found.script, compiled(text.replace("\\", "--")).script
    assert script.statements == tuple(replace(s, start=s.start - 1, end=s.end - 1) for s in plain.statements)
    assert script.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert [unit.tokens for unit in script.units] == [unit.tokens for unit in plain.units]
    sent = b"".join(text.encode()[unit.start : unit.end] for unit in script.units)
    assert b"SET a = 1" in sent
    assert b"restrict" not in sent
    assert live.token_hash(text.replace("aB3", "zY9").encode()) == script.tokens == plain.tokens


def test_restrict_of_a_large_dump_is_never_sent():
    text = DUMP.format(LARGE.decode() + "SELECT 1;").encode()
    (unit,) = compiled(text).script.units
    assert text[: unit.start].endswith(b"\\restrict aB3")
    assert text[unit.end :].startswith(b"\\unrestrict aB3")
    (nothing,) = compiled("\\restrict aB3").script.units
    assert nothing.start == nothing.end


@pytest.mark.parametrize("end", ["", ";\n\\unrestrict aB3\nSELECT 2;"])
@pytest.mark.parametrize("begin", ["SELECT 1;\n\\restrict aB3\n", "SELECT 1;\n\\restrict aB3\n\\restrict aB3\n"])
def test_restrict_between_statements_is_refused(begin: str, end: str):
    (problem,) = problems(f"{begin}SELECT 2{end}")
    assert problem == (
        "1_a.sql:2:1: pg_dump's line is passed over above the first statement or below the last only; delete it"
    )


@pytest.mark.parametrize("line", ["\\restrict aB3", "\\unrestrict aB3"])
def test_what_only_looks_like_restrict_is_sent_as_it_is(line: str):
    text = f"SELECT '\n{line}\n', $$\n{line}\n$$; /*\n{line}\n*/".encode()
    found = compiled(text)
    assert (found.problems, found.text) == ((), text)
    ((unit),) = found.script.units
    assert (unit.start, unit.end) == (0, len(text))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("-- migration: lock_timeout = 5s\r-- migration: transaction = off\rSELECT 1;\r", "1:32"),
        ("SELECT 'é';\n-- harmless\rDROP TABLE users;\n", "2:12"),
        ("SELECT 1;\r\r\nSELECT 2", "1:10"),
        ("SELECT 'a\rb', $$\n-- harmless\rDROP TABLE users;\n$$", "2:12"),
        ("SELECT 'a\rb' \r", "1:14"),
        ("SELEC 1\r", "1:8"),
    ],
)
@pytest.mark.parametrize("name", ["1_a.sql", "1_a.verify.sql"])
def test_carriage_return_alone_is_refused(migrations: Migrations, text: str, place: str, name: str):
    migrations.write("1_a.sql", "SELECT 1;")
    (migrations.dir / name).write_bytes(text.encode())
    ((problem,),) = (file.problems for file in check(discover(migrations.dir)))
    assert str(problem) == (
        f"{name}:{place}: holds a lone carriage return (CR), which ends a line in PostgreSQL but not in most editors; "
        "save the file with LF or CRLF line ends"
    )


def test_carriage_return_in_a_quoted_string_is_its_own():
    assert problems("-- migration: lock_timeout = 1s\nSELECT 'a\rb', E'\r\\'', U&'\r', 'a'\r'b' FROM t;") == []


def test_all_problems_of_a_file_are_told():
    text = "-- migration: what = 1\n-- migration: lock_timeout = 0\nCOMMIT;\nDISCARD ALL;\nROLLBACK;\n"
    assert [problem.rpartition(":")[0].split(": ")[0] for problem in problems(text)] == [
        f"1_a.sql:{place}" for place in ("1:1", "2:1", "3:1", "4:1", "5:1")
    ]


# ---- a folder of them -----------------------------------------------------------------------------------------------


@pytest.fixture
def broken(migrations: Migrations) -> Migrations:
    migrations.write("1_a.sql", "SELEC 1;\n")
    migrations.write("2_b.sql", "SELECT 1;\n")
    migrations.write("2_b.verify.sql", "SELECT true;\nDELETE FROM t;\nSELEC\n")
    migrations.write("2_b.down.sql", "DROP TABL t;\n")
    migrations.write("3_c.sql", "SELECT 1;\nROLLBACK;\n")
    (migrations.dir / "4_d.sql").write_bytes(b"SELECT '\xff';\n")
    migrations.write("5_e.sql", "SELECT 1;\n")
    migrations.write("5_e.verify.sql", "-- nothing\n")
    return migrations


def test_problems_of_all_files_are_told_each_file_once(broken: Migrations):
    package = discover(broken.dir)
    compiler = Compiler(package)
    found = compiler.problems("apply", package.migrations)
    assert [(problem.file, problem.line) for problem in found] == [
        ("1_a.sql", 1),
        ("2_b.verify.sql", 3),
        ("3_c.sql", 2),
        ("4_d.sql", 1),
        ("5_e.verify.sql", 0),
    ]
    down = compiler.problems("rollback", [package.by_version[2]])
    assert [str(problem) for problem in down] == ['2_b.down.sql:1:6: syntax error at or near "TABL"']


def test_file_with_problems_has_no_script(broken: Migrations):
    package = discover(broken.dir)
    with pytest.raises(InvalidFile, match=r"^3_c\.sql:2:1: a ROLLBACK would undo"):
        Compiler(package).script("apply", package.by_version[3])


@pytest.mark.parametrize("runs", [True, False])
def test_many_files_are_compiled_by_a_process_of_its_own_with_the_same_result(
    migrations, monkeypatch, tmp_path, runs: bool
):
    """Where that process doesn't run, the work is done here."""
    for number in range(1, 8):
        text = "SELEC 1;" if number == 5 else f"CREATE TABLE t{number} ();\nDROP TABLE t{number - 1};"
        migrations.write(f"{number}_a.sql", text)
    package = discover(migrations.dir)
    here, apart = Compiler(package), Compiler(package)
    problems = here.problems("apply", package.migrations)
    monkeypatch.setattr(folder_source, "_MANY", 2)
    monkeypatch.setattr(folder_source, "_AT_ONCE", 3)
    if runs:
        monkeypatch.setattr(folder_source, "_compile_files", lambda *_: pytest.fail("that process hasn't done it"))
    else:
        monkeypatch.setattr(folder_source, "_PROGRAM", "aurora_migrations.nowhere")
    (tmp_path / "pickle.py").write_text("raise SystemExit('this is in the current folder')")
    monkeypatch.chdir(tmp_path)
    assert apart.problems("apply", package.migrations) == problems != []
    for number in (1, 4, 7):
        script = apart.script("apply", package.by_version[number])
        assert script == here.script("apply", package.by_version[number])
        assert script.hazards


def test_large_file_is_compiled_by_a_process_of_its_own(migrations, monkeypatch):
    rows = [f"INSERT INTO t VALUES ({n}, 'é', NULL);\n" for n in range(70_000)]
    migrations.write("1_a.sql", f"CREATE TABLE t (a int, b text, c text);\n{''.join(rows)}")
    package = discover(migrations.dir)
    (only,) = package.migrations
    monkeypatch.setattr(folder_source, "_compile_files", lambda *_: pytest.fail("compiled here"))
    script = Compiler(package).script("apply", only)
    assert len(script.statements) == 70_001
    assert (script.statements[-1].line, script.statements[-1].kind) == (70_001, "InsertStmt")
    assert script == compile_migration("apply", only, Options()).script


@pytest.mark.parametrize("action", ["apply", "rollback"])
def test_text_that_was_compiled_is_not_read_again_for_its_hash(migrations: Migrations, action: Action):
    texts = {"1_a.sql": "\ufeffSELECT 1;\r\nSELECT 'é';\r\n", "1_a.down.sql": "SELECT 2;\n"}
    for name, text in texts.items():
        migrations.write(name, text)
    (fresh,), (only,) = (discover(migrations.dir).migrations for _ in range(2))
    compiler, hashes = Compiler(Package(migrations.dir, (only,))), fresh.hashes
    compiler.script(action, only)
    name = only.name if action == "apply" else "1_a.down.sql"
    migrations.write(name, "SELECT 3;")
    assert only.hashes == hashes


def test_each_file_is_understood_once(migrations: Migrations, monkeypatch: pytest.MonkeyPatch):
    migrations.write("1_a.sql", "SELECT 1;")
    migrations.write("1_a.down.sql", "SELECT 2;")
    asked: list[str] = []
    parse = live.parse
    monkeypatch.setattr(live, "parse", lambda text: asked.append(text.decode()) or parse(text))
    package = discover(migrations.dir)
    compiler, (only,) = Compiler(package), package.migrations
    for _ in range(2):
        assert compiler.problems("apply", [only]) == []
        assert compiler.script("apply", only).file == "1_a.sql"
        assert compiler.script("rollback", only).file == "1_a.down.sql"
    assert asked == ["SELECT 1;", "SELECT 2;"]


def test_what_is_had_of_many_files_at_once_is_what_is_had_of_each_and_no_linter_runs(migrations, monkeypatch):
    migrations.write("1_a.sql", "-- verify: rows a >= 0\nCREATE TABLE a (id int);\nCREATE INDEX ON a (id);")
    migrations.write("2_b.sql", "ALTER TABLE a RENAME TO b;\nDROP TABLE c;")
    migrations.write("3_c.sql", "-- nothing\n")
    package = discover(migrations.dir)
    each = [Compiler(package).script("apply", migration) for migration in package.migrations]
    assert any(script.hazards for script in each)
    monkeypatch.delattr(squawk, "lint")
    compiler = Compiler(package)
    outlines = [Outline(script.file, script.tables, script.options.rows) for script in each]
    assert list(compiler.outlines(package.migrations)) == outlines
    assert [outline.tables for outline in outlines] == [("a",), ("b",), ()]


def test_file_with_problems_is_not_among_many_files_at_once(broken: Migrations):
    broken.write("6_f.sql", "-- migration: transaction = maybe\nSELECT 1;\n")
    package = discover(broken.dir)
    for number, problem in ((1, "1_a.sql"), (4, "4_d.sql"), (6, "6_f.sql")):
        for several in (partial(Compiler(package).scripts, "apply"), Compiler(package).outlines):
            with pytest.raises(InvalidFile, match=f"^{re.escape(problem)}:"):
                list(several([package.by_version[number]]))


def test_promises_are_those_of_the_verify_file_and_only_when_applying(migrations: Migrations):
    migrations.write("1_a.sql", "SELECT 1;")
    migrations.write("1_a.down.sql", "SELECT 2;")
    migrations.write("1_a.verify.sql", "-- It is so.\nSELECT true;\nSELECT 1 = 1")
    package = discover(migrations.dir)
    compiler, (only,) = Compiler(package), package.migrations
    promises = compiler.script("apply", only).expectations
    assert [(promise.name, promise.query) for promise in promises] == [
        ("It is so", "SELECT true"),
        ("SELECT 1 = 1", "SELECT 1 = 1"),
    ]
    assert compiler.script("rollback", only).expectations == ()


def test_text_that_is_no_sql_has_no_token_hash(migrations: Migrations):
    migrations.write("1_a.sql", "SELECT 1;")
    compiler = Compiler(discover(migrations.dir))
    assert compiler.token_hash(b"SELECT 'a") is None
    assert compiler.token_hash(b"select 1;") == compiler.token_hash(b"SELECT  1 ;")


def test_grammar_is_loaded_only_when_a_file_must_be_understood(migrations: Migrations):
    migrations.write("1_a.sql", "SELECT 1;")
    program = (
        "import sys, pathlib\n"
        "from aurora_migrations.compiler.folder_source import Compiler\n"
        "from aurora_migrations.engine import discover\n"
        "package = discover(pathlib.Path(sys.argv[1]))\n"
        "compiler = Compiler(package)\n"
        "assert compiler.digest and 'postgast' not in sys.modules\n"
        "compiler.script('apply', package.migrations[0])\n"
        "assert 'postgast' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, str(migrations.dir)], cwd=ROOT, check=True)


@pytest.mark.parametrize("text", ["SELECT {0}", "ALTER TABLE t ADD COLUMN c text DEFAULT {0}"])
def test_calls_nested_deeper_than_a_tree_is_kept_are_no_problem(text: str) -> None:
    assert compiled(text.format("lower(" * 60 + "'a'" + ")" * 60)).problems == ()


ROWS = 20_000  # 1.1 MB: more than is understood in one piece
LARGE = "INSERT INTO notes VALUES ('once; é\nupon -- a time', 17);\n".encode() * ROWS


def test_large_file_is_understood_to_its_last_statement(tmp_path) -> None:
    text = LARGE + "-- é;\nALTER TABLE users DROP COLUMN email;\nCREATE FUNCTION f() RETURNS int\n".encode()
    text += b"LANGUAGE sql BEGIN ATOMIC\nSELECT 1;\nSELECT 2;\nEND;\n"
    (tmp_path / "1_a.sql").write_bytes(text)
    (checked,) = check(discover(tmp_path))
    assert len(LARGE) > WHOLE
    assert checked.compiled
    statements = checked.compiled.script.statements
    assert len(statements) == ROWS + 2
    assert {text[s.start : s.end] for s in statements[:ROWS]} == {LARGE[: len(LARGE) // ROWS - 2]}
    assert [text[s.start : s.start + 12] for s in statements[ROWS:]] == [b"ALTER TABLE ", b"CREATE FUNCT"]
    assert (statements[ROWS].line, statements[ROWS].column) == (2 * ROWS + 2, 1)
    assert [hazard.rule for hazard in checked.hazards] == ["ban-drop-column"]
    assert statements[ROWS].locks[0].mode == "ACCESS EXCLUSIVE"
    assert statements[5].locks[0].table == "notes"


@pytest.mark.parametrize("end", ["COMMIT;", "DISCARD ALL;", "INSERT INTO notes VALUEZ (1);", "SELECT 'no end"])
def test_large_file_is_refused_for_its_last_statement(tmp_path, end: str) -> None:
    (tmp_path / "1_a.sql").write_bytes(LARGE + end.encode())
    (checked,) = check(discover(tmp_path))
    (problem,) = checked.problems
    assert problem.line == 2 * ROWS + 1


def test_token_hash_of_a_large_file_is_that_of_its_tokens(monkeypatch) -> None:
    text = b"SELECT 'a'\n'b;\n', $$;\n$$ /* ;\n */;\nSELECT \"x;\n\" -- ;\n;\n" * 40
    expected = token_hash(text)
    monkeypatch.setattr("aurora_migrations.compiler.parser.WHOLE", 0)
    for size in (1, 7, 100):
        monkeypatch.setattr("aurora_migrations.compiler.parser.CHUNK", size)
        assert token_hash(text) == expected

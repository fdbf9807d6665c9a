"""Everything that can be known of a folder before a deploy: each file looked at, nothing left out, nothing twice."""

from __future__ import annotations

import json
import os
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aurora_migrations.cli import findings
from aurora_migrations.compiler.check import Checked, annotation, check, of_hazards, of_problems, write_manifest
from aurora_migrations.compiler.hazards import PASSWORD
from aurora_migrations.engine.errors import InvalidInput
from aurora_migrations.engine.manifest import DETAILS, Manifest
from aurora_migrations.engine.migrations import INDEX, Problem, discover
from aurora_migrations.engine.options import Options
from aurora_migrations.engine.script import Hazard
from tests.servers import Migrations

WIDE = "ALTER TABLE users ALTER COLUMN id TYPE bigint;\n"
CHANGING = "changing-column-type"
REASON = "because the table is empty until 2.4"


def checked(migrations: Migrations, defaults: Options | None = None) -> dict[str, Checked]:
    """What is known of each file, by its name."""
    return {file.file: file for file in check(discover(migrations.dir), defaults)}


def only(migrations: Migrations, text: str) -> Checked:
    migrations.write("1_a.sql", text)
    (found,) = checked(migrations).values()
    return found


def told(file: Checked) -> list[str]:
    return [str(problem) for problem in file.problems]


def test_every_file_that_runs_is_looked_at_in_order(migrations: Migrations):
    migrations.write("10_b.sql", "SELECT 1;")
    migrations.write("9_a.sql", "SELECT 1;")
    migrations.write("9_a.down.sql", "SELECT 2;")
    migrations.write("9_a.verify.sql", "SELECT true;")
    files = check(discover(migrations.dir))
    assert [(file.file, file.action) for file in files] == [
        ("9_a.sql", "apply"),
        ("9_a.down.sql", "rollback"),
        ("10_b.sql", "apply"),
    ]
    assert all(file.compiled and not file.problems and not file.hazards and not file.warnings for file in files)


def test_problems_of_all_files_are_told_down_and_verify_files_too(migrations: Migrations):
    migrations.write("1_a.sql", "SELEC 1;")
    migrations.write("1_a.down.sql", "SELECT 1;\nDROP TABL a;")
    migrations.write("1_a.verify.sql", "SELECT true;\nTRUNCATE t;")
    (migrations.dir / "2_b.sql").write_bytes(b"SELECT '\xff'")
    migrations.write("3_c.sql", "SELECT 1;\n\tCOMMIT;")
    migrations.write("4_d.sql", "SELECT 1;")
    migrations.write("4_d.verify.sql", "SELECT 'a")
    files = checked(migrations)
    places = {name: [problem.partition(": ")[0] for problem in told(file)] for name, file in files.items()}
    assert places == {
        "1_a.sql": ["1_a.sql:1:1", "1_a.verify.sql:2:1"],
        "1_a.down.sql": ["1_a.down.sql:2:6"],
        "2_b.sql": ["2_b.sql:1:9"],
        "3_c.sql": ["3_c.sql:2:2"],
        "4_d.sql": ["4_d.verify.sql:1:8"],
    }
    assert files["2_b.sql"].compiled is None


def test_effects_and_notes_are_told_by_statement(migrations: Migrations):
    found = only(migrations, f"CREATE TABLE t (a int);\n{WIDE}DO $$ BEGIN END $$;")
    assert found.compiled
    assert len(found.effects) == len(found.notes) == len(found.compiled.statements) == 3
    assert found.effects[0] == ()
    assert [(effect.table, effect.lock) for effect in found.effects[1]] == [("users", "ACCESS EXCLUSIVE")]
    assert [bool(note) for note in found.notes] == [False, False, True]


def test_defaults_are_the_environments(migrations: Migrations):
    migrations.write("1_a.sql", "SELECT 1; SELECT 2;")
    (found,) = checked(migrations, Options(transaction="off")).values()
    assert found.compiled
    assert len(found.compiled.script.units) == 2


# ---- hazards and what a file accepts --------------------------------------------------------------------------------


def test_hazard_is_open_until_its_file_accepts_it(migrations: Migrations):
    found = only(migrations, WIDE)
    assert [hazard.rule for hazard in found.open_hazards] == [CHANGING]
    assert found.accepted == ()
    found = only(migrations, f"-- migration: allow = {CHANGING} {REASON}\n{WIDE}")
    assert found.open_hazards == ()
    assert [(hazard.rule, hazard.allowed_because) for hazard in found.accepted] == [(CHANGING, REASON[8:])]
    assert (found.problems, found.warnings) == ((), ())


def test_allow_of_one_file_is_not_anothers(migrations: Migrations):
    migrations.write("1_a.sql", f"-- migration: allow = {CHANGING} {REASON}\n{WIDE}")
    migrations.write("2_b.sql", WIDE)
    files = checked(migrations)
    assert [len(file.open_hazards) for file in files.values()] == [0, 1]


@pytest.mark.parametrize(
    ("allow", "words"),
    [
        (CHANGING, "allow needs a reason"),
        (f"{CHANGING} because", "allow needs a reason"),
        (f"{CHANGING} because ...", "allow needs a reason"),
        ("changing-colum-type because so", f"did you mean {CHANGING}"),
        ("nonsense because so", "there is no rule `nonsense`"),
        ("", "allow needs a rule and a reason"),
    ],
)
def test_allow_that_says_too_little_is_a_problem_and_accepts_nothing(migrations: Migrations, allow: str, words: str):
    found = only(migrations, f"-- a\n-- migration: allow = {allow}\n{WIDE}")
    (problem,) = told(found)
    assert problem.startswith("1_a.sql:2:1: ")
    assert words in problem
    assert [hazard.rule for hazard in found.open_hazards] == [CHANGING]


def test_allow_that_covers_nothing_is_a_warning(migrations: Migrations):
    found = only(migrations, f"-- migration: allow = {CHANGING} {REASON}\nSELECT 1;\n")
    assert found.problems == ()
    (warning,) = found.warnings
    assert str(warning).startswith(f"1_a.sql:1:1: `allow = {CHANGING}` no longer applies")


def test_allow_in_a_file_with_a_syntax_error_is_not_called_idle(migrations: Migrations):
    found = only(migrations, f"-- migration: allow = {CHANGING} {REASON}\n{WIDE}SELEC 1;\n")
    assert len(found.problems) == 1
    assert found.warnings == ()


def test_index_without_a_name_is_refused_once(migrations: Migrations):
    found = only(migrations, "CREATE INDEX CONCURRENTLY ON users (id);\n")
    (problem,) = found.problems
    assert problem.reason.startswith("CONCURRENTLY needs a name")
    assert found.hazards == ()


def test_down_file_may_drop_what_its_migration_made(migrations: Migrations):
    migrations.write("1_a.sql", "DROP TABLE users;")
    migrations.write("1_a.down.sql", "DROP TABLE users;\n" + WIDE)
    files = checked(migrations)
    assert [hazard.rule for hazard in files["1_a.sql"].open_hazards] == ["ban-drop-table"]
    assert [hazard.rule for hazard in files["1_a.down.sql"].open_hazards] == [CHANGING]


def test_password_is_named_and_never_repeated(migrations: Migrations):
    found = only(migrations, "CREATE ROLE app LOGIN PASSWORD 'kanarien-7vogel';\n")
    assert [hazard.rule for hazard in found.open_hazards] == [PASSWORD]
    assert "kanarien" not in repr((found.hazards, found.problems, found.warnings, found.effects, found.notes))


def test_hazards_know_in_what_transaction_their_statement_runs(migrations: Migrations):
    """What is fine in a transaction with its limits may not be so in a file without one, and the other way round."""
    whole = only(migrations, "CREATE INDEX i ON users (id);\nSELECT 1;\n")
    apart = only(migrations, "-- migration: transaction = off\nCREATE INDEX CONCURRENTLY i ON users (id);\nSELECT 1;\n")
    assert [hazard.rule for hazard in whole.open_hazards] == ["require-concurrent-index-creation"]
    assert apart.open_hazards == ()


# ---- any files ------------------------------------------------------------------------------------------------------

WORDS = """
SELECT 1 ; ALTER TABLE t ADD COLUMN DROP a b int bigint DEFAULT NOT NULL TYPE CREATE INDEX CONCURRENTLY ON ( ) , ' " $$
-- /* */ BEGIN COMMIT PASSWORD 'x' ROLE é 😀 \\ : = \n \n VACUUM UNIQUE CHECK REFERENCES u IF EXISTS CASCADE RENAME TO
"""


def test_no_files_make_it_crash(migrations: Migrations):
    draw = random.Random(3)
    words = [*WORDS.split(" ")]
    for version in range(1, 201):
        text = " ".join(draw.choices(words, k=draw.randint(0, 25)))
        migrations.write(f"{version}_x.sql", f"ALTER TABLE t ADD a int;\n{text}")
    files = checked(migrations)
    assert len(files) == 200
    assert all(file.compiled for file in files.values())
    assert all(file.problems or file.compiled.script.tokens for file in files.values() if file.compiled)


OFF = "-- migration: transaction = off\n"
MANY: dict[str, Callable[[int], str]] = {
    "units and hazards": lambda n: OFF + "".join(f"CREATE TEMP TABLE t{i} (); DROP TABLE s.t{i};\n" for i in range(n)),
    "blocks and passwords": lambda n: "".join(f"BEGIN; ALTER ROLE r{i} PASSWORD 'x'; COMMIT;" for i in range(n)),
    "hazards in one statement": lambda n: (
        "ALTER TABLE t " + ", ".join(f"ADD CHECK (a > {i}), ADD UNIQUE (a{i})" for i in range(n))
    ),
    "allows": lambda n: f"-- migration: allow = {CHANGING} {REASON}\n" * n + WIDE * n,
    "tables renamed": lambda n: "".join(
        f"CREATE TABLE t{i} (); CREATE INDEX i{i} ON t{i} (a); ALTER TABLE t{i} RENAME TO u{i};\n" for i in range(n)
    ),
    "tables dropped": lambda n: (
        "".join(f"CREATE TABLE t{i} ();\n" for i in range(n)) + "".join(f"DROP TABLE t{i};\n" for i in range(n))
    ),
    "savepoints": lambda n: "SAVEPOINT s; CREATE TABLE t ();\n" * n + "ROLLBACK TO s;\n" * n,
}


@pytest.mark.parametrize("many", MANY.values(), ids=MANY)
def test_work_grows_with_a_file_and_not_with_its_square(migrations: Migrations, many: Callable[[int], str]):
    assert calls_to_check(migrations, many(600)) < 3.4 * calls_to_check(migrations, many(200))


def calls_to_check(migrations: Migrations, text: str) -> int:
    """How many calls of functions it takes: unlike the time, it's the same each time."""
    path, count = migrations.write("1_a.sql", text), 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        check(discover(path.parent))
    finally:
        sys.setprofile(before)
    return count


# ---- the manifest ---------------------------------------------------------------------------------------------------


def test_manifest_holds_what_the_engine_and_people_want_to_know(migrations: Migrations):
    migrations.write("1_a.sql", f"-- migration: allow = {CHANGING} {REASON}\n{WIDE}")
    migrations.write("1_a.down.sql", "SELECT 2;")
    migrations.write("1_a.verify.sql", "SELECT true;")
    files = check(discover(migrations.dir))
    digest = write_manifest(migrations.dir, files)
    read = Manifest(migrations.dir)
    assert read.digest == digest
    (migration,) = read.package.migrations
    for file in files:
        assert file.compiled
        assert read.script(file.action, migration) == file.compiled.script
    (document,) = [json.loads(line) for line in (migrations.dir / DETAILS).read_text("utf-8").splitlines()]
    assert sorted(document) == ["apply", "rollback"]
    told = document["apply"]
    assert told["hazards"][0]["rule"] == CHANGING
    assert told["hazards"][0]["allowed_because"] == REASON[8:]
    ((lock,),) = (statement["locks"] for statement in told["statements"])
    assert (lock["table"], lock["mode"], lock["rewrites"]) == ("users", "ACCESS EXCLUSIVE", "maybe")


def test_manifest_is_the_same_wherever_its_folder_is(migrations: Migrations, tmp_path: Path):
    other = Migrations(tmp_path / "elsewhere")
    other.dir.mkdir()
    for folder in (migrations, other):
        folder.write("1_a.sql", f"{WIDE}CREATE ROLE a PASSWORD 'b';\n")
        write_manifest(folder.dir, check(discover(folder.dir)))
    assert [(migrations.dir / name).read_bytes() for name in (INDEX, DETAILS)] == [
        (other.dir / name).read_bytes() for name in (INDEX, DETAILS)
    ]


def test_line_ends_make_no_other_manifest(migrations: Migrations, tmp_path: Path):
    other = Migrations(tmp_path / "elsewhere")
    other.dir.mkdir()
    text = "SELECT 1;\nSELECT 2;\n"
    migrations.write("1_a.sql", text)
    other.write("1_a.sql", "\ufeff" + text.replace("\n", "\r\n"))
    digests = {write_manifest(folder.dir, check(discover(folder.dir))) for folder in (migrations, other)}
    assert len(digests) == 1


# ---- as GitHub's workflow commands: one line each, whatever is in a name or a message -------------------------------

HAZARD = Hazard("ban-drop-column", "017_x.sql", 3, 7, "It may break clients.", "Drop it later.")
HELPLESS = Hazard("ban-drop-database", "018_y.sql", 1, 1, "No help.", "")
ALLOWED = Hazard("ban-drop-table", "019_z.sql", 1, 1, "Gone.", "", allowed_because="nobody reads it")


def undo(line):
    """What GitHub's runner makes of a line (its ActionCommand.cs: the data, then each property, unescaped)."""
    level, properties, message = re.fullmatch(r"::(\w+) (.*?)::(.*)", line).groups()
    pairs = (pair.split("=", 1) for pair in properties.split(","))
    return level, {name: unescape(value) for name, value in pairs}, unescape(message)


def unescape(text):
    for code, character in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, character)
    return text


def test_a_command_has_place_title_and_message():
    line = annotation("error", "migrations/017_x.sql", 3, 7, "ban-drop-column", "It may break clients.")
    assert line == "::error file=migrations/017_x.sql,line=3,col=7,title=ban-drop-column::It may break clients."


@pytest.mark.parametrize(
    ("text", "in_message", "in_property"),
    [
        ("100 %", "100 %25", "100 %25"),
        ("%0A", "%250A", "%250A"),
        ("a\r\nb", "a%0D%0Ab", "a%0D%0Ab"),
        ("a: b, c", "a: b, c", "a%3A b%2C c"),
        ("::error::x", "::error::x", "%3A%3Aerror%3A%3Ax"),
        ("é 🐘 = ;", "é 🐘 = ;", "é 🐘 = ;"),
    ],
)
def test_escaping_is_the_documented_one(text, in_message, in_property):
    line = annotation("warning", text, 1, 2, text, text)
    assert line == f"::warning file={in_property},line=1,col=2,title={in_property}::{in_message}"
    assert "\n" not in line
    assert undo(line) == ("warning", {"file": text, "line": "1", "col": "2", "title": text}, text)


def test_a_file_as_a_whole_has_no_line():
    assert annotation("error", "x.sql", 0, 0, "t", "m") == "::error file=x.sql,title=t::m"


@pytest.mark.parametrize(("refuse", "level"), [(False, "warning"), (True, "error")])
def test_hazards_warn_or_stop_as_the_environment_says_and_allowed_ones_are_silent(refuse, level):
    lines = list(of_hazards([HAZARD, HELPLESS, ALLOWED], refuse=refuse))
    assert [undo(line)[0] for line in lines] == [level, level]


def test_message_and_help_are_lines_of_one_message():
    (line,) = of_hazards([HAZARD])
    assert undo(line)[2] == "It may break clients.\nDrop it later."
    (line,) = of_hazards([HELPLESS])
    assert undo(line)[2] == "No help."


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("", "017_x.sql"),
        (".", "017_x.sql"),
        ("migrations", "migrations/017_x.sql"),
        ("./migrations/", "migrations/017_x.sql"),
        ("db\\migrations", "db/migrations/017_x.sql"),
    ],
)
def test_files_are_named_from_the_repositorys_root(folder, file):
    (line,) = of_hazards([HAZARD], folder)
    assert undo(line)[1]["file"] == file


def test_problems_are_told_the_same_way():
    lines = list(of_problems([Problem("x.sql", "syntax error, at: 5 %", 2, 4), Problem("y", "whole")], "syntax", "m"))
    assert lines == [
        "::error file=m/x.sql,line=2,col=4,title=syntax::syntax error, at: 5 %25",
        "::error file=m/y,title=syntax::whole",
    ]
    assert [undo(line)[0] for line in of_problems([Problem("y", "r", 1, 1)], "t", level="warning")] == ["warning"]


def test_large_folder_is_checked_in_several_processes_with_the_same_result(tmp_path, monkeypatch) -> None:
    texts = [
        "CREATE TABLE thing0 ();",
        "ALTER TABLE thing0 DROP COLUMN a;",
        "ALTER TABLE thinh0 ADD b int;",
        "SELEC 1;",
    ]
    for number in range(60):
        text = texts[number % len(texts)].replace("0", str(number // 4))
        (tmp_path / f"{number:03}_x.sql").write_text(text)
    package = discover(tmp_path)
    at_once = check(package)
    monkeypatch.setattr("aurora_migrations.compiler.check._LARGE", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2, 3}, raising=False)
    shared = check(package)
    assert [file.without_trees() for file in shared] == [file.without_trees() for file in at_once]
    assert [file.notes for file in shared] == [file.notes for file in at_once]
    assert [str(each) for each in findings.find(shared, "warning")] == [
        str(each) for each in findings.find(at_once, "warning")
    ]
    assert sum(each.rule == "unknown-table" for file in shared for each in file.hazards) > 10


@pytest.mark.parametrize("large", [2, 1000], ids=["shared", "at once"])
def test_findings_are_the_same_where_nothing_else_is_wanted(tmp_path, monkeypatch, large: int) -> None:
    texts = [
        "CREATE TABLE thing ();\nCREATE TEMP TABLE made ();\nCREATE INDEX CONCURRENTLY thing_a ON thing (a);",
        f"-- migration: allow = {CHANGING} {REASON}\nSELECT 1;\n\n{WIDE}",
        "-- migration: allow = ban-drop-column because it is unused\nSELECT 'é'; UPDATE thinh SET b = 1;",
        "CREATE ROLE a PASSWORD 'b'; BEGIN; VACUUM; COMMIT;",
        "ALTER TYPE mood ADD VALUE 'calm'; INSERT INTO thing VALUES ('calm');",
        "SELEC 1;",
    ]
    for number, text in enumerate(texts):
        (tmp_path / f"{number:03}_x.sql").write_text(text, "utf-8")
    monkeypatch.setattr("aurora_migrations.compiler.check._LARGE", large)
    whole, found = check(discover(tmp_path)), check(discover(tmp_path), only_findings=True)
    for attribute in ("file", "action", "problems", "warnings", "hazards", "open_hazards", "accepted"):
        assert [getattr(file, attribute) for file in found] == [getattr(file, attribute) for file in whole]
    assert list(findings.find(found, "warning")) == list(findings.find(whole, "warning"))
    rules = {each.rule for each in findings.find(found, "warning")}
    assert rules >= {"", PASSWORD, "session-state-between-parts", "enum-value-in-its-transaction", "unknown-table"}


def test_error_of_a_share_is_raised_as_if_there_were_one_process(tmp_path, monkeypatch) -> None:
    for number in range(4):
        (tmp_path / f"{number:03}_x.sql").write_text("ALTER TABLE a DROP COLUMN b;")
    monkeypatch.setattr("aurora_migrations.compiler.check._LARGE", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2}, raising=False)
    monkeypatch.setattr("aurora_migrations.compiler.squawk.find_program", lambda: str(tmp_path / "none"))
    with pytest.raises(InvalidInput, match="squawk can't be started"):
        check(discover(tmp_path))

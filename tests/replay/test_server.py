"""Replays beside each other, replays that are killed, and what is kept of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aurora_migrations import project
from aurora_migrations.replay import cache, server
from tests.cli.conftest import environment
from tests.replay.conftest import Show, outcomes
from tests.servers import Migrations


def command(folder: Path, *words: str) -> subprocess.Popen[str]:
    variables = environment(**{name: os.environ[name] for name in (project.LOCAL_VARIABLE, project.REPLAY_VARIABLE)})
    arguments = [sys.executable, "-m", "aurora_migrations", *words, "--migrations", str(folder)]
    return subprocess.Popen(arguments, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_replays_beside_each_other_do_not_disturb_each_other(migrations: Migrations) -> None:
    for n in range(1, 9):
        migrations.write(f"{n}_t.sql", f"CREATE TABLE beside_{n} (id int);\nGRANT SELECT ON beside_{n} TO beside;")
    both = [command(migrations.dir, "check") for _ in range(3)]
    finished = [(*each.communicate(timeout=120), each.returncode) for each in both]
    assert {(code, err) for _, err, code in finished} == {(0, "")}


def test_killed_replay_leaves_nothing_half_done(migrations: Migrations, shown: Show) -> None:
    """Its database is dropped by the next one, which begins with what was finished."""
    for n in range(1, 41):
        migrations.write(f"{n}_t.sql", f"CREATE TABLE killed_{n} (id int);\nSELECT pg_sleep(0.05);")
    killed = command(migrations.dir, "check")
    with server.embedded() as before:
        kept = before.templates()
    deadline = time.monotonic() + 60
    outcome_files = cache.folder() / "outcomes"
    count = len(list(outcome_files.rglob("*.json")))
    while len(list(outcome_files.rglob("*.json"))) < count + 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    found = shown()
    assert found.problem is None
    assert 0 < found.replayed < 40
    assert len(outcomes(found)) == 40
    with server.embedded() as after:
        assert after._leftovers() == []
        assert kept - after.templates() or len(after.templates()) <= server.KEPT


def test_number_of_templates_is_bounded(migrations: Migrations, shown: Show) -> None:
    for n in range(server.KEPT + 3):
        migrations.write("1_t.sql", f"CREATE TABLE kept_{n} (id int);")
        shown()
    with server.embedded() as found:
        assert len(found.templates()) == server.KEPT


def test_number_of_outcomes_is_bounded(migrations: Migrations, shown: Show, monkeypatch: object) -> None:
    cache_most = cache.MOST
    try:
        cache.MOST = 4  # type: ignore[misc]
        for n in range(1, 9):
            migrations.write(f"{n}_t.sql", f"CREATE TABLE bounded_{n} (id int);")
        shown()
        assert len(list((cache.folder() / "outcomes").rglob("*.json"))) <= 4
    finally:
        cache.MOST = cache_most  # type: ignore[misc]


def test_damaged_server_is_made_again(migrations: Migrations, tmp_path: Path, monkeypatch: object) -> None:
    from tests import servers

    with servers.folder() as folder:
        previous = os.environ[project.LOCAL_VARIABLE]
        os.environ[project.LOCAL_VARIABLE] = str(folder)
        try:
            with server.embedded() as found:
                assert found.major >= 18
            (data,) = [path.parent for path in folder.rglob("PG_VERSION") if path.parent.name.startswith("postgres-")]
            for path in (data / "global").iterdir():
                path.unlink()
            with server.embedded() as found:
                assert found.templates() == set()
        finally:
            os.environ[project.LOCAL_VARIABLE] = previous


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER ROLE CURRENT_USER SET search_path = nowhere;",
        "ALTER ROLE ALL SET statement_timeout = '1ms';",
        "ALTER DATABASE postgres SET default_transaction_read_only = on;",
        "ALTER ROLE postgres NOSUPERUSER PASSWORD 'other';",
    ],
)
def test_what_a_file_sets_for_our_role_or_all_databases_is_forgotten(
    migrations: Migrations, shown: Show, statement: str
) -> None:
    migrations.write("1_a.sql", "CREATE TABLE a (id int);")
    migrations.write("2_b.sql", statement)
    migrations.write("3_c.sql", "CREATE TABLE c (id int);")
    found = outcomes(shown())
    assert found["3_c.sql"].change.created["table", "public.c"] == ""  # type: ignore[union-attr]
    assert ("which could then replay nothing else" in found["2_b.sql"].unreplayed) == ("PASSWORD" in statement)
    migrations.write("1_a.sql", "CREATE TABLE another_history (id int);")
    assert shown().problem is None


def test_server_that_a_file_has_locked_us_out_of_is_made_again(
    migrations: Migrations, shown: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests import servers

    with servers.folder() as folder:
        monkeypatch.setenv(project.LOCAL_VARIABLE, str(folder))
        locks_out = "ALTER ROLE postgres PASSWORD ''other''"
        migrations.write("1_a.sql", f"DO $$ BEGIN EXECUTE '{locks_out}'; END $$;")
        shown()
        migrations.write("1_a.sql", "CREATE TABLE another_history (id int);")
        assert shown().problem is None

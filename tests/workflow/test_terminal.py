"""The local cloud from a terminal: run, up, deploy and what is asked of it; and that nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psutil
import psycopg
import pytest

from aurora_migrations.embedded.binaries import find
from aurora_migrations.embedded.data_directory import Folder, place_for
from tests import servers
from tests.cli.conftest import Answer, calling, checked, environment
from tests.paths import ROOT
from tests.servers import Database
from tests.workflow.helpers import until

pytestmark = pytest.mark.timeout(400)  # each starts clouds, in processes of their own

ALREADY = re.compile(r"Migration 017 was already applied at [\d-]+T[\d:]+Z")


@dataclass
class Terminal:
    """A person's terminal, in a folder with migrations, with a local database of their own."""

    folder: Path
    home: Path
    _up: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def migrations(self) -> Path:
        return self.folder / "migrations"

    def type(self, *words: str, **variables: str) -> Answer:
        """Types a command and waits for its end."""
        finished = subprocess.run(
            self._command(*words),
            cwd=self.folder,
            env=environment(AURORA_MIGRATIONS_LOCAL=str(self.home), **variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return checked(Answer(finished.returncode, finished.stdout, finished.stderr))

    def up(
        self, *words: str, keyboard: int = subprocess.DEVNULL, **variables: str
    ) -> tuple[subprocess.Popen[str], dict[str, str]]:
        """Starts `up` and waits until it says where everything is. `keyboard` is the terminal that keys come from."""
        process = subprocess.Popen(
            self._command("up", "--hurry", *words),
            cwd=self.folder,
            env=environment(AURORA_MIGRATIONS_LOCAL=str(self.home), **variables),
            stdin=keyboard,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=keyboard != subprocess.DEVNULL,
            preexec_fn=None if keyboard == subprocess.DEVNULL else own_terminal,
        )
        self._up.append(process)
        assert process.stdout
        said: dict[str, str] = {}
        for line in process.stdout:
            if line.startswith(("Ctrl-C", "Keys:")):
                return process, said
            name, _, value = line.strip().partition(" ")
            said[name] = value.strip()
        raise AssertionError(f"up ended: {said}")

    def close(self) -> None:
        for process in self._up:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "aurora_migrations", *words]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with servers.folder() as home:
        made = Terminal(tmp_path, home)
        shutil.copytree(ROOT / "migrations", made.migrations)
        yield made
        made.close()
        until(lambda: not processes_of(home), "the end of the local PostgreSQL")  # a killed one's too: see the guard


def own_terminal() -> None:
    """Makes the terminal that is our stdin the one that we are in front of."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def processes_of(home: Path) -> list[int]:
    """Processes of the local PostgreSQL whose data are in that folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if str(home) in " ".join(process.info["cmdline"] or []):
            found.append(process.pid)
    return found


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Its processes, and theirs."""
    return psutil.Process(process.pid).children(recursive=True)


def test_newcomer_sees_017_go_through_the_state_machine_and_then_already_applied(terminal: Terminal) -> None:
    first = terminal.type("run", "017", "--local", "--verbose")
    assert first.code == 0
    contract = {"status": "success", "migration": "017", "message": "Migration 017 executed successfully"}
    assert first.message == contract["message"]
    assert re.search(r"(?m)^dry_run_log +0 ", first.out)
    for said in (
        "machine    Preflight",
        "machine    Apply",
        "Executed migration 017",
        "machine    Verify",
        "Succeeded",
    ):
        assert said in first.err
    saved = json.loads((terminal.folder / "migration-017-output.json").read_text("utf-8"))
    assert {key: saved[key] for key in contract} == contract
    assert processes_of(terminal.home) == []

    elsewhere = {"HTTP_PROXY": "http://127.0.0.1:9", "AWS_PROFILE": "nope"}  # of which nothing here is asked
    second = terminal.type("run", "017", "--local", "--output", "json", **elsewhere)
    assert second.code == 0
    assert second.err == ""
    assert ALREADY.fullmatch(second.json["message"])

    (terminal.migrations / "018_mistake.sql").write_text("ALTER TABLE dry_run_logg ADD c int;\n", encoding="utf-8")
    third = terminal.type("run", "018", "--local")
    assert third.code == 1
    assert "MigrationFailed: 018_mistake.sql:1:1" in third.err
    assert "aurora-migrations run 018 --local" in third.err
    assert "Mail to you@example.com: [local] Migration FAILED: 018_mistake.sql" in third.err
    assert "Subject: [local] Migration FAILED" in (terminal.home / "inbox" / "001.txt").read_text("utf-8")


def test_what_is_up_serves_aws_clients_and_the_commands_beside_it(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process, said = terminal.up()
    monkeypatch.chdir(terminal.folder)
    monkeypatch.setenv("AURORA_MIGRATIONS_LOCAL", str(terminal.home))
    call = calling(capsys)  # in this process, as each command would take seconds to import what it needs
    states = client_of(said, "stepfunctions")
    execution = states.start_execution(stateMachineArn=said["Machine"], input="{}")["executionArn"]
    until(lambda: states.describe_execution(executionArn=execution)["status"] == "SUCCEEDED", "the end of a run")
    with psycopg.connect(said["Database"]) as connection:
        assert connection.execute("SELECT count(*) FROM dry_run_log").fetchone() == (0,)

    (terminal.migrations / "018_more.sql").write_text("CREATE TABLE more (id int);\n", encoding="utf-8")
    changed = "The files have changed since they were deployed"
    assert changed in call("list", "--local").err
    deployed = terminal.type("deploy", "--local")
    assert changed not in deployed.err
    assert (deployed.code, deployed.message) == (0, "Migration 018 executed successfully")
    (terminal.migrations / "019_broken.sql").write_text("CREATE TABL broken (id int);\n", encoding="utf-8")
    refused = call("deploy", "--local")
    assert refused.code == 1
    assert "019_broken.sql:1:8" in refused.err

    (terminal.migrations / "019_broken.sql").unlink()
    events = client_of(said, "events")
    rule = next(each["Name"] for each in events.list_rules()["Rules"] if each["Name"].endswith("on-deploy"))
    events.disable_rule(Name=rule)
    silent = call("deploy", "--local")
    assert silent.code == 1
    assert "started no execution" in silent.err
    events.enable_rule(Name=rule)

    listed = call("list", "--local")
    assert listed.code == 0
    assert changed not in listed.err
    assert re.search(r"(?m)^applied .* 018_more.sql$", listed.out)
    assert call("status", "--env", "local").code == 0  # as the mails write it
    history = call("history", "--local", "--output", "json")
    assert [attempt["name"][:3] for attempt in history.json["attempts"]] == ["018", "017"]
    assert call("plan", "--local").code == 0
    assert call("verify", "--local").code == 0
    assert "The schemas are the same." in call("diff", "local", "local").out
    logs = call("logs", history.json["attempts"][0]["execution"], "--local")
    assert "Executed migration 018" in logs.out

    missing = call("rollback", "018", "--confirm", "018", "--local")
    assert missing.code == 2
    assert "There is no down file for: 018_more" in missing.err
    wrong = call("rollback", "017", "--confirm", "017", "--local")
    assert wrong.code == 2
    assert "The confirmation is '017', but the newest applied migration is 018_more" in wrong.err
    assert subjects(said) == [], "who typed it has seen it"
    asked = json.dumps({"action": "rollback", "target": "018", "confirm": "018"})
    states.start_execution(stateMachineArn=said["Machine"], input=asked)
    until(lambda: subjects(said), "the mail about a rollback that failed, started in the console")
    assert subjects(said) == ["[local] Rollback FAILED: the request is invalid"]

    assert process.stdout
    data = place_for(terminal.home / f"postgres-{find().major}")
    psutil.Process(int(Folder(data).postmaster()[0])).kill()
    read_until(process.stdout, "PostgreSQL has ended, so every execution fails from now on")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to end a process with")
def test_ctrl_c_says_that_an_execution_ends_with_a_cloud_of_its_own(terminal: Terminal) -> None:
    (terminal.migrations / "018_slow.sql").write_text("CREATE TABLE slow (id int); SELECT pg_sleep(60);\n", "utf-8")
    process = subprocess.Popen(
        terminal._command("run", "--local", "--verbose"),
        cwd=terminal.folder,
        env=environment(AURORA_MIGRATIONS_LOCAL=str(terminal.home)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    terminal._up.append(process)
    assert process.stderr
    read_until(process.stderr, "Executing migration 018")
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    assert process.wait(30) == 130
    assert "ends here, with the local cloud of this command" in said
    assert "is still running" not in said
    history = terminal.type("history", "--local", "--output", "json")
    assert [(each["name"], each["result"]) for each in history.json["attempts"]][1:] == [
        ("017_create_dry_run_log_micro_agente.sql", "applied")
    ]
    assert history.json["attempts"][0]["result"] != "applied"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
def test_keys_deploy_check_and_end_on_the_database_that_was_named(terminal: Terminal, database: Database) -> None:
    import pty
    import termios

    outside, inside = pty.openpty()
    url = urllib.parse.urlsplit(database.url)
    without = url._replace(netloc=url.netloc.replace(f":{url.password}@", "@")).geturl()
    secret = urllib.parse.unquote(str(url.password))
    process, said = terminal.up("--database-url", without, keyboard=inside, PGPASSWORD=secret)
    assert process.stdout
    try:
        assert said["Database"] == f"{without.replace('@', ':***@')}?sslmode=disable"
        secret_key = said["Secret"].split()[0]
        for set_up in ("AWS_ACCESS_KEY_ID=local", f"AWS_SECRET_ACCESS_KEY={secret_key}", "--region us-east-1"):
            assert set_up in said["Start"]
        os.write(outside, b"d")
        read_until(process.stdout, r"^[\d:]{8}Z  aurora-migrations-local \S+ SUCCEEDED  [\d.]+ (ms|s)")
        with psycopg.connect(database.url) as connection:
            assert connection.execute("SELECT count(*) FROM dry_run_log").fetchone() == (0,)
        os.write(outside, b"x")
        read_until(process.stdout, "Keys: d deploys")
        os.write(outside, b"c")
        read_until(process.stdout, r"aurora-migrations-local-daily \S+ SUCCEEDED")
        os.write(outside, b"Q")
        read_until(process.stdout, r"Ending \.\.\.")
        assert process.wait(30) == 0
        assert termios.tcgetattr(inside)[3] & termios.ECHO
    finally:
        os.close(outside)
        os.close(inside)


def read_until(lines: Iterable[str], pattern: str) -> None:
    """Reads what is said up to a line with this."""
    said = []
    for line in lines:
        said.append(line)
        if re.search(pattern, line):
            return
    raise AssertionError(f"never said {pattern!r}, but:\n{''.join(said)}")


def client_of(said: dict[str, str], service: str) -> Any:
    """A client with what `up` says that one needs."""
    keys = {"aws_access_key_id": "local", "aws_secret_access_key": said["Secret"].split()[0]}
    return boto3.client(service, endpoint_url=said["Endpoint"].split()[0], region_name="us-east-1", **keys)


def subjects(said: dict[str, str]) -> list[str]:
    """The subjects of the mails that the inbox shows."""
    import urllib.request

    with urllib.request.urlopen(said["Inbox"], timeout=10) as page:
        return re.findall("<h2>(.*?)</h2>", page.read().decode())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to end a process with")
@pytest.mark.parametrize("end", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_nothing_is_left_behind_however_it_ends(terminal: Terminal, end: str) -> None:
    process, _ = terminal.up()
    until(lambda: len(descendants(process)) >= 4, "three functions and a guard")
    left = descendants(process)
    process.send_signal(getattr(signal, end))
    process.wait(30)
    until(
        lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in left), "their end", 20
    )
    until(lambda: not processes_of(terminal.home), "the end of the local PostgreSQL", 20)


def test_a_second_one_beside_the_first_works(terminal: Terminal, tmp_path_factory: pytest.TempPathFactory) -> None:
    _, first = terminal.up()
    _, second = terminal.up()
    assert first["Endpoint"] != second["Endpoint"]
    assert first["Database"] == second["Database"]
    assert first["Secret"] != second["Secret"]
    for said in (first, second):
        states = client_of(said, "stepfunctions")
        execution = states.start_execution(stateMachineArn=said["Machine"])["executionArn"]
        deadline = time.monotonic() + 60
        while states.describe_execution(executionArn=execution)["status"] == "RUNNING":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert states.describe_execution(executionArn=execution)["status"] == "SUCCEEDED"

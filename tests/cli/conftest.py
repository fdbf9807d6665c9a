"""Fixtures: the command line called in this process, where that is fast, and in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from aurora_migrations.cli.main import main
from aurora_migrations.embedded.server import Server
from tests import servers
from tests.cli.cloud import REGION, Cloud
from tests.servers import Database, Migrations

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Answer:
    """What a call said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed on stdout, which must be one JSON document and nothing else."""
        return json.loads(self.out)

    @property
    def message(self) -> str:
        """How it ended, in the words of the contract: one line among what it printed for people."""
        (line,) = re.findall(r"(?m)^(?:Migrations? .*|\d+ migrations executed .*|Nothing to do: .*)$", self.out)
        return str(line)


Call = Callable[..., Answer]


def checked(answer: Answer) -> Answer:
    """The answer, after a look that nobody is shown the program's insides or a password."""
    for stream in (answer.out, answer.err):
        assert "Traceback" not in stream, stream
        assert "Exception ignored" not in stream, stream
    return answer


@pytest.fixture(scope="session")
def any_server() -> Iterator[Server]:
    """A running server, for what doesn't depend on PostgreSQL's version and takes long: it is tested once."""
    with servers.started(servers.available()[0]) as running:
        yield running


@pytest.fixture
def here(migrations: Migrations, monkeypatch: pytest.MonkeyPatch) -> Migrations:
    """The folder `migrations` of the current folder, which is this test's own."""
    monkeypatch.chdir(migrations.dir.parent)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return migrations


@pytest.fixture
def two(here: Migrations) -> Migrations:
    """Two migrations that are fine."""
    here.write("001_users.sql", "CREATE TABLE users (id integer);\n")
    here.write("002_orders.sql", "CREATE TABLE orders (id integer);\n")
    here.write("001_users.down.sql", "DROP TABLE users;\n")
    here.write("002_orders.down.sql", "DROP TABLE orders;\n")
    return here


@pytest.fixture
def call(here: Migrations, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command line in this process."""

    return calling(capsys)


def calling(capsys: pytest.CaptureFixture[str]) -> Call:
    """The command line, called in this process."""

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        code = main(arguments)
        said = capsys.readouterr()
        return checked(Answer(code, said.out, said.err))

    return run


@pytest.fixture
def on(call: Call, database: Database) -> Call:
    """Calls a verb on this test's database, in this process."""

    def run(verb: str, *arguments: str) -> Answer:
        return call(verb, *arguments, "--database-url", database.url)

    return run


def environment(**variables: str) -> dict[str, str]:
    """This process's environment, with the product to be found from any folder."""
    unwanted = ("DATABASE_URL", "PYTHONIOENCODING", "PYTHONUNBUFFERED")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**kept, "PYTHONPATH": str(ROOT), **variables}


@pytest.fixture
def spawn(here: Migrations) -> Call:
    """Calls `python -m aurora_migrations` in a process of its own, in the current folder."""

    def run(*arguments: str, **variables: str) -> Answer:
        finished = subprocess.run(
            [sys.executable, "-m", "aurora_migrations", *arguments],
            cwd=here.dir.parent,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        out, err = (stream.decode(errors="replace") for stream in (finished.stdout, finished.stderr))
        return checked(Answer(finished.returncode, out, err))

    return run


@pytest.fixture
def cloud(here: Migrations, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """An account with nothing in it but what the test deploys; nothing here reaches AWS."""
    with account(monkeypatch) as made:
        yield made


@contextlib.contextmanager
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """The account, and a caller who is logged in to it."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        yield Cloud()

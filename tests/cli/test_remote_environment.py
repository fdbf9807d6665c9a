"""The way to the local cloud: whatever proxy or profile the caller's environment names."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ProfileNotFound
from moto.server import ThreadedMotoServer

from aurora_migrations.cli.remote.environment import open_environment
from aurora_migrations.local.account import ACCOUNT, REGION, isolated_environment
from aurora_migrations.local.cloud.discovery import Access, found_by_others

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """AWS's services on this machine; and an environment that leads elsewhere."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, NOWHERE)
    for name in ("NO_PROXY", "no_proxy", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_PROFILE", "nope")
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_commands_beside_a_cloud_reach_it(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AURORA_MIGRATIONS_LOCAL", str(tmp_path))
    arguments = argparse.Namespace(local=True, hurry=False, migrations=tmp_path, output="json", verb="list")
    with found_by_others(tmp_path, Access(endpoint, "secret")), open_environment(arguments) as environment:
        assert environment.identity.account == ACCOUNT
        assert environment.region == REGION


def test_clients_inside_the_process_of_a_cloud_reach_it(endpoint: str) -> None:
    keys = {"region_name": REGION, "aws_access_key_id": "local", "aws_secret_access_key": "local"}
    before = dict(os.environ)
    with isolated_environment():
        client = boto3.Session().client("sts", endpoint_url=endpoint, **keys)
        assert client.get_caller_identity()["Account"] == ACCOUNT
    assert dict(os.environ) == before
    with pytest.raises(ProfileNotFound):
        boto3.Session()


@pytest.mark.parametrize(("said", "kept"), [("db.example.com", "db.example.com,127.0.0.1,localhost"), ("*", "*")])
def test_who_is_passed_by_already_still_is(monkeypatch: pytest.MonkeyPatch, said: str, kept: str) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", said)
    with isolated_environment():
        assert os.environ["NO_PROXY"] == kept

"""A deployment in one process: secrets in moto, a database of the test's own, and a machine that calls the steps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto import mock_aws

from functions.database_secret import SecretsClient, secrets_client
from tests.functions.helpers import Machine
from tests.servers import Database, Migrations


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[SecretsClient]:
    """Secrets Manager, by moto; nothing here reaches AWS."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with mock_aws():
        yield secrets_client()


@pytest.fixture
def machine(aws: SecretsClient, database: Database, migrations: Migrations) -> Machine:
    """The three functions, deployed for the test's database and folder."""
    return Machine(aws, database, migrations)

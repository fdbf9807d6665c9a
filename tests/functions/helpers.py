"""The three functions called as the state machine calls them, and what they told meanwhile."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from aurora_migrations.compiler.check import check, write_manifest
from aurora_migrations.engine import MigratorError, discover
from aurora_migrations.engine.steps.execution import ACTIONS
from aurora_migrations.engine.steps.settings import Settings, read_settings
from functions.apply import handler as apply
from functions.database_secret import SecretsClient
from functions.entrypoint import Deployment
from functions.preflight import handler as preflight
from functions.verify import handler as verify
from tests.database.replayed import Replayed
from tests.servers import Database, Migrations

STEPS = {"preflight": preflight, "apply": apply, "verify": verify}
ALL_ACTIONS = ",".join(ACTIONS)
EXECUTION = "7f3c-deploy"
ARN = "arn:aws:states:eu-west-1:111122223333:execution:migrations-dev:" + EXECUTION
STARTED_AT = "2026-11-23T04:00:00.000Z"
MORE = 20  # calls of apply after which a loop is taken to be endless


@dataclass
class Context:
    """What Lambda passes beside the event: how much time is left, and the request's id.

    Attributes:
        timeout: milliseconds that the call may take in all.
    """

    timeout: float = 900_000
    aws_request_id: str = "req-1"
    began: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        return int(self.timeout - (time.monotonic() - self.began) * 1_000)


class Machine:
    """Calls the steps in turn, each with the payload of the contract."""

    def __init__(self, aws: SecretsClient, database: Database, migrations: Migrations) -> None:
        self.aws: Any = aws
        self.database = database
        self.migrations = migrations
        self.execution = EXECUTION
        self.started_at = STARTED_AT
        self.variables = variables(database, migrations)
        self.secret: dict[str, Any] = {"username": "postgres", "password": database.server.password}
        self.put(self.secret)

    @property
    def settings(self) -> Settings:
        return read_settings(self.variables)

    @property
    def deployment(self) -> Deployment:
        return Deployment(self.settings, self.aws)

    def put(self, secret: dict[str, Any] | str) -> None:
        """Makes the secret, or gives it another value."""
        text = secret if isinstance(secret, str) else json.dumps(secret)
        if "DATABASE_SECRET_ARN" in self.variables:
            self.aws.put_secret_value(SecretId=self.variables["DATABASE_SECRET_ARN"], SecretString=text)
        else:
            made = self.aws.create_secret(Name="rds!cluster-test", SecretString=text)
            self.variables["DATABASE_SECRET_ARN"] = made["ARN"]

    def write_manifest(self) -> str:
        """What the build does; returns the package's digest."""
        return write_manifest(self.migrations.dir, check(discover(self.migrations.dir)))

    def write_replayed(self) -> str:
        """The same, with what a replay on the test's server shows."""
        return Replayed(self.migrations, self.database).write_manifest()

    def call(self, step: str, asked: Any = None, *, context: Context | None = None, **payload: Any) -> dict[str, Any]:
        """One call of one function; through JSON, as between Lambda and Step Functions."""
        event = {
            "execution": self.execution,
            "execution_arn": ARN,
            "started_at": self.started_at,
            "input": {} if asked is None else asked,
            "package": "",
            "so_far": {},
            **payload,
        }
        deployment = payload.pop("deployment", None) or self.deployment
        event.pop("deployment", None)
        answer = STEPS[step](json.loads(json.dumps(event)), context or Context(), deployment)
        return json.loads(json.dumps(answer))

    def run(self, asked: Any = None, *, contexts: list[Context] | None = None) -> dict[str, Any]:
        """The whole workflow; `contexts` are those of the calls of apply."""
        found = self.call("preflight", asked)
        if found["next"] == "done":
            return found["result"]
        so_far: dict[str, Any] = {}
        self.calls: list[dict[str, Any]] = []
        if found["next"] == "apply":
            for number in range(MORE):
                context = contexts[number] if contexts and number < len(contexts) else None
                so_far = self.call("apply", asked, context=context, package=found["package"], so_far=so_far)
                self.calls.append(so_far)
                if so_far["outcome"] == "done":
                    break
            else:
                pytest.fail("apply never says that it is done")
        return self.call("verify", asked, package=found["package"], so_far=so_far)

    def refused(self, step: str, kind: type[MigratorError], asked: Any = None, **more: Any) -> dict[str, Any]:
        """The document that the state machine gets as the error's text, where the call must fail by this name."""
        with pytest.raises(MigratorError) as caught:
            self.call(step, asked, **more)
        assert type(caught.value).__name__ == kind.__name__, caught.value
        assert caught.value.__cause__ is None
        return json.loads(str(caught.value))


def variables(database: Database, migrations: Migrations) -> dict[str, str]:
    """What the stack sets in the functions' environment, but the secret's ARN."""
    return {
        "ENVIRONMENT": "dev",
        "DATABASE_HOST": "127.0.0.1",
        "DATABASE_PORT": str(database.server.port),
        "DATABASE_NAME": database.name,
        "DATABASE_SSLMODE": "prefer",
        "ALLOWED_ACTIONS": ALL_ACTIONS,
        "MIGRATIONS_DIR": str(migrations.dir),
    }


def lines(text: str) -> list[dict[str, Any]]:
    """The log, line by line; each must be a JSON object."""
    return [json.loads(line) for line in text.splitlines()]


def story(text: str) -> list[str]:
    """The messages of the log, without the metrics."""
    return [line["message"] for line in lines(text) if "message" in line]


def changed(settings: Settings, **changes: Any) -> Settings:
    return replace(settings, **changes)

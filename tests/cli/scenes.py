"""How each error comes about, so that what a terminal shows of it can be seen. One scene a class, by its name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import botocore.client
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from functions.edge import Deployment
from functions.migrator import MigratorError, errors
from functions.migrator.credentials import secrets_client
from functions.migrator.document import document
from tests.cli.cloud import Cloud, answering, caused
from tests.cli.conftest import Answer, Call
from tests.database.helpers import holding, holding_run_lock
from tests.functions.helpers import Machine
from tests.servers import Database, Migrations, Roles


class Secrets:
    """Secrets Manager that only fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get_secret_value(self, *, SecretId: str) -> dict[str, Any]:
        raise self._error


class Nobody:
    """Somebody at the keyboard who types nothing."""

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return "\n"


@dataclass
class Stage:
    """What a scene is played with: a folder of two migrations, an empty database, an account, and a command line."""

    call: Call
    two: Migrations
    database: Database
    roles: Roles
    cloud: Cloud
    patch: pytest.MonkeyPatch

    def on(self, *words: str, url: str | None = None) -> Answer:
        return self.call(*words, "--database-url", url or self.database.url)

    def raised(self, error: MigratorError) -> Answer:
        """As a function raises it, the state machine ends with it, and `run --env` tells it."""
        text = document(error, execution="run-1")
        cause = json.dumps({"errorMessage": text, "errorType": error.name, "stackTrace": []})
        self.cloud.deploy(answering({"run-migration": (error.name, cause)}))
        return self.call("run", "--env", "dev")

    def refused(self, kind: type[MigratorError], **more: Any) -> Answer:
        """The same, of what the real function preflight (or another step) refuses."""
        machine = Machine(secrets_client(), self.database, self.two)
        machine.write_manifest()
        step, change = more.pop("step", "preflight"), more.pop("change", None)
        if change:
            change(machine)
        if "secrets" in more:
            more["deployment"] = Deployment(machine.settings, more.pop("secrets"))
        told = machine.refused(step, kind, {}, **more)
        self.cloud.deploy(answering({"run-migration": (told["error"], caused(told))}))
        return self.call("run", "--env", "dev")

    def aws(self, operation: str, error: Exception) -> Answer:
        """With an operation of AWS that fails."""
        real = botocore.client.BaseClient._make_api_call

        def call(self: Any, name: str, parameters: Any) -> Any:
            if name == operation:
                raise error
            return real(self, name, parameters)

        self.patch.setattr(botocore.client.BaseClient, "_make_api_call", call)
        return self.call("list", "--env", "dev")


def refusal(code: str, message: str, operation: str = "GetCallerIdentity") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


def _files(stage: Stage, **texts: str | None) -> Stage:
    """Other files, after a run of the two; None takes one away."""
    assert stage.on("run").code == 0
    for name, text in texts.items():
        path = stage.two.dir / f"{name.removeprefix('f')}.sql"
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text, encoding="utf-8")
    return stage


def _with(stage: Stage, name: str, text: str) -> Stage:
    stage.two.write(name, text)
    return stage


def _locked(stage: Stage) -> Answer:
    stage.database.execute("CREATE TABLE busy (id integer)")
    stage.two.write("003_busy.sql", "ALTER TABLE busy ADD COLUMN note text;\n")
    with holding(stage.database.url, "SELECT * FROM busy"):
        for _ in range(5):  # a slow machine may end a try before it was seen who is in the way
            answer = stage.on("run", "--lock-timeout", "1s", "--lock-wait", "2s")
            if "1:1: waited" in answer.err:
                break
        return answer


def _another_run(stage: Stage) -> Answer:
    with holding_run_lock(stage.database.url, application_name="aurora-migrations cli-other"):
        return stage.on("run", "--wait", "100ms")


def _unreadable(stage: Stage) -> Answer:
    assert stage.on("run").code == 0
    stage.database.execute("COMMENT ON TABLE aurora_migrations.applied IS 'aurora-migrations history, format 99'")
    return stage.on("status")


def _cancelled(stage: Stage) -> Answer:
    assert stage.on("run").code == 0
    stage.patch.setattr("sys.stdin", Nobody())
    return stage.on("rollback", "2")


def _without_login(stage: Stage) -> Answer:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        stage.patch.delenv(name)
    return stage.call("run", "--env", "dev")


def _without_region(stage: Stage) -> Answer:
    stage.patch.delenv("AWS_DEFAULT_REGION")
    return stage.call("run", "--env", "dev")


def _not_ready(stage: Stage) -> Answer:
    stage.cloud.stack({"Other": "x"})
    return stage.call("run", "--env", "dev")


def _no_execution(stage: Stage) -> Answer:
    stage.cloud.deploy(answering({"status": {}}))
    return stage.call("logs", "cli-nobody", "--env", "dev")


def _no_local_cloud(stage: Stage) -> Answer:
    """In a set-up that has nothing but what the product itself needs."""
    stage.patch.setitem(sys.modules, "local.cloud.reach", None)
    return stage.call("run", "--local")


def _not_ours(stage: Stage) -> Answer:
    stage.cloud.deploy(answering({"run-migration": ("Lambda.Unknown", "The function ended without an answer.")}))
    return stage.call("run", "--env", "dev")


def _elsewhere(machine: Machine) -> None:
    machine.variables["DATABASE_SECRET_ARN"] = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:gone-AbCdEf"


def _only_plan(machine: Machine) -> None:
    machine.variables["ALLOWED_ACTIONS"] = "plan"


def _edited(machine: Machine) -> None:
    machine.migrations.write("001_users.sql", "SELECT 'edited';")


def _unfit_index(stage: Stage) -> Answer:
    assert _with(stage, "003_index.sql", "CREATE INDEX orders_id ON orders (id);\n").on("run").code == 0
    stage.database.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_id'::regclass")
    return stage.on("verify")


PARTS = "BEGIN;\nCREATE TABLE c (id integer);\nCOMMIT;\nBEGIN;\nSELECT missing;\nCOMMIT;\n"
UNREACHABLE = EndpointConnectionError(endpoint_url="https://secretsmanager.eu-west-1.amazonaws.com/")
SCENES: dict[str, Callable[[Stage], Answer]] = {
    "InvalidInput": lambda s: s.on("run", "999"),
    "InvalidFile": lambda s: _with(s, "003_c.sql", "CREATE TABLE c (id int;\n").on("run"),
    "HazardRefused": lambda s: _with(s, "003_c.sql", "ALTER TABLE orders DROP COLUMN id;\n").on(
        "run", "--hazards", "refuse"
    ),
    "ActionNotAllowed": lambda s: s.refused(errors.ActionNotAllowed, change=_only_plan),
    "InvalidManifest": lambda s: s.refused(errors.InvalidManifest, change=_edited),
    "PackageChanged": lambda s: s.refused(errors.PackageChanged, step="apply", package="0" * 64),
    "SecretNotFound": lambda s: s.refused(errors.SecretNotFound, change=_elsewhere),
    "SecretAccessDenied": lambda s: s.refused(
        errors.SecretAccessDenied, secrets=Secrets(refusal("AccessDeniedException", "not authorized", "GetSecretValue"))
    ),
    "SecretMalformed": lambda s: s.refused(errors.SecretMalformed, change=lambda machine: machine.put("{}")),
    "SecretsUnreachable": lambda s: s.refused(errors.SecretsUnreachable, secrets=Secrets(UNREACHABLE)),
    "DatabaseUnreachable": lambda s: s.on("run", url="postgresql://app@127.0.0.1:1/shop"),
    "DatabaseBusy": lambda s: s.on("run", url=s.database.url_as(s.roles.create("LOGIN CONNECTION LIMIT 0"))),
    "AuthenticationFailed": lambda s: s.on("run", url=s.database.url.replace("postgres:", "postgres:wrong", 1)),
    "DatabaseNotFound": lambda s: s.on("run", url=s.database.url.replace(s.database.name, "no_such_database")),
    "InsufficientPrivilege": lambda s: s.on("run", url=s.database.url_as(s.roles.create())),
    "ConnectionLost": lambda s: s.raised(
        errors.ConnectionLost("The connection was lost while 003_c.sql was under way.", file="003_c.sql")
    ),
    "NotAWriter": lambda s: s.raised(
        errors.NotAWriter("The server is a standby (a reader): migrations need the writer.")
    ),
    "LockTimeout": _locked,
    "Deadlock": lambda s: s.raised(errors.Deadlock("003_c.sql:2:1: deadlock detected (40P01)", file="003_c.sql")),
    "AnotherRunInProgress": _another_run,
    "MigrationChanged": lambda s: _files(s, f002_orders="CREATE TABLE orders (id bigint);\n").on("run"),
    "MigrationMissing": lambda s: _files(s, **{"f001_users": None, "f001_users.down": None}).on("run"),
    "OutOfOrder": lambda s: _files(s, f000_late="SELECT 1;\n").on("run"),
    "InDoubt": lambda s: s.raised(errors.InDoubt("Whether 003_c.sql has been committed isn't known.")),
    "HistoryUnreadable": _unreadable,
    "MigrationFailed": lambda s: _with(s, "003_c.sql", "SELECT 1;\nSELECT missing\n  FROM users;\n").on("run"),
    "MigrationFailed-partly-in": lambda s: _with(s, "003_c.sql", PARTS).on("run"),
    "StatementTimeout": lambda s: _with(s, "003_c.sql", "SELECT pg_sleep(9);\n").on(
        "run", "--lock-timeout", "100ms", "--statement-timeout", "300ms"
    ),
    "Cancelled": _cancelled,
    "VerificationFailed": lambda s: _with(s, "003_c.sql", "-- verify: rows c = 1\nCREATE TABLE c (id integer);\n").on(
        "run"
    ),
    "VerificationFailed-after-the-commit": _unfit_index,
    "InternalError": lambda s: s.raised(errors.InternalError("An unexpected KeyError, raised in functions/x.py:7 f.")),
    "LoginMissing": _without_login,
    "LoginExpired": lambda s: s.aws("GetCallerIdentity", refusal("ExpiredToken", "The security token is expired")),
    "LoginRefused": lambda s: s.aws("GetCallerIdentity", refusal("InvalidClientTokenId", "The token is invalid.")),
    "RegionMissing": _without_region,
    "AccessDenied": lambda s: s.aws(
        "DescribeStacks", refusal("AccessDenied", "User: jane is not authorized", "DescribeStacks")
    ),
    "CloudUnreachable": lambda s: s.aws("GetCallerIdentity", UNREACHABLE),
    "CloudRefused": lambda s: s.aws("DescribeStacks", refusal("OptInRequired", "Not subscribed.", "DescribeStacks")),
    "StackNotFound": lambda s: s.call("run", "--env", "dev"),
    "StackNotReady": _not_ready,
    "ExecutionNotFound": _no_execution,
    "ExecutionFailed": _not_ours,
    "LocalCloudFailed": _no_local_cloud,
}

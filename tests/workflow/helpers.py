"""What the tests of the workflow say and ask: deploy files, start an execution, see what came of it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psycopg
from moto.awslambda.models import lambda_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.sns.models import sns_backends

from aurora_migrations.cdk.naming import ALIAS
from aurora_migrations.embedded.server import Server
from aurora_migrations.local.cloud.cloud import Cloud
from aurora_migrations.local.cloud.console import Mail
from aurora_migrations.local.cloud.services import stepfunctions as executions

PATIENCE_S = 60
FUNCTIONS = ("preflight", "apply", "verify")
DATABASE = "workflow"


@dataclass(frozen=True)
class Ended:
    """An execution that is over.

    Attributes:
        error: the name that its Fail kept; None of a success.
        raised: the engine's document of the error, if it was one of the engine's.
        output: the answer of a success.
        history: what the state machine did, event by event, as Step Functions tells it.
        mails: those that came since it was started.
        log: the functions' lines, JSON parsed, oldest first.
    """

    arn: str
    status: str
    error: str | None
    raised: dict[str, Any]
    output: dict[str, Any]
    history: list[dict[str, Any]]
    mails: list[Mail]
    log: list[dict[str, Any]]

    @property
    def entered(self) -> list[str]:
        """The states that it went through."""
        return [each["stateEnteredEventDetails"]["name"] for each in self.history if "stateEnteredEventDetails" in each]

    @property
    def largest_state(self) -> int:
        """Bytes of the largest state that any step was given or left."""
        details = [each[key] for each in self.history for key in each if key.endswith("EventDetails")]
        sizes = [len(text.encode()) for each in details for text in (each.get("input"), each.get("output")) if text]
        return max(sizes)

    def messages(self, step: str) -> list[str]:
        """What a function's log tells, line by line."""
        return [line["message"] for line in self.log if line.get("service") == step and "message" in line]


class Execution:
    """An execution that was started."""

    def __init__(self, workflow: Workflow, arn: str, mails: int) -> None:
        self.arn = arn
        self._workflow = workflow
        self._mails = mails

    @property
    def status(self) -> str:
        """As DescribeExecution tells it."""
        return str(self._describe()["status"])

    def stop(self, **reason: str) -> None:
        """As a person does who presses the console's button, or, with `error` and `cause`, at a terminal."""
        self._workflow.states.stop_execution(executionArn=self.arn, **reason)

    def ended(self, mails: int = 0) -> Ended:
        """Waits for its end, and for so many mails."""
        began = executions.find(
            self.arn
        )  # as a call of the API for each look would take longer than what is waited for
        until(lambda: began.status != "RUNNING", f"the end of {self.arn}")
        workflow = self._workflow
        until(lambda: len(workflow.cloud.mails) >= self._mails + mails, f"{mails} mails")
        told = self._describe()
        return Ended(
            self.arn,
            told["status"],
            told.get("error"),
            _raised(told.get("cause")),
            json.loads(told.get("output") or "{}"),
            workflow.history(self.arn),
            workflow.cloud.mails[self._mails :],
            workflow.log(self.arn.rpartition(":")[2]),
        )

    def _describe(self) -> dict[str, Any]:
        told: dict[str, Any] = self._workflow.states.describe_execution(executionArn=self.arn)
        return told


class Workflow:
    """The local cloud, on an empty database, with a folder of migrations of one's own."""

    def __init__(self, cloud: Cloud, server: Server) -> None:
        self.cloud = cloud
        self.server = server
        self.states = self.client("stepfunctions")

    def client(self, service: str) -> Any:
        """A client of one of the cloud's services, with the rights of whoever sits at the machine."""
        cloud = self.cloud
        keys = {"aws_access_key_id": cloud.access_key, "aws_secret_access_key": cloud.secret_key}
        return boto3.client(service, endpoint_url=cloud.endpoint, region_name=cloud.region, **keys)

    # ---- what there is to run

    def write(self, **files: str) -> None:
        """Writes migrations: `_001_users="CREATE TABLE ..."`; the underline in front is only Python's."""
        for name, text in files.items():
            self.path(f"{name.removeprefix('_')}.sql").write_text(text, encoding="utf-8")

    def path(self, name: str) -> Path:
        """A file of the migrations folder."""
        return self.cloud.migrations / name

    def deploy(self, **files: str) -> None:
        """Writes migrations and puts them into the functions; starts nothing."""
        self.write(**files)
        self.cloud.publish()

    @contextlib.contextmanager
    def configured(self, function: str, **configuration: Any) -> Iterator[None]:
        """A function with another timeout (seconds), memory or environment for the block, as an operator may set it."""
        variables = configuration.pop("variables", {})
        before = self._function(function)
        kept = {key: getattr(before, key) for key in ("timeout", "memory_size", "environment_vars")}
        self._set(function, **{**configuration, "environment_vars": {**kept["environment_vars"], **variables}})
        try:
            yield
        finally:
            self._set(function, **kept)

    def _function(self, function: str) -> Any:
        name = f"aurora-migrations-{self.cloud.environment}-{function}"
        return lambda_backends[self.cloud.account][self.cloud.region].get_function(name)

    def _set(self, function: str, **configuration: Any) -> None:
        backend: Any = lambda_backends[self.cloud.account][self.cloud.region]
        latest = self._function(function)
        for key, value in configuration.items():
            setattr(latest, key, value)
        latest.code_or_config_updated = True
        version = backend.publish_version(latest.function_name).version
        backend.update_alias(ALIAS, latest.function_name, str(version), "", "")

    # ---- running it

    def start(self, asked: Any = None) -> Execution:
        """Starts an execution with an input, by default `{}`."""
        mails = len(self.cloud.mails)
        made = self.states.start_execution(stateMachineArn=self.cloud.machine, input=json.dumps(asked or {}))
        return Execution(self, made["executionArn"], mails)

    def run(self, asked: Any = None, mails: int = 0) -> Ended:
        """Starts one and waits for its end, and for so many mails."""
        return self.start(asked).ended(mails)

    def executions(self, machine: str = "") -> list[Execution]:
        """Those of the state machine, or of `notice` or `daily`, newest first."""
        arn = f"{self.cloud.machine}-{machine}" if machine else self.cloud.machine
        listed = self.states.list_executions(stateMachineArn=arn)["executions"]
        return [Execution(self, each["executionArn"], 0) for each in listed]

    def history(self, arn: str) -> list[dict[str, Any]]:
        """What an execution did."""
        events: list[dict[str, Any]] = self.states.get_execution_history(executionArn=arn)["events"]
        return events

    def log(self, execution: str) -> list[dict[str, Any]]:
        """The lines of all functions in the name of an execution, by time."""
        self.cloud.logs.flush()
        lines = [line for text in self.texts() if (line := _json(text)) and line.get("correlation_id") == execution]
        return sorted(lines, key=lambda line: str(line.get("timestamp", "")))

    def texts(self) -> list[str]:
        """Every line of every function, since the cloud is there."""
        self.cloud.logs.flush()
        client = self.client("logs")
        found = []
        for function in FUNCTIONS:
            group = f"/aws/lambda/aurora-migrations-{self.cloud.environment}-{function}"
            for page in client.get_paginator("filter_log_events").paginate(logGroupName=group):
                found += [event["message"] for event in page["events"]]
        return found

    # ---- what it runs on

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Asks the database."""
        with psycopg.connect(self.server.url(DATABASE), autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    @property
    def tables(self) -> list[str]:
        """The tables of schema public."""
        rows = self.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        return [name for (name,) in rows]

    @property
    def applied(self) -> list[str]:
        """The numbers of the migrations that the history has."""
        return [name.split("_")[0] for (name,) in self.query("SELECT name FROM aurora_migrations.applied ORDER BY 1")]

    @contextlib.contextmanager
    def secret(self, text: str | None) -> Iterator[None]:
        """The secret with another value for the block, or without one: not there at all."""
        backend: Any = secretsmanager_backends[self.cloud.account][self.cloud.region]
        name = "local/database"
        kept = backend.secrets[name]
        client = self.client("secretsmanager")
        before = client.get_secret_value(SecretId=self.cloud.stack.secret)["SecretString"]
        try:
            if text is None:
                backend.secrets.pop(name)
            else:
                client.put_secret_value(SecretId=self.cloud.stack.secret, SecretString=text)
            yield
        finally:
            if text is None:
                backend.secrets[name] = kept
            else:
                client.put_secret_value(SecretId=self.cloud.stack.secret, SecretString=before)


@contextlib.contextmanager
def unmailable(workflow: Workflow) -> Iterator[None]:
    """For the block there is no topic, so no mail can be sent."""
    topics: Any = sns_backends[workflow.cloud.account][workflow.cloud.region].topics
    arn = workflow.cloud.stack.outputs["AlertTopicArn"]
    kept = topics.pop(arn)
    try:
        yield
    finally:
        topics[arn] = kept


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
    """Waits for something to be so; a test that waits in vain says for what."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.02)
    return found


def _raised(cause: str | None) -> dict[str, Any]:
    """The engine's own document, in the text of the error that Lambda tells of, in the cause."""
    outer = _json(cause or "")
    return _json(str(outer.get("errorMessage", "")))


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

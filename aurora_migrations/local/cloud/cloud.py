"""The local cloud as a whole: `with opened(...) as cloud:`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moto.moto_api._internal.models import moto_api_backend

from aurora_migrations.cdk.naming import Names
from aurora_migrations.local.account import ACCOUNT, ENVIRONMENT, KEY, REGION
from aurora_migrations.local.cloud.artifact_cache import fingerprint
from aurora_migrations.local.cloud.console import Console, Mail, mails
from aurora_migrations.local.cloud.endpoint import Endpoint
from aurora_migrations.local.cloud.package_cache import package
from aurora_migrations.local.cloud.services import cloudformation
from aurora_migrations.local.cloud.services.cloudformation import Stack
from aurora_migrations.local.cloud.services.cloudwatch_logs import LogWriter
from aurora_migrations.local.cloud.services.eventbridge import Bus, Sent
from aurora_migrations.local.cloud.services.lambda_functions import Functions
from aurora_migrations.local.cloud.services.stepfunctions import Executions
from aurora_migrations.local.cloud.template_cache import template
from aurora_migrations.local.database_login import read_login


@dataclass(frozen=True)
class Cloud:
    """A running local cloud. The last of `files` is the fingerprint of the migrations that are deployed."""

    endpoint: str
    migrations: Path
    folder: Path
    functions: Functions
    stack: Stack
    logs: LogWriter
    bus: Bus
    server: Endpoint = field(repr=False)
    files: list[str]
    tell: Callable[[str], None] = field(repr=False, default=print)
    environment: str = ENVIRONMENT
    region: str = REGION
    account: str = ACCOUNT
    access_key: str = KEY

    @property
    def secret_key(self) -> str:
        return self.server.secret

    @property
    def inbox(self) -> str:
        """The inbox's URL, for a browser."""
        return self.server.inbox

    @property
    def machine(self) -> str:
        """The ARN of the main state machine."""
        return self.stack.output("StateMachineArn")

    @property
    def mails(self) -> list[Mail]:
        return mails()

    def publish(self) -> None:
        """Deploys the migrations as they are now to the functions, and starts nothing.

        Raises:
            PackagingError, InvalidFile: the migrations can't be packaged; what was deployed before stays.
            DeploymentFailed: the deployment waits for its run, which failed; so does then what was deployed before.
        """
        files = fingerprint(self.migrations)
        self.stack.update(package(self.folder, self.migrations, self.tell).name, self.functions.invoke)
        self.files.append(files)

    def deploy(self) -> Sent:
        """As `publish`; then sends CloudFormation's event of a finished deployment."""
        self.publish()
        return self.deployed("UPDATE_COMPLETE")

    def deployed(self, status: str) -> Sent:
        """Sends the event of a change of our stack's status."""
        detail = {
            "stack-id": self.stack.arn,
            "logical-resource-id": self.stack.arn.split("/")[1],
            "physical-resource-id": self.stack.arn,
            "status-details": {"status": status, "status-reason": ""},
            "resource-type": "AWS::CloudFormation::Stack",
            "client-request-token": "",
        }
        return self.bus.put("aws.cloudformation", "CloudFormation Stack Status Change", detail, [self.stack.arn])

    def daily_check(self) -> Sent:
        """Fires the daily schedule now."""
        return self.bus.fire(Names(ENVIRONMENT).of("daily"))


@contextlib.contextmanager
def opened(
    url: str,
    migrations: Path,
    folder: Path,
    *,
    hurry: bool = False,
    tell: Callable[[str], None] = print,
    watch: Callable[[dict[str, Any]], None] = lambda detail: None,
    stack: tuple[str, str] | None = None,
) -> Iterator[Cloud]:
    """A cloud for the block: the deployed template, with the migrations as they are now, for the database at the URL.

    A process has one at a time, as moto's services are the process's own.

    Args:
        folder: the cache of template and packages.
        hurry: whether waits of the state machines take a second at most.
        watch: called with the detail of each "Step Functions Execution Status Change".
        stack: another stack to deploy than the environment's own: its name and its template.

    Raises:
        ServerError, PackagingError, InvalidFile, InvalidInput: it can't be started.
        DeploymentFailed: the deployment waits for its run, which failed.
    """
    login = read_login(url, os.environ)
    moto_api_backend.reset()
    files = [fingerprint(migrations)]
    made = package(folder, migrations, tell)
    name, text = stack or (Names(ENVIRONMENT).stack, template(folder, login.deployed_sslmode, tell))

    def status_changed(detail: dict[str, Any], arn: str) -> None:
        watch(detail)
        bus.put("aws.states", "Step Functions Execution Status Change", detail, [arn])

    with contextlib.ExitStack() as closing:
        server = Endpoint()
        closing.callback(server.close)
        logs = LogWriter(lambda: server.url, server.secret)
        closing.callback(_close, logs, tell)
        functions = Functions(folder, server.url, server.secret, logs)
        closing.callback(functions.close)
        bus = Bus(lambda arn, given: executions.start(arn, given))
        executions = Executions(status_changed)
        closing.callback(executions.close)
        server.functions, server.bus, server.executions = functions, bus, executions

        def invoke(function: str, body: bytes) -> None:
            register_roles()  # while the stack is being made
            functions.invoke(function, body)

        def register_roles() -> None:
            for role in cloudformation.roles():
                server.register_role(role)

        deployed = cloudformation.deploy(name, text, made.name, login, invoke, hurry=hurry)
        register_roles()
        cloud = Cloud(server.url, migrations, folder, functions, deployed, logs, bus, server, files, tell)
        server.console = Console(cloud.deploy, cloud.daily_check, mails, lambda: files[-1])
        functions.prepare(cloudformation.functions())
        yield cloud


def _close(logs: LogWriter, tell: Callable[[str], None]) -> None:
    """Ends the log, and reports the lines it lost: an incomplete log must not look complete."""
    logs.close()
    for loss in logs.losses():
        tell(loss)

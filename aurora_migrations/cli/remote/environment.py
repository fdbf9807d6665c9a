"""An environment: its stack, account and region, and AWS's clients for it.

On AWS these come from the caller's own configuration; the local cloud brings its own, and an endpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from aurora_migrations.cdk.naming import Names
from aurora_migrations.cli.remote import aws_errors as errors
from aurora_migrations.cli.remote.aws_errors import aws_errors
from aurora_migrations.engine.errors import NextCommand
from aurora_migrations.engine.steps.execution import console
from aurora_migrations.local.postgres.errors import ServerError

# Seconds. These calls are answered at once, or not at all.
_CONFIG = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})
_DIRECT = Config(proxies={})  # the local cloud is on this machine, whatever HTTP_PROXY says
# What a session for the local cloud would take from the caller's AWS configuration: nothing, though a profile be named.
_NO_CONFIGURATION: dict[str, tuple[None, None, str | None, None]] = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}
_STACKS = Names("").stack
_NAMED = 10
_ROOM = "See to permissions and room there; AURORA_MIGRATIONS_LOCAL names another folder for what is kept."


@dataclass(frozen=True)
class Environment:
    """An environment, and the clients of AWS's services for it.

    Attributes:
        endpoint: of all services; None means AWS's own.
        lasting: whether it outlives this program; a local cloud of our own doesn't.
    """

    name: str
    session: Any
    endpoint: str | None = None
    lasting: bool = True
    _clients: dict[str, Any] = field(default_factory=dict, repr=False)

    def client(self, service: str) -> Any:
        if service not in self._clients:
            config = _CONFIG if self.endpoint is None else _CONFIG.merge(_DIRECT)
            self._clients[service] = self.session.client(service, endpoint_url=self.endpoint, config=config)
        return self._clients[service]

    @property
    def region(self) -> str:
        if not self.session.region_name:
            raise errors.RegionMissing("No region was named.")
        return str(self.session.region_name)

    @property
    def stack(self) -> str:
        return Names(self.name).stack

    @cached_property
    def identity(self) -> tuple[str, str]:
        """The caller, by STS: the account, and who it is there (`assumed-role/deployer/jane`, `user/jane`).

        Raises:
            CloudError: there are no credentials, or they aren't valid.
        """
        with aws_errors():
            found = self.client("sts").get_caller_identity()
            return found["Account"], found["Arn"].split(":", 5)[-1]

    @property
    def introduction(self) -> str:
        """The line that a person should see before anything is done."""
        if self.endpoint is not None:
            return f"{self.name}: the local cloud at {self.endpoint}"
        account, who = self.identity
        return f"{self.name}: account {account} as {who}, {self.region}"

    @cached_property
    def described(self) -> dict[str, Any]:
        """The stack, as CloudFormation describes it."""
        with aws_errors():
            try:
                found: dict[str, Any] = self.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"][0]
            except ClientError as error:
                if "does not exist" not in str(error):
                    raise
                others = self._others()
                there = f"There: {', '.join(others[:_NAMED])}." if others else "There is no environment at all."
                missing = f"There is no stack {self.stack} in account {self.identity[0]}, region {self.region}. {there}"
                raise errors.StackNotFound(missing, environments=others) from error
        return found

    @cached_property
    def outputs(self) -> dict[str, str]:
        """The stack's outputs.

        Raises:
            StackNotFound: there is no stack.
            StackNotReady: it has none yet.
        """
        found = {each["OutputKey"]: each["OutputValue"] for each in self.described.get("Outputs", [])}
        if "StateMachineArn" in found:
            return found
        status: str = self.described["StackStatus"]
        why: dict[str, Any] = {}
        if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            why = {
                "cause": "Something else made the stack, or another version of the product did.",
                "solution": "See whether it is the right account and region; deploy the environment with this version.",
            }
        message = f"The stack {self.stack} is {status} and has no state machine."
        raise errors.StackNotReady(message, **why, stack_status=status)

    @property
    def machine(self) -> str:
        return self.outputs["StateMachineArn"]

    def console(self, execution: str) -> str | None:
        """The address of an execution in AWS's console; None in the local cloud."""
        return None if self.endpoint is not None else console(execution)

    def _others(self) -> list[str]:
        """The environments in this account and region; none if the caller may not list stacks."""
        pages = self.client("cloudformation").get_paginator("describe_stacks").paginate()
        with contextlib.suppress(ClientError):
            names = [stack["StackName"] for page in pages for stack in page["Stacks"]]
            return sorted(name.removeprefix(_STACKS) for name in names if name.startswith(_STACKS))
        return []


@contextlib.contextmanager
def open_environment(arguments: argparse.Namespace) -> Iterator[Environment]:
    """The environment that `--env` or `--local` names. A local cloud of our own is ended afterwards.

    Raises:
        CloudError: there is no login, region or profile; or the local cloud can't be started.
    """
    if not arguments.local:
        with aws_errors():
            session = boto3.Session(profile_name=arguments.profile, region_name=arguments.region)
        yield Environment(arguments.env, session)
        return
    hurry = bool(getattr(arguments, "hurry", False))
    with contextlib.ExitStack() as closing:
        with local_errors():
            from aurora_migrations.local.account import ENVIRONMENT, KEY, REGION
            from aurora_migrations.local.cloud.discovery import find_or_start, report_changes

            access = closing.enter_context(find_or_start(arguments.migrations, reporter(arguments), hurry=hurry))
            ours = access.pid == os.getpid()
            if not ours and arguments.verb != "deploy":  # which puts the files there
                report_changes(access, reporter(arguments))
        session = boto3.Session(
            aws_access_key_id=KEY,
            aws_secret_access_key=access.secret_key,
            region_name=REGION,
            botocore_session=botocore.session.Session(session_vars=_NO_CONFIGURATION),
        )
        yield Environment(ENVIRONMENT, session, access.endpoint, lasting=not ours)


def reporter(arguments: argparse.Namespace) -> Callable[[str], None]:
    """Prints what takes a while, unless the output is for programs."""

    def report(text: str) -> None:
        if arguments.output == "text":
            print(text, file=sys.stderr, flush=True)

    return report


@contextlib.contextmanager
def local_errors() -> Iterator[None]:
    """Raises what can go wrong in starting the local cloud as an error of ours."""
    from aurora_migrations.cdk.package.build import PackagingError

    try:
        yield
    except ModuleNotFoundError as error:
        raise errors.LocalCloudFailed(
            f"The local cloud needs the package {error.name}, which isn't installed here.",
            cause="The local cloud needs more packages than the command itself.",
            solution="Install them, in the same environment; in a checkout, `python -m tasks setup` does it.",
            next_command=NextCommand("install", ('"aurora-migrations[local]"',), program="pip"),
        ) from error
    except (ServerError, PackagingError) as error:
        what = error.failed if isinstance(error, ServerError) else str(error)
        solution = f"{error.solution[:1].upper()}{error.solution[1:]}" if isinstance(error, ServerError) else None
        raise errors.LocalCloudFailed(what, solution=solution) from error
    except OSError as error:  # a full disk, a folder that may not be written to
        raise errors.LocalCloudFailed(f"The local cloud can't be started: {error}.", solution=_ROOM) from error

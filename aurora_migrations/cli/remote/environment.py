"""Which environment is meant: its stack, in which account and region, and AWS's clients there.

On AWS these come from the caller's own configuration; the local cloud brings all of them, and an endpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from aurora_migrations.cdk.naming import Names
from aurora_migrations.cli.remote import aws_errors
from aurora_migrations.cli.remote.failing import named
from aurora_migrations.local.postgres.errors import ServerError
from functions.mail import console

if TYPE_CHECKING:
    from aurora_migrations.local.cloud.discovery import Access

# Seconds. What is asked for is answered at once, or there is no way there.
_CONFIG = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})
_DIRECT = Config(proxies={})  # the local cloud is on this machine, whatever HTTP_PROXY says
# What a session for the local cloud would take from the caller's AWS configuration: nothing, though a profile be named.
_OF_NO_ONE: dict[str, tuple[None, None, str | None, None]] = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}
_STACKS = Names("").stack
_NAMED = 10
_ROOM = "See to permissions and room there; AURORA_MIGRATIONS_LOCAL names another folder for what is kept."


@dataclass(frozen=True)
class Identity:
    """Who asks, by STS."""

    account: str
    arn: str

    @property
    def who(self) -> str:
        """`assumed-role/deployer/jane`, `user/jane`."""
        return self.arn.split(":", 5)[-1]


@dataclass(frozen=True)
class Place:
    """An environment, and the way there.

    Attributes:
        endpoint: of all services; None means AWS's own.
        lasting: whether it is there when this program has ended; a local cloud of our own isn't.
    """

    environment: str
    session: Any
    endpoint: str | None = None
    lasting: bool = True
    _clients: dict[str, Any] = field(default_factory=dict, repr=False)

    def client(self, service: str) -> Any:
        """A service's client."""
        if service not in self._clients:
            config = _CONFIG if self.endpoint is None else _CONFIG.merge(_DIRECT)
            self._clients[service] = self.session.client(service, endpoint_url=self.endpoint, config=config)
        return self._clients[service]

    @property
    def region(self) -> str:
        """The region's name.

        Raises:
            RegionMissing: nothing says which.
        """
        if not self.session.region_name:
            raise aws_errors.RegionMissing("No region was named.")
        return str(self.session.region_name)

    @property
    def stack(self) -> str:
        """The stack's name."""
        return Names(self.environment).stack

    @cached_property
    def identity(self) -> Identity:
        """Who asks.

        Raises:
            CloudError: there is no login, or it isn't good.
        """
        with named():
            told = self.client("sts").get_caller_identity()
            return Identity(told["Account"], told["Arn"])

    @property
    def introduction(self) -> str:
        """What a person should see before anything is done."""
        if self.endpoint is not None:
            return f"{self.environment}: the local cloud at {self.endpoint}"
        return f"{self.environment}: account {self.identity.account} as {self.identity.who}, {self.region}"

    @cached_property
    def described(self) -> dict[str, Any]:
        """The stack as CloudFormation tells it.

        Raises:
            StackNotFound: it isn't there.
        """
        with named():
            try:
                told: dict[str, Any] = self.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"][0]
            except ClientError as error:
                if "does not exist" not in str(error):
                    raise
                raise self._not_found() from error
        return told

    @cached_property
    def outputs(self) -> dict[str, str]:
        """What the stack tells when it is made; see aurora_migrations/cdk/outputs.py.

        Raises:
            StackNotFound: it isn't there.
            StackNotReady: it isn't made yet.
        """
        found = {each["OutputKey"]: each["OutputValue"] for each in self.described.get("Outputs", [])}
        if "StateMachineArn" not in found:
            status = self.described["StackStatus"]
            told = f"The stack {self.stack} is {status} and has no state machine."
            raise aws_errors.StackNotReady(told, **_why_not_ready(status), stack_status=status)
        return found

    @property
    def machine(self) -> str:
        """The state machine's ARN."""
        return self.outputs["StateMachineArn"]

    def console(self, execution: str) -> str | None:
        """Where a browser shows an execution; None in the local cloud."""
        return None if self.endpoint is not None else console(execution)

    def _not_found(self) -> aws_errors.StackNotFound:
        others = self._others()
        there = f"There: {', '.join(others[:_NAMED])}." if others else "There is no environment at all."
        account = f"account {self.identity.account}, region {self.region}"
        return aws_errors.StackNotFound(f"There is no stack {self.stack} in {account}. {there}", environments=others)

    def _others(self) -> list[str]:
        """The environments that there are. Who may not list stacks isn't told."""
        pages = self.client("cloudformation").get_paginator("describe_stacks").paginate()
        with contextlib.suppress(ClientError):
            names = [stack["StackName"] for page in pages for stack in page["Stacks"]]
            return sorted(name.removeprefix(_STACKS) for name in names if name.startswith(_STACKS))
        return []


def _why_not_ready(status: str) -> dict[str, str]:
    """For a stack that is made, and yet has no state machine."""
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        return {}
    return {
        "cause": "Something else made the stack, or another version of the product did.",
        "solution": "See whether it is the right account and region; deploy the environment with this version.",
    }


@contextlib.contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Place]:
    """The environment that was asked for; the local cloud is there as long as it is used.

    Raises:
        CloudError: there is no login, region or profile.
    """
    if not arguments.local:
        with named():
            session = boto3.Session(profile_name=arguments.profile, region_name=arguments.region)
        yield Place(arguments.env, session)
        return
    with contextlib.ExitStack() as closing:
        with local_trouble():
            access = closing.enter_context(_reach(arguments))
            _tell_changes(access, arguments)
        yield Place(access.environment, _session(access), access.endpoint, access.pid != os.getpid())


def _tell_changes(access: Access, arguments: argparse.Namespace) -> None:
    """Before a command works on other files than those that are there, unless it is the one that puts them in."""
    from aurora_migrations.local.cloud.discovery import report_changes

    if arguments.verb != "deploy" and access.pid != os.getpid():
        report_changes(access, teller(arguments))


def _session(access: Access) -> boto3.Session:
    """A session with the local cloud's own keys, of which the caller's AWS configuration changes nothing."""
    return boto3.Session(
        aws_access_key_id=access.access_key,
        aws_secret_access_key=access.secret_key,
        region_name=access.region,
        botocore_session=botocore.session.Session(session_vars=_OF_NO_ONE),
    )


def _reach(arguments: argparse.Namespace) -> contextlib.AbstractContextManager[Access]:
    from aurora_migrations.local.cloud.discovery import find_or_start

    hurry = bool(getattr(arguments, "hurry", False))
    return find_or_start(arguments.migrations, teller(arguments), hurry=hurry)


def teller(arguments: argparse.Namespace) -> Callable[[str], None]:
    """Says what takes a while, where a person reads it."""

    def tell(text: str) -> None:
        if arguments.output == "text":
            print(text, file=sys.stderr, flush=True)

    return tell


@contextlib.contextmanager
def local_trouble() -> Iterator[None]:
    """What can go wrong in making the local cloud, as an error of ours.

    Raises:
        LocalCloudFailed: it isn't there.
    """
    from aurora_migrations.cdk.package.build import PackagingError

    try:
        yield
    except ModuleNotFoundError as error:
        raise aws_errors.LocalCloudFailed(
            f"The local cloud needs the package {error.name}, which isn't installed here.",
            cause="The local cloud needs more packages than the command itself.",
            solution="Install them, in the same environment; in a checkout, `python -m tasks setup` does it.",
            next_command='pip install "aurora-migrations[local]"',
        ) from error
    except (ServerError, PackagingError) as error:
        what = error.failed if isinstance(error, ServerError) else str(error)
        solution = _sentence(error.solution) if isinstance(error, ServerError) else None
        raise aws_errors.LocalCloudFailed(what, solution=solution) from error
    except OSError as error:  # a full disk, a folder that may not be written to
        raise aws_errors.LocalCloudFailed(f"The local cloud can't be started: {error}.", solution=_ROOM) from error


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]

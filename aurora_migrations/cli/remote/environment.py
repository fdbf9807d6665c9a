"""An environment: its account, region and stack, and the executions of its state machine: start, read, stop, find.

On AWS the clients come from the caller's own configuration; the local cloud brings its own, and an endpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from aurora_migrations.cdk.naming import STACK_TAG, Names
from aurora_migrations.cli import options
from aurora_migrations.cli.output import note
from aurora_migrations.cli.remote import aws_errors as errors
from aurora_migrations.cli.remote.aws_errors import CloudError, aws_errors
from aurora_migrations.embedded.errors import ServerError
from aurora_migrations.engine.errors import NextCommand
from aurora_migrations.engine.steps.execution import console, is_change, parse_object

# Seconds. These calls are answered at once, or not at all.
_CONFIG = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})
_DIRECT = Config(proxies={})  # the local cloud is on this machine, whatever HTTP_PROXY is
# What a session for the local cloud would take from the caller's AWS configuration: nothing, though a profile be named.
_NO_CONFIGURATION: dict[str, tuple[None, None, str | None, None]] = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}
_STACKS = Names("").stack
_DENIED = "If the construct is in another stack, this role needs states:ListTagsForResource to find it."
_NAMED = 10
_PAGE = 1_000  # the most that one call returns: `status --watch` starts 240 executions an hour
RUNNING = "RUNNING"
_ROOM = "Check permissions and free space there; AURORA_MIGRATIONS_LOCAL names another folder for what is kept."


@dataclass(frozen=True)
class Execution:
    """An execution, as it was when it was read."""

    arn: str
    name: str
    status: str  # RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED
    started_at: datetime
    input: Mapping[str, Any]  # empty where that isn't an object
    output: Mapping[str, Any] = field(default_factory=dict)  # empty unless it succeeded
    error: str | None = None  # what it ended with otherwise; may be missing, as may its cause
    cause: str | None = None

    def result(self) -> dict[str, Any]:
        """Its output, when it has ended; raises its error if it didn't succeed."""
        if self.status != "SUCCEEDED":
            raise errors.error_of(self)
        output = dict(self.output)
        if not {"status", "migration", "message"} <= output.keys():
            raise errors.contract_broken(self.name, "its answer has an unknown form")
        return output


def iso(moment: datetime) -> str:
    """As everywhere: `2026-11-23T04:00:17Z`."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Environment:
    """An environment, its state machine's executions, and the clients of AWS's services for it."""

    name: str
    session: Any
    endpoint: str | None = None  # of all services; None means AWS's own
    lasting: bool = True  # whether it outlives this program; a local cloud of our own doesn't
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
        """The name of the stack that it is in."""
        return str(self.described["StackName"])

    @cached_property
    def identity(self) -> tuple[str, str]:
        """The caller, by STS: the account, and who it is there (`assumed-role/deployer/jane`, `user/jane`)."""
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

    @property
    def described(self) -> dict[str, Any]:
        """The stack, as CloudFormation describes it."""
        return self._deployed[0]

    @cached_property
    def _deployed(self) -> tuple[dict[str, Any], str]:
        """The stack, and how the names of this environment's outputs begin in it. A stack of somebody else's, with the
        construct in it, is named by a tag of the state machine."""
        usual = Names(self.name).stack
        with aws_errors():
            try:
                return self._describe(usual), ""
            except ClientError as error:
                if "does not exist" not in str(error):
                    raise
                tag, denied = self._read_tag()
                if tag:
                    stack, _, prefix = tag.partition("/")
                    return self._describe(stack), prefix
                others = self._others()
                there = f"Environments there: {', '.join(others[:_NAMED])}." if others else "No environment is there."
                missing = f"There is no stack {usual} in account {self.identity[0]}, region {self.region}. {there}"
                solution = f"{errors.StackNotFound.solution} {_DENIED}" if denied else None
                raise errors.StackNotFound(missing, solution=solution, environments=others) from error

    def _describe(self, stack: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        return found

    def _read_tag(self) -> tuple[str | None, bool]:
        """The tag of the state machine of this name, if there is one; and whether the caller may not read it."""
        partition = self.session.get_partition_for_region(self.region)
        place = f"arn:{partition}:states:{self.region}:{self.identity[0]}"
        try:
            tags = self.client("stepfunctions").list_tags_for_resource(
                resourceArn=f"{place}:stateMachine:{Names(self.name).of()}"
            )["tags"]
        except ClientError as error:
            return None, error.response.get("Error", {}).get("Code") == "AccessDeniedException"
        return next((str(tag["value"]) for tag in tags if tag["key"] == STACK_TAG), None), False

    @cached_property
    def outputs(self) -> dict[str, str]:
        """The stack's outputs."""
        prefix = self._deployed[1]
        listed = {each["OutputKey"]: each["OutputValue"] for each in self.described.get("Outputs", [])}
        found = {name.removeprefix(prefix): value for name, value in listed.items() if name.startswith(prefix)}
        if "StateMachineArn" in found:
            return found
        if several := _databases(self.described):
            message = f"The environment {self.name} has several databases: {', '.join(several)}."
            raise errors.StackNotFound(
                message,
                cause="Each has a state machine of its own.",
                solution="Write `--env` with one of these names.",
                environments=several,
            )
        status, cause, solution = self.described["StackStatus"], None, None
        if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            cause = "Another program or another version of aurora-migrations created the stack."
            solution = "Check account and region, then deploy the environment with this version."
        message = f"The stack {self.stack} is {status} and has no state machine."
        raise errors.StackNotReady(message, cause=cause, solution=solution, stack_status=status)

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
            ours = [stack for page in pages for stack in page["Stacks"] if stack["StackName"].startswith(_STACKS)]
            return sorted(
                name for each in ours for name in _databases(each) or [each["StackName"].removeprefix(_STACKS)]
            )
        return []

    def start(self, name: str, asked: Mapping[str, str]) -> Execution:
        """Starts an execution of this name, which no other has: a call whose answer is lost is made again by botocore,
        and finds what it has started.

        Raises:
            CloudError: it wasn't started; or a run or rollback may have been, which the error's state shows.
        """
        machine = self.machine
        try:
            started = self.client("stepfunctions").start_execution(
                stateMachineArn=machine, name=name, input=json.dumps(asked)
            )
            return Execution(str(started["executionArn"]), name, RUNNING, started["startDate"].astimezone(UTC), asked)
        except errors.READ_ERRORS as error:
            if (
                isinstance(error, ClientError)
                and error.response.get("Error", {}).get("Code") == "ExecutionAlreadyExists"
            ):
                try:  # a call whose answer was lost had started it, and it has ended since
                    return self.find(name)
                except CloudError as lost:
                    raise lost.while_running(name, f"The execution {name} has been started, and has ended.") from lost
            known = errors.to_cloud_error(error)
            if errors.is_unanswered(error) and is_change(asked):
                known.solution += " But check first whether this one was started."
                known = known.while_running(name, f"The execution {name} may have been started.")
            raise known from error

    def read(self, arn: str) -> Execution:
        """An execution as it is now. AWS's errors are raised as they are."""
        found = self.client("stepfunctions").describe_execution(executionArn=arn)
        return Execution(
            arn=arn,
            name=found["name"],
            status=found["status"],
            started_at=found["startDate"].astimezone(UTC),
            input=parse_object(found.get("input")),
            output=parse_object(found.get("output")) if found["status"] == "SUCCEEDED" else {},
            error=found.get("error"),
            cause=found.get("cause"),
        )

    def stop(self, arn: str, why: str) -> None:
        """Stops an execution. A call of a function that is under way goes on to its end."""
        with aws_errors():
            self.client("stepfunctions").stop_execution(executionArn=arn, error="Stopped", cause=why)

    def find(self, name: str | None) -> Execution:
        """The execution of this name or ARN, or the last run."""
        if name is not None:
            of_machine = self.machine.replace(":stateMachine:", ":execution:")
            with aws_errors():
                return self.read(f"{of_machine}:{name.rpartition(':')[2]}")
        if found := self.last_run():
            return found
        if self.endpoint is not None:
            raise errors.ExecutionNotFound(
                "This local cloud has run nothing so far.",
                cause="A local cloud lasts for one command, unless `up` keeps it running; of earlier ones, "
                "the database's history is left.",
                solution="See `aurora-migrations history --local`, or keep one running in another terminal.",
                next_command=NextCommand("up"),
            )
        raise errors.ExecutionNotFound(
            f"Nothing has been run in {self.name} so far.",
            cause="No deployment, console or command has started a run yet.",
            solution="Start the first run.",
            next_command=NextCommand("run", ("--env", self.name)),
        )

    def last_run(self) -> Execution | None:
        """The run or rollback that was started last, whatever was only read since."""
        pages = self.client("stepfunctions").get_paginator("list_executions")
        machine, read_only = self.machine, f"{options.READ_ONLY}-"
        with aws_errors():
            listed = pages.paginate(stateMachineArn=machine, PaginationConfig={"PageSize": _PAGE})
            for each in (each for page in listed for each in page["executions"]):
                if each["name"].startswith(read_only):
                    continue
                found = self.read(each["executionArn"])
                if is_change(found.input):
                    return found
        return None

    def running(self) -> list[dict[str, str]]:
        """Executions that haven't ended, the newest first: of very many the newest hundred."""
        machine = self.machine
        with aws_errors():
            found = self.client("stepfunctions").list_executions(
                stateMachineArn=machine, statusFilter=RUNNING, maxResults=100
            )["executions"]
        return [{"execution": each["name"], "started_at": iso(each["startDate"])} for each in found]


def _databases(stack: Mapping[str, Any]) -> list[str]:
    """What `--env` takes for each database of a stack of several; empty for a stack of one."""
    machines = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}
    ending, prefix = "StateMachineName", Names("").of()
    return sorted(name.removeprefix(prefix) for key, name in machines.items() if key.endswith(ending) and key != ending)


@contextlib.contextmanager
def open_environment(arguments: argparse.Namespace) -> Iterator[Environment]:
    """The environment that `--env` or `--local` names. A local cloud of our own is ended afterwards."""
    if not arguments.local:
        with aws_errors():
            session = boto3.Session(profile_name=arguments.profile, region_name=arguments.region)
        yield Environment(arguments.env, session)
        return
    report = note if arguments.output == "text" else lambda text: None
    with contextlib.ExitStack() as closing:
        with local_errors():
            from aurora_migrations.local.account import ENVIRONMENT, KEY, REGION
            from aurora_migrations.local.cloud.discovery import find_or_start, report_changes

            access = closing.enter_context(find_or_start(arguments.migrations, report, hurry=arguments.hurry))
            ours = access.pid == os.getpid()
            if not ours and arguments.verb != "deploy":  # which puts the files there
                report_changes(access, report)
        session = boto3.Session(
            aws_access_key_id=KEY,
            aws_secret_access_key=access.secret_key,
            region_name=REGION,
            botocore_session=botocore.session.Session(session_vars=_NO_CONFIGURATION),
        )
        yield Environment(ENVIRONMENT, session, access.endpoint, lasting=not ours)


def _extra_missing(package: str) -> errors.LocalCloudFailed:
    return errors.LocalCloudFailed(
        f"The local cloud needs the package {package}, which isn't installed here.",
        cause="The local cloud needs more packages than the command itself.",
        solution="Install them in the same virtual environment. In a clone, `python -m tasks setup` does that.",
        next_command=NextCommand("install", ('"aurora-migrations[local]"',), program="pip"),
    )


@contextlib.contextmanager
def local_errors() -> Iterator[None]:
    """Raises what can go wrong in starting the local cloud as an error of ours."""
    from aurora_migrations.cdk.package import PackagingError

    try:
        yield
    except ModuleNotFoundError as error:
        raise _extra_missing(str(error.name)) from error
    except (ServerError, PackagingError) as error:
        if find_spec("moto") is None:  # first of all: what failed may need the same packages
            raise _extra_missing("moto") from error
        what = error.failed if isinstance(error, ServerError) else str(error)
        solution = f"{error.solution[:1].upper()}{error.solution[1:]}" if isinstance(error, ServerError) else None
        raise errors.LocalCloudFailed(what, solution=solution) from error
    except OSError as error:  # a full disk, a folder that may not be written to
        raise errors.LocalCloudFailed(f"The local cloud can't be started: {error}.", solution=_ROOM) from error

"""The environments of cdk.json: what each consists of, and how they are read. Nothing here loads the CDK."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from aurora_migrations.cdk.config_fields import (
    DatabaseName,
    DistinctList,
    Duration,
    Email,
    Host,
    KeyArn,
    Model,
    Reference,
    SecretArn,
    describe_mistakes,
)
from aurora_migrations.cdk.naming import DATABASE, Names, full_name
from aurora_migrations.cdk.retries import ASLEEP, CONNECTION, CONTENTION, DIED, SERVICE, Retry, call_retries
from aurora_migrations.engine.options import Encrypted, Hazards, write_duration
from aurora_migrations.engine.steps.execution import USUAL_ACTIONS, ActionName
from aurora_migrations.engine.steps.step import RESERVE

MOST_DATABASES = 6  # of an environment: a template has 1 MB at most, and takes 105 kB for each
LONGEST_PATTERN = 2_048  # characters of an EventBridge rule's pattern
# Characters of the deploy rule's pattern, and of each stack in it beside its name, twice.
_PATTERN, _PATTERN_OF_STACK = 200, 150
_NEEDED = {"run-migration": "a deployment starts it", "plan": "mails report the state of the database with it"}
_LONGEST_CALL_MS = 900_000  # of Lambda
_SHORTEST_CALL_MS = 30_000  # RESERVE, and what reading the secret and connecting may take when they are slow
TASK_MARGIN_MS = 60_000  # what a task waits longer than its function may run
# What isn't a key of an environment's object: its name, or the pair of its key in `environments` and the project; the
# name of its stack; the command that deploys it, if it isn't the usual one; and, of one database of several, the
# environment's name.
NAME, STACK, DEPLOY, GROUP = "<name>", "<stack>", "<deploy>", "<group>"
LONGEST_GATE_MS = 3_600_000  # CloudFormation waits no longer for a custom resource
GATE_MARGIN_MS = 300_000  # of it, kept for starting the execution and for noticing its end
_RUN_TIMEOUT_OF_GATE = "55min"  # `run_timeout` if a deployment waits for the run


class SettingsError(Exception):
    """Mistakes in cdk.json, one a line."""


class Network(Model):
    """Where the functions run and what they reach."""

    vpc: Reference[Annotated[str, Field(pattern="^vpc-[0-9a-f]+$")]]
    """The ID of the database's VPC."""
    subnets: DistinctList[Reference[Annotated[str, Field(pattern="^subnet-[0-9a-f]+$")]]] = Field(
        min_length=1, max_length=16, title="the ID of a private subnet"
    )
    """The IDs of private subnets, 16 at most. Two or more in different zones survive the loss of one."""
    database_security_group: Reference[Annotated[str, Field(pattern="^sg-[0-9a-f]+$")]]
    """The ID of the cluster's security group. It gets one rule, for the functions."""
    secrets_endpoint: Reference[Annotated[str, Field(pattern="^(create|sg-[0-9a-f]+)$")]]
    """`create`, or the ID of an existing endpoint's security group. That is a VPC endpoint for Secrets Manager with
    private DNS; `create` makes one without, which only the functions use."""


class Database(Model):
    """The database to migrate."""

    host: Reference[Host] = Field(repr=False)
    """The cluster's writer endpoint. Not a reader endpoint, a custom endpoint or RDS Proxy."""
    port: Reference[Annotated[int, Field(strict=True, ge=1, le=65_535)]] = 5432
    """The database's port, a whole number from 1 to 65535."""
    name: Reference[DatabaseName]
    """The database's name."""
    secret: Reference[SecretArn] = Field(repr=False)
    """The complete ARN of the secret with user and password, which ends in a hyphen and six characters."""
    secret_key: Reference[KeyArn] | None = None
    """The ARN of your own KMS key that encrypts the secret."""
    sslmode: Encrypted = "verify-full"
    """How the server's certificate is checked (libpq's `sslmode`)."""


class NamedDatabase(Database):
    """One of an environment's several databases."""

    migrations: str = Field(pattern=r"\S")
    """The folder of its migrations, relative to `cdk.json`."""
    security_group: Reference[Annotated[str, Field(pattern="^sg-[0-9a-f]+$")]] | None = None
    """The ID of its cluster's security group, if that isn't `network.database_security_group`."""


class Limits(Model):
    """How long things may take, each strictly inside the next."""

    lock_timeout: Duration = Field(default="2s", ge=1, title="a time longer than 0s", validate_default=True)
    """How long a statement may wait for locks, if its file sets no limit."""
    statement_timeout: Duration = Field(default="13min", validate_default=True)
    """How long a statement may run, if its file sets no limit."""
    lock_wait: Duration = Field(default="1min", validate_default=True)
    """How long a call waits for locks and other runs; then (with `0s`, at once) the state machine waits."""
    function_timeout: Duration = Field(
        default="15min",
        ge=_SHORTEST_CALL_MS,
        le=_LONGEST_CALL_MS,
        multiple_of=1_000,
        title="whole seconds from 30s to 15min",
        validate_default=True,
    )
    """The time limit of a call of apply or verify, in whole seconds, `30s` to `15min`. A call keeps 10 s for its
    end."""
    run_timeout: Duration = Field(default="12h", multiple_of=1_000, title="whole seconds", validate_default=True)
    """The time limit of a whole execution, in whole seconds."""

    @field_validator("statement_timeout", "function_timeout", "run_timeout")
    @classmethod
    def _longer_than_what_is_inside(cls, value: int, info: ValidationInfo) -> int:
        """Compares with the limits before it. One that is wrong itself isn't among them, and counts as nothing."""
        lock, statement, wait, function = (info.data.get(name, 0) for name in list(cls.model_fields)[:4])
        end = f"and the {write_duration(RESERVE)} that each call keeps for its end"
        tried = "function_timeout, a minute and all the time in which errors are tried again"
        inside = {
            "statement_timeout": [("lock_timeout", lock)],
            "function_timeout": [
                (f"statement_timeout {end}", statement + RESERVE),
                (f"lock_wait {end}", wait + RESERVE),
            ],
            "run_timeout": [(tried, _shortest_run(function + TASK_MARGIN_MS, wait))],
        }
        for what, inner in inside[str(info.field_name)]:
            if value <= inner:
                found = write_duration(value)
                raise ValueError(f"must be longer than {what} ({write_duration(inner)}), and is {found}")
        return value

    @property
    def task_timeout(self) -> int:
        """What the state machine gives a function's call."""
        return self.function_timeout + TASK_MARGIN_MS

    @property
    def retries(self) -> tuple[Retry, ...]:
        """What the state machine tries again."""
        return call_retries(self.lock_wait / 1_000, (self.run_timeout - self.task_timeout) / 1_000)


def _shortest_run(task_timeout: int, lock_wait: int) -> int:
    """A call, and before it the longest that an error is tried again. Another run is waited for as long as there is
    time, and so isn't counted."""
    waiting = (retry.waits * 1_000 + retry.attempts * lock_wait for retry in (CONTENTION, CONNECTION))
    dying = DIED.waits * 1_000 + DIED.attempts * task_timeout
    return task_timeout + max(*waiting, SERVICE.waits * 1_000, ASLEEP.waits * 1_000, dying)


_NAMED_OBJECTS: dict[str, Any] = {
    "minProperties": 1,
    "maxProperties": MOST_DATABASES,
    "propertyNames": {"pattern": f"^{DATABASE}$"},
}


def _one_or_several(schema: dict[str, Any]) -> None:
    schema["required"].remove("database")
    schema["oneOf"] = [{"required": [key]} for key in ("database", "databases")]


class Environment(Model):
    """All settings of one environment."""

    model_config = ConfigDict(json_schema_extra=_one_or_several)

    name: SkipJsonSchema[
        Annotated[str, BeforeValidator(lambda given: full_name(*given) if isinstance(given, tuple) else given)]
    ] = Field(validation_alias=NAME)
    """The environment's key in `environments`, after the project's name if it has one."""
    own_stack: SkipJsonSchema[str] = Field(default="", validation_alias=STACK)
    """The name of the stack that it is in, if that isn't named after it."""
    deploy: SkipJsonSchema[str | None] = Field(default=None, validation_alias=DEPLOY)
    """The command that deploys it, if it isn't the usual one."""
    network: Network
    """Where the functions run and what they reach."""
    database: Database
    """The database to migrate."""
    databases: Mapping[str, NamedDatabase] = Field(default={}, json_schema_extra=_NAMED_OBJECTS)
    """Up to 6 databases by name, instead of `database`. Each has these keys, those of `database`, and a state machine
    of its own (`--env ENVIRONMENT-NAME`)."""
    emails: DistinctList[Email] = Field(min_length=1, title="a plain e-mail address, such as team@example.com")
    """The addresses that failures are mailed to, plain and in ASCII, as `team@example.com`."""
    watch_stacks: DistinctList[Annotated[str, Field(pattern="^[A-Za-z][A-Za-z0-9-]{0,127}$")]] = Field(
        default=(), title="a stack's name"
    )
    """The names of other stacks (about eight fit) whose deployment also starts a run, of this stack's package."""
    allowed_actions: DistinctList[ActionName] = USUAL_ACTIONS
    """The actions that an execution may request; always also `run-migration` and `plan`."""
    hazards: Hazards = "warn"
    """Whether hazards that no file allows stop a run before its first file (`refuse`) or are only reported (`warn`)."""
    daily_check: StrictBool = True
    """At 06:00 UTC, mail if anything is pending, has drifted or can't be checked."""
    on_verify_failure: Literal["alert", "rollback"] = "alert"
    """If verify fails after a run: only mail (`alert`), or first run the down files of what this execution has applied,
    if nothing was applied after it (`rollback`)."""
    success_mail: StrictBool = False
    """Also mail what a run has changed: files, tables, warnings."""
    chat: StrictBool = False
    """Send HTTPS subscribers each message in the form that Amazon Q Developer in chat applications (formerly AWS
    Chatbot) shows."""
    limits: Limits = Field(default={}, validate_default=True)
    """How long things may take."""
    deployment: Literal["starts", "waits"] = "starts"
    """Whether the end of a deployment starts the run (`starts`), or the deployment waits for the run and fails if it
    does (`waits`). Then `limits.run_timeout` is 55min by default and at most."""
    log_level: Literal["DEBUG", "INFO", "WARNING"] = "INFO"
    """What the functions log. With `WARNING`, `logs` and the live view of `run` show little."""
    log_retention_days: Annotated[
        Literal[1, 3, 5, 7, 14, 30, 60, 90, 180, 365, 731, 1827, 3653],
        BeforeValidator(lambda days: repr(days) if isinstance(days, bool) else days),  # True == 1
    ] = 90
    """How many days logs are kept."""
    account: Annotated[str, Field(pattern="^[0-9]{12}$")] | None = None
    """The account to deploy to, 12 digits. Default: the credentials'."""
    region: Annotated[str, Field(pattern="^[a-z]{2}(-[a-z]+)+-[0-9]$")] | None = Field(
        default=None, validate_default=True
    )
    """The region to deploy to, such as eu-west-1. Default: the credentials'. Secret and key must be in it."""

    @property
    def stack(self) -> str:
        """The name of the stack that it is in."""
        return self.own_stack or Names(self.name).stack

    @property
    def shared_name(self) -> str:
        """What topic and key are named after: with several databases it is the environment, without theirs."""
        return self.name

    @property
    def security_group(self) -> Reference[str]:
        """The cluster's."""
        return self.network.database_security_group

    def folder(self, usual: Path, root: Path) -> Path:
        """Where its migrations are: a folder of its own, relative to `root`, or the usual one. Raises SettingsError if
        its own isn't there."""
        return usual

    @field_validator("watch_stacks")
    @classmethod
    def _fit_into_one_rule(cls, stacks: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        own = info.data.get("own_stack") or Names(info.data.get("name", "")).stack
        if own in stacks:
            raise ValueError(f"lists the environment's own stack, {own}, which is always watched")
        length = _PATTERN + sum(_PATTERN_OF_STACK + 2 * len(stack) for stack in (own, *stacks))
        if length > LONGEST_PATTERN:
            raise ValueError(f"makes a rule of {length} characters, and EventBridge takes {LONGEST_PATTERN}")
        return stacks

    @field_validator("allowed_actions")
    @classmethod
    def _with_those_needed(cls, actions: tuple[str, ...]) -> tuple[str, ...]:
        for action, why in _NEEDED.items():
            if action not in actions:
                raise ValueError(f"must include `{action}`: {why}")
        return actions

    @model_validator(mode="before")
    @classmethod
    def _end_before_cloudformation_does(cls, data: Any) -> Any:
        """A deployment that waits has a run that ends within the hour, if no other time was written."""
        limits = data.get("limits", {}) if isinstance(data, Mapping) and data.get("deployment") == "waits" else None
        return (
            {**data, "limits": {"run_timeout": _RUN_TIMEOUT_OF_GATE, **limits}} if isinstance(limits, Mapping) else data
        )

    @field_validator("deployment")
    @classmethod
    def _within_the_hour(cls, deployment: str, info: ValidationInfo) -> str:
        limits, longest = info.data.get("limits"), LONGEST_GATE_MS - GATE_MARGIN_MS
        if deployment == "waits" and limits and limits.run_timeout > longest:
            found, most = write_duration(limits.run_timeout), write_duration(longest)
            why = f"CloudFormation waits for an hour, so `limits.run_timeout` may be {most} at most"
            raise ValueError(f'can\'t be "waits": {why}, and is {found}')
        return deployment

    @field_validator("region")
    @classmethod
    def _of_secret_and_key(cls, region: str | None, info: ValidationInfo) -> str | None:
        """The functions use the Secrets Manager of their own region, and may use keys of that region only."""
        arns = {key: getattr(info.data.get("database"), key, None) for key in ("secret", "secret_key")}
        found = {f"`database.{key}`": arn.split(":")[3] for key, arn in arns.items() if isinstance(arn, str)}
        if len({region or next(iter(found.values()), None), *found.values()}) > 1:
            where = " and ".join(f"{key} is in {its}" for key, its in found.items())
            raise ValueError(f"is {region or 'not set'}, and {where}: all must be in one region")
        return region


class OneOfSeveral(Environment):
    """The settings of one of an environment's several databases: `name` is ENVIRONMENT-NAME."""

    group: str = Field(validation_alias=GROUP)
    """The name of the environment."""
    database: NamedDatabase

    @property
    def shared_name(self) -> str:
        return self.group

    @property
    def security_group(self) -> Reference[str]:
        return self.database.security_group or super().security_group

    def folder(self, usual: Path, root: Path) -> Path:
        if not (root / self.database.migrations).is_dir():
            wrong = f"must be a folder, and {self.database.migrations!r} is none"
            raise SettingsError(f"cdk.json: `migrations` of {self.name} {wrong}.")
        return root / self.database.migrations


def read_context(path: Path) -> dict[str, Any]:
    """The context of cdk.json. What the `cdk` command passes takes precedence: the same, and its `--context` options.

    Raises:
        SettingsError: there is no such file, or it isn't JSON.
    """
    try:
        document = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{path.name} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path.name} isn't written in UTF-8: byte {error.start + 1} fits no character.") from error
    except json.JSONDecodeError as error:
        raise SettingsError(f"{path.name}:{error.lineno}:{error.colno}: this isn't JSON: {error.msg}.") from error
    context = document.get("context", {}) if isinstance(document, dict) else None
    if not isinstance(context, dict):
        raise SettingsError(
            f"{path.name} must be an object whose `context` is one too: see docs/reference/settings.md."
        )
    return context


def read_environments(
    environments: Any, chosen: str | None = None, project: str | None = None
) -> tuple[Environment, ...]:
    """Those of cdk.json's context `environments`, or the one that `--context env=NAME` has chosen; of one with several
    databases each. `project` is the context of that name.

    Raises:
        SettingsError: mistakes in any of them, or there is none of that name.
    """
    if not isinstance(environments, Mapping) or not environments:
        raise SettingsError("cdk.json: `context.environments` must be an object with an object per environment.")
    if chosen is not None and chosen not in environments:
        known = ", ".join(environments)
        raise SettingsError(f"There is no environment {chosen!r}; `environments` in cdk.json has {known}.")
    found: list[Environment] = []
    wrong: list[str] = []
    for name in environments if chosen is None else (chosen,):
        data = environments[name]
        if isinstance(data, Mapping) and "databases" in data:
            several, mistakes = _read_several(name, environments, project)
            found += several
            wrong += mistakes
            continue
        # The command needs the project's name in the stack's, and not in the environment's.
        deployed = {} if project is None else {DEPLOY: _command(f"{project}-{name}", name)}
        try:
            whole = {**data, NAME: (name, project), **deployed} if isinstance(data, Mapping) else data
            found.append(Environment.model_validate(whole))
        except ValidationError as error:
            wrong += describe_mistakes(error, Environment, f"environments.{name}")
    if wrong:
        raise SettingsError("\n".join(wrong))
    return tuple(found)


def _read_several(
    name: str, environments: Mapping[str, Any], project: str | None
) -> tuple[list[OneOfSeveral], list[str]]:
    """The databases of an environment that has several, and mistakes."""
    path, data = f"environments.{name}", environments[name]
    databases = data["databases"]
    if "database" in data:
        todo = "write each database in `databases`, with a name and its folder `migrations`"
        return [], [f"cdk.json: `{path}` has both `database` and `databases`: {todo}."]
    if not isinstance(databases, Mapping) or not databases:
        return [], [f"cdk.json: `{path}.databases` must be an object with an object per database."]
    wrong = []
    if len(databases) > MOST_DATABASES:
        many = f"may have {MOST_DATABASES} items at most, and has {len(databases)}"
        wrong.append(f"cdk.json: `{path}.databases` {many}: CloudFormation takes no template of more than 1 MB.")
    taken = {each: other for other, its in environments.items() if other != name for each in _names(other, its)}
    found = []
    for key, database in databases.items():
        here, machine, group = f"{path}.databases.{key}", f"{name}-{key}", name
        try:
            if not re.fullmatch(DATABASE, key):
                form = "lower-case words of letters and digits that begin with a letter, joined by hyphens"
                raise ValueError(f"can't be a database's name: write {form}")
            if machine in taken:
                why = f"`environments.{taken[machine]}` has a machine or a stack of that name"
                raise ValueError(f"can't be named {machine}: {why}")
            machine, group = full_name(machine, project), full_name(name, project)
        except ValueError as error:
            whose = f"makes the name {machine}, which " if "an environment's name" in str(error) else ""
            wrong.append(f"cdk.json: `{here}` {whose}{error}.")
        deployed = {NAME: machine, GROUP: group, STACK: Names(group).stack, DEPLOY: _command(group, name)}
        rest = {other: value for other, value in data.items() if other != "databases"}
        try:
            found.append(OneOfSeveral.model_validate({**rest, "database": database, **deployed}))
        except ValidationError as error:
            for line in describe_mistakes(error, OneOfSeveral, path):
                own = line.replace(f"`{path}.database", f"`{here}", 1)
                wrong.append(own.replace("`database.", f"`databases.{key}."))
    return found, list(dict.fromkeys(wrong))


def _names(name: str, data: Any) -> list[str]:
    """What an environment's stack and machines are named after."""
    databases = data.get("databases") if isinstance(data, Mapping) else None
    return [name, *(f"{name}-{key}" for key in databases)] if isinstance(databases, Mapping) else [name]


def _command(full: str, name: str) -> str:
    return f"npx aws-cdk@2 deploy {Names(full).stack} --context env={name}"

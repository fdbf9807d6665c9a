"""An environment's settings: what stands in cdk.json, read into types; each mistake told by key and environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from infra.addresses import KEY_ARN, SECRET_ARN, read_database_name, read_emails, read_host, refuse_other_regions
from infra.limits import TASK_MARGIN_MS, Limits, read_limits
from infra.naming import Names, taken
from infra.reader import Reader, Reference, SettingsError

__all__ = [
    "TASK_MARGIN_MS",
    "Database",
    "Limits",
    "Network",
    "Reference",
    "Settings",
    "SettingsError",
    "read_all",
    "read_one",
]

ACTIONS = ("run-migration", "list-migrations", "status", "history", "plan", "verify", "rollback")
HAZARDS = ("refuse", "warn")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING")
SSLMODES = ("verify-full", "verify-ca", "require")
RETENTIONS = (1, 3, 5, 7, 14, 30, 60, 90, 180, 365, 731, 1827, 3653)
MOST_SUBNETS = 16  # of a Lambda function
LONGEST_PATTERN = 2_048  # characters of an EventBridge rule's pattern
_PATTERN, _PATTERN_OF_STACK = (
    200,
    150,
)  # characters of the deploy rule's, and of each stack in it beside its name, twice

_NEEDED = {
    "run-migration": "it is what a deployment starts",
    "plan": "it is how mails tell the state of the database",
}
LOCAL = "local"  # the environment of local/cloud
_NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")


@dataclass(frozen=True)
class Network:
    """Where the functions run and what they reach.

    Attributes:
        secrets_endpoint: the security group of an existing Secrets Manager endpoint; None makes one of our own.
    """

    vpc: Reference
    subnets: tuple[Reference, ...]
    database_security_group: Reference
    secrets_endpoint: Reference | None


@dataclass(frozen=True)
class Database:
    """The database to migrate. `host` is the cluster's writer endpoint.

    Attributes:
        secret: the complete ARN of the secret that holds user and password.
        secret_key: the ARN of the customer's key that encrypts it, if there is one.
    """

    host: Reference
    port: Reference
    name: Reference
    secret: Reference
    secret_key: Reference | None = None
    sslmode: str = "verify-full"


@dataclass(frozen=True)
class Settings:
    """All of one environment.

    Attributes:
        account, region: where it is deployed; None means where the caller's credentials lead.
        watch_stacks: stacks whose deployment starts a run, beside our own.
        daily_check: mail once a day if anything is pending or has drifted.
        success_mail: mail what a run has changed, too.
    """

    name: str
    network: Network
    database: Database
    emails: tuple[str, ...]
    limits: Limits = field(default_factory=Limits)
    account: str | None = None
    region: str | None = None
    watch_stacks: tuple[str, ...] = ()
    daily_check: bool = True
    success_mail: bool = False
    allowed_actions: tuple[str, ...] = ACTIONS[:-1]
    hazards: Literal["refuse", "warn"] = "warn"
    log_level: str = "INFO"
    log_retention_days: int = 90


def read_all(environments: Any) -> tuple[Settings, ...]:
    """Every environment in cdk.json's context `environments`.

    Raises:
        SettingsError: a mistake in any of them.
    """
    known = _known(environments)
    return tuple(_read(name, data) for name, data in known.items())


def read_one(environments: Any, name: str) -> Settings:
    """The environment that `--context env=NAME` names.

    Raises:
        SettingsError: there is none of that name, or a mistake in it.
    """
    known = _known(environments)
    if name not in known:
        raise SettingsError(f"There is no environment {name!r}; cdk.json's `environments` holds: {', '.join(known)}.")
    return _read(name, known[name])


def _known(environments: Any) -> Mapping[str, Any]:
    if not isinstance(environments, Mapping) or not environments:
        raise SettingsError("cdk.json's context holds no `environments`, or they aren't an object of named objects.")
    for name in environments:
        if not _NAME.fullmatch(name):
            raise SettingsError(
                f"The environment name {name!r} won't do: write up to 20 small letters, digits and hyphens, "
                "beginning with a letter; it becomes part of the names of everything in the stack."
            )
        if name == LOCAL:
            raise SettingsError(
                f"The environment name {name!r} is taken: `--env {name}` is the local cloud. Choose another."
            )
        part = taken(name)
        if part is not None:
            other = name.removesuffix(f"-{part}")
            raise SettingsError(
                f"The environment name {name!r} won't do: an environment {other!r} has something of the same name in "
                f"its stack, which ends in `-{part}`. Write another ending."
            )
    return environments


def _read(name: str, data: Any) -> Settings:
    top = Reader(name, "", data)
    settings = Settings(
        name=name,
        account=top.optional_text("account", r"\d{12}", "an account number of 12 digits"),
        region=top.optional_text("region", r"[a-z]{2}(-[a-z]+)+-\d", "a region such as eu-west-1"),
        network=_network(top.inner("network")),
        database=_database(top.inner("database")),
        emails=read_emails(top, "emails"),
        limits=read_limits(top.inner("limits", optional=True)),
        watch_stacks=_stacks(top, Names(name).stack),
        daily_check=top.flag("daily_check", True),
        success_mail=top.flag("success_mail", False),
        allowed_actions=top.choices("allowed_actions", ACTIONS, Settings.allowed_actions),
        hazards=top.choice("hazards", HAZARDS, "warn"),  # type: ignore[arg-type]  # one of HAZARDS
        log_level=top.choice("log_level", LOG_LEVELS, "INFO"),
        log_retention_days=top.number("log_retention_days", 90, RETENTIONS),
    )
    for action, why in _NEEDED.items():
        if action not in settings.allowed_actions:
            raise top.wrong("allowed_actions", f"must allow `{action}`: {why}")
    arns = (("database.secret", settings.database.secret), ("database.secret_key", settings.database.secret_key))
    refuse_other_regions(top, settings.region, arns)
    top.finish()
    return settings


def _stacks(keys: Reader, own: str) -> tuple[str, ...]:
    stacks = keys.texts("watch_stacks", re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}"), "a stack's name")
    if own in stacks:
        raise keys.wrong("watch_stacks", f"names the environment's own stack, {own}, which is always watched")
    length = _PATTERN + sum(_PATTERN_OF_STACK + 2 * len(stack) for stack in (own, *stacks))
    if length > LONGEST_PATTERN:
        raise keys.wrong(
            "watch_stacks", f"makes a rule of {length} characters, and EventBridge takes {LONGEST_PATTERN}"
        )
    return stacks


def _network(keys: Reader) -> Network:
    network = Network(
        vpc=keys.reference("vpc", r"vpc-[0-9a-f]+", "a VPC's id"),
        subnets=_subnets(keys),
        database_security_group=keys.reference("database_security_group", r"sg-[0-9a-f]+", "a security group's id"),
        secrets_endpoint=_endpoint(keys),
    )
    keys.finish()
    return network


def _subnets(keys: Reader) -> tuple[Reference, ...]:
    subnets = keys.references("subnets", r"subnet-[0-9a-f]+", "a private subnet's id")
    if len(subnets) > MOST_SUBNETS:
        raise keys.wrong("subnets", f"may hold {MOST_SUBNETS} at most, as a Lambda function, and holds {len(subnets)}")
    return subnets


def _endpoint(keys: Reader) -> Reference | None:
    if keys.peek("secrets_endpoint") == "create":
        keys.drop("secrets_endpoint")
        return None
    what = "`create`, or the id of an existing endpoint's security group"
    return keys.reference("secrets_endpoint", r"sg-[0-9a-f]+", what)


def _database(keys: Reader) -> Database:
    database = Database(
        host=read_host(keys, "host"),
        port=keys.number_reference("port", 5432, range(1, 65_536)),
        name=read_database_name(keys, "name"),
        secret=keys.reference("secret", SECRET_ARN, "a secret's complete ARN"),
        secret_key=keys.optional_reference("secret_key", KEY_ARN, "a key's ARN"),
        sslmode=keys.choice("sslmode", SSLMODES, "verify-full"),
    )
    keys.finish()
    return database

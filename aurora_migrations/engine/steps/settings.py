"""Settings of a function: its environment variables, read once. Errors name the variable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from aurora_migrations.engine.errors import InvalidInput, NextCommand
from aurora_migrations.engine.options import HAZARDS, SSLMODES, Hazards, Limits

ROOT = Path(__file__).resolve().parents[3]  # the package's top: what is deployed, or the checkout
CERTIFICATES = "rds-ca.pem"  # the roots of Amazon RDS, beside the package's folders
_LONGEST = 86_400_000  # milliseconds; a day
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Settings:
    """An environment's settings. Times are milliseconds."""

    environment: str
    secret: str  # the ARN of the secret that holds the login
    # host, port, database: None where they are left to the secret.
    host: str | None
    port: int | None
    database: str | None
    sslmode: str
    # The roots that the server's certificate is checked with; None where sslmode has it not checked.
    certificates: Path | None
    actions: tuple[str, ...]  # those that are allowed
    limits: Limits  # for files that set none themselves; lock_wait is also how long to wait for another run to end
    hazards: Hazards  # what to do about hazards of a pending file that it doesn't allow
    migrations: Path


def read_settings(variables: Mapping[str, str]) -> Settings:
    """Settings from environment variables, which an error (InvalidInput) names; an empty one counts as not set."""
    given = {name: text for name, value in variables.items() if (text := value.strip())}

    def read(name: str, parse: Callable[[str], _Value], default: _Value) -> _Value:
        try:
            return parse(given[name]) if name in given else default
        except ValueError as error:
            raise _wrong(name, str(error)) from None

    for name in ("ENVIRONMENT", "DATABASE_SECRET_ARN", "ALLOWED_ACTIONS"):
        if name not in given:
            raise _wrong(name, "is not set")
    sslmode = read("DATABASE_SSLMODE", _one_of(SSLMODES), "verify-full")
    certificates = read("DATABASE_SSLROOTCERT", _below_root, ROOT / CERTIFICATES)
    if sslmode.startswith("verify") and not certificates.is_file():
        named = given.get("DATABASE_SSLROOTCERT")
        missing = f"is not set, and there is no {certificates.name}"
        raise _wrong("DATABASE_SSLROOTCERT", f"names {named}, but there is no such file" if named else missing)
    settings = Settings(
        environment=given["ENVIRONMENT"],
        secret=given["DATABASE_SECRET_ARN"],
        host=read("DATABASE_HOST", str, None),
        port=read("DATABASE_PORT", _number(1, 65_535), None),
        database=read("DATABASE_NAME", str, None),
        sslmode=sslmode,
        certificates=certificates if sslmode.startswith("verify") else None,
        actions=read("ALLOWED_ACTIONS", _actions, ()),
        limits=Limits(
            lock_timeout=read("LOCK_TIMEOUT_MS", _number(1, _LONGEST), Limits.lock_timeout),
            statement_timeout=read("STATEMENT_TIMEOUT_MS", _number(0, _LONGEST), Limits.statement_timeout),
            lock_wait=read("LOCK_WAIT_MS", _number(0, _LONGEST), Limits.lock_wait),
        ),
        hazards=cast(Hazards, read("HAZARDS", _one_of(HAZARDS), "warn")),
        migrations=read("MIGRATIONS_DIR", _below_root, ROOT / "migrations"),
    )
    if settings.limits.contradict:
        raise _wrong("STATEMENT_TIMEOUT_MS", "must be above LOCK_TIMEOUT_MS, or the lock's holder is never reported")
    return settings


def _wrong(name: str, reason: str) -> InvalidInput:
    return InvalidInput(
        f"The environment variable {name} {reason}.",
        cause="The function was deployed with a wrong setting.",
        solution="Correct the environment's settings in cdk.json and deploy.",
        next_command=NextCommand("doctor"),
        setting=name,
    )


def _number(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 12 and lowest <= int(text) <= highest):
            raise ValueError(f"must be a whole number from {lowest} to {highest}")
        return int(text)

    return parse


def _one_of(words: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return parse


def _actions(text: str) -> tuple[str, ...]:
    from aurora_migrations.engine.steps.execution import ACTIONS

    found = tuple(word.strip() for word in text.split(","))
    if not set(found) <= set(ACTIONS):
        raise ValueError(f"must list actions of {', '.join(ACTIONS)}, with commas between them")
    return found


def _below_root(text: str) -> Path:
    return ROOT / text

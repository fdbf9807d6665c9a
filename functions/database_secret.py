"""The database's login, from AWS Secrets Manager at run time. The only module of the engine that knows AWS.

A secret has one of two shapes: what Amazon RDS manages itself holds username and password only; what is written by the
console or by CDK holds host, port and dbname too. Where a setting and the secret both name something they must agree.
No error contains a value of a secret.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from aurora_migrations.engine.errors import (
    AuthenticationFailed,
    MigratorError,
    SecretAccessDenied,
    SecretMalformed,
    SecretNotFound,
    SecretsUnreachable,
)
from aurora_migrations.engine.steps.settings import Settings

# Seconds. botocore waits 60 s for each by default and tries five times, and hangs where there is no endpoint.
CONNECT_TIMEOUT, READ_TIMEOUT, ATTEMPTS = 3, 5, 3
# Seconds between a refused login and the fresh read: a rotation sets the password first, then the secret.
ROTATION = 2.0
_Result = TypeVar("_Result")

# What Secrets Manager answers: the API reference of GetSecretValue, and the errors common to all of its actions.
_NOT_FOUND = {
    "ResourceNotFoundException": None,
    "InvalidRequestException": "The secret is scheduled for deletion, or has no current value.",
    "InvalidParameterException": "The setting isn't the ARN of a secret.",
    "ValidationException": "The setting isn't the ARN of a secret.",
}
_DENIED = {
    "AccessDeniedException": None,
    "AccessDenied": None,
    "DecryptionFailure": "The key that the secret is encrypted with can't be used: its policy, or it is disabled.",
    "ExpiredTokenException": "The function's AWS credentials have expired.",
    "InvalidSignatureException": "The function's AWS credentials aren't valid.",
    "UnrecognizedClientException": "The function's AWS credentials aren't valid.",
}
_SETTINGS = {"host": "host", "port": "port", "dbname": "name"}  # of the environment, by the secret's members


class SecretsClient(Protocol):
    """The one call that is made of botocore's client."""

    def get_secret_value(self, *, SecretId: str) -> Mapping[str, Any]:
        """Secrets Manager's GetSecretValue."""


@dataclass(frozen=True)
class Login:
    """Where the database is and how to get in. Printed, it shows no password."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    sslmode: str
    certificates: str | None

    @property
    def url(self) -> str:
        """The address in libpq's key=value form, password included."""
        from psycopg.conninfo import make_conninfo

        parts: dict[str, Any] = {"sslmode": self.sslmode, "user": self.user, "password": self.password}
        if self.certificates:
            parts["sslrootcert"] = self.certificates
        return make_conninfo("", host=self.host, port=self.port, dbname=self.database, **parts)


def secrets_client() -> SecretsClient:
    """botocore's client, with timeouts that leave time to report the error: boto3 would make the same one, and takes
    longer to load."""
    from botocore.config import Config
    from botocore.session import get_session

    retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    config = Config(connect_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT, retries=retries)
    client: SecretsClient = get_session().create_client("secretsmanager", config=config)
    return client


def read_login(client: SecretsClient, settings: Settings) -> Login:
    """The login as the secret has it now, or an error of the family secret."""
    secret = settings.secret
    try:
        text = client.get_secret_value(SecretId=secret).get("SecretString")
    except Exception as error:
        raise _secret_error(error, secret) from None
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):  # whose message and document would contain the secret
        value = None
    if not isinstance(value, dict):
        raise _malformed(secret, "isn't a JSON object")
    if value.get("engine") not in (None, "postgres", "aurora-postgresql"):
        raise _malformed(secret, "is of a database that isn't PostgreSQL")
    user, password = (_text(value, key, secret) for key in ("username", "password"))
    if user is None or password is None:
        raise _malformed(secret, f"has no {'username' if user is None else 'password'}")
    port = settings.port or (None if value.get("port") else 5432)  # PostgreSQL's own, where neither side names one
    return Login(
        host=_agreed_value("DATABASE_HOST", settings.host, "host", _text(value, "host", secret), secret),
        port=int(_agreed_value("DATABASE_PORT", port, "port", _port(value, secret), secret)),
        database=_agreed_value("DATABASE_NAME", settings.database, "dbname", _text(value, "dbname", secret), secret),
        user=user,
        password=password,
        sslmode=settings.sslmode,
        certificates=str(settings.certificates) if settings.certificates else None,
    )


def with_login(read: Callable[[], Login], use: Callable[[Login], _Result], pause: float = ROTATION) -> _Result:
    """Uses a login; where the server refuses it, reads the secret afresh, once: it may have been rotated just now."""
    login = read()
    try:
        return use(login)
    except AuthenticationFailed as error:
        time.sleep(pause)
        fresh = read()
        if fresh == login:
            raise _login_refused(error) from error
    try:
        return use(fresh)
    except AuthenticationFailed as error:
        raise _login_refused(error) from error


def _login_refused(error: AuthenticationFailed) -> AuthenticationFailed:
    return error.but(
        cause="The secret's password is wrong, also when read again; or pg_hba.conf doesn't allow this connection.",
        solution="Rotate the secret, or write the database's password into it; then run again.",
    )


def _secret_error(error: Exception, secret: str) -> MigratorError:
    """The named error for one that botocore raised; recognized by its name, as only the first call imports botocore."""
    response = getattr(error, "response", None)
    code = str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""
    kind = code or type(error).__name__
    if code in _NOT_FOUND:
        return SecretNotFound(f"There is no secret {secret} ({kind}).", cause=_NOT_FOUND[code], secret=secret)
    if code in _DENIED or kind in ("NoCredentialsError", "PartialCredentialsError"):
        cause = _DENIED.get(code) or (None if code else "The function's AWS credentials are missing.")
        renew = "Run again: Lambda renews them automatically. If it lasts, check the function's role."
        own = cause is not None and cause.startswith("The function's AWS credentials")
        what = f"The secret {secret} may not be read ({kind})."
        return SecretAccessDenied(what, cause=cause, solution=renew if own else None, secret=secret)
    answered = "answered with an error" if code else "can't be reached"
    cause = "Secrets Manager has an outage, or gets too many requests." if code else None
    solution = "Run again in a while; if it lasts, check the AWS Health Dashboard." if code else None
    return SecretsUnreachable(f"Secrets Manager {answered} ({kind}).", cause=cause, solution=solution, secret=secret)


def _agreed_value(variable: str, setting: object, key: str, found: str | None, secret: str) -> str:
    """The setting, or else the secret's value. If both exist they must be the same."""
    name = f"`database.{_SETTINGS[key]}` of the environment"
    if setting is None and found is None:
        solution = f"Set {name} and deploy, or write {key} into the secret."
        raise _malformed(secret, f"has no {key}, and {variable} isn't set", solution)
    if setting is None:
        return str(found)
    fold = str.lower if key == "host" else str
    if found is not None and fold(str(setting)) != fold(found):
        solution = f"Correct whichever is wrong: {name}, or {key} in the secret."
        raise _malformed(secret, f"has another {key} than {variable}, which is {setting}", solution)
    return str(setting)


def _port(value: Mapping[str, object], secret: str) -> str | None:
    port = value.get("port")
    if isinstance(port, int) and not isinstance(port, bool):
        port = str(port)
    if not port:
        return None
    if not (isinstance(port, str) and port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 65_536):
        raise _malformed(secret, "has a port that isn't a number from 1 to 65535")
    return str(int(port))


def _text(value: Mapping[str, object], key: str, secret: str) -> str | None:
    text = value.get(key)
    if text is None or text == "":
        return None
    if not isinstance(text, str) or any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
        raise _malformed(secret, f"has a {key} that isn't a text")
    return text


def _malformed(secret: str, what: str, solution: str | None = None) -> SecretMalformed:
    return SecretMalformed(f"The secret {secret} {what}.", solution=solution, secret=secret)

"""The login: both shapes of the secret, everything that may be wrong with it, and a password that was just rotated."""

from __future__ import annotations

import json
import time
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, NoCredentialsError

from aurora_migrations.engine.errors import (
    AuthenticationFailed,
    DatabaseUnreachable,
    MigratorError,
    SecretAccessDenied,
    SecretMalformed,
    SecretNotFound,
    SecretsUnreachable,
)
from functions import database_secret
from functions.database_secret import read_login
from tests.functions.helpers import Machine

CANARY = "canary-7c1f0e"


@pytest.fixture
def ready(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with one migration; a refused login isn't waited for."""
    machine.migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    machine.write_manifest()
    monkeypatch.setattr(database_secret.with_login, "__defaults__", (0.0,))
    return machine


class Secrets:
    """Secrets Manager, with what it answers; the errors are botocore's own."""

    def __init__(self, *answers: str | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def get_secret_value(self, *, SecretId: str) -> dict[str, Any]:
        self.asked.append(SecretId)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return {"SecretString": answer}


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": f"{CANARY} is not allowed"}}, "GetSecretValue")


# ---- shapes ---------------------------------------------------------------------------------------------------------


def test_secret_that_rds_manages_holds_username_and_password_only(ready) -> None:
    assert ready.run({})["status"] == "success"


def test_secret_that_holds_everything_is_enough_by_itself(ready, database) -> None:
    full = {"engine": "postgres", "host": "127.0.0.1", "port": database.server.port, "dbname": database.name}
    ready.put({**ready.secret, **full})
    for name in ("DATABASE_HOST", "DATABASE_PORT", "DATABASE_NAME"):
        del ready.variables[name]
    assert ready.run({})["database"] == database.name


def test_setting_and_secret_may_say_the_same(ready, database) -> None:
    ready.put({**ready.secret, "host": "127.0.0.1", "port": str(database.server.port), "dbname": database.name})
    assert ready.call("preflight")["next"] == "apply"


@pytest.mark.parametrize(
    ("key", "value", "variable"),
    [("host", "far.example", "HOST"), ("port", 1, "PORT"), ("dbname", "canary", "NAME")],
)
def test_secret_that_names_another_place_than_the_settings_is_refused(ready, key, value, variable) -> None:
    ready.put({**ready.secret, key: value})
    told = ready.refused("preflight", SecretMalformed)
    assert f"has another {key} than DATABASE_{variable}" in told["message"]
    assert key == "port" or value not in json.dumps(told)


def test_host_is_the_same_in_any_letter_case(ready) -> None:
    ready.variables["DATABASE_HOST"] = "LOCALHOST"
    ready.put({**ready.secret, "host": "localhost"})
    assert read_login(ready.aws, ready.settings).host == "LOCALHOST"


def test_port_is_that_of_postgresql_where_nobody_says(ready) -> None:
    del ready.variables["DATABASE_PORT"]
    assert read_login(ready.aws, ready.settings).port == 5432


def test_address_that_nobody_says_is_told_by_the_setting(ready) -> None:
    del ready.variables["DATABASE_HOST"]
    assert "has no host, and DATABASE_HOST isn't set" in ready.refused("preflight", SecretMalformed)["message"]


MALFORMED = [
    "",
    "not json " + CANARY,
    '{"username": "u", "password": "' + CANARY,
    f'["{CANARY}"]',
    json.dumps({"password": CANARY}),
    json.dumps({"username": CANARY}),
    json.dumps({"username": CANARY, "password": ""}),
    json.dumps({"username": CANARY, "password": [CANARY]}),
    json.dumps({"username": "u", "password": f"{CANARY}\0"}),
    json.dumps({"username": "u", "password": f"{CANARY}\ud800"}),
    json.dumps({"username": "u", "password": CANARY, "engine": "mysql"}),
    json.dumps({"username": "u", "password": CANARY, "port": CANARY}),
    json.dumps({"username": "u", "password": CANARY, "port": 0}),
    json.dumps({"username": "u", "password": CANARY, "host": 7}),
    "[" * 100_000,
]


@pytest.mark.parametrize("secret", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_secret_is_named_and_nothing_of_it_told(ready, capsys, secret) -> None:
    ready.aws = Secrets(secret)
    told = ready.refused("preflight", SecretMalformed)
    assert CANARY not in json.dumps(told)
    assert CANARY not in capsys.readouterr().out


def test_binary_secret_is_malformed(ready) -> None:
    ready.aws.put_secret_value(SecretId=ready.variables["DATABASE_SECRET_ARN"], SecretBinary=b"\xff")
    told = ready.refused("preflight", SecretMalformed)
    assert "xff" not in json.dumps(told)


def test_login_that_is_printed_shows_no_password(ready) -> None:
    ready.put({"username": "u", "password": CANARY})
    login = read_login(ready.aws, ready.settings)
    assert CANARY not in repr(login)
    assert CANARY not in str(login)


def test_password_goes_to_the_server_as_it_is(ready, database, roles) -> None:
    role = roles.create()  # its password holds a quote, a blank, an @, a slash and a percent sign
    database.execute(f'GRANT CREATE ON DATABASE "{database.name}" TO "{role.name}"')
    database.execute(f'GRANT CREATE ON SCHEMA public TO "{role.name}"')
    ready.put({"username": role.name, "password": role.password})
    assert ready.call("preflight")["server"]["role"] == role.name
    assert ready.run({})["status"] == "success"


# ---- what Secrets Manager may say -----------------------------------------------------------------------------------


def test_secret_that_is_not_there_is_named(ready) -> None:
    arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:gone-AbCdEf"
    ready.variables["DATABASE_SECRET_ARN"] = arn
    told = ready.refused("preflight", SecretNotFound)
    assert told["secret"] == arn
    assert "ResourceNotFoundException" in told["message"]


def test_secret_that_is_being_deleted_is_not_found_and_says_why(ready) -> None:
    ready.aws.delete_secret(SecretId=ready.variables["DATABASE_SECRET_ARN"])
    assert "scheduled for deletion" in ready.refused("preflight", SecretNotFound)["cause"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (client_error("AccessDeniedException"), SecretAccessDenied),
        (client_error("DecryptionFailure"), SecretAccessDenied),
        (client_error("UnrecognizedClientException"), SecretAccessDenied),
        (NoCredentialsError(), SecretAccessDenied),
        (client_error("ThrottlingException"), SecretsUnreachable),
        (client_error("InternalServiceError"), SecretsUnreachable),
        (EndpointConnectionError(endpoint_url="https://secretsmanager"), SecretsUnreachable),
        (ConnectTimeoutError(endpoint_url="https://secretsmanager"), SecretsUnreachable),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:60],
)
def test_refusals_and_silence_are_told_apart(ready, error, kind) -> None:
    ready.aws = Secrets(error)
    told = ready.refused("preflight", kind)
    assert CANARY not in json.dumps(told)
    assert told["cause"]
    assert told["solution"]


def test_no_way_to_secrets_manager_is_told_in_seconds(ready) -> None:
    config = Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1}, proxies={})
    ready.aws = boto3.client("secretsmanager", config=config, endpoint_url="http://127.0.0.1:9")
    began = time.monotonic()
    try:
        ready.refused("preflight", SecretsUnreachable)
    finally:
        assert time.monotonic() - began < 10


def test_client_gives_up_long_before_a_function_would(aws) -> None:
    config = aws.meta.config
    longest = (config.connect_timeout + config.read_timeout) * config.retries["total_max_attempts"]
    assert longest <= 30


# ---- rotation -------------------------------------------------------------------------------------------------------


def test_password_that_was_rotated_meanwhile_is_read_once_more(ready) -> None:
    old, new = ({"username": "postgres", "password": word} for word in ("old", ready.secret["password"]))
    ready.aws = Secrets(json.dumps(old), json.dumps(new))
    assert ready.call("preflight")["next"] == "apply"
    assert len(ready.aws.asked) == 2


def test_password_that_stays_wrong_is_tried_once_and_refused(ready, capsys) -> None:
    ready.aws = Secrets(json.dumps({"username": "postgres", "password": CANARY}))
    told = ready.refused("apply", AuthenticationFailed)
    assert "when read again" in told["cause"]
    assert len(ready.aws.asked) == 2
    out = capsys.readouterr().out
    assert CANARY not in out + json.dumps(told)
    assert out.count('"Credentials fetched"') == 2
    assert '"Connected"' not in out


def test_second_password_that_is_wrong_too_is_the_end(ready) -> None:
    ready.aws = Secrets(*(json.dumps({"username": "postgres", "password": word}) for word in ("a", "b", "c")))
    ready.refused("verify", AuthenticationFailed)
    assert len(ready.aws.asked) == 2


def test_other_errors_read_nothing_anew(ready) -> None:
    ready.variables["DATABASE_PORT"] = "9"
    ready.aws = Secrets(json.dumps(ready.secret))
    told = ready.refused("preflight", DatabaseUnreachable)
    assert told["step"] == "TCP"
    assert len(ready.aws.asked) == 1


def test_server_without_tls_is_refused_where_the_certificate_must_be_checked(ready, tmp_path) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_text("", encoding="utf-8")
    ready.variables |= {"DATABASE_SSLMODE": "verify-full", "DATABASE_SSLROOTCERT": str(roots)}
    told = ready.refused("preflight", DatabaseUnreachable)
    assert told["step"] == "TLS"


def test_named_errors_are_of_the_family_secret() -> None:
    kinds = (SecretNotFound, SecretAccessDenied, SecretMalformed, SecretsUnreachable)
    assert {kind.family for kind in kinds} == {"secret"}
    assert all(issubclass(kind, MigratorError) for kind in kinds)

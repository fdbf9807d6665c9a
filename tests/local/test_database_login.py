"""The database's URL of a local cloud: what of it the functions can be told, and what is refused by name."""

from __future__ import annotations

import json

import pytest

from aurora_migrations.embedded.server import Server
from aurora_migrations.engine.errors import (
    AuthenticationFailed,
    DatabaseNotFound,
    DatabaseUnreachable,
    InvalidInput,
)
from aurora_migrations.local.database_login import Login, read_login, verify_login

SECRET = "s3cr#t/x"


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("postgresql://app:x@db:6000/shop?sslmode=require", Login("db", 6000, "shop", "app", "x", "require")),
        ("postgres://app:p%40%2F@db/shop", Login("db", 5432, "shop", "app", "p@/", "prefer")),
        ("postgresql://app:a#b@db/shop", Login("db", 5432, "shop", "app", "a#b", "prefer")),
        ("postgresql://db/shop?port=6001&user=app&password=x", Login("db", 6001, "shop", "app", "x", "prefer")),
        ("postgresql://app:x@[::1]/", Login("::1", 5432, "app", "app", "x", "prefer")),
        ("host=db user=app password='a b' dbname=shop", Login("db", 5432, "shop", "app", "a b", "prefer")),
    ],
)
def test_url_is_read_as_libpq_reads_it(url: str, login: Login) -> None:
    found = read_login(url, {"PGPASSWORD": "other"})
    assert found == login
    assert found.password == login.password
    assert read_login(found.url, {}) == found


@pytest.mark.parametrize(
    ("url", "named"),
    [
        (f"mysql://app:{SECRET}@db/shop", "can't be understood"),
        (f"postgresql://app:{SECRET}@db:port/shop", "can't be understood"),
        (f"postgresql://app:{SECRET}@db/shop?sslmode=maybe", "can't be understood"),
        (f"postgresql://app:{SECRET.replace('/', '%2F')}@/shop", "names no host"),
        ("postgresql://app:s3cr%23t@%2Ftmp/shop", "a socket"),
        ("postgresql://app:s3cr%23t@/shop?host=/tmp", "a socket"),
        ("postgresql://app:s3cr%23t@one,two/shop", "several hosts"),
        (
            "postgresql://app:s3cr%23t@db/shop?sslrootcert=/x&options=s3cr",
            "can't be told: options, sslrootcert.",
        ),
        ("postgresql://app:s3cr%23t@db/shop?hostaddr=127.0.0.1", "can't be told: hostaddr."),
        ("postgresql://db/shop?password=s3cr", "names no user"),
        ("postgresql://app@db/shop", "no password, and PGPASSWORD isn't set"),
    ],
)
def test_what_functions_cannot_be_told_is_refused_without_the_password(url: str, named: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_login(url, {})
    told = refused.value
    assert named in told.message
    assert told.cause
    assert told.solution
    assert "s3cr" not in f"{told.message}{told.cause}{told.solution}{told.facts}"


def test_password_of_the_environment_is_used_where_the_url_has_none() -> None:
    login = read_login("postgresql://app@db/shop", {"PGPASSWORD": SECRET})
    assert json.loads(login.secret)["password"] == SECRET
    assert SECRET not in repr(login) + login.redacted_url
    assert login.redacted_url == "postgresql://app:***@db:5432/shop?sslmode=prefer"


def test_trial_settles_whether_there_is_tls(server: Server) -> None:
    login = verify_login(read_login(server.url(), {}))
    assert login.sslmode == login.deployed_sslmode == "disable"
    with pytest.raises(DatabaseUnreachable, match="no secure connection"):
        verify_login(read_login(f"{server.url()}?sslmode=verify-full", {}))


def test_trial_that_fails_has_the_name_that_the_functions_give_it(server: Server) -> None:
    with pytest.raises(DatabaseNotFound):
        verify_login(read_login(server.url("nowhere"), {}))
    with pytest.raises(AuthenticationFailed) as refused:
        verify_login(read_login(server.url(password="wrong#1"), {}))
    assert "wrong" not in str(refused.value)

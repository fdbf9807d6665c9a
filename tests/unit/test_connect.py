"""What is understood of a database URL; a password is never repeated."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_migrations.engine.diagnostics.redaction import without_password
from aurora_migrations.engine.errors import InvalidInput, MigratorError
from aurora_migrations.engine.postgres.connect import parse_url
from aurora_migrations.engine.postgres.session import Session, application_name

CANARY = "Tr0ub4dor"


def refusal(url: str) -> MigratorError:
    with pytest.raises(InvalidInput) as caught:
        parse_url(url)
    return caught.value


def told(url: str) -> dict[str, object]:
    """The error for a URL, if it is refused."""
    try:
        parse_url(url)
    except InvalidInput as error:
        return error.to_dict()
    return {}


UNDERSTOOD = [
    ("postgresql://app:pw@db.example:5433/shop", ("app", "pw", "db.example", "5433", "shop")),
    ("postgres://app:pw@db.example/shop", ("app", "pw", "db.example", None, "shop")),
    ("postgresql://app:p%40ss%2Fw%25rd@db/shop", ("app", "p@ss/w%rd", "db", None, "shop")),
    ("postgresql://app@[::1]:5432/shop", ("app", None, "::1", "5432", "shop")),
    ("postgresql://db/shop?user=app&password=pw", ("app", "pw", "db", None, "shop")),
    ("postgresql:///shop", (None, None, None, None, "shop")),
    ("postgresql://one,two:5433/shop", (None, None, "one,two", ",5433", "shop")),
    ("host=db user=app password='p w' dbname=shop", ("app", "p w", "db", None, "shop")),
    ("user = app host=db", ("app", None, "db", None, None)),
]


@pytest.mark.parametrize(("url", "parts"), UNDERSTOOD, ids=[url for url, _ in UNDERSTOOD])
def test_url_is_understood(url: str, parts: tuple[str | None, ...]) -> None:
    found = parse_url(url)
    assert tuple(found.get(name) for name in ("user", "password", "host", "port", "dbname")) == parts


REFUSED = [
    f"app:{CANARY}@db/shop",
    f"mysql://app:{CANARY}@db/shop",
    f"jdbc:postgresql://db/shop?user=app&password={CANARY}",
    f"Postgresql://app:{CANARY}@db/shop",
    f"postgresql//app:{CANARY}@db/shop",
    f"postgresql:/app:{CANARY}@db/shop",
    f"postgresql://app:{CANARY}@x@db/shop",
    f"postgresql://app:x@{CANARY}@db/shop",
    f"postgresql://app:{CANARY}/x@db/shop",
    f"postgresql://app:x/{CANARY}@db/shop",
    f"postgresql://app:{CANARY}%zz@db/shop",
    f"postgresql://app:{CANARY}%fc@db/shop",
    f"postgresql://app:100%{CANARY}@db/shop",
    f"postgresql://app:{CANARY}@db:port/shop",
    f"postgresql://app:{CANARY}@db:99999/shop",
    f"postgresql://app:{CANARY}@[::1/shop",
    f"postgresql://app:{CANARY}@db/shop?sslmod=require",
    f"postgresql://app:{CANARY}@db/shop?sslmode=requird",
    f"postgresql://app:{CANARY}@db/shop?connect_timeout=soon",
    f"postgresql://app:{CANARY}@db/shop?password",
    f"host=db password={CANARY} x",
    f"host=db password='{CANARY}",
    f"hots=db password={CANARY}",
    f"{CANARY}",
    "",
    " ",
]


@pytest.mark.parametrize("url", REFUSED)
def test_wrong_url_is_refused_and_never_repeated(url: str) -> None:
    error = refusal(url)
    assert CANARY not in json.dumps(error.to_dict())
    assert "postgresql://USER:PASSWORD@HOST:5432/DATABASE" in error.solution


@given(st.text(), st.text(max_size=5), st.sampled_from(["", ":5432", ":x"]), st.sampled_from(["", "?sslmode=", "?x=y"]))
def test_no_password_comes_back_in_an_error(before: str, after: str, port: str, query: str) -> None:
    url = f"postgresql://app:{before}{CANARY}{after}@127.0.0.1{port}/shop{query}".replace("\0", " ")
    assert CANARY not in json.dumps(told(url))


@pytest.mark.parametrize("password", [f"{CANARY}/x", f"x/{CANARY}", f"{CANARY}#x", f"x?{CANARY}", f"{CANARY}:x"])
def test_no_part_of_an_unquoted_password_comes_back_from_connecting(password: str) -> None:
    """A slash ends the host for libpq: what follows the user's colon is then taken for a port."""
    with pytest.raises(MigratorError) as caught:
        Session(f"postgresql://localhost:{password}@127.0.0.1:1/shop", "test")
    assert CANARY not in json.dumps(caught.value.to_dict())


@pytest.mark.parametrize("ending", ["\n", "\r\n", " ", "\t"])
def test_white_space_around_a_url_does_not_matter(ending: str) -> None:
    assert parse_url(f"{ending}postgresql://app@db/shop{ending}")["dbname"] == "shop"


def test_application_name_fits_what_the_server_keeps() -> None:
    assert application_name("cli-1") == "aurora-migrations cli-1"
    assert len(application_name("x" * 100)) == 63


def test_address_with_a_driver_as_sqlalchemy_writes_it_is_taken() -> None:
    assert parse_url("postgresql+psycopg://app:s3cret@db/shop") == parse_url("postgresql://app:s3cret@db/shop")
    assert "s3cret" not in without_password("postgresql+psycopg://app:s3cret@db/shop")

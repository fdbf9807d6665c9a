"""`up` on a database of one's own that isn't there, or can't be: refused before anything is started."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Call


@pytest.mark.parametrize(
    ("url", "code", "told"),
    [
        ("postgresql://app:se#cret@127.0.0.1:1/shop", 1, "DatabaseUnreachable: 127.0.0.1:1 can't be reached"),
        ("postgresql://app:se#cret@/shop?host=/tmp", 2, "InvalidInput: The database URL leads to a socket"),
        ("mysql://app:se#cret@db/shop", 2, "InvalidInput: The database URL can't be understood"),
    ],
)
def test_database_that_cannot_be_migrated_is_refused_without_its_password(
    call: Call, url: str, code: int, told: str
) -> None:
    answer = call("up", "--database-url", url)
    assert (answer.code, answer.out) == (code, "")
    assert told in answer.err
    assert "cret" not in answer.err
    assert "Starting" not in answer.err

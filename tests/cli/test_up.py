"""`up`: a database that can't be used is refused before anything is started; the board of executions."""

from __future__ import annotations

import pytest

from aurora_migrations.cli.verbs.up import in_lines, status_line
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


def test_board_shows_when_and_how_long_and_no_execution_that_only_reads() -> None:
    arn, began = "arn:aws:states:us-east-1:1:stateMachine:aurora-migrations-local", 1_764_554_400_000
    running = {"stateMachineArn": arn, "name": "cli-1", "status": "RUNNING", "startDate": began, "stopDate": None}
    failed = running | {"status": "FAILED", "stopDate": began + 1_500, "error": "LockTimeout"}
    assert str(status_line(running | {"error": None})) == "02:00:00Z  aurora-migrations-local cli-1 RUNNING"
    assert str(status_line(failed)) == "02:00:01Z  aurora-migrations-local cli-1 FAILED  1.5 s  LockTimeout"
    assert status_line(failed | {"name": "read-20261123T040017Z-9f3a21"}) is None


@pytest.mark.parametrize(("windows", "mark"), [(False, "\\"), (True, "`")])
def test_long_command_is_broken_where_a_shell_joins_it(windows: bool, mark: str) -> None:
    assert in_lines(["A=1", "aws x", "y"], windows) == [f"A=1 {mark}", f"aws x {mark}", "y"]

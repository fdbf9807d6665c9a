"""The operations whose stalls are compared do what their checks look for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.harness import Bench
from benchmarks.stall.operations import OPERATIONS, Operation
from benchmarks.stall.running import fill, is_done
from tests.servers import Database

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the benchmarks need POSIX")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_operation_is_done_once_its_sql_has_run_and_not_before(
    operation: Operation, database: Database, tmp_path: Path
) -> None:
    bench = Bench(database.server, tmp_path, 1)
    fill(bench, database.name, ["reading"], rows=10)
    bench.sql(operation.prepare or "SELECT", database=database.name)

    assert not is_done(bench, database.name, operation)
    database.execute(operation.sql)
    assert is_done(bench, database.name, operation)

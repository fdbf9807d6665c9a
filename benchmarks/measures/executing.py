"""What one execution in the local cloud takes, warm, with one migration to apply; and where the time goes.

The whole is from StartExecution to the end, as a client sees it. Functions: the calls as Lambda counts them. Database:
what PostgreSQL itself was busy for, by pg_stat_database. The rest is the interpreter of the state machine, and the way
between.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import boto3
import psycopg

from aurora_migrations import project
from aurora_migrations.local.cloud.cloud import Cloud, opened
from benchmarks.harness import Bench, Failed

GOAL_MS = 350


@dataclass(frozen=True)
class _Taken:
    """Milliseconds of one execution."""

    whole: float
    functions: float
    database: float


def measure(bench: Bench) -> str:
    migrations = bench.folder / "executing"
    migrations.mkdir(exist_ok=True)
    for number in range(1, bench.rounds + 2):
        path = migrations / f"{number:03}_table.sql"
        path.write_text(f"CREATE TABLE t{number} (id int PRIMARY KEY, at timestamptz);\n", encoding="utf-8")
    with bench.database() as name:
        url = bench.server.url(name)
        with (
            opened(url, migrations, project.cache() / "cloud") as cloud,
            psycopg.connect(url, autocommit=True) as connection,
        ):
            rounds = [_round(cloud, connection, number) for number in range(1, bench.rounds + 2)][1:]
    return _table(rounds)


def _round(cloud: Cloud, connection: psycopg.Connection[Any], number: int) -> _Taken:
    """Applies the next migration; in the first round the functions are loaded."""
    before, called = _busy(connection), len(cloud.functions.durations_ms)
    began = time.monotonic()
    _execute(cloud, {"target": str(number)})
    whole = (time.monotonic() - began) * 1_000
    functions = sum(cloud.functions.durations_ms[called:])
    time.sleep(1.1)  # a backend tells its numbers a second after it was idle, or when it ends
    return _Taken(whole, functions, _busy(connection) - before)


def _busy(connection: psycopg.Connection[Any]) -> float:
    """Milliseconds that PostgreSQL has worked for this database until now, this connection's included: it asks for
    little."""
    row = connection.execute(
        "SELECT pg_stat_clear_snapshot(), active_time FROM pg_stat_database WHERE datname = current_database()"
    ).fetchone()
    return float(row[1]) if row else 0.0


def _execute(cloud: Cloud, asked: dict[str, str]) -> None:
    keys = {"aws_access_key_id": cloud.access_key, "aws_secret_access_key": cloud.secret_key}
    states = boto3.client("stepfunctions", endpoint_url=cloud.endpoint, region_name=cloud.region, **keys)
    execution = states.start_execution(stateMachineArn=cloud.machine, input=json.dumps(asked))["executionArn"]
    while (told := states.describe_execution(executionArn=execution))["status"] == "RUNNING":
        time.sleep(0.005)
    if told["status"] != "SUCCEEDED":
        raise Failed(f"The execution ended as {told['status']}: {told.get('error')}")


def _table(rounds: Sequence[_Taken]) -> str:
    whole = [taken.whole for taken in rounds]
    parts = {
        "whole execution": whole,
        "interpreter, and the way": [taken.whole - taken.functions for taken in rounds],
        "functions, without the database": [taken.functions - taken.database for taken in rounds],
        "database": [taken.database for taken in rounds],
    }
    lines = ["| part | ms | share |", "| --- | --- | --- |"]
    for name, values in parts.items():
        share = statistics.median(value / every for value, every in zip(values, whole, strict=True))
        lines.append(
            f"| {name} | {statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f}) | {share:.0%} |"
        )
    return "\n".join([*lines, "", f"Goal for the whole: under {GOAL_MS} ms."])

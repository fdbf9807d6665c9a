"""adopt through the state machine: shown, confirmed, recorded; the next run begins where the other tool has ended."""

from __future__ import annotations

import psycopg
import pytest

from aurora_migrations.project import REPLAY_VARIABLE
from tests.workflow.helpers import DATABASE, Workflow

DBMATE = """
    CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY);
    INSERT INTO schema_migrations VALUES ('001'), ('002');
    CREATE TABLE users (id int PRIMARY KEY);
    CREATE TABLE orders (id int PRIMARY KEY);
"""


def test_a_database_of_another_tool_is_taken_over(workflow: Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REPLAY_VARIABLE, "on")  # as in a build
    with psycopg.connect(workflow.server.url(DATABASE), autocommit=True) as connection:
        connection.execute(DBMATE)
    tables = {
        f"_00{n}_{name}": f"CREATE TABLE {name} (id int PRIMARY KEY);"
        for n, name in enumerate(("users", "orders", "bills"), 1)
    }
    workflow.deploy(**tables)
    refused = workflow.start({}).ended(mails=1)
    assert (refused.status, refused.error) == ("FAILED", "InvalidInput")
    assert "aurora-migrations adopt --env" in refused.mails[0].body
    plan = workflow.run({"action": "adopt"}).output
    assert plan["message"].endswith("001 to 002, from public.schema_migrations (dbmate); no differences")
    done = workflow.run({"action": "adopt", "confirm": "002"}).output
    assert done["message"] == "Recorded 2 migrations as applied by dbmate: 001 to 002"
    assert [each["migration"] for each in workflow.run({}).output["applied"]] == ["003"]

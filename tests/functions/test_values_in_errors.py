"""No value of a row in a mail, in the log, in the history: what an error leaves out stays out on its way."""

from __future__ import annotations

import json

import pytest

from aurora_migrations.engine.errors import MigrationFailed
from tests.database.values import CANARY, FILES, NUMBER, SETUP
from tests.functions.helpers import Machine
from tests.servers import Database

# What is wrong, and what is still shown of it.
NAMES = {
    "call-date": "date field value out of range: ? (22008)",
    "deferred": "an exception was raised whose words may hold values",
    "dynamic-drop": "cannot drop table ? because other objects depend on it (2BP01)",
}


@pytest.mark.parametrize("name", NAMES)
def test_no_value_of_a_row_is_told_anywhere(
    name: str, machine: Machine, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    database.execute(SETUP)
    machine.migrations.write("001_a.sql", FILES[name])
    machine.write_manifest()
    document = machine.refused("apply", MigrationFailed)
    kept = database.query("SELECT name, error::text FROM aurora_migrations.attempts")
    everything = json.dumps(document) + str(kept) + capsys.readouterr().out
    assert CANARY not in everything
    assert NUMBER not in everything
    assert NAMES[name] in document["message"]
    assert document["message"].split(": ", 1)[1][:20] in " ".join(document["mail"]["body"].split())

"""docs/schemas: what `--output json` prints is what they say, from a database and through the functions alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from aurora_migrations.cli.main import VERBS
from aurora_migrations.embedded.server import Server
from aurora_migrations.engine import MigratorError
from aurora_migrations.engine.interface import LogEvent
from functions.database_secret import secrets_client
from functions.entrypoint import document
from tests.cli.cloud import Cloud, answering, caused
from tests.cli.conftest import Call
from tests.database.helpers import holding_run_lock
from tests.functions.helpers import Machine
from tests.servers import Database, Migrations

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "schemas"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
BROKEN = "CREATE TABLE a (id int;\n"


@pytest.fixture(scope="module")
def server(any_server: Server) -> Server:
    """One is enough: nothing here depends on PostgreSQL's version."""
    return any_server


def strict(schema: Any) -> Any:
    """The schema with every object closed that it doesn't say to be open: keys that it doesn't name are found."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if "properties" in schema and isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


@cache
def validators() -> dict[str, Draft202012Validator]:
    texts = {name: json.loads((FOLDER / f"{name}.json").read_text("utf-8")) for name in NAMES}
    closed = {name: strict(text) for name, text in texts.items()}
    resources = [(f"{name}.json", Resource.from_contents(text)) for name, text in closed.items()]
    registry: Registry[Any] = Registry().with_resources(resources)
    return {name: Draft202012Validator(text, registry=registry) for name, text in closed.items()}


def fits(verb: str, told: Any, *, failed: bool = False) -> None:
    """Fails with what doesn't fit, and where."""
    ours, failure = validators()[verb], validators()["shared"].evolve(schema={"$ref": "shared.json#/$defs/failure"})
    problems = [error.message for error in failure.iter_errors(told)] if failed else []
    for error in ours.iter_errors(told):
        problems += [f"{'/'.join(map(str, each.path))}: {each.message}" for each in (error.context or [error])]
    assert problems == []
    assert failed == (isinstance(told, dict) and told.get("status") == "failed")


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(json.loads((FOLDER / f"{name}.json").read_text("utf-8")))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_prints_json_has_a_schema(call: Call, verb: str) -> None:
    if "{text,json" in call(verb, "--help").out:
        assert verb in NAMES


def test_key_that_no_schema_names_is_found(on: Call, two: Migrations) -> None:
    told = on("list", "--output", "json").json
    fits("list", told)
    with pytest.raises(AssertionError):
        fits("list", {**told, "surprise": 1})
    with pytest.raises(AssertionError):
        fits("list", {key: value for key, value in told.items() if key != "omitted"})


# ---- on a database --------------------------------------------------------------------------------------------------


def test_what_is_told_of_a_database_fits(on: Call, two: Migrations, database: Database) -> None:
    two.write("001_users.sql", "-- verify always: rows users = 0\nCREATE TABLE users (id integer PRIMARY KEY);\n")
    with holding_run_lock(database.url):
        fits("status", on("status", "--output", "json").json)
    two.write("003_c.sql", "ALTER TABLE users DROP COLUMN id;\n")
    for words in ("plan", "run 002", "run", "list", "status", "history", "verify", "verify 1"):
        answer = on(*words.split(), "--output", "json")
        assert answer.code == 0, answer
        fits(words.split()[0], answer.json)
    (two.dir / "003_c.sql").unlink()
    two.write("002_orders.sql", "SELECT 'changed';")
    for words in ("list", "status"):
        fits(words, on(words, "--output", "json").json)


def test_rollback_fits(on: Call, two: Migrations) -> None:
    assert on("run").code == 0
    fits("rollback", on("rollback", "1", "--confirm", "2", "--output", "json").json)
    fits("history", on("history", "--output", "json").json)


@pytest.mark.parametrize("words", ["run", "plan", "list", "status", "history", "verify", "rollback 1 --confirm 1"])
def test_failure_fits(call: Call, two: Migrations, words: str) -> None:
    answer = call(*words.split(), "--output", "json", "--database-url", "postgresql://app@127.0.0.1:1/shop")
    fits(words.split()[0], answer.json, failed=True)


def test_failed_run_fits(on: Call, here: Migrations) -> None:
    here.write("001_a.sql", "SELECT 1;")
    here.write("002_b.sql", "SELECT 1/0;")
    fits("run", on("run", "--output", "json").json, failed=True)


def test_what_is_told_of_files_fits(call: Call, here: Migrations) -> None:
    fits("new", call("new", "add users", "--output", "json").json)
    template = ("--template", "backfill", "--table", "users")
    fits("new", call("new", "fill users", *template, "--output", "json").json)
    for path in here.dir.iterdir():
        path.unlink()
    here.write("001_a.sql", "ALTER TABLE users ADD COLUMN mail text;\nCREATE INDEX ON users (mail);\n")
    fits("check", call("check", "--output", "json").json)
    here.write("002_b.sql", BROKEN)
    fits("check", call("check", "--output", "json").json)
    fits("replay", call("replay", "--output", "json").json, failed=True)


# ---- through the functions ------------------------------------------------------------------------------------------


@pytest.fixture
def deployed(cloud: Cloud, database: Database, two: Migrations) -> Callable[..., None]:
    """Deploys a state machine whose answers are those of the real functions."""
    machine = Machine(secrets_client(), database, two)

    def answer_of(asked: dict[str, str]) -> Any:
        machine.execution = f"e-{len(asked)}-{asked['action']}"
        try:
            return machine.run(asked)
        except MigratorError as error:
            return type(error).__name__, caused(json.loads(document(error) if not error.args else str(error)))

    def deploy(*asked: dict[str, str]) -> None:
        machine.write_manifest()
        cloud.deploy(answering({each["action"]: answer_of(each) for each in asked}))

    return deploy


def test_what_the_functions_answer_fits(deployed: Any, call: Call, two: Migrations) -> None:
    two.write("001_users.sql", "-- verify always: rows users = 0\nCREATE TABLE users (id integer PRIMARY KEY);\n")
    actions = ("plan", "run-migration", "list-migrations", "status", "history", "verify", "rollback")
    more = {"rollback": {"target": "2", "confirm": "2"}}
    deployed(*({"action": action, **more.get(action, {})} for action in actions))
    for words in ("plan", "run", "list", "status", "history", "verify", "rollback 2 --confirm 2"):
        answer = call(*words.split(), "--env", "dev", "--output", "json")
        assert (answer.code, answer.err) == (0, "")
        fits(words.split()[0], answer.json)
    for words in ("list", "history", "verify"):
        shown = call(words, "--env", "dev")
        assert shown.code == 0
        assert max(map(len, shown.out.splitlines())) <= 80


def test_what_the_functions_raise_fits(deployed: Any, call: Call, two: Migrations) -> None:
    two.write("002_orders.sql", "SELECT 1/0;\n")
    deployed({"action": "run-migration"}, {"action": "status"})
    answer = call("run", "--env", "dev", "--output", "json")
    assert (answer.code, answer.json["error"], answer.json["sqlstate"]) == (1, "MigrationFailed", "22012")
    fits("run", answer.json, failed=True)
    named = call("run", "2", "--env", "dev")
    assert "Saved to migration-002-output.json" in named.err
    fits("run", json.loads((two.dir.parent / "migration-002-output.json").read_text("utf-8")), failed=True)
    with pytest.raises(AssertionError):
        fits("run", {**answer.json, "mail": {"subject": "x", "body": "y"}}, failed=True)
    fits("status", call("status", "--env", "dev", "--output", "json").json)


def test_findings_and_failures_of_an_environment_fit(cloud: Cloud, call: Call) -> None:
    fits("doctor", call("doctor", "--env", "dev", "--output", "json").json)
    for verb in ("run", "logs"):
        fits(verb, call(verb, "--env", "dev", "--output", "json").json, failed=True)


def test_failure_before_there_is_a_machine_fits(cloud: Cloud, call: Call) -> None:
    cloud.stack({"Other": "x"})
    answer = call("run", "--env", "dev", "--output", "json")
    assert (answer.code, answer.json["error"]) == (1, "StackNotReady")
    fits("run", answer.json, failed=True)


def test_schema_of_log_lines_lists_the_events_that_there_are() -> None:
    schema = json.loads((FOLDER / "logs.json").read_text("utf-8"))
    assert schema["oneOf"][0]["properties"]["event"]["enum"] == list(LogEvent)


def test_log_lines_fit(cloud: Cloud, database: Database, two: Migrations, call: Call, capsys: Any) -> None:
    """As the functions write them."""
    machine = Machine(secrets_client(), database, two)
    machine.write_manifest()
    machine.execution = "run-1"
    capsys.readouterr()
    answer = machine.run({})
    lines = capsys.readouterr().out.splitlines()
    cloud.deploy(answering({"run-migration": answer}))
    cloud.ended(cloud.start({"action": "run-migration"}, "run-1"))
    for line in lines:
        cloud.put("apply", line)
    told = call("logs", "run-1", "--env", "dev", "--output", "json").out.splitlines()
    assert len(told) == len([line for line in lines if '"message"' in line]) > 10
    for line in told:
        fits("logs", json.loads(line))
    story = call("logs", "run-1", "--env", "dev").out
    assert "apply      Executing migration 001: 001_users.sql" in story
    assert "preflight  Connected: " in story

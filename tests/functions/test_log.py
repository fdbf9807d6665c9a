"""What a call tells: a story in order, one correlation id, and never a secret or a row."""

from __future__ import annotations

import json
import traceback
from typing import Any

import pytest

from aurora_migrations.engine.errors import (
    TRY_AGAIN,
    InternalError,
    InvalidInput,
    LockTimeout,
    MigrationFailed,
    MigratorError,
    PackageChanged,
)
from aurora_migrations.engine.interface import LogEvent
from aurora_migrations.engine.steps.step import RESERVE
from functions import entrypoint, remediation
from functions.apply import handler as apply
from functions.entrypoint import LIMIT, Deployment, document
from tests.database.helpers import holding, holding_run_lock
from tests.functions.helpers import EXECUTION, Context, Machine, lines, story

SECRET, ROW = "s3cret-canary-9", "row-canary-4f2"


@pytest.fixture
def one(machine: Machine) -> Machine:
    machine.migrations.write("017_a.sql", "-- verify: rows a = 0\nCREATE TABLE a (id int);")
    machine.write_manifest()
    return machine


# ---- the story ------------------------------------------------------------------------------------------------------


def test_story_is_told_in_order(one, capsys) -> None:
    found = one.call("preflight")
    capsys.readouterr()
    one.call("apply", {"target": "017"}, package=found["package"])
    assert story(capsys.readouterr().out) == [
        "Event received",
        "Credentials fetched",
        "Connected",
        "Executing migration 017",
        "Executed migration 017",
        "Connection closed",
        "Step done",
    ]


def test_lines_have_names_that_stay(one, capsys) -> None:
    found = one.call("preflight")
    capsys.readouterr()
    one.call("apply", {"target": "017"}, package=found["package"])
    told = [line for line in lines(capsys.readouterr().out) if "_aws" not in line]
    assert [line["event"] for line in told] == [
        "call_started",
        "secret_read",
        "connected",
        "migration_started",
        "migration_finished",
        "connection_closed",
        "call_finished",
    ]
    assert {line.get("action") for line in told if line["event"].startswith("migration_")} == {"apply"}


def test_every_line_is_json_with_the_execution_for_its_correlation_id(one, capsys) -> None:
    one.run({})
    told = lines(capsys.readouterr().out)
    assert len(told) > 15
    assert {line["correlation_id"] for line in told} == {EXECUTION}
    assert {line["service"] for line in told} == {"preflight", "apply", "verify"}
    assert {line["event"] for line in told if "_aws" not in line} <= set(LogEvent)


def test_lines_of_one_call_do_not_carry_what_another_said(one, capsys) -> None:
    one.run({})
    one.execution = "the-next"
    capsys.readouterr()
    one.run({})
    assert {line["correlation_id"] for line in lines(capsys.readouterr().out)} == {"the-next"}


def test_failure_ends_the_story_with_its_name_after_the_connection_is_closed(machine, capsys) -> None:
    machine.migrations.write("001_a.sql", "SELECT 1;\nSELECT nothing;")
    digest = machine.write_manifest()
    capsys.readouterr()
    machine.refused("apply", MigrationFailed, package=digest)
    told = lines(capsys.readouterr().out)
    messages = [line["message"].split(":")[0] for line in told if "message" in line]
    assert messages[-3:] == ["Executing migration 001", "Connection closed", "MigrationFailed"]
    assert (told[-2]["level"], told[-2]["event"], told[-2]["error"]["line"]) == ("ERROR", "call_failed", 2)
    assert told[-1]["Failures"] == [1.0]


def test_wait_for_another_run_is_told(one, database, capsys) -> None:
    one.variables["LOCK_WAIT_MS"] = "200"
    with holding_run_lock(database.url), pytest.raises(MigratorError, match="AnotherRunInProgress"):
        one.call("apply")
    assert "waiting_for_run" in [line.get("event") for line in lines(capsys.readouterr().out)]


def test_others_in_the_way_are_told_without_what_their_queries_hold(machine, database, capsys) -> None:
    database.execute("CREATE TABLE a (id text)")
    machine.migrations.write("001_a.sql", "ALTER TABLE a ADD COLUMN x int;")
    digest = machine.write_manifest()
    with holding(database.url, f"SELECT FROM a WHERE id = '{ROW}'"):
        machine.refused("apply", LockTimeout, package=digest, context=Context(timeout=RESERVE + 1_000))
    out = capsys.readouterr().out
    told = next(line for line in lines(out) if line.get("event") == "blocked")
    assert (told["level"], told["table"], told["mode"]) == ("WARNING", "public.a", "ACCESS EXCLUSIVE")
    assert "idle in transaction" in told["blockers"][0]
    assert ROW not in out


def test_numbers_go_to_cloudwatch_by_environment(one, capsys) -> None:
    one.run({})
    metrics = [line for line in lines(capsys.readouterr().out) if "_aws" in line]
    assert {line["environment"] for line in metrics} == {"dev"}
    names = {metric["Name"] for line in metrics for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert names >= {"MigrationsPending", "MigrationsExecuted", "MigrationDuration", "TablesVerified"}
    assert {line["_aws"]["CloudWatchMetrics"][0]["Namespace"] for line in metrics} == {"AuroraMigrations"}


# ---- nothing that must not be told ----------------------------------------------------------------------------------

LEAKS = [
    f"CREATE TABLE a (e text UNIQUE);\nINSERT INTO a VALUES ('{ROW}'), ('{ROW}');",
    f"CREATE TABLE a (e int);\nINSERT INTO a SELECT v::int FROM (VALUES ('{ROW}')) AS x (v);",
    f"CREATE TABLE a (e text CHECK (e = ''));\nINSERT INTO a VALUES ('{ROW}');",
]


@pytest.mark.parametrize("text", LEAKS, ids=["unique", "cast", "check"])
def test_no_row_and_no_password_in_log_result_or_error(machine, database, roles, capsys, text) -> None:
    role = roles.create()
    database.execute(f"ALTER ROLE \"{role.name}\" PASSWORD '{SECRET}'")
    database.execute(
        f'GRANT ALL ON DATABASE "{database.name}" TO "{role.name}"; GRANT ALL ON SCHEMA public TO "{role.name}"'
    )
    machine.put({"username": role.name, "password": SECRET})
    machine.migrations.write("001_a.sql", f"CREATE TABLE kept (t text);\nINSERT INTO kept VALUES ('{ROW}');")
    machine.migrations.write("002_a.sql", text)
    digest = machine.write_manifest()
    said = [machine.call("preflight")]
    with pytest.raises(MigratorError) as caught:
        machine.call("apply", package=digest)
    said += [machine.call("verify", {"action": "verify", "target": "001"})]
    captured = capsys.readouterr()
    everything = captured.out + captured.err + json.dumps(said) + str(caught.value) + as_lambda_tells(caught.value)
    assert SECRET not in everything
    assert ROW not in everything
    assert said[1]["verified"]["tables"][0]["rows"] == 1


def as_lambda_tells(error: BaseException) -> str:
    """What awslambdaric logs and reports of an exception (bootstrap.py, `handle_event_request`)."""
    return type(error).__name__ + str(error) + "".join(traceback.format_tb(error.__traceback__))


def test_what_stands_in_a_key_that_nobody_knows_is_not_told(one, capsys) -> None:
    told = one.refused("preflight", InvalidInput, {"password": SECRET, "target": "017"})
    out = capsys.readouterr().out
    assert SECRET not in out + json.dumps(told)
    assert lines(out)[0]["unknown_keys"] == ["password"]
    assert lines(out)[0]["asked"] == {"target": "017"}


def test_what_aws_adds_to_an_input_is_neither_told_nor_called_unknown(one, capsys) -> None:
    one.call("preflight", {"Comment": SECRET, "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID": SECRET, "action": "plan"})
    out = capsys.readouterr().out
    assert SECRET not in out
    assert (lines(out)[0]["asked"], lines(out)[0]["unknown_keys"]) == ({"action": "plan"}, [])


def test_error_leaves_without_the_errors_that_it_came_from(machine) -> None:
    machine.migrations.write("001_a.sql", "SELECT 1/0;")
    digest = machine.write_manifest()
    with pytest.raises(MigratorError) as caught:
        machine.call("apply", package=digest)
    error = caught.value
    assert (type(error), error.__cause__, error.__suppress_context__) == (MigrationFailed, None, True)
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert frames[-1] == "lambda_handler"
    assert "run_with_retries" not in frames


# ---- errors as documents --------------------------------------------------------------------------------------------


def test_error_names_the_next_command_with_environment_and_target(machine) -> None:
    machine.migrations.write("001_a.sql", "SELECT 1;")
    machine.write_manifest()
    told = machine.refused("apply", PackageChanged, {"target": "001"}, package="0" * 64)
    assert told["next_command"] == "aurora-migrations run 001 --env dev"


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        ({}, "run"),
        ({"target": 17}, "run 17"),
        ({"target": "017", "action": "run-migration"}, "run 017"),
        ({"target": "017; rm"}, "run"),
        ({"action": "rollback", "target": "017", "confirm": "018"}, "status"),
        ({"action": "plan", "target": "017"}, "plan"),
        ({"action": "verify"}, "verify"),
        ({"action": "list-migrations"}, "list"),
        ({"action": "status"}, "status"),
        ({"action": "history"}, "history"),
        ({"action": ["?"]}, "status"),
        (None, "run"),
    ],
)
def test_next_command_asks_for_the_same_again_and_never_undoes_an_undoing(asked, command: str) -> None:
    assert str(remediation.next_command(TRY_AGAIN, asked, "dev")) == f"aurora-migrations {command} --env dev"


def test_mistake_of_ours_leaves_by_a_name_and_without_its_words(machine, monkeypatch, capsys) -> None:
    def broken(*_: Any) -> None:
        raise KeyError(ROW)

    monkeypatch.setattr(entrypoint, "read_login", broken)
    told = machine.refused("preflight", InternalError)
    assert told["kind"] == "KeyError"
    assert "broken" in told["frames"][-1]
    assert ROW not in json.dumps(told) + capsys.readouterr().out


@pytest.mark.parametrize("event", [{}, {"action": "run-migration"}, [], None, "x", {"execution": 7, "input": {}}])
def test_event_that_no_state_machine_sent_is_refused_by_name(machine, event) -> None:
    with pytest.raises(InvalidInput, match="doesn't name its execution"):
        apply(event, Context(), Deployment(machine.settings, machine.aws))


WRONG_STATE: list[tuple[dict[str, Any], str]] = [
    ({"execution": "x" * 81}, "The event's key execution must be"),
    ({"execution": "x" * 70_000}, "The event's key execution must be a text of at most 80 printable characters."),
    ({"execution": "a\nWHAT TO DO"}, "The event's key execution must be"),
    ({"started_at": 7}, "The event's key started_at must be"),
    ({"started_at": "2" * 70_000}, "The event's key started_at must be"),
    ({"package": {"digest": "a"}}, "The event's key package must be"),
    ({"package": "a" * 70_000}, "The event's key package must be"),
    ({"so_far": "done"}, "The event's key so_far must be an object"),
    ({"so_far": []}, "The event's key so_far must be an object"),
    ({"so_far": {"applied": "017"}}, "The event's key so_far.applied must be a list"),
    ({"so_far": {"applied": {"migration": "017"}}}, "The event's key so_far.applied must be a list"),
    ({"so_far": {"applied": ["017"]}}, "The event's key so_far.applied must be a list"),
    ({"so_far": {"applied": [{}]}}, "The event's key so_far.applied must be a list"),
    ({"so_far": {"applied": [{"migration": 17}]}}, "The event's key so_far.applied must be a list"),
    ({"so_far": {"applied": [{"migration": "1" * 70_000}]}}, "The event's key so_far.applied must be a list"),
    ({"so_far": {"rolled_back": 0}}, "The event's key so_far.rolled_back must be a list"),
    ({"so_far": {"applied_count": "1"}}, "The event's key so_far.applied_count must be"),
    ({"so_far": {"calls": True}}, "The event's key so_far.calls must be a whole number"),
    ({"so_far": {"calls": -1}}, "The event's key so_far.calls must be a whole number"),
]


@pytest.mark.parametrize(("state", "told"), WRONG_STATE, ids=[str(state)[:60] for state, _ in WRONG_STATE])
def test_state_that_no_step_has_written_is_refused_by_name(
    one: Machine, state: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in ("preflight", "apply", "verify"):
        refused = one.refused(step, InvalidInput, **state)
        assert refused["message"].startswith(told)
        assert "Earlier calls of the execution may have changed something" in refused["state"]
        assert refused["mail"]["subject"] == "[dev] Migration FAILED: the request is invalid"
        assert refused["mail"]["body"].count("\nWHAT TO DO") == 1
        assert len(json.dumps(refused)) < LIMIT
        assert len(capsys.readouterr().out) < 2 * LIMIT
    assert one.database.query("SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []


def test_state_may_lack_what_is_not_known_yet(one: Machine) -> None:
    nothing = {"applied": None, "applied_count": None, "calls": None}
    assert one.call("apply", so_far=nothing, package=None, started_at=None)["calls"] == 1


def test_arn_of_any_length_is_no_link_in_a_mail(one: Machine) -> None:
    refused = one.refused("apply", InvalidInput, {"target": "9"}, execution_arn="arn:" + "x" * 70_000)
    assert "https://" not in refused["mail"]["body"]


def test_password_in_an_input_is_not_logged(one: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"action": "plan", "trigger": "x " * 100, "target": "postgresql://app:hunter2@h/shop"}
    refused = one.refused("preflight", InvalidInput, asked)
    out = capsys.readouterr().out
    assert "hunter2" not in json.dumps(refused) + out
    assert lines(out)[0]["asked"] == {"action": "plan", "trigger": ("x " * 50), "target": "postgresql://app:...@h/shop"}


def test_wrong_setting_is_a_named_error_too(machine, monkeypatch) -> None:
    monkeypatch.delenv("ENVIRONMENT", raising=False)
    entrypoint._deployed.cache_clear()
    with pytest.raises(InvalidInput, match="ENVIRONMENT is not set"):
        apply({"execution": "e", "input": {}}, Context())


def test_functions_find_their_settings_and_secrets_by_themselves(one, monkeypatch) -> None:
    for name, value in one.variables.items():
        monkeypatch.setenv(name, value)
    entrypoint._deployed.cache_clear()
    try:
        assert apply({"execution": "e", "input": {}}, Context())["outcome"] == "done"
    finally:
        entrypoint._deployed.cache_clear()


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"excerpt": "x" * 50_000},
        {"excerpt": "é☃" * 20_000},
        {"checks": [{"promise": f"p{n}", "found": "y" * 300} for n in range(500)]},
        {"difference": "\n" * 20_000, "files": ["f" * 60] * 3_000},
        {"holder": {"application": "z" * 9_000}},
        {f"fact{n}": "w" * 90 for n in range(400)},
    ],
    ids=["small", "long", "beyond ASCII", "many", "escaped", "nested", "very many facts"],
)
def test_document_is_json_of_limited_size_and_keeps_what_matters(facts: dict[str, Any]) -> None:
    error = LockTimeout("It waits. " * (2_000 if not facts else 1), **facts)
    text = document(error, execution="e")
    told = json.loads(text)
    assert len(text.encode()) <= LIMIT
    assert (told["error"], told["cause"], told["execution"]) == ("LockTimeout", LockTimeout.cause, "e")
    assert told["message"].startswith("It waits.")

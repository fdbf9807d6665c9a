"""A run that ends well: what is asked for is applied, verified, told."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.paths import ROOT
from tests.workflow.helpers import Workflow, until

RUNBOOK_INSERT = """
    INSERT INTO dry_run_log (
        tenant_id, lead_id, lead_nome, lead_telefone, lead_email, canal_decidido, motivo_decisao, template_selecionado,
        disparo_seria_executado, razao_bloqueio, ambiente, feature_flag_enabled)
    VALUES ('t', 'l', 'n', '1', 'e', 'c', 'm', 's', true, NULL, 'dev', false) RETURNING tenant_id
"""


def test_migration_017_is_applied_and_verified(workflow: Workflow) -> None:
    shutil.copytree(ROOT / "migrations", workflow.cloud.migrations, dirs_exist_ok=True)
    workflow.deploy()
    ended = workflow.run({"action": "run-migration", "target": "017"})
    contract = {key: ended.output[key] for key in ("status", "migration", "message")}
    assert contract == {
        "status": "success",
        "migration": "017",
        "message": "Migration 017 executed successfully",
    }
    (table,) = ended.output["verified"]["tables"]
    assert (table["table"], table["exists"], table["rows"]) == ("dry_run_log", True, 0)
    assert {index["state"] for index in table["indexes"]} == {"valid and ready"}
    assert ended.mails == []
    assert workflow.query(RUNBOOK_INSERT) == [("t",)]

    again = workflow.run({"action": "run-migration", "target": "017"})
    assert again.output["message"].startswith("Migration 017 was already applied at ")
    assert again.output["already_applied"] is not None


def test_an_empty_input_runs_all_that_is_pending_and_then_there_is_nothing_to_do(workflow: Workflow) -> None:
    workflow.deploy(_001_a="CREATE TABLE a (id int);", _002_b="CREATE TABLE b (id int);")
    ended = workflow.run()
    assert (ended.status, ended.output["migration"], workflow.tables) == ("SUCCEEDED", "002", ["a", "b"])
    assert [s for s in ended.entered if s in ("Preflight", "Apply", "Verify")] == ["Preflight", "Apply", "Verify"]

    again = workflow.run()
    assert again.output["message"] == "Nothing to do: every migration is applied"
    assert "Apply" not in again.entered


def test_the_log_tells_the_story_of_the_execution(workflow: Workflow) -> None:
    workflow.deploy(_017_a="CREATE TABLE a (id int);")
    ended = workflow.run()
    story = ["Event received", "Credentials fetched", "Connected"]
    executed = ["Executing migration 017", "Executed migration 017"]
    assert ended.messages("preflight") == [*story, "Connection closed", "Step done"]
    assert ended.messages("apply") == [*story, *executed, "Connection closed", "Step done"]
    assert ended.messages("verify") == [*story, "Connection closed", "Step done"]


def test_plan_and_list_answer_and_change_nothing(workflow: Workflow) -> None:
    workflow.deploy(_001_a="CREATE TABLE a (id int);")
    planned = workflow.run({"action": "plan"})
    assert [file["migration"] for file in planned.output["pending"]] == ["001"]
    listed = workflow.run({"action": "list-migrations"})
    assert [(file["migration"], file["state"]) for file in listed.output["migrations"]] == [("001", "pending")]
    assert workflow.tables == []
    assert workflow.query("SELECT count(*) FROM pg_namespace WHERE nspname = 'aurora_migrations'") == [(0,)]


def test_a_rollback_undoes_by_the_down_file(workflow: Workflow) -> None:
    workflow.write(_001_a="CREATE TABLE a (id int);", _002_b="CREATE TABLE b (id int);")
    workflow.path("002_b.down.sql").write_text("DROP TABLE b;\n", encoding="utf-8")
    workflow.deploy()
    workflow.run()
    ended = workflow.run({"action": "rollback", "target": "002", "confirm": "002"})
    assert (ended.status, ended.output["message"]) == ("SUCCEEDED", "Migration 002 rolled back successfully")
    assert workflow.tables == ["a"]


def test_the_end_of_a_deployment_starts_a_run(workflow: Workflow) -> None:
    workflow.write(_001_a="CREATE TABLE a (id int);")
    before = len(workflow.executions())
    workflow.cloud.deploy()
    (started, *_) = until(lambda: workflow.executions()[: len(workflow.executions()) - before], "an execution")
    ended = started.ended()
    asked = json.loads(ended.history[0]["executionStartedEventDetails"]["input"])
    assert asked == {"trigger": "deploy", "requested_by": workflow.cloud.stack.arn}
    assert (ended.status, workflow.tables) == ("SUCCEEDED", ["a"])


def test_a_deployment_that_was_rolled_back_or_of_another_stack_starts_nothing(workflow: Workflow) -> None:
    before = len(workflow.executions())
    workflow.cloud.deployed("UPDATE_ROLLBACK_COMPLETE")
    arn = workflow.cloud.stack.arn.replace("-local/", "-local-2/")
    detail = {"stack-id": arn, "status-details": {"status": "UPDATE_COMPLETE"}}
    entry = {
        "Source": "aws.cloudformation",
        "DetailType": "CloudFormation Stack Status Change",
        "Detail": json.dumps(detail),
        "Resources": [arn],
    }
    assert workflow.client("events").put_events(Entries=[entry])["FailedEntryCount"] == 0
    assert len(workflow.executions()) == before


def test_two_executions_at_once_apply_each_file_once(workflow: Workflow) -> None:
    workflow.deploy(**{f"_{n:03}_t": f"CREATE TABLE t{n} (id int); SELECT pg_sleep(0.05);" for n in range(1, 9)})
    both = [workflow.start(), workflow.start()]
    ends = [each.ended() for each in both]
    assert [end.status for end in ends] == ["SUCCEEDED", "SUCCEEDED"]
    assert sum(end.output["applied_count"] for end in ends) == 8
    assert workflow.query("SELECT count(*) FROM aurora_migrations.attempts WHERE result = 'applied'") == [(8,)]


def test_stopping_what_is_over_or_not_there_changes_nothing(workflow: Workflow) -> None:
    workflow.deploy(_001_a="SELECT 1;")
    ended = workflow.run()
    workflow.states.stop_execution(executionArn=ended.arn)
    assert workflow.states.describe_execution(executionArn=ended.arn)["status"] == "SUCCEEDED"
    with pytest.raises(workflow.states.exceptions.ExecutionDoesNotExist):
        workflow.states.stop_execution(executionArn=f"{ended.arn}-not")


def test_functions_are_called_as_by_lambda(workflow: Workflow) -> None:
    functions = workflow.client("lambda")
    with pytest.raises(functions.exceptions.ResourceNotFoundException):
        functions.invoke(FunctionName="aurora-migrations-local-sing", Payload=b"{}")
    with pytest.raises(functions.exceptions.ResourceNotFoundException):
        functions.invoke(FunctionName="aurora-migrations-local-apply:dead", Payload=b"{}")
    name = "aurora-migrations-local-preflight:live"
    assert functions.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")["StatusCode"] == 202
    answer = functions.invoke(FunctionName=name, Payload=b"{}")
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert json.load(answer["Payload"])["errorType"] == "InvalidInput"


def test_an_input_that_is_too_long_is_refused(workflow: Workflow) -> None:
    with pytest.raises(workflow.states.exceptions.ClientError, match="ValidationException"):
        workflow.states.start_execution(stateMachineArn=workflow.cloud.machine, input=json.dumps("x" * 300_000))


@pytest.mark.parametrize("text", ["", "{", "target: 17", '{"target": NaN}', "[" * 100_000], ids=range(5))
def test_an_input_that_is_no_json_is_refused(workflow: Workflow, text: str) -> None:
    with pytest.raises(workflow.states.exceptions.InvalidExecutionInput, match="Invalid State Machine Execution Input"):
        workflow.states.start_execution(stateMachineArn=workflow.cloud.machine, input=text)


@pytest.mark.parametrize("name", ["two words", "a/b", "a:b", "<a>", "tab\t", "\x85", "\ufffe", "x" * 81], ids=range(8))
def test_a_name_that_aws_does_not_take_is_refused(workflow: Workflow, name: str) -> None:
    with pytest.raises(workflow.states.exceptions.InvalidName, match="Invalid Name"):
        workflow.states.start_execution(stateMachineArn=workflow.cloud.machine, name=name, input="{}")


def test_a_name_of_80_characters_is_taken(workflow: Workflow) -> None:
    workflow.deploy(_001_users="CREATE TABLE users (id int);")
    asked = {"name": "ok-_.+()'=@!é".ljust(80, "x"), "input": '{"action": "list-migrations"}'}
    arn = workflow.states.start_execution(stateMachineArn=workflow.cloud.machine, **asked)["executionArn"]
    until(lambda: workflow.states.describe_execution(executionArn=arn)["status"] == "SUCCEEDED", "its end")
    assert arn.endswith(f":{asked['name']}")

"""The mails about executions that no function could mail itself: whatever was caught, and however it ended."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from aurora_migrations.cdk.machines.failure_branch import CONTRACT_BROKEN
from aurora_migrations.engine.errors import DatabaseUnreachable
from aurora_migrations.engine.postgres.session import Holder
from aurora_migrations.engine.steps import layout
from functions import workflow_mails
from functions.workflow_mails import CANNOT_BE_READ, CUT_OFF, NO_CAUSE, read_failure
from tests.examples.examples import ARN, ENVIRONMENT, EXECUTION
from tools.documents import golden


def raised(message: object, error: str = "X", **more: object) -> str:
    """A Cause, as Lambda tells it of a function that has raised."""
    return json.dumps({"errorMessage": message, "errorType": error, "requestId": "1-2", "stackTrace": [], **more})


def one_line(text: str) -> str:
    return " ".join(text.split())


# ---- what was caught ------------------------------------------------------------------------------------------------

UNKNOWN = "The cause could not be determined because Lambda did not return an error type."
PAYLOAD = '{"errorMessage":"2026 1-1 Task timed out after 900.00 seconds"}'


@pytest.mark.parametrize(
    ("cause", "why"),
    [
        ("", NO_CAUSE),
        (None, NO_CAUSE),
        ("The state timed out.", "The state timed out."),
        ('{"errorMessage": "cut in the mid', CANNOT_BE_READ),
        ('{"errorType": "Runtime.ExitError"}', CANNOT_BE_READ),
        (raised(None), CANNOT_BE_READ),
        (raised("{'a': 1}", "KeyError"), CANNOT_BE_READ),
        (raised("no JSON", "ModuleNotFoundError"), "no JSON"),
        (raised('{"error": "X"}'), CANNOT_BE_READ),
        (raised('{"error": "X", "message": "It failed."}'), "It failed."),
        (raised('{"error": "Y", "message": "It failed."}'), CANNOT_BE_READ),
        (raised('{"error": "X", "message": {"a": 1}}'), CANNOT_BE_READ),
        (raised('{"mail": {"subject": "s"}}'), CANNOT_BE_READ),
        (raised('{"mail": {"subject": "s", "body": 1}}'), CANNOT_BE_READ),
        (raised('{"cut": "in the mid'), CANNOT_BE_READ),
        (raised("[" * 20_000), CANNOT_BE_READ),
        ("[1, 2]", CANNOT_BE_READ),
        ('Lambda returned {"errorMessage": "cut in the mid', CANNOT_BE_READ),
        (raised('It said {"a": 1}.'), CANNOT_BE_READ),
        (f"{UNKNOWN} Returned payload: {PAYLOAD}", CUT_OFF),
        (f"{UNKNOWN} Task timed out after 3 s", f"{UNKNOWN} Task timed out after 3 s"),
        ({"a": 1}, CANNOT_BE_READ),
    ],
    ids=[
        *("empty", "null", "prose", "cut", "no-message", "null-message", "python", "foreign", "no-mail", "ours"),
        *("not-ours", "odd-message", "half-a-mail", "odd-mail", "cut-inside", "deep", "array", "json-in-prose"),
        *("json-in-a-message", "out-of-time", "out-of-time-in-prose", "object"),
    ],
)
def test_what_is_said_to_people_is_shown_and_nothing_else(cause: Any, why: str) -> None:
    caught = read_failure({"Error": "Some.Error", "Cause": cause, "step": "apply"})
    assert (caught.error, caught.step, caught.mail) == ("Some.Error", "apply", None)
    written = workflow_mails.failure(caught, golden.RUN, golden.PENDING)
    what = "the function was cut off by its time limit" if why == CUT_OFF else "a step failed"
    assert written.subject == f"[{ENVIRONMENT}] Migration FAILED: {what} in step apply"
    assert "\n  Error       Some.Error\n" in written.body
    assert one_line(why) == one_line(written.body.partition("\nWHAT HAPPENED\n")[2].partition("\n\n")[0])


def test_mail_of_the_function_that_failed_is_read() -> None:
    written = layout.Mail("s", 'b "\\', "high", "X", "018", '{"version": "1.0"}')
    told = json.dumps({"error": "X", "mail": written.to_dict()})
    assert read_failure({"Error": "X", "Cause": raised(told)}).mail == written


@pytest.mark.parametrize("caught", [None, 7, [], "x", {}, {"Error": None}, {"Error": {"a": 1}, "step": 7}], ids=str)
def test_whatever_was_caught_is_mailed(caught: object) -> None:
    written = workflow_mails.failure(read_failure(caught), golden.RUN, golden.PENDING)
    assert written.subject.isascii()
    assert NO_CAUSE in written.body


@pytest.mark.parametrize("name", ["VeryLongName" * 30, "Lambda.SubnetIPAddressLimitReachedException", "Café", "A\nB"])
def test_subject_is_one_that_sns_takes_whatever_the_error_is_called(name: str) -> None:
    run = replace(golden.RUN, environment="e" * 20)
    subject = workflow_mails.failure(read_failure({"Error": name, "step": "apply"}), run, golden.PENDING).subject
    assert (subject.isascii(), subject.isprintable(), len(subject) <= 99) == (True, True, True)
    assert subject.endswith("in step apply")


@pytest.mark.parametrize("cause", ["x" * 32_768, "'\\\"{}\n" * 5_000, "é\U0001f600 " * 8_000], ids=["x", "odd", "wide"])
def test_longest_cause_is_cut(cause: str) -> None:
    written = workflow_mails.failure(read_failure({"Error": "E", "Cause": cause}), golden.RUN, golden.PENDING)
    assert "more characters)" in written.body
    assert len(json.dumps(written.to_dict())) < 16_000


def test_password_in_a_cause_is_not_shown() -> None:
    caught = read_failure({"Error": "E", "Cause": "no way to postgresql://app:hunter2@h/shop"})
    assert "hunter2" not in workflow_mails.failure(caught, golden.RUN, golden.PENDING).body


def test_answer_that_is_not_understood_takes_a_deployment() -> None:
    caught = read_failure({**CONTRACT_BROKEN, "step": "apply"})
    written = workflow_mails.failure(caught, golden.RUN, golden.PENDING)
    deploy = f"npx aws-cdk@2 deploy AuroraMigrationsRunnerStack-{ENVIRONMENT} --context env={ENVIRONMENT}"
    assert f"     {deploy}\n\n" in written.body


# ---- what was asked for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        ({}, "run"),
        ({"target": "018"}, "run 018"),
        ({"action": "run-migration", "target": 18}, "run 18"),
        ({"action": "rollback", "target": "018", "confirm": "019"}, "status"),
        ({"action": "history"}, "history"),
        ({"action": {"odd": 1}}, "status"),
        ({"target": "1; rm -r /"}, "run"),
        ({"target": "1" * 100_000}, "status"),
        ({"target": {"a": 1}}, "status"),
        ("text", "run"),
        (None, "status"),
    ],
    ids=["all", "target", "number", "rollback", "look", "odd", "forged", "long", "odd-target", "text", "unknown"],
)
def test_next_command_asks_for_the_same_or_looks(asked: Any, command: str) -> None:
    run = replace(golden.RUN, input=workflow_mails.known_input(asked))
    for written in (workflow_mails.failure(golden.DIED, run, golden.PENDING), end("TIMED_OUT", json.dumps(asked))):
        body = one_line(written.body)
        assert f"     aurora-migrations {command} --env {ENVIRONMENT}\n\nWHAT HAPPENED" in written.body
        assert ("apply again what" in body or "applies again what" in body) == (command == "status")


# ---- an execution that ended ----------------------------------------------------------------------------------------


def end(status: str, asked: Any = "{}", **more: Any) -> layout.Mail:
    detail = {"name": EXECUTION, "executionArn": ARN, "status": status, "input": asked, **more}
    return workflow_mails.ended(workflow_mails.read_end(detail), ENVIRONMENT, golden.LIMIT_MS, golden.PENDING)


@pytest.mark.parametrize(
    ("given", "who"),
    [
        ('{"trigger": "cli", "requested_by": "ana@build-7"}', "ana@build-7 (cli)"),
        (
            '{"trigger": "deploy", "requested_by": "arn:aws:cloudformation:eu-west-1:1:stack/shop/1"}',
            "the deployment of",
        ),
        ("{}", "an unnamed user"),
        ('"text"', "an unnamed user"),
        (7, "an unnamed user"),
        (None, "unknown; see the page below"),
        ("", "unknown;"),
        ("null", "unknown;"),
        ("{cut", "unknown;"),
        ("[" * 100_000, "unknown;"),
        ('{"requested_by": "ana\\n\\nWHAT TO DO\\n  rm -r /"}', "ana WHAT TO DO rm -r /"),
    ],
    ids=["terminal", "deploy", "hand", "text", "odd", "left-out", "empty", "null", "cut", "deep", "forged"],
)
def test_who_started_it_is_told(given: Any, who: str) -> None:
    about = end("ABORTED", given).body.partition("EXECUTION\n")[2]
    assert f"Started by {who}" in one_line(about)
    assert len(about) < 1_000


def test_event_without_anything_is_mailed_too() -> None:
    written = workflow_mails.ended(workflow_mails.read_end({}), ENVIRONMENT, golden.LIMIT_MS, golden.PENDING)
    assert "Step Functions ended the execution" in written.body


def test_what_was_read_of_an_end_is_small_and_stays_as_it_is_when_it_is_read_again() -> None:
    asked = json.dumps({"trigger": "cli", "requested_by": "x" * 100_000, "target": "1" * 100_000, "other": "y" * 9_000})
    detail = {"name": EXECUTION, "executionArn": ARN, "status": "ABORTED", "input": asked, "cause": "z" * 30_000}
    read = workflow_mails.read_end(detail)
    assert len(json.dumps(read)) < 1_500
    again = workflow_mails.read_end({**read, "looks": 3, "again": True, "mail": None})
    assert json.loads(again.pop("input") or "") == json.loads(read.pop("input") or "")
    assert again == read


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("Ctrl-C by ben@build-8", "Ctrl-C by ben@build-8"),
        ("wrong\n\nWHAT TO DO\n  rm -r /", "wrong WHAT TO DO rm -r /"),
        ('{"a": 1}', None),
        ('Cancelled by {"a": 1}', None),
        ({"a": 1}, None),
        (None, None),
    ],
)
def test_reason_of_a_stop_is_told_in_one_line_if_it_is_for_people(reason: object, told: str | None) -> None:
    lines = [line for line in end("ABORTED", cause=reason).body.splitlines() if line.startswith("  Reason")]
    assert lines == ([] if told is None else [f"  Reason      {told}"])


@pytest.mark.parametrize("status", ["FAILED", "TIMED_OUT"])
def test_reason_is_told_only_of_an_execution_that_somebody_stopped(status: str) -> None:
    """What Step Functions says of one that broke may quote its data."""
    assert "Ctrl-C" not in end(status, error="States.Runtime", cause="Ctrl-C by ben").body


def test_subject_of_an_end_is_one_that_sns_takes() -> None:
    run = workflow_mails.read_end({"status": "TIMED_OUT"})
    assert len(workflow_mails.ended(run, "e" * 20, 1, golden.BUSY).subject) <= 99


# ---- the database ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pending", "lines"),
    [
        ([], ["  16 applied, 0 pending."]),
        (["017_a.sql"], ["  16 applied, 1 pending:", "    017_a.sql"]),
        (
            [f"{n}_a.sql" for n in range(14)],
            ["  16 applied, 14 pending:", "    0_a.sql", "    11_a.sql", "    and 2 more"],
        ),
    ],
    ids=["none", "one", "many"],
)
def test_what_is_pending_is_named(pending: list[str], lines: list[str]) -> None:
    told = workflow_mails.database_state(16, pending, None)
    assert [line for line in told.lines if line in lines] == lines
    assert told.lines[-1] == "  No run is in progress."
    assert (len(told.lines) <= 15, told.at_work) == (True, False)


def test_who_is_at_work_is_named() -> None:
    told = workflow_mails.database_state(16, [], Holder(7, None, None, None))
    assert told.at_work
    words = one_line(" ".join(told.lines))
    assert "In progress: a session without a name (pid 7, user unknown), connected since" in words
    assert all(len(line) <= 72 for line in told.lines)


def test_why_it_was_not_seen_is_told_in_lines_of_a_mail() -> None:
    told = workflow_mails.unknown_database_state(DatabaseUnreachable("x " * 3_000))
    assert "It could not be read: x x" in told.lines[0]
    assert sum(map(len, told.lines)) < 1_300

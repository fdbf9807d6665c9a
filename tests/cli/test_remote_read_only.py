"""`list`, `status`, `history`, `plan`, `verify` and `rollback` of an environment: through its state machine only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import botocore.client
import pytest
from botocore.exceptions import ClientError

from tests.cli.cloud import DOCUMENT, Cloud, answering, caused, interrupted, waiting
from tests.cli.conftest import Answer, Call
from tests.cli.test_read_only_verbs import table
from tests.cli.test_remote_run import RAN, Keyboard

ABOUT = {"status": "success", "migration": None, "execution": "any", "database": "shop"}


def entry(name: str, state: str = "applied") -> dict[str, Any]:
    at = "2026-11-23T04:00:17Z" if state == "applied" else None
    label = name.partition("_")[0]
    told = {"migration": label, "name": name, "state": state, "applied_at": at, "execution": None, "parts": None}
    return {**told, "has_down_file": True}


ATTEMPT = {
    "id": 1,
    "action": "apply",
    "name": "018_add.sql",
    "execution": "cli-1",
    "requested_by": "jane@laptop",
    "started_at": "2026-11-23T04:00:17Z",
    "finished_at": "2026-11-23T04:00:18Z",
    "result": "failed",
    "error": {"error": "LockTimeout", "message": "It waits."},
}
LIST = {
    **ABOUT,
    "action": "list-migrations",
    "message": "3 migrations: 2 applied, 1 pending",
    "migrations": [entry("017_a.sql"), entry("018_b.sql"), entry("019_c.sql", "pending")],
    "omitted": 0,
    "counts": {"applied": 2, "pending": 1},
}
STATUS = {
    **ABOUT,
    "action": "status",
    "message": "1 migration pending",
    "user": "app",
    "server_version": "16.4",
    "standby": False,
    "sound": True,
    "counts": {"applied": 2, "pending": 1, "partly applied": 0, "out of order": 0},
    "newest": entry("018_b.sql"),
    "pending": ["019_c.sql"],
    "ahead": [],
    "refused": [],
    "running": None,
    "last_attempt": ATTEMPT,
}
HISTORY = {**ABOUT, "action": "history", "message": "", "attempts": [ATTEMPT] * 3, "older": True}
PLAN = {
    **ABOUT,
    "action": "plan",
    "message": "1 migration to run: 019",
    "pending": [
        {
            "migration": "019",
            "file": "019_c.sql",
            "parts": 1,
            "statements": 2,
            "tables": ["orders"],
            "locks": [{"table": "orders", "mode": "ACCESS EXCLUSIVE", "rewrites": "yes", "scans": "maybe"}],
            "hazards": ["019_c.sql:1:1: it rewrites [rule]"],
        }
    ],
    "omitted": 0,
    "warnings": [],
}
VERIFY = {**RAN, "action": "verify", "message": "Verified 1 table and 0 lasting expectations: all is as it should be"}
RUNS = {"run-migration": RAN}
ALL = {"list-migrations": LIST, "status": STATUS, "history": HISTORY, "plan": PLAN, "verify": VERIFY}


@pytest.fixture
def there(cloud: Cloud, call: Call) -> Call:
    """Calls a verb for the environment dev, whose state machine answers to everything."""
    cloud.deploy(answering(ALL))

    def run(verb: str, *arguments: str) -> Answer:
        return call(verb, *arguments, "--env", "dev")

    return run


def test_list_is_the_state_machines(there: Call) -> None:
    answer = there("list")
    assert answer.code == 0
    assert answer.err == "dev: account 123456789012 as user/moto, eu-west-1\n"
    assert [row[0] for row in table(answer.out)] == ["applied", "applied", "pending"]


def test_list_says_what_did_not_fit(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering({"list-migrations": {**LIST, "omitted": 7}}))
    assert "The oldest 7 aren't shown" in call("list", "--env", "dev").err


def test_status_tells_of_executions_under_way_too(cloud: Cloud, there: Call) -> None:
    machine = cloud.outputs["StateMachineArn"]
    slow = '{"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 60, "End": true}}}'
    states = cloud.client("stepfunctions")
    states.update_state_machine(stateMachineArn=machine, definition=slow)
    cloud.start({}, "deploy-1")
    states.update_state_machine(stateMachineArn=machine, definition=json.dumps(answering(ALL)))
    answer = there("status")
    assert answer.code == 0
    lines = {line[:10].strip(): line[11:] for line in answer.out.splitlines()}
    assert lines["Database"] == "shop as app (PostgreSQL 16.4)"
    assert (lines["Pending"], lines["Running"]) == ("1, the next 019_c.sql", "nothing")
    assert lines["Last"] == "018_add.sql failed at 2026-11-23T04:00:18Z (apply, jane@laptop)"
    assert lines["Execution"].startswith("deploy-1 is under way since 20")


def test_status_exits_with_1_if_a_run_would_be_refused(cloud: Cloud, call: Call) -> None:
    refused = {**STATUS, "sound": False, "refused": [entry("017_a.sql", "changed")]}
    cloud.deploy(answering({"status": refused}))
    answer = call("status", "--env", "dev")
    assert answer.code == 1
    assert "Refused    017_a.sql is changed; a run would be refused" in answer.out


def test_history_is_cut_to_what_was_asked_for(there: Call) -> None:
    assert len(table(there("history", "--last", "2").out)) == 2
    answer = there("history")
    assert len(table(answer.out)) == 3
    assert "Older attempts are in the database" in answer.err


def test_plan_tells_files_locks_and_hazards(there: Call, cloud: Cloud) -> None:
    answer = there("plan", "019")
    assert answer.out == (
        "1 migration to run: 019\n\n"
        "019_c.sql: 2 statements, one transaction\n"
        "  ACCESS EXCLUSIVE on orders, rewrites all its rows and perhaps reads all its rows\n"
        "  Warning: 019_c.sql:1:1: it rewrites [rule]\n"
    )
    assert cloud.executions()[0]["input"]["target"] == "019"


def test_rehearsal_is_an_action_of_its_own(cloud: Cloud, call: Call) -> None:
    statement = {"line": 2, "column": 1, "duration_ms": 31.5, "locks": ["ACCESS EXCLUSIVE on public.orders"]}
    file = {"migration": "019", "file": "019_c.sql", "result": "failed", "reason": "it failed", "duration_ms": 40.0}
    files = [{**file, "statements": [statement], "rows": ["public.orders: 5 updated"]}]
    rehearsal = {"files": files, "files_omitted": 2, "blocked_ms": 40.1, "sequences": ["public.s"]}
    cloud.deploy(answering({"rehearse": {**PLAN, "action": "rehearse", "rehearsal": rehearsal}}))
    answer = call("plan", "--rehearse", "--env", "dev")
    assert answer.code == 1
    assert answer.out.partition("Rehearsed")[2].splitlines()[1:] == [
        "  019_c.sql: failed in 40 ms",
        "    2:1 took 31.5 ms, ACCESS EXCLUSIVE on public.orders",
        "    public.orders: 5 updated",
        "    It failed",
        "  ... and 2 more files",
        "  Locks that block the application were held for 40.1 ms.",
        "  Not rolled back: numbers that these sequences gave out: public.s.",
    ]
    assert [each["input"]["action"] for each in cloud.executions()] == ["rehearse"]


def test_verify_tells_tables_rows_and_indexes_in_80_columns(there: Call) -> None:
    lines = there("verify").out.splitlines()
    assert lines[0] == "Verified 1 table and 0 lasting expectations: all is as it should be"
    assert lines[1].split() == ["Table", "Rows", "Size", "Indexes"]
    assert lines[2].split() == ["dry_run_log", "0", "16", "kB", "dry_run_log_pkey"]
    assert lines[3].split() == ["dry_run_log_at", "(being", "built)"]
    assert max(map(len, lines)) <= 80


STACK = "arn:aws:cloudformation:eu-west-1:123456789012:stack/AuroraMigrationsRunnerStack-prod/0f4c2ab0-cb0e-11f0"


def test_deployment_that_started_a_run_is_told_by_its_stack(cloud: Cloud, call: Call) -> None:
    by = {**ATTEMPT, "requested_by": STACK}
    cloud.deploy(
        answering({"status": {**STATUS, "last_attempt": by}, "history": {**HISTORY, "attempts": [by]}, **RUNS})
    )
    cloud.ended(cloud.start({"action": "run-migration", "trigger": "deploy", "requested_by": STACK}, "deploy-1"))
    cloud.log(
        "preflight",
        "deploy-1",
        "Event received",
        event="call_started",
        asked={"trigger": "deploy", "requested_by": STACK},
    )
    for verb, times in (("status", 1), ("history", 1), ("logs", 2)):
        told = call(verb, "--env", "dev").out
        assert told.count("the deployment of stack AuroraMigrationsRunnerStack-prod") == times, told
        assert "arn:" not in told
    assert call("history", "--env", "dev", "--output", "json").json["attempts"][0]["requested_by"] == STACK


@pytest.mark.parametrize("verb", ["list", "status", "history", "plan", "verify"])
def test_failure_of_a_look_is_told_with_the_same_look_as_next_command(cloud: Cloud, call: Call, verb: str) -> None:
    action = "list-migrations" if verb == "list" else verb
    cloud.deploy(answering({action: ("DatabaseUnreachable", caused({**DOCUMENT, "error": "DatabaseUnreachable"}))}))
    answer = call(verb, "--env", "dev", "--output", "json")
    assert (answer.code, answer.json["error"]) == (1, "DatabaseUnreachable")
    assert answer.json["execution"] == cloud.executions()[0]["name"]


# ---- roll back ------------------------------------------------------------------------------------------------------


ROLLED = {**ABOUT, "migration": "017", "action": "rollback", "message": "Migrations 018, 017 rolled back successfully"}


def test_rollback_shows_the_down_files_that_would_run_and_asks_for_the_newest(
    cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.deploy(answering({"list-migrations": LIST, "rollback": ROLLED}))
    monkeypatch.setattr("sys.stdin", Keyboard("018\n"))
    answer = call("rollback", "17", "--env", "dev")
    assert answer.code == 0
    shown = answer.err
    assert shown.index("  018_b.down.sql\n") < shown.index("  017_a.down.sql\n") < shown.index("Type 018")
    assert answer.message == ROLLED["message"]
    asked = cloud.executions()[0]["input"]
    assert (asked["action"], asked["target"], asked["confirm"]) == ("rollback", "17", "018")


def test_rollback_without_a_down_file_is_refused_before_anything_is_asked(cloud: Cloud, call: Call) -> None:
    lacking = {**LIST, "migrations": [{**entry("017_a.sql"), "has_down_file": False}, entry("018_b.sql")]}
    cloud.deploy(answering({"list-migrations": lacking, "rollback": ROLLED}))
    answer = call("rollback", "17", "--env", "dev")
    assert (answer.code, "There is no down file for: 017_a.sql." in answer.err) == (2, True)
    assert "This would run" not in answer.err
    assert [each["input"]["action"] for each in cloud.executions()] == ["list-migrations"]


def test_confirmed_rollback_asks_nobody(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering({"rollback": ROLLED}))
    answer = call("rollback", "17", "--confirm", "018", "--env", "dev", "--output", "json")
    assert (answer.code, answer.json["message"]) == (0, ROLLED["message"])
    assert len(cloud.executions()) == 1


def test_rollback_without_anybody_to_ask_rolls_nothing_back(
    cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.deploy(answering({"list-migrations": LIST, "rollback": ROLLED}))
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        answer = call("rollback", "017", "--env", "dev")
    assert answer.code == 2
    assert "Next   aurora-migrations rollback 017 --confirm 018 --env dev\n" in answer.err
    assert [each["input"]["action"] for each in cloud.executions()] == ["list-migrations"]


@pytest.mark.parametrize("target", ["019", "5"])
def test_rollback_of_what_is_not_applied_is_refused_before_anything_is_asked(
    cloud: Cloud, call: Call, target: str
) -> None:
    cloud.deploy(answering({"list-migrations": LIST, "rollback": ROLLED}))
    answer = call("rollback", target, "--env", "dev")
    assert answer.code == 2
    assert f"Migration {target} isn't applied" in answer.err
    assert "Next   aurora-migrations list --env dev\n" in answer.err


CUT = {**LIST, "omitted": 16}


def test_rollback_to_what_the_list_leaves_out_asks_for_the_confirmation(
    cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.deploy(answering({"list-migrations": CUT, "rollback": ROLLED}))
    monkeypatch.setattr("sys.stdin", Keyboard("018\n"))
    answer = call("rollback", "5", "--env", "dev")
    assert answer.code == 2
    assert "What a rollback down to 5 would undo can't be shown here." in answer.err
    assert "the oldest 16 migrations aren't in it" in answer.err
    assert "add --confirm 018" in answer.err
    assert "isn't applied" not in answer.err
    assert "Next   aurora-migrations status --env dev\n" in answer.err
    assert [each["input"]["action"] for each in cloud.executions()] == ["list-migrations"]
    assert call("rollback", "5", "--confirm", "018", "--env", "dev").code == 0


def test_rollback_within_what_a_cut_list_shows_goes_on(
    cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.deploy(answering({"list-migrations": CUT, "rollback": ROLLED}))
    assert "Migration 19 isn't applied" in call("rollback", "19", "--env", "dev").err
    monkeypatch.setattr("sys.stdin", Keyboard("018\n"))
    assert call("rollback", "17", "--env", "dev").code == 0


@pytest.mark.parametrize("typed", ["017", "19", "yes", "1" * 300])
def test_wrong_number_at_the_prompt_starts_no_rollback(
    cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    """One that fails would mail everybody."""
    cloud.deploy(answering({"list-migrations": LIST, "rollback": ROLLED}))
    monkeypatch.setattr("sys.stdin", Keyboard(f"{typed}\n"))
    answer = call("rollback", "17", "--env", "dev")
    assert answer.code == 2
    assert f"'{typed[:40]}' was typed, but the newest applied migration is 018." in answer.err
    assert "Next   aurora-migrations rollback 17 --env dev\n" in answer.err
    assert [each["input"]["action"] for each in cloud.executions()] == ["list-migrations"]


@pytest.mark.parametrize(
    "words",
    [
        ("run", "0x17"),
        ("run", ""),
        ("plan", "17a"),
        ("verify", "abc"),
        ("rollback", "x"),
        ("rollback", "x", "--confirm", "018"),
        ("rollback", "17", "--confirm", "yes"),
    ],
    ids=" ".join,
)
def test_what_is_no_number_is_refused_before_anything_is_asked(cloud: Cloud, call: Call, words: tuple[str]) -> None:
    cloud.deploy(answering({**ALL, "run-migration": RAN, "rollback": ROLLED}))
    answer = call(*words, "--env", "dev")
    assert (answer.code, answer.out) == (2, "")
    assert f" {words[-1] if words[-1] != '018' else 'x'!r} isn't a migration's number." in answer.err
    assert "Next   aurora-migrations list --env dev\n" in answer.err
    assert cloud.executions() == []


# ---- watch ----------------------------------------------------------------------------------------------------------


def test_watching_tells_again_and_again_until_ctrl_c(there: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        if seconds == 3.0:  # others wait too, for the execution to end
            pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    answer = there("status", "--watch", "--every", "3s")
    assert (answer.code, pauses) == (0, [3.0, 3.0])
    assert answer.out.count("Database   shop as app") == 2
    assert answer.out.count("again in 3 s\n\n") == 2


def test_watching_goes_on_over_a_look_that_fails(cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.deploy(answering({"status": ("DatabaseUnreachable", caused({**DOCUMENT, "error": "DatabaseUnreachable"}))}))

    def sleep(seconds: float) -> None:
        if seconds == 15.0 and len(cloud.executions()) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    answer = call("status", "--watch", "--env", "dev")
    assert answer.code == 1
    assert answer.out.count("DatabaseUnreachable: A lock on orders") == 2


def test_watching_says_once_who_asks(there: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    left_after(monkeypatch, 3)
    answer = there("status", "--watch", "--every", "3s")
    assert answer.out.count("Database   shop as app") == 3
    assert answer.err == "dev: account 123456789012 as user/moto, eu-west-1\n"


def test_watching_finds_its_way_anew_after_a_look_that_found_none(there: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where one logs in again in another terminal."""
    left_after(monkeypatch, 3)
    opened, calls = [], botocore.client.BaseClient._make_api_call

    def call(client: Any, name: str, parameters: Any) -> Any:
        if name == "GetCallerIdentity":
            opened.append(client)
        if name == "StartExecution" and len(opened) == 1:
            raise ClientError({"Error": {"Code": "ExpiredTokenException", "Message": "expired"}}, name)
        return calls(client, name, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    answer = there("status", "--watch", "--every", "3s")
    assert (answer.code, len(opened)) == (0, 2)
    assert answer.out.startswith("LoginExpired: The AWS login has expired.")
    assert answer.out.count("Database   shop as app") == 2
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("lines", [["s\n"], None], ids=["at a terminal", "in a pipeline"])
def test_ctrl_c_during_a_look_ends_watching_and_asks_nothing(
    cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch, lines: list[str] | None
) -> None:
    cloud.deploy(waiting(30))
    interrupted(monkeypatch)
    if lines:
        monkeypatch.setattr("sys.stdin", Keyboard(*lines))
    answer = call("status", "--watch", "--env", "dev")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err == "dev: account 123456789012 as user/moto, eu-west-1\n"


def left_after(patch: pytest.MonkeyPatch, rounds: int) -> None:
    """Ctrl-C in the pause after so many looks, of three seconds each."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        if seconds == 3.0:
            pauses.append(seconds)
        if len(pauses) == rounds:
            raise KeyboardInterrupt

    patch.setattr("time.sleep", sleep)

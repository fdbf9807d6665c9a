"""`aurora-migrations logs`: an execution's log lines as one story, oldest first."""

from __future__ import annotations

import json
import threading
import time

import pytest

from aurora_migrations.cli.remote.progress import log_line
from aurora_migrations.engine.interface import LogEvent
from tests.cli.cloud import DOCUMENT, Cloud, answering, caused, waiting
from tests.cli.conftest import Call
from tests.cli.test_remote_read_only import ALL
from tests.cli.test_remote_run import RAN


def story(text: str) -> list[str]:
    return [line.split("Z  ", 1)[1] for line in text.splitlines() if line[8:11] == "Z  "]


def logged(cloud: Cloud, name: str) -> None:
    """What the functions of a small run log."""
    cloud.log("preflight", name, "Event received", event="call_started", asked={"target": "017"}, unknown_keys=[])
    cloud.log("preflight", name, "Credentials fetched", event="secret_read", secret="arn", user="app")
    cloud.log(
        "preflight",
        name,
        "Connected",
        event="connected",
        host="db",
        port=5432,
        database="shop",
        role="app",
        server_version="16",
        tls=True,
    )
    cloud.log("preflight", name, "Step done", event="call_finished", answer={"next": "apply", "pending": 1})
    cloud.log("apply", name, "Executing migration 017", event="migration_started", migration="017", file="017_a.sql")
    done = {"file": "017_a.sql", "duration_ms": 12.0, "verified": ["rows a = 0: 0"], "locks": []}
    cloud.log("apply", name, "Executed migration 017", event="migration_finished", migration="017", **done)


def test_newest_execution_is_told_as_one_story_oldest_first(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering({"run-migration": RAN}))
    cloud.ended(cloud.start({"action": "run-migration"}, "older"))
    cloud.ended(cloud.start({"action": "run-migration", "requested_by": "jane"}, "newer"))
    logged(cloud, "newer")
    cloud.log("apply", "older", "Executing migration 016", event="migration_started", file="016_a.sql")
    answer = call("logs", "--env", "dev")
    assert answer.code == 0
    assert answer.out.startswith("Execution newer, started 20")
    assert "input: action run-migration, requested_by jane\n" in answer.out
    assert [line for line in story(answer.out) if not line.startswith("machine")] == [
        "preflight  Event received: target 017",
        "preflight  Credentials fetched: user app",
        "preflight  Connected: shop on db:5432 as app, PostgreSQL 16, with TLS",
        "preflight  Step done: next apply, pending 1",
        "apply      Executing migration 017: 017_a.sql",
        "apply      Executed migration 017: 017_a.sql, 12 ms, 1 expectation met",
    ]
    assert answer.out.endswith("Migration 017 executed successfully\n")


@pytest.mark.parametrize("event", LogEvent)
def test_rewording_a_message_changes_only_the_message(event: LogEvent) -> None:
    """What is shown as being done, when a call has ended and which facts are shown depends on the event's name."""
    facts = {"file": "017_a.sql", "line": 3, "statements": "statement 2 of 5", "holder": "jane", "blockers": ["pid 7"]}
    facts |= {"hazard": "it rewrites a", "asked": {"target": "017"}, "user": "app", "answer": {"next": "apply"}}
    record = {"level": "INFO", "timestamp": "2026-11-23T04:00:17Z", "service": "apply", "event": event.value, **facts}
    first, other = (log_line({**record, "message": message}) for message in ("Step done", "Something else"))
    assert other.text == first.text.replace("Step done", "Something else")
    assert (other.doing or "") == (first.doing or "").replace("Step done", "Something else")
    assert (other.ends, other.bad, other.at) == (first.ends, first.bad, first.at)
    assert first.ends == event.startswith("call_f")


@pytest.mark.parametrize("event", [{}, {"event": "one_of_another_version"}, {"event": ["?"]}])
def test_line_without_a_known_event_is_shown_as_it_is(event: dict[str, object]) -> None:
    line = log_line({"message": "Step done", "file": "017_a.sql", "service": "apply", **event})
    assert (line.text, line.doing, line.ends) == ("Step done", None, False)


def test_input_of_any_kind_is_told_in_a_line_without_passwords(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering({"run-migration": RAN}))
    asked = {"requested_by": "j\x1b[31m\nx", "target": "postgresql://a:hunter2@h/d", "x\n": ["y" * 70_000], "n": None}
    cloud.ended(cloud.start({"action": "run-migration", **asked}, "odd"))
    cloud.log("preflight", "odd", "Event received", event="call_started", asked="odd", unknown_keys=[])
    answer = call("logs", "--env", "dev")
    told = f"requested_by j [31m x, target postgresql://a:...@h/d, x ['{'y' * 98}, n None"
    assert f", input: action run-migration, {told}\n" in answer.out
    assert answer.code == 0


def test_looks_since_the_last_run_are_passed_over(cloud: Cloud, call: Call) -> None:
    """The quick reference says: `status`, then `logs`."""
    cloud.deploy(answering({**ALL, "run-migration": ("LockTimeout", caused(DOCUMENT))}))
    cloud.ended(cloud.start({"action": "run-migration"}, "deploy-1"))
    for verb in ("status", "plan", "list", "history", "verify"):
        assert call(verb, "--env", "dev").code == 0
    cloud.ended(cloud.start({"action": "status"}, "by-hand-in-the-console"))
    answer = call("logs", "--env", "dev")
    assert answer.out.startswith("Execution deploy-1, started 20")
    assert "LockTimeout" in answer.out
    looks = [each["name"] for each in cloud.executions() if each["name"].startswith("read-")]
    assert len(looks) == 5
    assert call("logs", looks[0], "--env", "dev").out.startswith(f"Execution {looks[0]}, started 20")


def test_only_looks_are_no_run(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering(ALL))
    assert call("status", "--env", "dev").code == 0
    assert "Nothing has been run in dev so far." in call("logs", "--env", "dev").err


def test_who_asks_is_told_even_if_nothing_is_found(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering(ALL))
    for words in (["cli-nobody"], []):
        answer = call("logs", *words, "--env", "dev")
        assert answer.code == 1
        assert answer.err.startswith("dev: account 123456789012 as user/moto, eu-west-1\n\nExecutionNotFound: ")
    assert call("logs", "--env", "dev", "--output", "json").err == ""


def test_execution_by_its_name_or_arn(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering({"run-migration": RAN}))
    arn = cloud.start({"action": "run-migration"}, "older")
    cloud.ended(arn)
    cloud.ended(cloud.start({"action": "run-migration"}, "newer"))
    for name in ("older", arn):
        assert call("logs", name, "--env", "dev").out.startswith("Execution older, started")


def test_failure_ends_the_story_with_what_to_do(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering({"run-migration": ("LockTimeout", caused(DOCUMENT))}))
    cloud.ended(cloud.start({"action": "run-migration"}, "run-1"))
    message = "LockTimeout: A lock was not to be had."
    cloud.log("apply", "run-1", message, level="ERROR", event="call_failed", error=DOCUMENT)
    answer = call("logs", "--env", "dev")
    assert answer.code == 0
    assert "apply      LockTimeout: A lock was not to be had." in story(answer.out)
    assert "  Do     Run again when that session has ended, or end it.\n" in answer.out
    assert "  Next   aurora-migrations run 018 --env dev\n" in answer.out


def test_programs_get_the_lines_as_they_are(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering({"run-migration": RAN}))
    cloud.ended(cloud.start({"action": "run-migration"}, "run-1"))
    logged(cloud, "run-1")
    cloud.put("apply", json.dumps({"_aws": {}, "correlation_id": "run-1", "Failures": 1}))
    answer = call("logs", "run-1", "--env", "dev", "--output", "json")
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert (answer.code, answer.err, len(lines)) == (0, "", 6)
    assert lines[0]["asked"] == {"target": "017"}
    assert {line["correlation_id"] for line in lines} == {"run-1"}


def test_following_goes_on_to_the_end(cloud: Cloud, call: Call) -> None:
    cloud.deploy(waiting(2))
    cloud.start({}, "run-1")

    def work() -> None:
        time.sleep(0.5)
        cloud.log("apply", "run-1", "Executing migration 017", event="migration_started", file="017_a.sql")

    other = threading.Thread(target=work)
    other.start()
    answer = call("logs", "--follow", "--env", "dev")
    other.join()
    assert story(answer.out) == [
        "machine    Apply",
        "apply      Executing migration 017: 017_a.sql",
        "machine    Succeeded",
    ]


def test_without_follow_an_execution_under_way_is_told_until_now(cloud: Cloud, call: Call) -> None:
    cloud.deploy(waiting())
    cloud.start({}, "run-1")
    answer = call("logs", "--env", "dev")
    assert answer.code == 0
    assert answer.out.endswith("It is under way. aurora-migrations logs run-1 --follow --env dev\n")


def test_execution_that_is_not_there_is_a_named_error(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering({"run-migration": RAN}))
    answer = call("logs", "nobody", "--env", "dev")
    assert answer.code == 1
    assert "ExecutionNotFound: There is no such execution." in answer.err
    first = call("logs", "--env", "dev")
    assert first.code == 1
    assert "ExecutionNotFound: Nothing has been run in dev so far." in first.err
    assert "  Next   aurora-migrations run --env dev\n" in first.err

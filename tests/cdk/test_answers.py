"""The way of the functions' answers through the machine, run: what each step says decides the next, and the output."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cdk.cloud import Machine
from tests.cdk.running import run

PREFLIGHT = {"action": "run-migration", "target": None, "package": "d1", "pending": 1, "applied": 16, "next": "apply"}
APPLY = {"outcome": "done", "remaining": 0, "applied": ["017"], "applied_count": 1}
VERIFY = {"status": "success", "migration": "017", "message": "Migration 017 executed successfully"}


@pytest.fixture
def environment() -> str:
    return "dev"


@pytest.mark.parametrize("given", [{}, {"action": "run-migration", "target": "017"}, {"odd": 1}], ids=str)
def test_run_ends_with_what_verify_says_whatever_the_input(given: dict[str, Any], workflow: Machine) -> None:
    ran = run(workflow, "Begin", given, answers={"Preflight": PREFLIGHT, "Apply": APPLY, "Verify": VERIFY})
    assert (ran.status, ran.output, ran.mails) == ("SUCCEEDED", VERIFY, [])


def test_nothing_pending_goes_straight_to_verify(workflow: Machine) -> None:
    answers = {"Preflight": {**PREFLIGHT, "next": "verify"}, "Verify": VERIFY}
    assert run(workflow, "Begin", {}, answers=answers).output == VERIFY


def test_list_is_answered_by_preflight(workflow: Machine) -> None:
    answers = {"Preflight": {**PREFLIGHT, "next": "done", "result": {"status": "success", "migrations": []}}}
    assert run(workflow, "Begin", {}, answers=answers).output == {"status": "success", "migrations": []}


def test_apply_is_called_again_while_it_says_more(workflow: Machine) -> None:
    """Its answer goes into the next call as `so_far`; the bound is the execution's timeout."""
    more = {"apply": {"Payload": {**APPLY, "outcome": "more"}}, "preflight": {"Payload": PREFLIGHT}}
    ran = run(workflow, "All applied?", more, answers={"Apply": APPLY, "Verify": VERIFY})
    assert ran.output == VERIFY
    assert workflow.states["Apply"]["Parameters"]["Payload"]["so_far.$"] == "$.apply.Payload"


def test_package_that_changed_begins_again_and_keeps_what_was_applied(workflow: Machine) -> None:
    data = {"starts": 1, "pause": 0, "apply": {"Payload": APPLY}, "preflight": {"Payload": PREFLIGHT}}
    data |= {"failure": {"Error": "PackageChanged", "Cause": "{}"}}
    answers = {"Preflight": {**PREFLIGHT, "next": "verify"}, "Verify": VERIFY}
    assert run(workflow, "Start over?", data, answers=answers).output == VERIFY

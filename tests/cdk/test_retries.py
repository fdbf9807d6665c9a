"""What is tried again fits what goes wrong: Lambda's own errors, a failover, another run, a function that slept."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import botocore.session
import pytest

from aurora_migrations.cdk import retries
from aurora_migrations.cdk.config import Limits
from tests.cdk.cloud import Machine, some
from tests.paths import ROOT

# Of what an Invoke may answer with, what can't get better by itself, or can't come here at all.
LASTING = {
    *("EC2AccessDeniedException", "InvalidSecurityGroupIDException", "InvalidSubnetIDException"),
    *("KMSAccessDeniedException", "KMSDisabledException", "KMSInvalidStateException", "KMSNotFoundException"),
    *("InvalidParameterValueException", "InvalidRequestContentException", "InvalidZipFileException"),
    *("InvalidRuntimeException", "RuntimeVersionDeletedException", "RuntimeAliasDeletedException"),
    *("CodeArtifactUserDeletedException", "CodeArtifactUserFailedException", "NoPublishedVersionException"),
    *("RequestTooLargeException", "SerializedRequestEntityTooLargeException", "UnsupportedMediaTypeException"),
    *("ResourceNotFoundException", "ServiceQuotaExceededException", "RecursiveInvocationException"),
    *("ModeNotSupportedException", "DurableExecutionAlreadyStartedException"),
    # Of SnapStart and of file systems, which the functions don't have.
    *("SnapStartException", "SnapStartNotReadyException", "SnapStartTimeoutException"),
    *("SnapStartRegenerationFailureException", "EFSIOException", "EFSMountConnectivityException"),
    *("EFSMountFailureException", "EFSMountTimeoutException", "S3FilesMountConnectivityException"),
    *("S3FilesMountFailureException", "S3FilesMountTimeoutException"),
}
# What Step Functions and its own client of Lambda add: the developer guide, "Handle Lambda service exceptions".
ADDED = {"AWSLambdaException", "SdkClientException", "ClientExecutionTimeoutException", "Unknown"}


def of_invoke() -> set[str]:
    """What the API says that an Invoke may answer with."""
    operation = botocore.session.get_session().get_service_model("lambda").operation_model("Invoke")
    return {shape.name for shape in operation.error_shapes}


def retried(task: dict[str, Any]) -> set[str]:
    return {error for retrier in task["Retry"] for error in retrier["ErrorEquals"]}


def test_every_answer_of_an_invoke_is_either_tried_again_or_known_to_last(workflow: Machine) -> None:
    for task in workflow.calls.values():
        ours = {error.removeprefix("Lambda.") for error in retried(task) if error.startswith("Lambda.")}
        assert ours - ADDED == of_invoke() - LASTING


def test_what_is_known_to_last_is_something_that_an_invoke_answers() -> None:
    assert of_invoke() >= LASTING


@pytest.mark.parametrize("error", retries.ASLEEP.errors)
def test_function_that_slept_for_weeks_has_minutes_to_wake_up(error: str, workflow: Machine) -> None:
    for task in workflow.calls.values():
        (retrier,) = [each for each in task["Retry"] if error in each["ErrorEquals"]]
        assert retrier["JitterStrategy"] == "NONE"
        assert retrier["IntervalSeconds"] >= 10
        assert retrier["MaxDelaySeconds"] <= 60
        assert retries.ASLEEP.waits > 300


def test_failover_or_restart_is_waited_for(workflow: Machine) -> None:
    """With full jitter: of ten thousand waits, the shortest hundredth."""
    for task in workflow.calls.values():
        (retrier,) = [each for each in task["Retry"] if "DatabaseUnreachable" in each["ErrorEquals"]]
        chance = random.Random(5)
        waits = sorted(sum(chance.uniform(0, wait) for wait in longest(retrier)) for _ in range(10_000))
        assert waits[100] > 90
        assert waits[5_000] > 180


def longest(retrier: dict[str, Any]) -> list[float]:
    """Each wait at its longest, as the states language computes it."""
    first, rate, cap = retrier["IntervalSeconds"], retrier["BackoffRate"], retrier.get("MaxDelaySeconds", 10**6)
    return [min(cap, first * rate**number) for number in range(retrier["MaxAttempts"])]


@pytest.mark.parametrize("lock_wait", ["0s", "10s", "60s", "600s", "889s"])
@pytest.mark.parametrize("run_timeout", ["12h", "3h"])
def test_another_run_is_waited_for_longer_than_its_longest_call_and_less_than_the_execution_has(
    lock_wait: str, run_timeout: str
) -> None:
    limits = Limits.model_validate({"lock_wait": lock_wait, "run_timeout": run_timeout})
    (retry,) = [each for each in limits.retries if "AnotherRunInProgress" in each.errors]
    in_calls = retry.attempts * limits.lock_wait / 1_000
    assert retry.waits / 2 + in_calls > 2 * limits.function_timeout / 1_000, "half of the longest waits is their mean"
    assert retry.waits + in_calls + limits.task_timeout / 1_000 < limits.run_timeout / 1_000


def test_shorter_run_waits_for_another_for_half_of_what_it_has() -> None:
    short = Limits.model_validate({"run_timeout": "40min"})
    (retry,) = [each for each in short.retries if "AnotherRunInProgress" in each.errors]
    assert (retry.waits + retry.attempts * 60) * 1_000 + short.task_timeout < short.run_timeout


def test_wait_for_another_run_is_its_own(workflow: Machine) -> None:
    for task in workflow.calls.values():
        (retrier,) = [each for each in task["Retry"] if "AnotherRunInProgress" in each["ErrorEquals"]]
        assert retrier["ErrorEquals"] == ["AnotherRunInProgress"]


def test_waits_are_told_as_the_states_language_computes_them(workflow: Machine) -> None:
    built = {tuple(each["ErrorEquals"]): each for each in workflow.calls["Apply"]["Retry"]}
    for retry in some(Limits().retries):
        assert retry.waits == sum(longest(built[retry.errors]))


def test_settings_are_read_without_the_cdk() -> None:
    """So that pages, tests and other tools read them in a moment."""
    code = "import sys, aurora_migrations.cdk.config\n"
    code += "sys.exit(any(m.split('.')[0] in ('aws_cdk', 'jsii') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0

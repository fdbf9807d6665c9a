"""Between a terminal and an environment: what is missing, expired, forbidden or misspelled is a named error."""

from __future__ import annotations

import json
import re
from typing import Any

import botocore.client
import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ProfileNotFound,
    SSOTokenLoadError,
    UnauthorizedSSOTokenError,
)

from aurora_migrations.cli.remote import aws_errors
from aurora_migrations.cli.remote.aws_errors import CloudError, to_cloud_error
from tests.cli.cloud import Cloud, answering
from tests.cli.conftest import Call
from tests.cli.test_remote_read_only import ALL

CLASSES = [kind for kind in vars(aws_errors).values() if isinstance(kind, type) and issubclass(kind, CloudError)]
VERBS = ["run", "list", "status", "history", "plan", "verify", "rollback 1 --confirm 1", "logs"]


@pytest.fixture
def refusing(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has one operation of AWS fail: `refusing("StartExecution", error)`."""
    real = botocore.client.BaseClient._make_api_call

    def refuse(operation: str, error: Exception | tuple[str, str]) -> None:
        def call(self: Any, name: str, parameters: Any) -> Any:
            if name != operation:
                return real(self, name, parameters)
            if isinstance(error, Exception):
                raise error
            raise ClientError({"Error": {"Code": error[0], "Message": error[1]}}, name)

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)

    return refuse


def test_tree_in_the_docstring_is_the_one_there_is() -> None:
    names = re.findall(r"[A-Z][a-z]+[A-Z]\w+", "".join((aws_errors.__doc__ or "").split("cloud")[1:]))
    assert sorted(names) == sorted(kind.__name__ for kind in CLASSES if kind is not CloudError)


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not CloudError], ids=lambda kind: kind.__name__)
def test_class_tells_why_what_state_and_what_to_do(kind: type[CloudError]) -> None:
    error = kind("It went wrong.")
    for words in (error.cause, error.state, error.solution):
        assert re.search(r"[\w)`*][.;]$", words), words
    assert (error.name, error.family) == (kind.__name__, "cloud")
    assert error.next_command.program in ("aurora-migrations", "aws", "npx")


@pytest.mark.parametrize("cause", [None, "", "words", "[]", "null", '{"errorMessage": "{', '{"a":' * 100_000])
def test_a_cause_that_is_no_error_of_ours_is_none(cause: str | None) -> None:
    assert aws_errors.error_payload(cause) is None


LOGIN = [
    (("ExpiredToken", "The security token included in the request is expired"), "LoginExpired", "aws sso login"),
    (("InvalidClientTokenId", "The security token is invalid"), "LoginRefused", "aws sts get-caller-identity"),
    (NoCredentialsError(), "LoginMissing", "aws sts get-caller-identity"),
    (UnauthorizedSSOTokenError(), "LoginExpired", "aws sso login"),
    (SSOTokenLoadError(error_msg="expired"), "LoginExpired", "aws sso login"),
    (
        EndpointConnectionError(endpoint_url="https://sts.eu-wset-1.amazonaws.com/"),
        "CloudUnreachable",
        "aurora-migrations doctor --env dev",
    ),
]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("error", "name", "following"), LOGIN, ids=[name for _, name, _ in LOGIN])
def test_login_that_is_no_good_is_told_before_anything_is_done(
    refusing: Any, cloud: Cloud, call: Call, verb: str, error: Any, name: str, following: str
) -> None:
    refusing("GetCallerIdentity", error)
    answer = call(*verb.split(), "--env", "dev")
    assert answer.code == 1
    assert answer.out == ""
    assert re.search(rf"(?m)^{name}: ", answer.err)
    assert f"  Next   {following}\n" in answer.err
    assert "  State  Nothing was changed.\n" in answer.err


def test_missing_region_is_told(cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    answer = call("list", "--env", "dev")
    assert answer.code == 1
    assert "\nRegionMissing: " in answer.err
    assert "Add --region NAME" in answer.err


def test_profile_that_is_not_there_is_told(cloud: Cloud, call: Call) -> None:
    answer = call("list", "--env", "dev", "--profile", "nobody")
    assert answer.code == 1
    assert "\nLoginMissing: " in answer.err
    assert "(The config profile (nobody) could not be found)" in answer.err
    assert "  Next   aws configure list-profiles\n" in answer.err


def test_stack_that_is_not_there_is_told_with_those_that_are(cloud: Cloud, call: Call) -> None:
    for name in ("prod", "test"):
        Cloud(name).deploy(answering(ALL))
    answer = call("run", "--env", "dev")
    assert answer.code == 1
    assert (
        "StackNotFound: There is no stack AuroraMigrationsRunnerStack-dev in account 123456789012, region eu-west-1. "
        "Environments there: prod, test." in answer.err
    )
    told = call("run", "--env", "dev", "--region", "eu-central-1", "--output", "json").json
    assert (told["error"], told["environments"]) == ("StackNotFound", [])


def test_stack_without_a_machine_is_not_ready(cloud: Cloud, call: Call) -> None:
    cloud.stack({"Other": "x"})
    answer = call("run", "--env", "dev")
    assert answer.code == 1
    assert "StackNotReady: The stack AuroraMigrationsRunnerStack-dev is CREATE_COMPLETE" in answer.err


def test_missing_right_is_told_in_the_words_of_aws_in_one_line(refusing: Any, cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering(ALL))
    words = "User: arn:aws:iam::1:user/jane is not authorized to perform: states:StartExecution\non resource: x"
    refusing("StartExecution", ("AccessDeniedException", words))
    answer = call("run", "--env", "dev")
    assert answer.code == 1
    assert "AccessDenied: Access denied. (StartExecution: User: arn:aws:iam::1:user/jane is not" in answer.err
    assert "states:StartExecution on resource: x)" in answer.err


def test_refusal_without_a_word_of_ours_is_told_too(refusing: Any, cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering(ALL))
    refusing("StartExecution", ("ExecutionLimitExceeded", "Too many."))
    answer = call("run", "--env", "dev")
    assert answer.code == 1
    assert "CloudRefused: AWS refused StartExecution: ExecutionLimitExceeded: Too many." in answer.err


def test_login_that_expires_meanwhile_says_that_the_execution_goes_on(refusing: Any, cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering(ALL))
    refusing("GetExecutionHistory", ("ExpiredTokenException", "The token is expired"))
    answer = call("list", "--env", "dev", "--output", "json")
    name = cloud.executions()[0]["name"]
    assert (answer.code, answer.json["error"]) == (1, "LoginExpired")
    assert answer.json["state"] == f"The execution {name} has been started and is still running."
    look = f"aurora-migrations logs {name} --follow --env dev"
    assert answer.json["solution"] == f"Log in again, and follow it without starting another one: {look}"


PASSING = [
    EndpointConnectionError(endpoint_url="https://states.eu-west-1.amazonaws.com/"),
    ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, "GetExecutionHistory"),
    ClientError({"Error": {"Code": "ExecutionDoesNotExist", "Message": "not yet"}}, "GetExecutionHistory"),
    ClientError({"Error": {"Code": "X"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "GetExecutionHistory"),
]


@pytest.mark.parametrize("error", PASSING, ids=["network", "throttled", "not known yet", "out of order"])
def test_what_passes_in_a_moment_is_waited_for(
    cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    cloud.deploy(answering(ALL))
    monkeypatch.setattr("aurora_migrations.cli.remote.progress._LONGEST_PAUSE", 0.05)
    real, tries = botocore.client.BaseClient._make_api_call, []

    def shaky(self: Any, name: str, parameters: Any) -> Any:
        tries.append(name)
        if name == "GetExecutionHistory" and tries.count(name) < 4:
            raise error
        return real(self, name, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", shaky)
    assert call("list", "--env", "dev").code == 0
    assert tries.count("GetExecutionHistory") >= 4


# ---- where ----------------------------------------------------------------------------------------------------------


WRONG = [
    ("run --env dev --local", "not allowed with argument --env"),
    ("run --env dev --database-url postgresql://x@y/z", "not allowed with argument --env"),
    ("list --local --database-url postgresql://x@y/z", "not allowed with argument --local"),
    ("run --env dev --lock-timeout 3s", "--lock-timeout has no meaning with --env: it is a setting of the environment"),
    ("run --env dev --hazards refuse", "--hazards has no meaning with --env"),
    ("rollback 1 --local --wait 3s", "--wait has no meaning with --local"),
    ("list --env dev --migrations other", "the environment has the migrations that were deployed to it"),
    ("list --region eu-west-1", "--region and --profile need --env NAME"),
    ("list --local --profile x", "--region and --profile need --env NAME"),
    ("list --env Dev", "'Dev' isn't the name of an environment"),
    ("list --env", "expected one argument"),
    ("logs", "one of the arguments --env --local is required"),
    ("doctor", "one of the arguments --env --local is required"),
    ("status --watch --env dev --output json", "--watch prints for people only"),
    ("status --watch --env dev --every soon", "argument --every"),
]


@pytest.mark.parametrize(("words", "told"), WRONG)
def test_two_places_or_what_has_no_meaning_there_is_wrong_usage(call: Call, words: str, told: str) -> None:
    answer = call(*words.split())
    assert (answer.code, answer.out) == (2, "")
    assert told in answer.err


def test_address_in_the_environment_is_no_second_place(
    cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.deploy(answering(ALL))
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    answer = call("list", "--env", "dev", "--output", "json")
    assert (answer.code, answer.json["database"]) == (0, "shop")
    assert json.dumps(answer.json).count("nobody") == 0


def test_address_in_the_profiles_place_is_shown_without_its_password() -> None:
    told = to_cloud_error(ProfileNotFound(profile="postgresql://app:hunter2@localhost/shop")).to_dict()
    assert "app:..." in str(told)
    assert "hunter2" not in str(told)

"""`aurora-migrations doctor`: everything that an environment needs, and of each what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import botocore.client
import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sns.models import sns_backends

from tests.cli.cloud import DOCUMENT, REGION, Cloud, answering, caused
from tests.cli.conftest import Answer, Call
from tests.cli.test_remote_read_only import STATUS, entry
from tests.cli.test_remote_run import RAN

SOUND = {**STATUS, "message": "Every migration is applied", "counts": {"applied": 2, "pending": 0, "partly applied": 0}}


FAILING = ("LockTimeout", caused(DOCUMENT))


def healthy(cloud: Cloud, status: Any = SOUND, zones: str = "ab", run: Any = FAILING) -> Cloud:
    """An environment with everything there."""
    cloud.deploy(answering({"status": status, "run-migration": run}))
    secret = cloud.client("secretsmanager").create_secret(Name="shop/database", SecretString="{}")["ARN"]
    cloud.make_functions(*cloud.network(zones), secret)
    subscribe(cloud, "team@example.com")
    return cloud


def subscribe(cloud: Cloud, address: str, confirmed: bool = True) -> None:
    topic = cloud.outputs["AlertTopicArn"]
    made = cloud.client("sns").subscribe(TopicArn=topic, Protocol="email", Endpoint=address, ReturnSubscriptionArn=True)
    if not confirmed:  # moto confirms at once
        backend = sns_backends[DEFAULT_ACCOUNT_ID][REGION]
        backend.subscriptions[made["SubscriptionArn"]].arn = "PendingConfirmation"


def lines(answer: Answer, check: str) -> list[str]:
    return [line for line in answer.out.splitlines() if line[8:].startswith(f"{check}  ")]


def test_healthy_environment_is_well_everywhere(cloud: Cloud, call: Call) -> None:
    healthy(cloud, run=RAN)
    cloud.ended(cloud.start({"action": "run-migration"}, "earlier"))
    answer = call("doctor", "--env", "dev")
    assert (answer.code, answer.err) == (0, "")
    assert {line.split()[0] for line in answer.out.splitlines()} == {"ok"}
    told = call("doctor", "--env", "dev", "--output", "json").json
    assert told["ok"] is True
    assert list(dict.fromkeys(check["check"] for check in told["checks"])) == [
        "login",
        "stack",
        "machine",
        "functions",
        "e-mail",
        "network",
        "secret",
        "dead letters",
        "last run",
        "database",
        "migrations",
    ]


def test_login_that_fails_is_the_only_finding(cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    answer = call("doctor", "--env", "dev")
    assert answer.code == 1
    (line,) = lines(answer, "login")
    assert line.startswith("FAILED  login         LoginMissing: No usable AWS credentials")
    assert "Do: Log in as for the AWS CLI" in answer.out


def test_missing_stack_ends_the_examination(cloud: Cloud, call: Call) -> None:
    answer = call("doctor", "--env", "dev")
    assert answer.code == 1
    assert [line[:6].strip() for line in lines(answer, "login") + lines(answer, "stack")] == ["ok", "FAILED"]
    assert "StackNotFound: There is no " in answer.out


def test_what_is_missing_is_told_each_with_what_to_do(cloud: Cloud, call: Call) -> None:
    """The stack is there, and nothing that it told of."""
    cloud.deploy(answering({"status": SOUND}))
    cloud.client("sqs").delete_queue(QueueUrl=cloud.outputs["DeadLetterQueueUrl"])
    answer = call("doctor", "--env", "dev", "--output", "json")
    assert answer.code == 1
    found = {check["check"]: check for check in answer.json["checks"]}
    for name in ("functions", "e-mail", "network", "secret", "dead letters"):
        assert found[name]["result"] == "FAILED", found[name]
        assert found[name]["solution"]
    assert found["last run"]["result"] == "warn"
    assert found["database"]["result"] == "ok"


def test_address_that_nobody_confirmed_is_told(cloud: Cloud, call: Call) -> None:
    healthy(cloud)
    subscribe(cloud, "new@example.com", confirmed=False)
    answer = call("doctor", "--env", "dev")
    assert answer.code == 0
    assert lines(answer, "e-mail") == ["warn    e-mail        1 of 2 addresses confirmed"]
    assert "Do: Have new@example.com click the link" in answer.out


def test_when_no_address_is_confirmed_that_has_failed(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering({"status": SOUND}))
    subscribe(cloud, "new@example.com", confirmed=False)
    answer = call("doctor", "--env", "dev")
    assert answer.code == 1
    assert lines(answer, "e-mail") == ["FAILED  e-mail        0 of 1 addresses confirmed"]


def test_test_mail_is_sent_only_if_asked_for(cloud: Cloud, call: Call) -> None:
    healthy(cloud)
    topic = sns_backends[DEFAULT_ACCOUNT_ID][REGION].topics[cloud.outputs["AlertTopicArn"]]
    call("doctor", "--env", "dev")
    assert topic.sent_notifications == []
    answer = call("doctor", "--env", "dev", "--send-test-mail")
    assert lines(answer, "e-mail")[1] == "ok      e-mail        A test mail was sent to 1 addresses"
    ((_, text, subject, *_),) = topic.sent_notifications
    assert subject == "[dev] test of the migrations' mails"
    assert "Mails about the migrations of dev reach you" in text


def test_subnets_in_one_zone_are_a_warning_and_missing_ones_a_failure(cloud: Cloud, call: Call) -> None:
    healthy(cloud, zones="a")
    assert lines(call("doctor", "--env", "dev"), "network")[0].startswith("warn ")
    ec2 = cloud.client("ec2")
    subnet = ec2.describe_subnets(Filters=[{"Name": "cidr-block", "Values": ["10.0.0.0/24"]}])["Subnets"][0]
    ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    answer = call("doctor", "--env", "dev")
    assert answer.code == 1
    assert lines(answer, "network")[0].startswith(f"FAILED  network       The subnet ID '{subnet['SubnetId']}'")


def test_secret_that_is_deleted_or_gone_has_failed(cloud: Cloud, call: Call) -> None:
    healthy(cloud)
    secrets = cloud.client("secretsmanager")
    secrets.delete_secret(SecretId="shop/database")
    answer = call("doctor", "--env", "dev")
    assert lines(answer, "secret") == ["FAILED  secret        shop/database is scheduled for deletion"]
    secrets.restore_secret(SecretId="shop/database")
    secrets.delete_secret(SecretId="shop/database", ForceDeleteWithoutRecovery=True)
    answer = call("doctor", "--env", "dev")
    assert lines(answer, "secret")[0].startswith("FAILED  secret        There is no secret arn:")


def test_dead_letter_and_failed_last_run_are_warnings_with_the_command(cloud: Cloud, call: Call) -> None:
    healthy(cloud)
    cloud.client("sqs").send_message(QueueUrl=cloud.outputs["DeadLetterQueueUrl"], MessageBody="x")
    cloud.ended(cloud.start({"action": "run-migration"}, "deploy-1"))
    for verb in ("status", "doctor"):  # looks, which are no runs
        assert call(verb, "--env", "dev").code == 0
    answer = call("doctor", "--env", "dev")
    assert answer.code == 0
    assert lines(answer, "dead letters") == ["warn    dead letters  1 event started nothing"]
    assert "deploy-1, started 20" in lines(answer, "last run")[0]
    assert "ended by LockTimeout" in lines(answer, "last run")[0]
    assert "Do: aurora-migrations logs deploy-1 --env dev" in answer.out


def test_pending_is_a_warning_and_what_a_run_would_refuse_a_failure(cloud: Cloud, call: Call) -> None:
    healthy(cloud, STATUS)
    answer = call("doctor", "--env", "dev")
    assert answer.code == 0
    assert lines(answer, "migrations") == ["warn    migrations    1 migration pending"]
    assert "Do: aurora-migrations run --env dev" in answer.out


def test_refused_migrations_have_failed(cloud: Cloud, call: Call) -> None:
    told = "A run would be refused for 1 migration"
    healthy(cloud, {**STATUS, "sound": False, "message": told, "refused": [entry("017_a.sql", "changed")]})
    answer = call("doctor", "--env", "dev")
    assert answer.code == 1
    assert lines(answer, "migrations") == [f"FAILED  migrations    {told}"]


def test_database_that_cannot_be_reached_is_told_with_the_engines_words(cloud: Cloud, call: Call) -> None:
    healthy(cloud, ("DatabaseUnreachable", caused({**DOCUMENT, "error": "DatabaseUnreachable"})))
    answer = call("doctor", "--env", "dev")
    assert answer.code == 1
    assert lines(answer, "database")[0].startswith("FAILED  database      DatabaseUnreachable: A lock on orders")
    assert "Do: Run again when that session has ended, or end it." in answer.out


@pytest.fixture
def answers(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[Any], None]], None]:
    """Has an operation of AWS answer otherwise: `answers("DescribeStacks", change)`."""
    real = botocore.client.BaseClient._make_api_call

    def otherwise(operation: str, change: Callable[[Any], None]) -> None:
        def call(self: Any, name: str, parameters: Any) -> Any:
            told = real(self, name, parameters)
            if name == operation:
                change(told)
            return told

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)

    return otherwise


def only_the_machine(told: Any) -> None:
    for stack in told["Stacks"]:
        stack["Outputs"] = [each for each in stack["Outputs"] if each["OutputKey"] == "StateMachineArn"]


def test_stack_of_another_version_is_told_for_each_thing_that_it_does_not_tell(
    cloud: Cloud, call: Call, answers: Any
) -> None:
    healthy(cloud)
    answers("DescribeStacks", only_the_machine)
    answer = call("doctor", "--env", "dev", "--output", "json")
    found = {check["check"]: check for check in answer.json["checks"]}
    missing = {
        "functions": "PreflightFunctionName",
        "e-mail": "AlertTopicArn",
        "network": "ApplyFunctionName",
        "secret": "PreflightFunctionName",
        "dead letters": "DeadLetterQueueUrl",
    }
    for name, output in missing.items():
        stack = "AuroraMigrationsRunnerStack-dev"
        told = f"Can't be checked: {stack} was deployed by another version: it has no output {output}"
        assert (found[name]["result"], found[name]["message"]) == ("warn", told)
        assert found[name]["solution"].startswith("Deploy the environment again.")
    assert found["database"]["result"] == "ok"
    assert "deployed by another version" in call("doctor", "--env", "dev").out


@pytest.mark.parametrize(
    ("code", "solution"),
    [
        ("AccessDeniedException", "Ask whoever manages your role for kms:Decrypt"),
        ("KMSNotFoundException", "Check in the console"),
    ],
)
def test_variables_that_may_not_be_decrypted_are_told_with_the_right_that_is_missing(
    cloud: Cloud, call: Call, answers: Any, code: str, solution: str
) -> None:
    healthy(cloud)
    refused = {"Error": {"ErrorCode": code, "Message": "Lambda was unable to decrypt the environment variables."}}
    answers("GetFunctionConfiguration", lambda told: told.update(Environment=refused))
    answer = call("doctor", "--env", "dev", "--output", "json")
    (found,) = [check for check in answer.json["checks"] if check["check"] == "secret"]
    assert found["result"] == "warn"
    assert found["message"] == f"Can't be checked: Lambda couldn't decrypt the variables of preflight ({code})"
    assert found["solution"].startswith(solution)


@pytest.mark.parametrize("environment", [None, {}, {"Variables": {}}])
def test_function_without_the_variable_was_deployed_by_another_version(
    cloud: Cloud, call: Call, answers: Any, environment: Any
) -> None:
    healthy(cloud)
    answers("GetFunctionConfiguration", lambda told: told.update(Environment=environment))
    (line,) = lines(call("doctor", "--env", "dev"), "secret")
    assert line.endswith("was deployed by another version: preflight has no DATABASE_SECRET_ARN")


def test_answer_of_a_machine_of_another_version_is_no_traceback(cloud: Cloud, call: Call) -> None:
    healthy(cloud, {key: value for key, value in SOUND.items() if key != "sound"})
    answer = call("doctor", "--env", "dev")
    assert lines(answer, "database")[1] == "warn    database      Can't be checked: the answer has no 'sound'"
    assert "Another version may have deployed the environment" in answer.out

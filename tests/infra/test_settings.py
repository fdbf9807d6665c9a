"""cdk.json's settings: what they become, and that every mistake names its key and its environment."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from infra.naming import PARTS
from infra.reader import Reference
from infra.settings import ACTIONS, RETENTIONS, Limits, SettingsError, read_all, read_one
from tests.infra.cloud import some

DEV: dict[str, Any] = {
    "network": {
        "vpc": "vpc-0a",
        "subnets": ["subnet-0a", {"export": "subnet-b"}],
        "database_security_group": {"parameter": "/db/group"},
        "secrets_endpoint": "sg-0e",
    },
    "database": {
        "host": "writer.example.internal",
        "name": "shop",
        "secret": "arn:aws:secretsmanager:eu-west-1:000000000000:secret:shop-AbCdEf",
    },
    "emails": ["team@example.com"],
}


def read(change: Callable[[dict[str, Any]], object] = lambda data: None) -> Any:
    data = copy.deepcopy(DEV)
    change(data)
    return read_one({"dev": data}, "dev")


def put(path: str, value: Any) -> Callable[[dict[str, Any]], object]:
    *parents, last = path.split(".")

    def change(data: dict[str, Any]) -> None:
        for parent in parents:
            data = data.setdefault(parent, {})
        data[last] = value

    return change


def without(path: str) -> Callable[[dict[str, Any]], object]:
    *parents, last = path.split(".")

    def change(data: dict[str, Any]) -> None:
        for parent in parents:
            data = data[parent]
        del data[last]

    return change


def test_what_is_not_set_has_a_careful_default() -> None:
    settings = read()
    assert settings.database.sslmode == "verify-full"
    assert settings.database.port == Reference("value", "5432")
    assert settings.allowed_actions == tuple(action for action in ACTIONS if action != "rollback")
    assert settings.limits == Limits()
    assert (settings.account, settings.region, settings.watch_stacks) == (None, None, ())


def test_value_may_be_an_id_an_export_or_a_parameter() -> None:
    network = read().network
    assert network.subnets == (Reference("value", "subnet-0a"), Reference("export", "subnet-b"))
    assert network.database_security_group == Reference("parameter", "/db/group")


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        (6432, Reference("value", "6432")),
        ({"export": "shop-port"}, Reference("export", "shop-port")),
        ({"parameter": "/shop/port"}, Reference("parameter", "/shop/port")),
    ],
)
def test_port_may_be_a_number_an_export_or_a_parameter(written: Any, read_as: Reference) -> None:
    assert read(put("database.port", written)).database.port == read_as


def test_database_may_be_a_name_an_export_or_a_parameter() -> None:
    assert read().database.name == Reference("value", "shop")
    assert read(put("database.name", {"export": "shop-name"})).database.name == Reference("export", "shop-name")


def test_endpoint_of_our_own_is_asked_for_by_a_word() -> None:
    assert read(put("network.secrets_endpoint", "create")).network.secrets_endpoint is None


def test_times_are_written_as_people_write_them() -> None:
    assert read(put("limits", {"lock_timeout": "500ms", "run_timeout": "2h"})).limits == Limits(
        lock_timeout=500, run_timeout=7_200_000
    )


MISTAKES = {
    "unknown key": (put("emial", []), "`emial` is unknown; known there are: "),
    "unknown inner key": (put("network.subnet", []), "`network.subnet` is unknown"),
    "missing group": (without("network"), "`network` is missing"),
    "missing VPC": (without("network.vpc"), "`network.vpc` is missing: a VPC's id"),
    "missing subnets": (without("network.subnets"), "`network.subnets` is missing"),
    "no subnet": (put("network.subnets", []), "`network.subnets` must be a list of at least one"),
    "wrong VPC": (put("network.vpc", "vpc"), "`network.vpc` must be a VPC's id, and is 'vpc'"),
    "reference of two": (put("network.vpc", {"export": "a", "parameter": "b"}), "`network.vpc` must be a VPC's id, or"),
    "reference of none": (put("network.vpc", {"import": "a"}), "`network.vpc` must be"),
    "missing endpoint": (without("network.secrets_endpoint"), "`network.secrets_endpoint` is missing: `create`, or"),
    "missing secret": (without("database.secret"), "`database.secret` is missing: a secret's complete ARN"),
    "partial secret": (
        put("database.secret", "arn:aws:secretsmanager:eu-west-1:000000000000:secret:shop"),
        "`database.secret` must be a secret's complete ARN",
    ),
    "host with a scheme": (put("database.host", "postgresql://h"), "`database.host` must be the cluster's writer"),
    "port as text": (put("database.port", "5432"), "`database.port` must be a whole number from 1 to 65535"),
    "port too high": (put("database.port", 70_000), "`database.port` must be a whole number"),
    "port as reference of none": (
        put("database.port", {"import": "a"}),
        '`database.port` must be a whole number from 1 to 65535, or {"export": "NAME"} or {"parameter": "/NAME"}, and',
    ),
    "name with a slash": (put("database.name", "shop/x"), "`database.name` must be a database's name, and is 'shop/x'"),
    "missing name": (without("database.name"), "`database.name` is missing: a database's name"),
    "port true": (put("database.port", True), "`database.port` must be a whole number"),
    "weak TLS": (put("database.sslmode", "disable"), "`database.sslmode` must be one of verify-full,"),
    "no e-mail": (put("emails", []), "`emails` must be a list of at least one"),
    "wrong e-mail": (put("emails", ["team"]), "`emails` must be an e-mail address, plain and one by one, such as "),
    "e-mail as text": (put("emails", "team@example.com"), "`emails` must be a list"),
    "e-mail twice": (put("emails", ["a@example.com", "a@example.com"]), "`emails` holds 'a@example.com' twice"),
    "e-mail twice, in other letters": (put("emails", ["A@example.com", "a@example.com"]), "`emails` holds"),
    "subnet twice": (put("network.subnets", ["subnet-0a", "subnet-0a"]), "`network.subnets` holds 'subnet-0a' twice"),
    "subnet's export twice": (put("network.subnets", [{"export": "s"}, {"export": "s"}]), "`network.subnets` holds"),
    "too many subnets": (put("network.subnets", [f"subnet-{n}" for n in range(17)]), "`network.subnets` may hold 16"),
    "stack twice": (put("watch_stacks", ["app", "app"]), "`watch_stacks` holds 'app' twice"),
    "own stack": (
        put("watch_stacks", ["AuroraMigrationsRunnerStack-dev"]),
        "`watch_stacks` names the environment's own stack, AuroraMigrationsRunnerStack-dev, which is always watched",
    ),
    "more stacks than a rule can name": (
        put("watch_stacks", [f"shop-application-{n}" for n in range(10)]),
        "`watch_stacks` makes a rule of ",
    ),
    "action twice": (put("allowed_actions", ["plan", "run-migration", "plan"]), "`allowed_actions` holds 'plan' twice"),
    "export with a slash": (put("network.vpc", {"export": "/shop/vpc"}), "`network.vpc` must name an export ("),
    "parameter with a blank": (put("network.vpc", {"parameter": "/shop vpc"}), "`network.vpc` must name a param"),
    "parameter's path without a slash": (put("network.vpc", {"parameter": "shop/vpc"}), "and names 'shop/vpc'"),
    "host in letters of another alphabet": (put("database.host", "h\u00f6st"), "`database.host` must be the cluster's"),
    "host with two dots": (put("database.host", "writer..-example"), "`database.host` must be the cluster's writer"),
    "reader's endpoint": (
        put("database.host", "shop.cluster-ro-abc123.eu-west-1.rds.amazonaws.com"),
        "`database.host` is the cluster's reader endpoint: write the cluster's writer endpoint.",
    ),
    "custom endpoint": (
        put("database.host", "any.cluster-custom-abc123.eu-west-1.rds.amazonaws.com"),
        "`database.host` is a custom endpoint, which may lead to a reader",
    ),
    "proxy's endpoint": (
        put("database.host", "shop.Proxy-abc123.eu-west-1.rds.amazonaws.com"),
        "`database.host` is an endpoint of RDS Proxy, which",
    ),
    "proxy's second endpoint": (
        put("database.host", "read.endpoint.proxy-abc123.cn-north-1.rds.amazonaws.com.cn"),
        "`database.host` is an endpoint of RDS Proxy, which",
    ),
    "name that PostgreSQL would cut": (
        put("database.name", "\u00e4" * 32),
        "`database.name` has 64 bytes, and PostgreSQL keeps 63 of a name",
    ),
    "name with NUL": (
        put("database.name", "shop\0x"),
        "`database.name` must be a database's name, and is 'shop\\x00x'",
    ),
    "key's alias": (
        put("database.secret_key", "arn:aws:kms:eu-west-1:000000000000:alias/shop"),
        "`database.secret_key` must be a key's ARN",
    ),
    "key of another region than the secret": (
        put("database.secret_key", "arn:aws:kms:eu-west-2:000000000000:key/0a-0b"),
        "`database.secret_key` lies in eu-west-2, and must lie in the region of `database.secret`, eu-west-1",
    ),
    "secret of another region": (
        put("region", "eu-central-1"),
        "`database.secret` lies in eu-west-1, and must lie in the environment's `region`, eu-central-1",
    ),
    "unknown action": (put("allowed_actions", ["plan", "drop"]), "`allowed_actions` may hold run-migration,"),
    "no plan": (put("allowed_actions", ["run-migration"]), "`allowed_actions` must allow `plan`"),
    "no run": (put("allowed_actions", ["plan"]), "`allowed_actions` must allow `run-migration`"),
    "retention": (put("log_retention_days", 15), "`log_retention_days` must be one of 1, 3, 5, 7, 14, 30"),
    "flag": (put("daily_check", "yes"), "`daily_check` must be true or false, and is 'yes'"),
    "time without unit": (put("limits.lock_timeout", "2"), "`limits.lock_timeout` can't be understood"),
    "time as number": (put("limits.lock_timeout", 2000), '`limits.lock_timeout` must be a time such as "2s"'),
    "lock above statement": (
        put("limits", {"lock_timeout": "5min", "statement_timeout": "1min"}),
        "`limits.statement_timeout` must be longer than lock_timeout (300 s), and is 60 s",
    ),
    "statement above function": (
        put("limits.statement_timeout", "15min"),
        "`limits.function_timeout` must be longer than statement_timeout",
    ),
    "wait above function": (
        put("limits.lock_wait", "20min"),
        "`limits.function_timeout` must be longer than lock_wait",
    ),
    "function above Lambda": (
        put("limits.function_timeout", "16min"),
        "`limits.function_timeout` must be at least 30s and at most 15min, and is 960 s",
    ),
    "function too short for its end": (
        put(
            "limits",
            {"lock_timeout": "1s", "lock_wait": "1s", "statement_timeout": "2s", "function_timeout": "5s"},
        ),
        "`limits.function_timeout` must be at least 30s and at most 15min, and is 5 s: a call keeps 10 s for its end",
    ),
    "statement that leaves a call no time for its end": (
        put("limits", {"statement_timeout": "51s", "lock_wait": "30s", "function_timeout": "1min"}),
        "`limits.function_timeout` must be longer than statement_timeout and the 10 s that each call keeps for its end "
        "(61 s), and is 60 s",
    ),
    "wait that leaves a call no time for its end": (
        put("limits", {"statement_timeout": "30s", "lock_wait": "50s", "function_timeout": "1min"}),
        "`limits.function_timeout` must be longer than lock_wait and the 10 s that each call keeps for its end (60 s)",
    ),
    "function in parts of a second": (
        put("limits", {"statement_timeout": "1min", "lock_wait": "30s", "function_timeout": "90500ms"}),
        "`limits.function_timeout` must be whole seconds, such as 91s, and is 90500 ms",
    ),
    "run in parts of a second": (put("limits.run_timeout", "7200001ms"), "`limits.run_timeout` must be whole seconds"),
    "task above run": (put("limits.run_timeout", "16min"), "`limits.run_timeout` must be longer than function_timeout"),
    "retries above run": (
        put("limits.run_timeout", "34min"),
        "`limits.run_timeout` must be longer than function_timeout, a minute and all the time in which errors are "
        "tried again (2085 s), and is 2040 s",
    ),
    "no lock timeout": (put("limits.lock_timeout", "0s"), '`limits.lock_timeout` must be a time such as "2s"'),
    "account": (put("account", "123"), "`account` must be an account number of 12 digits"),
    "region": (put("region", "Ireland"), "`region` must be a region such as eu-west-1"),
    "limits as text": (put("limits", "2s"), "`limits`: it must be an object, and is '2s'"),
}


@pytest.mark.parametrize(("change", "told"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake_names_its_key_and_its_environment(change: Callable[[dict[str, Any]], object], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(change)
    assert str(caught.value).startswith("Environment 'dev' in cdk.json: ")
    assert told.removeprefix("`limits`: it ") in str(caught.value)


ODD_EMAILS = (
    *("mailto:a@b.c", "<a@example.com>", "Team <a@example.com>", "a@example.com,", "a@example.com;", "a@example..com"),
    *(
        "a@example.com,b@example.com",
        "a@example.com b@example.com",
        "a@b@example.com",
        ".a@example.com",
        "a..b@example.com",
    ),
    *(
        "\u00e4@example.com",
        "a@ex\u00e4mple.com",
        "a\u200b@example.com",
        "a@example.com\u200b",
        "a@example.com\n",
        "a@-b.com",
    ),
    *(
        "a@example",
        "a@10.0.0.1",
        f"{'a' * 288}@example.com",
        f"{'a' * 65}@example.com",
        f"a@{'b' * 64}.com",
        '"a b"@example.com',
    ),
)


@pytest.mark.parametrize("email", ODD_EMAILS, ids=ascii)
def test_address_that_is_not_the_plain_one_of_one_mailbox_is_refused(email: str) -> None:
    with pytest.raises(SettingsError, match="`emails` must be an e-mail address, plain and one by one"):
        read(put("emails", ["team@example.com", email]))


@pytest.mark.parametrize(
    "email",
    [
        "o'neil+migrations@mail.example.co.uk",
        "a_b-c.d@x1.example",
        f"{'a' * 64}@example.com",
        "T@EXAMPLE.COM",
        "a@b.xn--p1ai",
    ],
)
def test_plain_address_is_taken(email: str) -> None:
    assert read(put("emails", [email])).emails == (email,)


@pytest.mark.parametrize(
    "host",
    [
        *("shop.cluster-abc123.eu-west-1.rds.amazonaws.com", "shop-1.abc123.eu-west-1.rds.amazonaws.com"),
        *("db.proxy-test.example.internal", "writer_1.example", "10.0.0.7", "localhost"),
    ],
)
def test_host_that_may_be_the_writer_is_taken(host: str) -> None:
    assert read(put("database.host", host)).database.host.text == host


def test_longest_name_of_a_database_is_taken() -> None:
    assert read(put("database.name", "\u00e4" * 31 + "b")).database.name.text.encode()[-1:] == b"b"


@pytest.mark.parametrize("wait", ["0s", "0ms"])
def test_call_may_leave_all_waiting_to_the_state_machine(wait: str) -> None:
    limits = read(put("limits.lock_wait", wait)).limits
    assert limits.lock_wait == 0


def test_shortest_run_that_is_taken_has_room_for_everything_that_is_tried_again() -> None:
    limits = read(put("limits.run_timeout", "35min")).limits
    room = (limits.run_timeout - limits.task_timeout) / 1_000
    for retry in some(limits.retries):
        again = limits.lock_wait / 1_000 if "LockTimeout" in retry.errors else 0
        assert retry.waits + retry.attempts * again < room, retry


def test_every_time_that_logs_can_be_kept_is_one_that_aws_knows() -> None:
    from infra.functions import RETENTION

    assert set(RETENTION) == set(RETENTIONS)


def test_unknown_environment_is_told_with_those_known() -> None:
    with pytest.raises(SettingsError, match=r"no environment 'test'; .*: dev$|no environment 'test'.*: dev\."):
        read_one({"dev": DEV}, "test")


@pytest.mark.parametrize("environments", [None, {}, [], "dev"])
def test_no_environments_at_all_is_told(environments: Any) -> None:
    with pytest.raises(SettingsError, match="no `environments`"):
        read_all(environments)


@pytest.mark.parametrize("name", ["Dev", "dev_1", "1dev", "d" * 21, ""])
def test_name_that_could_not_be_part_of_others_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="won't do"):
        read_all({name: DEV})


@pytest.mark.parametrize("part", PARTS)
def test_name_that_would_share_names_with_another_environments_is_refused(part: str) -> None:
    with pytest.raises(SettingsError, match=rf"'x-{part}' won't do: an environment 'x' .* ends in `-{part}`"):
        read_all({"x": DEV, f"x-{part}": DEV})


def test_name_of_the_local_cloud_is_refused() -> None:
    with pytest.raises(SettingsError, match="`--env local` is the local cloud"):
        read_all({"local": {}})


def test_name_may_be_like_another_environments_and_like_a_part() -> None:
    assert [each.name for each in read_all(dict.fromkeys(("dev", "dev-eu", "daily", "pre-apply-1"), DEV))]


def test_secret_and_key_may_lie_in_the_region_of_the_environment() -> None:
    settings = read(put("region", "eu-west-1"))
    assert settings.database.secret.text.split(":")[3] == settings.region


def test_shortest_function_is_one_that_has_time_for_something() -> None:
    from functions.migrator.deadline import RESERVE

    shortest = {"lock_timeout": "1s", "lock_wait": "1s", "statement_timeout": "2s", "function_timeout": "30s"}
    assert read(put("limits", shortest)).limits.function_timeout >= 2 * RESERVE

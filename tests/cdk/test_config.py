"""cdk.json's settings: what they become, and that every mistake names its key and its environment."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from aurora_migrations.cdk.config import Limits, SettingsError, read_environments
from aurora_migrations.cdk.config_fields import Export, Parameter
from aurora_migrations.cdk.naming import PARTS
from aurora_migrations.engine.steps.execution import READ_ONLY_ACTIONS
from tests.cdk.cloud import some
from tests.paths import ROOT

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
    return read_environments({"dev": data})[0]


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
    assert settings.database.port == 5432
    assert settings.allowed_actions == ("run-migration", *(each for each in READ_ONLY_ACTIONS if each != "rehearse"))
    assert settings.limits == Limits()
    assert (settings.account, settings.region, settings.watch_stacks) == (None, None, ())


def test_value_may_be_an_id_an_export_or_a_parameter() -> None:
    network = read().network
    assert network.subnets == ("subnet-0a", Export(export="subnet-b"))
    assert network.database_security_group == Parameter(parameter="/db/group")


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        (6432, 6432),
        ({"export": "shop-port"}, Export(export="shop-port")),
        ({"parameter": "/shop/port"}, Parameter(parameter="/shop/port")),
    ],
)
def test_port_may_be_a_number_an_export_or_a_parameter(written: Any, read_as: int | Export | Parameter) -> None:
    assert read(put("database.port", written)).database.port == read_as


def test_database_may_be_a_name_an_export_or_a_parameter() -> None:
    assert read().database.name == "shop"
    assert read(put("database.name", {"export": "shop-name"})).database.name == Export(export="shop-name")


def test_endpoint_of_our_own_is_asked_for_by_a_word() -> None:
    assert read(put("network.secrets_endpoint", "create")).network.secrets_endpoint == "create"


def test_times_are_written_as_people_write_them() -> None:
    limits = read(put("limits", {"lock_timeout": "500ms", "run_timeout": "2h"})).limits
    assert (limits.lock_timeout, limits.run_timeout) == (500, 7_200_000)


MISTAKES = {
    "unknown key": (
        put("emial", []),
        "emial` is unknown; known keys: network, database, databases, emails, watch_stacks, allowed_actions, hazards, "
        "daily_check, on_verify_failure, success_mail, chat, limits, deployment, log_level, log_retention_days, "
        "account, region.",
    ),
    "name inside of its object": (
        put("name", "test"),
        "name` is unknown; known keys: network, database, databases, emails, watch_stacks, allowed_actions, hazards, "
        "daily_check, on_verify_failure, success_mail, chat, limits, deployment, log_level, log_retention_days, "
        "account, region.",
    ),
    "unknown inner key": (
        put("network.subnet", []),
        "network.subnet` is unknown; known keys: vpc, subnets, database_security_group, secrets_endpoint.",
    ),
    "missing group": (without("network"), "network` is missing: where the functions run and what they reach."),
    "missing VPC": (without("network.vpc"), "network.vpc` is missing: the ID of the database's VPC."),
    "missing subnets": (
        without("network.subnets"),
        "network.subnets` is missing: the IDs of private subnets, 16 at most.",
    ),
    "no subnet": (put("network.subnets", []), "network.subnets` must have at least one item."),
    "wrong VPC": (
        put("network.vpc", "vpc"),
        'network.vpc` must be the ID of the database\'s VPC, or {"export": "NAME"} or {"parameter": "/NAME"}, '
        'not "vpc".',
    ),
    "reference of two": (
        put("network.vpc", {"export": "a", "parameter": "b"}),
        "network.vpc.parameter` is unknown; known keys: export.",
    ),
    "reference of none": (
        put("network.vpc", {"import": "a"}),
        'network.vpc` must be the ID of the database\'s VPC, or {"export": "NAME"} or {"parameter": "/NAME"}, '
        'not {"import": "a"}.',
    ),
    "missing endpoint": (
        without("network.secrets_endpoint"),
        "network.secrets_endpoint` is missing: `create`, or the ID of an existing endpoint's security group.",
    ),
    "missing secret": (
        without("database.secret"),
        "database.secret` is missing: the complete ARN of the secret with user and password, which ends in a "
        "hyphen and six characters.",
    ),
    "partial secret": (
        put("database.secret", "arn:aws:secretsmanager:eu-west-1:000000000000:secret:shop"),
        "database.secret` must be the complete ARN of the secret with user and password, which ends in a "
        'hyphen and six characters, or {"export": "NAME"} or {"parameter": "/NAME"}.',
    ),
    "host with a scheme": (
        put("database.host", "postgresql://h"),
        'database.host` must be the cluster\'s writer endpoint, or {"export": "NAME"} or {"parameter": "/NAME"}.',
    ),
    "port as text": (
        put("database.port", "5432"),
        'database.port` must be the database\'s port, a whole number from 1 to 65535, or {"export": "NAME"} or'
        ' {"parameter": "/NAME"}, not "5432".',
    ),
    "port too high": (
        put("database.port", 70_000),
        'database.port` must be the database\'s port, a whole number from 1 to 65535, or {"export": "NAME"} or'
        ' {"parameter": "/NAME"}, not 70000.',
    ),
    "port as reference of none": (
        put("database.port", {"import": "a"}),
        'database.port` must be the database\'s port, a whole number from 1 to 65535, or {"export": "NAME"} or'
        ' {"parameter": "/NAME"}, not {"import": "a"}.',
    ),
    "name with a slash": (
        put("database.name", "shop/x"),
        'database.name` must be the database\'s name, or {"export": "NAME"} or {"parameter": "/NAME"}, not "shop/x".',
    ),
    "missing name": (without("database.name"), "database.name` is missing: the database's name."),
    "port true": (
        put("database.port", True),
        'database.port` must be the database\'s port, a whole number from 1 to 65535, or {"export": "NAME"} or'
        ' {"parameter": "/NAME"}, not true.',
    ),
    "weak TLS": (
        put("database.sslmode", "disable"),
        "database.sslmode` must be 'require', 'verify-ca' or 'verify-full', not \"disable\".",
    ),
    "no e-mail": (put("emails", []), "emails` must have at least one item."),
    "wrong e-mail": (
        put("emails", ["team"]),
        'emails[0]` must be a plain e-mail address, such as team@example.com, not "team".',
    ),
    "e-mail as text": (put("emails", "team@example.com"), 'emails` must be a list, not "team@example.com".'),
    "e-mail twice": (put("emails", ["a@example.com", "a@example.com"]), 'emails` lists "a@example.com" twice.'),
    "e-mail twice, in other letters": (
        put("emails", ["A@example.com", "a@example.com"]),
        'emails` lists "a@example.com" twice.',
    ),
    "subnet twice": (put("network.subnets", ["subnet-0a", "subnet-0a"]), 'network.subnets` lists "subnet-0a" twice.'),
    "subnet's export twice": (
        put("network.subnets", [{"export": "s"}, {"export": "s"}]),
        'network.subnets` lists {"export":"s"} twice.',
    ),
    "too many subnets": (
        put("network.subnets", [f"subnet-{n}" for n in range(17)]),
        "network.subnets` may have 16 items at most, and has 17.",
    ),
    "stack twice": (put("watch_stacks", ["app", "app"]), 'watch_stacks` lists "app" twice.'),
    "own stack": (
        put("watch_stacks", ["AuroraMigrationsRunnerStack-dev"]),
        "watch_stacks` lists the environment's own stack, AuroraMigrationsRunnerStack-dev, which is always watched.",
    ),
    "more stacks than a rule can name": (
        put("watch_stacks", [f"shop-application-{n}" for n in range(10)]),
        "watch_stacks` makes a rule of 2272 characters, and EventBridge takes 2048.",
    ),
    "action twice": (put("allowed_actions", ["plan", "run-migration", "plan"]), 'allowed_actions` lists "plan" twice.'),
    "export with a slash": (
        put("network.vpc", {"export": "/shop/vpc"}),
        'network.vpc.export` must be the name of an export (letters, digits, colons, hyphens), not "/shop/vpc".',
    ),
    "parameter with a blank": (
        put("network.vpc", {"parameter": "/shop vpc"}),
        "network.vpc.parameter` must be the name of a parameter (letters, digits, `_.-`; a path begins with a"
        ' slash), not "/shop vpc".',
    ),
    "parameter's path without a slash": (
        put("network.vpc", {"parameter": "shop/vpc"}),
        "network.vpc.parameter` must be the name of a parameter (letters, digits, `_.-`; a path begins with a"
        ' slash), not "shop/vpc".',
    ),
    "host in letters of another alphabet": (
        put("database.host", "h\u00f6st"),
        'database.host` must be the cluster\'s writer endpoint, or {"export": "NAME"} or {"parameter": "/NAME"}.',
    ),
    "host with two dots": (
        put("database.host", "writer..-example"),
        'database.host` must be the cluster\'s writer endpoint, or {"export": "NAME"} or {"parameter": "/NAME"}.',
    ),
    "reader's endpoint": (
        put("database.host", "shop.cluster-ro-abc123.eu-west-1.rds.amazonaws.com"),
        "database.host` is the cluster's reader endpoint: write the cluster's writer endpoint.",
    ),
    "custom endpoint": (
        put("database.host", "any.cluster-custom-abc123.eu-west-1.rds.amazonaws.com"),
        "database.host` is a custom endpoint, which may lead to a reader: write the cluster's writer endpoint.",
    ),
    "proxy's endpoint": (
        put("database.host", "shop.Proxy-abc123.eu-west-1.rds.amazonaws.com"),
        "database.host` is an endpoint of RDS Proxy, which can't keep a session's lock or cancel a statement:"
        " write the cluster's writer endpoint.",
    ),
    "proxy's second endpoint": (
        put("database.host", "read.endpoint.proxy-abc123.cn-north-1.rds.amazonaws.com.cn"),
        "database.host` is an endpoint of RDS Proxy, which can't keep a session's lock or cancel a statement:"
        " write the cluster's writer endpoint.",
    ),
    "name that PostgreSQL would cut": (
        put("database.name", "\u00e4" * 32),
        "database.name` has 64 bytes, and PostgreSQL keeps 63 of a name.",
    ),
    "name with NUL": (
        put("database.name", "shop\0x"),
        'database.name` must be the database\'s name, or {"export": "NAME"} or {"parameter": "/NAME"}, not '
        '"shop\\u0000x".',
    ),
    "key's alias": (
        put("database.secret_key", "arn:aws:kms:eu-west-1:000000000000:alias/shop"),
        'database.secret_key` must be the ARN of your own KMS key that encrypts the secret, or {"export": '
        '"NAME"} or {"parameter": "/NAME"}, not "arn:aws:kms:eu-west-1:000000000000:alias/shop".',
    ),
    "key of another region than the secret": (
        put("database.secret_key", "arn:aws:kms:eu-west-2:000000000000:key/0a-0b"),
        "region` is not set, and `database.secret` is in eu-west-1 and `database.secret_key` is in eu-west-2:"
        " all must be in one region.",
    ),
    "secret of another region": (
        put("region", "eu-central-1"),
        "region` is eu-central-1, and `database.secret` is in eu-west-1: all must be in one region.",
    ),
    "unknown action": (
        put("allowed_actions", ["plan", "drop"]),
        "allowed_actions[1]` must be 'run-migration', 'list-migrations', 'status', 'history', 'plan', "
        "'verify', 'facts', 'rollback', 'resolve', 'cancel', 'adopt', 'baseline' or 'rehearse', not \"drop\".",
    ),
    "no plan": (
        put("allowed_actions", ["run-migration"]),
        "allowed_actions` must include `plan`: mails report the state of the database with it.",
    ),
    "no run": (
        put("allowed_actions", ["plan"]),
        "allowed_actions` must include `run-migration`: a deployment starts it.",
    ),
    "retention": (
        put("log_retention_days", 15),
        "log_retention_days` must be 1, 3, 5, 7, 14, 30, 60, 90, 180, 365, 731, 1827 or 3653, not 15.",
    ),
    "retention true": (
        put("log_retention_days", True),
        'log_retention_days` must be 1, 3, 5, 7, 14, 30, 60, 90, 180, 365, 731, 1827 or 3653, not "True".',
    ),
    "flag": (put("daily_check", "yes"), 'daily_check` must be true or false, not "yes".'),
    "time without unit": (
        put("limits.lock_timeout", "2"),
        "limits.lock_timeout` can't be understood: '2' is not a span of time; write a whole number and a "
        "unit: 500ms, 2s, 10min, 1h.",
    ),
    "time as number": (
        put("limits.lock_timeout", 2000),
        "limits.lock_timeout` can't be understood: '2000' is not a span of time; write a whole number and a "
        "unit: 500ms, 2s, 10min, 1h.",
    ),
    "lock above statement": (
        put("limits", {"lock_timeout": "5min", "statement_timeout": "1min"}),
        "limits.statement_timeout` must be longer than lock_timeout (5min), and is 1min.",
    ),
    "statement above function": (
        put("limits.statement_timeout", "15min"),
        "limits.function_timeout` must be longer than statement_timeout and the 10s that each call keeps for "
        "its end (910s), and is 15min.",
    ),
    "wait above function": (
        put("limits.lock_wait", "20min"),
        "limits.function_timeout` must be longer than lock_wait and the 10s that each call keeps for its end "
        "(1210s), and is 15min.",
    ),
    "function above Lambda": (
        put("limits.function_timeout", "16min"),
        "limits.function_timeout` must be whole seconds from 30s to 15min, not 16min.",
    ),
    "function too short for its end": (
        put(
            "limits",
            {"lock_timeout": "1s", "lock_wait": "1s", "statement_timeout": "2s", "function_timeout": "5s"},
        ),
        "limits.function_timeout` must be whole seconds from 30s to 15min, not 5s.",
    ),
    "statement that leaves a call no time for its end": (
        put("limits", {"statement_timeout": "51s", "lock_wait": "30s", "function_timeout": "1min"}),
        "limits.function_timeout` must be longer than statement_timeout and the 10s that each call keeps for "
        "its end (61s), and is 1min.",
    ),
    "wait that leaves a call no time for its end": (
        put("limits", {"statement_timeout": "30s", "lock_wait": "50s", "function_timeout": "1min"}),
        "limits.function_timeout` must be longer than lock_wait and the 10s that each call keeps for its end "
        "(1min), and is 1min.",
    ),
    "function in parts of a second": (
        put("limits", {"statement_timeout": "1min", "lock_wait": "30s", "function_timeout": "90500ms"}),
        "limits.function_timeout` must be whole seconds from 30s to 15min, not 90500ms.",
    ),
    "run in parts of a second": (
        put("limits.run_timeout", "7200001ms"),
        "limits.run_timeout` must be whole seconds, not 7200001ms.",
    ),
    "task above run": (
        put("limits.run_timeout", "16min"),
        "limits.run_timeout` must be longer than function_timeout, a minute and all the time in which errors "
        "are tried again (2085s), and is 16min.",
    ),
    "retries above run": (
        put("limits.run_timeout", "34min"),
        "limits.run_timeout` must be longer than function_timeout, a minute and all the time in which errors "
        "are tried again (2085s), and is 34min.",
    ),
    "no lock timeout": (put("limits.lock_timeout", "0s"), "limits.lock_timeout` must be a time longer than 0s."),
    "account": (put("account", "123"), 'account` must be the account to deploy to, 12 digits, not "123".'),
    "region": (put("region", "Ireland"), 'region` must be the region to deploy to, such as eu-west-1, not "Ireland".'),
    "limits as text": (put("limits", "2s"), 'limits` must be an object, not "2s".'),
}


@pytest.mark.parametrize(("change", "told"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake_names_its_key_and_its_environment(change: Callable[[dict[str, Any]], object], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(change)
    assert str(caught.value) == f"cdk.json: `environments.dev.{told}"


def test_all_mistakes_of_all_environments_are_reported_at_once() -> None:
    wrong = {"test": copy.deepcopy(DEV), "prod": copy.deepcopy(DEV), "dev": copy.deepcopy(DEV), "qa": "dev"}
    for change in (without("network.vpc"), put("emails", ["a", "b"]), put("limits.lock_timeout", "2"), put("x", 1)):
        change(wrong["test"])
    put("database.host", "h:5432")(wrong["prod"])
    with pytest.raises(SettingsError) as caught:
        read_environments(wrong)
    keys = [line.split("`")[1].removeprefix("environments.") for line in str(caught.value).splitlines()]
    assert keys == [
        *("test.network.vpc", "test.emails[0]", "test.emails[1]", "test.limits.lock_timeout", "test.x"),
        *("prod.database.host", "qa"),
    ]


@pytest.mark.parametrize("key", ["database.host", "database.secret"])
def test_what_may_hold_a_password_by_mistake_is_not_repeated(key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(put(key, "postgresql://app:kanarienvogel@db"))
    assert "kanarien" not in str(caught.value)


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
    with pytest.raises(SettingsError, match=r"emails\[1\]` (must be a plain e-mail|has more than 64)"):
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
    assert read(put("database.host", host)).database.host == host


def test_longest_name_of_a_database_is_taken() -> None:
    assert read(put("database.name", "\u00e4" * 31 + "b")).database.name.encode()[-1:] == b"b"


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


def test_unknown_environment_is_told_with_those_known() -> None:
    with pytest.raises(SettingsError, match=r"no environment 'test'; `environments` in cdk.json has dev\.$"):
        read_environments({"dev": DEV}, "test")


@pytest.mark.parametrize("environments", [None, {}, [], "dev"])
def test_no_environments_at_all_is_told(environments: Any) -> None:
    with pytest.raises(SettingsError, match=r"`context\.environments` must be an object"):
        read_environments(environments)


@pytest.mark.parametrize("name", ["Dev", "dev_1", "1dev", "d" * 21, ""])
def test_name_that_could_not_be_part_of_others_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="can't be an environment's name: write up to 20"):
        read_environments({name: DEV})


@pytest.mark.parametrize("part", PARTS)
def test_name_that_would_share_names_with_another_environments_is_refused(part: str) -> None:
    with pytest.raises(SettingsError, match=rf"`environments.x-{part}` can't be .* of 'x' .* ends in `-{part}`"):
        read_environments({"x": DEV, f"x-{part}": DEV})


def test_name_of_the_local_cloud_is_refused() -> None:
    with pytest.raises(SettingsError, match="`--env local` is the local cloud"):
        read_environments({"local": DEV})


def test_name_may_be_like_another_environments_and_like_a_part() -> None:
    assert [each.name for each in read_environments(dict.fromkeys(("dev", "dev-eu", "daily", "pre-apply-1"), DEV))]


def test_secret_and_key_may_lie_in_the_region_of_the_environment() -> None:
    settings = read(put("region", "eu-west-1"))
    assert settings.database.secret.split(":")[3] == settings.region


def test_shortest_function_is_one_that_has_time_for_something() -> None:
    from aurora_migrations.engine.steps.step import RESERVE

    shortest = {"lock_timeout": "1s", "lock_wait": "1s", "statement_timeout": "2s", "function_timeout": "30s"}
    assert read(put("limits", shortest)).limits.function_timeout >= 2 * RESERVE


# ---- the JSON Schema ------------------------------------------------------------------------------------------------


def schema() -> Draft202012Validator:
    """As an editor finds it: by the key `$schema` of cdk.json."""
    named = json.loads((ROOT / "cdk.json").read_text("utf-8"))["$schema"]
    return Draft202012Validator(json.loads((ROOT / named).read_text("utf-8")))


def test_examples_of_cdk_json_fit_its_schema() -> None:
    assert [*schema().iter_errors(json.loads((ROOT / "cdk.json").read_text("utf-8")))] == []


def test_schema_shows_every_mistake_but_those_that_depend_on_more_than_a_value() -> None:
    def fits(change: Callable[[dict[str, Any]], object]) -> bool:
        data = copy.deepcopy(DEV)
        change(data)
        return schema().is_valid({"context": {"environments": {"dev": data}}})

    assert {name for name, (change, _) in MISTAKES.items() if fits(change)} == {
        *("own stack", "more stacks than a rule can name", "e-mail twice, in other letters"),
        *("reader's endpoint", "custom endpoint", "proxy's endpoint", "proxy's second endpoint"),
        *("name that PostgreSQL would cut", "no plan", "no run"),
        *("key of another region than the secret", "secret of another region"),
        *("lock above statement", "statement above function", "wait above function", "function above Lambda"),
        *("function too short for its end", "statement that leaves a call no time for its end"),
        *("wait that leaves a call no time for its end", "function in parts of a second", "run in parts of a second"),
        *("task above run", "retries above run", "no lock timeout"),
    }


def test_schema_describes_every_key() -> None:
    definitions = schema().schema["$defs"]
    environment = schema().schema["properties"]["context"]["properties"]["environments"]["additionalProperties"]
    objects = [environment, *definitions.values()]
    assert len(objects) == 7
    assert [
        key
        for each in objects
        for key, field in each["properties"].items()
        if not field.keys() & {"description", "$ref"}
    ] == []

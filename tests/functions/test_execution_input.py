"""What an execution may be asked to do, and how an environment is set up: every mistake is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aurora_migrations.engine.errors import ActionNotAllowed, InvalidInput
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.steps.execution import ACTIONS, ExecutionInput, read_input
from aurora_migrations.engine.steps.settings import ROOT, read_settings

VARIABLES = {
    "ENVIRONMENT": "prod",
    "DATABASE_SECRET_ARN": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:s",
    "DATABASE_HOST": "db.example",
    "DATABASE_PORT": "5432",
    "DATABASE_NAME": "shop",
    "DATABASE_SSLMODE": "require",
    "ALLOWED_ACTIONS": "run-migration, plan",
    "LOCK_TIMEOUT_MS": "3000",
    "STATEMENT_TIMEOUT_MS": "600000",
    "LOCK_WAIT_MS": "0",
    "HAZARDS": "refuse",
    "MIGRATIONS_DIR": "migrations",
}


def read(data: Any) -> ExecutionInput:
    return read_input(data, "exec-1", ACTIONS)


def test_empty_input_asks_for_everything_that_is_pending() -> None:
    assert read({}) == ExecutionInput("run-migration", None, None, None, "exec-1")


def test_all_keys_are_taken() -> None:
    asked = {"action": "rollback", "target": "017", "confirm": "018", "trigger": "cli", "requested_by": "somebody"}
    assert read(asked) == ExecutionInput("rollback", "017", "018", "cli", "somebody")


PARENT = "arn:aws:states:eu-west-1:111122223333:execution:release:one"


@pytest.mark.parametrize(
    "added",
    [
        {"Comment": "Insert your JSON here"},
        {"AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID": PARENT},
        {"Comment": {"any": ["thing"]}, "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID": PARENT},
    ],
    ids=["console", "nested", "both"],
)
def test_what_aws_adds_to_an_input_is_ignored(added: dict[str, Any]) -> None:
    assert read(added) == read({})
    assert read({"action": "verify", "target": "017", **added}) == read({"action": "verify", "target": "017"})


@pytest.mark.parametrize("key", ["comment", "COMMENT", "Comments", "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION"])
def test_key_that_only_looks_like_one_of_those_is_refused_and_they_are_not_proposed(key: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read({key: "x", "Comment": "x"})
    assert (
        f"unknown keys: {key}. Known are: action, target, confirm, table, accept, page, trigger, requested_by."
        in caught.value.message
    )


def test_null_and_empty_texts_count_as_missing() -> None:
    assert read(dict.fromkeys(("action", "target", "confirm", "trigger", "requested_by"))) == read({})
    assert read({"target": "", "action": ""}) == read({})


def test_target_may_be_a_number() -> None:
    assert read({"target": 17}).target == "17"


WRONG: list[tuple[Any, str]] = [
    (None, "must be a JSON object"),
    ([], "must be a JSON object"),
    ("run-migration", "must be a JSON object"),
    (
        {"Target": "017"},
        "unknown keys: Target. Known are: action, target, confirm, table, accept, page, trigger, requested_by",
    ),
    ({"action": "run"}, "There are: run-migration, list-migrations, status, history, plan, verify, facts, rollback"),
    ({"action": 1}, "must be a text"),
    ({"action": ["run-migration"]}, "must be a text"),
    ({"target": True}, "must be a text"),
    ({"target": 1.5}, "must be a text"),
    ({"target": -1}, "must be a text"),
    ({"target": {}}, "must be a text"),
    ({"requested_by": "a\nb"}, "printable"),
    ({"requested_by": "x" * 257}, "at most 256"),
    ({"target": "postgresql://app:hunter2@h/shop"}, "key target has a password in it"),
    ({"action": "password=hunter2"}, "key action has a password in it"),
    ({"trigger": "cli", "requested_by": "postgresql://app:hunter2@h/shop"}, "key requested_by has a password in it"),
    ({"postgresql://app:hunter2@h/shop": "x"}, "unknown keys: postgresql://app:...@h/shop."),
    ({"action": "list-migrations", "target": "017"}, "takes no target"),
    ({"action": "run-migration", "confirm": "017"}, "run-migration takes no `confirm`; these do: rollback, resolve"),
    ({"action": "resolve", "target": "017"}, "confirm, which is `applied` or `again`"),
    ({"action": "resolve", "confirm": "again"}, "needs a target, the migration in doubt"),
    ({"action": "resolve", "target": "017", "confirm": "017"}, "confirm, which is `applied` or `again`"),
    ({"action": "cancel", "target": "017"}, "The action cancel takes no target"),
    ({"action": "cancel", "confirm": "applied"}, "The action cancel takes no `confirm`"),
    ({"action": "adopt", "confirm": "017", "accept": "public.a"}, "key accept must be a list of at most 100 texts"),
    ({"action": "adopt", "accept": ["a"] * 101}, "key accept must be a list of at most 100 texts"),
    ({"action": "adopt", "accept": [1]}, "key accept must be a text"),
    ({"action": "plan", "accept": ["public.a"]}, "plan takes no `accept`; these do: adopt, baseline"),
    ({"action": "baseline", "target": "017", "table": "a"}, "Only the action adopt takes a `table`, not baseline"),
    ({"action": "baseline"}, "A baseline needs a target"),
    ({"action": "plan", "page": "1"}, "Only the action facts takes a `page`, not plan"),
    ({"action": "facts", "page": "0"}, "key page is '0'; it must be a number from 1 on"),
    ({"action": "facts", "page": "one"}, "key page is 'one'"),
    ({"action": "facts", "page": "1" * 9}, "key page is '111111111'"),
    ({"action": "facts", "target": "017"}, "takes no target"),
    ({"action": "rollback"}, "needs a target"),
    ({"action": "rollback", "target": "017"}, "confirm, the newest applied one"),
]


@pytest.mark.parametrize(("data", "reason"), WRONG, ids=[str(data) for data, _ in WRONG])
def test_wrong_input_is_refused_with_what_would_be_right(data: Any, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(data)
    assert reason in caught.value.message
    assert "hunter2" not in caught.value.message
    assert "{}" in caught.value.solution


def test_action_outside_the_list_is_not_allowed_and_the_list_told() -> None:
    with pytest.raises(ActionNotAllowed) as caught:
        read_input({"action": "rollback", "target": "1", "confirm": "1"}, "e", ("run-migration", "plan"))
    assert caught.value.facts == {"action": "rollback", "allowed": ["run-migration", "plan"]}


# ---- settings -------------------------------------------------------------------------------------------------------


def test_settings_are_read_from_the_environment() -> None:
    settings = read_settings(VARIABLES)
    assert (settings.environment, settings.host, settings.port, settings.database) == (
        "prod",
        "db.example",
        5432,
        "shop",
    )
    assert settings.limits == Limits(lock_timeout=3_000, statement_timeout=600_000, lock_wait=0)
    assert settings.actions == ("run-migration", "plan")
    assert settings.migrations == ROOT / "migrations"
    assert settings.certificates is None


def test_only_what_has_no_default_must_be_set() -> None:
    least = ("ENVIRONMENT", "DATABASE_SECRET_ARN", "ALLOWED_ACTIONS", "DATABASE_SSLMODE")
    settings = read_settings({name: VARIABLES[name] for name in least})
    assert (settings.host, settings.port, settings.database) == (None, None, None)
    assert settings.limits == Limits()
    assert settings.hazards == "warn"


def test_certificate_is_checked_in_full_by_default(tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.touch()
    variables = {**VARIABLES, "DATABASE_SSLMODE": "", "DATABASE_SSLROOTCERT": str(roots)}
    settings = read_settings(variables)
    assert (settings.sslmode, settings.certificates) == ("verify-full", roots)


WRONG_SETTINGS = [
    ("ENVIRONMENT", "", "is not set"),
    ("DATABASE_SECRET_ARN", " ", "is not set"),
    ("ALLOWED_ACTIONS", "", "is not set"),
    ("ALLOWED_ACTIONS", "run-migration,,plan", "must list actions"),
    ("ALLOWED_ACTIONS", "everything", "must list actions"),
    ("DATABASE_PORT", "0", "a whole number from 1 to 65535"),
    ("DATABASE_PORT", "5432.0", "a whole number from 1 to 65535"),
    ("DATABASE_SSLMODE", "on", "must be one of disable"),
    ("LOCK_TIMEOUT_MS", "0", "a whole number from 1"),
    ("LOCK_TIMEOUT_MS", "2s", "a whole number from 1"),
    ("STATEMENT_TIMEOUT_MS", "-1", "a whole number from 0"),
    ("STATEMENT_TIMEOUT_MS", "3000", "must be above LOCK_TIMEOUT_MS"),
    ("LOCK_WAIT_MS", "86400001", "a whole number from 0 to 86400000"),
    ("HAZARDS", "ignore", "must be one of refuse, warn"),
]


@pytest.mark.parametrize(("name", "value", "reason"), WRONG_SETTINGS)
def test_wrong_setting_is_told_by_its_name(name: str, value: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_settings({**VARIABLES, name: value})
    assert caught.value.message.startswith(f"The environment variable {name} ")
    assert reason in caught.value.message
    assert caught.value.facts["setting"] == name


@pytest.mark.parametrize("value", ["", "nowhere.pem"])
def test_missing_roots_are_told_by_the_variable(value: str) -> None:
    with pytest.raises(InvalidInput, match="DATABASE_SSLROOTCERT"):
        read_settings({**VARIABLES, "DATABASE_SSLMODE": "verify-full", "DATABASE_SSLROOTCERT": value or "no.pem"})

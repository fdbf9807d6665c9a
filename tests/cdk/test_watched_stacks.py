"""As many stacks as the settings let an environment watch fit into one rule of EventBridge."""

from __future__ import annotations

import json
from pathlib import Path

from aurora_migrations.cdk.config import LONGEST_PATTERN, SettingsError, read_environments
from tests.cdk.cloud import ACCOUNT
from tests.cdk.conftest import context, synthesised


def watching(count: int) -> dict:
    here = {"account": ACCOUNT, "region": "ap-southeast-1"}
    return {**context()["environments"]["prod"], **here, "watch_stacks": [f"s{n}" for n in range(count)]}


def allowed(count: int) -> bool:
    try:
        read_environments({"prod": watching(count)}, "prod")
    except SettingsError:
        return False
    return True


def test_rule_for_the_most_stacks_that_are_allowed_is_one_that_eventbridge_takes(tmp_path: Path) -> None:
    most = max(count for count in range(20) if allowed(count))
    assert most > 5
    template = synthesised(tmp_path, {"prod": watching(most)})["prod"]
    rule = template.one("Events::Rule", Name="aurora-migrations-prod-on-deploy")
    pattern = json.dumps(rule.properties["EventPattern"], separators=(",", ":"))
    assert pattern.count(":stack/s") == 2 * most
    assert len(pattern.replace("arn:aws:", "arn:aws-us-gov:")) <= LONGEST_PATTERN

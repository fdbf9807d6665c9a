"""cdk-nag and cfn-lint: nothing unacknowledged, and nothing acknowledged that isn't found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cfnlint.api import lint_file
from cfnlint.config import ManualArgs

from aurora_migrations.cdk import compliance
from aurora_migrations.cdk.naming import Names
from tests.cdk.cloud import Template, some
from tests.cdk.conftest import context


def test_every_finding_is_acknowledged_and_every_acknowledgement_is_of_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the table, cdk-nag finds exactly the table. With it, the fixture `templates` could be synthesised."""
    import aws_cdk as cdk

    from infra.app import add_stacks

    machine = Names("dev").of()
    table = {(path, finding.format(machine)) for path, finding, _ in compliance.ACKNOWLEDGED}
    monkeypatch.setattr(compliance, "ACKNOWLEDGED", ())
    waiting = {"dev": context()["environments"]["dev"] | {"deployment": "waits"}}  # which has all that there is
    app = cdk.App(context={**context(), "environments": waiting}, outdir=str(tmp_path))
    add_stacks(app)
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    report = json.loads((tmp_path / "validation-report.json").read_text("utf-8"))
    assert found_in(report) == table


def found_in(report: dict) -> set[tuple[str, str]]:
    found = set()
    for plugin in report["pluginReports"]:
        for violation in plugin["violations"]:
            for place in violation["violatingConstructs"]:
                path = place["constructPath"].split("/Default/", 1)[1]
                found.add((path, f"{plugin['pluginName']}::{violation['ruleName']}"))
    return found


def test_acknowledgements_are_exact_and_have_reasons() -> None:
    rows = [(path, finding) for path, finding, _ in compliance.ACKNOWLEDGED]
    assert len(rows) == len(set(rows))
    for _, finding, reason in some(compliance.ACKNOWLEDGED):
        assert finding.startswith("AwsSolutions::AwsSolutions-")
        assert "IAM5" not in finding or "[" in finding
        assert len(reason.split()) > 8


def test_cloudformation_is_clean(template: Template) -> None:
    """But for W3005: the CDK writes a function's dependency on its role beside the reference that says the same."""
    assert [str(match) for match in lint_file(template.path, config=ManualArgs(ignore_checks=["W3005"]))] == []


def test_synthesis_warns_of_nothing(template: Template) -> None:
    """A warning that always stands there hides the next one."""
    told = json.loads(template.path.with_name(f"{template.name}.metadata.json").read_text("utf-8"))
    assert [entry["data"] for entries in told.values() for entry in entries if entry["type"] == "aws:cdk:warning"] == []

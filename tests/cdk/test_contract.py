"""What the template gives the functions, and what they make of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aurora_migrations.cdk.config import read_environments
from aurora_migrations.cdk.naming import Names
from aurora_migrations.cdk.package import CERTIFICATES, HANDLERS, MIGRATIONS
from aurora_migrations.engine.steps.execution import ACTIONS, read_input
from aurora_migrations.engine.steps.settings import read_settings
from tests.cdk.cloud import Template
from tests.cdk.conftest import context


@pytest.mark.parametrize("step", HANDLERS)
def test_functions_can_read_every_variable_of_the_template(
    step: str, template: Template, environment: str, names: Names, package: Path
) -> None:
    variables = template.one("Lambda::Function", FunctionName=names.of(step)).properties["Environment"]["Variables"]
    here = {key: value.replace("/var/task", str(package)) for key, value in variables.items()}
    found = read_settings(here)
    (wanted,) = read_environments(context()["environments"], environment)
    assert (found.environment, found.sslmode, found.hazards) == (environment, "verify-full", wanted.hazards)
    assert (str(found.port), found.database) == (str(wanted.database.port), wanted.database.name)
    assert found.actions == wanted.allowed_actions
    assert (found.certificates, found.migrations) == (package / CERTIFICATES, package / MIGRATIONS)
    assert 0 < found.limits.lock_timeout < found.limits.statement_timeout


def test_inputs_that_rules_give_are_understood(template: Template) -> None:
    allowed = ACTIONS
    stack = f"arn:aws:cloudformation:ap-northeast-1:111122223333:stack/{'x' * 128}/{'0' * 36}"
    assert read_input({"trigger": "deploy", "requested_by": stack}, "e", allowed).action == "run-migration"
    for machine in template.machines.values():
        for task in machine.calls.values():
            given = task["Parameters"]["Payload"].get("input", {})
            assert read_input(given, "e", allowed).action in ("plan", "run-migration")


@pytest.mark.parametrize("step", HANDLERS)
def test_handler_is_where_the_template_says(step: str, package: Path, tmp_path: Path) -> None:
    """Imported from the package's own code, without the compiler; compiled packages are those of this machine."""
    for top in ("functions", "aurora_migrations"):
        shutil.copytree(package / top, tmp_path / top)
    code = (
        "import sys\n"
        "for name in ('postgast', 'rich'): sys.modules[name] = None\n"
        f"import functions.{step} as module\n"
        f"assert module.lambda_handler.__code__.co_filename.startswith({str(tmp_path)!r})\n"
        "import aurora_migrations.engine as engine\n"
        f"assert engine.__file__.startswith({str(tmp_path)!r}), engine.__file__\n"
        "sys.exit(not callable(module.handler))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr

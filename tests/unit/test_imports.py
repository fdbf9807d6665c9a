"""Who may load whom: the engine stands alone, and a verb loads no more than it needs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIST_MODULES = "import json, sys; print(json.dumps(sorted(sys.modules)))"
ENGINE = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "aurora_migrations" / "engine").rglob("[!_]*.py"))
]
VERBS = ("run", "read_only", "rollback", "new")


def loaded_by(*modules: str) -> set[str]:
    """The top-level packages in a fresh Python after these imports; of ours, the room: `aurora_migrations.engine`."""
    return {top(name) for name in modules_loaded_by(*modules)}


def top(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "aurora_migrations" else 1])


def rooms(*names: str) -> set[str]:
    return {f"aurora_migrations.{name}" for name in names}


def modules_loaded_by(*modules: str) -> frozenset[str]:
    """The full names of all modules in a fresh Python after these imports."""
    return modules_after(f"import {', '.join(modules)}")


@cache
def modules_after(program: str) -> frozenset[str]:
    """The same, after a program."""
    whole = f"{program}; {LIST_MODULES}"
    finished = subprocess.run([sys.executable, "-c", whole], cwd=ROOT, capture_output=True, text=True, check=True)
    return frozenset(json.loads(finished.stdout))


def test_engine_knows_nothing_of_those_around_it() -> None:
    others = {"functions", "tests", "boto3", "botocore", "postgast", "rich", "awslambdaric", "argparse"}
    assert len(ENGINE) > 20
    assert loaded_by(*ENGINE) & (others | rooms("compiler", "cdk", "cli", "embedded", "local", "replay")) == set()


def test_compiler_loads_the_grammar_only_when_it_is_asked() -> None:
    others = {"postgast", "google", "rich", "boto3", *rooms("cli", "local", "cdk", "embedded", "replay")}
    assert loaded_by("aurora_migrations.compiler.folder_source") & others == set()


def test_command_line_loads_neither_grammar_nor_tables_nor_the_local_server_before_it_must() -> None:
    verbs = [f"aurora_migrations.cli.verbs.{verb}" for verb in VERBS]
    others = {"postgast", "google", "rich", "boto3", "pydantic", *rooms("embedded", "local", "replay")}
    assert loaded_by("aurora_migrations.cli.main", *verbs) & others == set()
    reach = loaded_by("aurora_migrations.cli.verbs.packaging.build", "aurora_migrations.cli.remote.environment")
    assert "pydantic" not in reach, "only what reads cdk.json needs it"


def test_run_loads_nothing_that_only_a_file_needs_before_it_runs_one() -> None:
    modules = modules_after("from aurora_migrations.cli.verbs import run; from aurora_migrations.engine import runner")
    assert "aurora_migrations.engine.postgres.session" in modules
    of_a_file = ("running.files", "script", "manifest", "catalog.change", "locks.retry", "nontransactional.intents")
    needless = (*of_a_file, "adoption.tools", "preview.privileges", "steps.settings", "nontransactional.settlement")
    engine = {f"aurora_migrations.engine.{name}" for name in needless}
    assert modules & {*engine, "tomllib", "difflib", "aurora_migrations.compiler.compile"} == set()


def test_check_loads_no_database_driver_before_it_replays() -> None:
    assert "psycopg" not in loaded_by("aurora_migrations.cli.verbs.check")


def test_every_module_of_the_benchmarks_can_be_imported() -> None:
    """Nobody runs them every day: what they take from the product may have moved on. Peers are scripts, run by path."""
    paths = sorted((ROOT / "benchmarks").rglob("*.py"))
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    imported = [module.removesuffix(".__init__") for module in modules if not module.startswith("benchmarks.peers.")]
    assert "benchmarks.histories.__main__" in imported
    assert loaded_by(*imported) >= {"benchmarks", *rooms("compiler", "engine")}


HANDLERS = [f"functions.{step}" for step in ("preflight", "apply", "verify")]


def test_handlers_load_neither_compiler_nor_command_line_nor_boto3_before_they_must() -> None:
    ours = rooms("compiler", "cdk", "cli", "embedded", "local", "replay")
    others = {"infra", "tests", "boto3", "postgast", "rich", "pydantic", *ours}
    assert loaded_by(*HANDLERS) & others == set()


def test_handlers_load_no_package_but_those_that_go_into_lambda() -> None:
    """What else is installed here isn't there, and each costs every cold start. setuptools hooks into any Python; our
    own package is what is tested."""
    owners = packages_distributions()
    loaded = {owner for top in loaded_by(*HANDLERS) for owner in owners.get(top, ())}
    locked = set(re.findall(r"(?m)^([\w.-]+)==", (ROOT / "requirements" / "lambda.txt").read_text("utf-8")))
    assert {"psycopg", "aws-lambda-powertools"} <= {name.replace("_", "-") for name in loaded}
    hooks = {"setuptools", "botocore", "aurora-migrations"}
    assert {name.replace("_", "-") for name in loaded} - locked - hooks == set()


def test_handlers_load_nothing_of_the_aws_sdk_and_no_tracer() -> None:
    """Powertools asks botocore whether it is there, and its Tracer's own module is light; what they'd load isn't."""
    modules = modules_loaded_by(*HANDLERS)
    assert {name for name in modules if name.partition(".")[0] == "botocore"} <= {"botocore"}
    heavy = ("boto3", "s3transfer", "aws_xray_sdk", "moto")
    assert {name for name in modules if name.partition(".")[0] in heavy} == set()


def test_first_call_loads_botocore_and_no_second_package_with_it() -> None:
    """What a handler's first call adds to its import: the client of Secrets Manager."""
    before = loaded_by(*HANDLERS)
    call = "from functions.database_secret import secrets_client; import os; os.environ['AWS_REGION'] = 'eu-west-1'"
    program = f"import {', '.join(HANDLERS)}; {call}; os.environ['AWS_DEFAULT_REGION'] = 'eu-west-1'; secrets_client()"
    modules = modules_after(program)
    after = {name.partition(".")[0] for name in modules}
    owners = packages_distributions()
    added = {owner for top in after - before for owner in owners.get(top, ())}
    assert "botocore.client" in modules
    assert added <= {"python-dateutil", "urllib3", "six", "certifi"}

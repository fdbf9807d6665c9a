"""Who may load whom: the engine stands alone, and a verb loads no more than it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIST_MODULES = "import json, sys; print(json.dumps(sorted(sys.modules)))"
ENGINE = sorted(f"functions.migrator.{path.stem}" for path in (ROOT / "functions" / "migrator").glob("[!_]*.py"))
VERBS = ("run", "list", "status", "history", "rollback", "new")


def loaded_by(*modules: str) -> set[str]:
    """The top-level packages in a fresh Python after these imports."""
    program = f"import {', '.join(modules)}; {LIST_MODULES}"
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(finished.stdout)}


def test_engine_knows_nothing_of_those_around_it() -> None:
    others = {"compiler", "cli", "local", "tests", "boto3", "botocore", "postgast", "rich", "awslambdaric", "argparse"}
    assert loaded_by("functions.migrator", *ENGINE) & others == set()


def test_compiler_loads_the_grammar_only_when_it_is_asked() -> None:
    assert loaded_by("compiler.source") & {"postgast", "google", "rich", "cli", "local", "boto3"} == set()


def test_command_line_loads_neither_grammar_nor_tables_nor_the_local_server_before_it_must() -> None:
    verbs = [f"cli.{verb}" for verb in VERBS]
    assert loaded_by("cli.main", *verbs) & {"postgast", "google", "rich", "local", "boto3"} == set()


def test_every_module_of_the_benchmarks_can_be_imported() -> None:
    """Nobody runs them every day: what they take from the product may have moved on. Peers are scripts, run by path."""
    paths = sorted((ROOT / "benchmarks").rglob("*.py"))
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    imported = [module.removesuffix(".__init__") for module in modules if not module.startswith("benchmarks.peers.")]
    assert "benchmarks.histories.__main__" in imported
    assert loaded_by(*imported) >= {"benchmarks", "compiler", "functions"}


def test_handlers_load_neither_compiler_nor_command_line_nor_boto3_before_they_must() -> None:
    handlers = [f"functions.{step}.handler" for step in ("preflight", "apply", "verify")]
    others = {"compiler", "cli", "local", "infra", "tests", "boto3", "postgast", "rich", "pydantic"}
    assert loaded_by(*handlers) & others == set()

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


def test_handlers_load_neither_compiler_nor_command_line_nor_boto3_before_they_must() -> None:
    handlers = [f"functions.{step}.handler" for step in ("preflight", "apply", "verify")]
    others = {"compiler", "cli", "local", "infra", "tests", "boto3", "postgast", "rich", "pydantic"}
    assert loaded_by(*handlers) & others == set()

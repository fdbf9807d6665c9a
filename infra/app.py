"""The CDK app: synthesizes every environment's stack, or prints what is wrong with the settings."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import aws_cdk as cdk

from aurora_migrations.cdk import stack
from aurora_migrations.cdk.config import SettingsError
from aurora_migrations.cdk.functions import packaging_errors
from aurora_migrations.cdk.stack import MigrationsStack

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Writes the templates to CDK_OUTDIR, or else to cdk.out; returns the exit code."""
    try:
        app = cdk.App(
            context=read_context(ROOT / "cdk.json"), outdir=os.environ.get("CDK_OUTDIR", str(ROOT / "cdk.out"))
        )
        add_stacks(app)
        app.synth()
    except SettingsError as error:
        return _print_error(str(error))
    except RuntimeError:
        if not packaging_errors:
            raise
        return _print_error(packaging_errors[0])
    return 0


def add_stacks(app: cdk.App) -> list[MigrationsStack]:
    """The stacks of this repository's environments. Raises SettingsError for a mistake in the settings."""
    return stack.add_stacks(app, ROOT / "migrations")


def read_context(path: Path) -> dict[str, Any]:
    """The context of cdk.json. What the `cdk` command passes takes precedence: the same, and its `--context` options.

    Raises:
        SettingsError: there is no such file, or it isn't JSON.
    """
    try:
        document = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{path.name} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path.name} isn't written in UTF-8: byte {error.start + 1} fits no character.") from error
    except json.JSONDecodeError as error:
        raise SettingsError(f"{path.name}:{error.lineno}:{error.colno}: this isn't JSON: {error.msg}.") from error
    context = document.get("context", {}) if isinstance(document, dict) else None
    if not isinstance(context, dict):
        page = "docs/reference/settings.md"
        raise SettingsError(f"{path.name} must be an object whose `context` is one too: see {page}.")
    return context


def _print_error(message: str) -> int:
    print(f"\n{message}\n", file=sys.stderr)
    return 1

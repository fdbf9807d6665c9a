"""The app of a project: reads its cdk.json and writes the templates, or prints what is wrong. Called by the project's
app.py, and by `aurora-migrations synth`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import aws_cdk as cdk

from aurora_migrations.cdk.config import SettingsError, read_context
from aurora_migrations.cdk.functions import packaging_errors
from aurora_migrations.cdk.stack import add_stacks


def synthesize(project: str | Path = ".", migrations: str | Path = "migrations") -> int:
    """Writes the templates of a project's cdk.json to CDK_OUTDIR, or else to its cdk.out; returns the exit code."""
    root = Path(project).resolve()

    def write() -> None:
        outdir = os.environ.get("CDK_OUTDIR", str(root / "cdk.out"))
        app = cdk.App(context=read_context(root / "cdk.json"), outdir=outdir)
        add_stacks(app, root / migrations, root)
        app.synth()

    message = first_mistake(write)
    if message is not None:
        print(f"\n{message}\n", file=sys.stderr)
    return 0 if message is None else 1


def first_mistake(synthesis: Callable[[], object]) -> str | None:
    """Does a synthesis; returns what is wrong with the settings or with the package, if something is."""
    try:
        synthesis()
    except SettingsError as error:
        return str(error)
    except RuntimeError:
        if not packaging_errors:
            raise
        return packaging_errors[0]
    return None

"""The CDK app of this repository, as the `app.py` of any project has it."""

from __future__ import annotations

from pathlib import Path

import aws_cdk as cdk

from aurora_migrations.cdk import stack
from aurora_migrations.cdk.app import synthesize

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Writes the templates to CDK_OUTDIR, or else to cdk.out; returns the exit code."""
    return synthesize(ROOT)


def add_stacks(app: cdk.App) -> list[stack.MigrationsStack]:
    """The stacks of this repository's environments. Raises SettingsError for a mistake in the settings."""
    return stack.add_stacks(app, ROOT / "migrations", ROOT)

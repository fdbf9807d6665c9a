"""The entrance that the CDK calls: every environment's stack, or plain words about what is wrong."""

from __future__ import annotations

import sys

import aws_cdk as cdk

from infra.settings import SettingsError
from infra.stack import add_stacks


def main() -> int:
    """Writes the templates where the CDK wants them; returns the exit code."""
    app = cdk.App()
    try:
        add_stacks(app)
        app.synth()
    except SettingsError as error:
        print(f"\n{error}\n", file=sys.stderr)
        return 1
    return 0

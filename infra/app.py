"""The entrance that the CDK calls: every environment's stack, or plain words about what is wrong."""

from __future__ import annotations

import sys

import aws_cdk as cdk

from infra.bundling import troubles
from infra.settings import SettingsError
from infra.stack import add_stacks


def main() -> int:
    """Writes the templates where the CDK wants them; returns the exit code."""
    app = cdk.App()
    try:
        add_stacks(app)
        app.synth()
    except SettingsError as error:
        return _tell(str(error))
    except RuntimeError:
        if not troubles:
            raise
        return _tell(troubles[0])
    return 0


def _tell(trouble: str) -> int:
    print(f"\n{trouble}\n", file=sys.stderr)
    return 1

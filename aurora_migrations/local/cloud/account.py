"""The account that the local cloud pretends to be: fixed names, and the access keys that callers sign with."""

from __future__ import annotations

import hashlib

ENVIRONMENT = "local"
ACCOUNT = "123456789012"  # the account that AWS's own documentation uses
REGION = "us-east-1"
PARTITION = "aws"
KEY = "local"  # of the person at the machine, who may do everything; what it is signed with, see callers.py
PARAMETERS = "/aurora-migrations/local"  # above the parameters that differ from machine to machine


def key_of(role_arn: str) -> str:
    """The access key that stands for a role."""
    return f"ASIA{hashlib.sha256(role_arn.encode()).hexdigest()[:16].upper()}"

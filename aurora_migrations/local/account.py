"""The AWS account that the local cloud simulates: its names and access keys, and a process that uses no other.

Import it before moto: it makes moto's start faster.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

from botocore.loaders import JSONFileLoader

ENVIRONMENT = "local"
ACCOUNT = "123456789012"  # the account that AWS's own documentation uses
REGION = "us-east-1"
PARTITION = "aws"
KEY = "local"  # access key of the person at the machine, who may do everything; the endpoint has the secret key
PARAMETERS = "/aurora-migrations/local"  # prefix of the SSM parameters that differ from machine to machine

_LOCAL_HOSTS = ("127.0.0.1", "localhost")
_FILES = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
_NO_PROXY = ("NO_PROXY", "no_proxy")  # some clients read the one, some the other


def key_of(role_arn: str) -> str:
    """The access key of a role."""
    return f"ASIA{hashlib.sha256(role_arn.encode()).hexdigest()[:16].upper()}"


@contextlib.contextmanager
def isolated_environment() -> Iterator[None]:
    """For the block, this process ignores the person's AWS configuration and uses no proxy for this machine.

    moto's interpreter and our log writer call the local cloud by boto3, which reads the process's environment
    variables. moto reads them when it is imported.
    """
    names = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", *_FILES, *_NO_PROXY)
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ.update(dict.fromkeys(_FILES, os.devnull))
    no_proxy = before.get("no_proxy") or before.get("NO_PROXY") or ""
    if no_proxy.strip() != "*":
        no_proxy = ",".join(filter(None, [no_proxy, *_LOCAL_HOSTS]))
    os.environ.update(dict.fromkeys(_NO_PROXY, no_proxy))
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


# botocore reads its list of regions, a megabyte of JSON, again for each session; moto's modules make a hundred
# sessions while they are imported.
_load_file = JSONFileLoader.load_file
_load_once = cache(partial(_load_file, JSONFileLoader()))


def _load(self: JSONFileLoader, file_path: str) -> Any:
    return _load_once(file_path) if file_path.endswith(("endpoints", "partitions")) else _load_file(self, file_path)


JSONFileLoader.load_file = _load

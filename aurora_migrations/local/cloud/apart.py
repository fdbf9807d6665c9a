"""The environment variables of a process in which a local cloud runs: those that would lead its clients elsewhere.

Moto's interpreter and our own log writer call the local cloud by boto3, which reads the variables of the process; moto
does so when it is imported already.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

_HERE = ("127.0.0.1", "localhost")
_PROFILES = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
_FILES = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
_PASSED_BY = ("NO_PROXY", "no_proxy")  # some read the one, some the other


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """For the block, no proxy is used for this machine, and the person's AWS configuration isn't read."""
    before = {name: os.environ.get(name) for name in (*_PROFILES, *_FILES, *_PASSED_BY)}
    os.environ.update(dict.fromkeys(_FILES, os.devnull) | _passing_by(os.environ))
    for name in _PROFILES:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _passing_by(variables: Mapping[str, str]) -> dict[str, str]:
    said = next((value for name in reversed(_PASSED_BY) if (value := variables.get(name))), "")
    if said.strip() == "*":
        return {}
    return dict.fromkeys(_PASSED_BY, ",".join([said, *_HERE] if said else _HERE))

"""Lambda: invokes the functions of the deployed template, each call in a sandbox that is kept warm for the next."""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.awslambda.models import lambda_backends

from aurora_migrations.cdk.naming import ALIAS
from aurora_migrations.local.account import ACCOUNT, REGION, key_of
from aurora_migrations.local.cloud.services.cloudwatch_logs import LogWriter
from aurora_migrations.local.cloud.services.sandbox import Answer, Event, Sandbox, Spec

LONGEST_ANSWER = 6_291_556  # bytes; Lambda's quota
HOME = "/var/task"  # where Lambda unpacks the package; paths there in the template mean the package's folder


class Functions:
    """The sandboxes of all functions."""

    def __init__(self, packages: Path, endpoint: str, secret: str, logs: LogWriter) -> None:
        """`packages` has the packages' folders by their keys. The functions call AWS at `endpoint` and sign with
        `secret`."""
        self.durations_ms: list[float] = []  # of each call so far
        self._packages = packages
        self._endpoint = endpoint
        self._secret = secret
        self._logs = logs
        self._idle: dict[tuple[str, str], list[Sandbox]] = defaultdict(list)
        self._busy: set[Sandbox] = set()
        self._lock = threading.Lock()
        self._closed = False

    def invoke(self, function: str, body: bytes) -> Answer:
        """Invokes a function, named with a version or an alias, in a warm sandbox or a new one."""
        deployed = self.find(function)
        arn = function if function.startswith("arn:") else deployed.function_arn
        began = time.monotonic()
        sandbox = self._take(deployed)
        try:
            return _call(sandbox, str(deployed.version), arn, body)
        finally:
            self._put_back(deployed, sandbox)
            self.durations_ms.append((time.monotonic() - began) * 1_000)

    def find(self, function: str) -> Any:
        """A deployed function.

        Raises:
            LookupError: there is none of that name, version or alias.
        """
        try:
            return lambda_backends[ACCOUNT][REGION].get_function(function)
        except Exception as error:
            raise LookupError(f"Function not found: {function}") from error

    def prepare(self, functions: Iterable[str]) -> None:
        """Begins to load functions before the first call, as provisioned concurrency does."""

        def load(function: str) -> None:
            deployed = self.find(function)
            self._put_back(deployed, self._take(deployed))

        for name in functions:
            threading.Thread(target=load, args=(f"{name}:{ALIAS}",), daemon=True).start()

    @property
    def pids(self) -> dict[str, list[int]]:
        """The processes of the calls in progress, by function."""
        with self._lock:
            found: dict[str, list[int]] = defaultdict(list)
            for sandbox in self._busy:
                found[sandbox.spec.name].append(sandbox.pid)
            return found

    def close(self) -> None:
        """Ends all processes."""
        with self._lock:
            self._closed = True
            left = [*self._busy, *(sandbox for idle in self._idle.values() for sandbox in idle)]
            self._idle.clear()
        for sandbox in left:
            sandbox.close()

    def _take(self, deployed: Any) -> Sandbox:
        with self._lock:
            idle = self._idle[_identity(deployed)]
            while idle:
                sandbox = idle.pop()
                if sandbox.is_alive:
                    self._busy.add(sandbox)
                    return sandbox
        sandbox = self._make(deployed)
        with self._lock:
            self._busy.add(sandbox)
        sandbox.wait_until_ready()
        return sandbox

    def _put_back(self, deployed: Any, sandbox: Sandbox) -> None:
        with self._lock:
            self._busy.discard(sandbox)
            if sandbox.is_alive and not self._closed:
                name, version = _identity(deployed)
                self._idle[name, version].append(sandbox)
                for old in [each for each in self._idle if each[0] == name and each[1] != version]:
                    for retired in self._idle.pop(old):
                        retired.close()
                return
        sandbox.close()

    def _make(self, deployed: Any) -> Sandbox:
        """Starts a process with the function's environment variables, and those that Lambda adds."""
        stream = self._logs.stream(
            group=deployed.logs_group_name,
            name=f"{datetime.now(UTC):%Y/%m/%d}/[{deployed.version}]{uuid.uuid4().hex}",
            key=key_of(deployed.role),
        )
        package = self._packages / str(deployed.code["S3Key"])
        configured: Mapping[str, str] = deployed.environment_vars
        variables = {
            **{name: re.sub(rf"^{HOME}(?=/|$)", lambda _: str(package), value) for name, value in configured.items()},
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": key_of(deployed.role),
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "AWS_SESSION_TOKEN": "local",
            "AWS_CONFIG_FILE": os.devnull,  # whoever runs this may have files of their own
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_ENDPOINT_URL": self._endpoint,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{deployed.run_time}",
            "AWS_LAMBDA_FUNCTION_NAME": str(deployed.function_name),
            "AWS_LAMBDA_FUNCTION_VERSION": str(deployed.version),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(deployed.memory_size),
            "AWS_LAMBDA_LOG_GROUP_NAME": stream.group,
            "AWS_LAMBDA_LOG_STREAM_NAME": stream.name,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        }
        spec = Spec(
            name=deployed.function_name,
            package=package,
            handler=str(deployed.handler),
            variables=variables,
            timeout_ms=int(deployed.timeout) * 1_000,
            memory_mb=int(deployed.memory_size),
        )
        return Sandbox(spec, stream.write)


def _identity(deployed: Any) -> tuple[str, str]:
    """The function and version that a sandbox can be reused for."""
    return str(deployed.function_name), str(deployed.version)


def _call(sandbox: Sandbox, version: str, arn: str, body: bytes) -> Answer:
    """Sends the event, with the log lines that Lambda adds to the function's."""
    request_id, limit = str(uuid.uuid4()), sandbox.spec.timeout_ms
    sandbox.log(f"START RequestId: {request_id} Version: {version}")
    began = time.monotonic()
    answer = sandbox.call(Event(request_id, body, int(time.time() * 1_000) + limit, arn))
    if len(answer.body) > LONGEST_ANSWER:
        message = f"Response payload size exceeded maximum allowed payload size ({LONGEST_ANSWER} bytes)."
        answer = Answer.error("Function.ResponseSizeTooLarge", message)
    took = (time.monotonic() - began) * 1_000
    if not sandbox.is_alive:
        sandbox.log(answer.body.decode("utf-8", "replace"))
    sandbox.log(f"END RequestId: {request_id}")
    sandbox.log(
        f"REPORT RequestId: {request_id}\tDuration: {took:.2f} ms\tBilled Duration: {int(took) + 1} ms\t"
        f"Memory Size: {sandbox.spec.memory_mb} MB\tMax Memory Used: {sandbox.peak_mb:.0f} MB"
    )
    return answer

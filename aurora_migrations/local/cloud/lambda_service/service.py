"""Lambda: invokes the functions of the deployed template, each call in a sandbox that is kept warm for the next."""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.awslambda.models import lambda_backends

from aurora_migrations.cdk.naming import ALIAS
from aurora_migrations.local.account import ACCOUNT, REGION, key_of
from aurora_migrations.local.cloud.lambda_service.runtime_api import Answer, Event
from aurora_migrations.local.cloud.lambda_service.sandbox import Sandbox, Spec
from aurora_migrations.local.cloud.services.cloudwatch_logs import LogWriter, Stream

LONGEST_ANSWER = 6_291_556  # bytes; Lambda's quota
HOME = "/var/task"  # where Lambda unpacks the package; paths there in the template mean the package's folder


@dataclass(frozen=True)
class Invocation:
    """A finished call of a function.

    Attributes:
        began: seconds since 1970.
        init_ms: the time until the function was loaded; 0 if a process was warm.
    """

    function: str
    began: float
    duration_ms: float
    init_ms: float
    answer: Answer


@dataclass(frozen=True)
class _Warm:
    sandbox: Sandbox
    stream: Stream


class Functions:
    """The sandboxes of all functions.

    Attributes:
        invocations: every call so far.
    """

    def __init__(self, packages: Path, endpoint: str, secret: str, logs: LogWriter) -> None:
        """`packages` has the packages' folders by their keys. The functions call AWS at `endpoint` and sign with
        `secret`."""
        self.invocations: list[Invocation] = []
        self._packages = packages
        self._endpoint = endpoint
        self._secret = secret
        self._logs = logs
        self._idle: dict[tuple[str, str], list[_Warm]] = defaultdict(list)
        self._busy: set[_Warm] = set()
        self._lock = threading.Lock()
        self._closed = False

    def invoke(self, function: str, body: bytes) -> Answer:
        """Invokes a function with an event, in a warm sandbox or a new one.

        Args:
            function: its name or ARN, with a version or an alias.
        """
        deployed = self.find(function)
        began = time.time()
        warm, init_ms = self._take(deployed)
        try:
            answer = self._call(warm, deployed, function, body)
        finally:
            self._put_back(deployed, warm)
        took = (time.time() - began) * 1_000
        self.invocations.append(Invocation(deployed.function_name, began, took, init_ms, answer))
        return answer

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
            warm, _ = self._take(deployed)
            self._put_back(deployed, warm)

        for name in functions:
            threading.Thread(target=load, args=(f"{name}:{ALIAS}",), daemon=True).start()

    @property
    def pids(self) -> dict[str, list[int]]:
        """The processes of the calls in progress, by function."""
        with self._lock:
            found: dict[str, list[int]] = defaultdict(list)
            for warm in self._busy:
                found[warm.sandbox.spec.name].append(warm.sandbox.pid)
            return found

    def close(self) -> None:
        """Ends all processes."""
        with self._lock:
            self._closed = True
            left = [*self._busy, *(warm for idle in self._idle.values() for warm in idle)]
            self._idle.clear()
        for warm in left:
            warm.sandbox.close()

    def _call(self, warm: _Warm, deployed: Any, function: str, body: bytes) -> Answer:
        request_id, limit = str(uuid.uuid4()), warm.sandbox.spec.timeout_ms
        warm.stream.write(f"START RequestId: {request_id} Version: {deployed.version}")
        began = time.monotonic()
        arn = function if function.startswith("arn:") else deployed.function_arn
        answer = warm.sandbox.call(Event(request_id, body, int(time.time() * 1_000) + limit, arn))
        if len(answer.body) > LONGEST_ANSWER:
            message = f"Response payload size exceeded maximum allowed payload size ({LONGEST_ANSWER} bytes)."
            answer = Answer.error("Function.ResponseSizeTooLarge", message)
        took = (time.monotonic() - began) * 1_000
        if not warm.sandbox.is_alive:
            warm.stream.write(answer.body.decode("utf-8", "replace"))
        warm.stream.write(f"END RequestId: {request_id}")
        warm.stream.write(
            f"REPORT RequestId: {request_id}\tDuration: {took:.2f} ms\tBilled Duration: {int(took) + 1} ms\t"
            f"Memory Size: {warm.sandbox.spec.memory_mb} MB\tMax Memory Used: {warm.sandbox.peak_mb:.0f} MB"
        )
        return answer

    def _take(self, deployed: Any) -> tuple[_Warm, float]:
        with self._lock:
            idle = self._idle[_identity(deployed)]
            while idle:
                warm = idle.pop()
                if warm.sandbox.is_alive:
                    self._busy.add(warm)
                    return warm, 0.0
        began = time.monotonic()
        warm = self._make(deployed)
        with self._lock:
            self._busy.add(warm)
        warm.sandbox.wait_until_ready()
        return warm, (time.monotonic() - began) * 1_000

    def _put_back(self, deployed: Any, warm: _Warm) -> None:
        with self._lock:
            self._busy.discard(warm)
            if warm.sandbox.is_alive and not self._closed:
                self._idle[_identity(deployed)].append(warm)
                name, version = _identity(deployed)
                for old in [each for each in self._idle if each[0] == name and each[1] != version]:
                    for retired in self._idle.pop(old):
                        retired.sandbox.close()
                return
        warm.sandbox.close()

    def _make(self, deployed: Any) -> _Warm:
        stream = self._logs.stream(
            group=deployed.logs_group_name,
            name=f"{datetime.now(UTC):%Y/%m/%d}/[{deployed.version}]{uuid.uuid4().hex}",
            key=key_of(deployed.role),
        )
        package = self._packages / str(deployed.code["S3Key"])
        spec = Spec(
            name=deployed.function_name,
            package=package,
            handler=str(deployed.handler),
            variables=self._variables(deployed, package, stream),
            timeout_ms=int(deployed.timeout) * 1_000,
            memory_mb=int(deployed.memory_size),
        )
        return _Warm(Sandbox(spec, stream.write), stream)

    def _variables(self, deployed: Any, package: Path, stream: Stream) -> dict[str, str]:
        """The function's environment variables, and those that Lambda adds."""
        configured: Mapping[str, str] = deployed.environment_vars
        return {
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


def _identity(deployed: Any) -> tuple[str, str]:
    """The function and version that a sandbox can be reused for."""
    return str(deployed.function_name), str(deployed.version)

"""Lambda: runs the functions of the deployed template, each call in a sandbox of its own, kept warm for the next."""

from __future__ import annotations

import os
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
HOME = "/var/task"  # where Lambda unpacks the package; what the template says of it is true of the package's folder


@dataclass(frozen=True)
class Invocation:
    """How a call of a function went.

    Attributes:
        began: when, in seconds since 1970.
        init_ms: how long it took until the function was loaded; 0 where a process was warm.
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
        invocations: every call until now.
    """

    def __init__(self, packages: Path, endpoint: str, secret: str, logs: LogWriter) -> None:
        """`packages` holds the packages' folders by their keys; `endpoint` is where functions find AWS, and `secret`
        what they sign with."""
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
        """Calls a function with an event, in a warm sandbox or a new one.

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
        """A function as it is deployed.

        Raises:
            LookupError: there is none of that name, version or alias.
        """
        try:
            return lambda_backends[ACCOUNT][REGION].get_function(function)
        except Exception as error:
            raise LookupError(f"Function not found: {function}") from error

    def prepare(self, functions: Iterable[str]) -> None:
        """Begins to load functions before anybody calls them, as provisioned concurrency does."""
        for name in functions:
            threading.Thread(target=self._prepare, args=(f"{name}:{ALIAS}",), daemon=True).start()

    def _prepare(self, function: str) -> None:
        deployed = self.find(function)
        warm, _ = self._take(deployed)
        self._put_back(deployed, warm)

    @property
    def pids(self) -> dict[str, list[int]]:
        """The processes of functions that are called right now."""
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
        answer = _limited(warm.sandbox.call(Event(request_id, body, int(time.time() * 1_000) + limit, arn)))
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
                self._retire(deployed)
                return
        warm.sandbox.close()

    def _retire(self, deployed: Any) -> None:
        """Ends idle sandboxes of versions that were called before this one."""
        name, version = _identity(deployed)
        for identity in [each for each in self._idle if each[0] == name and each[1] != version]:
            for warm in self._idle.pop(identity):
                warm.sandbox.close()

    def _make(self, deployed: Any) -> _Warm:
        stream = self._logs.stream(
            group=deployed.logs_group_name,
            name=f"{datetime.now(UTC):%Y/%m/%d}/[{deployed.version}]{uuid.uuid4().hex}",
            key=key_of(deployed.role),
        )
        spec = Spec(
            name=deployed.function_name,
            package=self._packages / str(deployed.code["S3Key"]),
            handler=str(deployed.handler),
            variables={},
            timeout_ms=int(deployed.timeout) * 1_000,
            memory_mb=int(deployed.memory_size),
        )
        return _Warm(Sandbox(self._with_variables(spec, deployed, stream), stream.write), stream)

    def _with_variables(self, spec: Spec, deployed: Any, stream: Stream) -> Spec:
        asked: Mapping[str, str] = deployed.environment_vars
        own = {name: _at(spec.package, value) for name, value in asked.items()}
        lambdas = {
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": key_of(deployed.role),
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "AWS_SESSION_TOKEN": "local",
            "AWS_CONFIG_FILE": os.devnull,  # whoever runs this may have files of their own
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_ENDPOINT_URL": self._endpoint,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{deployed.run_time}",
            "AWS_LAMBDA_FUNCTION_NAME": spec.name,
            "AWS_LAMBDA_FUNCTION_VERSION": str(deployed.version),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(spec.memory_mb),
            "AWS_LAMBDA_LOG_GROUP_NAME": stream.group,
            "AWS_LAMBDA_LOG_STREAM_NAME": stream.name,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        }
        variables = {**own, **lambdas}
        return Spec(spec.name, spec.package, spec.handler, variables, spec.timeout_ms, spec.memory_mb)


def _limited(answer: Answer) -> Answer:
    """Lambda's own error for an answer that is longer than it takes."""
    if len(answer.body) <= LONGEST_ANSWER:
        return answer
    told = f"Response payload size exceeded maximum allowed payload size ({LONGEST_ANSWER} bytes)."
    return Answer.error("Function.ResponseSizeTooLarge", told)


def _identity(deployed: Any) -> tuple[str, str]:
    """What a sandbox may be used for again: the function, as it is now."""
    return str(deployed.function_name), str(deployed.version)


def _at(package: Path, value: str) -> str:
    inside = value == HOME or value.startswith(f"{HOME}/")
    return str(package) + value[len(HOME) :] if inside else value

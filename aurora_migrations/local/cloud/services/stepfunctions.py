"""Step Functions beyond moto: execution names, status events, and a stop that takes effect at once."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Never

import boto3
from moto.stepfunctions.parser.api import ExecutionStatus
from moto.stepfunctions.parser.asl.component.common.path import result_path
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.asl.utils import boto_client, json_path
from moto.stepfunctions.parser.models import stepfunctions_parser_backends

from aurora_migrations.local.account import ACCOUNT, KEY, REGION
from aurora_migrations.local.cloud.services.iam import Refused

_LOOK_S = 0.03
_STARTS_S = 10.0  # by then an execution has begun
_LONGEST_INPUT = 262_144  # bytes; Step Functions' quota
_LONGEST_NAME = 80
_NOT_IN_NAMES = re.compile(r"""[\s<>{}\[\]?*"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\U0010ffff]""")
_LONGEST_IN_EVENT = 253_952  # bytes of an escaped input; an event leaves out a longer one

# moto parses a definition again for every execution, which takes up to half a second, and a path each time that a state
# reads it. What is parsed can be shared: an execution changes only its environment.
AmazonStateLanguageParser.parse = staticmethod(lru_cache(16)(AmazonStateLanguageParser.parse))  # type: ignore[method-assign]
for module in (json_path, result_path):
    module.parse = lru_cache(256)(module.parse)  # type: ignore[attr-defined]


class Executions:
    """Watches every execution until it ends."""

    def __init__(self, tell: Callable[[dict[str, Any], str], None]) -> None:
        """`tell` is called with each status change: the event's detail, and the execution's ARN."""
        self._tell = tell
        self._running: list[Any] = []
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._ended = threading.Event()
        threading.Thread(target=self._work, daemon=True).start()

    def start(self, machine: str, text: str) -> str:
        """Starts an execution for a rule; returns its ARN."""
        made = _backend().start_execution(machine, str(uuid.uuid4()), text)
        self.watch(made.execution_arn)
        return str(made.execution_arn)

    def watch(self, arn: str) -> None:
        """Begins to watch an execution that was just started."""
        execution = find(arn)
        with self._lock:
            if any(each is execution for each in self._running):
                return
            self._running.append(execution)
        self._tell(_detail(execution, "RUNNING"), arn)
        self._changed.set()

    def stop(self, arn: str, error: str | None = None, cause: str | None = None) -> dict[str, float]:
        """Performs StopExecution; returns the response. The execution is over at once, although moto first finishes the
        current state. An execution that is over stays as it is.

        Raises:
            Refused: there is no such execution.
        """
        try:
            execution = find(arn)
        except Exception as error_of_moto:
            raise Refused("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'") from error_of_moto
        until = time.monotonic() + _STARTS_S
        while execution.status == "RUNNING" and time.monotonic() < until:
            if (env := execution.exec_worker.env) and env.is_running():
                break
            time.sleep(_LOOK_S)  # moto can't stop what it hasn't begun
        if execution.status == "RUNNING":
            execution.stop(stop_date=datetime.now(UTC), error=error, cause=cause)
            execution.exec_status, execution.stop_date = ExecutionStatus.ABORTED, datetime.now(UTC)
            execution.error, execution.cause = error, cause
        return {"stopDate": (execution.stop_date or datetime.now(UTC)).timestamp()}

    def close(self) -> None:
        self._ended.set()
        self._changed.set()

    def _work(self) -> None:
        while not self._ended.is_set():
            with self._lock:
                over = [each for each in self._running if each.status != "RUNNING"]
                self._running = [each for each in self._running if each not in over]  # it may be over by now
                idle = not self._running
            for execution in over:
                self._tell(_detail(execution, execution.status), execution.execution_arn)
            if idle and not over:
                self._changed.wait()
                self._changed.clear()
            else:
                self._ended.wait(_LOOK_S)


def connect_interpreter(url: str, secret: str) -> None:
    """Makes moto's interpreter call the services at this URL and sign with this secret key. Its defaults are a fixed
    key and `localhost`, where another program may listen by IPv6; and a new client for each call, which takes 5 ms."""
    clients: dict[tuple[str, str], Any] = {}

    def client(**options: Any) -> Any:
        if "endpoint_url" not in options:  # a test has moto catch all calls
            return boto3.client(**options)
        service = options["service_name"], options["region_name"]
        if service not in clients:
            options |= {"endpoint_url": url, "aws_access_key_id": KEY, "aws_secret_access_key": secret}
            clients[service] = boto3.client(**options)
        return clients[service]

    boto_client.boto3 = SimpleNamespace(client=client)  # type: ignore[assignment,attr-defined,unused-ignore]


def find(arn: str) -> Any:
    """moto's object of an execution."""
    return _backend().describe_execution(arn)


def with_execution_name(body: bytes) -> bytes:
    """The body of a StartExecution with a name in it, which moto requires and AWS generates.

    Raises:
        Refused: AWS doesn't accept the name, or the input is too long or isn't JSON.
    """
    try:
        request = json.loads(body)
    except ValueError:
        return body
    name, text = str(request.get("name", "unnamed")), str(request.get("input", "{}"))
    if not name or len(name) > _LONGEST_NAME or _NOT_IN_NAMES.search(name):
        raise Refused("InvalidName", f"Invalid Name: '{name}'")
    if len(text.encode(errors="surrogatepass")) > _LONGEST_INPUT:
        raise Refused("ValidationException", f"The input has more than {_LONGEST_INPUT} bytes.")
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Refused("InvalidExecutionInput", f"Invalid State Machine Execution Input: '{error}'") from error
    return json.dumps({"name": str(uuid.uuid4()), **request}).encode()


def _refuse_constant(word: str) -> Never:
    raise ValueError(f"{word} is no JSON")  # Python reads NaN and Infinity


def _backend() -> Any:
    return stepfunctions_parser_backends[ACCOUNT][REGION]


def _detail(execution: Any, status: str) -> dict[str, Any]:
    """As documented for "Step Functions Execution Status Change"."""
    over = status != "RUNNING"
    text = str(execution.execution_input)
    included = len(json.dumps(text).encode()) <= _LONGEST_IN_EVENT
    output = execution.output if status == "SUCCEEDED" else None
    return {
        "executionArn": execution.execution_arn,
        "stateMachineArn": execution.state_machine_arn,
        "name": execution.name,
        "status": status,
        "startDate": int(execution.start_date.timestamp() * 1_000),
        "stopDate": int((execution.stop_date or datetime.now(UTC)).timestamp() * 1_000) if over else None,
        "input": text if included else None,
        "inputDetails": {"included": included},
        "output": None if output is None else json.dumps(output),
        "error": execution.error,
        "cause": execution.cause,
    }

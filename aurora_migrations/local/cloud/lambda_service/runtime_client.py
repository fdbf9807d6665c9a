"""A small Lambda runtime client, for systems where AWS's own doesn't run (macOS, Windows).

It loads the handler, asks `runtime_api` for an event, calls the handler, sends the answer, and asks again. Errors are
reported as AWS's client does: the name of the class, the text and the frames.
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from email.message import Message
from typing import Any

PREFIX = "/2018-06-01/runtime"
Handler = Callable[[Any, Any], Any]


class Context:
    """The handler's second argument."""

    def __init__(self, headers: Message) -> None:
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = headers["Lambda-Runtime-Invoked-Function-Arn"]
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self._deadline_ms = int(headers["Lambda-Runtime-Deadline-Ms"])

    def get_remaining_time_in_millis(self) -> int:
        """The time left until the deadline."""
        return max(0, self._deadline_ms - int(time.time() * 1000))


def main(arguments: list[str]) -> None:
    """Loads the handler named by the second argument, and answers events until it is killed."""
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        module, _, function = arguments[1].rpartition(".")
        handler: Handler = getattr(importlib.import_module(module), function)
    except Exception as error:
        kind = "Runtime.ImportModuleError" if isinstance(error, ImportError) else f"Runtime.{type(error).__name__}"
        _post(connection, "/init/error", {**_error_document(error), "errorType": kind})
        sys.exit(1)
    while True:
        connection.request("GET", f"{PREFIX}/invocation/next")
        response = connection.getresponse()
        event, headers = json.loads(response.read()), response.headers
        path = f"/invocation/{headers['Lambda-Runtime-Aws-Request-Id']}"
        try:
            answer = handler(event, Context(headers))
        except Exception as error:
            _post(connection, f"{path}/error", _error_document(error))
            continue
        try:
            _post(connection, f"{path}/response", answer)
        except (TypeError, ValueError) as error:
            _post(connection, f"{path}/error", {**_error_document(error), "errorType": "Runtime.MarshalError"})


def _error_document(error: Exception) -> dict[str, Any]:
    frames = traceback.format_list(traceback.extract_tb(error.__traceback__)[1:])
    return {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": frames}


def _post(connection: http.client.HTTPConnection, path: str, document: Any) -> None:
    connection.request("POST", f"{PREFIX}{path}", json.dumps(document).encode())
    connection.getresponse().read()

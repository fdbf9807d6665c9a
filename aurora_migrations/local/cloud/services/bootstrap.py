"""Runs in a sandbox's process: the handler finds its package and what Lambda's own image has, and nothing else.

Run with Python's options -I, -S and -u and three arguments: the package's folder, the folder of this machine's
packages, and the names that Lambda's image has. _HANDLER names the handler. The process ends when its stdin does, so
it never outlives the process that started it. It imports nothing of ours: the package may have other versions of it.

Where AWS's runtime client doesn't run (macOS, Windows), a small one of our own loads the handler, asks `sandbox` for an
event, calls the handler, sends the answer, and asks again. It reports errors as AWS's does: class, text and frames.
"""

from __future__ import annotations

import http.client
import importlib.abc
import importlib.machinery
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from email.message import Message
from types import ModuleType
from typing import Any

PREFIX = "/2018-06-01/runtime"


class _Image(importlib.abc.MetaPathFinder):
    """Finds only certain names in a folder: a dependency that the package lacks must be missing here too."""

    def __init__(self, folder: str, names: frozenset[str]) -> None:
        self._folder = [folder]
        self._names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if path is None and name in self._names:
            return importlib.machinery.PathFinder.find_spec(name, self._folder)
        return None


def _end_with_the_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def main(package: str, site: str, names: str) -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    sys.path.insert(0, package)
    sys.meta_path.append(_Image(site, frozenset(names.split(","))))
    os.chdir(package)
    if "awslambdaric" in names.split(","):
        from awslambdaric.__main__ import main as run  # type: ignore[import-untyped,unused-ignore]

        run([sys.argv[0], os.environ["_HANDLER"]])
    else:
        _answer_events(os.environ["_HANDLER"])


# ---- a runtime client ------------------------------------------------------------------------------------------------


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


def _answer_events(name: str) -> None:
    """Loads the handler, and answers events until it is killed."""
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        module, _, function = name.rpartition(".")
        handler: Callable[[Any, Any], Any] = getattr(importlib.import_module(module), function)
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


if __name__ == "__main__":
    main(*sys.argv[1:4])

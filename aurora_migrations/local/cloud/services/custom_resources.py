"""CloudFormation's custom resources: a request to a function, and its answer, which it puts at an address. The stack's
status is what CloudFormation's would be meanwhile, as the functions read it."""

from __future__ import annotations

import json
import queue
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

Invoke = Callable[[str, bytes], object]


class DeploymentFailed(Exception):
    """A custom resource failed, or didn't answer in time. The text is its reason."""


@dataclass(frozen=True)
class CustomResource:
    """One that is deployed. `stack` is the ARN of its stack."""

    stack: str
    logical_id: str
    physical_id: str
    properties: Mapping[str, Any]

    def request(self, kind: str, invoke: Invoke) -> CustomResource:
        """Sends a request (`Create`, `Update` or `Delete`) and waits for the answer; returns the resource with the
        physical id that it has then.

        Raises:
            DeploymentFailed: the answer is a failure, or there was none.
        """
        event = {
            "RequestType": kind,
            "StackId": self.stack,
            "RequestId": str(uuid.uuid4()),
            "ResourceType": "AWS::CloudFormation::CustomResource",
            "LogicalResourceId": self.logical_id,
            "ResourceProperties": dict(self.properties),
            **({} if kind == "Create" else {"PhysicalResourceId": self.physical_id}),
        }
        answers: queue.Queue[dict[str, Any]] = queue.Queue()
        with _listener(answers) as server:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            event["ResponseURL"] = f"http://127.0.0.1:{server.server_port}/{event['RequestId']}"
            try:
                # By the function's ARN and asynchronously: how the call itself ends matters to nobody.
                invoke(str(self.properties["ServiceToken"]), json.dumps(event).encode())
                answer = answers.get(timeout=float(self.properties.get("ServiceTimeout", 3_600)))
            except queue.Empty:
                waited = "didn't answer within its ServiceTimeout"
                raise DeploymentFailed(f"CloudFormation did not receive a response: it {waited}.") from None
            finally:
                server.shutdown()
        if answer.get("RequestId") != event["RequestId"] or answer.get("Status") not in ("SUCCESS", "FAILED"):
            raise DeploymentFailed(f"Invalid response object: {answer}")
        if answer["Status"] == "FAILED":
            raise DeploymentFailed(str(answer.get("Reason")))
        return CustomResource(self.stack, self.logical_id, str(answer["PhysicalResourceId"]), self.properties)


def _listener(answers: queue.Queue[dict[str, Any]]) -> HTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            answers.put(json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Logs nothing: the log is the functions'."""

    return HTTPServer(("127.0.0.1", 0), Handler)

"""Lambda's Runtime API for one sandbox: its process gets events here and returns its answers.

The protocol is AWS's, documented as "Using the Lambda runtime API for custom runtimes" (version 2018-06-01). As in
Lambda each sandbox has its own server, so at most one event is in progress. AWS's client sends no key, so only
connections of the sandbox's own process are accepted: no web page and no other user can take an event or answer one.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aurora_migrations.local.cloud.services.callers import is_from_a_web_page

PREFIX = "/2018-06-01/runtime"


@dataclass(frozen=True)
class Event:
    """An event for the function. The deadline is in milliseconds since 1970, the ARN as it was called."""

    request_id: str
    body: bytes
    deadline_ms: int
    arn: str


@dataclass(frozen=True)
class Answer:
    """The function's answer, or the document of an error."""

    body: bytes
    failed: bool = False

    @classmethod
    def error(cls, kind: str, message: str) -> Answer:
        """An error that Lambda reports instead of an answer."""
        return cls(json.dumps({"errorType": kind, "errorMessage": message}).encode(), failed=True)


class RuntimeApi:
    """Serves one sandbox.

    Attributes:
        answers: one for each event, and one before the first event if the function can't be loaded.
        ready: set when the function is loaded and the process asks for its first event.
    """

    def __init__(self) -> None:
        self.answers: queue.Queue[Answer] = queue.Queue()
        self.ready = threading.Event()
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._expected: str | None = None  # the request id of the event in progress
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.api = self
        self.port = self._server.server_port
        self.address = f"127.0.0.1:{self.port}"

    def serve(self, is_ours: Callable[[int], bool]) -> None:
        """Begins to answer, once the process exists. `is_ours` returns whether it has a connection from that port."""
        self._server.is_ours = is_ours
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def send(self, event: Event) -> None:
        with self._lock:
            self._expected = event.request_id
        self._events.put(event)

    def take(self, request_id: str, answer: Answer) -> bool:
        """Takes the answer to the event in progress; false if it belongs to another one, or is too late."""
        with self._lock:
            if request_id != self._expected:
                return False
            self._expected = None
        self.answers.put(answer)
        return True

    def take_init_error(self, answer: Answer) -> bool:
        """Takes the error of a function that can't be loaded; false if it is loaded."""
        if self.ready.is_set():
            return False
        self.answers.put(answer)
        return True

    def stop_waiting(self) -> None:
        """Refuses answers from now on."""
        with self._lock:
            self._expected = None

    def close(self) -> None:
        """Ends the server; the process gets no further event."""
        self._events.put(None)
        self._server.shutdown()
        self._server.server_close()

    def next(self) -> Event | None:
        """Waits for an event; None after `close`."""
        self.ready.set()
        return self._events.get()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    api: RuntimeApi
    is_ours: Callable[[int], bool]

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether to accept a connection. Any user may use another address of this machine, such as 127.0.0.2."""
        address, port = client_address
        return address == "127.0.0.1" and self.is_ours(port)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Prints no traceback about a process that is gone: its end is reported elsewhere."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def parse_request(self) -> bool:
        """Refuses requests of web pages."""
        if not super().parse_request():
            return False
        if not is_from_a_web_page(self.headers.get, self.server.api.port):
            return True
        self._reply(403)
        self.close_connection = True  # what follows may be this request's body
        return False

    def do_GET(self) -> None:
        if self.path != f"{PREFIX}/invocation/next":
            self._reply(404)
            return
        event = self.server.api.next()
        if event is None:
            self.close_connection = True
            return
        headers = {
            "Lambda-Runtime-Aws-Request-Id": event.request_id,
            "Lambda-Runtime-Deadline-Ms": str(event.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": event.arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-00000000-{event.request_id.replace('-', '')[:24]};Sampled=0",
        }
        self._reply(200, event.body, headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, last = self.path.removeprefix(f"{PREFIX}/").rpartition("/")
        answer = Answer(body, failed=last == "error")
        if (path, last) == ("init", "error"):
            taken = self.server.api.take_init_error(answer)
        elif path.startswith("invocation/") and last in ("response", "error"):
            taken = self.server.api.take(path.removeprefix("invocation/"), answer)
        else:
            self._reply(404)
            return
        self._reply(*((202, b'{"status":"OK"}') if taken else (400, b'{"errorType":"InvalidRequestID"}')))

    def _reply(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing: the log is the functions' output."""

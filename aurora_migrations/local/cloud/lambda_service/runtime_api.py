"""Lambda's Runtime API for one sandbox: where the process in it asks for events and leaves its answers.

The protocol is AWS's, documented as "Using the Lambda runtime API for custom runtimes" (version 2018-06-01). One
server stands for one sandbox, as in Lambda, so at most one event is under way. AWS's client sends no key, so only
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
    """An event for the function.

    Attributes:
        deadline_ms: when its time is up, in milliseconds since 1970.
        arn: the function as it was called, the alias included.
    """

    request_id: str
    body: bytes
    deadline_ms: int
    arn: str


@dataclass(frozen=True)
class Answer:
    """What came back: the function's answer, or the document of an error."""

    body: bytes
    failed: bool = False

    @classmethod
    def error(cls, kind: str, message: str) -> Answer:
        """An error that Lambda reports in the function's place."""
        return cls(json.dumps({"errorType": kind, "errorMessage": message}).encode(), failed=True)


class RuntimeApi:
    """Serves one sandbox.

    Attributes:
        address: host and port, as AWS_LAMBDA_RUNTIME_API names them.
        answers: one answer an event, and one before the first event if the function can't even be loaded.
        ready: set when the process asks for its first event: the function is loaded.
    """

    def __init__(self) -> None:
        self.answers: queue.Queue[Answer] = queue.Queue()
        self.ready = threading.Event()
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._expected: str | None = None  # the request id of the event under way
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.api = self
        self.port = self._server.server_port
        self.address = f"127.0.0.1:{self.port}"

    def serve(self, is_ours: Callable[[int], bool]) -> None:
        """Begins to answer, once the process is there.

        Args:
            is_ours: whether that process has a connection from this port of 127.0.0.1 to ours.
        """
        self._server.is_ours = is_ours
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def send(self, event: Event) -> None:
        """Hands over the next event."""
        with self._lock:
            self._expected = event.request_id
        self._events.put(event)

    def take(self, request_id: str, answer: Answer) -> bool:
        """Takes the answer to the event under way; false if it is the answer to another one, or comes too late."""
        with self._lock:
            if request_id != self._expected:
                return False
            self._expected = None
        self.answers.put(answer)
        return True

    def take_init_error(self, answer: Answer) -> bool:
        """Takes the error of a function that can't be loaded; false if it was loaded."""
        if self.ready.is_set():
            return False
        self.answers.put(answer)
        return True

    def stop_waiting(self) -> None:
        """Answers come too late from now on."""
        with self._lock:
            self._expected = None

    def close(self) -> None:
        """Ends the server; whoever waits for an event is let go."""
        self._events.put(None)
        self._server.shutdown()
        self._server.server_close()

    def next(self) -> Event | None:
        """Waits for an event; None at the end."""
        self.ready.set()
        return self._events.get()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    api: RuntimeApi
    is_ours: Callable[[int], bool]

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a connection is answered. Any user may use any other address of this machine, such as 127.0.0.2."""
        address, port = client_address
        return address == "127.0.0.1" and self.is_ours(port)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Doesn't print a traceback about a process that is gone: whoever ended it has said so."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def parse_request(self) -> bool:
        """Whether to go on with a request."""
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
        """Says nothing: the functions' own words are the log."""

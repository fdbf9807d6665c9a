"""A process that runs one function as Lambda does: one event at a time, killed at its timeout or memory limit.

The errors of such ends are those that Step Functions shows: `Sandbox.Timedout`, `Runtime.ExitError`,
`Runtime.OutOfMemory`. The process gets its events from the Runtime API, a server of its own as in Lambda.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

from aurora_migrations.local.cloud.services.iam import is_from_a_web_page

# What Lambda's image for Python holds beside the standard library: the SDK and, as its wheels are for Linux, AWS's
# runtime client. Elsewhere `bootstrap` runs its own.
SDK = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
CLIENT = ("awslambdaric", "runtime_client", "snapshot_restore_py", "simplejson")
IMAGE = (*SDK, *CLIENT) if sys.platform == "linux" else SDK
PREFIX = "/2018-06-01/runtime"
INIT_S = 10  # Lambda's limit for loading a function
_LOOK_S = 0.02  # between two checks of time, memory and process
_KEPT = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LD_LIBRARY_PATH")


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


@dataclass(frozen=True)
class Spec:
    """The function to run, and its limits. `image` are top-level names that it finds beside its package, as in
    Lambda's image."""

    name: str
    package: Path
    handler: str
    variables: Mapping[str, str]
    timeout_ms: int
    memory_mb: int
    image: tuple[str, ...] = IMAGE


class Sandbox:
    """A process with one function, warm between its events. `log` receives each line that the function writes."""

    def __init__(self, spec: Spec, log: Callable[[str], None]) -> None:
        self.spec = spec
        self.log = log
        self.peak_mb = 0.0  # the most memory it has used
        self._api = RuntimeApi()
        self._process = self._start()
        self.pid = self._process.pid
        self._watched = psutil.Process(self.pid)
        self._api.serve(self._has_connection_from)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def is_alive(self) -> bool:
        """Whether it can take another event."""
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Waits until the function is loaded, which doesn't count as a call's time. After Lambda's limit the rest of
        the loading is left to the first call."""
        until = time.monotonic() + INIT_S
        while self.is_alive and time.monotonic() < until and not self._api.ready.wait(_LOOK_S):
            pass

    def call(self, event: Event) -> Answer:
        """Sends the event and waits for the answer; kills the process if it exceeds a limit."""
        self._api.send(event)
        until = time.monotonic() + self.spec.timeout_ms / 1_000
        try:
            while True:
                with contextlib.suppress(queue.Empty):
                    return self._api.answers.get(timeout=_LOOK_S)
                failure = self._failure(event, until)
                if failure is not None:
                    return failure
        finally:
            self._api.stop_waiting()

    def kill(self) -> None:
        """Ends it as Lambda does: at once, with the processes that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self.pid, signal.SIGKILL)  # it leads a session of its own
        self._process.wait()

    def close(self) -> None:
        """Ends the process, its server and its pipes."""
        self.kill()
        self._api.close()
        self._reader.join(timeout=2)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _failure(self, event: Event, until: float) -> Answer | None:
        prefix = f"RequestId: {event.request_id} Error: "
        if not self.is_alive:
            with contextlib.suppress(queue.Empty):
                return self._api.answers.get_nowait()
            code = self._process.returncode or 0
            end = f"exit status {code}" if code >= 0 else f"signal: {-code}"
            if code == -9 or (code == 1 and sys.platform == "win32"):
                end = "signal: killed"
            return Answer.error("Runtime.ExitError", f"{prefix}Runtime exited with error: {end}")
        if time.monotonic() > until:
            self.kill()
            return Answer.error(
                "Sandbox.Timedout", f"{prefix}Task timed out after {self.spec.timeout_ms / 1_000:.2f} seconds"
            )
        with contextlib.suppress(psutil.Error):
            self.peak_mb = max(self.peak_mb, self._watched.memory_info().rss / 1_048_576)
        if self.peak_mb > self.spec.memory_mb:
            self.kill()
            return Answer.error("Runtime.OutOfMemory", f"{prefix}Runtime exited with error: signal: killed")
        return None

    def _has_connection_from(self, port: int) -> bool:
        """Whether the process has that port; or a child of it, as in a venv on Windows Python runs in one."""
        # Exactly that connection: another one may have the same port at another address.
        ends = (("127.0.0.1", port), ("127.0.0.1", self._api.port))
        with contextlib.suppress(psutil.Error):
            for process in (self._watched, *self._watched.children(recursive=True)):
                if any((each.laddr, each.raddr) == ends for each in process.net_connections("tcp4")):
                    return True
        return False

    def _start(self) -> subprocess.Popen[bytes]:
        here = Path(__file__).resolve().parent
        site = sysconfig.get_paths()["platlib"]
        arguments = (str(self.spec.package), site, ",".join(self.spec.image))
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        ours = {
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "LAMBDA_TASK_ROOT": str(self.spec.package),
            "LAMBDA_RUNTIME_DIR": str(here),
            "LANG": "en_US.UTF-8",
            "_HANDLER": self.spec.handler,
            "TZ": ":UTC" if sys.platform != "win32" else "UTC",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-u", "-I", "-S", str(here / "bootstrap.py"), *arguments],
            env={**kept, **self.spec.variables, **ours},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is meant for us; the process ends with its stdin
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )

    def _read(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in self._process.stdout or ():
                self.log(line.decode("utf-8", "replace").rstrip("\n"))


# ---- the Runtime API -------------------------------------------------------------------------------------------------


class RuntimeApi(ThreadingHTTPServer):
    """Lambda's Runtime API for one sandbox: its process gets events here and returns its answers, one at a time.

    The protocol is AWS's, documented as "Using the Lambda runtime API for custom runtimes" (version 2018-06-01). AWS's
    client sends no key, so only connections of the sandbox's own process are accepted: no web page and no other user
    can take an event or answer one.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        # One for each event, and one before the first event if the function can't be loaded.
        self.answers: queue.Queue[Answer] = queue.Queue()
        self.ready = threading.Event()  # set when the function is loaded and asks for its first event
        self.port = self.server_port
        self.address = f"127.0.0.1:{self.port}"
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._expected: str | None = None  # the request id of the event in progress
        self._lock = threading.Lock()

    def serve(self, is_ours: Callable[[int], bool]) -> None:
        """Begins to answer, once the process exists. `is_ours` returns whether it has a connection from that port."""
        self._is_ours = is_ours
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def send(self, event: Event) -> None:
        with self._lock:
            self._expected = event.request_id
        self._events.put(event)

    def next(self) -> Event | None:
        """Waits for an event; None after `close`."""
        self.ready.set()
        return self._events.get()

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
        self.shutdown()
        self.server_close()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether to accept a connection. Any user may use another address of this machine, such as 127.0.0.2."""
        address, port = client_address
        return address == "127.0.0.1" and self._is_ours(port)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Prints no traceback about a process that is gone: its end is reported elsewhere."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two packets: the second would wait 40 ms, until the client acknowledges the first.
    disable_nagle_algorithm = True
    server: RuntimeApi

    def parse_request(self) -> bool:
        """Refuses requests of web pages."""
        if not super().parse_request():
            return False
        if not is_from_a_web_page(self.headers.get, self.server.port):
            return True
        self._reply(403)
        self.close_connection = True  # what follows may be this request's body
        return False

    def do_GET(self) -> None:
        if self.path != f"{PREFIX}/invocation/next":
            self._reply(404)
            return
        event = self.server.next()
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
            taken = self.server.take_init_error(answer)
        elif path.startswith("invocation/") and last in ("response", "error"):
            taken = self.server.take(path.removeprefix("invocation/"), answer)
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

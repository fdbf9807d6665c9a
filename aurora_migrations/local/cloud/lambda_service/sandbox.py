"""A process that runs one function as Lambda does: one event at a time, killed at its timeout or memory limit.

The errors of such ends are those that Step Functions shows: `Sandbox.Timedout`, `Runtime.ExitError`,
`Runtime.OutOfMemory`.
"""

from __future__ import annotations

import contextlib
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
from pathlib import Path

import psutil

from aurora_migrations.local.cloud.lambda_service.runtime_api import Answer, Event, RuntimeApi

# What Lambda's image for Python holds beside the standard library: the SDK and, as its wheels are for Linux, AWS's
# runtime client. Elsewhere `runtime_client` of ours runs.
SDK = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
CLIENT = ("awslambdaric", "runtime_client", "snapshot_restore_py", "simplejson")
IMAGE = (*SDK, *CLIENT) if sys.platform == "linux" else SDK
INIT_S = 10  # Lambda's limit for loading a function
_LOOK_S = 0.02  # between two checks of time, memory and process
_KEPT = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LD_LIBRARY_PATH")


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
    """A process with one function, warm between its events.

    Attributes:
        log: receives each line that the function writes.
        peak_mb: the most memory it has used.
    """

    def __init__(self, spec: Spec, log: Callable[[str], None]) -> None:
        self.spec = spec
        self.log = log
        self.peak_mb = 0.0
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
        arguments = (str(self.spec.package), site, ",".join(self.spec.image), str(here))
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

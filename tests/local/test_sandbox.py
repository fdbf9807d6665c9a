"""A function's process: its events, its limits, and what it can't reach; under AWS's runtime client and under ours."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from aurora_migrations.local.cloud.services.sandbox import CLIENT, SDK, Answer, Event, Sandbox, Spec

HANDLER = """
import os, sys, time

class Odd(Exception):
    pass

kept = []

def handler(event, context):
    does = event.get("do")
    print("did", does)
    if does == "raise":
        raise Odd("in words")
    if does == "exit":
        os._exit(3)
    if does == "sleep":
        time.sleep(60)
    if does == "eat":
        kept.append(bytearray(300_000_000))
    if does == "odd":
        return {1, 2}
    if does == "child":
        import subprocess
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid
    if does == "import":
        __import__(event["name"])
    return {
        "pid": os.getpid(),
        "left": context.get_remaining_time_in_millis(),
        "request": context.aws_request_id,
        "variables": sorted(os.environ),
        "client": "awslambdaric" in sys.modules,
    }
"""
AWS_CLIENT = importlib.util.find_spec("awslambdaric") is not None
CLIENTS = {"aws": (*SDK, *CLIENT), "ours": SDK}
Make = Callable[..., Sandbox]


@pytest.fixture(params=["aws", "ours"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes sandboxes of a small function: `make(timeout_ms=500)`."""
    if request.param == "aws" and not AWS_CLIENT:
        pytest.skip("AWS's runtime client is for Linux only")
    made: list[Sandbox] = []

    def one(text: str = HANDLER, **limits: Any) -> Sandbox:
        (tmp_path / "toy.py").write_text(text, encoding="utf-8")
        limits = {"timeout_ms": 20_000, "memory_mb": 256, **limits}
        variables = {
            "AWS_LAMBDA_FUNCTION_NAME": "toy",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(limits["memory_mb"]),
        }
        lines: list[str] = []
        spec = Spec("toy", tmp_path, "toy.handler", variables, image=CLIENTS[request.param], **limits)
        sandbox = Sandbox(spec, lines.append)
        sandbox.lines = lines  # type: ignore[attr-defined]
        made.append(sandbox)
        sandbox.wait_until_ready()
        return sandbox

    yield one
    for sandbox in made:
        sandbox.close()


def call(sandbox: Sandbox, **event: Any) -> Answer:
    deadline = int(time.time() * 1_000) + sandbox.spec.timeout_ms
    return sandbox.call(Event("11111111-2222-3333-4444-555555555555", json.dumps(event).encode(), deadline, "arn:toy"))


def document(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.body)
    return found


def test_events_are_answered_by_one_process_one_after_the_other(make: Make) -> None:
    sandbox = make()
    first, second = (document(call(sandbox, n=n)) for n in (1, 2))
    assert first["pid"] == second["pid"] == sandbox.pid
    assert 15_000 < first["left"] <= 20_000
    assert first["request"] == "11111111-2222-3333-4444-555555555555"


def test_an_event_waits_for_no_acknowledgement_of_its_headers(make: Make) -> None:
    sandbox, took = make(), []
    for n in range(10):
        began = time.monotonic()
        call(sandbox, n=n)
        took.append(time.monotonic() - began)
    assert min(took[3:]) < 0.03, took  # a delayed acknowledgement takes 40 ms


def test_the_client_is_the_one_that_was_chosen(make: Make, request: pytest.FixtureRequest) -> None:
    assert document(call(make()))["client"] is (request.node.callspec.params["make"] == "aws")


def test_another_process_can_neither_take_an_event_nor_answer_in_the_functions_place(make: Make) -> None:
    """Any other user of the machine can connect to its Runtime API, which has no key; also from the port that the
    function has, at another address of this machine."""
    sandbox = make()
    sandbox.wait_until_ready()
    host, port = sandbox._api.address.split(":")
    sources = [("127.0.0.1", 0)]
    if sys.platform == "linux":  # elsewhere 127.0.0.1 is the only one
        sources += [("127.0.0.2", c.laddr.port) for c in psutil.Process(sandbox.pid).net_connections("tcp4")]
        assert len(sources) > 1
    requests = ("GET /2018-06-01/runtime/invocation/next", "POST /2018-06-01/runtime/init/error")
    for source, request in itertools.product(sources, requests):
        with (
            socket.create_connection((host, int(port)), timeout=10, source_address=source) as stranger,
            contextlib.suppress(ConnectionError),
        ):
            stranger.sendall(f"{request} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 0\r\n\r\n".encode())
            assert stranger.recv(100) == b""
    assert document(call(sandbox))["pid"] == sandbox.pid


def test_an_answer_that_is_no_json_is_told(make: Make) -> None:
    answer = call(make(), do="odd")
    assert document(answer)["errorType"] == "Runtime.MarshalError"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no groups of processes to end at once")
def test_what_a_function_has_started_ends_with_it(make: Make) -> None:
    sandbox = make()
    child = psutil.Process(int(call(sandbox, do="child").body))
    began = time.monotonic()
    sandbox.close()
    assert time.monotonic() - began < 10
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_an_exception_is_told_by_its_class_and_text_and_the_process_lives(make: Make) -> None:
    sandbox = make()
    answer = call(sandbox, do="raise")
    assert answer.failed
    assert (document(answer)["errorType"], document(answer)["errorMessage"]) == ("Odd", "in words")
    assert not call(sandbox).failed


def test_a_module_that_cannot_be_loaded_is_told(make: Make) -> None:
    answer = call(make("import nowhere_to_be_found\n"))
    assert answer.failed
    assert document(answer)["errorType"] == "Runtime.ImportModuleError"


def test_a_call_that_takes_too_long_is_killed(make: Make) -> None:
    sandbox = make(timeout_ms=600)
    answer = call(sandbox, do="sleep")
    assert document(answer)["errorType"] == "Sandbox.Timedout"
    assert "Task timed out after 0.60 seconds" in document(answer)["errorMessage"]
    assert not psutil.pid_exists(sandbox.pid) or not sandbox.is_alive


def test_a_call_that_takes_too_much_memory_is_killed(make: Make) -> None:
    answer = call(make(memory_mb=128), do="eat")
    assert document(answer)["errorType"] in ("Runtime.OutOfMemory", "Runtime.ExitError")
    assert "signal: killed" in document(answer)["errorMessage"]


def test_a_process_that_ends_in_a_call_is_told_with_its_exit_status(make: Make) -> None:
    answer = call(make(), do="exit")
    assert document(answer)["errorType"] == "Runtime.ExitError"
    assert "exit status 3" in document(answer)["errorMessage"]


def test_what_is_printed_is_a_line_of_the_log(make: Make) -> None:
    sandbox = make()
    call(sandbox, do="nothing")
    deadline = time.monotonic() + 5
    while "did nothing" not in sandbox.lines and time.monotonic() < deadline:  # type: ignore[attr-defined]
        time.sleep(0.01)
    assert "did nothing" in sandbox.lines  # type: ignore[attr-defined]


def test_what_is_not_in_the_package_nor_in_lambdas_image_is_not_found(make: Make) -> None:
    sandbox = make()
    assert not call(sandbox, do="import", name="boto3").failed
    for name in ("rich", "moto", "aurora_migrations.cli", "pytest"):
        assert document(call(sandbox, do="import", name=name))["errorType"] == "ModuleNotFoundError"


def test_no_variable_of_ours_reaches_a_function(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("PYTHONPATH", "here")
    variables = document(call(make()))["variables"]
    assert "DATABASE_URL" not in variables
    assert "PYTHONPATH" not in variables


ORPHAN = """
import sys, time
from pathlib import Path
from aurora_migrations.local.cloud.services.sandbox import Sandbox, Spec
folder = Path(sys.argv[1])
names = ("NAME", "VERSION", "MEMORY_SIZE")
spec = Spec("toy", folder, "toy.handler", {f"AWS_LAMBDA_FUNCTION_{n}": "1" for n in names}, 20_000, 256)
sandbox = Sandbox(spec, print)
sandbox.wait_until_ready()
print(sandbox.pid, flush=True)
time.sleep(60)
"""


def test_a_function_ends_with_whoever_started_it(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(HANDLER, encoding="utf-8")
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", ORPHAN, str(tmp_path)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        function = psutil.Process(int(starter.stdout.readline()))
        starter.kill()
        starter.wait()
        psutil.wait_procs([function], timeout=10)
        assert not function.is_running() or function.status() == psutil.STATUS_ZOMBIE

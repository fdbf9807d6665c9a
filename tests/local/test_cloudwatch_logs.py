"""The log of the local cloud: what can't be written is counted, and told at its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from aurora_migrations.local.account import KEY, REGION
from aurora_migrations.local.cloud.cloud import _close
from aurora_migrations.local.cloud.services.cloudwatch_logs import LogWriter, Stream


@pytest.fixture
def endpoint() -> Iterator[str]:
    """Where CloudWatch Logs is, with one log group, `there`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    client(f"http://{host}:{port}").create_log_group(logGroupName="there")
    yield f"http://{host}:{port}"
    client(f"http://{host}:{port}").delete_log_group(logGroupName="there")
    server.stop()


def client(endpoint: str) -> Any:
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": "any"}
    return boto3.client("logs", endpoint_url=endpoint, region_name=REGION, **keys)


def written(writer: LogWriter, group: str, *texts: str) -> Stream:
    stream = writer.stream(group, "s", KEY)
    for text in texts:
        stream.write(text)
    return stream


def told(writer: LogWriter) -> list[str]:
    """What is said when the local cloud ends."""
    found: list[str] = []
    _close(writer, found.append)
    return found


def test_nothing_is_told_where_every_line_is_kept(endpoint: str) -> None:
    writer = LogWriter(lambda: endpoint, "any")
    written(writer, "there", "a", "b")
    assert told(writer) == []
    events = client(endpoint).filter_log_events(logGroupName="there")["events"]
    assert [event["message"] for event in events] == ["a", "b"]


def test_lines_of_a_group_that_is_not_there_are_counted_and_told_with_the_reason(endpoint: str) -> None:
    writer = LogWriter(lambda: endpoint, "any")
    stream = written(writer, "elsewhere", "a", "b")
    written(writer, "there", "kept")
    writer.flush()
    stream.write("c")
    (line,) = told(writer)
    assert line.startswith(
        "3 lines of elsewhere could not be written to the log of the local cloud, so `logs` doesn't "
    )
    assert "ResourceNotFoundException" in line
    assert len(client(endpoint).filter_log_events(logGroupName="there")["events"]) == 1


def test_whatever_is_wrong_the_lines_after_it_are_written(endpoint: str) -> None:
    where = ["nonsense"]
    writer = LogWriter(lambda: where[0], "any")
    written(writer, "there", "a")
    writer.flush()
    where[0] = endpoint
    written(writer, "there", "b")
    (line,) = told(writer)
    assert line.startswith("1 line of there could not be written")
    assert "show it: ValueError: Invalid endpoint: nonsense" in line


class _Silent(BaseHTTPRequestHandler):
    """Takes a call, and answers when the test is over."""

    over = threading.Event()

    def do_POST(self) -> None:
        self.over.wait(30)


def test_lines_that_nobody_takes_in_time_are_told_too() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Silent)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    writer = LogWriter(lambda: f"http://127.0.0.1:{server.server_port}", "any")
    written(writer, "there", "a", "b")
    writer.close(timeout=0.5)
    assert writer.losses() == [
        "2 lines of there could not be written to the log of the local cloud, so `logs` doesn't show them: the local "
        "cloud didn't take them within 0.5 s of its end"
    ]
    _Silent.over.set()
    server.shutdown()
    server.server_close()

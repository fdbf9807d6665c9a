"""Sends the functions' output to CloudWatch Logs as Lambda does: in the background, with the function's role."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config

from aurora_migrations.local.account import REGION

_EVERY_S = 0.05
_END: Any = None
_Line = tuple[int, str]  # milliseconds since 1970, text


@dataclass(frozen=True, eq=False)
class Stream:
    """The log stream of one sandbox. `key` is the access key of the function's role."""

    group: str
    name: str
    key: str
    lines: queue.Queue[tuple[Stream, _Line]] = field(repr=False)

    def write(self, text: str) -> None:
        """Adds a line."""
        self.lines.put((self, (int(time.time() * 1_000), text)))


class LogWriter:
    """Sends lines in batches."""

    def __init__(self, endpoint: Callable[[], str], secret: str) -> None:
        self._lost: dict[str, list[str]] = defaultdict(list)  # by log group, why each line could not be written
        self._endpoint = endpoint
        self._secret = secret
        self._lines: queue.Queue[Any] = queue.Queue()
        self._clients: dict[str, Any] = {}
        self._known: set[Stream] = set()
        self._sending: list[Any] = []
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stream(self, group: str, name: str, key: str) -> Stream:
        """A new stream. It is created with its first line."""
        return Stream(group, name, key, self._lines)

    def flush(self) -> None:
        """Waits until all lines so far are sent."""
        self._lines.join()

    def close(self, timeout: float = 10) -> None:
        """Sends the remaining lines, and ends. What isn't sent within `timeout` seconds is lost."""
        self._lines.put(_END)
        self._thread.join(timeout)
        if self._thread.is_alive():
            for stream in [item[0] for item in (*self._sending, *self._rest()) if item is not _END]:
                self._lost[stream.group].append(f"the local cloud didn't take them within {timeout:g} s of its end")

    def losses(self) -> list[str]:
        """Messages about lost lines, one per log group."""
        messages = []
        for group, reasons in self._lost.items():
            lines, them = ("line", "it") if len(reasons) == 1 else ("lines", "them")
            messages.append(
                f"{len(reasons)} {lines} of {group} could not be written to the log of the local cloud, so `logs` "
                f"doesn't show {them}: {reasons[0]}"
            )
        return messages

    def _work(self) -> None:
        while True:
            items = [self._lines.get()]
            if items[0] is not _END:
                time.sleep(_EVERY_S)  # in which more may come
            items += self._rest()
            self._sending = items
            batches: dict[Stream, list[_Line]] = defaultdict(list)
            for stream, line in (item for item in items if item is not _END):
                batches[stream].append(line)
            for stream, lines in batches.items():
                self._send(stream, lines)
            self._sending = []
            for _ in items:
                self._lines.task_done()
            if _END in items:
                return

    def _rest(self) -> list[Any]:
        """All that wait to be sent."""
        items = []
        with contextlib.suppress(queue.Empty):
            while True:
                items.append(self._lines.get_nowait())
        return items

    def _send(self, stream: Stream, lines: list[_Line]) -> None:
        where = {"logGroupName": stream.group, "logStreamName": stream.name}
        try:
            client = self._client(stream.key)
            if stream not in self._known:
                client.create_log_stream(**where)
                self._known.add(stream)
            events = [{"timestamp": at, "message": text or " "} for at, text in lines]
            client.put_log_events(**where, logEvents=events)
        except Exception as error:  # of any kind: later lines must still be sent
            self._lost[stream.group] += [f"{type(error).__name__}: {error}"] * len(lines)

    def _client(self, key: str) -> Any:
        if key not in self._clients:
            self._clients[key] = boto3.client(
                "logs",
                endpoint_url=self._endpoint(),
                region_name=REGION,
                aws_access_key_id=key,
                aws_secret_access_key=self._secret,
                config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=10),
            )
        return self._clients[key]

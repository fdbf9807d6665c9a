"""What functions write goes to CloudWatch Logs as in Lambda: in the background, with the function's own rights."""

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
from botocore.exceptions import BotoCoreError, ClientError

from local.cloud.identity import REGION, SECRET

_EVERY_S = 0.05
_END: Any = None
_Line = tuple[int, str]  # milliseconds since 1970, text


@dataclass(frozen=True, eq=False)
class Stream:
    """A log stream: where one sandbox writes. `key` is the access key that it writes with."""

    group: str
    name: str
    key: str
    lines: queue.Queue[tuple[Stream, _Line]] = field(repr=False)

    def write(self, text: str) -> None:
        """Adds a line."""
        self.lines.put((self, (int(time.time() * 1_000), text)))


class LogWriter:
    """Sends lines on, a batch at a time.

    Attributes:
        lost: why lines could not be written, if ever.
    """

    def __init__(self, endpoint: Callable[[], str]) -> None:
        self.lost: list[str] = []
        self._endpoint = endpoint
        self._lines: queue.Queue[Any] = queue.Queue()
        self._clients: dict[str, Any] = {}
        self._known: set[Stream] = set()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stream(self, group: str, name: str, key: str) -> Stream:
        """A new stream; it is made when its first line is sent."""
        return Stream(group, name, key, self._lines)

    def flush(self) -> None:
        """Waits until all that was written until now is sent."""
        self._lines.join()

    def close(self) -> None:
        """Sends what is left, and ends."""
        self._lines.put(_END)
        self._thread.join(timeout=10)

    def _work(self) -> None:
        while True:
            items = self._next()
            batches: dict[Stream, list[_Line]] = defaultdict(list)
            for stream, line in (item for item in items if item is not _END):
                batches[stream].append(line)
            for stream, lines in batches.items():
                self._send(stream, lines)
            for _ in items:
                self._lines.task_done()
            if _END in items:
                return

    def _next(self) -> list[Any]:
        """What there is, after a moment in which more may come."""
        items = [self._lines.get()]
        if items[0] is not _END:
            time.sleep(_EVERY_S)
        with contextlib.suppress(queue.Empty):
            while True:
                items.append(self._lines.get_nowait())
        return items

    def _send(self, stream: Stream, lines: list[_Line]) -> None:
        where = {"logGroupName": stream.group, "logStreamName": stream.name}
        client = self._client(stream.key)
        try:
            if stream not in self._known:
                client.create_log_stream(**where)
                self._known.add(stream)
            events = [{"timestamp": at, "message": text or " "} for at, text in lines]
            client.put_log_events(**where, logEvents=events)
        except (BotoCoreError, ClientError) as error:
            self.lost.append(str(error))

    def _client(self, key: str) -> Any:
        if key not in self._clients:
            self._clients[key] = boto3.client(
                "logs",
                endpoint_url=self._endpoint(),
                region_name=REGION,
                aws_access_key_id=key,
                aws_secret_access_key=SECRET,
                config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=10),
            )
        return self._clients[key]

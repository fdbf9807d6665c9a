"""A relay before a PostgreSQL server that counts its answers, or delays what passes, as a network does.

The server ends every answer with one ReadyForQuery, for which a client waits before it goes on: as many as there are,
so many round trips. Its messages are a type byte, a length of four bytes (itself included) and a body.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

_HEADER = 5
_READY_FOR_QUERY = b"Z"
_CHUNK = 1 << 16


class Relay:
    """Forwards connections to a port of 127.0.0.1 from a port of its own; each byte arrives `delay` seconds later.

    Attributes:
        answers: how many ReadyForQuery the server has sent so far.
    """

    def __init__(self, port: int, delay: float = 0.0) -> None:
        self._to, self._delay = port, delay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.answers = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def url(self, url: str) -> str:
        """The same database by way of the relay; without encryption, as the relay must read what passes."""
        return url.replace(f":{self._to}/", f":{self.port}/") + "?sslmode=disable&gssencmode=disable"

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed: nobody needs us any more
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._to)) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=_pump, args=(server, client, self._counter(), self._delay))
            back.start()
            _pump(client, server, lambda piece: None, self._delay)
            back.join()

    def _counter(self) -> Callable[[bytes], None]:
        """Takes what one server connection sends, in whatever pieces, and counts."""
        pending = bytearray()

        def count(piece: bytes) -> None:
            pending.extend(piece)
            start = 0
            while len(pending) - start >= _HEADER:
                end = start + 1 + int.from_bytes(pending[start + 1 : start + _HEADER], "big")
                if end > len(pending):
                    break
                self.answers += pending[start : start + 1] == _READY_FOR_QUERY
                start = end
            del pending[:start]

        return count


def _pump(source: socket.socket, sink: socket.socket, look: Callable[[bytes], None], delay: float) -> None:
    """Passes everything on until the source ends, then ends the sink."""
    due: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
    late = threading.Thread(target=_deliver, args=(due, sink))
    if delay:
        late.start()
    with contextlib.suppress(OSError):  # one of the two is gone; the other is told below
        while piece := source.recv(_CHUNK):
            look(piece)
            if delay:
                due.put((time.perf_counter() + delay, piece))
            else:
                sink.sendall(piece)
    if delay:
        due.put((0.0, b""))
        late.join()
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _deliver(due: queue.SimpleQueue[tuple[float, bytes]], sink: socket.socket) -> None:
    """Sends each piece when it is due; an empty one is the end."""
    with contextlib.suppress(OSError):
        while (each := due.get())[1]:
            time.sleep(max(0.0, each[0] - time.perf_counter()))
            sink.sendall(each[1])

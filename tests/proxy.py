"""A TCP proxy before PostgreSQL that loses the connection exactly where a test wants it lost."""

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self

STEP = 0.02  # seconds between two looks at what the test wants
NONSENSE = b"C\x00\x00\x00\x00"  # a message of four bytes at least, by the protocol, that is shorter than that
PATIENCE = 10  # seconds for whatever else could take for ever
READY = b"Z\x00\x00\x00\x05"  # ReadyForQuery, before its last byte: the server has answered


class Action(Enum):
    """What happens when the client's stream contains the bytes waited for."""

    CUT_BEFORE = "the server never sees them"
    CUT_WITHIN = "the server sees a part of them"
    CUT_AFTER = "the server sees them and answers, the client doesn't see the answer, or a part of it"
    BLACK_HOLE = "the server sees them, then nothing passes any more"
    GONE = "as CUT_AFTER, and from then on nobody is let in"
    GARBLE = "the server sees them and answers, the client gets another answer that makes no sense"
    CALL = "something is called, before they are passed on or after"


@dataclass
class Trap:
    """What to wait for in what clients send, and what to do then.

    Attributes:
        needles: any of these; none: whatever is sent.
        left: how often it is to come until that is done.
        share: how much of them the server sees (CUT_WITHIN), or has seen when something is called (CALL; all from 0.5
            on, else nothing); how much of the answer the client sees (CUT_AFTER).
        patience: seconds to wait for the answer.
    """

    needles: tuple[bytes, ...]
    action: Action
    left: int = 1
    share: float = 0.0
    patience: float = PATIENCE
    call: Callable[[], object] = lambda: None

    def springs(self, sent: bytes) -> bool:
        self.left -= not self.needles or any(needle in sent for needle in self.needles)
        return self.left <= 0

    @property
    def longest(self) -> int:
        return max(map(len, self.needles), default=0)


@dataclass
class Link:
    """One client's connection and its counterpart to the server."""

    client: socket.socket
    server: socket.socket
    sent: bytes = b""  # the last of what the client sent, as a needle may come in two pieces
    answer: bytes | None = None  # what the server said since the needle of CUT_AFTER
    share: float = 0.0  # how much of that the client gets
    instead: bytes = b""  # what it gets instead
    deadline: float = 0

    def close(self, reset: bool = False) -> None:
        for side in (self.client, self.server):
            if reset:
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            side.close()

    def awaits_answer(self) -> bool:
        return self.answer is not None and READY not in self.answer[-6:] and time.monotonic() < self.deadline


class Proxy:
    """Forwards to a server on 127.0.0.1, from a port of its own, until it is told otherwise.

    Use as a context manager. A cut happens once; what connects afterwards gets through.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._links: list[Link] = []
        self._trap: Trap | None = None
        self._forwarding = True
        self._resetting = False
        self.delay = 0.0  # seconds, before each piece is passed on
        self.messages = 0  # how many pieces clients have sent; mostly one is one message
        self._ended = threading.Event()
        self._sprung = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    # What a test says

    def url(self, url: str) -> str:
        """The same URL by way of the proxy; unencrypted, as the proxy reads what passes."""
        extra = ("&" if "?" in url else "?") + "sslmode=disable&gssencmode=disable"
        return url.replace(f"127.0.0.1:{self._to}", f"127.0.0.1:{self.port}") + extra

    def cut_before(self, needle: bytes) -> None:
        """Close both sides when a client sends these bytes; the server doesn't get them."""
        self.set(Trap((needle,), Action.CUT_BEFORE))

    def cut_after(self, needle: bytes) -> None:
        """Pass these bytes on, wait for the server's whole answer, drop it, close both sides."""
        self.set(Trap((needle,), Action.CUT_AFTER))

    def gone_after(self, needle: bytes) -> None:
        """The same, and refuse all connections from then on."""
        self.set(Trap((needle,), Action.GONE))

    def garble(self, needle: bytes) -> None:
        """The same, but the client gets another answer instead, which makes no sense."""
        self.set(Trap((needle,), Action.GARBLE))

    def black_hole(self, after: bytes | None = None) -> None:
        """Stop forwarding, both ways, without closing: now, or once these bytes were passed on."""
        if after is None:
            self._forwarding = False
        else:
            self.set(Trap((after,), Action.BLACK_HOLE))

    def forward(self) -> None:
        """Forward again what comes, and what was held back."""
        self._trap = None
        self._forwarding = True

    def cut_now(self) -> None:
        """Close both sides of all connections."""
        for link in list(self._links):
            for side in (link.client, link.server):
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)

    def reset_now(self) -> None:
        """Close both sides of all connections by a reset, as somebody in between does who has lost track of them."""
        self._resetting = True

    def wait(self, timeout: float = PATIENCE) -> bool:
        """Wait until the bytes came and what was to happen has happened."""
        return self._sprung.wait(timeout)

    def set(self, trap: Trap) -> None:
        """Wait for what the trap says, in place of any other."""
        self._sprung.clear()
        self._trap = trap

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(PATIENCE)

    # What its thread does

    def _run(self) -> None:
        with self._selector, self._listener:
            self._selector.register(self._listener, selectors.EVENT_READ)
            while not self._ended.is_set():
                self._step()
            for link in self._links:
                link.close()

    def _step(self) -> None:
        if self._resetting:
            for link in list(self._links):
                self._drop(link, reset=True)
            self._resetting = False
        if not self._forwarding:
            time.sleep(STEP)
            return
        for key, _ in self._selector.select(STEP):
            if key.data is None:
                self._accept()
            elif key.data in self._links:  # else it was closed a moment ago
                self._pass_on(key.data, key.fileobj is key.data.client)
        for link in [link for link in self._links if link.answer is not None and not link.awaits_answer()]:
            self._drop(link)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # it gave up
        try:
            server = socket.create_connection(("127.0.0.1", self._to), timeout=PATIENCE)
        except OSError:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            return
        link = Link(client, server)
        self._links.append(link)
        for side in (client, server):
            side.settimeout(PATIENCE)
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(side, selectors.EVENT_READ, link)

    def _pass_on(self, link: Link, from_client: bool) -> None:
        source, target = (link.client, link.server) if from_client else (link.server, link.client)
        try:
            data = source.recv(65536)
            time.sleep(self.delay)
            if not data:
                self._drop(link)
            elif from_client:
                self._to_server(link, data)
            elif link.answer is not None:
                link.answer += data
            else:
                target.sendall(data)
        except OSError:
            self._drop(link)

    def _to_server(self, link: Link, data: bytes) -> None:
        self.messages += 1
        trap = self._trap
        if trap is None or not trap.springs(link.sent + data):
            kept = trap.longest - 1 if trap else 0
            link.sent = (link.sent + data)[-kept:] if kept > 0 else b""
            link.server.sendall(data)
            return
        self._trap = None
        link.sent = b""
        self._spring(trap, link, data)

    def _spring(self, trap: Trap, link: Link, data: bytes) -> None:
        if trap.action in (Action.CUT_BEFORE, Action.CUT_WITHIN):
            link.server.sendall(data[: int(len(data) * trap.share)])
            self._drop(link)
            self._sprung.set()
            return
        if trap.action is Action.CALL:
            seen = len(data) if trap.share >= 0.5 else 0
            link.server.sendall(data[:seen])
            trap.call()
            self._sprung.set()
            data = data[seen:]
        link.server.sendall(data)
        if trap.action is Action.GONE:
            self._selector.unregister(self._listener)
            self._listener.close()
        if trap.action in (Action.CUT_AFTER, Action.GONE, Action.GARBLE):
            link.instead = NONSENSE if trap.action is Action.GARBLE else b""
            link.answer, link.share, link.deadline = b"", trap.share, time.monotonic() + trap.patience
        elif trap.action is Action.BLACK_HOLE:
            self._forwarding = False
            self._sprung.set()

    def _drop(self, link: Link, reset: bool = False) -> None:
        for side in (link.client, link.server):
            self._selector.unregister(side)
        if link.answer:
            with contextlib.suppress(OSError):
                link.client.sendall(link.instead or link.answer[: int(len(link.answer) * link.share)])
        link.close(reset)
        self._links.remove(link)
        if link.answer is not None:
            self._sprung.set()

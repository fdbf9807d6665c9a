"""Ports on this machine at which something else than PostgreSQL answers, or nothing does."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

PLAIN = "sslmode=disable&gssencmode=disable"


@contextlib.contextmanager
def listening(answer: Callable[[socket.socket], object]) -> Iterator[int]:
    """A port on which every client gets this answer, each in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        ended = threading.Event()

        def accept() -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    client, _ = listener.accept()
                    client.settimeout(None)
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        def serve(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):
                answer(client)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        ended.set()
        thread.join()


@contextlib.contextmanager
def full() -> Iterator[int]:
    """A port whose queue of waiting clients is full: connecting to it hangs."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def url_to(port: int, host: str = "127.0.0.1") -> str:
    return f"postgresql://app:secret@{host}:{port}/shop"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def refuse_startup(client: socket.socket) -> None:
    """As PgBouncer answers a startup message with settings that it doesn't track."""
    client.recv(1 << 16)
    said = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter in options: lock_timeout\0\0"
    client.sendall(b"E" + (len(said) + 4).to_bytes(4, "big") + said)


def another_pid(port: int) -> Callable[[socket.socket], None]:
    """Passes everything on to the server, but tells clients another process id than the session has."""

    def answer(client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as server:
            threading.Thread(target=pump, args=(client, server), daemon=True).start()
            said = server.makefile("rb")
            kind = b""
            while kind != b"Z":
                kind, length = said.read(1), said.read(4)
                body = said.read(int.from_bytes(length, "big") - 4)
                client.sendall(kind + length + (b"\0\0\0\7" + body[4:] if kind == b"K" else body))
            while data := said.read1():
                client.sendall(data)

    return answer


def pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

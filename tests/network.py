"""Two network namespaces joined by a cable that can fall silent: packets are sent and never arrive.

Loopback can't do that: there the system answers keepalives for a process that is dead. All addresses are of the
namespaces that are made here (192.0.2.0/24, RFC 5737), and go with them.
"""

import contextlib
import ctypes
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVER, CLIENT = "192.0.2.1", "192.0.2.2"
_MACS = {SERVER: "02:00:00:00:00:01", CLIENT: "02:00:00:00:00:02"}
_NOBODY = "02:00:00:00:00:99"  # a network card drops what isn't for its own address
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET


class Network:
    """The cable, and the namespaces at its ends."""

    def __init__(self) -> None:
        self._names = {SERVER: f"am-server-{os.getpid()}", CLIENT: f"am-client-{os.getpid()}"}

    @contextlib.contextmanager
    def at(self, address: str) -> Iterator[None]:
        """Sockets, threads and processes that this thread makes meanwhile are at that end of the cable."""
        with contextlib.ExitStack() as stack:
            ours = stack.enter_context(Path("/proc/thread-self/ns/net").open("rb"))
            theirs = stack.enter_context(Path("/run/netns", self._names[address]).open("rb"))
            _enter(theirs.fileno())
            stack.callback(_enter, ours.fileno())
            yield

    def fall_silent(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        self._connect({SERVER: _NOBODY, CLIENT: _NOBODY})

    def make(self) -> None:
        for name in self._names.values():
            _ip("netns", "add", name)
        server, client = self._names.values()
        peer = ("peer", "name", "cable", "address", _MACS[CLIENT], "netns", client)
        _ip("-n", server, "link", "add", "cable", "address", _MACS[SERVER], "type", "veth", *peer)
        for address, name in self._names.items():
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
            for device in ("lo", "cable"):
                _ip("-n", name, "link", "set", device, "up")
        self._connect(_MACS)

    def remove(self) -> None:
        for name in self._names.values():
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)

    def _connect(self, macs: dict[str, str]) -> None:
        """Without asking who has an address: a host that doesn't answer that is known to be away."""
        for here, name in self._names.items():
            there = CLIENT if here == SERVER else SERVER
            entry = (there, "lladdr", macs[there], "dev", "cable", "nud", "permanent")
            _ip("-n", name, "neighbour", "replace", *entry)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A network of one's own; skips the test where the machine has none to give."""
    if why := _why_not():
        pytest.skip(f"a network that falls silent takes namespaces, which need {why}")
    made = Network()
    try:
        made.make()
        yield made
    finally:
        made.remove()


@functools.cache
def _why_not() -> str | None:
    if sys.platform != "linux":
        return "Linux"
    if os.geteuid() != 0:
        return "root"
    if shutil.which("ip") is None:
        return "the program `ip` (package iproute2)"
    name = f"am-probe-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True)
    return f"a machine that lets them be made (`ip netns add`: {tried.stderr.strip()})" if tried.returncode else None


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _enter(namespace: int) -> None:
    """os.setns is there from Python 3.12 on."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, _NEW_NETWORK) != 0:
        raise OSError(ctypes.get_errno(), "setns")

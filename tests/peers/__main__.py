"""`python -m tests.peers`: installs other migration tools from their registries, and adopts what they make."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.stall.prefixes import Unavailable
from tests.peers.tools import PEERS, WANTED


def main(arguments: Sequence[str]) -> int:
    for peer in PEERS:
        try:
            peer.programs()
        except Unavailable as error:
            print(f"{peer.name} isn't tested: {error}.", file=sys.stderr)
    tests = [sys.executable, "-m", "pytest", "tests/peers", "-q", "-rs", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(tests, env={**os.environ, WANTED: "1"}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

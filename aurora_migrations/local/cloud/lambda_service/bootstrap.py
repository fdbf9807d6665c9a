"""Runs in a sandbox's process: the handler finds its package and what Lambda's own image has, and nothing else.

Run with Python's options -I, -S and -u and four arguments: the package's folder, the folder of this machine's
packages, the names that Lambda's image has, and the folder of our `runtime_client`, for systems where AWS's doesn't
run. _HANDLER names the handler. The process ends when its stdin does, so it never outlives the process that started
it. It imports nothing of ours: the package may have other versions of it.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
import threading
from collections.abc import Sequence
from types import ModuleType


class _Image(importlib.abc.MetaPathFinder):
    """Finds only certain names in a folder: a dependency that the package lacks must be missing here too."""

    def __init__(self, folder: str, names: frozenset[str]) -> None:
        self._folder = [folder]
        self._names = names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if path is None and name in self._names:
            return importlib.machinery.PathFinder.find_spec(name, self._folder)
        return None


def _end_with_the_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def main(package: str, site: str, names: str, loop: str) -> None:
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    sys.path.insert(0, package)
    sys.meta_path.append(_Image(site, frozenset(names.split(","))))
    os.chdir(package)
    if "awslambdaric" in names.split(","):
        from awslambdaric.__main__ import main as run  # type: ignore[import-untyped,unused-ignore]
    else:
        sys.path.append(loop)
        from runtime_client import main as run  # type: ignore[import-not-found,no-redef,unused-ignore]
    run([sys.argv[0], os.environ["_HANDLER"]])


if __name__ == "__main__":
    main(*sys.argv[1:5])

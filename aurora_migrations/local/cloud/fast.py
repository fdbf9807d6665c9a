"""Makes moto's start faster: botocore reads its list of regions, a megabyte of JSON, anew for each of its sessions, and
moto's modules make a hundred sessions while they are imported. Import this before moto."""

from __future__ import annotations

from functools import cache
from typing import Any

from botocore.loaders import JSONFileLoader

_READ_ONCE = ("endpoints", "partitions")
_read = JSONFileLoader.load_file


@cache
def _kept(path: str) -> Any:
    return _read(JSONFileLoader(), path)


def _load_file(self: JSONFileLoader, file_path: str) -> Any:
    return _kept(file_path) if file_path.endswith(_READ_ONCE) else _read(self, file_path)


JSONFileLoader.load_file = _load_file

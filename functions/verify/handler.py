"""Verify: stands here until the function itself comes, so that the package can be made."""

from __future__ import annotations

from typing import Any


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Refuses to answer."""
    raise NotImplementedError("verify")

"""A call that AWS would refuse, by AWS's own name for it."""

from __future__ import annotations


class Refused(Exception):
    """What the answer is: its code, such as `ValidationException`, and its words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

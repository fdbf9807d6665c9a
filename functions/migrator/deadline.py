"""How much time a call has left, and what of it a file may have."""

from __future__ import annotations

from collections.abc import Callable

RESERVE = 10_000  # milliseconds kept for rolling back, the history, closing, and saying what happened
_LEAST = 1_000  # milliseconds that any file gets, whatever is left


class Deadline:
    """The end of a call, as whoever limits it counts the time."""

    def __init__(self, remaining_ms: Callable[[], float]) -> None:
        """Begins to count.

        Args:
            remaining_ms: asked for the milliseconds until the call is ended from outside.
        """
        self._remaining_ms = remaining_ms
        self._at_first = self.left
        self._longest = 0.0

    @property
    def left(self) -> int:
        """Milliseconds that a file may take now."""
        return max(_LEAST, int(self._remaining_ms()) - RESERVE)

    def file_done(self, duration_ms: float) -> None:
        """Takes note of how long a file took."""
        self._longest = max(self._longest, duration_ms)

    def allows_another_file(self) -> bool:
        """Whether the next file, of which nobody knows how long it takes, has a fair chance in what is left: a quarter
        of what the call began with, and twice what the longest file has taken so far."""
        return self.left >= max(self._at_first / 4, 2 * self._longest)

"""What the application's queries waited for, and what is told of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Query:
    """One query of the application.

    Attributes:
        due: when it was to begin, on the clock of `time.monotonic`.
        ended: when its answer was there, on the same clock.
        failed: whether the answer was an error.
    """

    due: float
    ended: float
    failed: bool = False

    @property
    def waited(self) -> float:
        """Seconds from the moment it was due: what it waited for a free connection counts, too."""
        return self.ended - self.due


@dataclass(frozen=True)
class Summary:
    """What is told of many queries; times are seconds."""

    count: int
    failed: int
    longest: float
    p99: float
    over_tenth: int
    over_second: int


def since(queries: Sequence[Query], moment: float) -> list[Query]:
    """Those that were under way at a moment or due after it."""
    return [query for query in queries if query.ended >= moment]


def summarise(queries: Sequence[Query]) -> Summary:
    """Counts what the queries waited.

    Raises:
        ValueError: there are none, of which nothing can be said.
    """
    waited = sorted(query.waited for query in queries)
    if not waited:
        raise ValueError("the application sent no query")
    return Summary(
        count=len(waited),
        failed=sum(query.failed for query in queries),
        longest=waited[-1],
        p99=waited[math.ceil(0.99 * len(waited)) - 1],
        over_tenth=sum(seconds > 0.1 for seconds in waited),
        over_second=sum(seconds > 1 for seconds in waited),
    )

"""Sessions that are in a migration's way, a process of its own.

    python -m benchmarks.stall.holding idle URL SECONDS SQL                one runs a statement, then sits idle in its
                                                                           transaction
    python -m benchmarks.stall.holding turns URL SECONDS SESSIONS TABLE... so many per table hold it in turns of up to
                                                                           so many seconds, without pause

Prints a line when the locks are held. `idle` prints a second one when its transaction has ended: when that was, on the
clock of `time.monotonic`. Both end when their stdin is closed.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql

HELD = "held"
SHORTEST = 0.05  # seconds of a turn
MODES = ("ROW EXCLUSIVE", "ACCESS SHARE")


async def _connect(url: str) -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(url, autocommit=True, application_name="stall-holder")


async def _idle(url: str, seconds: float, statement: str) -> None:
    connection = await _connect(url)
    await connection.execute("BEGIN")
    await connection.execute(statement.encode())
    print(HELD, flush=True)
    await asyncio.sleep(seconds)
    await connection.execute("COMMIT")
    print(time.monotonic(), flush=True)
    await connection.close()


async def _turns(url: str, longest: float, sessions: int, tables: Sequence[str]) -> None:
    """A first turn of all sessions at once, and from then on each goes its own way."""
    connections = [(await _connect(url), table) for table in tables for _ in range(sessions)]
    first = asyncio.Barrier(len(connections) + 1)
    holders = [
        asyncio.create_task(_hold(connection, _begin(table, MODES[number % 2]), _lengths(longest, number), first))
        for number, (connection, table) in enumerate(connections)
    ]
    await first.wait()
    print(HELD, flush=True)
    await asyncio.gather(*holders)


def _begin(table: str, mode: str) -> sql.Composed:
    return sql.SQL("BEGIN; LOCK TABLE {} IN {} MODE").format(sql.Identifier(table), sql.SQL(mode))


def _lengths(longest: float, seed: int) -> Iterator[float]:
    """The same for every tool."""
    dice = random.Random(seed)
    while True:
        yield dice.uniform(SHORTEST, longest)


async def _hold(
    connection: psycopg.AsyncConnection, begin: sql.Composed, lengths: Iterator[float], first: asyncio.Barrier
) -> None:
    await connection.execute(begin)
    await first.wait()
    while True:
        await asyncio.sleep(next(lengths))
        await connection.execute("COMMIT")
        await connection.execute(begin)


async def _main(how: str, url: str, seconds: float, rest: Sequence[str]) -> None:
    """Until the work is done or stdin is closed; a transaction then open is ended by its connection's end."""
    holding = _idle(url, seconds, rest[0]) if how == "idle" else _turns(url, seconds, int(rest[0]), rest[1:])
    working = asyncio.create_task(holding)
    closed = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait([working, closed], return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        await working  # an error is raised here, not hidden
        await closed
    working.cancel()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:]))

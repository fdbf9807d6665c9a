"""The application, a process of its own: queries by primary key at a steady rate, whatever becomes of them.

    python -m benchmarks.stall.load reads URL ROWS TABLE...
    python -m benchmarks.stall.load writes URL ROWS TABLE...    every other query changes its row

Prints a line when its connections are there, works until its stdin is closed, waits for the answers of all queries
that were due until then, and prints each as JSON: due, ended, failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import psycopg
from psycopg import sql

from benchmarks.stall.latency import Query

RATE = 200  # queries a second
CONNECTIONS = 16
READY = "ready"
_READ = "SELECT note FROM {} WHERE id = %s"
_WRITE = "UPDATE {} SET note = note || '.' WHERE id = %s RETURNING note"

Ask = Callable[[int], Awaitable[None]]
_Due = asyncio.Queue[tuple[int, float] | None]


async def work(connections: Sequence[Ask], rate: float, stop: asyncio.Event) -> list[Query]:
    """Hands out queries at that rate until told to stop; returns all of them once the last one is answered.

    The loop is open: a query is due at its moment, whether those before it are answered or not. One that finds no
    free connection waits for it, and that counts, so that a stall is seen by every query that fell into it.
    """
    queue: _Due = asyncio.Queue()
    found: list[Query] = []
    workers = [asyncio.create_task(_serve(ask, queue, found)) for ask in connections]
    await _fall_due(queue, rate, stop)
    for _ in workers:
        queue.put_nowait(None)
    await asyncio.gather(*workers)
    return found


async def _fall_due(queue: _Due, rate: float, stop: asyncio.Event) -> None:
    """A moment missed (the machine was busy) keeps its time: the query then counts from when it should have begun."""
    begun = time.monotonic()
    for number in itertools.count():
        due = begun + number / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if stop.is_set():
            return
        queue.put_nowait((number, due))


async def _serve(ask: Ask, queue: _Due, found: list[Query]) -> None:
    """One connection of the pool takes what is due next, one query after the other."""
    while (taken := await queue.get()) is not None:
        number, due = taken
        failed = False
        try:
            await ask(number)
        except psycopg.Error:
            failed = True
        found.append(Query(due, time.monotonic(), failed))


def _asker(connection: psycopg.AsyncConnection, texts: Sequence[sql.Composed], rows: int) -> Ask:
    """Sends the texts in turn, each with the key of some row but the last one, which the blocker may hold."""
    keys = random.Random(1)

    async def ask(number: int) -> None:
        cursor = await connection.execute(texts[number % len(texts)], [keys.randint(1, rows - 1)], prepare=True)
        await cursor.fetchone()

    return ask


async def _main(how: str, url: str, rows: int, tables: Sequence[str]) -> None:
    stop = asyncio.Event()
    kinds = (_READ, _WRITE) if how == "writes" else (_READ,)
    texts = [sql.SQL(kind).format(sql.Identifier(table)) for table in tables for kind in kinds]
    async with contextlib.AsyncExitStack() as stack:
        asks = []
        for _ in range(CONNECTIONS):
            connection = await psycopg.AsyncConnection.connect(url, autocommit=True, application_name="stall-load")
            asks.append(_asker(await stack.enter_async_context(connection), texts, rows))
            for number in range(len(texts)):
                await asks[-1](number)  # the plans are made before anything is measured
        print(READY, flush=True)
        working = asyncio.create_task(work(asks, RATE, stop))
        await asyncio.to_thread(sys.stdin.read)
        stop.set()
        print(json.dumps([[query.due, query.ended, query.failed] for query in await working]), flush=True)


def read(said: str) -> list[Query]:
    """The queries that the process printed at its end."""
    return [Query(*each) for each in json.loads(said)]


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]))

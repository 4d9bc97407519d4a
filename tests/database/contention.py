"""Clients of a pool that has one connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg


@asynccontextmanager
async def somebody_waits(url: str) -> AsyncIterator[None]:
    """One client has the connection and another waits for it. Afterwards both have had it, and none is there."""
    holder, waiter = [await asyncpg.connect(url, statement_cache_size=0) for _ in range(2)]
    try:
        async with holder.transaction():
            await holder.fetchval("SELECT 1")
            waiting = asyncio.ensure_future(waiter.execute("BEGIN"))
            try:
                yield
            except BaseException:
                waiting.cancel()
                raise
        await waiting
        await waiter.execute("ROLLBACK")
    finally:
        holder.terminate()
        waiter.terminate()

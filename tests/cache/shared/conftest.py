"""Several Weirs in one process, each with a memory of its own, and one real store between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from proxy.cache.settings import SharedCacheSettings
from proxy.cache.shared.orders import Orders
from proxy.cache.shared.tier import SharedTier
from proxy.core.clock import monotonic
from tests.line.store import Store

NewWeir = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="session")
def running_store() -> Iterator[Store]:
    """Stays up. A test that breaks its store has its own."""
    made = Store()
    yield made
    made.close()


@pytest.fixture
def store(running_store: Store) -> Store:
    """Empty."""
    with Redis.from_url(running_store.url) as client:
        client.flushall()
    return running_store


@pytest.fixture
def frail_store() -> Iterator[Store]:
    made = Store()
    yield made
    made.close()


@pytest.fixture
def keys(store: Store) -> Iterator[Any]:
    with Redis.from_url(store.url) as client:
        yield client


@pytest.fixture
async def new_weir(new_line: Callable[..., Any], store: Store) -> AsyncIterator[NewWeir]:
    """A line with a tier: `await new_weir(route, timeout=..., url=...)`. Patient, for the machine is busy."""
    tiers: list[SharedTier] = []

    async def make(
        route: dict[str, Any] | None = None,
        *,
        url: str = store.url,
        orders: Orders | None = None,
        waits: bool = True,
        memory: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Any:
        line = new_line(route, **(memory or {}))
        tier = SharedTier(SharedCacheSettings(**{"timeout": 1.0, **settings}), url, orders)
        tiers.append(tier)
        line.cache.shared = line.tier = tier
        await tier.start()
        if waits:
            await until(lambda: is_ready(tier))
        return line

    yield make
    for tier in tiers:
        await tier.aclose()


def is_ready(tier: SharedTier) -> bool:
    return not tier.status()["error"] and tier.listener.is_on


async def until(look: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    deadline = monotonic() + timeout_s
    while not (found := look()):
        assert monotonic() < deadline, f"it did not happen within {timeout_s} s"
        await asyncio.sleep(0.005)
    return found


async def written(*weirs: Any) -> None:
    """All that was stored is in the store too."""
    await until(lambda: all([weir.tier.queued_bytes == 0 for weir in weirs]))


@pytest.fixture
def tools() -> Any:
    class Tools:
        until = staticmethod(until)
        written = staticmethod(written)
        is_ready = staticmethod(is_ready)

    return Tools

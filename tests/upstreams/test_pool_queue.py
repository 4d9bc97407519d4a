"""Waiting for a slot: order, bounds, and who is dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.errors import ErrorKind, ProxyError
from proxy.upstreams.lease import Lease
from proxy.upstreams.pool import EndpointPool
from proxy.upstreams.upstream import PoolNumbers

Pool = EndpointPool[Any]
Waiter = asyncio.Future[Lease[Any]]


@pytest.fixture
def make_pool(backend: Any, clock: Any, open_line: Any) -> Callable[..., Pool]:
    def make(**numbers: Any) -> Pool:
        return EndpointPool(
            backend.address, PoolNumbers(**numbers), lambda: open_line(backend.address, clock()), clock=clock
        )

    return make


async def queue_up(pool: Pool, clock: Any, count: int = 1, *, deadline_s: float = 60.0, fresh: bool = False) -> Any:
    before = pool.waiting
    waiters = [asyncio.ensure_future(pool.lease(clock() + deadline_s, clock(), fresh=fresh)) for _ in range(count)]
    await asyncio.sleep(0)
    assert pool.waiting == before + count
    return waiters[0] if count == 1 else waiters


async def soon(waiter: Waiter) -> Lease[Any]:
    async with asyncio.timeout(5):  # a slot that is lost is a failure and not a test that hangs
        return await waiter


async def hold(pool: Pool, clock: Any) -> Lease[Any]:
    return await pool.lease(clock() + 60.0, clock())


async def test_slots_are_given_in_the_order_of_arrival(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=1)
    lease = await hold(pool, clock)
    waiters = await queue_up(pool, clock, 3)
    for waiter in waiters:
        lease.release(True)
        lease = await soon(waiter)
        assert lease.reused
    assert (pool.waiting, pool.connects) == (0, 1)


async def test_the_slot_goes_to_the_queue_and_not_to_whoever_asks_first(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=1)
    lease = await hold(pool, clock)
    waiter = await queue_up(pool, clock)
    lease.release(True)
    assert pool.take_now(clock()) is None
    assert (await soon(waiter)).connection is lease.connection


async def test_the_connection_is_handed_over_even_when_none_may_idle(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=1, max_idle=0)
    lease = await hold(pool, clock)
    waiter = await queue_up(pool, clock)
    lease.release(True)
    assert (await soon(waiter)).connection is lease.connection
    (await soon(waiter)).release(True)
    assert pool.total == 0


@pytest.mark.parametrize("fresh", [False, True], ids=["any", "fresh"])
async def test_a_broken_connection_is_replaced_for_the_one_who_waits(make_pool: Any, clock: Any, fresh: bool) -> None:
    pool = make_pool(max_in_flight=1)
    lease = await hold(pool, clock)
    waiter = await queue_up(pool, clock, fresh=fresh)
    lease.release(fresh)  # a clean one will not do where a fresh one was asked for
    other = await soon(waiter)
    assert not other.reused
    assert other.connection is not lease.connection
    assert (pool.total, pool.in_use) == (1, 1)


async def test_a_full_queue_refuses_at_once(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=1, queue=2)
    lease = await hold(pool, clock)
    waiters = await queue_up(pool, clock, 2)
    with pytest.raises(ProxyError) as caught:
        await hold(pool, clock)
    assert caught.value.kind is ErrorKind.QUEUE_FULL
    assert caught.value.retry_after_s == 1.0
    assert (pool.gate.stats.refused()["queue_full"], pool.waiting) == (1, 2)
    lease.release(True)
    (await waiters[0]).release(True)
    (await waiters[1]).release(True)


async def test_without_a_queue_nobody_waits(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=1, queue=0)
    lease = await hold(pool, clock)
    with pytest.raises(ProxyError) as caught:
        await hold(pool, clock)
    assert caught.value.kind is ErrorKind.QUEUE_FULL
    lease.release(True)


@pytest.mark.parametrize(("deadline_s", "waits_s"), [(60.0, 2.0), (0.5, 0.5)], ids=["queue timeout", "deadline"])
async def test_waiting_ends(make_pool: Any, clock: Any, deadline_s: float, waits_s: float) -> None:
    pool = make_pool(max_in_flight=1, queue_timeout_s=2.0)
    lease = await hold(pool, clock)
    waiter = await queue_up(pool, clock, deadline_s=deadline_s)
    pool.tick(clock.advance(waits_s - 0.01))
    assert pool.waiting == 1
    pool.tick(clock.advance(0.02))
    with pytest.raises(ProxyError) as caught:
        await soon(waiter)
    assert caught.value.kind is ErrorKind.QUEUE_TIMEOUT
    assert caught.value.retry_after_s is not None
    assert (pool.waiting, pool.gate.stats.refused()["queue_timeout"], pool.in_use) == (0, 1, 1)
    lease.release(True)
    assert (pool.in_use, pool.idle) == (0, 1)


async def test_only_the_one_who_waited_too_long_is_sent_away(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=1)
    lease = await hold(pool, clock)
    first = await queue_up(pool, clock)
    clock.advance(1.5)
    second = await queue_up(pool, clock)
    pool.tick(clock.advance(1.0))
    with pytest.raises(ProxyError):
        await soon(first)
    lease.release(True)
    assert (await soon(second)).reused


async def test_a_client_that_leaves_is_dropped_from_the_queue(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=1)
    lease = await hold(pool, clock)
    first, second = await queue_up(pool, clock, 2)
    first.cancel()
    await asyncio.sleep(0)
    assert pool.waiting == 1
    lease.release(True)
    assert (await soon(second)).connection is lease.connection


async def test_a_client_that_leaves_as_the_slot_comes_passes_it_on(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=1)
    lease = await hold(pool, clock)
    first, second = await queue_up(pool, clock, 2)
    lease.release(True)  # granted to the first, which has not run since
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(first)
    assert (await soon(second)).connection is lease.connection
    assert (pool.total, pool.in_use, pool.waiting) == (1, 1, 0)


async def test_a_slot_that_comes_as_the_client_leaves_goes_to_the_next(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=1)
    lease = await hold(pool, clock)
    first, second = await queue_up(pool, clock, 2)
    first.cancel()
    lease.release(True)  # the first is still in the queue, but has been cancelled
    assert (await soon(second)).connection is lease.connection
    assert first.cancelled()
    assert (pool.total, pool.in_use, pool.waiting) == (1, 1, 0)


async def test_everyone_in_the_queue_hears_of_a_backend_that_is_gone(make_pool: Any, backend: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=1)
    lease = await hold(pool, clock)
    waiters = await queue_up(pool, clock, 3)
    await backend.refuse()
    lease.release(False)
    errors: list[Any] = await asyncio.gather(*waiters, return_exceptions=True)
    assert [error.kind for error in errors] == [ErrorKind.CONNECT_REFUSED] * 3
    assert (pool.total, pool.in_use, pool.waiting) == (0, 0, 0)


async def test_the_time_in_the_queue_is_told(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=1)
    lease = await hold(pool, clock)
    assert lease.queue_s == 0.0
    reusing, connecting = await queue_up(pool, clock, 2)
    clock.advance(0.25)
    lease.release(True)
    lease = await soon(reusing)
    assert lease.queue_s == 0.25
    clock.advance(0.5)
    lease.release(False)
    assert (await soon(connecting)).queue_s == 0.75


async def test_a_drain_serves_those_who_were_let_in(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=1)
    lease = await hold(pool, clock)
    first, second = await queue_up(pool, clock, 2)
    pool.drain()
    lease.release(True)
    (await soon(first)).release(False)
    assert not pool.closed
    (await soon(second)).release(True)
    assert pool.closed
    assert pool.total == 0


async def test_closing_sends_all_who_wait_away(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=1)
    lease = await hold(pool, clock)
    waiter = await queue_up(pool, clock)
    pool.close()
    with pytest.raises(ProxyError) as caught:
        await soon(waiter)
    assert caught.value.kind is ErrorKind.DRAINING
    lease.release(True)
    assert pool.closed

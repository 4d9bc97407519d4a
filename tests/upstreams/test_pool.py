"""The pool over real sockets: what is reused, what is closed, what comes back after a cancellation."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from proxy.core.errors import ErrorKind, ProxyError
from proxy.upstreams.lease import Lease
from proxy.upstreams.pool import EndpointPool
from proxy.upstreams.upstream import PoolNumbers

Pool = EndpointPool[Any]
Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
def make_pool(backend: Any, clock: Any, open_line: Any) -> Callable[..., Pool]:
    def make(**numbers: Any) -> Pool:
        connect = partial(open_line_now, backend, clock, open_line)
        return EndpointPool(backend.address, PoolNumbers(**numbers), connect, clock=clock, rng=lambda: 0.0)

    return make


async def open_line_now(backend: Any, clock: Any, open_line: Any) -> Any:
    return await open_line(backend.address, clock())


def state(pool: Pool) -> tuple[int, int, int, int]:
    assert pool.total == pool.idle + pool.in_use
    return pool.total, pool.in_use, pool.idle, pool.waiting


async def take(pool: Pool, clock: Any, *, fresh: bool = False) -> Lease[Any]:
    async with asyncio.timeout(5):  # a slot that is lost is a failure and not a test that hangs
        return await pool.lease(clock() + 60.0, clock(), fresh=fresh)


async def test_a_clean_connection_is_used_again(make_pool: Any, backend: Any, clock: Any) -> None:
    pool = make_pool()
    first = await take(pool, clock)
    assert not first.reused
    assert await first.connection.ask() == b"hello\n"
    first.release(True)
    second = pool.take_now(clock())
    assert second is not None
    assert second.reused
    assert second.connection is first.connection
    assert (backend.accepted, pool.connects, pool.reuses) == (1, 1, 1)


async def test_a_connection_released_as_not_clean_is_closed(
    make_pool: Any, backend: Any, clock: Any, eventually: Eventually
) -> None:
    pool = make_pool()
    lease = await take(pool, clock)
    lease.release(False)
    assert state(pool) == (0, 0, 0, 0)
    await eventually(lambda: backend.accepted == 1 and not backend.open)


async def test_the_freshest_connection_is_taken_first(make_pool: Any, clock: Any) -> None:
    pool = make_pool()
    leases = [await take(pool, clock) for _ in range(3)]
    for lease in leases:
        lease.release(True)
    taken = [pool.take_now(clock()) for _ in range(3)]
    assert [lease.connection for lease in taken] == [lease.connection for lease in reversed(leases)]
    assert pool.take_now(clock()) is None


async def test_a_second_release_is_harmless(make_pool: Any, clock: Any) -> None:
    pool = make_pool()
    first = await take(pool, clock)
    first.release(True)
    second = pool.take_now(clock())
    first.release(False)
    first.release(True)
    assert state(pool) == (1, 1, 0, 0)
    second.release(True)
    assert state(pool) == (1, 0, 1, 0)


async def test_as_a_context_manager_a_lease_is_closed_unless_released_before(make_pool: Any, clock: Any) -> None:
    pool = make_pool()
    async with await take(pool, clock) as lease:
        lease.release(True)
    assert state(pool) == (1, 0, 1, 0)
    with pytest.raises(RuntimeError):
        async with await take(pool, clock):
            raise RuntimeError
    assert state(pool) == (0, 0, 0, 0)


async def test_the_state_is_printed(make_pool: Any, backend: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=2)
    kept, given = await take(pool, clock), await take(pool, clock)
    waiting = asyncio.ensure_future(take(pool, clock))
    await asyncio.sleep(0)
    assert repr(pool) == f"<EndpointPool 127.0.0.1:{backend.port} total=2 in_use=2 idle=0 waiting=1>"
    assert pool.stats() == {"total": 2, "in_use": 2, "idle": 0, "waiting": 1}
    given.release(True)
    (await waiting).release(True)
    kept.release(True)
    assert repr(pool) == f"<EndpointPool 127.0.0.1:{backend.port} total=2 in_use=0 idle=2 waiting=0>"


async def test_an_idle_connection_that_the_backend_closes_leaves_at_once(
    make_pool: Any, backend: Any, clock: Any, eventually: Eventually
) -> None:
    pool = make_pool()
    leases = [await take(pool, clock) for _ in range(3)]
    for lease in leases:
        lease.release(True)
    await eventually(lambda: len(backend.open) == 3)
    backend.open[1].close()
    await eventually(lambda: pool.idle == 2)
    assert state(pool) == (2, 0, 2, 0)
    assert pool.take_now(clock()).connection is leases[2].connection
    assert pool.take_now(clock()).connection is leases[0].connection


async def test_an_idle_connection_that_receives_bytes_is_never_leased(
    make_pool: Any, backend: Any, clock: Any, eventually: Eventually
) -> None:
    pool = make_pool()
    (await take(pool, clock)).release(True)
    await eventually(lambda: len(backend.open) == 1)
    backend.open[0].write(b"HTTP/1.1 200 OK\r\n\r\n")
    await eventually(lambda: pool.idle == 0)
    assert pool.take_now(clock()) is None
    assert state(pool) == (0, 0, 0, 0)


async def test_what_is_not_clean_any_more_is_passed_over_even_before_it_has_said_so(make_pool: Any, clock: Any) -> None:
    pool = make_pool()
    leases = [await take(pool, clock) for _ in range(2)]
    for lease in leases:
        lease.release(True)
    leases[1].connection.is_clean = False
    assert pool.take_now(clock()).connection is leases[0].connection
    assert state(pool) == (1, 1, 0, 0)


async def test_a_leased_connection_that_dies_keeps_its_slot_until_it_is_released(
    make_pool: Any, backend: Any, clock: Any, eventually: Eventually
) -> None:
    pool = make_pool()
    lease = await take(pool, clock)
    await eventually(lambda: len(backend.open) == 1)
    backend.open[0].close()
    await eventually(lambda: not lease.connection.is_clean)
    assert state(pool) == (1, 1, 0, 0)
    lease.release(False)
    assert state(pool) == (0, 0, 0, 0)


async def test_no_more_than_max_idle_stay(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_idle=2)
    leases = [await take(pool, clock) for _ in range(4)]
    for lease in leases:
        lease.release(True)
    assert state(pool) == (2, 0, 2, 0)
    assert pool.take_now(clock()).connection is leases[3].connection


async def test_an_unused_connection_is_closed_after_the_idle_timeout(
    make_pool: Any, backend: Any, clock: Any, eventually: Eventually
) -> None:
    pool = make_pool(idle_timeout_s=10.0)
    old, new = await take(pool, clock), await take(pool, clock)
    old.release(True)
    pool.tick(clock.advance(6.0))
    new.release(True)
    pool.tick(clock.advance(5.0))
    assert state(pool) == (1, 0, 1, 0)
    assert pool.take_now(clock()).connection is new.connection
    await eventually(lambda: len(backend.open) == 1)


async def test_a_connection_past_its_time_is_not_leased_even_before_the_reaper_comes(
    make_pool: Any, clock: Any
) -> None:
    pool = make_pool(idle_timeout_s=10.0, max_lifetime_s=15.0)
    (await take(pool, clock)).release(True)
    clock.advance(10.0)
    assert pool.take_now(clock()) is None
    assert state(pool) == (0, 0, 0, 0)
    lease = await take(pool, clock)
    pool.tick(clock.advance(15.0))
    lease.release(True)  # idle for no time at all, but too old
    assert pool.take_now(clock()) is None
    assert state(pool) == (0, 0, 0, 0)


async def test_the_reaper_closes_what_is_too_old(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_lifetime_s=300.0)
    lease = await take(pool, clock)
    pool.tick(clock.advance(299.0))
    lease.release(True)
    pool.tick(clock.advance(2.0))
    assert state(pool) == (0, 0, 0, 0)


async def test_a_fresh_lease_is_on_a_new_connection(make_pool: Any, backend: Any, clock: Any) -> None:
    pool = make_pool()
    first = await take(pool, clock)
    first.release(True)
    second = await take(pool, clock, fresh=True)
    assert second.connection is not first.connection
    assert not second.reused
    assert state(pool) == (2, 1, 1, 0)


async def test_a_fresh_lease_never_exceeds_the_limit_of_open_connections(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=2)
    first, second = await take(pool, clock), await take(pool, clock)
    first.release(True)
    second.release(True)
    third = await take(pool, clock, fresh=True)
    assert state(pool) == (2, 1, 1, 0)
    assert not first.connection.is_clean  # the oldest made room
    assert third.connection is not second.connection


async def test_a_refused_connect_gives_its_slot_back(make_pool: Any, backend: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=1)
    await backend.refuse()
    for _ in range(3):
        with pytest.raises(ProxyError) as caught:
            await take(pool, clock)
        assert caught.value.kind is ErrorKind.CONNECT_REFUSED
        assert state(pool) == (0, 0, 0, 0)
    assert pool.connect_failures == 3


async def test_an_unexpected_error_of_the_connect_gives_its_slot_back_too(backend: Any, clock: Any) -> None:
    async def connect() -> Any:
        raise LookupError("a bug")

    pool: Pool = EndpointPool(backend.address, PoolNumbers(max_in_flight=1), connect, clock=clock)
    for _ in range(2):
        with pytest.raises(LookupError):
            await take(pool, clock)
    assert state(pool) == (0, 0, 0, 0)


class Silence:
    """A connect that neither succeeds nor fails. `cancelled` counts how often it was told to stop."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def connect(self) -> Any:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


@pytest.mark.parametrize(("deadline_s", "waits_s"), [(60.0, 1.0), (0.3, 0.3)], ids=["connect timeout", "deadline"])
async def test_a_connect_that_hangs_is_given_up(
    backend: Any, clock: Any, eventually: Eventually, deadline_s: float, waits_s: float
) -> None:
    silence = Silence()
    pool: Pool = EndpointPool(backend.address, PoolNumbers(connect_timeout_s=1.0), silence.connect, clock=clock)
    lease = asyncio.ensure_future(pool.lease(clock() + deadline_s, clock()))
    await eventually(lambda: pool.in_use == 1)
    pool.tick(clock.advance(waits_s - 0.01))
    assert not lease.done()
    assert state(pool) == (1, 1, 0, 0)
    pool.tick(clock.advance(0.02))
    with pytest.raises(ProxyError) as caught:
        await lease
    assert caught.value.kind is ErrorKind.CONNECT_TIMEOUT
    await eventually(lambda: pool.in_use == 0)
    assert (silence.cancelled, pool.connect_failures) == (1, 1)
    assert state(pool) == (0, 0, 0, 0)


async def test_a_client_that_leaves_during_the_connect_ends_it(
    backend: Any, clock: Any, eventually: Eventually
) -> None:
    silence = Silence()
    pool: Pool = EndpointPool(backend.address, PoolNumbers(), silence.connect, clock=clock)
    lease = asyncio.ensure_future(take(pool, clock))
    await asyncio.sleep(0.001)
    lease.cancel()
    await eventually(lambda: pool.in_use == 0)
    assert silence.cancelled == 1
    assert state(pool) == (0, 0, 0, 0)
    assert pool.connect_failures == 0  # nobody's fault


async def test_a_connect_that_is_done_when_its_client_leaves_serves_the_next(
    make_pool: Any, backend: Any, clock: Any, eventually: Eventually
) -> None:
    pool = make_pool()
    lease = asyncio.ensure_future(pool.lease(clock() + 60.0, clock()))
    while pool.connects == 0:
        await asyncio.sleep(0)  # and not a turn more: granted, but the client has not run since
    assert not lease.done()
    lease.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lease
    assert state(pool) == (1, 0, 1, 0)
    assert pool.take_now(clock()) is not None
    assert backend.accepted == 1


async def test_warm_up_keeps_min_idle_connections_open(
    make_pool: Any, backend: Any, clock: Any, eventually: Eventually
) -> None:
    pool = make_pool(min_idle=2)
    pool.warm(clock())
    pool.warm(clock())  # those under way count
    await eventually(lambda: pool.idle == 2)
    assert state(pool) == (2, 0, 2, 0)
    lease = pool.take_now(clock())
    assert lease.reused
    pool.warm(clock())
    await eventually(lambda: pool.idle == 2)
    assert (state(pool), backend.accepted) == ((3, 1, 2, 0), 3)


async def test_warm_up_stays_within_the_limit(make_pool: Any, clock: Any, eventually: Eventually) -> None:
    pool = make_pool(max_in_flight=2, min_idle=2)
    lease = await take(pool, clock)
    pool.warm(clock())
    await eventually(lambda: pool.idle == 1)
    pool.warm(clock())
    assert state(pool) == (2, 1, 1, 0)
    lease.release(False)


async def test_a_warm_up_that_fails_waits_and_reports(
    make_pool: Any, backend: Any, clock: Any, eventually: Eventually
) -> None:
    pool, failures = make_pool(min_idle=1), []
    pool.on_warm_failed = lambda error, now: failures.append((error.kind, now))
    await backend.refuse()
    pool.warm(clock())
    await eventually(lambda: bool(failures))
    assert failures == [(ErrorKind.CONNECT_REFUSED, clock())]
    assert state(pool) == (0, 0, 0, 0)
    pool.warm(clock.advance(0.5))
    assert state(pool) == (0, 0, 0, 0)
    await backend.listen()
    pool.warm(clock.advance(0.5))
    await eventually(lambda: pool.idle == 1)


async def test_a_drained_pool_closes_what_is_idle_and_lets_leases_end(
    make_pool: Any, backend: Any, clock: Any, eventually: Eventually
) -> None:
    pool = make_pool()
    idle, used = await take(pool, clock), await take(pool, clock)
    idle.release(True)
    pool.drain()
    assert state(pool) == (1, 1, 0, 0)
    assert not pool.closed
    assert pool.take_now(clock()) is None
    pool.resize(PoolNumbers(max_in_flight=100, max_idle=100))  # changes nothing any more
    with pytest.raises(ProxyError) as caught:
        await take(pool, clock)
    assert caught.value.kind is ErrorKind.NO_ENDPOINT
    assert await used.connection.ask() == b"hello\n"
    used.release(True)
    assert state(pool) == (0, 0, 0, 0)
    assert pool.closed
    await eventually(lambda: not backend.open)


async def test_other_numbers_apply_at_once(make_pool: Any, clock: Any, eventually: Eventually) -> None:
    pool = make_pool(max_in_flight=1)
    first = await take(pool, clock)
    second = asyncio.ensure_future(take(pool, clock))
    await eventually(lambda: pool.waiting == 1)
    pool.resize(PoolNumbers(max_in_flight=2))
    lease = await second
    assert state(pool) == (2, 2, 0, 0)
    pool.resize(PoolNumbers(max_in_flight=1))
    assert state(pool) == (2, 2, 0, 0)  # leases are not interrupted
    first.release(True)
    assert state(pool) == (1, 1, 0, 0)
    lease.release(True)
    assert state(pool) == (1, 0, 1, 0)
    pool.resize(PoolNumbers(max_idle=0))
    assert state(pool) == (0, 0, 0, 0)


async def test_a_hundred_restless_clients_lose_no_slot(
    make_pool: Any, backend: Any, clock: Any, eventually: Eventually
) -> None:
    rng = random.Random(7)
    pool = make_pool(max_in_flight=5, max_idle=3, queue=1000)

    async def client() -> None:
        for _ in range(5):
            try:
                lease = await pool.lease(clock() + 60.0, clock(), fresh=rng.random() < 0.1)
            except ProxyError:
                continue
            async with lease:
                await lease.connection.ask()
                if rng.random() < 0.8:
                    lease.release(True)

    clients = [asyncio.ensure_future(client()) for _ in range(100)]
    async with asyncio.timeout(20):
        while not all(task.done() for task in clients):
            await asyncio.sleep(0.001)
            rng.choice(clients).cancel()
            if backend.open and rng.random() < 0.3:
                rng.choice(backend.open).close()
            assert pool.total == pool.idle + pool.in_use <= 5
            assert len(backend.open) <= 5 + 3  # those that we have just closed included
    results = await asyncio.gather(*clients, return_exceptions=True)
    assert sum(result is None for result in results) >= 10
    await eventually(lambda: pool.in_use == 0)
    assert pool.waiting == 0
    await eventually(lambda: len(backend.open) == pool.total)

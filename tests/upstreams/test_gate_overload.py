"""The gate under an adaptive limit, and who is refused there at once for the sake of better classes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import ErrorKind, ProxyError
from proxy.upstreams.adaptive import AdaptiveRules
from proxy.upstreams.address import parse_address
from proxy.upstreams.claims import Bid, Reach
from proxy.upstreams.gate import Gate
from proxy.upstreams.gate_status import gate_status
from proxy.upstreams.lease import Lease
from proxy.upstreams.pool import EndpointPool
from proxy.upstreams.queue import PRIORITIES
from proxy.upstreams.shed import ShedRules
from proxy.upstreams.upstream import PoolNumbers

CRITICAL, NORMAL, BACKGROUND = range(3)
STEP_S = 0.05


@pytest.fixture
def make_pool(backend: Any, clock: Any, open_line: Any) -> Callable[..., EndpointPool[Any]]:
    def make(**numbers: Any) -> EndpointPool[Any]:
        async def connect() -> Any:
            return await open_line(backend.address, clock())

        pool: EndpointPool[Any] = EndpointPool(
            backend.address, PoolNumbers(**numbers), connect, clock=clock, rng=lambda: 0.0
        )
        pool.gate.lead_to([[pool], [pool], [pool]])
        return pool

    return make


def ask(
    pool: EndpointPool[Any], clock: Any, rank: int = NORMAL, reach: int = Reach.PRIMARY
) -> asyncio.Task[Lease[Any]]:
    return asyncio.ensure_future(pool.lease(clock() + 60.0, clock(), bid=Bid(reach, rank)))


async def take(pool: EndpointPool[Any], clock: Any, rank: int = NORMAL) -> Lease[Any]:
    async with asyncio.timeout(5):
        return await ask(pool, clock, rank)


async def refused(waiter: asyncio.Task[Lease[Any]]) -> ProxyError:
    async with asyncio.timeout(5):
        with pytest.raises(ProxyError) as caught:
            await waiter
    return caught.value


def spend(pool: EndpointPool[Any], clock: Any, seconds: float) -> None:
    for _ in range(round(seconds / STEP_S)):
        pool.tick(clock.advance(STEP_S))


# -- the adaptive limit at the gate --


async def test_what_is_beyond_the_limit_waits_and_gets_its_slot_as_the_limit_grows(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=8, adaptive=AdaptiveRules(True, least=2))
    gate: Gate[Any] = pool.gate
    spend(pool, clock, STEP_S)
    gate.adaptive.limit = 3.0
    spend(pool, clock, STEP_S)
    leases = [await take(pool, clock) for _ in range(3)]
    waiter = ask(pool, clock)
    await asyncio.sleep(0)
    assert (gate.lines.count, gate.in_use, gate.slots, gate.most) == (1, 3, 3, 8)
    assert gate.adaptive.held_back == 1
    gate.adaptive.limit = 4.0
    pool.tick(clock.advance(STEP_S))
    leases.append(await waiter)
    assert gate.in_use == 4
    for lease in leases:
        lease.release(True)


async def test_a_limit_that_falls_interrupts_nobody(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=8, adaptive=AdaptiveRules(True, least=2))
    leases = [await take(pool, clock) for _ in range(6)]
    pool.gate.adaptive.limit = 2.0
    pool.tick(clock.advance(STEP_S))
    waiter = ask(pool, clock)
    for lease in leases[:4]:
        lease.release(True)
        await asyncio.sleep(0)
        assert not waiter.done()
    leases[4].release(True)
    (await waiter).release(True)
    leases[5].release(True)
    assert pool.stats()["in_use"] == 0


async def test_observed_it_counts_and_nobody_waits(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=8, adaptive=AdaptiveRules(False, least=2))
    pool.tick(clock.advance(STEP_S))
    pool.gate.adaptive.limit = 2.0
    leases = [await take(pool, clock) for _ in range(8)]
    assert (pool.gate.adaptive.held_back, pool.gate.slots, pool.gate.lines.count) == (6, 8, 0)
    for lease in leases:
        lease.release(True)


async def test_without_it_a_connection_at_hand_asks_nobody(make_pool: Any, clock: Any) -> None:
    for rules, is_asked in ((None, False), (AdaptiveRules(False, least=2), True), (AdaptiveRules(True, least=2), True)):
        pool = make_pool(max_in_flight=8, adaptive=rules)
        (await take(pool, clock)).release(True)
        lease = pool.take_now(clock())
        assert (lease is None) is is_asked
        if lease is not None:
            lease.release(True)


async def test_a_reload_switches_it_on_and_off_and_keeps_what_it_knows(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=8)
    gate = pool.gate
    assert (gate.adaptive, gate.cap, gate_status(gate, clock())["adaptive"]) == (None, None, None)
    pool.resize(PoolNumbers(max_in_flight=8, adaptive=AdaptiveRules(False, least=2)))
    pool.tick(clock.advance(STEP_S))
    gate.adaptive.limit = 4.0
    assert gate.slots == 8
    pool.resize(PoolNumbers(max_in_flight=8, adaptive=AdaptiveRules(True, least=2)))
    assert (gate.adaptive.limit, gate.slots, gate_status(gate, clock())["adaptive"]["mode"]) == (4.0, 4, "enforce")
    pool.resize(PoolNumbers(max_in_flight=8, max_in_flight_total=3, adaptive=AdaptiveRules(True, least=2)))
    assert gate.slots == 3
    pool.resize(PoolNumbers(max_in_flight=8))
    assert (gate.adaptive, gate.slots, gate.is_asked) == (None, 8, False)


async def test_a_late_database_takes_half_and_a_better_reading_lets_it_grow(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=8, adaptive=AdaptiveRules(True, least=2))
    gate = pool.gate
    pool.tick(clock.advance(STEP_S))
    gate.database_said(True)
    assert gate.slots == 4
    gate.database_said(True)
    gate.database_said(True)
    assert (gate.slots, gate.adaptive.cuts["database"], gate.adaptive.is_database_late) == (2, 3, True)
    gate.database_said(False)
    assert (gate.slots, gate.adaptive.is_database_late) == (2, False)


# -- classes that are refused --


async def serve(waiting: list[asyncio.Task[Lease[Any]]]) -> None:
    """In whatever order their turns come."""
    async with asyncio.timeout(5):
        for done in asyncio.as_completed(waiting):
            (await done).release(True)


async def crowd(pool: EndpointPool[Any], clock: Any, waiting: int, rank: int) -> list[asyncio.Task[Lease[Any]]]:
    made = [ask(pool, clock, rank) for _ in range(waiting)]
    await asyncio.sleep(0)
    return made


async def test_the_background_is_refused_at_once_while_the_line_stays_half_full(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=1, queue=10, queue_timeout_s=60.0, shed=ShedRules(0.5, 0.8))
    lease = await take(pool, clock)
    waiting = await crowd(pool, clock, 5, NORMAL)
    early = (await crowd(pool, clock, 1, BACKGROUND))[0]
    spend(pool, clock, 0.7)
    late = ask(pool, clock, BACKGROUND)
    error = await refused(late)
    assert (error.kind, error.kind.value, error.kind.status) == (ErrorKind.SHED, "shed", 503)
    assert error.retry_after_s is not None
    assert 1.0 <= error.retry_after_s <= 30.0
    better = [ask(pool, clock, NORMAL), ask(pool, clock, CRITICAL)]
    await asyncio.sleep(0)
    assert not early.done()  # it was let in before
    status = gate_status(pool.gate, clock())["classes"]
    assert [status[word]["shed"] for word in PRIORITIES] == [False, False, True]
    assert [status[word]["refused"]["shed"] for word in PRIORITIES] == [0, 0, 1]
    for waiter in (*waiting, *better, early):
        waiter.cancel()
    lease.release(True)


async def test_before_a_normal_one_is_refused_nobody_in_the_background_waits_any_more(
    make_pool: Any, clock: Any
) -> None:
    pool = make_pool(max_in_flight=1, queue=10, queue_timeout_s=60.0, shed=ShedRules(0.3, 0.5))
    lease = await take(pool, clock)
    early = await crowd(pool, clock, 2, BACKGROUND)
    waiting = await crowd(pool, clock, 6, NORMAL)
    spend(pool, clock, 1.3)
    assert {(await refused(waiter)).kind for waiter in early} == {ErrorKind.SHED}
    assert (await refused(ask(pool, clock, NORMAL))).kind is ErrorKind.SHED
    critical = ask(pool, clock, CRITICAL)
    await asyncio.sleep(0)
    lease.release(True)
    (await critical).release(True)
    await serve(waiting)
    assert pool.gate.is_empty
    spend(pool, clock, 2.5)
    assert not pool.gate.lines.sheds(BACKGROUND)


async def test_a_free_slot_is_given_to_whoever_comes(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=2, queue=2, queue_timeout_s=60.0, shed=ShedRules(0.5, 0.8))
    leases = [await take(pool, clock) for _ in range(2)]
    waiting = await crowd(pool, clock, 2, NORMAL)
    spend(pool, clock, 0.7)
    assert pool.gate.lines.sheds(BACKGROUND)
    for lease in leases:
        lease.release(True)
    await serve(waiting)
    assert pool.gate.lines.sheds(BACKGROUND)
    (await take(pool, clock, BACKGROUND)).release(True)


async def test_at_the_least_limit_the_background_does_not_wait(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=8, queue=100, adaptive=AdaptiveRules(True, least=1), shed=ShedRules())
    pool.tick(clock.advance(STEP_S))
    pool.gate.adaptive.limit = 1.0
    lease = await take(pool, clock)
    spend(pool, clock, 0.7)
    assert (await refused(ask(pool, clock, BACKGROUND))).kind is ErrorKind.SHED
    waiter = ask(pool, clock, NORMAL)
    await asyncio.sleep(0)
    lease.release(True)
    (await waiter).release(True)


async def test_what_is_refused_in_one_line_is_not_let_into_another_for_the_same_slots(
    make_pool: Any, clock: Any
) -> None:
    pool = make_pool(max_in_flight=1, queue=4, queue_timeout_s=60.0, shed=ShedRules(0.5, None))
    lease = await take(pool, clock)
    waiting = await crowd(pool, clock, 3, NORMAL)  # for the primaries
    spend(pool, clock, 0.7)
    assert (await refused(ask(pool, clock, BACKGROUND, Reach.REPLICA))).kind is ErrorKind.SHED
    for waiter in waiting:
        waiter.cancel()
    lease.release(True)


async def test_a_reload_that_switches_it_off_refuses_nobody_any_more(make_pool: Any, clock: Any) -> None:
    pool = make_pool(max_in_flight=1, queue=4, queue_timeout_s=60.0, shed=ShedRules())
    lease = await take(pool, clock)
    waiting = await crowd(pool, clock, 2, NORMAL)
    spend(pool, clock, 0.7)
    assert pool.gate.lines.sheds(BACKGROUND)
    pool.resize(PoolNumbers(max_in_flight=1, queue=4, queue_timeout_s=60.0))
    waiter = ask(pool, clock, BACKGROUND)
    await asyncio.sleep(0)
    assert pool.gate.lines.count == 3
    for each in (*waiting, waiter):
        each.cancel()
    lease.release(True)


# -- never a better one instead of a worse one --

EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 2)),
        st.tuples(st.just("free"), st.just(0)),
        st.tuples(st.just("time"), st.integers(1, 12)),
        st.tuples(st.just("limit"), st.integers(1, 4)),
    ),
    max_size=120,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Opened:
    opened_at = 0.0
    retires_at = 0.0
    on_closed = None
    is_clean = True

    def close(self) -> None:
        """Nothing is open."""


async def _opened() -> Opened:
    return Opened()


@settings(max_examples=80, deadline=None)
@given(events=EVENTS, has_limit=st.booleans())
def test_while_a_class_is_refused_no_worse_one_waits_or_is_let_in(
    events: list[tuple[str, int]], has_limit: bool
) -> None:
    asyncio.run(_play(events, has_limit))


async def _play(events: list[tuple[str, int]], has_limit: bool) -> None:
    clock = Clock()
    rules = AdaptiveRules(True, least=1) if has_limit else None
    numbers = PoolNumbers(
        max_in_flight=2, queue=6, queue_timeout_s=3.0, shed=ShedRules(0.3, 0.6), adaptive=rules, max_lifetime_s=1e9
    )
    pool: EndpointPool[Any] = EndpointPool(
        parse_address("http://127.0.0.1:1"), numbers, partial(_opened), clock=clock, rng=lambda: 0.0
    )
    gate = pool.gate
    gate.lead_to([[pool], [pool], [pool]])
    asked: list[tuple[int, asyncio.Task[Lease[Any]]]] = []
    held: list[Lease[Any]] = []
    for word, value in events:
        if word == "ask":
            asked.append((value, ask(pool, clock, value)))
        elif word == "free" and held:
            held.pop(0).release(True)
        elif word == "limit" and gate.adaptive is not None:
            gate.adaptive.limit = float(value)
        for _ in range(value if word == "time" else 1):
            clock.now += STEP_S if word == "time" else 0.0
            pool.tick(clock.now)
        for _ in range(4):  # connects and grants
            await asyncio.sleep(0)
        refused_now = {
            rank
            for rank, waiter in asked
            if waiter.done() and isinstance(error := waiter.exception(), ProxyError) and error.kind is ErrorKind.SHED
        }
        if word == "ask" and refused_now & {value}:
            assert all(gate.lines.depth(rank) == 0 for rank in range(value + 1, 3))
            assert all(gate.lines.sheds(rank) for rank in range(value, 3))
        assert CRITICAL not in refused_now
        for rank in range(3):
            if gate.lines.sheds(rank):
                assert all(gate.lines.depth(worse) == 0 for worse in range(rank + 1, 3))
        for _, waiter in [each for each in asked if each[1].done()]:
            if waiter.exception() is None:
                held.append(waiter.result())
        asked = [each for each in asked if not each[1].done()]
    for _, waiter in asked:
        waiter.cancel()
    await asyncio.gather(*[waiter for _, waiter in asked], return_exceptions=True)
    for lease in held:
        lease.release(True)
    assert gate.in_use == 0

"""The gate before an upstream: whichever endpoint is free first, one bound for all, and who is told what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from proxy.core.errors import ErrorKind, ProxyError
from proxy.upstreams.claims import Bid, Reach
from proxy.upstreams.gate import Gate
from proxy.upstreams.gate_status import gate_status
from proxy.upstreams.lease import Lease
from proxy.upstreams.pool import EndpointPool
from proxy.upstreams.upstream import PoolNumbers

CRITICAL, NORMAL, BACKGROUND = range(3)


class House:
    """An upstream's pools and their gate; `pools` are the primaries, `replicas` the rest."""

    def __init__(self, gate: Gate[Any], pools: list[EndpointPool[Any]], replicas: list[EndpointPool[Any]]) -> None:
        self.gate, self.pools, self.replicas = gate, pools, replicas
        self.lead(pools, replicas)

    def lead(self, pools: list[EndpointPool[Any]], replicas: list[EndpointPool[Any]]) -> None:
        self.gate.lead_to([pools, replicas or pools, replicas])


@pytest.fixture
def make_house(start_backend: Any, clock: Any, open_line: Any) -> Callable[..., Awaitable[House]]:
    async def make(pools: int = 2, replicas: int = 0, **numbers: Any) -> House:
        bounds = PoolNumbers(**numbers)
        made = []
        for number in range(pools + replicas):
            backend = await start_backend()
            connect = partial(_open, open_line, backend.address, clock)
            pool: EndpointPool[Any] = EndpointPool(backend.address, bounds, connect, clock=clock, rng=lambda: 0.0)
            pool.endpoint = f"endpoint {number}"
            made.append(pool)
        gate: Gate[Any] = Gate(bounds, clock)
        for pool in made:
            gate.attach(pool)
        return House(gate, made[:pools], made[pools:])

    return make


async def _open(open_line: Any, address: Any, clock: Any) -> Any:
    return await open_line(address, clock())


def ask(
    pool: EndpointPool[Any],
    clock: Any,
    share: Any = None,
    *,
    reach: int = Reach.PRIMARY,
    rank: int = NORMAL,
    deadline_s: float = 60.0,
    size_bytes: int = 0,
    fresh: bool = False,
    among: Sequence[EndpointPool[Any]] | None = None,
) -> asyncio.Task[Lease[Any]]:
    readers = None if among is None else frozenset([each.address for each in among])
    bid = Bid(reach, rank, share, size_bytes, among=readers)
    return asyncio.ensure_future(pool.lease(clock() + deadline_s, clock(), fresh=fresh, bid=bid))


async def take(pool: EndpointPool[Any], clock: Any, **options: Any) -> Lease[Any]:
    async with asyncio.timeout(5):  # a slot that is lost is a failure and not a test that hangs
        return await ask(pool, clock, **options)


async def got(waiter: asyncio.Task[Lease[Any]]) -> Lease[Any]:
    async with asyncio.timeout(5):
        return await waiter


async def refused(waiter: asyncio.Task[Lease[Any]]) -> ProxyError:
    async with asyncio.timeout(5):
        with pytest.raises(ProxyError) as caught:
            await waiter
    return caught.value


async def in_line(gate: Gate[Any], *waiters: asyncio.Task[Lease[Any]], count: int | None = None) -> None:
    await asyncio.sleep(0)
    assert gate.lines.count == (len(waiters) if count is None else count)


# -- any that would do --


async def test_a_request_for_a_busy_endpoint_takes_another_one(make_house: Any, clock: Any) -> None:
    house = await make_house(max_in_flight=1)
    one = house.pools[0]
    first = await take(one, clock)
    second = await take(one, clock)
    assert (first.endpoint, second.endpoint) == ("endpoint 0", "endpoint 1")
    second.release(True)
    third = await take(one, clock)
    assert third.connection is second.connection


async def test_who_waits_gets_whichever_endpoint_is_free_first(make_house: Any, clock: Any) -> None:
    house = await make_house(max_in_flight=1)
    one, two = house.pools
    first, second = await take(one, clock), await take(two, clock)
    waiter = ask(one, clock)
    await in_line(house.gate, waiter)
    second.release(True)
    lease = await waiter
    assert lease.endpoint == "endpoint 1"
    assert lease.connection is second.connection
    assert first.connection is not lease.connection


async def test_a_failure_is_told_of_the_endpoint_whose_it_was(make_house: Any, clock: Any) -> None:
    house = await make_house(max_in_flight=1)
    one, two = house.pools
    first, second = await take(one, clock), await take(two, clock)
    waiter = ask(one, clock)
    await in_line(house.gate, waiter)

    async def refuse() -> Any:
        raise ProxyError(ErrorKind.CONNECT_REFUSED, "nobody listens")

    two.connect = refuse
    second.release(False)
    error = await refused(waiter)
    assert (error.kind, error.at) == (ErrorKind.CONNECT_REFUSED, "endpoint 1")
    first.release(True)


async def test_who_wants_one_endpoint_waits_for_that_one(make_house: Any, clock: Any) -> None:
    house = await make_house(max_in_flight=1)
    one, two = house.pools
    first, second = await take(one, clock), await take(two, clock)
    waiter = ask(one, clock, reach=Reach.ONE)
    await in_line(house.gate, waiter)
    second.release(True)
    await asyncio.sleep(0)
    assert not waiter.done()
    first.release(True)
    assert (await waiter).endpoint == "endpoint 0"
    assert house.gate.is_empty


async def test_where_nothing_would_do_it_is_the_one_that_was_asked(make_house: Any, clock: Any) -> None:
    house = await make_house(1, max_in_flight=1)
    (pool,) = house.pools
    lease = await take(pool, clock)
    waiter = ask(pool, clock, reach=Reach.REPLICA_ONLY)  # there are no replicas
    await in_line(house.gate, waiter)
    lease.release(True)
    assert (await waiter).connection is lease.connection


async def test_reads_wait_for_replicas_and_writes_for_the_primary(make_house: Any, clock: Any) -> None:
    house = await make_house(1, 1, max_in_flight=1)
    primary, replica = house.pools[0], house.replicas[0]
    leases = await take(primary, clock), await take(replica, clock, reach=Reach.REPLICA)
    read, write = ask(replica, clock, reach=Reach.REPLICA), ask(primary, clock)
    await in_line(house.gate, read, write)
    leases[0].release(True)
    assert (await write).endpoint == "endpoint 0"
    assert not read.done()
    leases[1].release(True)
    assert (await read).endpoint == "endpoint 1"


@pytest.mark.parametrize("reach", [Reach.REPLICA, Reach.REPLICA_ONLY], ids=["replica", "replica only"])
async def test_who_may_read_some_replicas_never_gets_another(make_house: Any, clock: Any, reach: int) -> None:
    house = await make_house(1, 3, max_in_flight=1)
    one, two, behind = house.replicas
    first, second = await take(one, clock, reach=reach), await take(two, clock, reach=reach)
    waiter = ask(one, clock, reach=reach, among=[one, two])  # beside a free slot that will not do
    await in_line(house.gate, waiter)
    last = await take(behind, clock, reach=reach)
    last.release(True)
    await asyncio.sleep(0)
    assert not waiter.done()
    second.release(True)
    lease = await waiter
    assert lease.endpoint == two.endpoint
    assert house.gate.is_empty
    lease.release(True)
    assert (await take(one, clock, reach=reach, among=[one, two])).endpoint == two.endpoint
    assert (await take(one, clock, reach=reach)).endpoint == behind.endpoint
    first.release(True)


async def test_who_may_read_any_replica_shares_the_slots_with_who_may_read_some(make_house: Any, clock: Any) -> None:
    house = await make_house(1, 2, max_in_flight=1)
    one, two = house.replicas
    leases = [await take(pool, clock, reach=Reach.REPLICA) for pool in (one, two)]
    some = ask(two, clock, reach=Reach.REPLICA, among=[two])
    await in_line(house.gate, some)
    clock.now += 0.1
    anyone = ask(one, clock, reach=Reach.REPLICA)
    await in_line(house.gate, some, anyone)
    leases[0].release(True)
    assert (await anyone).endpoint == one.endpoint
    assert not some.done()
    leases[1].release(True)
    assert (await some).endpoint == two.endpoint


async def test_when_the_replicas_that_will_do_go_out_who_waits_goes_to_the_primary(make_house: Any, clock: Any) -> None:
    house = await make_house(1, 2, max_in_flight=1)
    one, behind = house.replicas
    lease = await take(one, clock, reach=Reach.REPLICA)
    may_turn = ask(one, clock, reach=Reach.REPLICA, among=[one])
    may_not = ask(one, clock, reach=Reach.REPLICA_ONLY, among=[one])
    await in_line(house.gate, may_turn, may_not)
    house.lead(house.pools, [behind])
    assert (await may_turn).endpoint == house.pools[0].endpoint
    await asyncio.sleep(0)
    assert not may_not.done()
    house.lead(house.pools, [one, behind])
    lease.release(True)
    assert (await may_not).endpoint == one.endpoint


async def test_an_endpoint_that_is_back_serves_those_who_wait(make_house: Any, clock: Any) -> None:
    house = await make_house(max_in_flight=1)
    one, two = house.pools
    house.lead([one], [])
    lease = await take(one, clock)
    waiter = ask(one, clock)
    await in_line(house.gate, waiter)
    house.lead([one, two], [])
    assert (await waiter).endpoint == "endpoint 1"
    lease.release(True)


# -- between lines --


@pytest.mark.parametrize("alone_first", [True, False], ids=["who wants one came first", "who takes any came first"])
async def test_between_lines_the_better_class_is_served_first(make_house: Any, clock: Any, alone_first: bool) -> None:
    house = await make_house(1, max_in_flight=1)
    [pool] = house.pools
    lease = await take(pool, clock)
    reaches = [Reach.ONE, Reach.PRIMARY] if alone_first else [Reach.PRIMARY, Reach.ONE]
    worse = ask(pool, clock, reach=reaches[0], rank=BACKGROUND)
    await in_line(house.gate, worse)
    clock.now += 0.05
    better = ask(pool, clock, reach=reaches[1], rank=CRITICAL)
    await in_line(house.gate, worse, better)
    lease.release(True)
    lease = await got(better)
    assert not worse.done()
    lease.release(True)
    (await got(worse)).release(True)


@pytest.mark.parametrize("alone_first", [True, False], ids=["who wants one came first", "who takes any came first"])
async def test_between_lines_who_waits_longest_is_served_first(make_house: Any, clock: Any, alone_first: bool) -> None:
    house = await make_house(1, max_in_flight=1)
    [pool] = house.pools
    lease = await take(pool, clock)
    reaches = [Reach.ONE, Reach.PRIMARY] if alone_first else [Reach.PRIMARY, Reach.ONE]
    first = ask(pool, clock, reach=reaches[0])
    await in_line(house.gate, first)
    clock.now += 0.05
    second = ask(pool, clock, reach=reaches[1])
    await in_line(house.gate, first, second)
    lease.release(True)
    lease = await got(first)
    assert not second.done()
    lease.release(True)
    (await got(second)).release(True)


async def test_a_slot_passes_by_whose_time_is_over_and_reaches_another_line(make_house: Any, clock: Any) -> None:
    house = await make_house(1, max_in_flight=1)
    [pool] = house.pools
    lease = await take(pool, clock)
    late = ask(pool, clock, rank=CRITICAL, deadline_s=0.5)
    in_time = ask(pool, clock, reach=Reach.ONE)
    await in_line(house.gate, late, in_time)
    clock.now += 0.6  # no tick has come since
    lease.release(True)
    assert (await refused(late)).kind is ErrorKind.QUEUE_TIMEOUT
    (await got(in_time)).release(True)
    assert house.gate.is_empty


@pytest.mark.parametrize("reach", [Reach.REPLICA, Reach.REPLICA_ONLY], ids=["replica", "replica only"])
async def test_all_who_wait_for_the_same_replicas_are_served(make_house: Any, clock: Any, reach: int) -> None:
    house = await make_house(1, 2, max_in_flight=1)
    one, _ = house.replicas
    lease = await take(one, clock, reach=reach, among=[one])
    waiters = [ask(one, clock, reach=reach, among=[one]) for _ in range(3)]
    await in_line(house.gate, *waiters)
    for waiter in waiters:
        lease.release(True)
        lease = await got(waiter)
    lease.release(True)
    assert house.gate.is_empty


async def test_who_may_read_some_replicas_only_waits_for_them_and_not_for_the_primary(
    make_house: Any, clock: Any
) -> None:
    house = await make_house(1, 2, max_in_flight=1)
    one, behind = house.replicas
    lease = await take(one, clock, reach=Reach.REPLICA)
    house.lead(house.pools, [behind])
    waiter = ask(one, clock, reach=Reach.REPLICA_ONLY, among=[one])
    await in_line(house.gate, waiter)
    (await take(house.pools[0], clock)).release(True)
    await asyncio.sleep(0)
    assert not waiter.done()
    lease.release(True)
    assert (await got(waiter)).endpoint == one.endpoint


# -- endpoints that drain --


async def test_who_comes_never_gets_an_endpoint_that_drains(make_house: Any, clock: Any) -> None:
    house = await make_house(max_in_flight=1)
    one, draining = house.pools
    draining.drain()
    lease = await take(one, clock)
    waiter = ask(one, clock)
    await in_line(house.gate, waiter)
    assert draining.in_use == 0
    lease.release(True)
    assert (await got(waiter)).endpoint == one.endpoint


async def test_where_all_endpoints_drain_nobody_may_wait(make_house: Any, clock: Any) -> None:
    house = await make_house(max_in_flight=1)
    leases = [await take(pool, clock) for pool in house.pools]
    for pool in house.pools:
        pool.drain()
    assert (await refused(ask(house.pools[0], clock))).kind is ErrorKind.NO_ENDPOINT
    for lease in leases:
        lease.release(True)


async def test_what_an_endpoint_that_drains_still_has_counts_for_the_bound(make_house: Any, clock: Any) -> None:
    house = await make_house(max_in_flight=2, max_in_flight_total=1)
    leaving, staying = house.pools
    lease = await take(leaving, clock)
    leaving.drain()
    house.lead([staying], [])
    waiter = ask(staying, clock)
    await in_line(house.gate, waiter)
    lease.release(True)
    (await got(waiter)).release(True)


async def test_an_endpoint_that_has_gone_is_forgotten(make_house: Any, clock: Any) -> None:
    house = await make_house()
    leaving, staying = house.pools
    lease = await take(leaving, clock)
    leaving.drain()
    house.lead([staying], [])
    staying.tick(clock.now)
    assert house.gate.pools == [leaving, staying]
    lease.release(True)
    clock.now += 0.05
    staying.tick(clock.now)
    assert house.gate.pools == [staying]


async def test_an_endpoint_that_is_attached_again_counts_once(make_house: Any, clock: Any) -> None:
    house = await make_house(1)
    house.gate.attach(house.pools[0])
    lease = await take(house.pools[0], clock)
    assert (house.gate.in_use, house.gate.stats_now()["total"]) == (1, 1)
    lease.release(True)


# -- other bounds --


async def test_a_reload_changes_how_many_may_wait(make_house: Any, clock: Any) -> None:
    house = await make_house(1, max_in_flight=1, queue=1)
    [pool] = house.pools
    lease = await take(pool, clock)
    first = ask(pool, clock)
    await in_line(house.gate, first)
    assert (await refused(ask(pool, clock))).kind is ErrorKind.QUEUE_FULL
    pool.resize(PoolNumbers(max_in_flight=1, queue=2))
    second = ask(pool, clock)
    await in_line(house.gate, first, second)
    assert (await refused(ask(pool, clock))).kind is ErrorKind.QUEUE_FULL
    for waiter in (first, second):
        lease.release(True)
        lease = await got(waiter)
    lease.release(True)


# -- one bound for all --


async def test_all_endpoints_together_have_a_bound(make_house: Any, clock: Any) -> None:
    house = await make_house(max_in_flight=5, max_in_flight_total=2)
    one, two = house.pools
    leases = [await take(one, clock), await take(two, clock)]
    waiter = ask(one, clock)
    await in_line(house.gate, waiter)
    assert (house.gate.in_use, house.gate.slots) == (2, 2)
    assert one.take_now(clock()) is None
    leases[1].release(True)
    lease = await waiter
    assert house.gate.in_use == 2
    lease.release(True)
    leases[0].release(True)
    assert house.gate.stats_now() == {"total": 2, "in_use": 0, "idle": 2, "waiting": 0}
    again = await take(one, clock)
    assert again.reused


async def test_a_bound_that_a_reload_brings_and_takes_away_again(make_house: Any, clock: Any) -> None:
    house = await make_house(max_in_flight=2)
    one, two = house.pools
    leases = [await take(one, clock) for _ in range(3)]
    for pool in house.pools:
        pool.resize(PoolNumbers(max_in_flight=2, max_in_flight_total=1))
    for lease in leases[1:]:
        lease.release(True)
    waiter = ask(two, clock)
    await in_line(house.gate, waiter)
    for pool in house.pools:
        pool.resize(PoolNumbers(max_in_flight=2))
    lease = await waiter
    lease.release(True)
    leases[0].release(True)
    assert house.gate.in_use == 0
    assert one.take_now(clock()) is not None


# -- who is next --


async def test_the_better_class_is_served_first(make_house: Any, clock: Any) -> None:
    house = await make_house(1, max_in_flight=1)
    (pool,) = house.pools
    lease = await take(pool, clock)
    waiters = [ask(pool, clock, rank=rank) for rank in (BACKGROUND, NORMAL, CRITICAL)]
    await in_line(house.gate, *waiters)
    for waiter in reversed(waiters):
        lease.release(True)
        lease = await waiter
    assert [stats.served for stats in house.gate.stats.classes] == [1, 1, 1]


async def test_tenants_take_turns_at_the_slots(make_house: Any, clock: Any) -> None:
    house = await make_house(1, max_in_flight=1)
    (pool,) = house.pools
    lease = await take(pool, clock)
    flood = [ask(pool, clock, "flood") for _ in range(5)]
    few = ask(pool, clock, "few")
    await in_line(house.gate, *flood, few)
    order = []
    for _ in range(3):
        lease.release(True)
        done, _ = await asyncio.wait([*flood, few], return_when=asyncio.FIRST_COMPLETED)
        new = next(task for task in done if task not in order)
        order.append(new)
        lease = new.result()
    assert order == [flood[0], few, flood[1]]
    for waiter in flood:
        waiter.cancel()
    await asyncio.gather(*flood, return_exceptions=True)


async def test_a_flood_that_fills_the_line_makes_room_for_others(make_house: Any, clock: Any) -> None:
    house = await make_house(1, max_in_flight=1, queue=3)
    (pool,) = house.pools
    lease = await take(pool, clock)
    flood = [ask(pool, clock, "flood") for _ in range(3)]
    await in_line(house.gate, *flood)
    few = ask(pool, clock, "few")
    error = await refused(flood[2])
    assert (error.kind, house.gate.lines.count) == (ErrorKind.QUEUE_FULL, 3)
    assert house.gate.stats.classes[NORMAL].displaced == 1
    assert (await refused(ask(pool, clock, "flood"))).kind is ErrorKind.QUEUE_FULL
    lease.release(True)
    (await flood[0]).release(True)
    (await few).release(True)
    (await flood[1]).release(True)


async def test_what_waits_may_hold_only_so_much(make_house: Any, clock: Any) -> None:
    house = await make_house(1, max_in_flight=1, queue_bytes=100)
    (pool,) = house.pools
    lease = await take(pool, clock)
    waiter = ask(pool, clock, size_bytes=60)
    await in_line(house.gate, waiter)
    assert house.gate.lines.size_bytes == 60
    assert (await refused(ask(pool, clock, size_bytes=41))).kind is ErrorKind.QUEUE_FULL
    lease.release(True)
    (await waiter).release(True)
    assert house.gate.lines.size_bytes == 0


# -- who is told what --


async def work(pool: EndpointPool[Any], clock: Any, seconds: float, times: int) -> None:
    """So that the gate knows how long a lease lasts."""
    for _ in range(times):
        lease = await take(pool, clock)
        pool.tick(clock.now)
        pool.tick(clock.advance(seconds))
        lease.release(True)
        pool.tick(clock.now)


async def test_who_would_be_too_late_is_told_so_at_once(make_house: Any, clock: Any) -> None:
    house = await make_house(1, max_in_flight=1, queue_timeout_s=1.0)
    (pool,) = house.pools
    await work(pool, clock, 0.5, 8)
    mean_s = house.gate.mean_service_s
    assert mean_s == pytest.approx(0.5, rel=0.3)
    lease = await take(pool, clock)
    waiters = [ask(pool, clock), ask(pool, clock)]
    await in_line(house.gate, *waiters)
    error = await refused(ask(pool, clock, deadline_s=0.6))  # two ahead of it, half a second each
    assert error.kind is ErrorKind.NO_CHANCE
    assert error.retry_after_s is not None
    assert 1.0 <= error.retry_after_s <= 2.5
    assert house.gate.stats.refused() == {"queue_full": 0, "queue_timeout": 0, "no_chance": 1, "shed": 0}
    lease.release(True)
    for waiter in waiters:
        (await waiter).release(True)


async def test_retry_after_comes_from_what_was_served(make_house: Any, clock: Any) -> None:
    house = await make_house(1, max_in_flight=1, queue=4, queue_timeout_s=60.0)
    (pool,) = house.pools
    await work(pool, clock, 1.5, 8)
    lease = await take(pool, clock)
    waiters = [ask(pool, clock) for _ in range(4)]
    await in_line(house.gate, *waiters)
    error = await refused(ask(pool, clock))
    assert error.kind is ErrorKind.QUEUE_FULL
    assert error.retry_after_s == pytest.approx(5 * 1.5, rel=0.4)
    lease.release(True)
    for waiter in waiters:
        (await waiter).release(True)


async def test_after_half_a_second_of_overload_the_newest_is_served_first(make_house: Any, clock: Any) -> None:
    house = await make_house(1, max_in_flight=1)
    (pool,) = house.pools
    lease = await take(pool, clock)
    old = ask(pool, clock)
    await in_line(house.gate, old)
    for _ in range(16):
        pool.tick(clock.advance(0.05))
    new = ask(pool, clock)
    await in_line(house.gate, old, new)
    assert gate_status(house.gate, clock())["classes"]["normal"]["newest_first"]
    lease.release(True)
    lease = await new
    assert not old.done()
    lease.release(True)
    (await old).release(True)
    assert not house.gate.lines.is_newest_first(NORMAL)


async def test_who_leaves_is_out_of_the_line_in_that_turn(make_house: Any, clock: Any) -> None:
    house = await make_house(1, max_in_flight=1)
    (pool,) = house.pools
    lease = await take(pool, clock)
    waiter = ask(pool, clock)
    await in_line(house.gate, waiter)
    waiter.cancel()
    await asyncio.sleep(0)
    assert (house.gate.lines.count, house.gate.is_empty) == (0, True)
    assert house.gate.stats.classes[NORMAL].left == 1
    lease.release(True)
    assert pool.stats() == {"total": 1, "in_use": 0, "idle": 1, "waiting": 0}


async def test_the_waits_are_counted(make_house: Any, clock: Any) -> None:
    house = await make_house(1, max_in_flight=1)
    (pool,) = house.pools
    lease = await take(pool, clock)
    waiter = ask(pool, clock)
    await in_line(house.gate, waiter)
    clock.advance(0.2)
    assert house.gate.lines.oldest_wait_s(clock()) == pytest.approx(0.2)
    lease.release(True)
    (await waiter).release(True)
    stats = house.gate.stats.classes[NORMAL]
    assert (stats.served, stats.wait_s) == (1, pytest.approx(0.2))
    status = gate_status(house.gate, clock())
    assert status["classes"]["normal"] == {
        "waiting": 0,
        "newest_first": False,
        "shed": False,
        "served_after_wait": 1,
        "wait_s": 0.2,
        "refused": {"queue_full": 0, "queue_timeout": 0, "no_chance": 0, "shed": 0},
        "left": 0,
    }
    assert status["slots"] == 1


# -- connections that are kept --


async def test_connections_that_were_opened_together_do_not_end_together(
    backend: Any, clock: Any, open_line: Any
) -> None:
    shares = iter([0.0, 0.25, 0.5, 0.75])
    pool: EndpointPool[Any] = EndpointPool(
        backend.address,
        PoolNumbers(max_lifetime_s=100.0, idle_timeout_s=1000.0),
        partial(_open, open_line, backend.address, clock),
        clock=clock,
        rng=lambda: next(shares),
    )
    leases = [await take(pool, clock, reach=Reach.ONE) for _ in range(4)]
    for lease in leases:
        lease.release(True)
    opened_at = clock.now
    left = []
    for age_s in (91.0, 93.0, 96.0, 98.0, 100.5):  # they end at 92.5, 95, 97.5 and 100
        clock.now = opened_at + age_s
        pool.tick(clock.now)
        left.append(pool.idle)
    assert left == [4, 3, 2, 1, 0]
    assert pool.stats() == {"total": 0, "in_use": 0, "idle": 0, "waiting": 0}


async def test_warm_up_that_fails_again_waits_longer_each_time(clock: Any, backend: Any) -> None:
    tried: list[float] = []

    async def refuse() -> Any:
        tried.append(clock.now)
        raise ProxyError(ErrorKind.CONNECT_REFUSED)

    numbers = PoolNumbers(min_idle=1)
    pool: EndpointPool[Any] = EndpointPool(backend.address, numbers, refuse, clock=clock, rng=lambda: 1.0)
    for _ in range(2000):
        pool.warm(clock.advance(0.05))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    pauses = [round(later - earlier) for earlier, later in pairwise(tried)]
    assert pauses[:6] == [1, 2, 4, 8, 16, 30]
    assert set(pauses[6:]) <= {30}

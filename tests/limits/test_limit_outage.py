"""A fleet whose store goes away and comes back: what it admits together, and how soon it is exact again.

Each store object is one Weir: it has its own connection, its own counts and its own lease in the fleet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.core.clock import monotonic
from proxy.limits.policy import LimitPolicy, compile_limit
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.shared.redis_store import RedisStore
from proxy.limits.verdict import LOCAL, SHARED, Verdict

SIZE = 4
PATIENCE_S = 0.1  # for a busy machine
ALGORITHMS = ["gcra", "fixed", "sliding", "log"]


def policy(rate: str = "400/h", name: str = "per-ip", **settings: Any) -> LimitPolicy:
    return compile_limit(name, LimitSettings.model_validate({"rate": rate, "by": "ip", **settings}), "test.yaml:1")


def flights(limit: int) -> LimitPolicy:
    settings = {"algorithm": "inflight", "limit": limit, "by": "ip"}
    return compile_limit("flights", LimitSettings.model_validate(settings), "test.yaml:1")


class Fleet:
    def __init__(self, server: Any, stores: list[RedisStore], told: list[str | None]) -> None:
        self.server = server
        self.stores = stores
        self.told = told

    async def ask(self, i: int, limit: LimitPolicy, member: bytes = b"") -> Verdict:
        verdict = self.stores[i].decide((limit,), [limit.prefix + b"a"], monotonic(), member)
        return verdict if isinstance(verdict, Verdict) else await verdict

    async def round(self, limit: LimitPolicy, times: int) -> int:
        """Every Weir is asked so often, all at the same pace. How many were admitted."""
        admitted = 0
        for _ in range(times):
            verdicts = await asyncio.gather(*[self.ask(i, limit) for i in range(SIZE)])
            admitted += sum([not verdict.denied for verdict in verdicts])
        return admitted

    async def beat(self) -> None:
        """Everybody hears from everybody."""
        for store in self.stores:
            store._membership.beat()
        await asyncio.sleep(0.05)

    async def until(self, mode: str, within_s: float = 4.0) -> float:
        """Wait for all of them, without asking for anything. How long that took."""
        started = monotonic()
        while {store.status()["mode"] for store in self.stores} != {mode}:
            assert monotonic() - started < within_s, [store.status() for store in self.stores]
            await asyncio.sleep(0.005)
        return monotonic() - started

    async def handed_over(self, within_s: float = 4.0) -> float:
        """Everybody counts on the store alone. How long that took."""
        started = monotonic()
        while any([store._hand_over.is_on for store in self.stores]):
            assert monotonic() - started < within_s
            await asyncio.sleep(0.005)
        return monotonic() - started

    async def lose(self) -> None:
        """As a crash: gone, with all that was stored."""
        self.server.kill()
        limit = policy("1000000/h", "other")
        while {store.status()["mode"] for store in self.stores} != {LOCAL}:
            await self.round(limit, 1)

    async def stall(self) -> None:
        """It is there and says nothing; its data stays."""
        self.server.stall()
        limit = policy("1000000/h", "other")
        while {store.status()["breaker"] for store in self.stores} == {"closed"} or {
            store.status()["mode"] for store in self.stores
        } != {LOCAL}:
            await self.round(limit, 1)

    async def peek(self, limit: LimitPolicy) -> int:
        verdict = self.stores[0].peek(limit, limit.prefix + b"a", monotonic())
        return (verdict if isinstance(verdict, Verdict) else await verdict).remaining


@pytest.fixture
async def fleet(server: Any) -> AsyncIterator[Fleet]:
    told: list[str | None] = []
    settings = LimiterSettings.model_validate({"store_timeout": PATIENCE_S})
    stores = [RedisStore(server.url, settings, told.append) for _ in range(SIZE)]
    for store in stores:
        await store.start()
    own = Fleet(server, stores, told)
    await own.beat()
    yield own
    for store in stores:
        await store.aclose()


async def test_everybody_knows_how_many_there_are(fleet: Fleet) -> None:
    assert [store.status()["fleet"] for store in fleet.stores] == [SIZE] * SIZE
    assert fleet.stores[0].status()["share"] == pytest.approx(0.95 / SIZE)
    await fleet.stores[-1].aclose()
    await fleet.beat()
    assert [store.status()["fleet"] for store in fleet.stores[:-1]] == [SIZE - 1] * (SIZE - 1)


async def test_a_weir_that_died_is_not_counted_any_more_once_its_lease_is_over(fleet: Fleet) -> None:
    dead = fleet.stores[-1]
    (key,) = fleet.server.admin.keys("weir-fleet*")
    assert fleet.server.admin.zscore(key, dead._membership.name) is not None
    fleet.server.admin.zadd(key, {dead._membership.name: 1.0})  # as if it had not been renewed for long
    for store in fleet.stores[:-1]:
        store._membership.beat()
    await asyncio.sleep(0.05)
    assert [store.status()["fleet"] for store in fleet.stores[:-1]] == [SIZE - 1] * (SIZE - 1)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("spent", [0, 200, 380])
async def test_a_fleet_that_loses_its_store_admits_the_rest_of_the_limit_and_no_more(
    fleet: Fleet, algorithm: str, spent: int
) -> None:
    limit = policy(algorithm=algorithm)
    before = await fleet.round(limit, spent // SIZE)
    assert before == spent
    await fleet.lose()
    during = await fleet.round(limit, 150)
    assert 0.85 * 400 <= before + during <= 400


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_what_was_admitted_meanwhile_is_charged_once_when_the_store_is_back(fleet: Fleet, algorithm: str) -> None:
    limit = policy(algorithm=algorithm)
    before = await fleet.round(limit, 30)
    await fleet.stall()
    during = await fleet.round(limit, 20)
    assert during == 80
    fleet.server.go_on()
    assert await fleet.until(SHARED) < 2.0
    assert 400 - before - during - 4 <= await fleet.peek(limit) <= 400 - before - during  # each share rounds once
    assert sum([store.stats.merged_units for store in fleet.stores]) >= 76
    await fleet.handed_over()
    after = await fleet.round(limit, 100)
    assert 400 - 4 <= before + during + after <= 400


@pytest.mark.parametrize("algorithm", ["gcra", "fixed", "sliding"])
async def test_a_store_that_comes_back_empty_does_not_start_everybody_afresh(fleet: Fleet, algorithm: str) -> None:
    limit = policy(algorithm=algorithm)
    total = await fleet.round(limit, 50)
    await fleet.lose()
    total += await fleet.round(limit, 20)
    fleet.server.start()
    assert await fleet.until(SHARED) < 2.0
    total += await fleet.round(limit, 200)
    assert 0.85 * 400 <= total <= 400


async def test_keys_that_were_not_asked_for_meanwhile_are_told_to_an_empty_store_too(fleet: Fleet) -> None:
    limit = policy()
    total = await fleet.round(limit, 90)
    await fleet.lose()
    fleet.server.start()
    await fleet.until(SHARED)
    total += await fleet.round(limit, 100)
    assert 0.85 * 400 <= total <= 400


async def test_nobody_waits_beyond_the_deadline_and_nobody_at_all_once_the_breaker_is_open(fleet: Fleet) -> None:
    limit = policy("1000000/h")
    await fleet.round(limit, 1)
    fleet.server.stall()
    waits = []
    while fleet.stores[0].status()["breaker"] == "closed":
        started = monotonic()
        await fleet.ask(0, limit)
        waits.append(monotonic() - started)
    assert len(waits) == 5
    assert max(waits) < PATIENCE_S + 0.05
    started = time.process_time()
    for _ in range(2000):
        assert isinstance(fleet.stores[0].decide((limit,), [limit.prefix + b"a"], monotonic()), Verdict)
    assert (time.process_time() - started) / 2000 < 0.0001
    fleet.server.go_on()


async def test_a_stall_of_a_moment_opens_no_breaker(server: Any) -> None:
    store = RedisStore(server.url, LimiterSettings.model_validate({"store_timeout": 0.05}), lambda error: None)
    await store.start()
    limit = policy()
    server.stall()
    asyncio.get_running_loop().call_later(0.1, server.go_on)
    modes = set()
    for _ in range(20):
        verdict = store.decide((limit,), [limit.prefix + b"a"], monotonic())
        modes.add((verdict if isinstance(verdict, Verdict) else await verdict).mode)
        await asyncio.sleep(0.01)
    assert modes == {LOCAL, SHARED}
    assert store.stats.breaker_openings == 0
    await asyncio.sleep(0.01)
    verdict = store.peek(limit, limit.prefix + b"a", monotonic())
    assert not isinstance(verdict, Verdict)
    assert (await verdict).remaining == 400 - 20  # in the store or here, each was charged once
    await store.aclose()


@pytest.mark.parametrize("how", ["killed and started empty", "stopped and continued"])
async def test_it_is_found_again_within_two_seconds(fleet: Fleet, how: str) -> None:
    await (fleet.lose() if how.startswith("killed") else fleet.stall())
    await asyncio.sleep(0.3)
    if how.startswith("killed"):
        fleet.server.start()
    else:
        fleet.server.go_on()
    assert await fleet.until(SHARED) < 2.0
    assert {(await fleet.ask(i, policy())).mode for i in range(SIZE)} == {SHARED}
    for store in fleet.stores:
        status = store.status()
        assert (status["error"], status["breaker"]) == (None, "closed")
    assert len([reason for reason in fleet.told if reason is None]) == SIZE


async def test_the_status_says_since_when_and_with_which_share(fleet: Fleet) -> None:
    before = fleet.stores[0].status()
    await fleet.lose()
    status = fleet.stores[0].status()
    assert status["mode"] == LOCAL
    assert before["since"] < status["since"] <= time.time()
    assert (status["fleet"], status["share"]) == (SIZE, pytest.approx(0.95 / SIZE))


async def test_a_local_denial_does_not_promise_more_than_the_next_look_at_the_store(fleet: Fleet) -> None:
    limit = policy("4/s", burst=1)
    await fleet.stall()
    while not (verdict := await fleet.ask(0, limit)).denied:
        pass
    back_in_s = fleet.stores[0]._recovery.back_in_s(monotonic())
    assert verdict.reset_s >= back_in_s
    assert verdict.retry_after_s >= verdict.reset_s
    fleet.server.go_on()


async def test_units_given_back_in_an_outage_are_given_back_where_they_were_charged(fleet: Fleet) -> None:
    limit = policy(algorithm="fixed")
    await fleet.round(limit, 10)
    charged_at = monotonic()
    await fleet.stall()
    for _ in range(10):
        assert not (await fleet.ask(0, limit)).denied
    fleet.stores[0].adjust(limit, limit.prefix + b"a", -3, monotonic())  # of those that were charged here
    fleet.stores[1].adjust(limit, limit.prefix + b"a", -5, charged_at)  # of those that the store has charged
    fleet.server.go_on()
    await fleet.until(SHARED)
    await asyncio.sleep(0.05)
    assert await fleet.peek(limit) == 400 - 40 - 10 + 3 + 5


async def test_what_is_in_flight_over_an_outage_is_released_wherever_it_was_admitted(fleet: Fleet) -> None:
    limit = flights(20)
    key = limit.prefix + b"a"
    store = fleet.stores[0]
    assert not (await fleet.ask(0, limit, b"before")).denied
    await fleet.stall()
    verdicts = [await fleet.ask(0, limit, b"during%d" % i) for i in range(8)]
    # the share is 4 of 20, and one of them has been under way since before
    assert [verdict.denied for verdict in verdicts] == [False] * 3 + [True] * 5
    store.release(limit, key, b"during0")
    assert not (await fleet.ask(0, limit, b"again")).denied
    store.release(limit, key, b"before")
    fleet.server.go_on()
    await fleet.until(SHARED)
    await asyncio.sleep(0.05)
    assert await fleet.peek(limit) == 20 - 3  # during1, during2 and again are known to the store now
    for member in (b"during1", b"during2", b"again"):
        store.release(limit, key, member)
    await asyncio.sleep(0.05)
    assert await fleet.peek(limit) == 20
    assert not store._held


async def test_a_reset_in_an_outage_holds_at_once_and_in_the_store_when_it_is_back(fleet: Fleet) -> None:
    limit = policy(algorithm="fixed")
    await fleet.round(limit, 100)
    await fleet.stall()
    assert (await fleet.ask(0, limit)).denied
    fleet.stores[0].reset(limit, limit.prefix + b"a")
    assert not (await fleet.ask(0, limit)).denied
    fleet.server.go_on()
    await fleet.until(SHARED)
    await asyncio.sleep(0.05)
    assert await fleet.peek(limit) >= 398


async def test_an_admission_that_nobody_waits_for_any_more_is_released(fleet: Fleet) -> None:
    limit = flights(20)
    assert not (await fleet.ask(0, limit, b"first")).denied
    fleet.server.stall()
    leaving = asyncio.ensure_future(fleet.ask(0, limit, b"leaving"))
    await asyncio.sleep(0.01)  # it is sent
    leaving.cancel()
    await asyncio.sleep(0)
    fleet.server.go_on()
    await asyncio.sleep(0.05)
    assert await fleet.peek(limit) == 20 - 1

"""A fleet that finds its store again one by one: together it never admits more than before, during and after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.core.clock import monotonic
from proxy.limits.policy import LimitPolicy, compile_limit
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.shared.link import StoreLost
from proxy.limits.shared.redis_store import RedisStore
from proxy.limits.verdict import LOCAL, SHARED, Verdict

SIZE = 4
PATIENCE_S = 0.1  # for a busy machine


def policy(rate: str = "400/h", name: str = "per-ip", **settings: Any) -> LimitPolicy:
    return compile_limit(name, LimitSettings.model_validate({"rate": rate, "by": "ip", **settings}), "test.yaml:1")


OTHER = policy("1000000/h", "other")


async def _away() -> None:
    raise StoreLost("it is not to be reached from here")


class Fleet:
    def __init__(self, server: Any, stores: list[RedisStore]) -> None:
        self.server = server
        self.stores = stores

    async def ask(self, i: int, *limits: LimitPolicy, member: bytes = b"") -> Verdict:
        verdict = self.stores[i].decide(limits, [limit.prefix + b"a" for limit in limits], monotonic(), member)
        return verdict if isinstance(verdict, Verdict) else await verdict

    async def round(self, limit: LimitPolicy, times: int) -> int:
        admitted = 0
        for _ in range(times):
            verdicts = await asyncio.gather(*[self.ask(i, limit) for i in range(SIZE)])
            admitted += sum([not verdict.denied for verdict in verdicts])
        return admitted

    async def lose(self, how: str) -> None:
        if how == "killed":
            self.server.kill()
        else:
            self.server.stall()
        while {store.status()["mode"] for store in self.stores} != {LOCAL} or any(
            [store.status()["breaker"] == "closed" for store in self.stores]
        ):
            await self.round(OTHER, 1)

    def restore(self, how: str) -> None:
        if how == "killed":
            self.server.start()
        else:
            self.server.go_on()

    async def first_back(self, how: str) -> None:
        """The store is there again, but only for the first Weir."""
        self._proving = [store._recovery._prove for store in self.stores]
        for store in self.stores[1:]:
            store._recovery._prove = _away
        self.restore(how)
        self.stores[0]._recovery.wake_up()
        await self.until_back(0)
        assert self.handing_over == [True, False, False, False]

    async def others_back(self) -> None:
        assert {store.status()["mode"] for store in self.stores[1:]} == {LOCAL}, "else this shows nothing"
        for store, prove in zip(self.stores, self._proving, strict=True):
            store._recovery._prove = prove
            store._recovery.wake_up()
        await self.until_back(*range(SIZE))

    async def until_back(self, *which: int) -> None:
        started = monotonic()
        while {self.stores[i].status()["mode"] for i in which} != {SHARED}:
            assert monotonic() - started < 3.0
            await asyncio.sleep(0.002)

    @property
    def handing_over(self) -> list[bool]:
        return [store._hand_over.is_on for store in self.stores]


@pytest.fixture
async def fleet(server: Any) -> AsyncIterator[Fleet]:
    settings = LimiterSettings.model_validate({"store_timeout": PATIENCE_S})
    stores = [RedisStore(server.url, settings, lambda error: None) for _ in range(SIZE)]
    for store in stores:
        await store.start()
    for store in stores:
        store._membership.beat()
    await asyncio.sleep(0.05)
    assert {store.status()["fleet"] for store in stores} == {SIZE}
    yield Fleet(server, stores)
    for store in stores:
        await store.aclose()


@pytest.mark.parametrize("how", ["stalled", "killed"])
@pytest.mark.parametrize("settings", [{}, {"algorithm": "fixed"}, {"accuracy": "leased"}], ids=str)
async def test_the_first_weir_back_does_not_spend_what_the_others_have_admitted(
    fleet: Fleet, how: str, settings: dict[str, Any]
) -> None:
    limit = policy(**settings)
    total = await fleet.round(limit, 40)
    most = 400 + fleet.stores[0].declared_excess(limit)  # none unless it is leased
    await fleet.lose(how)
    total += await fleet.round(limit, 100)
    await fleet.first_back(how)
    for _ in range(150):
        total += not (await fleet.ask(0, limit)).denied
    assert total <= most
    await fleet.others_back()
    started = monotonic()
    while any(fleet.handing_over):
        await asyncio.sleep(0.005)
    assert monotonic() - started < 0.7, "all have said that they are back"
    total += await fleet.round(limit, 100)
    assert 0.95 * 400 <= total <= most


async def test_what_passes_meanwhile_is_charged_once_and_a_denial_tells_when_to_come_again(fleet: Fleet) -> None:
    limit = policy(algorithm="fixed")
    await fleet.lose("stalled")
    await fleet.first_back("stalled")
    merged = fleet.stores[0].stats.merged_units
    verdicts = [await fleet.ask(0, limit) for _ in range(100)]
    assert [verdict.denied for verdict in verdicts] == [False] * 95 + [True] * 5
    assert {verdict.mode for verdict in verdicts[:95]} == {SHARED}
    assert verdicts[0].remaining == 94  # the share's: the store has more, and this Weir may not spend it yet
    denial = verdicts[-1]
    assert (denial.mode, denial.violated, denial.key) == (LOCAL, (limit,), limit.prefix + b"a")
    assert 0.5 < denial.retry_after_s <= 2.2
    assert not fleet.stores[0]._deny_cache.entries
    peeked = fleet.stores[0].peek(limit, limit.prefix + b"a", monotonic())
    assert not isinstance(peeked, Verdict)
    assert (await peeked).remaining == 400 - 95
    assert fleet.stores[0].stats.merged_units == merged
    await fleet.others_back()


async def test_what_the_store_refuses_costs_the_share_nothing(fleet: Fleet) -> None:
    limit, spent = policy(algorithm="fixed"), policy("2/h", "spent", on_store_error="allow")
    await fleet.lose("stalled")
    await fleet.first_back("stalled")
    assert [(await fleet.ask(0, spent)).denied for _ in range(3)] == [False, False, True]
    fleet.stores[0].forget(None)
    assert [(await fleet.ask(0, limit, spent)).violated for _ in range(20)] == [(spent,)] * 20
    assert sum([not (await fleet.ask(0, limit)).denied for _ in range(100)]) == 95
    await fleet.others_back()


@pytest.mark.parametrize("word", ["allow", "deny"])
async def test_only_limits_that_are_counted_here_meanwhile_are_held_to_the_share(fleet: Fleet, word: str) -> None:
    limit = policy(on_store_error=word)
    await fleet.lose("stalled")
    await fleet.first_back("stalled")
    assert sum([not (await fleet.ask(0, limit)).denied for _ in range(200)]) == 200
    await fleet.others_back()


async def test_a_second_outage_in_that_time_goes_on_with_the_same_shares(fleet: Fleet) -> None:
    limit = policy(algorithm="fixed")
    total = await fleet.round(limit, 20)
    await fleet.lose("stalled")
    total += await fleet.round(limit, 20)
    fleet.restore("stalled")
    await fleet.until_back(*range(SIZE))
    total += await fleet.round(limit, 10)
    await fleet.lose("killed")
    total += await fleet.round(limit, 10)
    fleet.restore("killed")
    await fleet.until_back(*range(SIZE))
    total += await fleet.round(limit, 100)
    while any(fleet.handing_over):
        await asyncio.sleep(0.005)
    total += await fleet.round(limit, 100)
    assert 0.85 * 400 <= total <= 400


async def test_what_is_in_flight_is_released_on_both_sides(fleet: Fleet) -> None:
    settings = {"algorithm": "inflight", "limit": 20, "by": "ip"}
    limit = compile_limit("flights", LimitSettings.model_validate(settings), "test.yaml:1")
    await fleet.lose("stalled")
    await fleet.first_back("stalled")
    for n in range(12):
        assert not (await fleet.ask(0, limit, member=b"m%d" % n)).denied
        fleet.stores[0].release(limit, limit.prefix + b"a", b"m%d" % n)
    held = [not (await fleet.ask(0, limit, member=b"h%d" % n)).denied for n in range(6)]
    assert held == [True] * 4 + [False] * 2
    for n in range(4):
        fleet.stores[0].release(limit, limit.prefix + b"a", b"h%d" % n)
    await fleet.others_back()
    peeked = fleet.stores[0].peek(limit, limit.prefix + b"a", monotonic())
    assert not isinstance(peeked, Verdict)
    assert (await peeked).remaining == 20


async def test_a_weir_that_is_alone_is_held_to_nothing(server: Any) -> None:
    settings = LimiterSettings.model_validate({"store_timeout": PATIENCE_S})
    store = RedisStore(server.url, settings, lambda error: None)
    await store.start()
    fleet = Fleet(server, [store] * SIZE)
    await fleet.lose("stalled")
    fleet.restore("stalled")
    await fleet.until_back(0)
    assert fleet.handing_over == [False] * SIZE
    assert store._stand_in is None
    assert not (await fleet.ask(0, policy())).denied
    await store.aclose()


@pytest.mark.parametrize(("stall_s", "is_held"), [(0.15, False), (0.7, True)], ids=["hiccup", "breakers may be open"])
async def test_a_hiccup_holds_nobody_to_a_share(fleet: Fleet, stall_s: float, is_held: bool) -> None:
    limit = policy()
    fleet.server.stall()
    assert (await fleet.ask(0, limit)).mode == LOCAL
    await asyncio.sleep(stall_s - PATIENCE_S)
    fleet.server.go_on()
    await asyncio.sleep(0.02)
    assert (await fleet.ask(0, limit)).mode == SHARED
    assert fleet.handing_over == [is_held, False, False, False]
    assert fleet.stores[0].status()["breaker"] == "closed"

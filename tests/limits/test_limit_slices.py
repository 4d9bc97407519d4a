"""Slices of a busy quota: never more admitted than charged, and what is declared of them holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.clock import monotonic
from proxy.limits.policy import LimitPolicy, compile_limit
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.shared.leases import Leases
from proxy.limits.shared.redis_store import RedisStore
from proxy.limits.shared.slices import MOST_UNITS, Slice, slice_bound, slice_units
from proxy.limits.verdict import Verdict


def policy(name: str = "leased", **settings: Any) -> LimitPolicy:
    limit = {"rate": "1000/s", "by": "ip", "accuracy": "leased", **settings}
    return compile_limit(name, LimitSettings.model_validate(limit), "test.yaml:1")


@pytest.mark.parametrize(
    ("remaining", "fleet", "cost", "wanted", "units"),
    [
        (1000, 4, 1, 1000, 62),
        (1000, 4, 1, 8, 8),
        (1000, 4, 5, 1000, 60),
        (10**9, 1, 1, 10**9, MOST_UNITS),
        (31, 4, 1, 1000, 0),
        (32, 4, 1, 1000, 2),
        (159, 4, 5, 1000, 0),
        (0, 1, 1, 1000, 0),
    ],
    ids=["a part", "no more than wanted", "whole requests", "the most", "too little", "just", "less than two", "none"],
)
def test_a_slice_is_a_part_of_what_is_left(remaining: int, fleet: int, cost: int, wanted: int, units: int) -> None:
    assert slice_units(remaining, fleet, cost, wanted) == units


def filled(units: int, *, interval_s: float = 0.1, reset_s: float = 60.0) -> Slice:
    own = Slice(1)
    own.fill(units, 1000.0, interval_s, 500, reset_s)
    return own


def test_a_slice_pays_until_it_is_used_up() -> None:
    own = filled(3)
    for _ in range(3):
        assert own.can_pay(1, 1000.1)
        own.pay(1, 1000.1)
    assert not own.can_pay(1, 1000.1)


@pytest.mark.parametrize(("reset_s", "ends_at"), [(60.0, 1001.0), (0.5, 1000.5)], ids=["k intervals", "its window"])
def test_a_slice_lives_for_its_units_intervals_and_never_beyond_its_window(reset_s: float, ends_at: float) -> None:
    own = filled(10, reset_s=reset_s)
    assert own.can_pay(1, ends_at - 0.001)
    assert own.take_ended(ends_at - 0.001) == (0, 0.0)
    assert not own.can_pay(1, ends_at)
    assert own.take_ended(ends_at) == (10, 1000.0)
    assert own.held == 0


def test_the_next_fill_is_fetched_when_most_is_spent_and_joins_without_living_longer_than_its_own_time() -> None:
    own = filled(10)
    for _ in range(7):
        own.pay(1, 1000.1)
    assert not own.is_low(1000.1)
    own.pay(1, 1000.1)
    assert own.is_low(1000.1)
    own.fill(8, 1000.5, 0.1, 400, 60.0)
    assert own.held == 10
    assert own.take_ended(1001.0) == (2, 1000.0)  # of the first fill
    assert own.can_pay(8, 1001.2)
    assert own.take_ended(1001.3) == (8, 1000.5)


def test_a_slice_that_is_used_up_wants_more_and_one_that_is_not_wants_less() -> None:
    own = filled(4)
    for _ in range(4):
        own.pay(1, 1000.0)
    own.fill(4, 1000.1, 0.1, 400, 60.0)
    assert own.wanted == 8
    own.take_ended(1002.0)
    assert own.wanted == 4


class Weirs:
    """Several, and a store that is a state of the pure algorithm."""

    def __init__(self, limit: LimitPolicy, size: int) -> None:
        self.limit = limit
        self.now = 1000.0
        self.state: Any = None
        self.charged = self.returned = self.admitted = self.admitted_from_slices = 0
        self.admitted_at: list[float] = []
        self.windows: dict[float, int] = {}
        self.takes: list[tuple[int, int, float]] = []
        self.own = [self._leases(i) for i in range(size)]
        for leases in self.own:
            leases.fleet_size = size

    def _leases(self, i: int) -> Leases:
        return Leases(lambda limit, key, units: self.takes.append((i, units, self.now)), self._give_back)

    def request(self, i: int) -> None:
        own = self.own[i]
        payer = own.payer(self.limit, b"k", self.now)
        if payer is not None:
            payer.pay(1, self.now)
            own.paid(self.limit, b"k", self.now)
            self.admitted_from_slices += 1
            self._admit()
            return
        allowed, state, remaining, _, _ = self.limit.step(self.state, self.now, self.limit.numbers, 1)
        if allowed:
            self.state = state
            self.charged += 1
            self._admit()
            own.seen(self.limit, b"k", remaining, self.now)

    def answer(self) -> None:
        if self.takes:
            i, units, asked_at = self.takes.pop(0)
            allowed, state, remaining, reset_s, _ = self.limit.step(self.state, self.now, self.limit.numbers, units)
            if allowed:
                self.state = state
                self.charged += units
                self.own[i].granted(self.limit, b"k", units, remaining, reset_s, asked_at)
            else:
                self.own[i].refused(b"k")

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for own in self.own:
            own.end(self.now)

    def held(self) -> int:
        return sum([own.held_units() for own in self.own])

    def _admit(self) -> None:
        self.admitted += 1
        self.admitted_at.append(self.now)
        if self.limit.algorithm == "fixed":
            end_at = self.state[0]
            self.windows[end_at] = self.windows.get(end_at, 0) + 1

    def _give_back(self, limit: LimitPolicy, key: bytes, units: int, charged_at: float) -> None:
        self.returned += units
        self.state = limit.adjust(self.state, self.now, limit.numbers, -units, self.now - charged_at)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, 3), st.integers(1, 40)),
        st.tuples(st.just("wait"), st.sampled_from([0.0001, 0.002, 0.02, 0.3]), st.just(1)),
        st.tuples(st.just("answer"), st.just(0), st.integers(1, 3)),
    ),
    max_size=150,
)


@settings(deadline=None)  # a busy machine is no failure
@given(EVENTS, st.sampled_from(["gcra", "fixed", "sliding"]))
def test_what_is_admitted_has_been_charged_and_what_is_held_is_bounded(
    events: list[tuple[str, Any, int]], algorithm: str
) -> None:
    weirs = Weirs(policy(rate="200/s", algorithm=algorithm), 4)
    for what, which, times in events:
        for _ in range(times):
            if what == "ask":
                weirs.request(which)
            elif what == "wait":
                weirs.advance(which)
            else:
                weirs.answer()
            assert weirs.admitted + weirs.held() == weirs.charged - weirs.returned
            assert all([own.held_units() <= slice_bound(200, 4) for own in weirs.own])
    weirs.takes.clear()
    for own in weirs.own:
        own.end_all()
    assert weirs.held() == 0
    assert weirs.admitted == weirs.charged - weirs.returned


@settings(deadline=None)  # a busy machine is no failure
@given(EVENTS)
def test_a_window_that_starts_over_never_holds_more_than_its_quota(events: list[tuple[str, Any, int]]) -> None:
    weirs = Weirs(policy(rate="100/s", algorithm="fixed"), 4)
    for what, which, times in events:
        for _ in range(times):
            if what == "ask":
                weirs.request(which)
            elif what == "wait":
                weirs.advance(which)
            else:
                weirs.answer()
    assert max(weirs.windows.values(), default=0) <= 100


@settings(deadline=None)  # a busy machine is no failure
@given(EVENTS)
def test_a_trailing_window_holds_no_more_than_the_declared_excess(events: list[tuple[str, Any, int]]) -> None:
    limit = policy(rate="100/s", burst=100)
    weirs = Weirs(limit, 4)
    for what, which, times in events:
        for _ in range(times):
            if what == "ask":
                weirs.request(which)
            elif what == "wait":
                weirs.advance(which)
            else:
                weirs.answer()
    most = 100 + 100 + 4 * slice_bound(100, 4)
    for at in weirs.admitted_at:
        assert len([each for each in weirs.admitted_at if at - 1.0 < each <= at]) <= most


@pytest.mark.parametrize("algorithm", ["gcra", "fixed"])
def test_hardly_anything_is_refused_while_others_hold_some_of_it(algorithm: str) -> None:
    """400 a minute at four Weirs, ten times as much offered, one of them asked twice as often as the others."""
    limit = policy(rate="400/min", algorithm=algorithm)
    weirs = Weirs(limit, 4)
    refused_with_some_left = 0
    offered = 0
    for turn in range(2000):
        for i in (0, 0, 1, 2, 3):
            before = weirs.admitted
            weirs.request(i)
            offered += 1
            if weirs.admitted == before and weirs.held():
                refused_with_some_left += 1
        weirs.answer()
        weirs.answer()
        weirs.advance(60.0 / 4000.0 * 5)
        if turn == 60 and algorithm == "fixed":
            assert weirs.admitted + weirs.held() <= 400
    assert weirs.charged > 0.95 * 400
    assert refused_with_some_left <= 0.02 * offered
    assert weirs.admitted_from_slices > 100


# In front of a real store.


@pytest.fixture
async def stores(server: Any) -> AsyncIterator[list[RedisStore]]:
    patient = LimiterSettings.model_validate({"store_timeout": 5.0})
    own = [RedisStore(server.url, patient, lambda error: None) for _ in range(2)]
    for store in own:
        await store.start()
    yield own
    for store in own:
        await store.aclose()


async def ask(store: RedisStore, limit: LimitPolicy, *others: LimitPolicy, who: bytes = b"a") -> Verdict:
    policies = (limit, *others)
    verdict = store.decide(policies, [each.prefix + who for each in policies], monotonic())
    return verdict if isinstance(verdict, Verdict) else await verdict


async def test_a_busy_key_is_decided_here_most_of_the_time(server: Any, stores: list[RedisStore]) -> None:
    limit = policy(rate="100000/min")
    before = server.calls("evalsha")
    admitted = 0
    for _ in range(2000):
        admitted += not (await ask(stores[0], limit)).denied
        if _ % 10 == 0:
            await asyncio.sleep(0.0005)
    assert admitted == 2000
    assert server.calls("evalsha") - before < 400
    stats = stores[0].stats
    assert stats.leased_units > 1000
    await stores[0].aclose()
    charged = 100_000 - (await peek(stores[1], limit)).remaining
    assert admitted - 1 <= charged + 100_000 / 60 * 5  # what dripped back meanwhile
    assert stats.returned_units < stats.leased_units


async def peek(store: RedisStore, limit: LimitPolicy) -> Verdict:
    verdict = store.peek(limit, limit.prefix + b"a", monotonic())
    return verdict if isinstance(verdict, Verdict) else await verdict


async def test_two_weirs_together_never_admit_more_than_the_quota(stores: list[RedisStore]) -> None:
    limit = policy(rate="2000/h", algorithm="fixed")
    admitted = 0
    for _ in range(150):
        verdicts = await asyncio.gather(*[ask(store, limit) for store in stores for _ in range(10)])
        admitted += sum([not verdict.denied for verdict in verdicts])
    held = sum([store._leases.held_units() for store in stores])
    assert admitted + held == 2000
    assert held <= 0.02 * 2000


async def test_what_is_left_of_a_slice_is_returned_at_its_end_and_at_the_end_of_the_process(
    stores: list[RedisStore],
) -> None:
    limit = policy(rate="2000/h", algorithm="fixed")
    for _ in range(40):
        await ask(stores[0], limit)
    await asyncio.sleep(0.01)  # let the last slice come
    assert stores[0]._leases.held_units() > 0
    await stores[0].aclose()
    assert (await peek(stores[1], limit)).remaining == 2000 - 40


async def test_a_reset_drops_the_slices_of_the_key(stores: list[RedisStore]) -> None:
    limit = policy(rate="2000/h", algorithm="fixed")
    for _ in range(40):
        await ask(stores[0], limit)
    reset = stores[0].reset(limit, limit.prefix + b"a")
    assert reset is not None
    await reset
    await asyncio.sleep(0.01)
    assert stores[0]._leases.held_units() == 0
    assert (await peek(stores[1], limit)).remaining >= 2000 - 20  # a slice that was on its way comes back


async def test_a_request_that_another_limit_refuses_costs_the_slice_nothing(stores: list[RedisStore]) -> None:
    limit = policy(rate="2000/h", algorithm="fixed")
    narrow = compile_limit("narrow", LimitSettings.model_validate({"rate": "50/h", "by": "ip"}), "test.yaml:1")
    verdicts = [await ask(stores[0], limit, narrow) for _ in range(200)]
    assert [verdict.denied for verdict in verdicts] == [False] * 50 + [True] * 150
    assert verdicts[-1].policies == (limit, narrow)
    assert verdicts[-1].violated == (narrow,)
    await stores[0].aclose()
    assert (await peek(stores[1], limit)).remaining == 2000 - 50


async def test_a_local_limit_is_counted_in_each_process_and_with_the_others_all_or_none(
    stores: list[RedisStore],
) -> None:
    local = policy("local", rate="10/h", accuracy="local")
    narrow = compile_limit("narrow", LimitSettings.model_validate({"rate": "4/h", "by": "ip"}), "test.yaml:1")
    assert [(await ask(stores[0], local, narrow)).denied for _ in range(6)] == [False] * 4 + [True] * 2
    assert [(await ask(stores[0], local)).denied for _ in range(7)] == [False] * 6 + [True]
    assert not (await ask(stores[1], local)).denied

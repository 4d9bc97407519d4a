"""A key that was refused costs no round trip until it can pass again, and not a moment longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from math import ceil, inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.clock import monotonic
from proxy.limits.policy import Kind, LimitPolicy, compile_limit
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.shared.deny_cache import LONGEST_S, LONGEST_SETTLED_S, DenyCache
from proxy.limits.shared.redis_store import RedisStore
from proxy.limits.verdict import SHARED, Verdict


def policy(name: str = "per-ip", kind: Kind | None = None, **settings: Any) -> LimitPolicy:
    limit = LimitSettings.model_validate({"rate": "4/h", "by": "ip", **settings})
    return LimitPolicy(name, limit, "test.yaml:1", kind) if kind else compile_limit(name, limit, "test.yaml:1")


PER_IP = policy()
PER_USER = policy("per-user")
SHADOW = policy("shadow", Kind(is_enforced=False))
SETTLED = policy("login", count_if="status in (401)")
IN_FLIGHT = compile_limit(
    "flights", LimitSettings.model_validate({"algorithm": "inflight", "limit": 2, "by": "ip"}), "test.yaml:1"
)


def cached(*noted: tuple[LimitPolicy, float]) -> DenyCache:
    cache = DenyCache()
    for limit, retry_after_s in noted:
        cache.note(limit, limit.prefix + b"a", 0, retry_after_s, retry_after_s, 1000.0)
    return cache


def judged(cache: DenyCache, now: float, *policies: LimitPolicy) -> Verdict | None:
    return cache.judge(policies, [limit.prefix + b"a" for limit in policies], now)


def test_the_verdict_of_a_cached_denial_has_the_numbers_of_now() -> None:
    verdict = judged(cached((PER_IP, 30.0)), 1010.0, PER_IP)
    assert verdict is not None
    assert verdict.denied
    assert verdict.retry_after_s == pytest.approx(20.0)
    assert verdict.reset_s == pytest.approx(20.0)
    assert verdict.remaining == 0
    assert verdict.violated == (PER_IP,)
    assert (verdict.policy, verdict.key, verdict.mode) == (PER_IP, PER_IP.prefix + b"a", SHARED)


@given(
    retry_after_s=st.floats(0.5, 50.0),
    reset_s=st.floats(0.5, 50.0),
    gaps=st.lists(st.floats(0.0, 1.5), min_size=1, max_size=40),
)
def test_who_asks_again_is_told_the_seconds_that_are_left(
    retry_after_s: float, reset_s: float, gaps: list[float]
) -> None:
    cache = DenyCache()
    cache.note(PER_IP, PER_IP.prefix + b"a", 0, reset_s, retry_after_s, 1000.0)
    policies, keys, now = (PER_IP,), [PER_IP.prefix + b"a"], 1000.0
    for gap in gaps:
        now += gap
        verdict = cache.judge(policies, keys, now)
        if verdict is None:
            assert now >= 1000.0 + retry_after_s * 0.999
            break
        assert ceil(verdict.retry_after_s) == ceil(1000.0 + retry_after_s - now)
        assert ceil(verdict.reset_s) == ceil(max(1000.0 + reset_s - now, 0.0))


def test_the_same_client_gets_the_same_verdict_within_a_second_and_others_their_own() -> None:
    cache = cached((PER_IP, 30.5))
    policies, keys = (PER_IP,), [PER_IP.prefix + b"a"]
    first = cache.judge(policies, keys, 1000.0)
    assert cache.judge(policies, keys, 1000.4) is first
    assert cache.judge(policies, keys, 1000.6) is not first
    other = policy()
    assert cache.judge((other,), keys, 1000.0) is None, "other numbers have to be asked for"


@pytest.mark.parametrize(
    ("limit", "retry_after_s", "believed_s"),
    [
        (PER_IP, 10.0, 10.0),
        (PER_IP, 3600.0, LONGEST_S),
        (PER_IP, inf, LONGEST_S),
        (SETTLED, 10.0, LONGEST_SETTLED_S),
        (IN_FLIGHT, 10.0, 0.0),
    ],
    ids=["until it can pass", "a long wait", "never", "what was reserved may come back", "a release may come at once"],
)
def test_a_denial_is_believed_for_as_long_as_it_must_be_true(
    limit: LimitPolicy, retry_after_s: float, believed_s: float
) -> None:
    cache = cached((limit, retry_after_s))
    if believed_s:
        assert judged(cache, 1000.0 + 0.99 * believed_s, limit) is not None
    assert judged(cache, 1000.0 + believed_s, limit) is None
    assert len(cache) == 0


def test_clocks_that_differ_a_little_never_make_a_denial_last_too_long() -> None:
    assert judged(cached((PER_IP, 10.0)), 1000.0 + 10.0 * (1.0 - 0.0005), PER_IP) is None


def test_other_numbers_on_the_same_key_are_asked_of_the_store() -> None:
    cache = cached((PER_IP, 30.0))
    assert judged(cache, 1001.0, policy(rate="400/h")) is None
    assert judged(cache, 1001.0, PER_IP) is not None  # and that did not drop it


def test_one_limit_that_is_known_to_refuse_is_enough() -> None:
    verdict = judged(cached((PER_USER, 30.0)), 1010.0, PER_IP, PER_USER)
    assert verdict is not None
    assert verdict.violated == (PER_USER,)
    assert verdict.policies == (PER_IP, PER_USER)
    assert verdict.policy is PER_USER


def test_of_several_that_refuse_the_longest_wait_is_told() -> None:
    verdict = judged(cached((PER_USER, 30.0), (PER_IP, 40.0)), 1010.0, PER_IP, PER_USER)
    assert verdict is not None
    assert verdict.violated == (PER_IP, PER_USER)
    assert verdict.policy is PER_IP
    assert verdict.retry_after_s == pytest.approx(30.0)


@pytest.mark.parametrize("policies", [(SHADOW,), (PER_IP, SHADOW)], ids=["alone", "with another"])
def test_a_limit_that_is_not_enforced_never_denies(policies: tuple[LimitPolicy, ...]) -> None:
    assert judged(cached((SHADOW, 30.0)), 1001.0, *policies) is None


def test_what_would_deny_is_told_along_with_what_does() -> None:
    verdict = judged(cached((SHADOW, 30.0), (PER_IP, 10.0)), 1001.0, PER_IP, SHADOW)
    assert verdict is not None
    assert (verdict.violated, verdict.would_deny) == ((PER_IP,), (SHADOW,))


def test_forgetting_a_limit_drops_all_its_variants_and_nothing_else() -> None:
    cache = cached((PER_IP, 30.0), (PER_USER, 30.0))
    cache.forget(policy(rate="400/h"))
    assert judged(cache, 1001.0, PER_IP) is None
    assert judged(cache, 1001.0, PER_USER) is not None
    cache.forget(None)
    assert len(cache) == 0


def test_it_is_bounded_and_the_oldest_denial_goes_first() -> None:
    cache = DenyCache(most=100)
    keys = [PER_IP.prefix + b"%d" % i for i in range(250)]
    for key in keys:
        cache.note(PER_IP, key, 0, 30.0, 30.0, 1000.0)
    assert list(cache.entries) == keys[150:]


# In front of a real store.


@pytest.fixture
async def store(server: Any) -> AsyncIterator[RedisStore]:
    own = RedisStore(server.url, LimiterSettings.model_validate({"store_timeout": 5.0}), lambda error: None)
    await own.start()
    yield own
    await own.aclose()


async def ask(store: RedisStore, *policies: LimitPolicy, who: bytes = b"a", member: bytes = b"") -> Verdict:
    verdict = store.decide(policies, [limit.prefix + who for limit in policies], monotonic(), member)
    return verdict if isinstance(verdict, Verdict) else await verdict


async def test_a_denied_key_is_not_asked_for_again(server: Any, store: RedisStore) -> None:
    for _ in range(4):
        assert not (await ask(store, PER_IP)).denied
    told = await ask(store, PER_IP)
    calls = server.calls("evalsha")
    waits = []
    for _ in range(100):
        verdict = store.decide((PER_IP,), [PER_IP.prefix + b"a"], monotonic())
        assert isinstance(verdict, Verdict)  # at once
        assert verdict.denied
        waits.append(verdict.retry_after_s)
    assert server.calls("evalsha") == calls
    assert store.stats.deny_cache_hits == 100
    assert waits == sorted(waits, reverse=True)
    assert told.retry_after_s - 1.0 < waits[-1] <= waits[0] <= told.retry_after_s
    assert not (await ask(store, PER_IP, who=b"b")).denied  # nobody else's


async def test_a_key_passes_again_as_soon_as_the_store_would_let_it(store: RedisStore) -> None:
    quick = policy("quick", rate="10/s", burst=1)
    assert not (await ask(store, quick)).denied
    denied = await ask(store, quick)
    assert denied.denied
    asked_at = monotonic()
    while (await ask(store, quick)).denied:
        await asyncio.sleep(0.001)
    assert abs(monotonic() - asked_at - denied.retry_after_s) < 0.05


@pytest.mark.parametrize("what", ["reset", "given back", "forgotten", "all forgotten"])
async def test_a_key_that_may_have_been_given_something_is_asked_for(store: RedisStore, what: str) -> None:
    key = PER_IP.prefix + b"a"
    for _ in range(5):
        last = await ask(store, PER_IP)
    assert last.denied
    if what == "reset":
        reset = store.reset(PER_IP, key)
        assert reset is not None
        await reset
    elif what == "given back":
        store.adjust(PER_IP, key, -1, monotonic())
    else:
        store.forget(None if what == "all forgotten" else PER_IP)
    hits = store.stats.deny_cache_hits
    verdict = await ask(store, PER_IP)
    assert store.stats.deny_cache_hits == hits
    assert verdict.denied == (what in ("forgotten", "all forgotten"))


async def test_a_release_is_seen_at_once(store: RedisStore) -> None:
    assert not (await ask(store, IN_FLIGHT, member=b"1")).denied
    assert not (await ask(store, IN_FLIGHT, member=b"2")).denied
    assert (await ask(store, IN_FLIGHT, member=b"3")).denied
    store.release(IN_FLIGHT, IN_FLIGHT.prefix + b"a", b"1")
    assert not (await ask(store, IN_FLIGHT, member=b"4")).denied


async def test_a_denied_key_stays_denied_while_the_store_is_away(server: Any, store: RedisStore) -> None:
    for _ in range(5):
        await ask(store, PER_IP)
    server.kill()
    assert (await ask(store, PER_IP)).denied

"""One suite over every store: memory, Valkey, and Redis where the machine has it.

Time is moved. In memory it is an argument; a server's clock cannot be moved, so there everything that is stored is made
older instead, which comes to the same.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from math import inf
from typing import Any

import pytest

from proxy.core.clock import monotonic
from proxy.limits.memory_store import MemoryStore
from proxy.limits.policy import LimitPolicy, compile_limit
from proxy.limits.redis_store import RedisStore
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.verdict import LOCAL, SHARED, Verdict

ALGORITHMS = ["gcra", "fixed", "sliding"]
PATIENT = LimiterSettings.model_validate({"store_timeout": 5.0})  # a busy machine must not look like a lost store


def policy(name: str = "per-ip", **settings: Any) -> LimitPolicy:
    return compile_limit(name, LimitSettings.model_validate({"rate": "4/h", "by": "ip", **settings}), "test.yaml:1")


class InMemory:
    mode = LOCAL

    def __init__(self) -> None:
        self.store = MemoryStore(10_000)
        self._now = 1000.0

    async def ask(self, *asked: tuple[LimitPolicy, str], cost: int = 1) -> Verdict:
        policies = tuple([limit for limit, _ in asked])
        return self.store.decide(policies, [limit.prefix + who.encode() for limit, who in asked], cost, self._now)

    async def advance(self, seconds: float) -> None:
        self._now += seconds

    async def stored(self) -> dict[bytes, Any]:
        return dict(self.store._entries)


class OnServer:
    mode = SHARED
    AGE = """
    local function older(text) return string.format('%.17g', tonumber(text) - tonumber(ARGV[1])) end
    for _, key in ipairs(redis.call('KEYS', 'weir:*')) do
      local left = redis.call('PTTL', key) - 1000 * tonumber(ARGV[1])
      if left < 1 then
        redis.call('DEL', key)
      else
        local text = redis.call('GET', key)
        text = string.gsub(text, '(%S+)( ?%d*)', function(at, units) return older(at) .. units end)
        redis.call('SET', key, text, 'PX', string.format('%.0f', left))
      end
    end
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        server.admin.flushall()
        self.store = RedisStore(server.url, PATIENT, lambda error: None)

    async def ask(self, *asked: tuple[LimitPolicy, str], cost: int = 1) -> Verdict:
        policies = tuple([limit for limit, _ in asked])
        keys = [limit.prefix + who.encode() for limit, who in asked]
        verdict = self.store.decide(policies, keys, cost, monotonic())
        return verdict if isinstance(verdict, Verdict) else await verdict

    async def advance(self, seconds: float) -> None:
        self._server.admin.eval(self.AGE, 0, repr(seconds))

    async def stored(self) -> dict[bytes, Any]:
        admin = self._server.admin
        return {key: admin.get(key) for key in admin.keys("weir:*") if b"weir-probe" not in key}


@pytest.fixture(params=["memory", "valkey", *(["redis"] if shutil.which("redis-server") else [])])
async def limits(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "memory":
        yield InMemory()
        return
    on_server = OnServer(request.getfixturevalue("running_servers")[request.param])
    await on_server.store.start()
    yield on_server
    assert on_server.store.stats.degraded == 0
    await on_server.store.aclose()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_the_quota_passes_and_then_nothing(limits: Any, algorithm: str) -> None:
    limit = policy(rate="4/h", algorithm=algorithm)
    verdicts = [await limits.ask((limit, "a")) for _ in range(6)]
    assert [verdict.denied for verdict in verdicts] == [False] * 4 + [True] * 2
    assert [verdict.remaining for verdict in verdicts] == [3, 2, 1, 0, 0, 0]
    assert {verdict.mode for verdict in verdicts} == {limits.mode}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_denied_request_passes_after_the_wait_that_it_was_told_and_not_before(
    limits: Any, algorithm: str
) -> None:
    limit = policy(rate="4/h", algorithm=algorithm)
    for _ in range(4):
        await limits.ask((limit, "a"))
    denied = await limits.ask((limit, "a"))
    assert denied.denied
    assert 0.0 < denied.retry_after_s <= 3600.0 * 17 / 16
    await limits.advance(denied.retry_after_s - 60.0)
    assert (await limits.ask((limit, "a"))).denied
    await limits.advance(60.0)
    assert not (await limits.ask((limit, "a"))).denied


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_the_whole_quota_is_back_after_the_reset(limits: Any, algorithm: str) -> None:
    limit = policy(rate="4/h", algorithm=algorithm)
    await limits.ask((limit, "a"))
    used = await limits.ask((limit, "a"))
    await limits.advance(used.reset_s)
    assert [(await limits.ask((limit, "a"))).denied for _ in range(5)] == [False] * 4 + [True]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_refusals_write_nothing_so_a_hammering_client_recovers(limits: Any, algorithm: str) -> None:
    limit = policy(rate="4/h", algorithm=algorithm)
    for _ in range(4):
        await limits.ask((limit, "a"))
    before = await limits.stored()
    first = await limits.ask((limit, "a"))
    for _ in range(50):
        last = await limits.ask((limit, "a"))
    assert await limits.stored() == before
    assert last.retry_after_s <= first.retry_after_s


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_all_limits_are_charged_or_none(limits: Any, algorithm: str) -> None:
    wide = policy("wide", rate="100/h", algorithm=algorithm)
    narrow = policy("narrow", rate="2/h", algorithm=algorithm)
    other = policy("other", rate="50/h", algorithm=algorithm)
    asked = ((wide, "a"), (narrow, "a"), (other, "a"))
    verdicts = [await limits.ask(*asked) for _ in range(10)]
    assert [verdict.denied for verdict in verdicts] == [False] * 2 + [True] * 8
    assert {verdict.violated for verdict in verdicts[2:]} == {(narrow,)}
    assert (await limits.ask((wide, "a"))).remaining == 97  # two passed, and this one
    assert (await limits.ask((other, "a"))).remaining == 47


async def test_a_refused_newcomer_leaves_no_trace(limits: Any) -> None:
    full, fresh = policy("full", rate="1/h"), policy("fresh", rate="9/h")
    await limits.ask((full, "a"))
    before = await limits.stored()
    assert (await limits.ask((fresh, "b"), (full, "a"))).denied
    assert await limits.stored() == before


async def test_keys_and_policies_are_counted_apart(limits: Any) -> None:
    one, two = policy("one", rate="1/h"), policy("two", rate="1/h")
    asked = [((one, "a"),), ((one, "b"),), ((two, "a"),), ((one, "a"),), ((two, "a"),)]
    assert [(await limits.ask(*each)).denied for each in asked] == [False, False, False, True, True]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_cost_is_charged_whole_or_not_at_all(limits: Any, algorithm: str) -> None:
    limit = policy(rate="10/h", algorithm=algorithm)
    assert (await limits.ask((limit, "a"), cost=7)).remaining == 3
    refused = await limits.ask((limit, "a"), cost=4)
    assert (refused.denied, refused.remaining) == (True, 3)
    assert (await limits.ask((limit, "a"), cost=3)).remaining == 0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_cost_above_the_quota_is_never_worth_waiting_for(limits: Any, algorithm: str) -> None:
    verdict = await limits.ask((policy(rate="4/h", algorithm=algorithm), "a"), cost=5)
    assert verdict.denied
    assert verdict.retry_after_s == inf


async def test_the_tightest_limit_is_the_one_that_has_the_fewest_left(limits: Any) -> None:
    large, small = policy("large", rate="100/h"), policy("small", rate="10/h")
    verdict = await limits.ask((large, "a"), (small, "a"))
    assert (verdict.policy, verdict.remaining, verdict.policies) == (small, 9, (large, small))
    for _ in range(96):
        await limits.ask((large, "a"))
    verdict = await limits.ask((large, "a"), (small, "a"))
    assert (verdict.policy, verdict.remaining) == (large, 2)


async def test_of_several_violated_limits_the_longest_wait_is_told(limits: Any) -> None:
    minute, hour, free = policy("minute", rate="1/min"), policy("hour", rate="1/h"), policy("free", rate="99/h")
    await limits.ask((minute, "a"), (hour, "a"))
    verdict = await limits.ask((free, "a"), (minute, "a"), (hour, "a"))
    assert verdict.violated == (minute, hour)
    assert verdict.policy is hour
    assert verdict.key.endswith(b":hour:a")
    assert 3500.0 < verdict.retry_after_s <= 3600.0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_changed_numbers_keep_what_was_spent(limits: Any, algorithm: str) -> None:
    for _ in range(4):
        await limits.ask((policy(rate="4/h", algorithm=algorithm), "a"))
    for changed in ("4/30min", "3/h", "2/h", "1/20min"):
        verdict = await limits.ask((policy(rate=changed, algorithm=algorithm), "a"))
        assert (verdict.denied, verdict.remaining) == (True, 0)


async def test_a_raised_quota_counts_at_once(limits: Any) -> None:
    for algorithm in ("fixed", "sliding"):
        for _ in range(4):
            await limits.ask((policy(rate="4/h", algorithm=algorithm), "a"))
        assert (await limits.ask((policy(rate="6/h", algorithm=algorithm), "a"))).remaining == 1


async def test_another_algorithm_does_not_read_what_this_one_stored(limits: Any) -> None:
    for algorithm in ALGORITHMS:
        limit = policy(rate="4/h", algorithm=algorithm)
        assert (await limits.ask((limit, "a"))).remaining == 3


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_requests_at_the_same_moment_share_one_quota(limits: Any, algorithm: str) -> None:
    limit, wide = policy(rate="20/h", algorithm=algorithm), policy("wide", rate="1000/h", algorithm=algorithm)
    verdicts = await asyncio.gather(*[limits.ask((wide, "a"), (limit, "a")) for _ in range(300)])
    assert sum([not verdict.denied for verdict in verdicts]) == 20
    assert (await limits.ask((wide, "a"))).remaining == 1000 - 20 - 1


@pytest.mark.parametrize("key", ["", "ü", "a b\r\n$1", "x" * 3000], ids=["empty", "unicode", "control bytes", "long"])
async def test_any_bytes_can_be_a_key(limits: Any, key: str) -> None:
    limit = policy(rate="2/h")
    assert [(await limits.ask((limit, key))).denied for _ in range(3)] == [False, False, True]


async def test_very_small_and_very_large_numbers_are_exact(limits: Any) -> None:
    slow, fast = policy("slow", rate="1/365d"), policy("fast", rate="1000000/s", algorithm="fixed")
    assert not (await limits.ask((slow, "a"))).denied
    assert (await limits.ask((slow, "a"))).retry_after_s == pytest.approx(365 * 86400, abs=60)
    assert (await limits.ask((fast, "a"), cost=999_999)).remaining == 1

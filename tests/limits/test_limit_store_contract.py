"""One suite over every store: memory, Valkey, and Redis where the machine has it.

Time is moved. In memory it is an argument; a server's clock cannot be moved, so there everything that is stored is made
older instead, which comes to the same.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from copy import copy
from math import inf
from typing import Any

import pytest

from proxy.core.clock import monotonic
from proxy.limits.memory_store import MemoryStore
from proxy.limits.policy import Kind, LimitPolicy, compile_limit
from proxy.limits.scripts import script_argument
from proxy.limits.settings import LimiterSettings, LimitSettings
from proxy.limits.shared.redis_store import RedisStore
from proxy.limits.verdict import LOCAL, SHARED, Verdict

CHANGEABLE = ["gcra", "fixed", "sliding", "log"]  # with any numbers
ALGORITHMS = [*CHANGEABLE, "calendar"]
PATIENT = LimiterSettings.model_validate({"store_timeout": 5.0})  # a busy machine must not look like a lost store


def policy(name: str = "per-ip", algorithm: str = "gcra", is_enforced: bool = True, **settings: Any) -> LimitPolicy:
    settings = {"rate": "4/h", "by": "ip", **settings}
    if algorithm == "inflight":
        settings.pop("rate")
    elif algorithm == "calendar":  # months, so that hardly ever one ends during a test
        algorithm = "fixed"
        settings |= {"rate": settings["rate"].replace("/h", "/month"), "time_zone": "Europe/Berlin"}
    model = LimitSettings.model_validate({**settings, "algorithm": algorithm})
    return compile_limit(name, model, "test.yaml:1", Kind(is_enforced=is_enforced))


def costing(limit: LimitPolicy, cost: int) -> LimitPolicy:
    """The policy itself, or a twin that charges more."""
    if cost == limit.cost:
        return limit
    twin = limit.twin()
    twin.cost = cost
    twin.script_argument = script_argument(limit.algorithm, limit.numbers, cost, limit.is_enforced)
    return twin


class InMemory:
    mode = LOCAL

    def __init__(self) -> None:
        self._now = 1000.0
        self.store = MemoryStore(10_000, wall_of=lambda now: now + 1_750_000_000.0)

    async def ask(self, *asked: tuple[LimitPolicy, str], cost: int = 1, member: str = "") -> Verdict:
        policies = tuple([costing(limit, cost) for limit, _ in asked])
        keys = [limit.prefix + who.encode() for limit, who in asked]
        return self.store.decide(policies, keys, self._now, member.encode())

    async def adjust(self, limit: LimitPolicy, who: str, units: int, age_s: float = 0.0) -> None:
        self.store.adjust(limit, limit.prefix + who.encode(), units, self._now - age_s, self._now)

    async def renew(self, limit: LimitPolicy, who: str, member: str) -> None:
        self.store.renew(limit, limit.prefix + who.encode(), member.encode(), self._now)

    async def release(self, limit: LimitPolicy, who: str, member: str) -> None:
        self.store.release(limit, limit.prefix + who.encode(), member.encode())

    async def peek(self, limit: LimitPolicy, who: str) -> Verdict:
        return self.store.peek(limit, limit.prefix + who.encode(), self._now)

    async def reset(self, limit: LimitPolicy, who: str) -> None:
        self.store.reset(limit, limit.prefix + who.encode())

    async def advance(self, seconds: float) -> None:
        self._now += seconds

    async def stored(self) -> dict[bytes, Any]:
        return {key: copy(state) for key, state in self.store._entries.items() if state is not None}


class OnServer:
    mode = SHARED
    AGE = """
    local seconds = tonumber(ARGV[1])
    local function older(text) return string.format('%.17g', tonumber(text) - seconds) end
    local function older_log(text)
      local records = string.gsub(string.sub(text, 7), '(' .. string.rep('%d', 16) .. ')(%d%d%d%d%d%d)', function(at, n)
        return string.format('%016.0f', tonumber(at) - seconds * 1000000) .. n
      end)
      return string.sub(text, 1, 6) .. records
    end
    for _, key in ipairs(redis.call('KEYS', 'weir:*')) do
      local left = redis.call('PTTL', key) - 1000 * seconds
      local is_set = redis.call('TYPE', key).ok == 'zset'
      if left < 1 then
        redis.call('DEL', key)
      elseif is_set then
        for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
          redis.call('ZINCRBY', key, string.format('%.17g', -seconds), member)
        end
        redis.call('PEXPIRE', key, string.format('%.0f', left))
      else
        local text = redis.call('GET', key)
        if string.find(key, ':log:', 1, true) then
          text = older_log(text)
        else
          text = string.gsub(text, '(%S+)( ?%d*)', function(at, units) return older(at) .. units end)
        end
        redis.call('SET', key, text, 'PX', string.format('%.0f', left))
      end
    end
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        server.admin.flushall()
        self.store = RedisStore(server.url, PATIENT, lambda error: None)

    async def ask(self, *asked: tuple[LimitPolicy, str], cost: int = 1, member: str = "") -> Verdict:
        policies = tuple([costing(limit, cost) for limit, _ in asked])
        keys = [limit.prefix + who.encode() for limit, who in asked]
        verdict = self.store.decide(policies, keys, monotonic(), member.encode())
        return verdict if isinstance(verdict, Verdict) else await verdict

    async def adjust(self, limit: LimitPolicy, who: str, units: int, age_s: float = 0.0) -> None:
        self.store.adjust(limit, limit.prefix + who.encode(), units, monotonic() - age_s)

    async def renew(self, limit: LimitPolicy, who: str, member: str) -> None:
        self.store.renew(limit, limit.prefix + who.encode(), member.encode())

    async def release(self, limit: LimitPolicy, who: str, member: str) -> None:
        self.store.release(limit, limit.prefix + who.encode(), member.encode())

    async def peek(self, limit: LimitPolicy, who: str) -> Verdict:
        verdict = self.store.peek(limit, limit.prefix + who.encode(), monotonic())
        return verdict if isinstance(verdict, Verdict) else await verdict

    async def reset(self, limit: LimitPolicy, who: str) -> None:
        done = self.store.reset(limit, limit.prefix + who.encode())
        if done is not None:
            await done

    async def advance(self, seconds: float) -> None:
        await self.peek(policy("nobody"), "nobody")  # what was sent before has been carried out
        self._server.admin.eval(self.AGE, 0, repr(seconds))
        self.store.forget(None)  # its own clock did not move

    async def stored(self) -> dict[bytes, Any]:
        await self.peek(policy("nobody"), "nobody")
        admin = self._server.admin
        return {
            key: admin.zrange(key, 0, -1, withscores=True) if admin.type(key) == b"zset" else admin.get(key)
            for key in admin.keys("weir:*")
            if b":per-" in key
        }


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
    assert 0.0 < denied.retry_after_s <= limit.window_s * 17 / 16
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
    full, fresh = policy("per-ip", rate="1/h"), policy("per-user", rate="9/h")
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


@pytest.mark.parametrize("algorithm", CHANGEABLE)
async def test_changed_numbers_keep_what_was_spent(limits: Any, algorithm: str) -> None:
    for _ in range(4):
        await limits.ask((policy(rate="4/h", algorithm=algorithm), "a"))
    for changed in ("4/30min", "3/h", "2/h", "1/20min"):
        verdict = await limits.ask((policy(rate=changed, algorithm=algorithm), "a"))
        assert (verdict.denied, verdict.remaining) == (True, 0)


async def test_a_raised_quota_counts_at_once(limits: Any) -> None:
    for algorithm in ("fixed", "sliding", "log", "calendar"):
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


# Delays.


async def test_what_comes_a_little_early_is_admitted_and_told_to_wait(limits: Any) -> None:
    limit = policy(rate="2/min", on_limit="delay(20s)", burst=1)
    verdicts = [await limits.ask((limit, "a"))]
    await limits.advance(20.0)
    verdicts += [await limits.ask((limit, "a")) for _ in range(2)]
    assert [verdict.denied for verdict in verdicts] == [False, False, True]
    assert [verdict.delay_s for verdict in verdicts] == [0.0, pytest.approx(10.0, abs=3.0), 0.0]
    assert verdicts[2].retry_after_s == pytest.approx(10.0 + 30.0 - 20.0, abs=3.0)


async def test_of_several_delays_the_longest_is_told_and_none_with_a_refusal(limits: Any) -> None:
    short = policy("short", rate="60/min", on_limit="delay(30s)", burst=1)
    long = policy("long", rate="6/min", on_limit="delay(30s)", burst=1)
    other = policy("other", rate="2/h")
    verdicts = [await limits.ask((short, "a"), (long, "a"), (other, "a")) for _ in range(3)]
    assert [verdict.denied for verdict in verdicts] == [False, False, True]
    assert [verdict.delay_s for verdict in verdicts] == [0.0, pytest.approx(10.0, abs=3.0), 0.0]


# Limits that are not enforced.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_limit_in_shadow_never_refuses_and_says_that_it_would_have(limits: Any, algorithm: str) -> None:
    shadow = policy(rate="2/h", algorithm=algorithm, is_enforced=False)
    verdicts = [await limits.ask((shadow, "a")) for _ in range(4)]
    assert [verdict.denied for verdict in verdicts] == [False] * 4
    assert [verdict.would_deny for verdict in verdicts] == [(), (), (shadow,), (shadow,)]
    assert [verdict.retry_after_s for verdict in verdicts] == [0.0] * 4
    assert {verdict.policy for verdict in verdicts} == {shadow}
    assert (await limits.peek(shadow, "a")).would_deny == (shadow,)


async def test_a_limit_in_shadow_is_charged_only_for_what_was_admitted_and_passed_it(limits: Any) -> None:
    shadow = policy("shadow", rate="9/h", is_enforced=False)
    small = policy("small", rate="2/h", is_enforced=False)
    live = policy("live", rate="3/h")
    asked = ((shadow, "a"), (live, "a"), (small, "a"))
    verdicts = [await limits.ask(*asked) for _ in range(5)]
    assert [verdict.denied for verdict in verdicts] == [False] * 3 + [True] * 2
    assert [verdict.would_deny for verdict in verdicts] == [(), (), (small,), (small,), (small,)]
    assert {verdict.violated for verdict in verdicts[3:]} == {(live,)}
    assert (await limits.peek(shadow, "a")).remaining == 6
    assert (await limits.peek(small, "a")).remaining == 0


async def test_the_tightest_limit_is_one_that_is_enforced(limits: Any) -> None:
    shadow, live = policy("shadow", rate="1/h", is_enforced=False), policy("live", rate="9/h")
    for _ in range(2):
        verdict = await limits.ask((shadow, "a"), (live, "a"))
    assert (verdict.policy, verdict.key, verdict.remaining) == (live, live.prefix + b"a", 7)


# Leases.


def held(**settings: Any) -> LimitPolicy:
    return policy("per-tenant", algorithm="inflight", **{"limit": 2, "lease": "30s", **settings})


async def test_no_more_are_in_flight_than_the_limit_and_a_release_makes_room(limits: Any) -> None:
    limit = held()
    verdicts = [await limits.ask((limit, "a"), member=f"r{i}") for i in range(3)]
    assert [verdict.denied for verdict in verdicts] == [False, False, True]
    assert [verdict.remaining for verdict in verdicts] == [1, 0, 0]
    assert 0.0 < verdicts[2].retry_after_s <= 30.0
    await limits.release(limit, "a", "r0")
    await limits.release(limit, "a", "r0")
    verdicts = [await limits.ask((limit, "a"), member=f"r{i}") for i in range(3, 5)]
    assert [verdict.denied for verdict in verdicts] == [False, True]


async def test_a_lease_that_is_not_renewed_ends_and_one_that_is_goes_on(limits: Any) -> None:
    limit = held()
    for member in ("kept", "lost"):
        await limits.ask((limit, "a"), member=member)
    await limits.advance(20.0)
    await limits.renew(limit, "a", "kept")
    await limits.advance(11.0)
    assert (await limits.peek(limit, "a")).remaining == 1
    await limits.advance(20.0)
    assert (await limits.peek(limit, "a")).remaining == 2


async def test_a_lease_that_has_ended_is_taken_again_only_if_there_is_room(limits: Any) -> None:
    limit = held(limit=1)
    await limits.ask((limit, "a"), member="first")
    await limits.advance(31.0)
    assert not (await limits.ask((limit, "a"), member="second")).denied
    await limits.renew(limit, "a", "first")
    await limits.release(limit, "a", "second")
    assert (await limits.peek(limit, "a")).remaining == 1
    await limits.renew(limit, "a", "first")
    assert (await limits.peek(limit, "a")).remaining == 0


async def test_a_thousand_that_die_leak_nothing_beyond_their_lease(limits: Any) -> None:
    limit = held(limit=1000)
    await asyncio.gather(*[limits.ask((limit, "a"), member=f"r{i}") for i in range(1000)])
    assert (await limits.ask((limit, "a"), member="next")).denied
    await limits.advance(31.0)
    assert (await limits.ask((limit, "a"), member="next")).remaining == 999
    assert len(next(iter((await limits.stored()).values()))) == 1


async def test_who_is_refused_by_another_limit_holds_nothing(limits: Any) -> None:
    limit, narrow = held(), policy("narrow", rate="1/h")
    for i in range(3):
        verdict = await limits.ask((limit, "a"), (narrow, "a"), member=f"r{i}")
    assert verdict.violated == (narrow,)
    assert (await limits.peek(limit, "a")).remaining == 1
    for i in range(3):
        verdict = await limits.ask((limit, "b"), (policy("wide", rate="9/h"), "a"), member=f"s{i}")
    assert verdict.violated == (limit,)
    assert (await limits.peek(policy("wide", rate="9/h"), "a")).remaining == 7


# Corrections.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_units_are_given_back_and_charged_unasked(limits: Any, algorithm: str) -> None:
    limit = policy(rate="10/h", algorithm=algorithm)
    await limits.ask((limit, "a"), cost=6)
    await limits.adjust(limit, "a", -4)
    assert (await limits.peek(limit, "a")).remaining == 8
    await limits.adjust(limit, "a", 5)
    assert (await limits.peek(limit, "a")).remaining == 3
    await limits.adjust(limit, "a", 50)
    denied = await limits.ask((limit, "a"))
    assert (denied.denied, denied.remaining) == (True, 0)
    await limits.adjust(limit, "a", -50)
    assert (await limits.peek(limit, "a")).remaining == 10
    assert await limits.stored() == {}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_refused_key_passes_again_once_something_was_given_back(limits: Any, algorithm: str) -> None:
    limit = policy(rate="2/h", algorithm=algorithm)
    for _ in range(3):
        await limits.ask((limit, "a"))
    await limits.adjust(limit, "a", -1)
    assert [(await limits.ask((limit, "a"))).denied for _ in range(2)] == [False, True]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_nothing_is_given_back_to_a_window_that_opened_since(limits: Any, algorithm: str) -> None:
    limit = policy(rate="4/h", algorithm=algorithm)
    await limits.ask((limit, "a"), cost=4)
    await limits.advance(limit.window_s * 17 / 16 + 1)
    await limits.ask((limit, "a"), cost=3)
    await limits.adjust(limit, "a", -4, age_s=limit.window_s * 17 / 16 + 1)
    assert (await limits.peek(limit, "a")).remaining == 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_giving_back_to_a_key_that_has_nothing_charged_writes_nothing(limits: Any, algorithm: str) -> None:
    await limits.adjust(policy(algorithm=algorithm), "a", -3)
    assert await limits.stored() == {}


async def test_a_correction_after_a_change_of_the_numbers_keeps_within_the_new_quota(limits: Any) -> None:
    for algorithm in CHANGEABLE:
        await limits.ask((policy(rate="10/h", algorithm=algorithm), "a"), cost=8)
        smaller = policy(rate="5/h", algorithm=algorithm)
        await limits.adjust(smaller, "a", 1)
        assert (await limits.peek(smaller, "a")).remaining == 0
        await limits.adjust(smaller, "a", -20)
        assert (await limits.peek(smaller, "a")).remaining == 5


# Looking, and forgetting.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_looking_charges_nothing_and_says_what_a_request_would_find(limits: Any, algorithm: str) -> None:
    limit = policy(rate="2/h", algorithm=algorithm)
    seen = []
    for _ in range(3):
        verdict = await limits.peek(limit, "a")
        seen.append((verdict.denied, verdict.remaining, verdict.violated))
        assert (await limits.peek(limit, "a")).remaining == verdict.remaining
        await limits.ask((limit, "a"))
    assert seen == [(False, 2, ()), (False, 1, ()), (True, 0, (limit,))]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_key_that_was_reset_has_everything_again(limits: Any, algorithm: str) -> None:
    limit = policy(rate="2/h", algorithm=algorithm)
    for who in ("a", "a", "a", "b", "b"):
        await limits.ask((limit, who))
    await limits.reset(limit, "a")
    await limits.reset(limit, "nobody")
    assert [(await limits.ask((limit, "a"))).remaining for _ in range(3)] == [1, 0, 0]
    assert (await limits.ask((limit, "b"))).denied


async def test_a_reset_ends_every_lease_and_releases_after_it_are_harmless(limits: Any) -> None:
    limit = held()
    for member in ("r1", "r2"):
        await limits.ask((limit, "a"), member=member)
    await limits.reset(limit, "a")
    assert (await limits.peek(limit, "a")).remaining == 2
    await limits.release(limit, "a", "r1")
    await limits.renew(limit, "a", "r2")
    assert (await limits.peek(limit, "a")).remaining == 1


async def test_forgetting_loses_no_count(limits: Any) -> None:
    limit = policy(rate="2/h")
    for _ in range(3):
        await limits.ask((limit, "a"))
    limits.store.forget(limit)
    limits.store.forget(None)
    assert (await limits.ask((limit, "a"))).denied

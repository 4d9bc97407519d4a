"""This Weir's share of a limit, and what it begins with when the store goes away."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.limits.policy import LimitPolicy, compile_limit
from proxy.limits.settings import LimitSettings
from proxy.limits.shared.fallback import StandIn
from proxy.limits.shared.fleet import Fleet
from proxy.limits.shared.last_seen import LastSeen
from proxy.limits.shared.share import Share
from proxy.limits.store import StoreStats

ALGORITHMS = ["gcra", "fixed", "sliding", "log"]


def policy(rate: str, **settings: Any) -> LimitPolicy:
    return compile_limit("x", LimitSettings.model_validate({"rate": rate, "by": "ip", **settings}), "test.yaml:1")


def admitted(share: Share, state: Any, since: float, for_s: float, per_s: float) -> int:
    """Of requests that come evenly."""
    count = 0
    limit = share.policy
    for i in range(int(for_s * per_s)):
        allowed, state_after, *_ = limit.step(state, since + i / per_s, limit.numbers, 1)
        if allowed:
            state = state_after
            count += 1
    return count


def fleet_admits(limit: LimitPolicy, size: int, for_s: float, per_s: float, *, seen: Any = None) -> int:
    total = 0
    for i in range(size):
        share = Share(limit, size, i / size)
        state = share.unseen(1000.0) if seen is None else share.seed(*seen, at=1000.0, since=1000.0)
        total += admitted(share, state, 1000.0, for_s, per_s)
    return total


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [1, 4, 16])
def test_all_shares_together_stay_within_the_limit_and_near_it(algorithm: str, size: int) -> None:
    limit = policy("800/min", algorithm=algorithm)
    total = fleet_admits(limit, size, 60.0, 20.0 if size == 16 else 40.0)
    whole = 1600 if algorithm == "gcra" else 800  # gcra: a burst and what drips meanwhile
    assert 0.85 * whole <= total <= whole


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_share_below_one_is_a_slow_drip_and_never_one_for_each(algorithm: str) -> None:
    limit = policy("3/min", algorithm=algorithm)
    share = Share(limit, 16, 0.0)
    assert share.is_slow
    assert 1 <= fleet_admits(limit, 16, 60.0, 2.0) <= (6 if algorithm == "gcra" else 3)
    for minutes in (10, 20):
        total = fleet_admits(limit, 16, 60.0 * minutes, 1.0)
        assert 0.85 * 3 * minutes - 1 <= total <= 3 * minutes + 3


def test_a_burst_of_one_is_not_multiplied_by_the_fleet() -> None:
    limit = policy("100/s", burst=1)
    assert 85 <= fleet_admits(limit, 4, 1.0, 2000.0) <= 101


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("remaining", [0, 1, 100, 399, 400])
def test_what_was_spent_is_carried_over(algorithm: str, remaining: int) -> None:
    limit = policy("400/h", algorithm=algorithm)
    _, _, left, reset_s, _ = limit.step(None, 1000.0, limit.numbers, 400 - remaining)
    assert left == remaining
    total = fleet_admits(limit, 4, 1.0, 200.0, seen=(remaining, reset_s))
    assert 0.95 * remaining - 4 <= total <= remaining


@pytest.mark.parametrize("algorithm", ["sliding", "log"])
def test_a_busy_trailing_window_gives_back_at_its_usual_pace(algorithm: str) -> None:
    """Full and evenly spent, as it is under steady overload: the fleet goes on at the rate, not at nothing."""
    limit = policy("400/min", algorithm=algorithm)
    total = fleet_admits(limit, 4, 60.0, 20.0, seen=(0, 60.0 / 400.0))
    assert 0.85 * 400 <= total <= 400


@settings(deadline=None)  # a busy machine is no failure
@given(st.sampled_from(ALGORITHMS), st.integers(1, 5000), st.integers(1, 40), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_seed_never_admits_more_than_the_share_of_what_was_left(
    algorithm: str, quota: int, size: int, part: float, phase: float
) -> None:
    limit = policy(f"{min(quota, 1000)}/h", algorithm=algorithm)
    spent = int(part * limit.quota)
    _, _, left, reset_s, _ = limit.step(None, 1000.0, limit.numbers, spent)
    share = Share(limit, size, phase)
    state = share.seed(left, reset_s, 1000.0, 1000.0)
    own = share.policy
    count = 0
    for _ in range(limit.quota + 2):
        allowed, state_after, *_ = own.step(state, 1000.0, own.numbers, 1)
        if not allowed:
            break
        state = state_after
        count += 1
    assert count <= max(0.95 * left / size, 1.0 if share.is_slow else 0.0) + 0.01


def test_of_what_is_held_in_flight_a_share_below_one_is_none() -> None:
    limit = compile_limit(
        "flights", LimitSettings.model_validate({"algorithm": "inflight", "limit": 10, "by": "ip"}), "test.yaml:1"
    )
    assert [Share(limit, size, 0.5).policy.numbers[0] for size in (1, 4, 16)] == [9, 2, 0]


def test_a_fleet_has_at_least_this_weir() -> None:
    fleet = Fleet()
    assert (fleet.size, fleet.share) == (1, 0.95)
    fleet.heard(4, 1000.0)
    assert (fleet.size, fleet.share) == (4, 0.2375)
    fleet.heard(0, 1001.0)
    assert fleet.size == 1


@pytest.mark.parametrize("algorithm", ["gcra", "fixed"])
def test_a_key_whose_seed_is_over_by_now_is_decided_like_any_other(algorithm: str) -> None:
    limit = policy("800/min", algorithm=algorithm)
    seen = LastSeen()
    seen.note((limit,), [b"key"], [100, 1_000_000, 0], 0, 90.0)
    stand_in = StandIn(1000, StoreStats(), seen, 4, 0.5, 100.0)
    verdicts = [stand_in.decide((limit,), [b"key"], 100.5 + i, b"", 0.0, False) for i in range(3)]
    assert [verdict.denied for verdict in verdicts] == [False] * 3


def test_a_key_that_was_refused_throughout_is_told_to_a_store_that_lost_it() -> None:
    limit = policy("800/h", algorithm="fixed")
    seen = LastSeen()
    seen.note((limit,), [b"key"], [0, 3_000_000_000, 1_000_000], 0, 100.0)
    stand_in = StandIn(1000, StoreStats(), seen, 4, 0.5, 100.0)
    assert stand_in.decide((limit,), [b"key"], 101.0, b"", 0.0, False).denied
    assert [due.units for due in stand_in.lost_dues(102.0, 10)] == [200]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_fleet_that_has_grown_since_the_outage_began_gets_smaller_shares(algorithm: str) -> None:
    limit = policy("800/h", algorithm=algorithm)
    stand_in = StandIn(1000, StoreStats(), LastSeen(), 2, 0.5, 100.0)

    def passed(key: bytes) -> int:
        verdicts = [stand_in.decide((limit,), [key], 101.0, b"", 0.0, False) for _ in range(500)]
        return sum(not verdict.denied for verdict in verdicts)

    assert passed(b"before") == 380
    stand_in.grow(4)
    assert passed(b"after") == 190
    stand_in.grow(1)  # an empty store says so
    assert passed(b"later") == 190

"""Other rates, tried on the same arrivals: what is suggested is the smallest that suffices, and not one less."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.units import Rate
from proxy.limits.limit import Limit
from proxy.limits.settings import LimitSettings
from proxy.simulation.estimate import Arrivals, effect_of, everything, least_for_keys, least_for_requests
from proxy.simulation.variants import Variants

ALGORITHMS = ("gcra", "fixed", "sliding", "log")


def variants(**settings: object) -> Variants:
    return Variants(Limit("tried", LimitSettings.model_validate({"rate": "10/min", **settings}), "here:1"))


def arrivals(*keys: Sequence[float]) -> list[Arrivals]:
    return [(array("d", sorted(instants)), None) for instants in keys]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_effect_of_a_rate_counts_requests_and_keys(algorithm: str) -> None:
    tried = variants(algorithm=algorithm)
    policy = tried.policy(Rate(3, 60.0))
    assert policy is not None
    effect = effect_of(policy, arrivals([0.0] * 5, [0.0] * 3, [0.0, 200.0, 400.0, 600.0]))
    assert (effect.requests, effect.denied, effect.keys, effect.keys_denied) == (12, 2, 3, 1)
    assert (effect.share, effect.share_of_keys) == (2 / 12, 1 / 3)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.floats(0.0, 300.0), min_size=1, max_size=40), min_size=1, max_size=8), st.data())
def test_the_suggested_count_suffices_and_one_less_does_not(
    algorithm: str, keys: list[list[float]], data: st.DataObject
) -> None:
    share = data.draw(st.sampled_from([0.0, 0.05, 0.3]))
    tried = variants(algorithm=algorithm)
    came = arrivals(*keys)

    def effect(count: int) -> tuple[int, int]:
        policy = tried.policy(Rate(count, 60.0))
        assert policy is not None
        found = effect_of(policy, came)
        return found.denied, found.keys_denied

    requests = sum(len(instants) for instants in keys)
    count = least_for_requests(lambda number: tried.policy(Rate(number, 60.0)), came, share)
    assert effect(count)[0] <= int(requests * share)
    assert count == 1 or effect(count - 1)[0] > int(requests * share)
    count = least_for_keys(lambda number: tried.policy(Rate(number, 60.0)), came, share)
    assert effect(count)[1] <= int(len(keys) * share)
    assert count == 1 or effect(count - 1)[1] > int(len(keys) * share)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.0, 300.0), min_size=1, max_size=60))
def test_a_higher_rate_never_denies_more(algorithm: str, instants: list[float]) -> None:
    tried = variants(algorithm=algorithm)
    denied = []
    for count in range(1, 30):
        policy = tried.policy(Rate(count, 60.0))
        assert policy is not None
        denied.append(effect_of(policy, arrivals(instants)).denied)
    assert denied == sorted(denied, reverse=True)


def test_a_thousand_quiet_keys_and_one_loud_one_are_told_apart() -> None:
    quiet = [[0.0, 1.0, 2.0]] * 999
    came = arrivals(*quiet, [number * 0.01 for number in range(5000)])
    tried = variants(algorithm="fixed")
    # one key in a thousand may be denied: the loud one is, so three suffice for the others
    assert least_for_keys(lambda number: tried.policy(Rate(number, 60.0)), came) == 3
    # of 7997 requests 7 may be denied, and the loud key makes 5000
    assert least_for_requests(lambda number: tried.policy(Rate(number, 60.0)), came) == 4993


def test_nobody_at_all_needs_the_smallest_count() -> None:
    tried = variants()
    assert least_for_requests(lambda number: tried.policy(Rate(number, 60.0)), []) == 1
    assert least_for_keys(lambda number: tried.policy(Rate(number, 60.0)), []) == 1


def test_what_is_given_back_after_the_response_leaves_room_for_others() -> None:
    tried = variants(algorithm="fixed", count_if="status in (401)")
    policy = tried.policy(Rate(2, 60.0))
    assert policy is not None
    instants = array("d", [float(number) for number in range(10)])
    failures = array("q", [1, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    assert effect_of(policy, [(instants, failures)]).denied == 6  # once two have failed, nothing passes
    assert effect_of(policy, [(instants, array("q", [0] * 10))]).denied == 0


def test_costs_count() -> None:
    tried = variants(algorithm="fixed", cost=5)
    policy = tried.policy(Rate(10, 60.0))
    assert policy is not None
    assert effect_of(policy, arrivals([0.0] * 4)).denied == 2
    assert tried.policy(Rate(4, 60.0)) is None  # not one request could pass
    assert least_for_requests(lambda number: tried.policy(Rate(number, 60.0)), arrivals([0.0] * 4), 0.0) == 20
    assert everything(arrivals([0.0] * 4)).share == 1.0


def test_a_burst_of_its_own_grows_with_the_rate() -> None:
    tried = variants(rate="60/min", burst=10)
    policy = tried.policy(Rate(120, 60.0))
    assert policy is not None
    assert (policy.burst, tried.has_burst) == (20, True)
    assert not variants().has_burst
    # ten at once need a burst of ten
    assert least_for_requests(lambda number: tried.policy(Rate(number, 60.0)), arrivals([0.0] * 30), 0.0) == 177


def test_windows_of_the_calendar_end_when_the_calendar_says() -> None:
    tried = variants(rate="2/hour", algorithm="fixed", time_zone="UTC")
    policy = tried.policy(Rate(2, 3600.0))
    assert policy is not None
    noon = 1775822400.0  # 2026-04-10T12:00:00Z
    assert effect_of(policy, arrivals([noon - 2, noon - 1, noon + 1, noon + 2])).denied == 0
    assert effect_of(policy, arrivals([noon + 1, noon + 2, noon + 3, noon + 3599])).denied == 2


def test_what_is_under_way_has_no_rate() -> None:
    limit = Limit("flight", LimitSettings.model_validate({"algorithm": "inflight", "limit": 5}), "here:1")
    assert (Variants(limit).rate, Variants(limit).label) == (None, "5 at once")
    assert "no rate" in Variants(limit).note

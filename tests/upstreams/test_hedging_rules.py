"""When a second endpoint is asked: what is learned, and how often it is allowed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstreams.hedging import HedgeRules, Hedging, Latencies


def test_too_few_answers_say_nothing() -> None:
    latencies = Latencies()
    for _ in range(49):
        latencies.note(0.01)
    assert latencies.quantile(0.95) is None
    latencies.note(0.01)
    assert latencies.quantile(0.95) is not None


@given(st.lists(st.floats(0.001, 60.0), min_size=60, max_size=300), st.floats(0.5, 0.99))
def test_a_quantile_is_right_to_a_tenth_and_never_too_short(values: list[float], share: float) -> None:
    latencies = Latencies()
    for value in values:
        latencies.note(value)
    found = latencies.quantile(share)
    assert found is not None
    below = sum(value <= found for value in values) / len(values)
    assert below >= share - 1e-9
    assert sum(value <= found / 1.1 for value in values) / len(values) <= share + 1 / len(values)


@pytest.mark.parametrize("value", [0.0, 1e-9, 1e9], ids=["nothing", "hardly anything", "for ever"])
def test_odd_latencies_have_a_place(value: float) -> None:
    latencies = Latencies()
    for _ in range(60):
        latencies.note(value)
    assert latencies.quantile(0.95) is not None


def test_what_was_long_ago_is_forgotten() -> None:
    latencies = Latencies()
    for _ in range(1000):
        latencies.note(1.0)
    for _ in range(60):
        latencies.fade()
        for _ in range(20):
            latencies.note(0.01)
    found = latencies.quantile(0.9)
    assert found is not None
    assert found < 0.02


def test_the_wait_is_that_of_nearly_all_others_within_bounds() -> None:
    def learned(latency_s: float, rules: HedgeRules) -> float | None:
        hedging = Hedging(rules, 0.0)
        for _ in range(980):
            hedging.latencies.note(latency_s)
        for _ in range(20):
            hedging.latencies.note(30.0)
        hedging.tick(0.5)
        assert hedging.delay_s is None, "once a second"
        hedging.tick(1.0)
        return hedging.delay_s

    assert learned(0.1, HedgeRules()) == pytest.approx(0.1, rel=0.1)
    assert learned(0.001, HedgeRules()) == 0.01
    assert learned(10.0, HedgeRules()) == 2.0
    assert learned(0.1, HedgeRules(extra=0.01)) == 2.0  # the slow 2 % are not rare enough for 1 % of hedges


def test_hedges_are_a_small_part_of_the_requests() -> None:
    hedging, draw = Hedging(HedgeRules(extra=0.02), 0.0), random.Random(1)
    for step in range(100_000):
        hedging.requests += 1
        if draw.random() < 0.5 and hedging.spend(step / 1000):
            hedging.sent += 1
    assert 0.017 < hedging.sent / hedging.requests <= 0.02


def test_the_first_requests_are_not_hedged() -> None:
    hedging = Hedging(HedgeRules(), 0.0)
    hedging.requests = 40
    assert not hedging.spend(0.0)
    hedging.requests = 60
    assert hedging.spend(0.0)
    hedging.sent += 1
    assert not hedging.spend(0.0)

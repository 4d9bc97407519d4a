"""The adaptive limit before a backend on virtual time: near its knee, through changes, all slots when it is well."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.upstreams.adaptive import AdaptiveRules
from tests.upstreams.simulated_backend import always, backend

NOISES = [pytest.param(0.0, id="even"), pytest.param(0.3, id="noisy")]


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("knee", [10, 16, 30, 45])
def test_under_constant_overload_it_stays_near_the_knee(knee: int, noise: float) -> None:
    made = backend(knee=always(knee), noise=noise)
    made.run(120.0)
    assert knee * 0.8 <= made.mean_limit(since=20.0) <= min(knee * 2.6, 64)
    before = made.mean_limit(since=100.0)
    made.run(600.0)
    assert made.mean_limit(since=500.0) == pytest.approx(before, rel=0.35)  # it does not drift


def test_where_too_many_get_less_done_more_is_done_and_in_less_time() -> None:
    held = backend(knee=always(16), shape=2.0).run(60.0).run(120.0)
    free = backend(knee=always(16), shape=2.0, enforces=False).run(60.0).run(120.0)
    assert held.done > 1.8 * free.done
    assert held.p95_s < 0.25 * free.p95_s


@pytest.mark.parametrize("noise", [*NOISES, pytest.param(0.5, id="very noisy")])
def test_a_healthy_backend_keeps_all_its_slots(noise: float) -> None:
    made = backend(noise=noise).run(300.0)
    assert made.mean_limit(since=0.0) > 60.0
    assert made.adaptive.bound > 55


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("factor", [3, 10])
def test_it_falls_with_a_backend_that_slows_down_and_ends_at_all_slots_when_it_is_well(
    factor: int, noise: float
) -> None:
    made = backend(base_s=lambda now: 0.05 * factor if 20 < now < 50 else 0.05, noise=noise)
    made.run(20.0)
    assert made.adaptive.bound > 60
    made.run(26.0)
    low = min(limit for at, limit in made.limits if at > 20.0)
    assert low < 32
    made.run(50.0)
    made.run(75.0)
    assert made.adaptive.limit > 60.0
    made.run(80.0)
    assert made.p95_s < 0.05 * (2.0 if noise else 1.01)


def test_a_backend_that_stays_slower_but_is_not_overrun_gets_its_slots_back() -> None:
    made = backend(base_s=lambda now: 0.15 if now > 20 else 0.05).run(20.0).run(60.0)
    assert made.adaptive.limit == 64.0
    assert made.adaptive.usual_s == pytest.approx(0.15, rel=0.05)


def test_it_follows_a_knee_that_moves() -> None:
    made = backend(knee=lambda now: 40 if now < 60 else 12 if now < 120 else 100)
    made.run(60.0)
    assert made.adaptive.limit > 40
    made.run(90.0)
    assert made.adaptive.limit < 30
    made.run(130.0)
    assert made.adaptive.limit == 64.0


def test_demand_below_the_limit_never_moves_it() -> None:
    made = backend(clients=always(12.0), knee=always(20), noise=0.3).run(120.0)
    assert {limit for _, limit in made.limits} == {64.0}
    assert made.adaptive.held_back == 0


def test_observed_it_holds_nothing_back_and_says_how_often_it_would_have() -> None:
    made = backend(knee=always(16), enforces=False)
    made.run(30.0)
    assert made.most_in_use == 64
    assert 16 <= made.adaptive.limit < 60
    assert made.adaptive.held_back > 1000


def test_measuring_costs_little_and_never_goes_below_the_least() -> None:
    rules = AdaptiveRules(True, least=8, measure_s=10.0)
    made = backend(rules=rules).run(10.0).run(110.0)
    assert made.adaptive.measured >= 9
    assert min(made.bounds) == 32
    assert made.done > 0.95 * 100.0 * 64 / 0.05


@settings(max_examples=15, deadline=None)
@given(
    knee=st.integers(4, 200),
    base_ms=st.integers(10, 800),
    noise=st.floats(0.0, 0.6),
    clients=st.integers(1, 300),
    least=st.integers(1, 20),
    seed=st.integers(0, 10_000),
    recovers_at=st.floats(5.0, 20.0),
)
def test_whatever_it_was_through_a_backend_that_is_well_gets_all_that_is_asked_of_it(
    knee: int, base_ms: int, noise: float, clients: int, least: int, seed: int, recovers_at: float
) -> None:
    made = backend(
        rules=AdaptiveRules(True, least=least, measure_s=10.0),
        knee=lambda now: knee if now < recovers_at else 1e9,
        base_s=always(base_ms / 1000),
        clients=always(float(clients)),
        noise=noise,
        seed=seed,
    )
    made.run(recovers_at)
    made.run(recovers_at + 60.0 + 100 * base_ms / 1000)
    assert min(made.bounds) >= least
    assert made.adaptive.limit >= 0.75 * min(clients, 64)

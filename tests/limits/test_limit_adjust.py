"""Corrections of what was admitted: charged without asking, or given back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.limits.algorithms import ALGORITHMS
from proxy.limits.algorithms.sliding import BUCKETS

ADJUSTABLE = ["gcra", "fixed", "calendar", "sliding", "log"]
PERIOD_S = 16.0
TICK_S = 1 / 64  # every time below is a multiple of it, and so exact as a float
COUNT = 16  # so that gcra's interval is exact too

REQUESTS = st.lists(st.tuples(st.one_of(st.just(0), st.integers(0, 400)), st.integers(1, 5)), max_size=40)
UNITS = st.integers(1, 40)


def numbers(algorithm: str) -> Any:
    made = ALGORITHMS[algorithm].numbers(COUNT, PERIOD_S, COUNT)
    return (*made, *[1000.0 + window * PERIOD_S for window in range(-1, 80)]) if algorithm == "calendar" else made


def after(algorithm: str, requests: list[tuple[int, int]]) -> tuple[Any, float]:
    """The state that some requests leave, and the instant of the last one."""
    state, now = None, 1000.0
    for gap, cost in requests:
        now += gap * TICK_S
        allowed, new_state, *_ = ALGORITHMS[algorithm].step(state, now, numbers(algorithm), cost)
        if allowed:
            state = new_state
    return state, now


def remaining(algorithm: str, state: Any, now: float) -> int:
    left: int = ALGORITHMS[algorithm].step(state, now, numbers(algorithm), 0)[2]
    return left


def adjust(algorithm: str, state: Any, now: float, units: int, age_s: float = 0.0) -> Any:
    return ALGORITHMS[algorithm].adjust(state, now, numbers(algorithm), units, age_s)


@pytest.mark.parametrize("algorithm", ADJUSTABLE)
@given(requests=REQUESTS, units=UNITS)
def test_charging_and_giving_back_the_same_is_as_if_nothing_had_been(
    algorithm: str, requests: list[tuple[int, int]], units: int
) -> None:
    state, now = after(algorithm, requests)
    before = remaining(algorithm, state, now)
    assume(units <= before)
    charged = adjust(algorithm, state, now, units)
    assert remaining(algorithm, charged, now) == before - units
    again = adjust(algorithm, charged, now, -units)
    kind = ALGORITHMS[algorithm]
    for later_s in (0.0, 1.0, 5.0, PERIOD_S):
        for cost in (0, 1, before, before + 1):
            then = now + later_s
            expected = kind.step(state, then, numbers(algorithm), cost)
            found = kind.step(again, then, numbers(algorithm), cost)
            assert (found[0], found[2]) == (expected[0], expected[2])


@pytest.mark.parametrize("algorithm", ADJUSTABLE)
@given(requests=REQUESTS, units=UNITS)
def test_never_more_is_charged_than_the_quota(algorithm: str, requests: list[tuple[int, int]], units: int) -> None:
    state, now = after(algorithm, requests)
    before = remaining(algorithm, state, now)
    charged = adjust(algorithm, state, now, units)
    assert remaining(algorithm, charged, now) == max(before - units, 0)
    # whatever was charged, all of it is over after the longest that a full quota takes to come back
    longest_s = PERIOD_S * (BUCKETS + 1) / BUCKETS
    assert remaining(algorithm, charged, now + longest_s) == COUNT


@pytest.mark.parametrize("algorithm", ADJUSTABLE)
@given(requests=REQUESTS, units=UNITS, age=st.integers(0, 1200))
def test_never_more_is_given_back_than_is_spent(
    algorithm: str, requests: list[tuple[int, int]], units: int, age: int
) -> None:
    state, now = after(algorithm, requests)
    before = remaining(algorithm, state, now)
    given_back = adjust(algorithm, state, now, -units, age * TICK_S)
    assert before <= remaining(algorithm, given_back, now) <= min(before + units, COUNT)
    kind = ALGORITHMS[algorithm]
    assert sum(kind.step(None, now, numbers(algorithm), cost)[0] for cost in range(COUNT + 5)) == COUNT + 1
    assert not kind.step(given_back, now, numbers(algorithm), COUNT + 1)[0]


@pytest.mark.parametrize("algorithm", ADJUSTABLE)
@given(requests=REQUESTS.filter(bool), units=UNITS, beyond=st.integers(1, 2000))
def test_nothing_of_a_window_that_is_over_is_given_back(
    algorithm: str, requests: list[tuple[int, int]], units: int, beyond: int
) -> None:
    state, now = after(algorithm, requests)
    over_at = {
        "fixed": state[0] - PERIOD_S if algorithm == "fixed" else now,  # when this window began
        "calendar": 1000.0 + (now - 1000.0) // PERIOD_S * PERIOD_S,
        "sliding": now - PERIOD_S * (BUCKETS + 1) / BUCKETS,
    }.get(algorithm, now - PERIOD_S)
    age_s = now - over_at + beyond * TICK_S
    before = remaining(algorithm, state, now)
    assert remaining(algorithm, adjust(algorithm, state, now, -units, age_s), now) == before


@pytest.mark.parametrize("algorithm", ADJUSTABLE)
@given(requests=REQUESTS, gap=st.integers(0, 200))
def test_a_charge_is_given_back_whole_while_its_window_lasts(
    algorithm: str, requests: list[tuple[int, int]], gap: int
) -> None:
    """Also when its window was opened by it: a cost that is only known afterwards."""
    state, now = after(algorithm, requests)
    kind = ALGORITHMS[algorithm]
    allowed, charged, *_ = kind.step(state, now, numbers(algorithm), 3)
    assume(allowed)
    later = now + gap * TICK_S
    given_back = adjust(algorithm, charged, later, -3, later - now)
    expected = remaining(algorithm, state, later)
    if algorithm == "gcra":  # it cannot know whose units have dripped away, and takes its own for the last
        assert expected <= remaining(algorithm, given_back, later) <= min(expected + 3, COUNT)
    else:
        same_window = algorithm != "calendar" or (later - 1000.0) // PERIOD_S == (now - 1000.0) // PERIOD_S
        assert remaining(algorithm, given_back, later) == (expected if same_window else COUNT)


@pytest.mark.parametrize("algorithm", ADJUSTABLE)
def test_nothing_is_nothing(algorithm: str) -> None:
    assert adjust(algorithm, None, 1000.0, -3) is None
    charged = adjust(algorithm, None, 1000.0, 3)
    assert adjust(algorithm, charged, 1000.0, -3) is None
    assert remaining(algorithm, charged, 1000.0) == COUNT - 3


def test_leases_are_released_and_not_given_back() -> None:
    state = {b"a": 1030.0}
    assert ALGORITHMS["inflight"].adjust(state, 1000.0, (2, 30.0), -1, 0.0) is state

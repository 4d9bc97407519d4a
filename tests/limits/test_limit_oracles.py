"""The algorithms against brute force: a log of everything admitted, and exact fractions."""

from __future__ import annotations

from fractions import Fraction
from math import inf
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.limits.algorithms import ALGORITHMS, gcra
from proxy.limits.algorithms.sliding import BUCKETS

PERIOD_S = 16.0
TICK_S = 1 / 64  # every time below is a multiple of it, and so exact as a float

# gaps in ticks: mostly bursts, sometimes longer than the window
GAPS = st.one_of(st.just(0), st.integers(0, 40), st.integers(0, 2000))
REQUESTS = st.lists(st.tuples(GAPS, st.integers(1, 3)), min_size=1, max_size=120)
Log = list[tuple[float, int]]


class Key:
    """One key under one algorithm, with the log of what it admitted."""

    def __init__(self, algorithm: str, count: int, burst: int | None = None) -> None:
        self._kind = ALGORITHMS[algorithm]
        self.numbers: Any = self._kind.numbers(count, PERIOD_S, burst or count)
        self.state: Any = None
        self.log: Log = []

    def ask(self, now: float, cost: int = 1) -> tuple[bool, int, float, float]:
        allowed, state, remaining, reset_s, retry_after_s = self._kind.step(self.state, now, self.numbers, cost)
        if allowed:
            self.state = state
            self.log.append((now, cost))
        return allowed, remaining, reset_s, retry_after_s

    def copy(self) -> Key:
        twin = object.__new__(Key)
        twin._kind, twin.numbers, twin.state, twin.log = self._kind, self.numbers, self.state, []
        return twin


def instants(requests: list[tuple[int, int]]) -> Log:
    now = 1000.0
    told = []
    for gap, cost in requests:
        now += gap * TICK_S
        told.append((now, cost))
    return told


def trailing_maximum(log: Log, window_s: float) -> int:
    """The most units in any window (t - window_s, t]; its maximum is reached when t is a request."""
    return max(sum(cost for at, cost in log if now - window_s < at <= now) for now, _ in log) if log else 0


@given(requests=REQUESTS, count=st.integers(3, 20), burst=st.integers(3, 30))
def test_gcra_never_admits_more_than_burst_plus_rate_in_a_trailing_window(
    requests: list[tuple[int, int]], count: int, burst: int
) -> None:
    key = Key("gcra", count, burst)
    for now, cost in instants(requests):
        key.ask(now, cost)
    assert trailing_maximum(key.log, PERIOD_S) <= burst + count


@given(requests=REQUESTS, count=st.integers(1, 40))
def test_gcra_with_a_strict_burst_never_admits_more_than_its_count_in_a_trailing_window(
    requests: list[tuple[int, int]], count: int
) -> None:
    key = Key("gcra", count)
    key.numbers = gcra.strict_numbers(count, PERIOD_S)
    for now, _ in instants(requests):
        key.ask(now)
    assert trailing_maximum(key.log, PERIOD_S) <= count


@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 19, 60, 1000])
def test_a_strict_burst_admits_nearly_its_count_to_who_asks_all_the_time(count: int) -> None:
    key = Key("gcra", count)
    key.numbers = gcra.strict_numbers(count, PERIOD_S)
    step_s = PERIOD_S / count / 16
    for i in range(32 * count):
        key.ask(1000.0 + i * step_s)
    assert 0.45 * count <= trailing_maximum(key.log, PERIOD_S) <= count


@given(
    requests=REQUESTS, count=st.integers(3, 20), burst=st.integers(3, 30), delay_s=st.sampled_from([0.25, 2.0, 20.0])
)
def test_with_a_delay_budget_what_leaves_after_its_wait_keeps_the_bound(
    requests: list[tuple[int, int]], count: int, burst: int, delay_s: float
) -> None:
    key = Key("gcra", count, burst)
    key.numbers = gcra.numbers(count, PERIOD_S, burst, delay_s)
    left: Log = []
    for now, cost in instants(requests):
        allowed, _, _, wait_s = key.ask(now, cost)
        if allowed:
            assert 0.0 <= wait_s <= delay_s
            left.append((now + wait_s, cost))
    assert [at for at, _ in left] == sorted(at for at, _ in left)
    assert trailing_maximum(left, PERIOD_S) <= burst + count


@example(requests=[(0, 1), (0, 1), (0, 1), (0, 1), (0, 1), (2, 1), (40, 1)], count=6)  # within the slack
@given(requests=REQUESTS, count=st.integers(3, 20))
def test_a_delay_budget_refuses_only_what_would_have_to_wait_longer(
    requests: list[tuple[int, int]], count: int
) -> None:
    key = Key("gcra", count)
    delay_s = 2.0
    key.numbers = gcra.numbers(count, PERIOD_S, count, delay_s)
    strict = gcra.numbers(count, PERIOD_S, count)
    slack_s = PERIOD_S / count / 128
    for now, cost in instants(requests):
        without = gcra.step(key.state, now, strict, cost)
        allowed, _, _, wait_s = key.ask(now, cost)
        assert allowed == (without[4] <= delay_s + slack_s)
        assert wait_s == (min(without[4], delay_s) if allowed else without[4] - delay_s)


@given(requests=REQUESTS, count=st.integers(3, 20))
def test_fixed_never_admits_more_than_twice_its_quota_in_a_trailing_window(
    requests: list[tuple[int, int]], count: int
) -> None:
    key = Key("fixed", count)
    for now, cost in instants(requests):
        key.ask(now, cost)
    assert trailing_maximum(key.log, PERIOD_S) <= 2 * count


@given(requests=REQUESTS, count=st.integers(3, 20))
def test_sliding_never_admits_more_than_its_quota_in_a_trailing_window(
    requests: list[tuple[int, int]], count: int
) -> None:
    key = Key("sliding", count)
    for now, cost in instants(requests):
        key.ask(now, cost)
    assert trailing_maximum(key.log, PERIOD_S) <= count


@given(requests=REQUESTS, count=st.integers(3, 20))
def test_sliding_refuses_only_what_does_not_fit_into_a_window_that_is_one_bucket_longer(
    requests: list[tuple[int, int]], count: int
) -> None:
    key = Key("sliding", count)
    for now, cost in instants(requests):
        allowed, *_ = key.ask(now, cost)
        if not allowed:
            longer_s = PERIOD_S + PERIOD_S / BUCKETS
            assert cost + sum(spent for at, spent in key.log if at > now - longer_s) > count


@given(requests=REQUESTS, count=st.sampled_from([4, 8, 16]), burst=st.integers(3, 30))
def test_gcra_is_a_token_bucket_in_exact_fractions(requests: list[tuple[int, int]], count: int, burst: int) -> None:
    key = Key("gcra", count, burst)
    slack = Fraction(1, 128)  # what it forgives, so that rounding cannot cost a request
    tokens, filled_at = Fraction(burst), Fraction(1000)
    for now, cost in instants(requests):
        at = Fraction(now)
        tokens = min(Fraction(burst), tokens + (at - filled_at) * count / Fraction(PERIOD_S))
        filled_at = at
        allowed, remaining, *_ = key.ask(now, cost)
        assert allowed == (tokens + slack >= cost)
        if allowed:
            tokens -= cost
        assert remaining == int(tokens + slack)


@given(requests=REQUESTS, count=st.integers(3, 20))
def test_fixed_counts_each_of_its_windows_exactly(requests: list[tuple[int, int]], count: int) -> None:
    key = Key("fixed", count)
    opened_at, used = -inf, 0
    for now, cost in instants(requests):
        if now >= opened_at + PERIOD_S:
            opened_at, used = now, 0
        allowed, *_ = key.ask(now, cost)
        assert allowed == (used + cost <= count)
        used += cost if allowed else 0


@pytest.mark.parametrize("algorithm", ["gcra", "fixed", "sliding", "log"])
@given(requests=REQUESTS, count=st.integers(3, 20))
def test_what_it_says_remains_is_what_passes_and_no_more(
    algorithm: str, requests: list[tuple[int, int]], count: int
) -> None:
    if algorithm == "gcra":
        count = 1 << count.bit_length() - 1  # exact in floats: else a request may fall on the very edge of the slack
    key = Key(algorithm, count)
    for now, cost in instants(requests):
        _, remaining, *_ = key.ask(now, cost)
        twin = key.copy()
        assert [twin.ask(now)[0] for _ in range(remaining + 1)] == [True] * remaining + [False]


@pytest.mark.parametrize("algorithm", ["gcra", "fixed", "sliding", "log"])
@given(requests=REQUESTS, count=st.integers(3, 20))
def test_waiting_as_long_as_it_says_helps_and_waiting_less_does_not(
    algorithm: str, requests: list[tuple[int, int]], count: int
) -> None:
    key = Key(algorithm, count)
    slack_s = PERIOD_S / count / 64  # gcra forgives 1/128 of a unit
    for now, cost in instants(requests):
        allowed, _, _, retry_after_s = key.ask(now, cost)
        assert allowed == (retry_after_s == 0.0)
        if not allowed:
            assert key.copy().ask(now + retry_after_s, cost)[0]
            if retry_after_s > slack_s:
                assert not key.copy().ask(now + retry_after_s - slack_s, cost)[0]


@pytest.mark.parametrize("algorithm", ["gcra", "fixed", "sliding", "log"])
@given(requests=REQUESTS, count=st.integers(3, 20))
def test_at_the_reset_all_is_there_again_or_one_unit_if_nothing_was(
    algorithm: str, requests: list[tuple[int, int]], count: int
) -> None:
    key = Key(algorithm, count)
    for now, cost in instants(requests):
        _, remaining, reset_s, _ = key.ask(now, cost)
        assert key.copy().ask(now + reset_s, count if remaining else 1)[0]


@pytest.mark.parametrize("algorithm", ["gcra", "fixed", "sliding", "log"])
@given(requests=REQUESTS, count=st.integers(3, 20))
def test_a_state_that_is_full_again_is_no_different_from_none(
    algorithm: str, requests: list[tuple[int, int]], count: int
) -> None:
    kind = ALGORITHMS[algorithm]
    key = Key(algorithm, count)
    for now, cost in instants(requests):
        key.ask(now, cost)
        full_at = kind.full_at(key.state, key.numbers)
        assert kind.step(key.state, full_at, key.numbers, 1)[1:] == kind.step(None, full_at, key.numbers, 1)[1:]
        before = full_at - TICK_S
        if before > now:
            assert kind.step(key.state, before, key.numbers, 0)[3] > 0.0


@given(requests=REQUESTS, count=st.integers(3, 20))
def test_log_admits_exactly_what_fits_into_the_trailing_window(requests: list[tuple[int, int]], count: int) -> None:
    key = Key("log", count)
    for now, cost in instants(requests):
        inside = sum(spent for at, spent in key.log if at > now - PERIOD_S)
        allowed, *_ = key.ask(now, cost)
        assert allowed == (inside + cost <= count)
    assert trailing_maximum(key.log, PERIOD_S) <= count


@given(requests=REQUESTS, count=st.integers(3, 20), first_end=st.integers(0, 1024))
def test_calendar_windows_admit_exactly_their_quota_each(
    requests: list[tuple[int, int]], count: int, first_end: int
) -> None:
    ends = [1000.0 + first_end * TICK_S + i * PERIOD_S for i in range(-1, 300)]
    key = Key("calendar", count)
    key.numbers = (count, PERIOD_S, *ends)
    for now, cost in instants(requests):
        end = min(at for at in ends if at > now)
        inside = sum(spent for at, spent in key.log if at >= end - PERIOD_S)
        allowed, _, reset_s, _ = key.ask(now, cost)
        assert allowed == (inside + cost <= count)
        assert reset_s == (end - now if inside or allowed else 0.0)
    assert trailing_maximum(key.log, PERIOD_S) <= 2 * count


def test_a_whole_burst_passes_although_its_interval_is_no_exact_float() -> None:
    for count in (7, 60, 200, 999):
        numbers = ALGORITHMS["gcra"].numbers(count, 60.0, count)
        state, passed = None, 0
        for _ in range(count + 5):
            allowed, new_state, *_ = ALGORITHMS["gcra"].step(state, 51_234_567.890123, numbers, 1)
            if allowed:
                state, passed = new_state, passed + 1
        assert passed == count

from __future__ import annotations

import pytest

from proxy.limits.breaker import FAILURES, LONGEST_OPEN_S, Breaker


def test_it_opens_after_five_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker()
    assert [breaker.failed(100.0, 0.0) for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
    assert not breaker.is_closed
    assert breaker.state == "open"


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = Breaker()
    for _ in range(3 * FAILURES):
        for _ in range(FAILURES - 1):
            breaker.failed(100.0, 0.0)
        breaker.succeeded()
    assert breaker.is_closed
    assert breaker.state == "closed"


@pytest.mark.parametrize(("draw", "open_s"), [(0.0, 2.0), (0.5, 1.75), (1.0, 1.5)])
def test_it_stays_open_for_two_seconds_less_what_is_drawn(draw: float, open_s: float) -> None:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker.failed(100.0, draw)
    assert breaker.probe_in_s(100.0) == open_s
    assert breaker.probe_in_s(100.0 + open_s / 2) == open_s / 2
    assert breaker.probe_in_s(100.0 + open_s + 1.0) == 0.0


def test_a_failed_probe_opens_it_for_as_long_again_and_a_good_one_closes_it() -> None:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker.failed(100.0, 0.0)
    assert breaker.failed(102.0, 0.0)
    assert breaker.probe_in_s(102.0) == LONGEST_OPEN_S
    breaker.succeeded()
    assert breaker.is_closed
    assert breaker.probe_in_s(102.0) == 0.0
    assert not breaker.failed(103.0, 0.0)  # and again it takes five

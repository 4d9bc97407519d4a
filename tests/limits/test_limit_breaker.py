from __future__ import annotations

import pytest

from proxy.store.breaker import FAILURES, LONGEST_OPEN_S, Breaker


def test_it_opens_after_five_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker()
    assert [breaker.failed(100.0, 0.0) for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
    assert not breaker.is_closed
    assert breaker.state(100.0) == "open"
    assert breaker.state(102.0) == "half-open"


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = Breaker()
    for _ in range(3 * FAILURES):
        for _ in range(FAILURES - 1):
            breaker.failed(100.0, 0.0)
        assert not breaker.answered(False, 100.0, 0.0)
    assert breaker.is_closed
    assert breaker.state(100.0) == "closed"


@pytest.mark.parametrize(("draw", "open_s"), [(0.0, 1.5), (0.5, 1.3125), (1.0, 1.125)])
def test_it_stays_open_for_less_than_two_seconds_by_what_is_drawn(draw: float, open_s: float) -> None:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker.failed(100.0, draw)
    assert breaker.probe_in_s(100.0) == pytest.approx(open_s)
    assert breaker.probe_in_s(100.0 + open_s / 2) == pytest.approx(open_s / 2)
    assert breaker.probe_in_s(100.0 + open_s + 1.0) == 0.0


def test_a_failed_probe_opens_it_for_as_long_again_and_a_good_one_closes_it() -> None:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker.failed(100.0, 0.0)
    assert breaker.failed(102.0, 0.0)
    assert breaker.probe_in_s(102.0) == pytest.approx(LONGEST_OPEN_S)
    breaker.succeeded()
    assert breaker.is_closed
    assert breaker.probe_in_s(102.0) == 0.0
    assert not breaker.failed(103.0, 0.0)  # and again it takes five


def answers(breaker: Breaker, pattern: str, at: float = 100.0, spread_s: float = 0.5) -> list[bool]:
    """`l` is an answer that came too late."""
    return [breaker.answered(each == "l", at + spread_s * i / len(pattern), 0.0) for i, each in enumerate(pattern)]


def test_it_opens_when_most_answers_of_a_second_are_late_though_none_failed() -> None:
    breaker = Breaker()
    assert answers(breaker, "l.l.l.ll") == [False] * 7 + [True]
    assert not breaker.is_closed


@pytest.mark.parametrize("pattern", [".l.l.l.l.l.l.l.l", "llll", ".....lllll"], ids=["every other", "too few", "half"])
def test_late_answers_that_are_not_most_of_enough_leave_it_closed(pattern: str) -> None:
    breaker = Breaker()
    answers(breaker, pattern)
    assert breaker.is_closed


def test_late_answers_are_forgotten_after_a_second() -> None:
    breaker = Breaker()
    for second in range(10):
        answers(breaker, "llll", at=100.0 + 2.0 * second)
    assert breaker.is_closed

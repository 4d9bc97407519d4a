"""The adaptive limit, rule by rule: windows, what is usual, growth, cuts, bounds."""

from __future__ import annotations

from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstreams.adaptive import SMOOTHING, USUAL_S, Adaptive, AdaptiveRules, next_limit, next_usual
from proxy.upstreams.adaptive_measure import ANSWERS, FEW, MAX_STEP_S, Measure
from proxy.upstreams.adaptive_window import Window, p90

TICK_S = 0.051


def window(
    limit: Adaptive, now: float, latency_s: float | None, in_use: int, most: int = 64, timeouts: int = 0
) -> float:
    """100 ms with these answers; gives when it is over."""
    for _ in range(0 if latency_s is None else 20):
        assert latency_s is not None
        limit.took(latency_s, now)
    for _ in range(timeouts):
        limit.timed_out()
    for _ in range(2):
        now += TICK_S
        limit.tick(in_use, most, now)
    return now


def at(value: float, usual_s: float = 0.05, least: int = 8, *, enforces: bool = True) -> Adaptive:
    """A limit of 64 slots that has this value, with `usual_s` known and no measurement due."""
    made = Adaptive(AdaptiveRules(enforces, least, measure_s=1e9))
    now = window(made, 0.0, usual_s, 1)
    now = window(made, now, usual_s, 1)
    assert made.usual_s == usual_s
    made.limit = value
    made.tick(1, 64, now)
    return made


# -- the law --

LAWS = [
    pytest.param(16.0, 16, 0.05, 16 + SMOOTHING * 4, id="as quick as usual grows by the root"),
    pytest.param(16.0, 16, 0.075, 16 + SMOOTHING * 4, id="what is tolerated grows too"),
    pytest.param(16.0, 16, 0.1, 16.0, id="at twice the usual, root and cut of a limit of 16 are even"),
    pytest.param(64.0, 64, 0.1, 64 + SMOOTHING * (64 * 0.75 + 8 - 64), id="late falls in proportion"),
    pytest.param(64.0, 64, 5.0, 64 - SMOOTHING * 32, id="a window takes at most half, smoothed"),
    pytest.param(16.0, 64, 0.4, 16.0, id="unenforced, it is a part of what is in use"),
    pytest.param(16.0, 64, 0.1, 16 + SMOOTHING * 4, id="unenforced, it grows no faster"),
    pytest.param(16.0, 16, 0.0, 16 + SMOOTHING * 4, id="no time at all is quick"),
]


@pytest.mark.parametrize(("limit", "in_use", "p90_s", "then"), LAWS)
def test_a_window_moves_the_limit(limit: float, in_use: int, p90_s: float, then: float) -> None:
    assert next_limit(limit, in_use, p90_s, 0.05, 1.5) == pytest.approx(then)


@given(
    limit=st.floats(1, 1e5),
    in_use=st.integers(0, 100_000),
    p90_s=st.floats(0, 1e3),
    usual_s=st.floats(1e-6, 1e3),
    tolerance=st.floats(1.05, 10),
)
def test_no_window_moves_it_by_more_than_its_root_or_a_tenth(
    limit: float, in_use: int, p90_s: float, usual_s: float, tolerance: float
) -> None:
    then = next_limit(limit, in_use, p90_s, usual_s, tolerance)
    assert limit * 0.9 * (1 - 1e-9) <= then <= (limit + SMOOTHING * sqrt(limit)) * (1 + 1e-9)


@given(limit=st.floats(1, 1e4), usual_s=st.floats(1e-3, 10), p90s=st.tuples(st.floats(1e-4, 50), st.floats(1e-4, 50)))
def test_a_slower_window_never_leaves_more(limit: float, usual_s: float, p90s: tuple[float, float]) -> None:
    quick, slow = (next_limit(limit, int(limit), p90_s, usual_s, 1.5) for p90_s in sorted(p90s))
    assert slow <= quick * (1 + 1e-12)


def test_what_is_usual_follows_over_a_minute_and_late_windows_hardly_move_it() -> None:
    usual = late = 0.05
    for _ in range(int(USUAL_S / 0.1)):
        usual = next_usual(usual, 0.06, 0.1, False)
        late = next_usual(late, 0.5, 0.1, True)
    assert usual == pytest.approx(0.05 + 0.01 * 0.632, rel=0.01)
    assert late == pytest.approx(0.05 + 0.45 * 0.095, rel=0.01)


def test_a_backend_that_is_quick_again_is_believed_within_seconds() -> None:
    usual, windows = 0.5, 0
    while usual > 0.1:
        usual = next_usual(usual, 0.05, 0.1, False)
        windows += 1
    assert windows < 40


# -- windows --


@pytest.mark.parametrize(("count", "index"), [(1, 0), (2, 1), (9, 8), (10, 8), (20, 17), (100, 89), (101, 90)])
def test_nine_of_ten(count: int, index: int) -> None:
    assert p90([float(number) for number in reversed(range(count))]) == index


WINDOWS = [
    pytest.param(10, 0, 0.1, True, id="ten answers in 100 ms"),
    pytest.param(1000, 0, 0.099, False, id="never shorter"),
    pytest.param(9, 0, 0.5, False, id="nine are too few yet"),
    pytest.param(9, 0, 1.0, True, id="after a second they must do"),
    pytest.param(0, 1, 0.1, True, id="a timeout is news at once"),
    pytest.param(0, 1, 0.05, False, id="but for the 100 ms"),
]


@pytest.mark.parametrize(("answers", "timeouts", "age_s", "is_over"), WINDOWS)
def test_a_window_lasts_until_it_says_something(answers: int, timeouts: int, age_s: float, is_over: bool) -> None:
    made = Window()
    made.sees(3, 0.0)
    for _ in range(answers):
        made.took(0.01)
    made.timeouts = timeouts
    assert made.is_over(age_s) is is_over


# -- the limit, alive --


def test_it_begins_with_all_slots() -> None:
    made = Adaptive(AdaptiveRules(True))
    assert made.bound > 1_000_000  # nothing is known of slots yet
    made.tick(0, 40, 1.0)
    assert (made.bound, made.limit) == (40, 40.0)


def test_a_limit_that_nobody_needs_does_not_grow() -> None:
    made = at(32.0)
    now = 1.0
    for _ in range(50):
        now = window(made, now, 0.05, 15)
    assert made.limit == 32.0
    for _ in range(60):
        now = window(made, now, 0.05, made.bound)
    assert made.limit == 64.0


def test_a_timeout_takes_a_tenth_once_for_each_window() -> None:
    made = at(50.0)
    now = window(made, 1.0, 0.05, 50, timeouts=7)
    assert (made.limit, made.cuts["timeout"]) == (pytest.approx(45.0), 1)
    window(made, now, None, 50, timeouts=1)  # nothing was answered at all
    assert (made.limit, made.cuts["timeout"]) == (pytest.approx(40.5), 2)


def test_timeouts_never_take_it_below_its_least() -> None:
    made, now = at(50.0, least=7), 1.0
    for _ in range(40):
        now = window(made, now, None, 50, timeouts=1)
    assert (made.limit, made.bound, made.is_least) == (7.0, 7, True)


def test_fewer_slots_than_its_least_are_all_there_is() -> None:
    made = at(50.0, least=8)
    made.tick(0, 5, 9.0)
    assert (made.bound, made.is_least) == (5, False)
    made.tick(0, 64, 9.05)
    assert made.bound == 8


def test_a_database_that_keeps_clients_waiting_halves_it_with_each_reading_and_stops_its_growth() -> None:
    made = at(64.0)
    seen = []
    for _ in range(4):
        made.database_said(True)
        seen.append(made.limit)
    assert (seen, made.cuts["database"]) == ([32.0, 16.0, 8.0, 8.0], 4)
    now = 1.0
    for _ in range(20):
        now = window(made, now, 0.05, made.bound)
    assert made.limit == 8.0
    made.database_said(False)
    for _ in range(60):
        now = window(made, now, 0.05, made.bound)
    assert made.limit == 64.0


def test_what_it_holds_back_is_counted_where_a_slot_is_there() -> None:
    made = at(20.0)
    for in_use in (19, 20, 40, 63):
        made.asked(in_use)
    assert made.held_back == 3
    made.limit = 64.0
    made.asked(64)  # this one lacks a slot, not a limit
    assert made.held_back == 3


# -- measuring --


def test_a_measurement_takes_half_and_hears_only_what_was_sent_in_it() -> None:
    made = Measure(40.0, 8, 0.1, 100.0)
    assert made.level == 20.0
    assert not made.tick(30, 100.05)  # others are still there
    made.took(0.01, 100.06)
    assert not made.tick(20, 100.1)
    made.took(0.05, 100.14)  # sent before
    for _ in range(ANSWERS):
        made.took(0.08, 100.2)
    assert made.tick(20, 100.2)
    assert (made.usual_s, made.limit) == (0.08, 40.0)


def test_a_half_that_was_only_waiting_is_given_up_and_it_goes_on_to_the_least() -> None:
    made, now, took_s = Measure(64.0, 10, 0.4, 0.0), 0.0, 0.4
    levels = []
    while True:
        levels.append(made.level)
        took_s /= 2
        now += 1.0
        assert not made.tick(1, now)
        for _ in range(ANSWERS):
            made.took(took_s, now + took_s)
        if made.tick(1, now + took_s):
            break
    assert levels == [32.0, 16.0, 10.0]
    assert (made.usual_s, made.limit) == (took_s, 16.0)


def test_a_measurement_to_which_hardly_anything_comes_ends_without_a_result() -> None:
    few, enough = (Measure(40.0, 8, 0.1, 0.0) for _ in range(2))
    for made, count in ((few, FEW - 1), (enough, FEW)):
        made.tick(1, 0.05)
        for _ in range(count):
            made.took(0.09, 1.0)
        assert not made.tick(1, MAX_STEP_S - 0.01)
        assert made.tick(1, MAX_STEP_S)
    assert (few.usual_s, enough.usual_s) == (None, 0.09)


def test_where_nothing_is_held_back_nothing_is_measured() -> None:
    made, now = Adaptive(AdaptiveRules(False, measure_s=1.0)), 0.0
    for _ in range(100):
        now = window(made, now, 0.05, 64)
        assert not made.is_measuring
    assert made.measured == 0


def test_a_timeout_ends_a_measurement() -> None:
    made, now = Adaptive(AdaptiveRules(True)), 0.0
    while not made.is_measuring:
        now = window(made, now, 0.05, 64)
        assert now < 5.0
    assert made.bound == 32
    made.timed_out()
    made.tick(40, 64, now + TICK_S)
    assert not made.is_measuring


@pytest.mark.parametrize(
    ("late_s", "stands"), [(0.0, False), (0.05, False), (0.2, True)], ids=["in time", "a little late", "late itself"]
)
def test_a_process_that_is_late_itself_does_not_judge_how_late_answers_are(late_s: float, stands: bool) -> None:
    made = at(64.0)
    now = 10.0
    for _ in range(10):
        for _ in range(20):
            made.took(0.5, now)
        for _ in range(2):
            now += TICK_S
            made.tick(64, 64, now, late_s)
    assert (made.limit == 64.0) is stands
    assert (made.usual_s == 0.05) is stands
    made.timed_out()
    made.tick(64, 64, now + 2 * TICK_S, late_s)
    made.tick(64, 64, now + 4 * TICK_S, late_s)
    assert made.limit < 64.0, "no answer at all is no matter of lateness"


def test_a_process_that_becomes_late_ends_a_measurement() -> None:
    made, now = Adaptive(AdaptiveRules(True)), 0.0
    while not made.is_measuring:
        now = window(made, now, 0.05, 64)
        assert now < 5.0
    made.tick(32, 64, now + TICK_S, 0.01)
    assert made.is_measuring
    made.tick(32, 64, now + 2 * TICK_S, 0.02)
    assert not made.is_measuring


def test_a_reload_to_observe_ends_a_measurement_and_keeps_what_is_known() -> None:
    made, now = Adaptive(AdaptiveRules(True)), 0.0
    while not made.is_measuring:
        now = window(made, now, 0.05, 64)
    made.take_rules(AdaptiveRules(False, least=4))
    assert (made.is_measuring, made.usual_s, made.bound) == (False, pytest.approx(0.05), 64)


# -- always --

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("took"), st.floats(0, 5)),
        st.tuples(st.just("timed out"), st.just(0.0)),
        st.tuples(st.just("database"), st.sampled_from([0.0, 1.0])),
        st.tuples(st.just("tick"), st.integers(0, 100).map(float)),
        st.tuples(st.just("slots"), st.integers(1, 100).map(float)),
    ),
    max_size=200,
)


@given(steps=STEPS, least=st.integers(1, 70), enforces=st.booleans())
def test_whatever_happens_it_stays_between_its_least_and_the_slots(
    steps: list[tuple[str, float]], least: int, enforces: bool
) -> None:
    made, most, now = Adaptive(AdaptiveRules(enforces, least, measure_s=1.0)), 64, 0.0
    made.tick(0, most, now)
    for word, value in steps:
        if word == "took":
            made.took(value, now)
        elif word == "timed out":
            made.timed_out()
        elif word == "database":
            made.database_said(bool(value))
        else:
            most = int(value) if word == "slots" else most
            now += TICK_S
            made.tick(int(value), most, now)
        assert min(least, most) <= made.bound <= most
        assert min(least, most) <= made.limit <= most

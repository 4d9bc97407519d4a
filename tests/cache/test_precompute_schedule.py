"""When something is fetched ahead: numbers in tables, and what holds for every history as properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cache.precompute.schedule import (
    COOLDOWN_S,
    COOLDOWN_TIMES,
    FIRST_S,
    LONGEST_PAUSE_S,
    SETTLE_S,
    Schedule,
    Step,
    backoff_s,
    first_delay_s,
    interval_s,
    patience_s,
)

draws = st.floats(0.0, 1.0, exclude_max=True)
everies = st.floats(1.0, 1e6)


@given(everies, st.floats(0.0, 0.5), draws)
def test_an_interval_is_never_longer_than_every_and_never_shorter_than_its_jitter(
    every_s: float, jitter: float, draw: float
) -> None:
    assert every_s * (1.0 - jitter) - 1e-6 <= interval_s(every_s, jitter, draw) <= every_s


@given(everies, draws)
def test_the_first_run_is_soon_and_spread(every_s: float, draw: float) -> None:
    assert 0.0 <= first_delay_s(every_s, draw) <= min(FIRST_S, every_s / 10.0)


BACKOFF = [
    ("the first", 1, 600.0, (1.0, 2.0)),
    ("doubles", 2, 600.0, (2.0, 4.0)),
    ("again", 5, 600.0, (16.0, 32.0)),
    ("never rarer than the schedule", 20, 600.0, (300.0, 600.0)),
    ("nor with a short one", 1, 1.0, (0.5, 1.0)),
    ("however many", 10_000, 600.0, (300.0, 600.0)),
]


@pytest.mark.parametrize(("failures", "every_s", "bounds"), [row[1:] for row in BACKOFF], ids=[r[0] for r in BACKOFF])
def test_after_failures_it_waits_longer_each_time(failures: int, every_s: float, bounds: tuple[float, float]) -> None:
    assert backoff_s(failures, every_s, 0.0) == bounds[0]
    assert backoff_s(failures, every_s, 0.999999) == pytest.approx(bounds[1], rel=1e-3)


def made(every_s: float = 600.0, now: float = 1000.0) -> Schedule:
    return Schedule(every_s, 0.0, now, 0.0)


def ran(schedule: Schedule, now: float, took_s: float = 0.1, *, is_good: bool = True) -> float:
    schedule.begin(now, 0.0)
    schedule.end(now + took_s, is_good=is_good, draw=0.0)
    return now + took_s


def test_it_runs_from_start_to_start() -> None:
    schedule = made()
    assert schedule.step(1000.0, 0.0) is Step.RUN
    ran(schedule, 1000.0, 30.0)
    assert schedule.step(1599.9, 0.0) is Step.WAIT
    assert schedule.step(1600.0, 0.0) is Step.RUN


def test_what_is_due_while_it_runs_is_skipped_once_for_each_interval() -> None:
    schedule = made(10.0)
    schedule.begin(1000.0, 0.0)
    steps = [schedule.step(1000.0 + second, 0.0) for second in range(1, 36)]
    assert steps.count(Step.SKIPPED) == 3
    assert Step.RUN not in steps
    schedule.end(1036.0, is_good=True, draw=0.0)
    assert schedule.step(1039.0, 0.0) is Step.WAIT
    assert schedule.step(1040.0, 0.0) is Step.RUN


def test_a_failure_is_tried_again_before_the_schedule_has_it_and_a_success_ends_the_row() -> None:
    schedule = made()
    now = ran(schedule, 1000.0, is_good=False)
    assert (schedule.failures, schedule.due_at) == (1, now + 1.0)
    now = ran(schedule, schedule.due_at, is_good=False)
    assert (schedule.failures, schedule.due_at) == (2, now + 2.0)
    began = schedule.due_at
    ran(schedule, began)
    assert (schedule.failures, schedule.due_at) == (0, began + 600.0)


PURGES = [
    ("long after a run: once it has settled", 0.1, 300.0, SETTLE_S),
    ("soon after a quick one", 0.1, 0.5, COOLDOWN_S - 0.5),
    ("soon after one that took long", 2.0, 3.0, 2.0 * COOLDOWN_TIMES - 3.0),
]


@pytest.mark.parametrize(("took_s", "after_s", "delay_s"), [row[1:] for row in PURGES], ids=[row[0] for row in PURGES])
def test_after_a_purge_it_runs_soon_and_not_too_often(took_s: float, after_s: float, delay_s: float) -> None:
    schedule = made()
    ran(schedule, 1000.0, took_s)
    now = 1000.0 + after_s
    schedule.want(now)
    assert schedule.due_at == pytest.approx(now + delay_s)
    assert schedule.wanted_at == now


def test_a_purge_of_what_fails_does_not_hurry_it_beyond_its_pause() -> None:
    schedule = made()
    for _ in range(10):
        now = ran(schedule, schedule.due_at, is_good=False)
    schedule.want(now + 1.0)
    assert schedule.due_at == pytest.approx(now - 0.1 + LONGEST_PAUSE_S)


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60))
def test_writes_without_end_keep_the_backend_busy_for_a_fifth_of_the_time_at_most(gaps: list[float]) -> None:
    schedule, now, busy_s, took_s, runs = made(), 1000.0, 0.0, 1.5, 0
    start = now
    for gap in gaps:
        now += gap
        schedule.want(now)
        if schedule.step(now, 0.0) is Step.RUN:
            now = ran(schedule, now, took_s)
            busy_s += took_s
            runs += 1
    assert busy_s <= (now - start) / COOLDOWN_TIMES + took_s * 2
    schedule.want(now)
    assert schedule.due_at <= now + max(SETTLE_S, COOLDOWN_TIMES * took_s), "the last write is never forgotten"


def test_a_purge_in_the_middle_of_a_run_has_it_run_again_and_is_no_failure() -> None:
    schedule = made()
    schedule.begin(1000.0, 0.0)
    schedule.want(1000.5)
    schedule.end(1001.0, is_good=False, draw=0.0)
    assert schedule.failures == 0
    assert schedule.due_at == pytest.approx(1005.0)


def test_an_order_runs_at_once_or_joins() -> None:
    schedule = made()
    ran(schedule, 1000.0)
    assert schedule.order(1001.0)
    assert schedule.step(1001.0, 0.0) is Step.RUN
    schedule.begin(1001.0, 0.0)
    assert not schedule.order(1001.1)
    assert schedule.step(1002.0, 0.0) is Step.WAIT


def test_it_gives_way_to_others_for_a_while_and_then_stands_in_line() -> None:
    schedule = made(100.0)
    now = schedule.due_at
    while schedule.give_way(now):
        assert schedule.due_at > now
        now = schedule.due_at
    assert now - 1000.0 == pytest.approx(patience_s(100.0), abs=1.0)
    ran(schedule, now)
    assert schedule.give_way(now + 100.0), "each run anew"


@given(
    every_s=st.floats(1.0, 1000.0),
    jitter=st.floats(0.0, 0.5),
    history=st.lists(st.tuples(st.sampled_from("gbwoyt"), st.floats(0.01, 50.0), draws), max_size=60),
)
def test_whatever_happens_the_next_run_is_never_further_away_than_every(
    every_s: float, jitter: float, history: list[tuple[str, float, float]]
) -> None:
    now = 0.0
    schedule = Schedule(every_s, jitter, now, 0.5)
    for what, seconds, draw in history:
        now += seconds
        step = schedule.step(now, draw)
        assert not (step is Step.RUN and schedule.is_running)
        if what in "gb" and not schedule.is_running:
            schedule.begin(now, draw)
        elif what in "gb":
            schedule.end(now, is_good=what == "g", draw=draw)
        elif what == "w":
            schedule.want(now)
        elif what == "o":
            assert schedule.order(now) is not schedule.is_running
        elif what == "y" and step is Step.RUN:
            schedule.give_way(now)
        assert schedule.due_at <= now + every_s + 1.0

"""Which classes are refused at once: thresholds, patience, and never a better one before a worse one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstreams.queue import PRIORITIES
from proxy.upstreams.shed import ENTER_S, LEAVE_S, Shedding, ShedRules, wanted

CRITICAL, NORMAL, BACKGROUND, NONE = range(4)
BOTH, WORST_ONLY = ShedRules(0.5, 0.8), ShedRules(0.5, None)
STEP_S = 0.05

REASONS = [
    pytest.param(0.0, NONE, False, BOTH, 0, id="a short line"),
    pytest.param(0.49, NONE, False, BOTH, 0, id="a line below the threshold"),
    pytest.param(0.5, NONE, False, BOTH, 1, id="a line at the first threshold"),
    pytest.param(0.8, NONE, False, BOTH, 2, id="a line at the second"),
    pytest.param(1.0, NONE, False, WORST_ONLY, 1, id="a full line where normal is never refused"),
    pytest.param(0.1, BACKGROUND, False, BOTH, 0, id="the background waits long: that is what it is for"),
    pytest.param(0.1, NORMAL, False, BOTH, 1, id="normal waits too long"),
    pytest.param(0.1, CRITICAL, False, BOTH, 2, id="critical waits too long"),
    pytest.param(0.1, CRITICAL, False, WORST_ONLY, 1, id="critical waits too long where normal is never refused"),
    pytest.param(0.0, NONE, True, BOTH, 1, id="the backend cannot be spared further"),
]


@pytest.mark.parametrize(("fill", "late_rank", "is_least", "rules", "classes"), REASONS)
def test_reasons(fill: float, late_rank: int, is_least: bool, rules: ShedRules, classes: int) -> None:
    assert wanted(fill, late_rank, is_least, rules) == classes


def look(shedding: Shedding, fill: float, seconds: float, now: float) -> float:
    """At a line that stays like this."""
    end = now + seconds
    while now < end:
        shedding.observe(fill, NONE, False, BOTH, now)
        now += STEP_S
    return now


def test_classes_go_one_at_a_time_and_only_if_it_lasts() -> None:
    made = Shedding()
    now = look(made, 1.0, ENTER_S - STEP_S, 0.0)
    assert made.level == 0
    now = look(made, 1.0, 3 * STEP_S, now)
    assert (made.level, made.refuses(BACKGROUND), made.refuses(NORMAL)) == (1, True, False)
    now = look(made, 1.0, ENTER_S + 3 * STEP_S, now)
    assert (made.level, made.refuses(NORMAL), made.refuses(CRITICAL)) == (2, True, False)
    look(made, 1.0, 60.0, now)
    assert made.level == 2


def test_a_burst_that_passes_refuses_nobody() -> None:
    made, now = Shedding(), 0.0
    for _ in range(20):
        now = look(made, 1.0, ENTER_S - STEP_S, now)
        now = look(made, 0.4, STEP_S, now)
    assert made.level == 0


def test_classes_come_back_one_at_a_time_well_below_the_threshold() -> None:
    made = Shedding()
    now = look(made, 1.0, 5.0, 0.0)
    assert made.level == 2
    now = look(made, 0.45, 30.0, now)  # above half of the second threshold
    assert made.level == 2
    now = look(made, 0.35, LEAVE_S + 2 * STEP_S, now)
    assert made.level == 1
    now = look(made, 0.35, 30.0, now)  # above half of the first
    assert made.level == 1
    for _ in range(10):  # a short line for a moment is no end
        now = look(made, 0.0, LEAVE_S - 2 * STEP_S, now)
        now = look(made, 0.35, STEP_S, now)
    assert made.level == 1
    look(made, 0.0, LEAVE_S + 2 * STEP_S, now)
    assert made.level == 0


LOOKS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, NONE), st.booleans(), st.floats(0, 2)), max_size=200)


@given(looks=LOOKS, background=st.floats(0.01, 1), more=st.floats(0, 1), has_normal=st.booleans())
def test_no_class_is_refused_before_all_worse_ones_and_the_best_never(
    looks: list[tuple[float, int, bool, float]], background: float, more: float, has_normal: bool
) -> None:
    rules = ShedRules(background, min(background + more, 1.0) if has_normal else None)
    made, now = Shedding(), 0.0
    for fill, late_rank, is_least, wait_s in looks:
        now += wait_s
        before = made.level
        rose = made.observe(fill, late_rank, is_least, rules, now)
        assert rose is (made.level == before + 1)
        assert abs(made.level - before) <= 1
        refused = [made.refuses(rank) for rank in range(len(PRIORITIES))]
        assert refused == sorted(refused)
        assert not refused[CRITICAL]
        assert has_normal or not refused[NORMAL]

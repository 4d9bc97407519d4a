"""The sketch of the heaviest keys, against a true count."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.limits.offenders import CAPACITY, PERIOD_S, Offenders


def test_the_heaviest_key_comes_first() -> None:
    offenders = Offenders()
    for key, count in ((b"a", 3), (b"b", 7), (b"c", 1)):
        for _ in range(count):
            offenders.note(key, 10.0)
    assert [(key, denied, error) for key, denied, error in offenders.top(2, 10.0)] == [(b"b", 7, 0), (b"a", 3, 0)]


# few keys make a full sketch rare, so the alphabet is larger than the capacity and some letters are heavy
noted = st.lists(
    st.one_of(st.integers(0, 5), st.integers(0, 4 * CAPACITY)).map(lambda number: b"%d" % number), max_size=1500
)


@given(noted)
def test_no_count_is_too_low_and_none_is_too_high_by_more_than_it_says(keys: list[bytes]) -> None:
    offenders = Offenders()
    truth = Counter(keys)
    for key in keys:
        offenders.note(key, 10.0)
    top = offenders.top(CAPACITY, 10.0)
    assert len(top) <= CAPACITY
    for key, denied, error in top:
        assert denied - error <= truth[key] <= denied
    shown = {offender.key for offender in top}
    assert all(key in shown for key, count in truth.items() if count > len(keys) / CAPACITY)


def test_a_heavy_key_survives_a_flood_of_others() -> None:
    offenders = Offenders()
    for number in range(20_000):
        offenders.note(b"%d" % number, 10.0)
        if number % 20 == 0:
            offenders.note(b"heavy", 10.0)
    assert len(offenders) == CAPACITY
    (first, *_) = offenders.top(1, 10.0)
    assert first.key == b"heavy"
    assert first.denied - first.error <= 1000 <= first.denied


@pytest.mark.parametrize(
    ("later_s", "denied"),
    [
        pytest.param(PERIOD_S - 1, 2, id="the same period"),
        pytest.param(PERIOD_S, 2, id="the next period"),
        pytest.param(2 * PERIOD_S, 1, id="the one after"),
        pytest.param(100 * PERIOD_S, 1, id="long after"),
    ],
)
def test_old_denials_are_left_out(later_s: float, denied: int) -> None:
    offenders = Offenders()
    offenders.note(b"a", 10.0)
    offenders.note(b"a", 10.0 + later_s)
    assert [offender.denied for offender in offenders.top(5, 10.0 + later_s)] == [denied]


def test_looking_also_leaves_out_what_is_old() -> None:
    offenders = Offenders()
    offenders.note(b"a", 10.0)
    assert offenders.top(5, 10.0 + 3 * PERIOD_S) == []


def test_a_key_that_was_dealt_with_is_gone() -> None:
    offenders = Offenders()
    for now in (10.0, 10.0 + PERIOD_S):
        offenders.note(b"a", now)
        offenders.note(b"b", now)
    offenders.forget(b"a")
    assert [offender.key for offender in offenders.top(5, 10.0 + PERIOD_S)] == [b"b"]

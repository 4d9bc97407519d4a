"""Reads that a replica cannot answer are noticed."""

from __future__ import annotations

import pytest

from proxy.replicas.lessons import PINNED_S, Lessons


@pytest.mark.parametrize(
    ("instants", "pinned"),
    [
        pytest.param([0, 1], False, id="twice is chance"),
        pytest.param([0, 1, 2], True, id="three times is not"),
        pytest.param([0, 1, 600], True, id="within ten minutes"),
        pytest.param([0, 1, 601], False, id="not within ten minutes"),
        pytest.param([0, 500, 700, 900], True, id="the last three count"),
    ],
)
def test_three_failures_within_ten_minutes_pin_a_route(instants: list[float], pinned: bool) -> None:
    lessons = Lessons()
    said = [lessons.failed_on_replica("visits", 500, at) for at in instants]
    assert said == [False] * (len(said) - 1) + [pinned]
    assert lessons.is_pinned("visits", instants[-1]) is pinned
    assert not lessons.is_pinned("other", instants[-1])


def test_a_pin_ends_after_an_hour_and_starts_again_from_nothing() -> None:
    lessons = Lessons()
    for at in (0.0, 1.0, 2.0):
        lessons.failed_on_replica("visits", 500, at)
    assert lessons.pinned(2.0) == 1
    assert not lessons.is_pinned("visits", 2.0 + PINNED_S)
    assert not lessons.failed_on_replica("visits", 500, 2.0 + PINNED_S)
    assert lessons.replayed == 4


def test_a_route_that_is_gone_is_forgotten() -> None:
    lessons = Lessons()
    for at in (0.0, 1.0, 2.0):
        lessons.failed_on_replica("visits", 500, at)
    lessons.retain({"other"})
    assert not lessons.is_pinned("visits", 3.0)
    assert lessons.documents(3.0) == []

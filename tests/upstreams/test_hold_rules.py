"""Requests that wait for a backend to be back: bounded, in order, and nobody forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.upstreams.hold import Held, Hold, HoldRules

RULES = HoldRules(requests=3, max_bytes=100)


def enter(hold: Hold, size: int = 0, until_at: float = 15.0) -> Held:
    held = hold.enter(size, until_at, RULES)
    assert held is not None
    return held


def test_they_go_on_in_the_order_in_which_they_came() -> None:
    hold, gone = Hold(), []
    for number in range(3):
        enter(hold).signal.add_done_callback(lambda _, number=number: gone.append(number))
    hold.release_one()
    hold.release_one()
    assert gone == [0, 1]
    assert len(hold) == 1


def test_no_more_wait_than_there_are_places() -> None:
    hold = Hold()
    places = [enter(hold) for _ in range(3)]
    assert hold.enter(0, 15.0, RULES) is None
    assert (hold.total, hold.refused) == (3, 1)
    hold.leave(places[1])
    assert hold.enter(0, 15.0, RULES) is not None


def test_no_more_content_is_kept_than_there_is_room() -> None:
    hold = Hold()
    first = enter(hold, 60)
    assert hold.enter(41, 15.0, RULES) is None
    enter(hold, 40)
    hold.leave(first)
    assert hold.content_bytes == 40


async def test_each_is_told_when_its_time_is_over_and_the_others_wait_on() -> None:
    hold = Hold()
    early, late = enter(hold, until_at=10.0), enter(hold, until_at=20.0)
    hold.expire(10.0)
    assert await early.signal is False
    assert not late.signal.done()
    hold.release_one()
    assert await late.signal is True
    assert (len(hold), hold.content_bytes) == (0, 0)


def test_leaving_twice_or_after_the_end_is_harmless() -> None:
    hold = Hold()
    held = enter(hold, 10)
    hold.release_one()
    hold.leave(held)
    hold.leave(held)
    assert (len(hold), hold.content_bytes) == (0, 0)


def test_one_that_goes_on_may_take_others_along() -> None:
    hold, told = Hold(), []
    first, second, third = (enter(hold, until_at=10.0) for _ in range(3))
    first.signal.add_done_callback(lambda _: hold.leave(third))
    second.signal.add_done_callback(lambda _: told.append("second"))
    hold.expire(10.0)
    assert told == ["second"]
    assert not third.signal.done()
    assert len(hold) == 0


@given(st.lists(st.tuples(st.sampled_from(["enter", "leave", "release", "expire"]), st.integers(0, 60)), max_size=60))
def test_the_bytes_are_those_of_who_is_there(steps: list[tuple[str, int]]) -> None:
    hold, inside = Hold(), []
    for step, number in steps:
        if step == "enter":
            held = hold.enter(number, float(number), RULES)
            if held is not None:
                inside.append(held)
        elif step == "leave" and inside:
            hold.leave(inside[number % len(inside)])
        elif step == "release" and len(hold):
            hold.release_one()
        elif step == "expire":
            hold.expire(float(number))
        inside = [held for held in inside if held in hold._held]
        assert hold.content_bytes == sum(held.content_bytes for held in inside) <= RULES.max_bytes
        assert len(hold) == len(inside) <= RULES.requests

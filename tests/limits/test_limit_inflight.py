"""Leases of what is in flight, against brute force, and what death leaves behind."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.limits.algorithms import inflight

LEASE_S = 30.0

ACTIONS = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from(["ask", "ask", "renew", "release"]), st.integers(0, 12)), max_size=150
)


@given(actions=ACTIONS, limit=st.integers(1, 6))
def test_no_more_than_the_limit_are_held_and_nobody_is_refused_while_there_is_room(
    actions: list[tuple[int, str, int]], limit: int
) -> None:
    numbers = inflight.numbers(limit, LEASE_S, 0)
    state: Any = None
    held: dict[bytes, float] = {}  # by brute force
    now = 1000.0
    for gap, what, who in actions:
        now += gap
        member = b"%d" % who
        held = {name: end_at for name, end_at in held.items() if end_at > now}
        if what == "ask":
            allowed, _, _, _, wait_s = inflight.step(state, now, numbers, 1)
            assert allowed == (len(held) < limit)
            assert wait_s == (0.0 if allowed else min(held.values()) - now)
            if allowed:
                state = inflight.acquire(state, member, now, numbers)
                held[member] = now + LEASE_S
        elif what == "renew":
            is_held, state = inflight.renew(state, member, now, numbers)
            assert is_held == (member in held or len(held) < limit)
            if is_held:
                held[member] = now + LEASE_S
        else:
            state = inflight.release(state, member)
            held.pop(member, None)
        assert inflight.step(state, now, numbers, 0)[2] == limit - len(held)
        assert len(held) <= limit
        assert state is None or list(state.values()) == sorted(state.values())


def test_whoever_died_leaks_for_one_lease_and_no_longer() -> None:
    numbers = inflight.numbers(1000, LEASE_S, 0)
    state: Any = None
    for i in range(1000):
        state = inflight.acquire(state, b"%d" % i, 1000.0 + i * 0.001, numbers)
    assert not inflight.step(state, 1029.9, numbers, 1)[0]
    assert inflight.step(state, 1031.0, numbers, 0)[2] == 1000
    state = inflight.acquire(state, b"next", 1031.0, numbers)
    assert state == {b"next": 1061.0}  # the dead are forgotten too


def test_leases_that_were_made_shorter_end_before_those_that_were_not() -> None:
    state = inflight.acquire(None, b"old", 1000.0, (3, 60.0))
    state = inflight.acquire(state, b"new", 1001.0, (3, 5.0))
    assert list(state) == [b"new", b"old"]
    assert inflight.step(state, 1006.0, (3, 5.0), 0)[2] == 2


def test_looking_changes_nothing() -> None:
    state = inflight.acquire(None, b"a", 1000.0, (1, 30.0))
    before = dict(state)
    assert not inflight.step(state, 1001.0, (1, 30.0), 1)[0]
    assert inflight.step(state, 1031.0, (1, 30.0), 1)[0]
    assert state == before

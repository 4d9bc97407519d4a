from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstreams.selection import POLICIES, least_requests, round_robin


class Endpoint:
    def __init__(self, load: int = 0) -> None:
        self.load = load


class State:
    def __init__(self) -> None:
        self.turn = -1


def test_round_robin_takes_every_endpoint_in_turn() -> None:
    endpoints, state = [Endpoint(), Endpoint(), Endpoint()], State()
    picked = [endpoints.index(round_robin.pick(endpoints, state)) for _ in range(7)]
    assert picked == [0, 1, 2, 0, 1, 2, 0]


def test_round_robin_survives_candidates_that_go_and_come() -> None:
    endpoints, state = [Endpoint(), Endpoint(), Endpoint()], State()
    round_robin.pick(endpoints, state)
    round_robin.pick(endpoints, state)
    assert round_robin.pick(endpoints[:1], state) is endpoints[0]
    assert round_robin.pick(endpoints, state) is endpoints[1]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(-1, 10))
def test_least_requests_takes_one_with_the_lowest_load(loads: list[int], turn: int) -> None:
    endpoints, state = [Endpoint(load) for load in loads], State()
    state.turn = turn
    assert least_requests.pick(endpoints, state).load == min(loads)


def test_least_requests_takes_turns_among_equals() -> None:
    endpoints, state = [Endpoint(), Endpoint(), Endpoint()], State()
    picked = Counter(least_requests.pick(endpoints, state) for _ in range(300))
    assert set(picked.values()) == {100}


def test_least_requests_gives_a_slow_endpoint_less() -> None:
    slow, fast, state = Endpoint(), Endpoint(), State()
    picked: Counter[Endpoint] = Counter()
    for step in range(1000):
        endpoint = least_requests.pick([slow, fast], state)
        endpoint.load += 1
        picked[endpoint] += 1
        fast.load = 0
        if step % 10 == 0:
            slow.load = max(slow.load - 1, 0)
    assert picked[fast] > 4 * picked[slow] > 0


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_picks_the_only_candidate(name: str) -> None:
    only, state = Endpoint(3), State()
    assert all(POLICIES[name]([only], state) is only for _ in range(3))

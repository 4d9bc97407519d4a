"""One table that both forms of every algorithm obey: the Python step and its Lua twin, on real servers."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.limits.algorithms import ALGORITHMS
from proxy.limits.scripts import ALGORITHMS as LUA_ALGORITHMS

# (algorithm, count, period_s, burst), then for each request (now, cost, allowed, remaining, reset_s, retry_after_s)
VECTORS: dict[str, tuple[tuple[str, int, float, int], list[tuple[float, int, bool, int, float, float]]]] = {
    "gcra: a burst, then one unit for each interval": (
        ("gcra", 4, 1.0, 4),
        [
            (1000.0, 1, True, 3, 0.25, 0.0),
            (1000.0, 1, True, 2, 0.5, 0.0),
            (1000.0, 1, True, 1, 0.75, 0.0),
            (1000.0, 1, True, 0, 0.25, 0.0),  # from here the reset is that of the next unit
            (1000.0, 1, False, 0, 0.25, 0.25),
            (1000.125, 1, False, 0, 0.125, 0.125),
            (1000.25, 1, True, 0, 0.25, 0.0),
            (1003.0, 1, True, 3, 0.25, 0.0),
        ],
    ),
    "gcra: a clock that goes back only refuses more": (
        ("gcra", 4, 1.0, 4),
        [
            (1000.0, 4, True, 0, 0.25, 0.0),
            (990.0, 1, False, 0, 10.25, 10.25),
            (1000.25, 1, True, 0, 0.25, 0.0),
        ],
    ),
    "gcra: costs": (
        ("gcra", 4, 1.0, 4),
        [
            (1000.0, 3, True, 1, 0.75, 0.0),
            (1000.0, 2, False, 1, 0.75, 0.25),
            (1000.0, 1, True, 0, 0.25, 0.0),
            (1000.0, 5, False, 0, 0.25, inf),  # more than ever fits
        ],
    ),
    "gcra: a burst of one is plain spacing": (
        ("gcra", 2, 1.0, 1),
        [
            (1000.0, 1, True, 0, 0.5, 0.0),
            (1000.25, 1, False, 0, 0.25, 0.25),
            (1000.5, 1, True, 0, 0.5, 0.0),
        ],
    ),
    "gcra: a burst above the rate": (
        ("gcra", 1, 1.0, 3),
        [
            (1000.0, 2, True, 1, 2.0, 0.0),
            (1000.5, 1, True, 0, 0.5, 0.0),
            (1001.0, 2, False, 1, 2.0, 1.0),
        ],
    ),
    "gcra: looking costs nothing": (
        ("gcra", 4, 1.0, 4),
        [(1000.0, 0, True, 4, 0.0, 0.0), (1000.0, 1, True, 3, 0.25, 0.0), (1000.0, 0, True, 3, 0.25, 0.0)],
    ),
    "fixed: the window opens with the first request": (
        ("fixed", 3, 10.0, 3),
        [
            (1000.0, 1, True, 2, 10.0, 0.0),
            (1004.0, 1, True, 1, 6.0, 0.0),
            (1009.0, 1, True, 0, 1.0, 0.0),
            (1009.5, 1, False, 0, 0.5, 0.5),
            (1010.0, 1, True, 2, 10.0, 0.0),
        ],
    ),
    "fixed: a clock that goes back finds the window open": (
        ("fixed", 3, 10.0, 3),
        [(1000.0, 1, True, 2, 10.0, 0.0), (995.0, 1, True, 1, 15.0, 0.0)],
    ),
    "fixed: costs": (
        ("fixed", 3, 10.0, 3),
        [
            (1000.0, 2, True, 1, 10.0, 0.0),
            (1002.0, 2, False, 1, 8.0, 8.0),
            (1002.0, 4, False, 1, 8.0, inf),
            (1002.0, 0, True, 1, 8.0, 0.0),
            (1002.0, 1, True, 0, 8.0, 0.0),
        ],
    ),
    "fixed: looking at nothing": (("fixed", 3, 10.0, 3), [(1000.0, 0, True, 3, 0.0, 0.0)]),
    "sliding: the oldest bucket counts whole": (
        ("sliding", 4, 16.0, 4),
        [
            (1000.5, 1, True, 3, 16.5, 0.0),
            (1000.75, 1, True, 2, 16.25, 0.0),
            (1002.0, 1, True, 1, 17.0, 0.0),
            (1002.0, 1, True, 0, 15.0, 0.0),  # from here the reset is that of the next unit
            (1010.0, 1, False, 0, 7.0, 7.0),
            (1016.5, 1, False, 0, 0.5, 0.5),
            (1017.0, 1, True, 1, 17.0, 0.0),
            (1017.0, 2, False, 1, 17.0, 2.0),
            (1040.0, 1, True, 3, 17.0, 0.0),
        ],
    ),
    "sliding: a clock that goes back counts into the newest bucket": (
        ("sliding", 4, 16.0, 4),
        [
            (1000.5, 1, True, 3, 16.5, 0.0),
            (1008.0, 1, True, 2, 17.0, 0.0),
            (1001.0, 1, True, 1, 24.0, 0.0),
            (1001.0, 1, True, 0, 16.0, 0.0),
        ],
    ),
    "sliding: costs": (
        ("sliding", 4, 16.0, 4),
        [
            (1000.0, 1, True, 3, 17.0, 0.0),
            (1001.0, 2, True, 1, 17.0, 0.0),
            (1002.0, 3, False, 1, 16.0, 16.0),
            (1002.0, 2, False, 1, 16.0, 15.0),
            (1002.0, 5, False, 1, 16.0, inf),
            (1002.0, 1, True, 0, 15.0, 0.0),
        ],
    ),
    "sliding: more than ever fits, of nothing": (("sliding", 4, 16.0, 4), [(1000.0, 5, False, 4, 0.0, inf)]),
}

Answers = list[tuple[bool, int, float, float]]


def in_python(algorithm: str, count: int, period_s: float, burst: int, requests: list[tuple[float, int]]) -> Answers:
    kind = ALGORITHMS[algorithm]
    numbers = kind.numbers(count, period_s, burst)
    state = None
    answers = []
    for now, cost in requests:
        allowed, new_state, remaining, reset_s, retry_after_s = kind.step(state, now, numbers, cost)
        if allowed:
            state = new_state
        answers.append((allowed, remaining, reset_s, retry_after_s))
    return answers


# Between two requests the state goes through its stored form, as it does in the store.
LUA = (
    LUA_ALGORITHMS
    + """
local algorithm = ({ gcra = gcra, fixed = fixed, sliding = sliding })[ARGV[1]]
local numbers, stored, answers = {}, false, {}
for number in string.gmatch(ARGV[2], '%S+') do numbers[#numbers + 1] = tonumber(number) end
for i = 3, #ARGV do
  local now, cost = string.match(ARGV[i], '(%S+) (%S+)')
  local allowed, state, remaining, reset, retry_after =
    algorithm.step(stored and algorithm.read(stored) or false, tonumber(now), numbers, tonumber(cost))
  if allowed then stored = algorithm.write(state) end
  local word = allowed and 'yes' or 'no'
  answers[#answers + 1] = string.format('%s %.17g %.17g %.17g', word, remaining, reset, retry_after)
end
return answers
"""
)


def in_lua(
    server: Any, algorithm: str, count: int, period_s: float, burst: int, requests: list[tuple[float, int]]
) -> Answers:
    numbers = " ".join(map(repr, ALGORITHMS[algorithm].numbers(count, period_s, burst)))
    told = [f"{now!r} {cost}" for now, cost in requests]
    answers = []
    for line in server.admin.eval(LUA, 0, algorithm, numbers, *told):
        allowed, remaining, reset_s, retry_after_s = line.decode().split()
        answers.append((allowed == "yes", int(remaining), float(reset_s), float(retry_after_s)))
    return answers


@pytest.mark.parametrize(("policy", "steps"), VECTORS.values(), ids=VECTORS.keys())
def test_the_python_step_obeys_the_table(policy: Any, steps: Any) -> None:
    assert in_python(*policy, [step[:2] for step in steps]) == [step[2:] for step in steps]


@pytest.mark.parametrize(("policy", "steps"), VECTORS.values(), ids=VECTORS.keys())
def test_the_lua_step_obeys_the_table_on_every_server(running_servers: Any, policy: Any, steps: Any) -> None:
    for server in running_servers.values():
        assert in_lua(server, *policy, [step[:2] for step in steps]) == [step[2:] for step in steps]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    algorithm=st.sampled_from(["gcra", "fixed", "sliding"]),
    count=st.integers(1, 50),
    period_s=st.floats(0.05, 90_000.0),
    burst=st.integers(1, 60),
    requests=st.lists(st.tuples(st.floats(-0.3, 1.2), st.integers(1, 4)), min_size=1, max_size=60),
)
def test_python_and_lua_agree_to_the_last_bit(
    running_servers: Any,
    algorithm: str,
    count: int,
    period_s: float,
    burst: int,
    requests: list[tuple[float, int]],
) -> None:
    """Times move by shares of the period, sometimes backwards, from an instant as large as the store's clock."""
    now = 51_234_567.890123
    told = []
    for share, cost in requests:
        now += share * share * share * period_s
        told.append((now, cost))
    policy = (algorithm, count, period_s, burst)
    assert in_lua(running_servers["valkey"], *policy, told) == in_python(*policy, told)

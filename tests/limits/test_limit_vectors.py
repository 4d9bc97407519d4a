"""One table that both forms of every algorithm obey: the Python step and its Lua twin, on real servers."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.limits.algorithms import ALGORITHMS, gcra, inflight
from proxy.limits.scripts import algorithms_source

# (algorithm, numbers), then for each request (now, cost, allowed, remaining, reset_s, wait_s), and for each correction
# of `units` that were charged `age_s` ago (now, (units, age_s), remaining afterwards, reset_s afterwards)
GCRA, FIXED, SLIDING, LOG = (ALGORITHMS[name].numbers for name in ("gcra", "fixed", "sliding", "log"))
HOURS = (*FIXED(3, 3600.0, 3), 1000.0, 4600.0, 8200.0)  # with the ends of calendar windows

VECTORS: dict[str, tuple[tuple[str, Any], list[tuple[Any, ...]]]] = {
    "gcra: a burst, then one unit for each interval": (
        ("gcra", GCRA(4, 1.0, 4)),
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
        ("gcra", GCRA(4, 1.0, 4)),
        [
            (1000.0, 4, True, 0, 0.25, 0.0),
            (990.0, 1, False, 0, 10.25, 10.25),
            (1000.25, 1, True, 0, 0.25, 0.0),
        ],
    ),
    "gcra: costs": (
        ("gcra", GCRA(4, 1.0, 4)),
        [
            (1000.0, 3, True, 1, 0.75, 0.0),
            (1000.0, 2, False, 1, 0.75, 0.25),
            (1000.0, 1, True, 0, 0.25, 0.0),
            (1000.0, 5, False, 0, 0.25, inf),  # more than ever fits
        ],
    ),
    "gcra: a burst of one is plain spacing": (
        ("gcra", GCRA(2, 1.0, 1)),
        [
            (1000.0, 1, True, 0, 0.5, 0.0),
            (1000.25, 1, False, 0, 0.25, 0.25),
            (1000.5, 1, True, 0, 0.5, 0.0),
        ],
    ),
    "gcra: a burst above the rate": (
        ("gcra", GCRA(1, 1.0, 3)),
        [
            (1000.0, 2, True, 1, 2.0, 0.0),
            (1000.5, 1, True, 0, 0.5, 0.0),
            (1001.0, 2, False, 1, 2.0, 1.0),
        ],
    ),
    "gcra: looking costs nothing": (
        ("gcra", GCRA(4, 1.0, 4)),
        [(1000.0, 0, True, 4, 0.0, 0.0), (1000.0, 1, True, 3, 0.25, 0.0), (1000.0, 0, True, 3, 0.25, 0.0)],
    ),
    "fixed: the window opens with the first request": (
        ("fixed", FIXED(3, 10.0, 3)),
        [
            (1000.0, 1, True, 2, 10.0, 0.0),
            (1004.0, 1, True, 1, 6.0, 0.0),
            (1009.0, 1, True, 0, 1.0, 0.0),
            (1009.5, 1, False, 0, 0.5, 0.5),
            (1010.0, 1, True, 2, 10.0, 0.0),
        ],
    ),
    "fixed: a clock that goes back finds the window open": (
        ("fixed", FIXED(3, 10.0, 3)),
        [(1000.0, 1, True, 2, 10.0, 0.0), (995.0, 1, True, 1, 15.0, 0.0)],
    ),
    "fixed: costs": (
        ("fixed", FIXED(3, 10.0, 3)),
        [
            (1000.0, 2, True, 1, 10.0, 0.0),
            (1002.0, 2, False, 1, 8.0, 8.0),
            (1002.0, 4, False, 1, 8.0, inf),
            (1002.0, 0, True, 1, 8.0, 0.0),
            (1002.0, 1, True, 0, 8.0, 0.0),
        ],
    ),
    "fixed: looking at nothing": (("fixed", FIXED(3, 10.0, 3)), [(1000.0, 0, True, 3, 0.0, 0.0)]),
    "sliding: the oldest bucket counts whole": (
        ("sliding", SLIDING(4, 16.0, 4)),
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
        ("sliding", SLIDING(4, 16.0, 4)),
        [
            (1000.5, 1, True, 3, 16.5, 0.0),
            (1008.0, 1, True, 2, 17.0, 0.0),
            (1001.0, 1, True, 1, 24.0, 0.0),
            (1001.0, 1, True, 0, 16.0, 0.0),
        ],
    ),
    "sliding: costs": (
        ("sliding", SLIDING(4, 16.0, 4)),
        [
            (1000.0, 1, True, 3, 17.0, 0.0),
            (1001.0, 2, True, 1, 17.0, 0.0),
            (1002.0, 3, False, 1, 16.0, 16.0),
            (1002.0, 2, False, 1, 16.0, 15.0),
            (1002.0, 5, False, 1, 16.0, inf),
            (1002.0, 1, True, 0, 15.0, 0.0),
        ],
    ),
    "sliding: more than ever fits, of nothing": (("sliding", SLIDING(4, 16.0, 4)), [(1000.0, 5, False, 4, 0.0, inf)]),
    "gcra: within its delay budget a request passes and waits": (
        ("gcra", GCRA(4, 1.0, 2, 0.5)),
        [
            (1000.0, 2, True, 0, 0.25, 0.0),
            (1000.0, 1, True, 0, 0.5, 0.25),
            (1000.0, 1, True, 0, 0.75, 0.5),
            (1000.0, 1, False, 0, 0.75, 0.25),  # after which it would pass, and wait the whole budget
            (1000.25, 1, True, 0, 0.75, 0.5),
            (1000.25, 3, False, 0, 0.75, inf),
            (1002.0, 1, True, 1, 0.25, 0.0),
        ],
    ),
    "gcra: a strict burst leaves room for the drip": (
        ("gcra", gcra.strict_numbers(20, 18.0)),  # two at once, then one a second: twenty in eighteen seconds
        [
            (1000.0, 2, True, 0, 1.0, 0.0),
            (1000.5, 1, False, 0, 0.5, 0.5),
            (1001.0, 1, True, 0, 1.0, 0.0),
        ],
    ),
    "gcra: units are charged unasked up to the burst": (
        ("gcra", GCRA(4, 1.0, 4)),
        [
            (1000.0, (3, 0.0), 1, 0.75),
            (1000.0, (9, 0.0), 0, 0.25),
            (1000.0, 1, False, 0, 0.25, 0.25),
            (1001.0, 1, True, 3, 0.25, 0.0),
        ],
    ),
    "gcra: what has dripped away is not given back": (
        ("gcra", GCRA(4, 1.0, 4)),
        [
            (1000.0, 4, True, 0, 0.25, 0.0),
            (1000.0, (-1, 0.0), 1, 0.75),
            (1000.5, (-4, 0.5), 4, 0.0),
            (1000.5, 4, True, 0, 0.25, 0.0),
            (1001.25, (-4, 1.25), 3, 0.25),  # 1.25 s ago at most 4 units were owed, and 5 have dripped since
            (1001.25, (-1, 0.75), 4, 0.0),
            (1001.25, (-1, 0.75), 4, 0.0),
        ],
    ),
    "fixed: a correction of the window that is open": (
        ("fixed", FIXED(5, 10.0, 5)),
        [
            (1000.0, 2, True, 3, 10.0, 0.0),
            (1004.0, (-1, 4.0), 4, 6.0),
            (1004.0, (2, 4.0), 2, 6.0),
            (1004.0, (9, 4.0), 0, 6.0),
            (1004.0, 1, False, 0, 6.0, 6.0),
            (1004.0, (-1, 4.25), 0, 6.0),  # charged before this window
            (1004.0, (-9, 0.0), 5, 0.0),
            (1005.0, 1, True, 4, 10.0, 0.0),  # a window opens with the next request
        ],
    ),
    "fixed: nothing is given back to a window that opened since": (
        ("fixed", FIXED(3, 10.0, 3)),
        [
            (1000.0, 3, True, 0, 10.0, 0.0),
            (1011.0, 1, True, 2, 10.0, 0.0),
            (1012.0, (-3, 12.0), 2, 9.0),
            (1022.0, (-3, 1.0), 3, 0.0),
            (1022.0, (2, 1.0), 1, 10.0),
        ],
    ),
    "calendar: windows were open before anybody asked": (
        ("calendar", HOURS),
        [
            (1600.0, 1, True, 2, 3000.0, 0.0),
            (4599.0, 2, True, 0, 1.0, 0.0),
            (4599.0, 1, False, 0, 1.0, 1.0),
            (4600.0, 3, True, 0, 3600.0, 0.0),
            (4600.0, 4, False, 0, 3600.0, inf),
            (8200.0, 0, True, 3, 0.0, 0.0),
            (8200.0, 1, True, 2, 3600.0, 0.0),  # beyond the ends it knows: a whole window
        ],
    ),
    "calendar: nothing is given back to a window that opened since": (
        ("calendar", HOURS),
        [
            (4500.0, 3, True, 0, 100.0, 0.0),
            (4700.0, 3, True, 0, 3500.0, 0.0),
            (4700.0, (-1, 200.0), 0, 3500.0),
            (4700.0, (-1, 100.0), 1, 3500.0),
            (8000.0, (5, 100.0), 0, 200.0),
            (8300.0, (2, 0.0), 1, 3600.0),
        ],
    ),
    "calendar: the window before the first end that is known": (
        ("calendar", HOURS),
        [
            (900.0, 1, True, 2, 100.0, 0.0),
            (900.0, (-1, 3501.0), 2, 100.0),
            (900.0, (-1, 3500.0), 3, 0.0),
        ],
    ),
    "sliding: looking does not touch the newest bucket": (
        ("sliding", SLIDING(4, 16.0, 4)),
        [(1000.5, 1, True, 3, 16.5, 0.0), (1010.0, 0, True, 3, 7.0, 0.0)],
    ),
    "sliding: what has left the window is not given back": (
        ("sliding", SLIDING(6, 16.0, 6)),
        [
            (1000.5, 2, True, 4, 16.5, 0.0),
            (1004.5, 2, True, 2, 16.5, 0.0),
            (1008.5, 1, True, 1, 16.5, 0.0),
            (1008.5, (-1, 4.0), 2, 16.5),  # of the bucket that it was charged to
            (1008.5, (-2, 4.0), 4, 16.5),  # its other unit, then an older one
            (1017.0, (-1, 17.0), 5, 8.0),
            (1017.0, (-9, 1.0), 6, 0.0),
        ],
    ),
    "sliding: with nothing of its own age or older, newer units are given back": (
        ("sliding", SLIDING(4, 16.0, 4)),
        [(1004.5, 2, True, 2, 16.5, 0.0), (1004.5, (-1, 2.0), 3, 16.5), (1004.5, (-1, 2.0), 4, 0.0)],
    ),
    "sliding: units are charged unasked up to the quota": (
        ("sliding", SLIDING(4, 16.0, 4)),
        [
            (1000.5, (1, 0.0), 3, 16.5),
            (1000.5, (1, 0.0), 2, 16.5),
            (1002.5, (9, 2.0), 0, 14.5),
            (1002.5, (9, 2.0), 0, 14.5),
            (1017.0, 2, True, 0, 2.0, 0.0),
        ],
    ),
    "log: every unit leaves a window's length after it came": (
        ("log", LOG(3, 10.0, 3)),
        [
            (1000.0, 1, True, 2, 10.0, 0.0),
            (1004.0, 1, True, 1, 10.0, 0.0),
            (1004.0, 1, True, 0, 6.0, 0.0),  # from here the reset is that of the next unit
            (1005.0, 1, False, 0, 5.0, 5.0),
            (1009.999999, 1, False, 0, 0.000001, 0.000001),
            (1010.0, 1, True, 0, 4.0, 0.0),
            (1013.0, 2, False, 0, 1.0, 1.0),
            (1014.0, 2, True, 0, 6.0, 0.0),
            (1040.0, 0, True, 3, 0.0, 0.0),
        ],
    ),
    "log: a clock that goes back counts at the newest instant": (
        ("log", LOG(2, 10.0, 2)),
        [
            (1000.0, 1, True, 1, 10.0, 0.0),
            (995.0, 1, True, 0, 15.0, 0.0),
            (1009.0, 1, False, 0, 1.0, 1.0),
            (1010.0, 2, True, 0, 10.0, 0.0),
        ],
    ),
    "log: costs": (
        ("log", LOG(5, 10.0, 5)),
        [
            (1000.0, 2, True, 3, 10.0, 0.0),
            (1001.0, 2, True, 1, 10.0, 0.0),
            (1002.0, 2, False, 1, 9.0, 8.0),
            (1002.0, 4, False, 1, 9.0, 9.0),
            (1002.0, 6, False, 1, 9.0, inf),
            (1002.0, 0, True, 1, 9.0, 0.0),
        ],
    ),
    "log: what has left the window is not given back": (
        ("log", LOG(6, 10.0, 6)),
        [
            (1000.0, 2, True, 4, 10.0, 0.0),
            (1004.0, 2, True, 2, 10.0, 0.0),
            (1006.0, 1, True, 1, 10.0, 0.0),
            (1006.0, (-3, 2.0), 4, 10.0),  # its own two, then an older one
            (1006.0, (-1, 7.0), 5, 10.0),  # with none of its age or older left, a newer one... the oldest of those
            (1006.0, (-1, 10.0), 5, 10.0),
            (1016.0, (-1, 0.0), 6, 0.0),
        ],
    ),
    "log: units are charged unasked up to the quota": (
        ("log", LOG(3, 10.0, 3)),
        [
            (1000.0, (1, 0.0), 2, 10.0),
            (1002.0, (9, 2.0), 0, 8.0),
            (1002.0, (9, 2.0), 0, 8.0),
            (1010.0, 1, True, 0, 2.0, 0.0),
        ],
    ),
}

Answers = list[tuple[Any, ...]]


def in_python(algorithm: str, numbers: Any, told: list[tuple[Any, ...]]) -> Answers:
    kind = ALGORITHMS[algorithm]
    state = None
    answers: Answers = []
    for now, what in told:
        if isinstance(what, tuple):
            state = kind.adjust(state, now, numbers, *what)
            answers.append(kind.step(state, now, numbers, 0)[2:4])
        else:
            allowed, new_state, *rest = kind.step(state, now, numbers, what)
            if allowed:
                state = new_state
            answers.append((allowed, *rest))
    return answers


# Between two lines the state goes through its stored form, as it does in the store.
LUA = (
    algorithms_source()
    + """
local algorithm = algorithms[ARGV[1]]
local numbers, stored, answers = {}, false, {}
local function say(...)
  answers[#answers + 1] = string.format(string.rep('%.17g ', select('#', ...)), ...)
end
for number in string.gmatch(ARGV[2], '%S+') do numbers[#numbers + 1] = tonumber(number) end
for i = 3, #ARGV do
  local words = {}
  for word in string.gmatch(ARGV[i], '%S+') do words[#words + 1] = tonumber(word) end
  local now, state = words[1], stored and algorithm.read(stored) or false
  if #words == 3 then
    state = algorithm.adjust(state, now, numbers, words[2], words[3])
    stored = state and algorithm.write(state)
    local _, _, remaining, reset = algorithm.step(stored and algorithm.read(stored) or false, now, numbers, 0)
    say(remaining, reset)
  else
    local allowed, new_state, remaining, reset, wait = algorithm.step(state, now, numbers, words[2])
    if allowed then stored = algorithm.write(new_state) end
    say(allowed and 1 or 0, remaining, reset, wait)
  end
end
return answers
"""
)


def in_lua(server: Any, algorithm: str, numbers: Any, told: list[tuple[Any, ...]]) -> Answers:
    lines = [" ".join(map(repr, (now, *(what if isinstance(what, tuple) else (what,))))) for now, what in told]
    answers: Answers = []
    for line in server.admin.eval(LUA, 0, algorithm, " ".join(map(repr, numbers)), *lines):
        answer = [float(word) for word in line.split()]
        answers.append((bool(answer[0]), int(answer[1]), *answer[2:]) if len(answer) == 4 else tuple(answer))
    return answers


@pytest.mark.parametrize(("policy", "lines"), VECTORS.values(), ids=VECTORS.keys())
def test_the_python_step_obeys_the_table(policy: Any, lines: Any) -> None:
    assert in_python(*policy, [line[:2] for line in lines]) == [pytest.approx(line[2:]) for line in lines]


@pytest.mark.parametrize(("policy", "lines"), VECTORS.values(), ids=VECTORS.keys())
def test_the_lua_step_obeys_the_table_on_every_server(running_servers: Any, policy: Any, lines: Any) -> None:
    for server in running_servers.values():
        assert in_lua(server, *policy, [line[:2] for line in lines]) == [pytest.approx(line[2:]) for line in lines]


UNITS = st.one_of(st.integers(1, 4), st.tuples(st.integers(-5, 5), st.floats(0.0, 1.5)))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    algorithm=st.sampled_from(["gcra", "fixed", "calendar", "sliding", "log"]),
    count=st.integers(1, 50),
    period_s=st.floats(0.05, 90_000.0),
    burst=st.integers(1, 60),
    delay_share=st.sampled_from([0.0, 0.25]),
    lines=st.lists(st.tuples(st.floats(-0.3, 1.2), UNITS), min_size=1, max_size=60),
)
def test_python_and_lua_agree_to_the_last_bit(
    running_servers: Any,
    algorithm: str,
    count: int,
    period_s: float,
    burst: int,
    delay_share: float,
    lines: list[tuple[float, Any]],
) -> None:
    """Times move by shares of the period, sometimes backwards, from an instant as large as the store's clock."""
    now = 51_234_567.890123
    told = []
    for share, what in lines:
        now += share * share * share * period_s
        told.append((now, (what[0], what[1] * period_s) if isinstance(what, tuple) else what))
    numbers = ALGORITHMS[algorithm].numbers(count, period_s, burst)
    if algorithm == "gcra":
        numbers = GCRA(count, period_s, burst, delay_share * period_s)
    if algorithm == "calendar":
        numbers += tuple([told[0][0] + window * period_s for window in (-0.5, 0.5, 1.5, 2.5)])
    assert in_lua(running_servers["valkey"], algorithm, numbers, told) == in_python(algorithm, numbers, told)


# numbers, then (now, what, who, whether it passed or is held, remaining, reset_s, wait_s), the last three as a look
# finds them afterwards, or for what was refused as the refusal says
INFLIGHT: dict[str, tuple[tuple[int, float], list[tuple[Any, ...]]]] = {
    "a place is free again when it is released": (
        (2, 30.0),
        [
            (1000.0, "acquire", "a", True, 1, 30.0, 0.0),
            (1001.0, "acquire", "b", True, 0, 29.0, 29.0),
            (1002.0, "acquire", "c", False, 0, 28.0, 28.0),
            (1002.0, "release", "a", True, 1, 29.0, 0.0),
            (1002.0, "release", "a", True, 1, 29.0, 0.0),
            (1002.0, "release", "nobody", True, 1, 29.0, 0.0),
            (1002.0, "acquire", "c", True, 0, 29.0, 29.0),
            (1003.0, "release", "b", True, 1, 29.0, 0.0),
            (1003.0, "release", "c", True, 2, 0.0, 0.0),
        ],
    ),
    "a lease that is not renewed is gone after its end": (
        (2, 30.0),
        [
            (1000.0, "acquire", "a", True, 1, 30.0, 0.0),
            (1010.0, "acquire", "b", True, 0, 20.0, 20.0),
            (1029.75, "acquire", "c", False, 0, 0.25, 0.25),
            (1030.0, "acquire", "c", True, 0, 10.0, 10.0),
            (1030.0, "release", "a", True, 0, 10.0, 10.0),
            (1099.0, "look", "", True, 2, 0.0, 0.0),
        ],
    ),
    "a lease that is renewed goes on": (
        (2, 30.0),
        [
            (1000.0, "acquire", "a", True, 1, 30.0, 0.0),
            (1001.0, "acquire", "b", True, 0, 29.0, 29.0),
            (1020.0, "renew", "a", True, 0, 11.0, 11.0),
            (1031.0, "look", "", True, 1, 19.0, 0.0),
            (1049.0, "renew", "a", True, 1, 30.0, 0.0),
        ],
    ),
    "one that has ended is taken again if there is room": (
        (1, 30.0),
        [
            (1000.0, "acquire", "a", True, 0, 30.0, 30.0),
            (1030.0, "acquire", "b", True, 0, 30.0, 30.0),
            (1031.0, "renew", "a", False, 0, 29.0, 29.0),
            (1031.0, "release", "b", True, 1, 0.0, 0.0),
            (1031.0, "renew", "a", True, 0, 30.0, 30.0),
        ],
    ),
    "who holds a lease and asks again holds one": (
        (3, 30.0),
        [
            (1000.0, "acquire", "a", True, 2, 30.0, 0.0),
            (1005.0, "acquire", "a", True, 2, 30.0, 0.0),
            (1005.0, "release", "a", True, 3, 0.0, 0.0),
        ],
    ),
}


def inflight_in_python(numbers: Any, told: list[tuple[float, str, str]]) -> Answers:
    state = None
    answers: Answers = []
    for now, what, who in told:
        passed, member = True, who.encode()
        if what == "acquire":
            passed, _, *refusal = inflight.step(state, now, numbers, 1)
            if not passed:
                answers.append((False, *refusal))
                continue
            state = inflight.acquire(state, member, now, numbers)
        elif what == "renew":
            passed, state = inflight.renew(state, member, now, numbers)
        elif what == "release":
            state = inflight.release(state, member)
        _, _, remaining, reset_s, _ = inflight.step(state, now, numbers, 0)
        answers.append((passed, remaining, reset_s, inflight.step(state, now, numbers, 1)[4]))
    return answers


INFLIGHT_LUA = (
    algorithms_source()
    + """
redis.call('DEL', KEYS[1])
local numbers, answers = { tonumber(ARGV[1]), tonumber(ARGV[2]) }, {}
for i = 3, #ARGV do
  local now, what, who = string.match(ARGV[i], '(%S+) (%S+) (%S*)')
  now = tonumber(now)
  local state, passed, is_told = inflight.load(KEYS[1], now), true, false
  if what == 'acquire' then
    local room, _, remaining, reset, wait = inflight.step(state, now, numbers, 1)
    if room then
      inflight.acquire(state, who, now, numbers)
    else
      is_told = true
      answers[#answers + 1] = string.format('0 %.17g %.17g %.17g', remaining, reset, wait)
    end
  elseif what == 'renew' then
    passed = inflight.renew(state, who, now, numbers)
  elseif what == 'release' then
    inflight.release(state, who, now)
  end
  if not is_told then
    local counted = state.held
    state = inflight.load(KEYS[1], now)
    assert(state.held == counted)
    local _, _, remaining, reset = inflight.step(state, now, numbers, 0)
    local _, _, _, _, wait = inflight.step(state, now, numbers, 1)
    answers[#answers + 1] = string.format('%d %.17g %.17g %.17g', passed and 1 or 0, remaining, reset, wait)
  end
end
return answers
"""
)


def inflight_in_lua(server: Any, numbers: Any, told: list[tuple[float, str, str]]) -> Answers:
    lines = [f"{now!r} {what} {who}" for now, what, who in told]
    answers: Answers = []
    for line in server.admin.eval(INFLIGHT_LUA, 1, "weir:vectors", *map(repr, numbers), *lines):
        passed, remaining, reset_s, wait_s = map(float, line.split())
        answers.append((bool(passed), int(remaining), reset_s, wait_s))
    return answers


@pytest.mark.parametrize(("numbers", "lines"), INFLIGHT.values(), ids=INFLIGHT.keys())
def test_leases_obey_the_table_in_python(numbers: Any, lines: Any) -> None:
    assert inflight_in_python(numbers, [line[:3] for line in lines]) == [line[3:] for line in lines]


@pytest.mark.parametrize(("numbers", "lines"), INFLIGHT.values(), ids=INFLIGHT.keys())
def test_leases_obey_the_table_on_every_server(running_servers: Any, numbers: Any, lines: Any) -> None:
    for server in running_servers.values():
        assert inflight_in_lua(server, numbers, [line[:3] for line in lines]) == [line[3:] for line in lines]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.integers(1, 5),
    lease_s=st.floats(0.1, 1000.0),
    lines=st.lists(
        st.tuples(
            st.floats(0.0, 0.5), st.sampled_from(["acquire", "renew", "release", "look"]), st.sampled_from("abcdefgh")
        ),
        min_size=1,
        max_size=60,
    ),
)
def test_leases_in_python_and_lua_agree_to_the_last_bit(
    running_servers: Any, limit: int, lease_s: float, lines: list[tuple[float, str, str]]
) -> None:
    now = 51_234_567.890123
    told = []
    for share, what, who in lines:
        now += share * lease_s
        told.append((now, what, who))
    numbers = limit, lease_s
    assert inflight_in_lua(running_servers["valkey"], numbers, told) == inflight_in_python(numbers, told)

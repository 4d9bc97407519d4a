"""Sliding log: every admitted unit is remembered until it has left the window.

A trailing window holds at most the quota, and what fits is never refused: to the microsecond. The price is memory, for
each unit of each key, so this is for small quotas, of 1000 units at most.

The state is (units counted before the first instant, instants, units counted up to each of them). Counting up and never
down, a window's units are one subtraction, found by bisection.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from math import inf
from typing import Final

MOST: Final = 1000  # units of the largest quota

State = tuple[int, "array[int]", "array[int]"]  # base, instants in us, counted; never changed in place
Numbers = tuple[int, int]  # quota, window_us

_NOTHING: Final = (0, array("q"), array("q"))


def numbers(count: int, period_s: float, burst: int) -> Numbers:
    return count, round(period_s * 1e6)


def step(state: State | None, now: float, numbers: Numbers, cost: int) -> tuple[bool, State, int, float, float]:
    """One request. A clock that went back counts at the newest instant there is."""
    quota, window_us = numbers
    now_us = int(now * 1e6 + 0.5)
    base, instants, counted = _kept(state or _NOTHING, now_us - window_us)
    total = counted[-1] - base if counted else 0
    new_total = total + cost
    if new_total <= quota:
        if cost:
            base, instants, counted = _added((base, instants, counted), now_us, cost)
        remaining = quota - new_total
        # the newest instant gives the whole quota back, the oldest one the first units
        reset_us = instants[-1 if remaining else 0] + window_us - now_us if new_total else 0
        return True, (base, instants, counted), remaining, reset_us / 1e6, 0.0
    remaining = quota - total if total < quota else 0
    reset_us = instants[-1 if remaining else 0] + window_us - now_us if total else 0
    if cost > quota:
        return False, (base, instants, counted), remaining, reset_us / 1e6, inf
    leaves = bisect_left(counted, base + new_total - quota)  # with it, enough has left
    retry_after_us = instants[leaves] + window_us - now_us
    return False, (base, instants, counted), remaining, reset_us / 1e6, retry_after_us / 1e6


def adjust(state: State | None, now: float, numbers: Numbers, units: int, age_s: float) -> State | None:
    """Units charged unasked, at `now`, or given back if they have not left the window.

    The units that are given back are the newest that are as old as `age_s`, then older ones, and only then newer ones.
    """
    quota, window_us = numbers
    now_us = int(now * 1e6 + 0.5)
    kept = _kept(state or _NOTHING, now_us - window_us)
    base, instants, counted = kept
    total = counted[-1] - base if counted else 0
    if units > 0:
        units = min(units, quota - total)
        return _added(kept, now_us, units) if units > 0 else kept
    charged_us = now_us - int(age_s * 1e6 + 0.5)
    if total == 0:
        return None
    if charged_us <= now_us - window_us:
        return kept
    own = bisect_right(instants, charged_us)
    counts = [after - before for after, before in zip(counted, [base, *counted], strict=False)]
    for at in (*range(own - 1, -1, -1), *range(own, len(counts))):
        back = min(counts[at], -units)
        counts[at] -= back
        units += back
    left: State | None = None
    for at_us, count in zip(instants, counts, strict=True):
        if count:
            left = _added(left or _NOTHING, at_us, count)
    return left


def full_at(state: State, numbers: Numbers) -> float:
    return (state[1][-1] + numbers[1]) / 1e6


def _kept(state: State, horizon_us: int) -> State:
    """Without what happened at the horizon or before it."""
    left = bisect_right(state[1], horizon_us)
    if left == len(state[1]):
        return _NOTHING
    return (state[2][left - 1], state[1][left:], state[2][left:]) if left else state


def _added(state: State, now_us: int, units: int) -> State:
    base, instants, counted = state
    if instants and instants[-1] >= now_us:
        counted = counted[:]
        counted[-1] += units
        return base, instants, counted
    return base, instants + array("q", (now_us,)), counted + array("q", ((counted[-1] if counted else base) + units,))

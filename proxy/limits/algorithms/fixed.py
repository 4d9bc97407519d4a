"""Fixed window: a count that starts over. The window opens with the first admitted request of a key, or with the
calendar: at the full hour, at midnight, on Monday or on the first of the month of a time zone.

The state is (end of the window, units used in it). A trailing window of the same length can touch two windows, the end
of one and the start of the next, so it holds at most twice the quota; an aligned window holds the quota.

A change of the quota keeps what was used; a change of the window's length takes effect with the next window.
"""

from __future__ import annotations

from math import inf
from typing import Final

State = tuple[float, int]  # end_at, used
Numbers = tuple[int, float]  # quota, window_s
# The same, then instants at which windows end, ascending. The one that is open at `now` ends at the first after it.
CalendarNumbers = tuple[float, ...]

_GRAIN_S: Final = 2e-6  # an age is told in whole microseconds, and instants are rounded


def numbers(count: int, period_s: float, burst: int) -> Numbers:
    return count, period_s


def step(state: State | None, now: float, numbers: Numbers, cost: int) -> tuple[bool, State, int, float, float]:
    """One request. A clock that went back finds the window still open."""
    quota, window_s = numbers
    if state is None or state[0] <= now:
        end_at, used = now + window_s, 0
    else:
        end_at, used = state
    new_used = used + cost
    reset_s = end_at - now
    if new_used <= quota:
        return True, (end_at, new_used), quota - new_used, reset_s if new_used else 0.0, 0.0
    # a quota that was lowered in mid-window may leave more used than it allows
    remaining = quota - used if used < quota else 0
    return False, (end_at, used), remaining, reset_s if used else 0.0, reset_s if cost <= quota else inf


def adjust(state: State | None, now: float, numbers: Numbers, units: int, age_s: float) -> State | None:
    """Units charged unasked into the window that is open, or given back if that is the one they were charged to.

    For `age_s` count from an instant when they had been charged: one that lies before the charge may lie before the
    window.
    """
    quota, window_s = numbers
    if state is None or state[0] <= now:
        return (now + window_s, min(units, quota)) if units > 0 else None
    return _adjust_open(state, state[0] - window_s, now, quota, units, age_s)


def calendar_step(
    state: State | None, now: float, numbers: CalendarNumbers, cost: int
) -> tuple[bool, State, int, float, float]:
    """`step` with a window that was open before anybody asked."""
    if state is None or state[0] <= now:
        state = (_end_after(now, numbers), 0)
    return step(state, now, (int(numbers[0]), numbers[1]), cost)


def calendar_adjust(
    state: State | None, now: float, numbers: CalendarNumbers, units: int, age_s: float
) -> State | None:
    """`adjust` with a window that begins where another ended."""
    quota = int(numbers[0])
    if state is None or state[0] <= now:
        return (_end_after(now, numbers), min(units, quota)) if units > 0 else None
    end_at = state[0]
    begins_at = max([at for at in numbers[2:] if at < end_at - _GRAIN_S], default=end_at - numbers[1])
    return _adjust_open(state, begins_at, now, quota, units, age_s)


def full_at(state: State, numbers: Numbers | CalendarNumbers) -> float:
    return state[0]


def _adjust_open(state: State, begins_at: float, now: float, quota: int, units: int, age_s: float) -> State | None:
    end_at, used = state
    if units > 0:
        return end_at, max(used, min(used + units, quota))
    if now - age_s < begins_at - _GRAIN_S:
        return state
    return (end_at, used + units) if used + units > 0 else None


def _end_after(now: float, numbers: CalendarNumbers) -> float:
    for at in numbers[2:]:
        if at > now:
            return at
    return now + numbers[1]  # the clocks of who asks and who decides are windows apart

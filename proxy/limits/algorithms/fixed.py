"""Fixed window: a count that starts over. The window opens with the first admitted request of a key.

The state is (end of the window, units used in it). A trailing window of the same length can touch two windows, the end
of one and the start of the next, so it holds at most twice the quota.

A change of the quota keeps what was used; a change of the window's length takes effect with the next window.
"""

from __future__ import annotations

from math import inf

State = tuple[float, int]  # end_at, used
Numbers = tuple[int, float]  # quota, window_s


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


def full_at(state: State, numbers: Numbers) -> float:
    return state[0]

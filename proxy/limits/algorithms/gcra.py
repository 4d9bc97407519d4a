"""GCRA: a steady drip with room for a burst (ITU-T I.371, the virtual scheduling form).

The state is one number, the theoretical arrival time (TAT): when the bucket will be full again. In any trailing window
of W seconds it admits at most `burst + rate * W`, so with the burst left at its default, twice the count of the rate.

A change of the policy's numbers keeps the TAT: what stays is the time until all is there again.
"""

from __future__ import annotations

from math import inf

Numbers = tuple[float, float, float]  # interval_s, capacity_s, tolerance_s


def numbers(count: int, period_s: float, burst: int) -> Numbers:
    """`burst` units may come at once; one more comes every `period_s / count` seconds."""
    interval_s = period_s / count
    capacity_s = burst * interval_s
    # Adding the interval again and again rounds each time. The slack keeps the last request of a burst from being
    # refused for the sum of those errors; it is 1/128 of a unit, so it never lets a whole one more into a window.
    return interval_s, capacity_s, capacity_s + interval_s / 128.0


def step(state: float | None, now: float, numbers: Numbers, cost: int) -> tuple[bool, float, int, float, float]:
    """One request. A clock that went back only refuses more: the TAT never moves backwards."""
    interval_s, capacity_s, tolerance_s = numbers
    tat = now if state is None or state < now else state
    new_tat = tat + cost * interval_s
    spare_s = tolerance_s - (new_tat - now)
    if spare_s >= 0.0:
        remaining = int(spare_s / interval_s)
        full_in_s = new_tat - now
        return True, new_tat, remaining, full_in_s if remaining else full_in_s + interval_s - capacity_s, 0.0
    full_in_s = tat - now
    remaining = int((tolerance_s - full_in_s) / interval_s)
    retry_after_s = new_tat - now - capacity_s if cost * interval_s <= tolerance_s else inf
    if remaining > 0:
        return False, tat, remaining, full_in_s, retry_after_s
    return False, tat, 0, full_in_s + interval_s - capacity_s, retry_after_s


def full_at(state: float, numbers: Numbers) -> float:
    return state

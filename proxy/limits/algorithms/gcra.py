"""GCRA: a steady drip with room for a burst (ITU-T I.371, the virtual scheduling form).

The state is one number, the theoretical arrival time (TAT): when the bucket will be full again. In any trailing window
of W seconds it admits at most `burst + rate * W`, so with the burst left at its default, twice the count of the rate.
With a strict burst the two together are the count.

With a delay budget, a request that comes too early by no more than the budget is admitted and told how long to wait.
If every one of them waits that long, the bound holds for what leaves here, not for what arrives.

A change of the policy's numbers keeps the TAT: what stays is the time until all is there again.
"""

from __future__ import annotations

from math import inf

Numbers = tuple[float, float, float, float]  # interval_s, capacity_s, tolerance_s, delay_s


def numbers(count: int, period_s: float, burst: int, delay_s: float = 0.0) -> Numbers:
    """`burst` units may come at once; one more comes every `period_s / count` seconds."""
    interval_s = period_s / count
    capacity_s = burst * interval_s
    # Adding the interval again and again rounds each time. The slack keeps the last request of a burst from being
    # refused for the sum of those errors; it is 1/128 of a unit, so it never lets a whole one more into a window.
    return interval_s, capacity_s, capacity_s + interval_s / 128.0, delay_s


def strict_burst(count: int) -> int:
    """The burst that `strict_numbers` leaves: a tenth of the count, at least one."""
    return max(1, count // 10)


def strict_numbers(count: int, period_s: float, delay_s: float = 0.0) -> Numbers:
    """Burst and drip that together admit at most `count` in any trailing window of `period_s`."""
    burst = strict_burst(count)
    if count == 1:
        # one after another: a little further apart than the period, by more than the slack forgives
        return numbers(1, period_s * (1.0 + 1.0 / 64.0), 1, delay_s)
    return numbers(count - burst, period_s, burst, delay_s)


def step(state: float | None, now: float, numbers: Numbers, cost: int) -> tuple[bool, float, int, float, float]:
    """One request. A clock that went back only refuses more: the TAT never moves backwards."""
    interval_s, capacity_s, tolerance_s, delay_s = numbers
    tat = now if state is None or state < now else state
    new_tat = tat + cost * interval_s
    full_in_s = new_tat - now
    spare_s = tolerance_s - full_in_s
    if spare_s >= 0.0:
        remaining = int(spare_s / interval_s)
        return True, new_tat, remaining, full_in_s if remaining else full_in_s + interval_s - capacity_s, 0.0
    full_in_s = tat - now
    remaining = int((tolerance_s - full_in_s) / interval_s)
    wait_s = new_tat - now - capacity_s if cost * interval_s <= tolerance_s else inf
    if delay_s and wait_s <= delay_s + tolerance_s - capacity_s:
        # what the slack forgives is not waited for: nobody waits longer than the budget
        return True, new_tat, 0, new_tat - now + interval_s - capacity_s, min(wait_s, delay_s)
    if remaining > 0:
        return False, tat, remaining, full_in_s, wait_s - delay_s
    return False, tat, 0, full_in_s + interval_s - capacity_s, wait_s - delay_s


def adjust(state: float | None, now: float, numbers: Numbers, units: int, age_s: float) -> float | None:
    """Units charged unasked, or given back. What has dripped away since they were charged is not given back.

    The state does not tell whose units have dripped away, so this takes the most that can be left of them: all that
    was owed `age_s` ago, with a full burst, less what has dripped since.
    """
    interval_s, capacity_s, _, delay_s = numbers
    tat = now if state is None or state < now else state
    if units > 0:
        new_tat = min(tat + units * interval_s, max(tat, now + capacity_s))
    else:
        new_tat = tat - max(min(-units * interval_s, capacity_s + delay_s - age_s), 0.0)
    return new_tat if new_tat > now else None


def full_at(state: float, numbers: Numbers) -> float:
    return state

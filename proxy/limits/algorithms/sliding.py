"""Sliding window: no trailing window ever holds more than the quota.

The window is counted in buckets of a sixteenth of it. The oldest bucket, which has partly left the window, counts
whole, so the trailing maximum is the quota itself; the price is that a unit comes back up to 1/16 of the window late.
(Weighing that bucket by its overlap, as the usual two-counter window does, admits up to twice the quota: put all of it
just before a boundary.)

The state holds bucket ends as instants, not bucket numbers, so it stays true when the window's length is changed.
"""

from __future__ import annotations

from math import floor, inf
from typing import Final

BUCKETS: Final = 16

Bucket = tuple[float, int]  # end_at, units
State = tuple[float, int, int, tuple[Bucket, ...]]  # end and units of the newest bucket; units in all; older buckets
Numbers = tuple[int, float, float]  # quota, window_s, width_s of a bucket


def numbers(count: int, period_s: float, burst: int) -> Numbers:
    return count, period_s, period_s / BUCKETS


def step(state: State | None, now: float, numbers: Numbers, cost: int) -> tuple[bool, State, int, float, float]:
    """One request. A clock that went back counts into the newest bucket there is."""
    quota, window_s, width_s = numbers
    end_at = (floor(now / width_s) + 1) * width_s
    horizon = now - window_s  # a bucket that ended at or before this instant has left the window whole
    older: tuple[Bucket, ...]
    if state is None or state[0] <= horizon:
        newest_at, units, total, older = end_at, 0, 0, ()
    else:
        newest_at, units, total, older = state
        left = 0
        for bucket in older:
            if bucket[0] > horizon:
                break
            total -= bucket[1]
            left += 1
        if left:
            older = older[left:]
    new_total = total + cost
    if new_total > quota:
        return _refuse(newest_at, units, total, older, now, numbers, cost)
    if end_at > newest_at and cost:
        older = (*older, (newest_at, units))
        newest_at, units = end_at, cost
    else:
        units += cost
    remaining = quota - new_total
    # the last bucket gives the whole quota back, the first one the first units
    back_at = newest_at if remaining or not older else older[0][0]
    return True, (newest_at, units, new_total, older), remaining, back_at + window_s - now if new_total else 0.0, 0.0


def adjust(state: State | None, now: float, numbers: Numbers, units: int, age_s: float) -> State | None:
    """Units charged unasked, into the bucket of `now`, or given back if their bucket has not left the window.

    The units that are given back are those of the bucket that `age_s` ago falls into, then older ones, and only then
    newer ones.
    """
    quota, window_s, width_s = numbers
    buckets: list[Bucket] = []
    if state is not None:
        buckets = [bucket for bucket in (*state[3], state[:2]) if bucket[0] > now - window_s]
    total = sum([count for _, count in buckets])
    if units > 0:
        end_at = (floor(now / width_s) + 1) * width_s
        units = max(min(units, quota - total), 0)
        if buckets and buckets[-1][0] >= end_at:
            buckets[-1] = (buckets[-1][0], buckets[-1][1] + units)
        else:
            buckets.append((end_at, units))
    else:
        own_at = (floor((now - age_s) / width_s) + 1) * width_s
        if own_at <= now - window_s:
            units = 0
        older = [at for at, bucket in enumerate(buckets) if bucket[0] <= own_at]
        for at in (*reversed(older), *range(len(older), len(buckets))):
            back = min(buckets[at][1], -units)
            buckets[at] = (buckets[at][0], buckets[at][1] - back)
            units += back
    buckets = [bucket for bucket in buckets if bucket[1]]
    if not buckets:
        return None
    return *buckets[-1], sum([count for _, count in buckets]), tuple(buckets[:-1])


def full_at(state: State, numbers: Numbers) -> float:
    return state[0] + numbers[1]


def _refuse(
    newest_at: float, units: int, total: int, older: tuple[Bucket, ...], now: float, numbers: Numbers, cost: int
) -> tuple[bool, State, int, float, float]:
    quota, window_s, _ = numbers
    remaining = quota - total if total < quota else 0
    full_in_s = newest_at + window_s - now if total else 0.0
    retry_after_s = full_in_s if cost <= quota else inf
    surplus = total + cost - quota
    for ended_at, count in older:
        surplus -= count
        if surplus <= 0:
            retry_after_s = ended_at + window_s - now
            break
    first_in_s = older[0][0] + window_s - now if older else full_in_s
    reset_s = full_in_s if remaining else first_in_s
    return False, (newest_at, units, total, older), remaining, reset_s, retry_after_s

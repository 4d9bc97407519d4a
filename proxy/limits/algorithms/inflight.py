"""In flight: how many may be admitted and not yet over, at one time.

Whoever is admitted holds a lease under a name until it is released. A lease that is neither renewed nor released ends
by itself, so what died without a word leaks for the length of a lease and no longer. At no time are more than the limit
held; how many may follow one another in a trailing window is not limited.

The state is a mapping of names to the ends of their leases, soonest first. It is changed in place by `acquire`, `renew`
and `release`; `step` only looks.
"""

from __future__ import annotations

State = dict[bytes, float]
Numbers = tuple[int, float]  # limit, lease_s


def numbers(count: int, period_s: float, burst: int) -> Numbers:
    """`count` at once, each for `period_s` unless it is renewed."""
    return count, period_s


def step(state: State | None, now: float, numbers: Numbers, cost: int) -> tuple[bool, State | None, int, float, float]:
    """Is there room for one more? Then `acquire` it. `retry_after_s` is the longest that a refusal can last if nobody
    renews: a release comes sooner."""
    limit, lease_s = numbers
    held, first_at, last_at = _look(state, now)
    new_held = held + cost
    if new_held <= limit:
        remaining = limit - new_held
        if not new_held:
            return True, state, remaining, 0.0, 0.0
        if remaining:
            return True, state, remaining, lease_s if cost else last_at - now, 0.0
        return True, state, 0, first_at - now if held else lease_s, 0.0
    return False, state, max(limit - held, 0), first_at - now, first_at - now


def adjust(state: State | None, now: float, numbers: Numbers, units: int, age_s: float) -> State | None:
    """Nothing: what is held is given back by `release`."""
    return state


def acquire(state: State | None, member: bytes, now: float, numbers: Numbers) -> State:
    """Hold a lease. Of one that is held already, the lease begins anew."""
    if state is None:
        return {member: now + numbers[1]}
    for dead in _dead(state, now):
        del state[dead]
    state.pop(member, None)
    end_at = now + numbers[1]
    is_last = not state or next(reversed(state.values())) <= end_at
    state[member] = end_at
    if not is_last:  # leases have become shorter by a change of the configuration
        by_end = sorted(state.items(), key=lambda lease: lease[1])
        state.clear()
        state.update(by_end)
    return state


def renew(state: State | None, member: bytes, now: float, numbers: Numbers) -> tuple[bool, State | None]:
    """Let a lease last longer. One that has ended is taken again if there is room; else its owner goes on uncounted,
    since what was admitted is not stopped half way. (it is held, the state)"""
    if state is not None and state.get(member, now) > now:
        return True, acquire(state, member, now, numbers)
    if not step(state, now, numbers, 1)[0]:
        return False, state
    return True, acquire(state, member, now, numbers)


def release(state: State | None, member: bytes) -> State | None:
    """End a lease. One that has ended, or never was, makes no difference."""
    if state is not None:
        state.pop(member, None)
    return state or None


def full_at(state: State, numbers: Numbers) -> float:
    return next(reversed(state.values()))


def _look(state: State | None, now: float) -> tuple[int, float, float]:
    """How many are held, when the first of them ends and when the last."""
    if not state:
        return 0, now, now
    dead = 0
    for end_at in state.values():
        if end_at > now:
            return len(state) - dead, end_at, next(reversed(state.values()))
        dead += 1
    return 0, now, now


def _dead(state: State, now: float) -> list[bytes]:
    dead = []
    for member, end_at in state.items():
        if end_at > now:
            break
        dead.append(member)
    return dead

"""What another rate would have done: one limit by itself, over the instants at which its keys came.

Each key is stepped through by the limit's own algorithm. The question is asked of one limit alone, as if the others
were not there, and of the requests that were made: a client that is denied may come again or stay away, and no log
knows which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from array import array

    from proxy.limits.policy import LimitPolicy

SHARE: Final = 0.001  # of requests, or of keys, that a suggested limit may deny: p99.9
MAX_COUNT: Final = 1_000_000_000

Arrivals = tuple["array[float]", "array[int] | None"]
"""The instants of a key's requests in order, and what each was charged in the end, if that varies."""
PolicyAt = Callable[[int], "LimitPolicy | None"]
"""The limit with another count in the same period; None where that is too small for any request to pass."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What a limit denies of some arrivals."""

    requests: int
    denied: int
    keys: int
    keys_denied: int  # that were denied at least once

    @property
    def share(self) -> float:
        return self.denied / self.requests if self.requests else 0.0

    @property
    def share_of_keys(self) -> float:
        return self.keys_denied / self.keys if self.keys else 0.0


def effect_of(policy: LimitPolicy, arrivals: Sequence[Arrivals]) -> Effect:
    """What the policy denies when nothing else does."""
    denied = keys_denied = 0
    for of_key in arrivals:
        count = 0 if _is_small(policy, of_key) else _denials(policy, of_key)
        denied += count
        keys_denied += count > 0
    return Effect(sum(len(instants) for instants, _ in arrivals), denied, len(arrivals), keys_denied)


def everything(arrivals: Sequence[Arrivals]) -> Effect:
    """What a limit denies that is too small for any request."""
    requests = sum(len(instants) for instants, _ in arrivals)
    return Effect(requests, requests, len(arrivals), len(arrivals))


def least_for_requests(policy_at: PolicyAt, arrivals: Sequence[Arrivals], share: float = SHARE) -> int:
    """The smallest count that denies at most this share of the requests."""
    may_be_denied = int(sum(len(instants) for instants, _ in arrivals) * share)

    def is_enough(count: int) -> bool:
        policy = policy_at(count)
        if policy is None:
            return False
        left = may_be_denied
        for of_key in busy:
            if not _is_small(policy, of_key):
                left -= _denials(policy, of_key, left)
                if left < 0:
                    return False
        return True

    busy = _busiest_first(arrivals)
    return _least(is_enough)


def least_for_keys(policy_at: PolicyAt, arrivals: Sequence[Arrivals], share: float = SHARE) -> int:
    """The smallest count with which at most this share of the keys is ever denied."""
    may_be_denied = int(len(arrivals) * share)

    def is_enough(count: int) -> bool:
        policy = policy_at(count)
        if policy is None:
            return False
        left = may_be_denied
        for of_key in busy:
            if not _is_small(policy, of_key) and _denials(policy, of_key, 0):
                left -= 1
                if left < 0:
                    return False
        return True

    busy = _busiest_first(arrivals)
    return _least(is_enough)


def _least(is_enough: Callable[[int], bool]) -> int:
    """Halving will do: a higher rate never denies more of the same requests, with any of the algorithms.

    (gcra, sliding, log: had it admitted fewer up to some request, then at the last one before that with as many, it
    would have had more room and refused. fixed: its windows open with the first request after the last one's end,
    which is admitted whatever the count. Where charges differ from request to request this is nearly so.)
    """
    low = high = 1
    while high < MAX_COUNT and not is_enough(high):
        low, high = high + 1, high * 4
    while low < high:
        middle = (low + high) // 2
        if is_enough(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _is_small(policy: LimitPolicy, of_key: Arrivals) -> bool:
    """Whether a key asked for so little in all that no request can have been denied."""
    instants, units = of_key
    return units is None and len(instants) * policy.cost <= policy.burst


def _denials(policy: LimitPolicy, of_key: Arrivals, most: int = MAX_COUNT) -> int:
    """How many of a key's requests are denied; counting stops beyond `most`."""
    step, numbers, cost, calendar = policy.step, policy.numbers, policy.cost, policy.calendar
    instants, units = of_key
    state = None
    denied = 0
    for place, at in enumerate(instants):
        if calendar is not None:
            numbers = *policy.numbers, *calendar.ends(at)
        allowed, new_state, _, _, _ = step(state, at, numbers, cost)
        if allowed:
            state = new_state
            if units is not None and units[place] != cost:
                state = policy.adjust(state, at, numbers, units[place] - cost, 0.0)
        else:
            denied += 1
            if denied > most:
                break
    return denied


def _busiest_first(arrivals: Sequence[Arrivals]) -> list[Arrivals]:
    """The keys that decide come first, so that a count which is too small is known for that soon."""
    return sorted(arrivals, key=lambda of_key: len(of_key[0]), reverse=True)

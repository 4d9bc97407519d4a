"""The slices that this process holds, by key (`accuracy: leased`): when to take one, what it pays, when it ends."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Final

from proxy.limits.policy import LimitPolicy
from proxy.limits.scripts import script_argument
from proxy.limits.shared.slices import FIRST_REQUESTS, Slice, slice_units

MOST_KEYS: Final = 4096  # beyond it a key is asked of the store for every request
_MOST_TAKINGS: Final = 1024  # compiled ones

Take = Callable[[LimitPolicy, bytes, int], None]
"""Have the store charge so many units of a key; `granted` or `refused` is called when it has answered."""
GiveBack = Callable[[LimitPolicy, bytes, int, float], None]
"""Return units of a key that were charged at an instant."""


class Lease:
    """A busy key."""

    __slots__ = ("policy", "seen_at", "slice")

    def __init__(self, policy: LimitPolicy) -> None:
        self.policy = policy
        self.slice = Slice(policy.cost)
        self.seen_at = -inf  # when the store was last asked for a single request


class Leases:
    """Pure; instants are monotonic."""

    __slots__ = ("_by_key", "_ends", "_give_back", "_take", "_takings", "fleet_size")

    def __init__(self, take: Take, give_back: GiveBack) -> None:
        self._take = take
        self._give_back = give_back
        self._by_key: dict[bytes, Lease] = {}
        self._ends: list[tuple[float, bytes]] = []  # a heap; a key may be in it more than once
        self._takings: dict[tuple[LimitPolicy, int], LimitPolicy] = {}
        self.fleet_size = 1

    def payer(self, policy: LimitPolicy, key: bytes, now: float) -> Slice | None:
        """The slice that can pay for a request, to be told to. None: ask the store."""
        lease = self._by_key.get(key)
        if lease is None or lease.policy is not policy:
            return None
        held = lease.slice
        return held if held.can_pay(policy.cost, now) else None

    def paid(self, policy: LimitPolicy, key: bytes, now: float) -> None:
        """A request was paid for: see about the next slice before this one is used up."""
        held = self._by_key[key].slice
        if held.is_low(now):
            self._fetch(policy, key, held, held.remaining)

    def seen(self, policy: LimitPolicy, key: bytes, remaining: int, now: float) -> None:
        """The store has decided a request of this key by itself. Its second one in a short time makes it busy."""
        lease = self._by_key.get(key)
        if lease is None:
            if len(self._by_key) >= MOST_KEYS:
                return
            lease = self._by_key[key] = Lease(policy)
        elif lease.policy is not policy:
            if lease.slice.held or lease.slice.is_asking:
                return  # another variant's: its end comes first
            lease.policy = policy
        soon_s = FIRST_REQUESTS * policy.cost * _interval_s(policy)
        if now - lease.seen_at <= soon_s and lease.slice.is_low(now):
            self._fetch(policy, key, lease.slice, remaining)
        lease.seen_at = now
        heappush(self._ends, (now + soon_s, key))

    def granted(
        self, policy: LimitPolicy, key: bytes, units: int, remaining: int, reset_s: float, asked_at: float
    ) -> None:
        """The store has charged the units. `asked_at`: just before."""
        lease = self._by_key.get(key)
        if lease is None or lease.policy is not policy:  # reset, or another variant's by now
            self._give_back(policy, key, units, asked_at)
            return
        held = lease.slice
        held.is_asking = False
        held.fill(units, asked_at, _interval_s(policy), remaining, reset_s)
        heappush(self._ends, (held.next_end_at(), key))

    def refused(self, key: bytes) -> None:
        """The store did not charge them, or did not answer in time to know."""
        lease = self._by_key.get(key)
        if lease is not None:
            lease.slice.is_asking = False

    def end(self, now: float) -> None:
        """Give back what is left of the slices whose life is over."""
        ends = self._ends
        while ends and ends[0][0] <= now:
            key = heappop(ends)[1]
            lease = self._by_key.get(key)
            if lease is None:
                continue
            held = lease.slice
            while True:
                units, charged_at = held.take_ended(now)
                if not units:
                    break
                self._give_back(lease.policy, key, units, charged_at)
            if held.held:
                heappush(ends, (held.next_end_at(), key))
            elif not held.is_asking and now - lease.seen_at > FIRST_REQUESTS * lease.policy.cost * _interval_s(
                lease.policy
            ):
                del self._by_key[key]

    def end_all(self) -> None:
        """Give back everything, at once."""
        self.end(inf)
        self._by_key.clear()
        self._ends.clear()

    def drop(self, key: bytes) -> None:
        """The key was reset: what is held of it is worth nothing, and is not given back."""
        self._by_key.pop(key, None)

    def drop_all(self) -> None:
        """The store has lost what was charged."""
        self._by_key.clear()
        self._ends.clear()

    def next_end_at(self) -> float:
        """When `end` has something to do."""
        return self._ends[0][0] if self._ends else inf

    def taking(self, policy: LimitPolicy, units: int) -> LimitPolicy:
        """The policy as it asks for so many units at once."""
        taking = self._takings.get((policy, units))
        if taking is None:
            if len(self._takings) >= _MOST_TAKINGS:
                self._takings.clear()
            taking = policy.twin()
            taking.cost = units
            if policy.script_argument:  # else it is made for each call, from the numbers
                taking.script_argument = script_argument(policy.algorithm, policy.numbers, units, True)
            self._takings[policy, units] = taking
        return taking

    def held_units(self) -> int:
        return sum([lease.slice.held for lease in self._by_key.values()])

    def __len__(self) -> int:
        return len(self._by_key)

    def _fetch(self, policy: LimitPolicy, key: bytes, held: Slice, remaining: int) -> None:
        """Fill up to what is wanted: what is still held counts, so that no more than k are ever held at once."""
        units = slice_units(remaining, self.fleet_size, policy.cost, held.wanted) - held.held
        units -= units % policy.cost
        if units >= 2 * policy.cost:
            held.is_asking = True
            self._take(policy, key, units)


def _interval_s(policy: LimitPolicy) -> float:
    """Seconds in which one unit comes back."""
    if policy.algorithm == "gcra":
        interval_s: float = policy.numbers[0]
        return interval_s
    assert policy.rate is not None
    return policy.rate.period_s / policy.rate.count

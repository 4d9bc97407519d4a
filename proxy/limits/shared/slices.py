"""Slices: part of a hot quota, charged in the store in one go and spent in this process without asking (`leased`).

What is declared, for N Weirs that hold at most k units each:

- never more is admitted than was charged, because a unit is spent only after the store has charged it;
- a trailing window holds at most N*k units more than the algorithm allows: those that were charged before it began;
- at most N*k units can lie in slices while another Weir is refused, and for no longer than a slice lives.

`k = remaining / (4 N)`, at most `MOST_UNITS`, so slices shrink as the quota does; where less than two requests would
fit, every request is asked of the store. A slice lives k times the interval of one unit at most, and never beyond the
instant at which its quota starts over. What is left then is given back.

How large the next slice is also follows the demand here: it doubles when the last one was used up in its life, and
halves when most of it was left over. So a key that is busy elsewhere strands little here.
"""

from __future__ import annotations

from typing import Final

FIRST_REQUESTS: Final = 4  # that a key's first slice is made for
MOST_UNITS: Final = 1000
RENEW_BELOW: Final = 0.2  # of a slice: then the next one is fetched, so that no request waits for it


def slice_units(remaining: int, fleet_size: int, cost: int, wanted: int) -> int:
    """How many units to take, a whole number of requests; 0: too little is left, ask for every request."""
    units = min(remaining // (4 * fleet_size), MOST_UNITS, wanted)
    units -= units % cost
    return units if units >= 2 * cost else 0


def slice_bound(quota: int, fleet_size: int) -> int:
    """The most units that one Weir can hold of a quota: the k of the declared bound N*k."""
    return min(quota // (4 * fleet_size), MOST_UNITS)


class Slice:
    """What this process holds of one key. Pure; instants are monotonic.

    It outlives its contents: as long as the key is busy it is filled again and again. `left` counts units that are
    charged and not spent; those of the fill that is being spent end at `ends_at`, those of the next at its own end.
    """

    __slots__ = (
        "_next_charged_at",
        "_next_ends_at",
        "_next_left",
        "_spent",
        "charged_at",
        "ends_at",
        "is_asking",
        "left",
        "remaining",
        "reset_at",
        "size",
        "wanted",
    )

    def __init__(self, cost: int) -> None:
        self.left = 0
        self.size = 0
        self.ends_at = 0.0
        self.charged_at = 0.0
        self._next_left = 0
        self._next_ends_at = 0.0
        self._next_charged_at = 0.0
        self._spent = 0  # since the last fill
        self.wanted = FIRST_REQUESTS * cost
        self.is_asking = False  # a fill is under way
        self.remaining = 0  # in the store, when it was last filled
        self.reset_at = 0.0

    def can_pay(self, cost: int, now: float) -> bool:
        """`cost` units are here and may still be spent."""
        return (self.left >= cost and now < self.ends_at) or (self._next_left >= cost and now < self._next_ends_at)

    def pay(self, cost: int, now: float) -> None:
        """Spend them. Only after `can_pay`: what cannot be paid from one fill is paid from the other."""
        if self.left >= cost and now < self.ends_at:
            self.left -= cost
        else:
            self._next_left -= cost
        self._spent += cost

    def unpay(self, cost: int) -> None:
        """The request that was paid for was refused by another limit: it is spent on the next one instead."""
        self.left += cost
        self._spent -= cost

    def is_low(self, now: float) -> bool:
        """Time to fetch the next fill."""
        held = self.held
        return not self.is_asking and (held <= self.size * RENEW_BELOW or now >= max(self.ends_at, self._next_ends_at))

    @property
    def held(self) -> int:
        """Units charged and neither spent nor given back."""
        return self.left + self._next_left

    def fill(self, units: int, charged_at: float, interval_s: float, remaining: int, reset_s: float) -> None:
        """The store has charged `units`. `charged_at`: before it was asked."""
        if self.size and self._spent >= self.size * (1.0 - RENEW_BELOW):
            self.wanted = min(2 * max(self.wanted, units), MOST_UNITS)
        ends_at = charged_at + min(units * interval_s, reset_s)
        if self.left == 0:
            self.left, self.ends_at, self.charged_at = self._next_left, self._next_ends_at, self._next_charged_at
            self._next_left = 0
        if self.left == 0:
            self.left, self.ends_at, self.charged_at = units, ends_at, charged_at
        elif self._next_left == 0:
            self._next_left, self._next_ends_at, self._next_charged_at = units, ends_at, charged_at
        else:  # joins what is older, and ends with it: a later end would be too late for the older part
            self._next_left += units
        self.size = self.held
        self._spent = 0
        self.remaining = remaining
        self.reset_at = charged_at + reset_s

    def take_ended(self, now: float) -> tuple[int, float]:
        """(units to give back, when they were charged) of fills whose life is over. They are not spent any more."""
        if self.left and now >= self.ends_at:
            units, charged_at = self.left, self.charged_at
            self.left = 0
        elif self._next_left and now >= self._next_ends_at:
            units, charged_at = self._next_left, self._next_charged_at
            self._next_left = 0
        else:
            return 0, 0.0
        if 2 * units > self.size:
            self.wanted //= 2
        return units, charged_at

    def next_end_at(self) -> float:
        """When `take_ended` has something to do; infinite when nothing is held."""
        first = self.ends_at if self.left else float("inf")
        return min(first, self._next_ends_at) if self._next_left else first

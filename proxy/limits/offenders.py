"""Who is denied most: a bounded count of the heaviest keys of one policy. Shown to the operator, never as a metric.

The space-saving sketch: CAPACITY keys have a count; a key that has none takes the place of one with the smallest count
and goes on from there. So a key that was denied more than n / CAPACITY of n times is always there, no count is too low,
and each says by how much it may be too high.

Two such counts, of the present period and the one before: what is shown covers the last one to two periods.
"""

from __future__ import annotations

from typing import Final, NamedTuple

CAPACITY: Final = 64
PERIOD_S: Final = 300.0


class Offender(NamedTuple):
    """`denied` is between `denied - error` and itself, truly."""

    key: bytes
    denied: int
    error: int


class Offenders:
    """One per configured limit. `note` is made for every denial; the rest is for the operator."""

    __slots__ = ("_counts", "_errors", "_floor", "_previous", "_smallest", "_until")

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}
        self._errors: dict[bytes, int] = {}  # of keys that took another's place: what they began with
        self._floor = 0  # a key that is not in `_counts` was denied at most so often
        self._smallest: list[bytes] = []  # keys that had the count `_floor` when it was last looked for
        self._previous: tuple[dict[bytes, int], dict[bytes, int], int] = ({}, {}, 0)
        self._until = 0.0

    def note(self, key: bytes, now: float) -> None:
        """One denial. `now` is monotonic. 0.1 us for a key that is known, about 0.5 us for one that is not."""
        if now >= self._until:
            self._turn(now)
        counts = self._counts
        count = counts.get(key)
        if count is not None:
            counts[key] = count + 1
        else:
            self._add(key)

    def top(self, most: int, now: float) -> list[Offender]:
        """The heaviest, heaviest first, by what they were denied for certain."""
        if now >= self._until:
            self._turn(now)
        counts, errors, floor = self._counts, self._errors, self._floor
        counts_before, errors_before, floor_before = self._previous
        found = []
        for key in counts | counts_before:
            denied = counts.get(key, floor) + counts_before.get(key, floor_before)
            error = errors.get(key, 0) if key in counts else floor
            error += errors_before.get(key, 0) if key in counts_before else floor_before
            found.append(Offender(key, denied, error))
        found.sort(key=lambda offender: (offender.error - offender.denied, offender.key))
        return found[:most]

    def forget(self, key: bytes) -> None:
        """The operator has dealt with it."""
        for counts in (self._counts, self._errors, *self._previous[:2]):
            counts.pop(key, None)

    def __len__(self) -> int:
        return len(self._counts)

    def _add(self, key: bytes) -> None:
        counts = self._counts
        if len(counts) >= CAPACITY:
            self._drop_smallest()
        counts[key] = self._floor + 1
        if self._floor:
            self._errors[key] = self._floor

    def _drop_smallest(self) -> None:
        """Make room. One look at all counts finds the next few that may go."""
        counts = self._counts
        while True:
            while self._smallest:
                key = self._smallest.pop()
                if counts.get(key) == self._floor:  # else it was denied again since
                    del counts[key]
                    self._errors.pop(key, None)
                    return
            self._floor = min(counts.values())
            self._smallest = [key for key, count in counts.items() if count == self._floor]

    def _turn(self, now: float) -> None:
        is_next = now < self._until + PERIOD_S
        self._previous = (self._counts, self._errors, self._floor) if is_next else ({}, {}, 0)
        self._counts, self._errors, self._floor, self._smallest = {}, {}, 0, []
        self._until = now + PERIOD_S

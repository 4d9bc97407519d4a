"""Lines in the order in which the requests came, and sampled lines as the requests that they stand for.

Servers write a line when a request has ended, and several processes write into one file, so lines are a little out of
order. They are sorted within ten seconds; what comes later than that counts as if it came now, because time does not
go back for a limit either. So one line with a time in the far future would make all others late: it is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush, heapreplace
from typing import Final

from proxy.simulation.entry import Entry

WINDOW_S: Final = 10.0
MAX_HELD: Final = 200_000  # entries; about 100 MB. Beyond it the earliest goes on, in whatever order
JUMP_S: Final = 3600.0  # further ahead than this only the next line can tell a gap in the log from a mistake
SPREAD_S: Final = 60.0  # over which the requests of a sampled line are spread


class Sorter:
    """Sorts what passes through it."""

    __slots__ = ("_heap", "_last", "late", "strays")

    def __init__(self) -> None:
        self.late = 0  # entries that came too late for that
        self.strays = 0  # entries that were left out
        self._heap: list[tuple[float, int, Entry]] = []
        self._last = 0.0

    def sort(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        heap = self._heap
        newest = 0.0
        for number, entry in enumerate(self._without_strays(entries)):
            at = entry.at_wall
            heappush(heap, (at, number, entry))
            if at > newest:
                newest = at
            while heap[0][0] <= newest - WINDOW_S or len(heap) > MAX_HELD:
                yield self._take()
        while heap:
            yield self._take()

    def _without_strays(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """An entry that is far ahead of the others waits for the next one: is that so far ahead too?"""
        newest = 0.0
        doubtful: Entry | None = None
        for entry in entries:
            at = entry.at_wall
            if doubtful is not None:
                if at > doubtful.at_wall - JUMP_S:
                    newest = doubtful.at_wall
                    yield doubtful
                else:
                    self.strays += 1
                doubtful = None
            if at > newest + JUMP_S:
                doubtful = entry
                continue
            if at > newest:
                newest = at
            yield entry
        if doubtful is not None:
            yield doubtful

    def _take(self) -> Entry:
        at, _, entry = heappop(self._heap)
        if at < self._last:
            self.late += 1
            entry.at_wall = self._last
        else:
            self._last = at
        return entry


def spread(entries: Iterable[Entry]) -> Iterator[tuple[float, Entry]]:
    """(instant, entry) for every request. A line that stands for several gives one now and the others evenly over the
    minute after it. Fractions are carried on, so that the sum is right: three lines at 30 % are ten requests."""
    waiting: list[tuple[float, int, int, float, Entry]] = []  # instant, number, how many more, seconds apart
    carried = 0.0
    for number, entry in enumerate(entries):
        at = entry.at_wall
        while waiting and waiting[0][0] <= at:
            yield _next(waiting)
        yield at, entry
        if entry.weight > 1.0:
            carried += entry.weight
            # a hair is forgiven: 1 / 0.1 and the like are not exact
            count = int(carried + 1e-6)
            carried -= count
            if count > 1:
                apart_s = SPREAD_S / count
                heappush(waiting, (at + apart_s, number, count - 1, apart_s, entry))
    while waiting:
        yield _next(waiting)


def _next(waiting: list[tuple[float, int, int, float, Entry]]) -> tuple[float, Entry]:
    at, number, left, apart_s, entry = waiting[0]
    if left > 1:
        heapreplace(waiting, (at + apart_s, number, left - 1, apart_s, entry))
    else:
        heappop(waiting)
    return at, entry

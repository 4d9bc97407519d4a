"""A line before an upstream: who waits, who is next, who is refused at once, who has to make room.

Three classes; nobody of a class is served while somebody of a better one waits. Within a class tenants take turns
(`queue_shares.py`), from the old end or, under sustained overload, from the new one (`queue_overload.py`). Bounded by
count and by bytes; by time through `expires_at`. No clock and no sockets: whatever waits may be put here.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from heapq import heapify, heappop, heappush
from typing import Final, Generic

from proxy.upstreams.queue_overload import Overload
from proxy.upstreams.queue_shares import Shares, WaitingT

__all__ = ["NORMAL", "PRIORITIES", "Refusal", "WaitQueue"]

PRIORITIES: Final = ("critical", "normal", "background")
NORMAL: Final = PRIORITIES.index("normal")
_SPARE: Final = 64  # of those who have left, before they are swept out of the heap
_NEVER: Final = float("inf")


class Refusal(Enum):
    """Why somebody gets no slot. The value is the word in metrics and logs."""

    FULL = "queue_full"
    TIMEOUT = "queue_timeout"
    NO_CHANCE = "no_chance"
    SHED = "shed"


class WaitQueue(Generic[WaitingT]):
    """At most `max_waiting` entries, which hold at most `max_bytes`. A lower bound sends nobody away who is here."""

    __slots__ = ("_classes", "_ends", "_number", "_overloads", "count", "max_bytes", "max_waiting", "size_bytes")

    def __init__(self, max_waiting: int, max_bytes: int) -> None:
        self.max_waiting = max_waiting
        self.max_bytes = max_bytes
        self._classes: tuple[Shares[WaitingT], ...] = tuple(Shares() for _ in PRIORITIES)
        self._overloads = tuple(Overload() for _ in PRIORITIES)
        self.count = 0
        self.size_bytes = 0
        self._ends: list[tuple[float, int, WaitingT]] = []  # a heap; who has left stays in it for a while
        self._number = 0

    def judge(self, entry: WaitingT, now: float, drain_per_s: float | None) -> Refusal | None:
        """Whether `entry` may wait. `drain_per_s` is how many are served in a second, None when that is not known.

        One that would not be served before its time is over is refused now, while its client can still do something
        else. When all room is taken, somebody of a worse class makes room; or somebody of a tenant of the same class
        that has at least two more in line.
        """
        if drain_per_s is not None and self.ahead_of(entry) > drain_per_s * (entry.expires_at - now):
            return Refusal.NO_CHANCE
        if not self._has_bytes_for(entry):
            return Refusal.FULL
        if self.count >= self.max_waiting and self._who_makes_room(entry) is None:
            return Refusal.FULL
        return None

    def push(self, entry: WaitingT, now: float) -> list[WaitingT]:
        """Let `entry` wait; `judge` has said that it may. Gives those who had to leave for it."""
        displaced: list[WaitingT] = []
        while self.size_bytes + entry.size_bytes > self.max_bytes or (self.count >= self.max_waiting and not displaced):
            victim = self._who_makes_room(entry)
            if victim is None:
                break
            self.remove(victim)
            displaced.append(victim)
        rank = entry.rank
        self._classes[rank].push(entry)
        self.count += 1
        self.size_bytes += entry.size_bytes
        self._number += 1
        heappush(self._ends, (entry.expires_at, self._number, entry))
        if len(self._ends) > 2 * self.count + _SPARE:
            self._ends = [end for end in self._ends if end[2] in self._classes[end[2].rank]]
            heapify(self._ends)
        self._observe(rank, now)
        return displaced

    def pop(self, now: float) -> WaitingT | None:
        """Who is next. Call `expired` before, or it may be somebody whose time is over."""
        for rank, waiting in enumerate(self._classes):
            if len(waiting):
                self._observe(rank, now)
                entry = waiting.pop(self._overloads[rank].is_sustained)
                self._left(entry)
                self._observe(rank, now)
                return entry
        return None

    def remove(self, entry: WaitingT) -> bool:
        """Take it out; False when it is not here."""
        if not self._classes[entry.rank].remove(entry):
            return False
        self._left(entry)
        return True

    def expired(self, now: float) -> list[WaitingT]:
        """Take out and give those whose time is over."""
        late, ends = [], self._ends
        while ends and ends[0][0] <= now:
            entry = heappop(ends)[2]
            if self.remove(entry):
                late.append(entry)
        return late

    def observe(self, now: float) -> None:
        """Look at the waits, a few times in each queue_overload.INTERVAL_S: nothing else may happen for long."""
        for rank in range(len(self._classes)):
            self._observe(rank, now)

    def take_worse_than(self, rank: int) -> list[WaitingT]:
        """Take out and give those of all worse classes."""
        entries = [entry for waiting in self._classes[rank + 1 :] for entry in waiting]
        for entry in entries:
            self.remove(entry)
        return entries

    def clear(self) -> list[WaitingT]:
        """Take out and give all."""
        entries = list(self)
        for entry in entries:
            self.remove(entry)
        self._ends.clear()
        return entries

    # -- numbers --

    def ahead_of(self, entry: WaitingT) -> int:
        """How many are served before `entry`, which is not in line yet, if nobody else comes."""
        rank = entry.rank
        ahead = sum(len(waiting) for waiting in self._classes[:rank])
        return ahead + self._classes[rank].ahead_of(entry.share, self._overloads[rank].is_sustained)

    @property
    def next_rank(self) -> tuple[int, float]:
        """The class of who is next, and how long somebody of it has waited: the smaller, the more urgent."""
        for rank, waiting in enumerate(self._classes):
            if (oldest := waiting.oldest) is not None:
                return rank, oldest.since
        return len(PRIORITIES), _NEVER

    def depth(self, rank: int) -> int:
        return len(self._classes[rank])

    def oldest_since(self, rank: int) -> float | None:
        oldest = self._classes[rank].oldest
        return None if oldest is None else oldest.since

    def is_newest_first(self, rank: int) -> bool:
        return self._overloads[rank].is_sustained

    @property
    def fill(self) -> float:
        """The part of the places that is taken; 0 where there are none."""
        return self.count / self.max_waiting if self.max_waiting else 0.0

    @property
    def late_rank(self) -> int:
        """The best class in which the newest are served first; beyond the last class when there is none."""
        for rank, overload in enumerate(self._overloads):
            if overload.is_sustained:
                return rank
        return len(PRIORITIES)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[WaitingT]:
        for waiting in self._classes:
            yield from waiting

    # -- room --

    def _has_bytes_for(self, entry: WaitingT) -> bool:
        """Those of worse classes would leave for it. Those of its own do not: what they hold says nothing of turns."""
        worse = sum(waiting.size_bytes for waiting in self._classes[entry.rank + 1 :])
        return self.size_bytes - worse + entry.size_bytes <= self.max_bytes

    def _who_makes_room(self, entry: WaitingT) -> WaitingT | None:
        for rank in range(len(self._classes) - 1, entry.rank, -1):
            if len(self._classes[rank]):
                return self._classes[rank].last_of_the_longest(self._overloads[rank].is_sustained)
        own = self._classes[entry.rank]
        if own.longest > own.length_of(entry.share) + 1:
            return own.last_of_the_longest(self._overloads[entry.rank].is_sustained)
        return None

    def _left(self, entry: WaitingT) -> None:
        self.count -= 1
        self.size_bytes -= entry.size_bytes

    def _observe(self, rank: int, now: float) -> None:
        oldest = self._classes[rank].oldest
        self._overloads[rank].observe(0.0 if oldest is None else now - oldest.since, now)

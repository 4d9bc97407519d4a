"""Those who wait within one class, fairly by tenant: deficit round robin (Shreedhar and Varghese, 1995).

Each tenant has a line of its own, and the tenants take turns. A turn brings one unit; a request is served when its cost
has been saved up. A tenant that sends a thousand requests waits for its thousand turns, and nobody else does.

Served from the old end, the turns go round and each line is first in, first out. From the new end everything is
mirrored: the newest request of the tenant that came last.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, Protocol, TypeVar

__all__ = ["Shares", "Waiting", "WaitingT"]


class Waiting(Protocol):
    """What waits. Compared by identity, and unchanged while it waits."""

    rank: int  # of its class, 0 first
    share: Hashable  # whose it is
    cost: int  # in turns, at least 1
    size_bytes: int  # held in memory meanwhile
    since: float
    expires_at: float


WaitingT = TypeVar("WaitingT", bound=Waiting)


class _Tenant(Generic[WaitingT]):
    __slots__ = ("line", "saved")

    def __init__(self) -> None:
        self.line: OrderedDict[WaitingT, None] = OrderedDict()
        self.saved = 0  # turns that were not enough for the next request


class Shares(Generic[WaitingT]):
    """Every operation takes the same time, however many wait, but for `pop`: at most the largest cost in rounds."""

    __slots__ = ("_by_length", "_ring", "_waiting", "longest", "size_bytes")

    def __init__(self) -> None:
        self._waiting: OrderedDict[WaitingT, None] = OrderedDict()  # all, by arrival
        self._ring: OrderedDict[Hashable, _Tenant[WaitingT]] = OrderedDict()  # nobody in it has an empty line
        self._by_length: dict[int, dict[Hashable, None]] = {}  # tenants by the length of their line
        self.longest = 0  # length of the longest line
        self.size_bytes = 0

    def push(self, entry: WaitingT) -> None:
        """Behind all others of its tenant; a tenant that is new comes after all others."""
        tenant = self._ring.get(entry.share)
        if tenant is None:
            tenant = self._ring[entry.share] = _Tenant()
        tenant.line[entry] = None
        self._waiting[entry] = None
        self.size_bytes += entry.size_bytes
        self._length_changed(entry.share, len(tenant.line) - 1, len(tenant.line))

    def pop(self, newest_first: bool) -> WaitingT:
        """Who is next; there must be somebody."""
        ring = self._ring
        while True:
            share = next(reversed(ring)) if newest_first else next(iter(ring))
            tenant = ring[share]
            entry = next(reversed(tenant.line)) if newest_first else next(iter(tenant.line))
            if len(ring) == 1:
                tenant.saved = 0  # nobody is kept waiting by it
                self.remove(entry)
                return entry
            tenant.saved += 1
            ring.move_to_end(share, last=not newest_first)
            if tenant.saved >= entry.cost:
                tenant.saved -= entry.cost
                self.remove(entry)
                return entry

    def remove(self, entry: WaitingT) -> bool:
        """Take it out; False when it is not here. A tenant without requests loses what it has saved."""
        if entry not in self._waiting:
            return False
        del self._waiting[entry]
        self.size_bytes -= entry.size_bytes
        line = self._ring[entry.share].line
        del line[entry]
        self._length_changed(entry.share, len(line) + 1, len(line))
        if not line:
            del self._ring[entry.share]
        return True

    def length_of(self, share: Hashable) -> int:
        tenant = self._ring.get(share)
        return 0 if tenant is None else len(tenant.line)

    def ahead_of(self, share: Hashable, newest_first: bool) -> int:
        """How many are served before one that comes now, if nobody else does. Takes every cost for 1."""
        own = self.length_of(share)
        others = len(self._ring) - (own > 0)
        if newest_first:
            return others if own else 0
        return min(len(self._waiting), own + others * (own + 1))

    def last_of_the_longest(self, newest_first: bool) -> WaitingT:
        """Whom to send away for another: of the tenant that has most in line, the one that would be served last."""
        share = next(reversed(self._by_length[self.longest]))
        line = self._ring[share].line
        return next(iter(line)) if newest_first else next(reversed(line))

    @property
    def oldest(self) -> WaitingT | None:
        return next(iter(self._waiting), None)

    @property
    def tenants(self) -> int:
        return len(self._ring)

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, entry: WaitingT) -> bool:
        return entry in self._waiting

    def __iter__(self) -> Iterator[WaitingT]:
        """By arrival."""
        return iter(self._waiting)

    def _length_changed(self, share: Hashable, before: int, after: int) -> None:
        by_length = self._by_length
        if before:
            peers = by_length[before]
            del peers[share]
            if not peers:
                del by_length[before]
        if after:
            by_length.setdefault(after, {})[share] = None
        if after > self.longest:
            self.longest = after
        elif before == self.longest and before not in by_length:
            self.longest = after

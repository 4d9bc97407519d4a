"""PurgeQueue: purges of this Weir that the others have not heard of yet.

Bounded: writes that are too many while nobody can be told become one order to validate everything, and an operator's
purges that are too many become a purge of everything. The order among them means nothing, for each of them ends what
was asked for before now.
"""

from __future__ import annotations

from typing import Final

from proxy.cache.purges.purge import Purge
from proxy.cache.tags import Tags

MAX_ORDERS: Final = 2000
MAX_WRITES: Final = 10_000
MAX_BYTES: Final = 1024 * 1024  # of either
BATCH_BYTES: Final = 8192  # or one that is longer
BATCH: Final = 256
_LOOKED_AT: Final = 64

EVERYTHING: Final = Purge("all")
DOUBT: Final = Purge("all", is_soft=True, must_validate=True)
"""Anything may have been purged, and nobody knows what."""


class PurgeQueue:
    """Each purge once. `take` what is to be sent next; it stays in here until it was `sent`, or goes `back`."""

    __slots__ = ("_batch", "_orders", "_writes")

    def __init__(self) -> None:
        self._orders = _Heap(MAX_ORDERS)
        self._writes = _Heap(MAX_WRITES)
        self._batch: tuple[list[Purge], list[Purge]] = [], []

    def __len__(self) -> int:
        return len(self._orders) + len(self._writes) + sum(map(len, self._batch))

    @property
    def has_orders(self) -> bool:
        """Of those that somebody waits for."""
        return bool(self._orders) or bool(self._batch[0])

    def add(self, purge: Purge, *, is_order: bool) -> None:
        """`is_order`: an operator's, not that of a write."""
        if EVERYTHING in self._orders:
            return
        if not is_order:
            if DOUBT not in self._writes and not self._writes.put(purge):
                self._writes.become(DOUBT)
        elif purge == EVERYTHING or not self._orders.put(purge):
            self._orders.become(EVERYTHING)
            self._writes.clear()

    def take(self) -> list[Purge]:
        """Those that go in one message, an operator's first; empty when there are none. One batch at a time."""
        orders = self._orders.take(BATCH, BATCH_BYTES)
        size_bytes = sum([_size(purge) for purge in orders])
        writes: list[Purge] = []
        if not orders or size_bytes < BATCH_BYTES:
            writes = self._writes.take(BATCH - len(orders), BATCH_BYTES - size_bytes)
        self._batch = orders, writes
        return orders + writes

    def sent(self) -> None:
        """All have what was taken."""
        self._batch = [], []

    def back(self) -> None:
        """What was taken may not have arrived: it goes again."""
        (orders, writes), self._batch = self._batch, ([], [])
        for purge in orders:
            self.add(purge, is_order=True)
        for purge in writes:
            self.add(purge, is_order=False)

    def may_cover(self, key: bytes, tags: Tags) -> bool:
        """Something in here covers such a response; also when there is too much to look through it."""
        if len(self) > _LOOKED_AT:
            return True
        heaps = (self._orders.purges, self._writes.purges, *self._batch)
        return any(purge.covers(key, tags) for heap in heaps for purge in heap)


class _Heap:
    """Purges, each once, up to a number and a size."""

    __slots__ = ("_most", "_size_bytes", "purges")

    def __init__(self, most: int) -> None:
        self.purges: dict[Purge, None] = {}  # oldest first
        self._most = most
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self.purges)

    def __contains__(self, purge: Purge) -> bool:
        return purge in self.purges

    def put(self, purge: Purge) -> bool:
        """False when there is no room."""
        if purge in self.purges:
            return True
        size_bytes = self._size_bytes + _size(purge)
        if len(self.purges) >= self._most or size_bytes > MAX_BYTES:
            return False
        self.purges[purge] = None
        self._size_bytes = size_bytes
        return True

    def become(self, purge: Purge) -> None:
        self.clear()
        self.put(purge)

    def clear(self) -> None:
        self.purges.clear()
        self._size_bytes = 0

    def take(self, most: int, most_bytes: int) -> list[Purge]:
        """The oldest ones: as many as fit, one at least if `most` is not 0."""
        taken: list[Purge] = []
        size_bytes = 0
        for purge in self.purges:
            if len(taken) >= most or (taken and size_bytes + _size(purge) > most_bytes):
                break
            taken.append(purge)
            size_bytes += _size(purge)
        for purge in taken:
            del self.purges[purge]
        self._size_bytes -= size_bytes
        return taken


def _size(purge: Purge) -> int:
    return len(purge.value) + len(purge.origin) + 16

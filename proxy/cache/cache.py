"""Cache: the owner of everything that is stored or on its way in. One per process; it outlives every reload."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from proxy.cache.disk.store import DiskStore
from proxy.cache.entry import Entry
from proxy.cache.flights import Flights
from proxy.cache.freshness import Index
from proxy.cache.invalidation import Invalidations
from proxy.cache.memory_store import MemoryStore
from proxy.cache.purge import Fate, Purge, Purges, expire
from proxy.cache.reuse import select
from proxy.cache.settings import CacheSettings
from proxy.cache.stats import NO_ROUTE, CacheStats
from proxy.cache.tags import tags_of
from proxy.core.clock import monotonic

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.http.message import Response

Key = bytes
UNCACHEABLE_S: Final = 10.0  # how long it is remembered that waiting for one another is of no use
_MAX_UNCACHEABLE: Final = 8192
_PURGED_AT_ONCE: Final = 1000  # responses, between two turns of the loop: about a millisecond


class Cache:
    """What the stages of the line share. `refresh` fetches in the background; the pipeline provides it.

    `ended`, where somebody provides it, is told what a purge or a write ends here, whoever ordered it.

    `announce`, where somebody provides it, tells the other Weirs of a purge that was ordered here; what they announce
    goes to `apply_purge`.
    """

    __slots__ = (
        "_uncacheable",
        "announce",
        "disk",
        "ended",
        "flights",
        "invalidations",
        "max_entry_bytes",
        "purges",
        "refresh",
        "stats",
        "store",
    )

    def __init__(
        self, settings: CacheSettings, refresh: Callable[[Exchange], Awaitable[Response]] | None = None
    ) -> None:
        self.stats = CacheStats()
        self.store = MemoryStore(settings.memory, self.stats)
        self.flights = Flights()
        self.invalidations = Invalidations()
        self.purges = Purges()
        self.announce: Callable[[Purge], Awaitable[None]] | None = None
        self.ended: Callable[[Purge], None] | None = None
        self.refresh = refresh
        self.max_entry_bytes = settings.max_entry  # in memory
        self.disk = None if settings.disk is None else DiskStore(settings.disk, self.store.evict)
        self._uncacheable: OrderedDict[int, float] = OrderedDict()  # hash of the key -> monotonic

    def __repr__(self) -> str:
        return f"<Cache {self.entries} entries, {self.bytes} bytes, {len(self.flights)} flights>"

    @property
    def bytes(self) -> int:
        """In use, content on its way in included."""
        return self.store.used_bytes

    @property
    def fill_bytes(self) -> int:
        """Of `bytes`: content on its way in."""
        return self.store.reserved_bytes

    @property
    def entries(self) -> int:
        return len(self.store)

    @property
    def tags(self) -> int:
        return self.store.tags

    @property
    def largest_bytes(self) -> int:
        """What more content has than this is not stored, for now."""
        disk = self.disk
        return self.max_entry_bytes if disk is None or not disk.is_ready else disk.max_entry_bytes

    async def start(self) -> None:
        """Take the directory of the disk tier, if there is one. Does not fail: it is tried again later."""
        if self.disk is not None:
            await self.disk.start()

    def stop(self) -> None:
        if self.disk is not None:
            self.disk.stop()

    def apply(self, settings: CacheSettings) -> None:
        """Take over changed settings after a reload. What is stored is kept, as far as it fits."""
        self.max_entry_bytes = settings.max_entry
        self.store.resize(settings.memory)
        if self.disk is not None and settings.disk is not None:
            self.disk.resize(settings.disk.size, settings.disk.largest_bytes)

    def keep(self, entry: Entry, request_index: Index, began: int, route: str = NO_ROUTE) -> bool:
        """Store a complete response of `route`. `began` is `invalidations.now` of when its request set out."""
        tags = tags_of(entry.fields)
        if began != self.invalidations.now:
            if not self.invalidations.spares(entry.key, began):
                return False
            fate = self.purges.fate(entry.key, tags, began)
            if fate is Fate.DROP:
                return False
            if fate is Fate.EXPIRE:
                now = monotonic()
                shelf = self.store.shelves.get(entry.key)
                other = None if shelf is None else select(shelf, request_index)
                if other is not None and other.fresh_s > now - other.born_at:
                    return False  # the purge left nothing fresh: somebody has asked since
                expire(entry, now)
        if isinstance(entry.body, bytes) and len(entry.body) > self.max_entry_bytes:
            return False
        if not self.store.put(entry, request_index, tags, self.stats.of(route)):
            return False
        self.stats.stored += 1
        self._uncacheable.pop(hash(entry.key), None)
        return True

    def invalidate(self, key: Key) -> None:
        """Nothing that was asked for before now may be used for `key` again."""
        self.invalidations.add(key)
        purge = Purge("url", key)
        for entry in self.store.covered_by(purge):
            self.store.remove(entry)
        self.flights.forget_key(key)
        if self.ended is not None:
            self.ended(purge)

    def invalidate_groups(self, origin: Key, groups: Sequence[Key]) -> None:
        """The same for everything of one origin with one of these `Cache-Groups` (RFC 9875 §3)."""
        for group in groups:
            self.apply_purge(Purge("tag", group, origin=origin))

    async def purge(self, purge: Purge) -> int:
        """Apply a purge that was ordered here, and tell the other Weirs. Gives the number of responses it ended.

        It is in force here when this returns; a large one leaves the loop to others now and then.
        """
        ended = 0
        for found in self._purge(purge):
            ended += found
            await asyncio.sleep(0)
        if self.announce is not None:
            await self.announce(purge)
        return ended

    def apply_purge(self, purge: Purge) -> int:
        """Apply a purge, whoever ordered it, at once. Nothing that was asked for before is fresh after this."""
        return sum(self._purge(purge))

    def _purge(self, purge: Purge) -> Iterator[int]:
        self.stats.purges += 1
        if purge.kind == "url" and not purge.is_soft:
            self.invalidations.add(purge.value)
        else:
            self.invalidations.now += 1
            self.purges.add(purge, self.invalidations.now)
        if purge.kind == "url":
            self.flights.forget_key(purge.value)
        else:
            # whatever is under way was asked before, and nobody knows its tags yet: those who come now ask anew, and
            # those who wait still get it
            self.flights = Flights()
        if self.ended is not None:
            self.ended(purge)
        entries = self.store.covered_by(purge)
        now = monotonic()
        for start in range(0, len(entries), _PURGED_AT_ONCE):
            ended = 0
            for entry in entries[start : start + _PURGED_AT_ONCE]:
                if not entry.queue:
                    continue  # gone meanwhile
                ended += 1
                if purge.is_soft:
                    expire(entry, now)
                else:
                    self.store.remove(entry)
                if entry.key != purge.value:
                    self.flights.forget_key(entry.key)
            self.stats.purged += ended
            yield ended

    def learn_uncacheable(self, key: Key, now: float) -> None:
        """The next requests for `key` need not wait for each other. Bounded; a collision only costs a collapse."""
        mark = hash(key)
        self._uncacheable[mark] = now + UNCACHEABLE_S
        self._uncacheable.move_to_end(mark)
        if len(self._uncacheable) > _MAX_UNCACHEABLE:
            self._uncacheable.popitem(last=False)

    def is_uncacheable(self, key: Key, now: float) -> bool:
        return self._uncacheable.get(hash(key), 0.0) > now

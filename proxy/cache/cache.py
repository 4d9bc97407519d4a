"""Cache: the owner of everything that is stored or on its way in. One per process; it outlives every reload."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from proxy.cache.disk.store import DiskStore
from proxy.cache.entry import Entry
from proxy.cache.flights import Flights
from proxy.cache.freshness import Index
from proxy.cache.invalidation import Invalidations
from proxy.cache.memory_store import MemoryStore
from proxy.cache.purges.known import Purges
from proxy.cache.purges.purge import Fate, Purge, expire
from proxy.cache.reuse import select
from proxy.cache.settings import CacheSettings
from proxy.cache.stats import NO_ROUTE, CacheStats
from proxy.cache.tags import tags_of
from proxy.core.clock import monotonic

if TYPE_CHECKING:
    from proxy.cache.shared.tier import SharedTier
    from proxy.exchange import Exchange
    from proxy.http.message import Response

Key = bytes
UNCACHEABLE_S: Final = 10.0  # how long it is remembered that waiting for one another is of no use
_MAX_UNCACHEABLE: Final = 8192
_PURGED_AT_ONCE: Final = 1000  # responses, between two turns of the loop: about a millisecond


class Cache:
    """What the stages of the line share. `refresh` fetches in the background; the pipeline provides it.

    `announce(purge, is_order)`, where somebody provides it, is told of what ended entries here: orders to purge, and
    writes. It must not wait. What other Weirs announce goes to `apply_purge` or `purge_in_slices`. `ended` is told of
    all of it, whoever ordered it.
    """

    __slots__ = (
        "_uncacheable",
        "announce",
        "concerns",
        "disk",
        "ended",
        "flights",
        "invalidations",
        "max_entry_bytes",
        "purges",
        "recall",
        "refresh",
        "shared",
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
        self.announce: Callable[[Purge, bool], None] | None = None
        self.ended: Callable[[Purge], None] | None = None
        self.refresh = refresh
        # of upstreams with replicas: may this client have to see something in particular, and what. None: nobody knows
        self.concerns: Callable[[Exchange], bool] | None = None
        self.recall: Callable[[Exchange], Awaitable[Any]] | None = None
        self.max_entry_bytes = settings.max_entry  # in memory
        self.disk = None if settings.disk is None else DiskStore(settings.disk, self.store.evict)
        self.shared: SharedTier | None = None  # what all Weirs of one store have together
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
        if self.shared is not None and settings.shared is not None:
            self.shared.apply(settings.shared)

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

    def has_spared(self, entry: Entry, began: int) -> bool:
        """Neither a write nor a purge has been about it since `invalidations.now` was `began`."""
        if began == self.invalidations.now:
            return True
        if not self.invalidations.spares(entry.key, began):
            return False
        return self.purges.fate(entry.key, tags_of(entry.fields), began) is Fate.KEEP

    def invalidate(self, key: Key) -> None:
        """After a write: nothing that was asked for before now may be used for `key` again. Elsewhere soon."""
        purge = Purge("url", key)
        self.invalidations.add(key)
        if self.shared is not None:
            self.shared.ordered(purge)
        for entry in self.store.covered_by(purge):
            self.store.remove(entry)
        self.flights.forget_key(key)
        if self.ended is not None:
            self.ended(purge)
        if self.announce is not None:
            self.announce(purge, False)

    def invalidate_groups(self, origin: Key, groups: Sequence[Key]) -> None:
        """The same for everything of one origin with one of these `Cache-Groups` (RFC 9875 §3)."""
        for group in groups:
            purge = Purge("tag", group, origin=origin)
            if self.shared is not None:
                self.shared.ordered(purge)
            self.apply_purge(purge)
            if self.announce is not None:
                self.announce(purge, False)

    async def purge(self, purge: Purge) -> int:
        """Apply a purge that was ordered here, and announce it. Gives the number of responses that it ended here.

        It is in force here when this returns; a large one leaves the loop to others now and then.
        """
        self.stats.purges += 1
        if self.announce is not None:
            self.announce(purge, True)
        ended = 0
        if self.shared is not None:
            self.shared.ordered(purge)
        for found in self.purge_in_slices(purge):
            ended += found
            await asyncio.sleep(0)
        return ended

    def apply_purge(self, purge: Purge) -> int:
        """Apply a purge, whoever ordered it, at once. Nothing that was asked for before is fresh after this."""
        return sum(self.purge_in_slices(purge))

    def purge_in_slices(self, purge: Purge) -> Iterator[int]:
        """The same with pauses, in which others may have the loop. Gives how many responses ended before each.

        From the first slice on nothing that was asked for before is stored as fresh.
        """
        if purge.kind == "url" and not purge.is_soft:
            self.invalidations.add(purge.value)
            self.flights.forget_key(purge.value)  # its variants have other keys from now on (key.py)
        else:
            self.invalidations.now += 1
            self.purges.add(purge, self.invalidations.now)
            # whatever is under way was asked before, and nobody knows its tags yet: those who come now ask anew, and
            # those who wait still get it
            self.flights.forget_covered(purge)
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
                    expire(entry, now, must_validate=purge.must_validate)
                else:
                    self.store.remove(entry)
                self.flights.forget_key(entry.key)
            self.stats.purged += ended
            yield ended

    def learn_uncacheable(self, key: Key, now: float) -> bool:
        """The next requests for `key` need not wait for each other. Bounded; a collision only costs a collapse.

        True: that was not known.
        """
        mark = hash(key)
        is_news = self._uncacheable.get(mark, 0.0) <= now
        self._uncacheable[mark] = now + UNCACHEABLE_S
        self._uncacheable.move_to_end(mark)
        if len(self._uncacheable) > _MAX_UNCACHEABLE:
            self._uncacheable.popitem(last=False)
        return is_news

    def is_uncacheable(self, key: Key, now: float) -> bool:
        return self._uncacheable.get(hash(key), 0.0) > now

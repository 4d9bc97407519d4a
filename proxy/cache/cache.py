"""Cache: the owner of everything that is stored or on its way in. One per process; it outlives every reload."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from proxy.cache.entry import Entry
from proxy.cache.flights import Flights
from proxy.cache.freshness import Index
from proxy.cache.invalidation import Invalidations
from proxy.cache.memory_store import MemoryStore
from proxy.cache.settings import CacheSettings
from proxy.cache.stats import CacheStats

if TYPE_CHECKING:
    from proxy.exchange import Exchange
    from proxy.http.message import Response

Key = bytes
UNCACHEABLE_S: Final = 10.0  # how long it is remembered that waiting for one another is of no use
_MAX_UNCACHEABLE: Final = 8192


class Cache:
    """What the stages of the line share. `refresh` fetches in the background; the pipeline provides it."""

    __slots__ = ("_uncacheable", "flights", "invalidations", "max_entry_bytes", "refresh", "stats", "store")

    def __init__(
        self, settings: CacheSettings, refresh: Callable[[Exchange], Awaitable[Response]] | None = None
    ) -> None:
        self.stats = CacheStats()
        self.store = MemoryStore(settings.memory, self.stats)
        self.flights = Flights()
        self.invalidations = Invalidations()
        self.refresh = refresh
        self.max_entry_bytes = settings.max_entry
        self._uncacheable: OrderedDict[int, float] = OrderedDict()  # hash of the key -> monotonic

    def __repr__(self) -> str:
        return f"<Cache {self.entries} entries, {self.bytes} bytes, {len(self.flights)} flights>"

    @property
    def bytes(self) -> int:
        """In use, content on its way in included."""
        return self.store.used_bytes

    @property
    def entries(self) -> int:
        return len(self.store)

    def apply(self, settings: CacheSettings) -> None:
        """Take over changed settings after a reload. What is stored is kept, as far as it fits."""
        self.max_entry_bytes = settings.max_entry
        self.store.resize(settings.memory)

    def keep(self, entry: Entry, request_index: Index, began: int) -> bool:
        """Store a complete response. `began` is `invalidations.now` of when its request set out."""
        if not self.invalidations.spares(entry.key, began):
            return False
        if len(entry.body) > self.max_entry_bytes or not self.store.put(entry, request_index):
            return False
        self.stats.stored += 1
        self._uncacheable.pop(hash(entry.key), None)
        return True

    def invalidate(self, key: Key) -> None:
        """Nothing that was asked for before now may be used for `key` again."""
        self.invalidations.add(key)
        self.store.remove_key(key)
        self.flights.forget_key(key)

    def learn_uncacheable(self, key: Key, now: float) -> None:
        """The next requests for `key` need not wait for each other. Bounded; a collision only costs a collapse."""
        mark = hash(key)
        self._uncacheable[mark] = now + UNCACHEABLE_S
        self._uncacheable.move_to_end(mark)
        if len(self._uncacheable) > _MAX_UNCACHEABLE:
            self._uncacheable.popitem(last=False)

    def is_uncacheable(self, key: Key, now: float) -> bool:
        return self._uncacheable.get(hash(key), 0.0) > now

"""MemoryStore: stored responses in this process, within a hard budget of bytes.

What counts is everything: keys, heads, content, the tables, and content that is still coming in (`reserve`). What has
to go is chosen by S3-FIFO (Yang et al., SOSP 2023): new entries wait in a small queue, those that are used there move
to the main one, and one that comes back soon after it went is let into the main queue at once. A hit only counts up,
so that it costs nothing to be popular.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from proxy.cache.entry import Entry
from proxy.cache.freshness import Index
from proxy.cache.selecting import selection
from proxy.cache.stats import CacheStats

MAX_VARIANTS: Final = 32  # stored responses under one key; Vary: User-Agent would otherwise never end
_SMALL_SHARE: Final = 10  # the small queue's part of the budget is one tenth, as in the paper
_MAX_USES: Final = 3  # how often an unused entry may pass through the main queue, as in the paper
_PROVEN_USES: Final = 2  # uses in the small queue that open the main one
_NOWHERE, _SMALL, _MAIN = 0, 1, 2
_MIN_GHOSTS: Final = 64


class MemoryStore:
    """The table of entries. Nothing here waits; nothing reads a clock."""

    __slots__ = (
        "_ghosts",
        "_main",
        "_reserved_bytes",
        "_small",
        "_small_bytes",
        "budget_bytes",
        "shelves",
        "stats",
        "stored_bytes",
    )

    def __init__(self, budget_bytes: int, stats: CacheStats) -> None:
        self.shelves: dict[bytes, list[Entry]] = {}  # key -> variants, newest first, never empty; read by the hot path
        self.budget_bytes = budget_bytes
        self.stats = stats
        self.stored_bytes = 0
        self._reserved_bytes = 0
        self._small: OrderedDict[Entry, None] = OrderedDict()
        self._small_bytes = 0
        self._main: OrderedDict[Entry, None] = OrderedDict()
        self._ghosts: OrderedDict[int, None] = OrderedDict()  # hashes of what was evicted unused

    def __len__(self) -> int:
        return len(self._small) + len(self._main)

    @property
    def used_bytes(self) -> int:
        """Stored and reserved; never more than the budget."""
        return self.stored_bytes + self._reserved_bytes

    def put(self, entry: Entry, request_index: Index) -> bool:
        """Store `entry` in place of the variants that its request selects. False when it has no room."""
        shelf = self.shelves.get(entry.key)
        if shelf is not None:
            # RFC 9111 §4.1: it replaces what the request would have been answered with, and no other variant
            for old in [old for old in shelf if selection(old.vary, request_index) == old.selection]:
                self.remove(old)
        if not self._make_room(entry.size_bytes):
            return False
        ghost = _ghost(entry)
        if ghost in self._ghosts:
            del self._ghosts[ghost]
            self._enqueue(entry, _MAIN)
        else:
            self._enqueue(entry, _SMALL)
        self.stored_bytes += entry.size_bytes
        # room was made before: eviction may have taken the last of the other variants, and their list with it
        shelf = self.shelves.setdefault(entry.key, [])
        shelf.insert(0, entry)
        if len(shelf) > MAX_VARIANTS:
            self.stats.evicted += 1
            self.remove(shelf[-1])
        return True

    def remove(self, entry: Entry) -> None:
        """Forget one stored response. Without effect when it is gone already."""
        if entry.queue == _NOWHERE:
            return
        self._dequeue(entry)
        self.stored_bytes -= entry.size_bytes
        shelf = self.shelves[entry.key]
        shelf.remove(entry)
        if not shelf:
            del self.shelves[entry.key]

    def remove_key(self, key: bytes) -> None:
        """Forget all variants."""
        for entry in self.shelves.get(key, ())[:]:
            self.remove(entry)

    def reserve(self, size_bytes: int) -> bool:
        """Room for content that is coming in; False when there is none, and nothing was reserved then."""
        if not self._make_room(size_bytes):
            return False
        self._reserved_bytes += size_bytes
        return True

    def unreserve(self, size_bytes: int) -> None:
        self._reserved_bytes -= size_bytes

    def resize(self, budget_bytes: int) -> None:
        """Take over another budget; what is too much goes at once."""
        self.budget_bytes = budget_bytes
        while self.used_bytes > budget_bytes and len(self):
            self._evict()

    def _make_room(self, size_bytes: int) -> bool:
        if size_bytes + self._reserved_bytes > self.budget_bytes:
            return False  # not even an empty store would have the room: evict nothing for it
        while self.used_bytes + size_bytes > self.budget_bytes:
            self._evict()
        return True

    def _evict(self) -> None:
        """One step: an entry goes, or moves to where it is safer. Every entry can only move a few times."""
        if self._small and (self._small_bytes * _SMALL_SHARE >= self.budget_bytes or not self._main):
            entry = next(iter(self._small))
            if entry.uses >= _PROVEN_USES:
                # what it has earned it keeps: else the first of many that move at once would be the next to go
                entry.uses = min(entry.uses, _MAX_USES)
                self._dequeue(entry)
                self._enqueue(entry, _MAIN)
                return
            self._remember(_ghost(entry))
        else:
            entry = next(iter(self._main))
            if entry.uses:
                entry.uses = min(entry.uses, _MAX_USES) - 1
                self._main.move_to_end(entry)
                return
        self.remove(entry)
        self.stats.evicted += 1

    def _remember(self, ghost: int) -> None:
        self._ghosts[ghost] = None
        if len(self._ghosts) > max(_MIN_GHOSTS, len(self)):
            self._ghosts.popitem(last=False)

    def _enqueue(self, entry: Entry, queue: int) -> None:
        entry.queue = queue
        if queue == _SMALL:
            self._small[entry] = None
            self._small_bytes += entry.size_bytes
        else:
            self._main[entry] = None

    def _dequeue(self, entry: Entry) -> None:
        if entry.queue == _SMALL:
            del self._small[entry]
            self._small_bytes -= entry.size_bytes
        else:
            del self._main[entry]
        entry.queue = _NOWHERE


def _ghost(entry: Entry) -> int:
    return hash((entry.key, entry.selection))

"""MemoryStore: stored responses in this process, within a hard budget of bytes.

What counts is everything: keys, heads, content, tags, the tables, and content that is still coming in (`reserve`). What
has to go is chosen by S3-FIFO (Yang et al., SOSP 2023): new entries wait in a small queue, those that are used there
move to the main one, and one that comes back soon after it went is let into the main queue at once. A hit only counts
up, so that it costs nothing to be popular.
"""

from __future__ import annotations

from collections import OrderedDict
from sys import getsizeof
from typing import TYPE_CHECKING, Final

from proxy.cache.entry import Entry
from proxy.cache.freshness import Index
from proxy.cache.key import uri_of
from proxy.cache.selecting import selection
from proxy.cache.stats import NO_ROUTE, CacheStats, RouteCacheStats
from proxy.cache.tags import UNKNOWN, Tags

if TYPE_CHECKING:
    from proxy.cache.purges.purge import Purge

MAX_VARIANTS: Final = 32  # stored responses under one key; Vary: User-Agent would otherwise never end
_SMALL_SHARE: Final = 10  # the small queue's part of the budget is one tenth, as in the paper
_MAX_USES: Final = 3  # how often an unused entry may pass through the main queue, as in the paper
_PROVEN_USES: Final = 2  # uses in the small queue that open the main one
_NOWHERE, _SMALL, _MAIN = 0, 1, 2
_MIN_GHOSTS: Final = 64
# measured with tracemalloc, as those of entry.py
_OF_A_TAG_BYTES: Final = 400  # its name, its place in the table, a set with a few entries
_TAGGED_BYTES: Final = 160  # an entry's place in the set of one tag, and the tag's place in the entry's tuple
_OF_A_URI: Final = b"\n"  # begins no tag, for no field has it: what follows is the URI of a key that has parts
_LOOSE_BYTES: Final = 600  # a set takes more than this for each entry in it only after most have left


class _Place:
    """What the store keeps beside an entry."""

    __slots__ = ("base_uses", "route", "size_bytes", "tags")

    def __init__(self, base_uses: int, size_bytes: int, tags: Tags, route: RouteCacheStats) -> None:
        self.base_uses = base_uses  # of `entry.uses`, those that no longer count
        self.size_bytes = size_bytes  # as it was counted; the entry's own, and its tags'
        self.tags = tags
        self.route = route


class MemoryStore:
    """The table of entries. Nothing here waits; nothing reads a clock."""

    __slots__ = (
        "_ghosts",
        "_main",
        "_reserved_bytes",
        "_small",
        "_small_bytes",
        "_tagged",
        "budget_bytes",
        "shelves",
        "stats",
        "stored_bytes",
        "tags_bytes",
    )

    def __init__(self, budget_bytes: int, stats: CacheStats) -> None:
        self.shelves: dict[bytes, list[Entry]] = {}  # key -> variants, newest first, never empty; read by the hot path
        self.budget_bytes = budget_bytes
        self.stats = stats
        self.stored_bytes = 0  # entries, with their places in the sets of tags
        self.tags_bytes = 0  # tags themselves, each counted once
        self._reserved_bytes = 0
        self._small: OrderedDict[Entry, _Place] = OrderedDict()
        self._small_bytes = 0
        self._main: OrderedDict[Entry, _Place] = OrderedDict()
        self._ghosts: OrderedDict[int, None] = OrderedDict()  # hashes of what was evicted unused
        self._tagged: dict[bytes, set[Entry]] = {}  # tag -> entries, never empty

    def __len__(self) -> int:
        return len(self._small) + len(self._main)

    @property
    def used_bytes(self) -> int:
        """Stored and reserved; never more than the budget."""
        return self.stored_bytes + self.tags_bytes + self._reserved_bytes

    @property
    def reserved_bytes(self) -> int:
        """Of content that is coming in."""
        return self._reserved_bytes

    @property
    def small_bytes(self) -> int:
        """Of entries in the small queue: those that have not proven themselves yet."""
        return self._small_bytes

    @property
    def tags(self) -> int:
        """How many different ones there are, URIs with variants by user, tenant, field or cookie included."""
        return len(self._tagged)

    def put(self, entry: Entry, request_index: Index, tags: Tags = (), route: RouteCacheStats | None = None) -> bool:
        """Store `entry` in place of the variants that its request selects. False when it has no room.

        Uses and queue are taken over: what is refreshed is as popular as it was.
        """
        kept = None if isinstance(entry.body, bytes) else entry.body
        if kept is not None and not kept.hold():
            return False
        shelf = self.shelves.get(entry.key)
        base_uses, queue = entry.uses, _NOWHERE
        if shelf is not None:
            # RFC 9111 §4.1: it replaces what the request would have been answered with, and no other variant
            for old in [old for old in shelf if selection(old.vary, request_index) == old.selection]:
                place = self._place(old)
                if old.uses >= entry.uses:
                    entry.uses = old.uses
                    base_uses = max(place.base_uses, old.uses - _MAX_USES)
                queue = max(queue, old.queue)
                self.remove(old)
        uri = uri_of(entry.key)
        if uri != entry.key:
            tags = (*tags, _OF_A_URI + uri)  # one of the variants that a route makes of it
        size_bytes = entry.size_bytes + _TAGGED_BYTES * len(tags)
        # as if all tags were new: making room may take the last other entry that has one of them
        if not self._make_room(size_bytes + sum([len(tag) + _OF_A_TAG_BYTES for tag in tags])):
            if kept is not None:
                kept.release()
            return False
        if kept is not None:
            kept.entry = entry
        ghost = _ghost(entry)
        if ghost in self._ghosts:
            del self._ghosts[ghost]
            queue = _MAIN
        place = _Place(base_uses, size_bytes, tags, route or self.stats.of(NO_ROUTE))
        self._enqueue(entry, place, queue or _SMALL)
        self._count_in(entry, place)
        # room was made before: eviction may have taken the last of the other variants, and their list with it
        shelf = self.shelves.setdefault(entry.key, [])
        shelf.insert(0, entry)
        if len(shelf) > MAX_VARIANTS:
            self._drop(shelf[-1])
        return True

    def remove(self, entry: Entry) -> None:
        """Forget one stored response. Without effect when it is gone already."""
        if entry.queue == _NOWHERE:
            return
        self._count_out(entry, self._dequeue(entry))
        shelf = self.shelves[entry.key]
        shelf.remove(entry)
        if not shelf:
            del self.shelves[entry.key]
        if not isinstance(entry.body, bytes):
            if entry.body.entry is entry:
                entry.body.entry = None
            entry.body.release()

    def evict(self, entry: Entry) -> None:
        """Forget one for want of room. Without effect when it is gone already."""
        if entry.queue != _NOWHERE:
            self._drop(entry)

    def remove_key(self, key: bytes) -> None:
        """Forget all variants."""
        for entry in self.shelves.get(key, ())[:]:
            self.remove(entry)

    def tags_of(self, entry: Entry) -> Tags:
        """Of an entry that is stored; empty when it is not."""
        if entry.queue == _NOWHERE:
            return ()
        tags = self._place(entry).tags
        return tags[:-1] if tags and tags[-1][:1] == _OF_A_URI else tags

    def is_proven(self, entry: Entry) -> bool:
        """It is in the main queue: it was used again before others of its time went."""
        return entry.queue == _MAIN

    def covered_by(self, purge: Purge) -> list[Entry]:
        """Everything stored that `purge` is about. As many steps as there are such entries, or keys for a prefix."""
        if purge.kind == "url":
            return [*self.shelves.get(purge.value, ()), *self._tagged.get(_OF_A_URI + purge.value, ())]
        if purge.kind == "tag":
            tagged = self._tagged.get(purge.value, frozenset()) | self._tagged.get(UNKNOWN, frozenset())
            return [entry for entry in tagged if purge.reaches(entry.key)]
        start = purge.value
        return [entry for key, shelf in self.shelves.items() if key.startswith(start) for entry in shelf]

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
            entry, place = next(iter(self._small.items()))
            uses = entry.uses - place.base_uses
            if uses >= _PROVEN_USES:
                # what it has earned it keeps: else the first of many that move at once would be the next to go
                place.base_uses = entry.uses - min(uses, _MAX_USES)
                self._dequeue(entry)
                self._enqueue(entry, place, _MAIN)
                return
            self._remember(_ghost(entry))
        else:
            entry, place = next(iter(self._main.items()))
            uses = entry.uses - place.base_uses
            if uses:
                place.base_uses = entry.uses - min(uses, _MAX_USES) + 1
                self._main.move_to_end(entry)
                return
        self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        self.stats.evicted += 1
        self._place(entry).route.evicted += 1
        self.remove(entry)

    def _remember(self, ghost: int) -> None:
        self._ghosts[ghost] = None
        if len(self._ghosts) > max(_MIN_GHOSTS, len(self)):
            self._ghosts.popitem(last=False)

    def _place(self, entry: Entry) -> _Place:
        return (self._small if entry.queue == _SMALL else self._main)[entry]

    def _enqueue(self, entry: Entry, place: _Place, queue: int) -> None:
        entry.queue = queue
        if queue == _SMALL:
            self._small[entry] = place
            self._small_bytes += place.size_bytes
        else:
            self._main[entry] = place

    def _dequeue(self, entry: Entry) -> _Place:
        if entry.queue == _SMALL:
            place = self._small.pop(entry)
            self._small_bytes -= place.size_bytes
        else:
            place = self._main.pop(entry)
        entry.queue = _NOWHERE
        return place

    def _count_in(self, entry: Entry, place: _Place) -> None:
        self.stored_bytes += place.size_bytes
        place.route.entries += 1
        place.route.bytes += place.size_bytes
        for tag in place.tags:
            tagged = self._tagged.get(tag)
            if tagged is None:
                tagged = self._tagged[tag] = set()
                self.tags_bytes += len(tag) + _OF_A_TAG_BYTES
            tagged.add(entry)

    def _count_out(self, entry: Entry, place: _Place) -> None:
        self.stored_bytes -= place.size_bytes
        place.route.entries -= 1
        place.route.bytes -= place.size_bytes
        for tag in place.tags:
            tagged = self._tagged[tag]
            tagged.remove(entry)
            if not tagged:
                del self._tagged[tag]
                self.tags_bytes -= len(tag) + _OF_A_TAG_BYTES
            elif getsizeof(tagged) > _LOOSE_BYTES * (len(tagged) + 1):
                self._tagged[tag] = set(tagged)  # a set keeps the size that it once had


def _ghost(entry: Entry) -> int:
    return hash((entry.key, entry.selection))

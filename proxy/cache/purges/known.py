"""Purges: which purges there have been, so that a response which is older than one is not taken for a new one."""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict
from typing import Final

from proxy.cache.key import uri_of
from proxy.cache.purges.purge import Fate, Purge
from proxy.cache.tags import UNKNOWN, Tags

MAX_EXACT: Final = 8192  # URLs and tags
MAX_PREFIXES: Final = 256
MAX_BYTES: Final = 1024 * 1024  # of either
_BUCKETS: Final = 1 << 14

_Address = tuple[str, bytes, bytes]  # kind, origin, value
_Stamp = list[int]  # the numbers of the last hard purge and of the last soft one


class Purges:
    """By what they cover, each with a number that grows. Memory is bounded, and no look takes long:

    what is asked for is found by its URL, by each of its tags, and by each length that a prefix has. URLs and tags that
    are too many to be remembered one by one share a number with others (`_BUCKETS`), and what they cover counts as
    purged hard; prefixes that are too many, and a hard purge of everything, move the floor: what is older than that
    counts as purged.
    """

    __slots__ = (
        "_bytes",
        "_coarse",
        "_exact",
        "_last_tag",
        "_lengths",
        "_prefix_bytes",
        "_prefixes",
        "_soft_all",
        "floor",
        "latest",
    )

    def __init__(self, floor: int = 0) -> None:
        self.floor = self.latest = floor
        self._exact: OrderedDict[_Address, _Stamp] = OrderedDict()  # oldest first
        self._bytes = 0
        self._coarse = array("q", bytes(8 * _BUCKETS))
        self._prefixes: OrderedDict[bytes, _Stamp] = OrderedDict()
        self._prefix_bytes = 0
        self._lengths: Counter[int] = Counter()  # of the prefixes
        self._soft_all = 0
        self._last_tag: _Stamp = [0, 0]  # whichever it was

    def __len__(self) -> int:
        return len(self._exact) + len(self._prefixes)

    @property
    def size_bytes(self) -> int:
        """Of the names that are remembered."""
        return self._bytes + self._prefix_bytes

    def add(self, purge: Purge, number: int) -> None:
        """The order in which they are added makes no difference, and neither does adding one twice."""
        self.latest = max(self.latest, number)
        # what may only be used once it is confirmed is, for a response that is on its way, as good as gone
        which = 1 if purge.is_soft and not purge.must_validate else 0
        if purge.kind == "all":
            if which:
                self._soft_all = max(self._soft_all, number)
            else:
                self._raise_floor(number)
        elif purge.kind == "prefix":
            self._add_prefix(purge.value, which, number)
        else:
            if purge.kind == "tag":
                self._last_tag[which] = max(self._last_tag[which], number)
            self._add_exact((purge.kind, purge.origin, purge.value), which, number)

    def fate(self, key: bytes, tags: Tags, began: int) -> Fate:
        """What becomes of a response whose request set out when `began` was the number of the latest purge."""
        if began >= self.latest:
            return Fate.KEEP
        if began < self.floor:
            return Fate.DROP
        uri = uri_of(key)
        addresses: list[_Address] = [("url", b"", uri)]
        if tags:
            if UNKNOWN in tags and self._last_tag[0] > began:
                return Fate.DROP
            origin = uri[: uri.find(b"/", uri.find(b"://") + 3)]
            for tag in tags:
                addresses += ("tag", b"", tag), ("tag", origin, tag)
        stamps = []
        for address in addresses:
            if self._coarse[hash(address) % _BUCKETS] > began:
                return Fate.DROP
            if (stamp := self._exact.get(address)) is not None:
                stamps.append(stamp)
        for length in self._lengths:
            if (stamp := self._prefixes.get(key[:length])) is not None:
                stamps.append(stamp)
        if any([stamp[0] > began for stamp in stamps]):
            return Fate.DROP
        is_soft = self._soft_all > began or (UNKNOWN in tags and self._last_tag[1] > began)
        return Fate.EXPIRE if is_soft or any([stamp[1] > began for stamp in stamps]) else Fate.KEEP

    def _raise_floor(self, number: int) -> None:
        self.floor = max(self.floor, number)

    def _add_exact(self, address: _Address, which: int, number: int) -> None:
        stamp = self._exact.pop(address, None)
        if stamp is None:
            stamp = [0, 0]
            self._bytes += len(address[2])
        stamp[which] = max(stamp[which], number)
        self._exact[address] = stamp
        while len(self._exact) > MAX_EXACT or self._bytes > MAX_BYTES:
            oldest, stamp = self._exact.popitem(last=False)
            self._bytes -= len(oldest[2])
            bucket = hash(oldest) % _BUCKETS
            self._coarse[bucket] = max(self._coarse[bucket], *stamp)

    def _add_prefix(self, prefix: bytes, which: int, number: int) -> None:
        stamp = self._prefixes.pop(prefix, None)
        if stamp is None:
            stamp = [0, 0]
            self._prefix_bytes += len(prefix)
            self._lengths[len(prefix)] += 1
        stamp[which] = max(stamp[which], number)
        self._prefixes[prefix] = stamp
        while len(self._prefixes) > MAX_PREFIXES or self._prefix_bytes > MAX_BYTES:
            oldest, stamp = self._prefixes.popitem(last=False)
            self._prefix_bytes -= len(oldest)
            self._lengths[len(oldest)] -= 1
            if not self._lengths[len(oldest)]:
                del self._lengths[len(oldest)]
            self._raise_floor(max(stamp))

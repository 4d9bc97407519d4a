"""Purge: an order that what is stored, and what is on its way in, may not be used as fresh any more.

A hard purge forgets. A soft one leaves what is stored, stale from now on: it may be given while it is fetched anew and
when the origin fails, as far as that was allowed before.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, unique
from typing import TYPE_CHECKING, Final, Literal

from proxy.cache.key import uri_of
from proxy.cache.tags import UNKNOWN, Tags

if TYPE_CHECKING:
    from proxy.cache.entry import Entry

Kind = Literal["all", "prefix", "tag", "url"]
_MAX_REMEMBERED: Final = 1024
_MAX_REMEMBERED_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Purge:
    """Which responses. `value` is a URI as in keys, the beginning of keys, or a tag; nothing for `all`.

    A URI stands for all its variants: by Vary, and by what a route adds to its keys.

    `origin` keeps a tag to one origin, such as `http://example.com` (RFC 9875 §2: groups never reach across).
    """

    kind: Kind
    value: bytes = b""
    is_soft: bool = False
    origin: bytes = b""

    def covers(self, key: bytes, tags: Tags) -> bool:
        """A response stored under `key` with these tags is one of them."""
        if self.kind == "url":
            return uri_of(key) == self.value
        if self.kind == "prefix":
            return key.startswith(self.value)
        if self.kind == "tag":
            return (self.value in tags or UNKNOWN in tags) and self.reaches(key)
        return True

    def reaches(self, key: bytes) -> bool:
        """`key` is of the one origin that is meant, if it is one."""
        return not self.origin or key.startswith(self.origin + b"/")


@unique
class Fate(Enum):
    """What becomes of a response that was asked for before a purge and comes after it."""

    KEEP = "keep"
    EXPIRE = "expire"  # stored, stale from the beginning
    DROP = "drop"  # not stored


class Purges:
    """The purges of late, in their order, so that a response which was on its way then is not taken for a new one.

    Bounded in number and in bytes: what was asked for before everything that is remembered counts as purged.
    """

    __slots__ = ("_bytes", "_floor", "_numbers")

    def __init__(self) -> None:
        self._numbers: OrderedDict[Purge, int] = OrderedDict()  # oldest first
        self._floor = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, purge: Purge, number: int) -> None:
        """`number` is larger than that of every purge before."""
        if self._numbers.pop(purge, None) is None:
            self._bytes += len(purge.value)
        self._numbers[purge] = number
        while len(self._numbers) > _MAX_REMEMBERED or self._bytes > _MAX_REMEMBERED_BYTES:
            oldest, self._floor = self._numbers.popitem(last=False)
            self._bytes -= len(oldest.value)

    def fate(self, key: bytes, tags: Tags, began: int) -> Fate:
        """What becomes of a response whose request set out when `began` was the number of the latest purge."""
        if began < self._floor:
            return Fate.DROP
        found = Fate.KEEP
        for purge, number in reversed(self._numbers.items()):
            if number <= began:
                break
            if purge.covers(key, tags):
                if not purge.is_soft:
                    return Fate.DROP
                found = Fate.EXPIRE
        return found


def expire(entry: Entry, now: float) -> None:
    """Make `entry` stale from now on, and no staler: the time for which it may be used stale begins here."""
    age_s = now - entry.born_at
    if entry.fresh_s > age_s:
        entry.fresh_s = max(0.0, age_s)
        entry.retry_at = 0.0
        entry.hit_text(-1)  # what it says of its freshness is made anew at the next use: no age is negative

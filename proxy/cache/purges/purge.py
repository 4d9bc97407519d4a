"""Purge: an order that what is stored, and what is on its way in, may not be used as fresh any more.

A hard purge forgets. A soft one leaves what is stored, stale from now on: it may be given while it is fetched anew and
when the origin fails, as far as that was allowed before.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique
from typing import TYPE_CHECKING, Literal

from proxy.cache.key import uri_of
from proxy.cache.tags import UNKNOWN, Tags

if TYPE_CHECKING:
    from proxy.cache.entry import Entry

Kind = Literal["all", "prefix", "tag", "url"]


@dataclass(frozen=True, slots=True)
class Purge:
    """Which responses. `value` is a URI as in keys, the beginning of keys, or a tag; nothing for `all`.

    A URI stands for all its variants: by Vary, and by what a route adds to its keys.

    `origin` keeps a tag to one origin, such as `http://example.com` (RFC 9875 §2: groups never reach across).

    `must_validate` is for a soft one: nothing of what it covers is used before the origin has confirmed it, unless the
    origin fails.
    """

    kind: Kind
    value: bytes = b""
    is_soft: bool = False
    origin: bytes = b""
    must_validate: bool = False

    def covers(self, key: bytes, tags: Tags) -> bool:
        """A response stored under `key` with these tags is one of them."""
        if self.kind == "url":
            return uri_of(key) == self.value
        if self.kind == "prefix":
            return key.startswith(self.value)
        if self.kind == "tag":
            return (self.value in tags or UNKNOWN in tags) and self.reaches(key)
        return True

    def may_cover(self, key: bytes) -> bool:
        """The same where nobody knows the tags yet."""
        if self.kind == "tag":
            return self.reaches(key)
        return self.covers(key, ())

    def reaches(self, key: bytes) -> bool:
        """`key` is of the one origin that is meant, if it is one."""
        return not self.origin or key.startswith(self.origin + b"/")


@unique
class Fate(Enum):
    """What becomes of a response that was asked for before a purge and comes after it."""

    KEEP = "keep"
    EXPIRE = "expire"  # stored, stale from the beginning
    DROP = "drop"  # not stored


def expire(entry: Entry, now: float, *, must_validate: bool = False) -> None:
    """Make `entry` stale from now on, and no staler: the time for which it may be used stale begins here.

    With `must_validate` it is not used stale while it is fetched anew.
    """
    if must_validate:
        entry.revalidate_s = 0.0
    age_s = now - entry.born_at
    if entry.fresh_s > age_s:
        entry.fresh_s = max(0.0, age_s)
        entry.retry_at = 0.0
        entry.hit_text(-1)  # what it says of its freshness is made anew at the next use: no age is negative

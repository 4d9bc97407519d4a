"""Counters of the cache: plain numbers that the stages count up and the collector reads."""

from __future__ import annotations


class CacheStats:
    """Of each request on a cached route exactly one of the first four counts."""

    __slots__ = ("bypass", "collapsed", "evicted", "hits", "misses", "stale", "stored")

    def __init__(self) -> None:
        self.hits = 0  # answered from a fresh response
        self.stale = 0  # answered from a stale one
        self.misses = 0  # fetched, or validated
        self.bypass = 0  # not for the cache
        self.stored = 0  # responses stored, refreshed ones included
        self.evicted = 0  # responses that went for want of room
        self.collapsed = 0  # requests that waited for the fetch of another one

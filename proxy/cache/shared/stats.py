"""Counters of the second tier, plain numbers that the collector reads."""

from __future__ import annotations


class SharedStats:
    """Of each miss in memory on a route that shares exactly one of `lookups` counts."""

    __slots__ = ("lookups", "read_bytes", "unreadable", "waits", "writes", "written_bytes")

    def __init__(self) -> None:
        # hit: usable at once; stale: only to be validated; miss: nothing, or nothing that may be used;
        # error: no answer in time; skipped: the store is away, or what other Weirs ended is not known
        self.lookups = dict.fromkeys(("hit", "stale", "miss", "error", "skipped"), 0)
        # kept; fenced: somebody else was asked meanwhile; dropped: too much waits to be written; failed: no answer
        self.writes = dict.fromkeys(("kept", "fenced", "dropped", "failed"), 0)
        self.waits = 0  # for the fetch of another Weir
        self.unreadable = 0  # values of another version, or broken ones
        self.read_bytes = 0
        self.written_bytes = 0

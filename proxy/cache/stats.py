"""Counters of the cache: plain numbers that the stages count up and the collector reads."""

from __future__ import annotations

from typing import Final

MAX_ROUTES: Final = 500  # names; what else there is counts together
MAX_OUTCOMES: Final = 64  # of one route
OTHER: Final = "_other"
NO_ROUTE: Final = "-"

Outcome = tuple[str, str]
"""(result, reason): hit, stale, collapsed, miss or bypass, and why in one word, or `-`."""

_HIT: Final[Outcome] = ("hit", "-")
_STALE: Final[Outcome] = ("stale", "revalidating")
_OVERFLOW: Final[Outcome] = (OTHER, OTHER)
_ON_ERROR: Final = b"stale-if-error"


class CacheStats:
    """Of each request on a cached route exactly one of the first four counts."""

    __slots__ = ("bypass", "collapsed", "evicted", "hits", "misses", "purged", "purges", "routes", "stale", "stored")

    def __init__(self) -> None:
        self.hits = 0  # answered from a fresh response
        self.stale = 0  # answered from a stale one
        self.misses = 0  # fetched, or validated
        self.bypass = 0  # not for the cache
        self.stored = 0  # responses stored, refreshed ones included
        self.evicted = 0  # responses that went for want of room
        self.collapsed = 0  # requests that waited for the fetch of another one
        self.purges = 0  # orders to purge
        self.purged = 0  # responses that they ended
        self.routes: dict[str, RouteCacheStats] = {}

    def of(self, route: str) -> RouteCacheStats:
        """The counters of a route, by its name: the same ones after every reload."""
        found = self.routes.get(route)
        if found is None:
            if len(self.routes) >= MAX_ROUTES:
                route = OTHER
            found = self.routes.setdefault(route, RouteCacheStats())
        return found

    def note(self, route: str, said: bytes) -> None:
        """One exchange has ended, and this is what was said of the cache's part in it (status.py)."""
        self.of(route).note(said)


class RouteCacheStats:
    """The same of one route: what became of its requests, and what it has in memory."""

    __slots__ = ("bytes", "entries", "evicted", "hits", "not_stored", "outcomes")

    def __init__(self) -> None:
        self.hits = 0  # apart from `outcomes`, for they are the most
        self.outcomes: dict[Outcome, int] = {}
        self.not_stored: dict[str, int] = {}  # fetched, and not stored, by reason
        self.entries = 0
        self.bytes = 0
        self.evicted = 0

    def note(self, said: bytes) -> None:
        outcome, word = outcome_of(said)
        if outcome == _HIT:
            self.hits += 1
            return
        if outcome not in self.outcomes and len(self.outcomes) >= MAX_OUTCOMES:
            outcome = _OVERFLOW
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if word:
            if word not in self.not_stored and len(self.not_stored) >= MAX_OUTCOMES:
                word = OTHER
            self.not_stored[word] = self.not_stored.get(word, 0) + 1

    def results(self) -> dict[Outcome, int]:
        """Every outcome that there was, with its count."""
        return ({_HIT: self.hits} if self.hits else {}) | self.outcomes


def outcome_of(said: bytes) -> tuple[Outcome, str]:
    """What a member of Cache-Status (RFC 9211) means for the counters, and why nothing was stored, if that is said."""
    kind, *parameters = said.split(b"; ")
    named = dict(parameter.partition(b"=")[::2] for parameter in parameters)
    detail = named.get(b"detail", b"")
    if kind == b"hit":
        if detail[:5] == b"stale" or named.get(b"ttl", b"")[:1] == b"-":
            return _STALE, ""
        return ("hit", detail.decode("latin-1") or "-"), ""
    reason = kind[4:].decode("latin-1")
    if reason == "bypass":
        return ("bypass", detail.decode("latin-1") or "-"), ""
    if reason == "method":
        return ("bypass", reason), ""
    if detail == _ON_ERROR:
        return ("stale", "error"), ""
    if b"collapsed" in named:
        return ("collapsed", reason), ""
    return ("miss", reason), detail.decode("latin-1")

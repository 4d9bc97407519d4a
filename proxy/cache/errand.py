"""Errand: why an exchange goes upstream, and its duty towards those who wait for what it brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.cache.cache import Cache
from proxy.cache.content import Content
from proxy.cache.entry import Entry
from proxy.cache.fill import DISK_FAILED, NO_ROOM, Fill
from proxy.cache.flights import Failure, Flight
from proxy.cache.freshness import Index
from proxy.cache.landing import Landing
from proxy.cache.policy import CachePolicy
from proxy.cache.reuse import Use
from proxy.cache.shared.listener import ALONE, LOOK, OWN
from proxy.cache.stats import NO_ROUTE
from proxy.cache.status import URI_MISS
from proxy.http.directives import Directives
from proxy.http.message import Response

if TYPE_CHECKING:
    from proxy.cache.shared.ticket import Ticket
    from proxy.cache.shared.tier import SharedTier

# these say something about the one request, or about this moment, not about the resource
_NOT_LEARNED: Final = frozenset(
    {b"authorization", b"error", b"not-final", b"partial", b"precondition", NO_ROOM, DISK_FAILED}
)


class Errand:
    """It stands in `exchange.flight` until the response is there. Every method is safe without a flight, and twice."""

    __slots__ = (
        "began",
        "cache",
        "directives",
        "entry",
        "flight",
        "forwarded",
        "has_waited",
        "is_from_shared",
        "key",
        "policy",
        "request_index",
        "route",
        "shared",
        "ticket",
        "use",
    )

    def __init__(
        self,
        cache: Cache,
        key: bytes,
        policy: CachePolicy,
        request_index: Index,
        directives: Directives,
        route: str = NO_ROUTE,
    ) -> None:
        self.cache = cache
        self.key = key
        self.policy = policy
        self.request_index = request_index
        self.directives = directives  # of the request
        self.route = route  # its name
        self.entry: Entry | None = None  # what the request selected
        self.use = Use.VALIDATE  # why that was not enough
        self.forwarded = URI_MISS  # the same for Cache-Status
        self.flight: Flight | None = None  # led by this exchange
        self.has_waited = False
        self.shared: SharedTier | None = cache.shared if policy.is_shared else None  # until it was asked
        self.ticket: Ticket | None = None  # what it owes the other Weirs; every end of the errand ends it
        self.is_from_shared = False  # what is stored was in another Weir's memory first
        self.began = cache.invalidations.now

    @property
    def max_entry_bytes(self) -> int:
        """The largest content that is stored on this route."""
        own = self.policy.max_entry_bytes
        return self.cache.largest_bytes if own is None else min(own, self.cache.largest_bytes)

    def abandon(self) -> None:
        """Nothing will be brought: somebody else leads."""
        if self.ticket is not None:
            self.ticket.free(LOOK)
        flight, self.flight = self.flight, None
        if flight is not None:
            flight.abandon()

    def complete(self) -> None:
        """It can be looked up."""
        if self.ticket is not None:
            self.ticket.free(LOOK)
        flight, self.flight = self.flight, None
        if flight is not None:
            flight.complete()

    def release(self) -> None:
        """It is for nobody else."""
        if self.ticket is not None:
            self.ticket.free(OWN)
        flight, self.flight = self.flight, None
        if flight is not None:
            flight.release()

    def refuse(self, word: bytes, now: float) -> None:
        """What came is not stored, for this reason."""
        if word not in _NOT_LEARNED:
            if self.cache.learn_uncacheable(self.key, now):
                self.cache.flights.learn_fruitless(self.policy)
            if self.ticket is not None:
                self.ticket.free(ALONE, is_lasting=True)
        self.release()

    def fail(self, failure: Failure) -> None:
        """Nothing came."""
        if self.ticket is not None:
            self.ticket.free(OWN)
        flight, self.flight = self.flight, None
        if flight is not None:
            flight.fail(failure)

    def bring(self, entry: Entry, response: Response, now: float) -> None:
        """Store what came, now or when its content is whole. Puts a Fill into `response` while content follows."""
        content = response.content
        if content is None or isinstance(content, bytes):
            self._keep(entry, content or b"")
            return
        if self.ticket is not None:
            self.ticket.landed(content.length)
        delivery = _Delivery(self, entry, now)
        cache, largest = self.cache, self.max_entry_bytes
        in_memory = min(largest, cache.max_entry_bytes)
        disk = cache.disk if largest > in_memory else None
        fill = Fill(content, cache.store, in_memory, delivery.whole, delivery.lost, disk, largest)
        response.content = fill.reader()
        self.cache.flights.learn(self.policy, entry.vary)
        fill.start()
        self._land(Landing(entry, fill), now)

    def keep(self, entry: Entry) -> bool:
        """Store a complete response, here and for the other Weirs. False: it has no room, or was ended meanwhile."""
        kept = self.cache.keep(entry, self.request_index, self.began, self.route)
        if kept and self.ticket is not None:
            self.ticket.keep(entry)
        return kept

    def _land(self, landing: Landing, now: float) -> None:
        flight = self.flight
        if flight is None:
            return  # it was whole at once, or is for nobody else
        entry = landing.entry
        if not self.cache.invalidations.spares(self.key, self.began):
            self.complete()  # those who wait may have come after the write: they look again
        elif landing.fill.is_open and now - entry.born_at < entry.fresh_s + entry.revalidate_s:
            flight.landed(landing)
        else:
            self.release()  # each of those who wait would have to ask anyway

    def _keep(self, entry: Entry, body: Content) -> None:
        cache = self.cache
        cache.flights.learn(self.policy, entry.vary)
        if self.keep(entry.filled(body)):
            self.complete()
        elif cache.has_spared(entry, self.began):
            self.release()  # no room: who waits would find nothing, and wait again
        else:
            self.complete()  # a write or a purge came between: one of those who wait asks anew


class _Delivery:
    """Waits for the content of an entry on behalf of its errand."""

    __slots__ = ("_entry", "_errand", "_now")

    def __init__(self, errand: Errand, entry: Entry, now: float) -> None:
        self._errand = errand
        self._entry = entry
        self._now = now

    def whole(self, body: Content) -> None:
        self._errand._keep(self._entry, body)

    def lost(self, why: BaseException | bytes) -> None:
        if isinstance(why, bytes):
            self._errand.refuse(why, self._now)
        else:
            self._errand.fail(Failure(why if isinstance(why, Exception) else None))

"""Errand: why an exchange goes upstream, and its duty towards those who wait for what it brings."""

from __future__ import annotations

from typing import Final

from proxy.cache.cache import Cache
from proxy.cache.entry import Entry
from proxy.cache.fill import Fill
from proxy.cache.flights import Failure, Flight
from proxy.cache.freshness import Index
from proxy.cache.policy import CachePolicy
from proxy.cache.reuse import Use
from proxy.cache.status import URI_MISS
from proxy.http.directives import Directives
from proxy.http.message import Response

# these say something about the one request, not about the resource
_NOT_LEARNED: Final = frozenset({b"authorization", b"not-final", b"partial", b"precondition"})


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
        "key",
        "policy",
        "request_index",
        "use",
    )

    def __init__(
        self, cache: Cache, key: bytes, policy: CachePolicy, request_index: Index, directives: Directives
    ) -> None:
        self.cache = cache
        self.key = key
        self.policy = policy
        self.request_index = request_index
        self.directives = directives  # of the request
        self.entry: Entry | None = None  # what the request selected
        self.use = Use.VALIDATE  # why that was not enough
        self.forwarded = URI_MISS  # the same for Cache-Status
        self.flight: Flight | None = None  # led by this exchange
        self.has_waited = False
        self.began = cache.invalidations.now

    def abandon(self) -> None:
        """Nothing will be brought: somebody else leads."""
        flight, self.flight = self.flight, None
        if flight is not None:
            flight.abandon()

    def complete(self) -> None:
        """It can be looked up."""
        flight, self.flight = self.flight, None
        if flight is not None:
            flight.complete()

    def release(self) -> None:
        """It is for nobody else."""
        flight, self.flight = self.flight, None
        if flight is not None:
            flight.release()

    def refuse(self, word: bytes, now: float) -> None:
        """What came is not stored, for this reason."""
        if word not in _NOT_LEARNED:
            self.cache.learn_uncacheable(self.key, now)
        self.release()

    def fail(self, failure: Failure) -> None:
        """Nothing came."""
        flight, self.flight = self.flight, None
        if flight is not None:
            flight.fail(failure)

    def bring(self, entry: Entry, response: Response, now: float) -> None:
        """Store what came, now or when its content is whole. Puts a Fill into `response` while content follows."""
        content = response.content
        if content is None or isinstance(content, bytes):
            self._keep(entry, content or b"")
            return
        delivery = _Delivery(self, entry, now)
        response.content = Fill(content, self.cache.store, self.cache.max_entry_bytes, delivery.whole, delivery.lost)
        if self.flight is None:
            return
        if entry.fresh_s > now - entry.born_at:
            self.flight.landed(entry.vary, self.request_index)
        else:
            self.release()  # each of those who wait would have to ask anyway

    def _keep(self, entry: Entry, body: bytes) -> None:
        self.cache.keep(entry.filled(body), self.request_index, self.began)
        self.complete()


class _Delivery:
    """Waits for the content of an entry on behalf of its errand."""

    __slots__ = ("_entry", "_errand", "_now")

    def __init__(self, errand: Errand, entry: Entry, now: float) -> None:
        self._errand = errand
        self._entry = entry
        self._now = now

    def whole(self, body: bytes) -> None:
        self._errand._keep(self._entry, body)

    def lost(self, error: BaseException | None) -> None:
        if error is None:
            self._errand.refuse(b"too-large", self._now)
        else:
            self._errand.fail(Failure(error if isinstance(error, Exception) else None))

"""One run: fetch a target as nobody in particular, and store it in the line that clients wait in.

It leads a flight under the target's key, so clients who come before the first good answer join it. What is stored is
only ever replaced by a success: an error leaves it alone, whichever status it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proxy.cache.arrival import receive
from proxy.cache.errand import Errand
from proxy.cache.flights import Failure
from proxy.cache.policy import FETCHED_AHEAD
from proxy.cache.reuse import Use, decide, select
from proxy.cache.stats import outcome_of
from proxy.cache.status import STALE, URI_MISS
from proxy.cache.tags import Tags
from proxy.cache.validation import belongs, conditions_for
from proxy.core.clock import monotonic
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.tasks import Run, start_now
from proxy.core.units import format_duration

if TYPE_CHECKING:
    from proxy.cache.cache import Cache
    from proxy.cache.entry import Entry
    from proxy.cache.precompute.target import Precompute, Target
    from proxy.exchange import Exchange
    from proxy.http.message import Response, Sink, Source

OVERTAKEN: Final = "a purge or a write came between"


class Outcome:
    """How a run ended."""

    __slots__ = ("bytes", "error", "status", "tags", "vary")

    def __init__(self) -> None:
        self.status: int | None = None  # of the answer; None when there was none
        self.error = ""  # nothing: it is stored
        self.bytes = 0  # of the content
        self.tags: Tags = ()
        self.vary: tuple[bytes, ...] = ()  # lower-case names of the selecting fields


class PrecomputeRun:
    """`done` is called once, with the outcome, from within `start` at the earliest. Not after `stop`."""

    __slots__ = (
        "_before",
        "_cache",
        "_deadline",
        "_done",
        "_errand",
        "_exchange",
        "_has_received",
        "_is_over",
        "_outcome",
        "_patience",
        "_run",
        "_tap",
        "_timeout_s",
    )

    def __init__(
        self,
        cache: Cache,
        precompute: Precompute,
        target: Target,
        exchange: Exchange,
        done: Callable[[Outcome], None],
    ) -> None:
        self._cache = cache
        self._exchange = exchange
        self._done = done
        self._timeout_s = precompute.numbers.timeout_s
        self._outcome = Outcome()
        self._errand = Errand(cache, target.key, precompute.policy, exchange.request.index, {}, precompute.name)
        self._before: Entry | None = None
        self._tap: _Tap | None = None
        self._has_received = False
        self._is_over = False
        self._run: Run | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None

    def start(self, patience_s: float) -> None:
        """Begin. Clients who wait for the head of this response are told after `patience_s` that it takes too long."""
        errand, exchange, cache = self._errand, self._exchange, self._cache
        index = errand.request_index
        shelf = cache.store.shelves.get(errand.key)
        entry = errand.entry = self._before = select(shelf, index) if shelf is not None else None
        if entry is not None:
            errand.forwarded = STALE
            # a success replaces it in any case; an answer that may not be stored ends it only once it is stale
            is_fresh = decide(entry, {}, monotonic() - entry.born_at) is Use.FRESH
            errand.use = Use.FRESH if is_fresh else Use.VALIDATE
        else:
            errand.forwarded = URI_MISS
        exchange.conditions = () if entry is None else conditions_for(entry)
        exchange.has_stand_in = entry is not None  # no use in waiting for a backend that is away
        exchange.as_of = None if entry is None else entry.as_of  # what replaces it must not be older
        names = cache.flights.guess(errand.policy) if entry is None else entry.vary
        errand.flight = cache.flights.start(errand.key, names, index)
        errand.began = cache.invalidations.now
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._timeout_s, self._too_late)
        if patience_s < self._timeout_s:
            self._patience = loop.call_later(patience_s, self._tell_waiting)
        self._run = start_now(self._go())

    def stop(self) -> None:
        """Give up. Who waits for it leads, or is told that the origin failed. Without effect when it is over."""
        if not self._is_over:
            self._is_over = True
            self._break_off(ProxyError(ErrorKind.DRAINING, "the schedule was stopped"))

    async def _go(self) -> None:
        try:
            response = await self._ask()
        except ProxyError as error:
            self._errand.fail(Failure(error))
            self._end(_said(error))
        except asyncio.CancelledError:
            raise  # whoever cancelled it says the rest
        except BaseException as bug:
            self._errand.abandon()
            self._end(type(bug).__name__)
            raise
        else:
            self._take(response)

    async def _ask(self) -> Response:
        fetch = self._cache.refresh
        assert fetch is not None
        exchange, entry = self._exchange, self._errand.entry
        response = await fetch(exchange)
        if response.status == 304 and entry is not None and not belongs(entry, response.get(b"etag")):
            exchange.conditions = ()  # rule 27: the whole then
            response = await fetch(exchange)
        return response

    def _take(self, response: Response) -> None:
        errand, exchange = self._errand, self._exchange
        self._outcome.status = status = response.status
        confirms = status == 304 and bool(exchange.conditions)
        content = response.content
        if not confirms and status not in FETCHED_AHEAD and errand.entry is not None:
            if content is not None and not isinstance(content, bytes):
                content.cancel()
            errand.fail(Failure(None, status))
            self._end(f"status {status}")
            return
        if content is not None and not isinstance(content, bytes):
            response.content = self._tap = _Tap(content, self._content_ended)
        elif content is not None:
            self._outcome.bytes = len(content)
        final = receive(exchange, errand, response).content
        if final is not None and not isinstance(final, bytes):
            final.cancel()  # a Fill collects on; what is not stored is of no use to anybody
        self._has_received = True
        self._content_ended()

    def _content_ended(self) -> None:
        """All of it is here, or nothing more will come. Waits for both: the verdict on the head, and the content."""
        tap = self._tap
        if self._is_over or not self._has_received or (tap is not None and not tap.is_over):
            return
        outcome = self._outcome
        if tap is not None:
            outcome.bytes = tap.size_bytes
        self._end(self._objection(tap))

    def _objection(self, tap: _Tap | None) -> str:
        """Why this was no success; empty when it was."""
        outcome, cache, errand = self._outcome, self._cache, self._errand
        if outcome.status not in FETCHED_AHEAD and outcome.status != 304:
            return f"status {outcome.status}"
        word = outcome_of(self._exchange.cache_status)[1]
        if word:
            return f"not stored: {word}"
        if tap is not None and tap.error is not None:
            return _said(tap.error)
        shelf = cache.store.shelves.get(errand.key)
        entry = select(shelf, errand.request_index) if shelf is not None else None
        if entry is None or entry is self._before:
            if errand.began != cache.invalidations.now:
                return OVERTAKEN
            return "not stored: larger than `max_entry`, or the cache has no room"
        outcome.tags, outcome.vary = cache.store.tags_of(entry), entry.vary
        return "" if entry.fresh_s > 0.0 else "stored, but no-cache: the backend is asked for each use"

    def _too_late(self) -> None:
        if self._is_over:
            return
        within = format_duration(self._timeout_s)
        error = ProxyError(ErrorKind.RESPONSE_TIMEOUT, f"no whole answer within {within}")
        self._break_off(error)
        self._end(_said(error))

    def _tell_waiting(self) -> None:
        self._errand.fail(Failure(ProxyError(ErrorKind.RESPONSE_TIMEOUT, "what is fetched ahead takes longer")))

    def _break_off(self, error: ProxyError) -> None:
        self._clear()
        if self._tap is not None:
            self._tap.break_off(error)
        elif self._run is not None:
            self._run.cancel()
        if error.kind is ErrorKind.DRAINING:
            self._errand.abandon()
        else:
            self._errand.fail(Failure(error))

    def _end(self, error: str) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._clear()
        self._outcome.error = error
        self._done(self._outcome)

    def _clear(self) -> None:
        for timer in (self._deadline, self._patience):
            if timer is not None:
                timer.cancel()
        self._deadline = self._patience = None


def _said(error: BaseException) -> str:
    if isinstance(error, ProxyError):
        return f"{error.kind.value}: {error.detail}" if error.detail else error.kind.value
    return type(error).__name__


class _Tap:
    """Content on its way into the cache: counts it, says when it is over, and can end it."""

    __slots__ = ("_on_end", "_sink", "_source", "error", "is_over", "length", "size_bytes")

    def __init__(self, source: Source, on_end: Callable[[], None]) -> None:
        self._source = source
        self._on_end = on_end
        self._sink: Sink | None = None
        self.length = source.length
        self.size_bytes = 0
        self.is_over = False
        self.error: BaseException | None = None

    # -- a Source for the cache --

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self._source.start(self)

    def pause(self) -> None:
        self._source.pause()

    def resume(self) -> None:
        self._source.resume()

    def cancel(self) -> None:
        if not self.is_over:
            self._source.cancel()
            self._over(None)

    # -- a Sink for the upstream's content --

    def feed(self, data: bytes) -> None:
        self.size_bytes += len(data)
        if self._sink is not None:
            self._sink.feed(data)

    def finish(self) -> None:
        if self._sink is not None:
            self._sink.finish()
        self._over(None)

    def abort(self, error: BaseException) -> None:
        if self._sink is not None:
            self._sink.abort(error)
        self._over(error)

    def break_off(self, error: BaseException) -> None:
        """Nothing of it is stored, and who reads it already hears that it broke."""
        if not self.is_over:
            self._source.cancel()
            self.abort(error)

    def _over(self, error: BaseException | None) -> None:
        if not self.is_over:
            self.is_over, self.error = True, error
            self._on_end()

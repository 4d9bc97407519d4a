"""Fetching behind everybody's back: a stale response anew while it is still given out (RFC 5861 §3), one at a time, and
the whole of what somebody wants a part of."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.cache.arrival import receive
from proxy.cache.errand import Errand
from proxy.cache.flights import Failure, Flight
from proxy.cache.shared.inquiry import Found
from proxy.cache.status import STALE, URI_MISS
from proxy.cache.validation import conditions_for
from proxy.core.clock import monotonic
from proxy.core.errors import ProxyError
from proxy.core.tasks import start_now
from proxy.exchange import Exchange
from proxy.http.message import Request

if TYPE_CHECKING:
    from proxy.cache.entry import Entry

RETRY_S: Final = 1.0  # from the start of one refresh to the start of the next, when it failed


def start_refresh(exchange: Exchange, errand: Errand, entry: Entry, now: float) -> None:
    """Have `entry` fetched, unless somebody is at it or it failed just now. Returns at once.

    It begins in the loop's next turn: the answer to the client goes first.
    """
    if errand.policy.is_fetched_ahead(entry.status):
        return
    cache = errand.cache
    index = errand.request_index
    if cache.refresh is None or now < entry.retry_at or cache.flights.find(errand.key, index) is not None:
        return
    flight = cache.flights.start(errand.key, entry.vary, index)
    if flight is not None:
        entry.retry_at = now + RETRY_S
        _send(exchange, errand, entry, flight)


def asks_others(exchange: Exchange) -> bool:
    """Whether what other Weirs have stored will do. Nobody knows how new that is: not for a client who wrote."""
    return exchange.need is None or exchange.need.allows_others(monotonic())


def fetch_whole(exchange: Exchange, errand: Errand) -> Flight | None:
    """Have the whole of what the request wants a part of fetched, for this request to wait for; None: it cannot be."""
    cache = errand.cache
    if cache.refresh is None:
        return None
    flight = cache.flights.start(errand.key, cache.flights.guess(errand.policy), errand.request_index)
    if flight is not None:
        _send(exchange, errand, None, flight)
    return flight


def _send(exchange: Exchange, errand: Errand, entry: Entry | None, flight: Flight) -> None:
    background = Errand(errand.cache, errand.key, errand.policy, errand.request_index, {}, errand.route)
    background.entry = entry
    background.forwarded = URI_MISS if entry is None else STALE
    background.flight = flight
    if not asks_others(exchange):
        background.shared = None
    clone = _clone(exchange)
    clone.conditions = () if entry is None else conditions_for(entry)
    clone.has_stand_in = entry is not None
    clone.as_of = None if entry is None else entry.as_of
    # not a task: what fetch waits for continues an exchange in place, and asks for no current task (core/tasks.py)
    asyncio.get_running_loop().call_soon(_launch, clone, background)


def _launch(clone: Exchange, errand: Errand) -> None:
    start_now(_refresh(clone, errand))


async def _refresh(clone: Exchange, errand: Errand) -> None:
    fetch = errand.cache.refresh
    assert fetch is not None
    try:
        if errand.shared is not None and await _is_there(errand):
            errand.complete()
            return
        response = receive(clone, errand, await fetch(clone))
        content = response.content
        if content is not None and not isinstance(content, bytes):
            content.cancel()  # a Fill collects on; anything else is of no use to anybody
    except ProxyError as error:
        errand.fail(Failure(error))
    except BaseException:
        errand.abandon()
        raise


async def _is_there(errand: Errand) -> bool:
    """Another Weir has stored what is to be fetched; it is in memory now."""
    shared, errand.shared = errand.shared, None
    assert shared is not None
    found = await shared.ask(errand, leads=True, is_refresh=errand.entry is not None)
    if found is Found.USABLE and errand.flight is not None:
        errand.flight.is_from_shared = True
    return found is Found.USABLE


def _clone(exchange: Exchange) -> Exchange:
    """The same question as a GET of our own, without content and without a client behind it."""
    asked = exchange.request
    request = Request(b"GET", asked.target, asked.minor_version, asked.fields, asked.index, scheme=asked.scheme)
    request.authority, request.host = asked.authority, asked.host
    request.path, request.query = asked.path, asked.query
    clone = Exchange(
        request, exchange.snapshot, None, exchange.peer, exchange.peer_is_trusted, exchange.id, monotonic()
    )
    clone.route = exchange.route
    clone.params = exchange.params
    clone.client = exchange.client
    clone.need = exchange.need
    return clone

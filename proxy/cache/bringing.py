"""What becomes of a request that goes upstream for the cache: who brings it, and what is made of what comes, or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.cache.answers import answer
from proxy.cache.arrival import receive
from proxy.cache.content import is_gone
from proxy.cache.courier import carry
from proxy.cache.errand import Errand
from proxy.cache.flights import Failure
from proxy.cache.invalidation import SAFE, ended_keys, ends_entries
from proxy.cache.key import origin_of
from proxy.cache.request_key import origin
from proxy.cache.reuse import Use, select, stands_in
from proxy.cache.status import stood_in
from proxy.cache.tags import group_names
from proxy.cache.validation import belongs, conditions_for
from proxy.core.clock import monotonic, wall
from proxy.core.errors import ProxyError, Side
from proxy.http.message import Response, index_fields

if TYPE_CHECKING:
    from proxy.cache.cache import Cache
    from proxy.cache.policy import CachePolicy
    from proxy.exchange import Exchange


def lead(errand: Errand) -> None:
    """From here on others wait for what this request brings."""
    entry = errand.entry
    if entry is None:
        shelf = errand.cache.store.shelves.get(errand.key)
        names = errand.cache.flights.guess(errand.policy) if shelf is None else shelf[0].vary
    else:
        names = entry.vary
    errand.flight = errand.cache.flights.start(errand.key, names, errand.request_index)


def send_off(exchange: Exchange, errand: Errand) -> None:
    """The request goes upstream: with conditions, where something stored may be confirmed."""
    exchange.cache_status = errand.forwarded
    if errand.entry is not None and exchange.request.method != b"HEAD":
        exchange.as_of = errand.entry.as_of  # what replaces it must not be older
        exchange.conditions = conditions_for(errand.entry)  # RFC 9111 §4.3.1: in place of the client's own
    errand.began = errand.cache.invalidations.now


async def bring_for_all(exchange: Exchange, errand: Errand) -> Response:
    """Fetch for all who wait: for the client of this exchange too, as long as it is there."""
    cache = errand.cache
    try:
        response = await carry(exchange, errand, _ask)
    except ProxyError as error:
        if (stale := on_error(exchange, error, cache)) is None:
            raise
        return stale
    return store(exchange, response, cache)


async def _ask(exchange: Exchange, errand: Errand) -> Response:
    fetch = errand.cache.refresh
    assert fetch is not None
    response = await fetch(exchange)
    if response.status == 304 and _disowned(exchange, errand, response):
        response = await fetch(exchange)
    return response


def disowns(exchange: Exchange, response: Response) -> bool:
    """Rule 27: a 304 to our conditions that cannot belong to what we asked about. Then it is to be asked for again.

    What is stored goes, for it is not what the origin has, and so do the conditions (RFC 9111 §4.3.3, §4.3.4).
    """
    errand = exchange.flight
    return errand is not None and _disowned(exchange, errand, response)


def _disowned(exchange: Exchange, errand: Errand, response: Response) -> bool:
    if errand.entry is None or not exchange.conditions:
        return False
    if belongs(errand.entry, response.get(b"etag")) and not is_gone(errand.entry.body):
        return False
    errand.cache.store.remove(errand.entry)
    errand.entry = None
    exchange.conditions = ()  # neither ours nor the client's: its own are evaluated when the whole is there
    return True


def store(exchange: Exchange, response: Response, cache: Cache) -> Response:
    """Take the upstream's final response, and give back the one for the client: often the same, with other content.

    Never waits, never fails. For every response on a route that caches.
    """
    errand = exchange.flight
    if errand is None:
        if exchange.request.method not in SAFE:
            invalidate(exchange, response, cache)
        _hide(exchange, response)
        return response
    exchange.flight = None
    final = receive(exchange, errand, response)
    if errand.use is Use.STALE:
        cache.stats.stale += 1
    else:
        cache.stats.misses += 1
    _hide(exchange, final)
    return final


def on_error(exchange: Exchange, error: ProxyError, cache: Cache) -> Response | None:
    """A stored response in place of one that could not be had (RFC 9111 §4.2.4), or None. Never waits."""
    errand = exchange.flight
    if errand is None:
        return None
    exchange.flight = None
    if error.kind.side is not Side.UPSTREAM:
        cache.stats.misses += 1
        errand.abandon()  # it is about this client: the next one may have more luck
        return None
    failure = Failure(error)
    errand.fail(failure)
    response = stand_in(exchange, errand, failure)
    if response is None:
        cache.stats.misses += 1
    return response


def stand_in(exchange: Exchange, errand: Errand, failure: Failure) -> Response | None:
    """The stored response in place of what failed, looked up anew: a write may have ended it meanwhile."""
    index = errand.request_index
    shelf = errand.cache.store.shelves.get(errand.key)
    entry = select(shelf, index) if shelf is not None else None
    if entry is None:
        return None
    age = monotonic() - entry.born_at
    if not stands_in(entry, errand.directives, age, has_response=failure.status is not None):
        return None
    errand.cache.stats.stale += 1
    exchange.cache_status = stood_in(errand.forwarded, failure.status)
    return answer(entry, exchange.request.method, index, int(age), wall())


def invalidate(exchange: Exchange, response: Response, cache: Cache) -> None:
    """After a response to an unsafe method: forget what it may have changed (RFC 9111 §4.4)."""
    request = exchange.request
    if not ends_entries(request.method, response.status):
        return
    scheme, authority = origin(exchange)
    policy: CachePolicy | None = None if exchange.route is None else exchange.route.cache
    keying = None if policy is None else policy.keying
    index = index_fields(response.fields)
    for key in ended_keys(scheme, authority, request.target, index, keying):
        cache.invalidate(key)
    if (groups := index.get(b"cache-group-invalidation")) is not None:
        cache.invalidate_groups(origin_of(scheme, authority), group_names(groups))  # RFC 9875 §3


def _hide(exchange: Exchange, response: Response) -> None:
    policy: CachePolicy | None = None if exchange.route is None else exchange.route.cache
    if policy is not None and policy.hidden and response.block is None:
        response.fields = policy.shown(response.fields)

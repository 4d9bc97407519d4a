"""look up and store: what the pipeline calls.

`exchange.flight` holds an Errand from the moment a request has to go upstream until `store`, `on_error` or `finish`
takes it: as long as it is there, others may be waiting for what it brings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.cache.answers import answer, whole
from proxy.cache.arrival import receive
from proxy.cache.errand import Errand
from proxy.cache.flights import Failure, Word
from proxy.cache.invalidation import SAFE, ended_keys, ends_entries
from proxy.cache.key import cache_key, origin_of
from proxy.cache.refresh import start_refresh
from proxy.cache.reuse import CONDITIONS, SPECIAL, Use, asked, bypasses, decide, select, stands_in, wants_origin
from proxy.cache.status import (
    METHOD,
    REQUEST,
    STALE,
    URI_MISS,
    VARY_MISS,
    bypass,
    collapsed,
    over_limit,
    stood_in,
)
from proxy.cache.validation import conditions_for
from proxy.core.clock import monotonic, wall
from proxy.core.errors import ErrorKind, ProxyError, Side
from proxy.http.message import Response, index_fields

if TYPE_CHECKING:
    from proxy.cache.cache import Cache
    from proxy.cache.policy import CachePolicy
    from proxy.exchange import Exchange

_CACHED: Final = frozenset({b"GET", b"HEAD"})
_MAX_WAITS: Final = 3  # for other requests' fetches; then it goes alone
_NO_PARAMETERS: Final[frozenset[bytes]] = frozenset()


def look_up_now(exchange: Exchange, cache: Cache) -> Response | None:
    """The answer to a plain GET from a fresh response, or None: then `look_up` says what is to be done. Never waits."""
    request = exchange.request
    index = request.index
    if request.method != b"GET" or not SPECIAL.isdisjoint(index) or request.body is not None or request.upgrade:
        return None
    route = exchange.route
    assert route is not None
    if exchange.peer_is_trusted or route.cache.ignored_parameters:
        key = _key(exchange, route.cache.ignored_parameters)
    else:
        key = origin_of(request.scheme, request.authority) + request.target
    shelf = cache.store.shelves.get(key)
    if shelf is None:
        return None
    entry = shelf[0]
    if entry.vary or len(shelf) > 1:
        selected = select(shelf, index)
        if selected is None:
            return None
        entry = selected
    age = monotonic() - entry.born_at
    if age >= entry.fresh_s:  # RFC 9111 §4.2: fresh is strictly younger
        return None
    entry.uses += 1
    cache.stats.hits += 1
    age_s = int(age)
    exchange.cache_status = entry.hit_text(age_s)
    return whole(entry, age_s)


async def look_up(exchange: Exchange, cache: Cache) -> Response | None:
    """The answer from what is stored, or None: the request has to go upstream.

    Waits while another request fetches the same. Raises ProxyError when the client wants nothing but a stored response
    and there is none, and when the origin just failed the request that this one waited for.
    """
    request = exchange.request
    route = exchange.route
    assert route is not None
    if request.method not in _CACHED:
        exchange.cache_status = METHOD
        cache.stats.bypass += 1
        return None
    policy: CachePolicy = route.cache
    index = request.index
    directives = asked(index, honours=policy.honours_request_directives)
    word = bypasses(index, directives, has_content=request.body is not None, upgrades=bool(request.upgrade))
    if word is not None:
        exchange.cache_status = bypass(word)
        cache.stats.bypass += 1
        return None
    errand = Errand(cache, _key(exchange, policy.ignored_parameters), policy, index, directives)
    exchange.flight = errand
    for waits in range(_MAX_WAITS + 1):
        if (response := _from_store(exchange, errand)) is not None:
            exchange.flight = None
            errand.complete()  # leadership may have come with the wait
            return response
        if _goes_alone(exchange, errand):
            errand.release()
            break
        if errand.flight is not None or waits == _MAX_WAITS:
            break
        flight = cache.flights.find(errand.key, index)
        if flight is None:
            _lead(errand)
            break
        errand.has_waited = True
        outcome = await flight.wait(index)
        if outcome is Word.ALONE:
            break
        if outcome is Word.LEAD:
            errand.flight = flight
        elif isinstance(outcome, Failure):
            if (response := _after_failure(exchange, errand, outcome)) is not None:
                return response
            break
    _send_off(exchange, errand)
    return None


def look_up_stale(exchange: Exchange, cache: Cache) -> Response | None:
    """Whatever is stored for a GET or HEAD, fresh or stale, for a request that may not go upstream; or None.

    As after an error (RFC 9111 §4.2.4): not what the client, or the response itself, wants validated first, and no
    older than such a response may be. Never waits, never fetches.
    """
    request = exchange.request
    route = exchange.route
    assert route is not None
    if request.method not in _CACHED:
        return None
    policy: CachePolicy = route.cache
    index = request.index
    directives = asked(index, honours=policy.honours_request_directives)
    if bypasses(index, directives, has_content=request.body is not None, upgrades=bool(request.upgrade)) is not None:
        return None
    shelf = cache.store.shelves.get(_key(exchange, policy.ignored_parameters))
    entry = select(shelf, index) if shelf is not None else None
    if entry is None:
        return None
    age = monotonic() - entry.born_at
    if not stands_in(entry, directives, age, has_response=False):
        return None
    entry.uses += 1
    age_s = int(age)
    if age < entry.fresh_s:
        cache.stats.hits += 1
    else:
        cache.stats.stale += 1
    exchange.cache_status = over_limit(entry.hit_text(age_s))
    return answer(entry, request.method, index, age_s, wall())


def store(exchange: Exchange, response: Response, cache: Cache) -> Response:
    """Take the upstream's final response, and give back the one for the client: often the same, with other content.

    Never waits, never fails. For every response on a route that caches.
    """
    errand = exchange.flight
    if errand is None:
        if exchange.request.method not in SAFE:
            invalidate(exchange, response, cache)
        return response
    exchange.flight = None
    final = receive(exchange, errand, response)
    if errand.use is Use.STALE:
        cache.stats.stale += 1
    else:
        cache.stats.misses += 1
    return final


async def on_error(exchange: Exchange, error: ProxyError, cache: Cache) -> Response | None:
    """A stored response in place of one that could not be had (RFC 9111 §4.2.4), or None."""
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
    response = _stand_in(exchange, errand, failure)
    if response is None:
        cache.stats.misses += 1
    return response


def invalidate(exchange: Exchange, response: Response, cache: Cache) -> None:
    """After a response to an unsafe method: forget what it may have changed (RFC 9111 §4.4)."""
    request = exchange.request
    if not ends_entries(request.method, response.status):
        return
    scheme, authority = _origin(exchange)
    for key in ended_keys(scheme, authority, request.target, index_fields(response.fields)):
        cache.invalidate(key)
    route = exchange.route
    if route is not None and route.cache is not None and route.cache.ignored_parameters:
        cache.invalidate(_key(exchange, route.cache.ignored_parameters))


def finish(exchange: Exchange, cache: Cache) -> None:
    """The exchange is over and no response came: the next one who waits leads. Safe to call at any time."""
    errand, exchange.flight = exchange.flight, None
    if errand is not None:
        cache.stats.misses += 1
        errand.abandon()


def _from_store(exchange: Exchange, errand: Errand) -> Response | None:
    """The answer from what is stored now. Remembers on the errand why there is none."""
    cache = errand.cache
    index = errand.request_index
    shelf = cache.store.shelves.get(errand.key)
    entry = errand.entry = select(shelf, index) if shelf is not None else None
    now = monotonic()
    if entry is not None:
        age = now - entry.born_at
        errand.use = use = decide(entry, errand.directives, age)
        if use is Use.FRESH:
            cache.stats.hits += 1
        elif use is Use.REFRESH or use is Use.STALE:
            cache.stats.stale += 1
        if use is Use.REFRESH:
            start_refresh(exchange, errand, entry, now)
        if use is not Use.VALIDATE and use is not Use.UNWANTED:
            age_s = int(age)
            entry.uses += 1
            exchange.cache_status = entry.hit_text(age_s)
            if errand.has_waited:
                cache.stats.collapsed += 1
                exchange.cache_status = collapsed(errand.forwarded)
            return answer(entry, exchange.request.method, index, age_s, wall())
        errand.forwarded = STALE if use is Use.VALIDATE else REQUEST
    else:
        errand.forwarded = URI_MISS if shelf is None else VARY_MISS
    if b"only-if-cached" in errand.directives:  # RFC 9111 §5.2.1.7
        cache.stats.bypass += 1
        exchange.flight = None
        errand.complete()
        raise ProxyError(ErrorKind.NOT_STORED)
    return None


def _goes_alone(exchange: Exchange, errand: Errand) -> bool:
    """Nobody could use what this request brings, or it could not use what others bring."""
    entry = errand.entry
    index = errand.request_index
    if exchange.request.method == b"HEAD" or b"authorization" in index or wants_origin(errand.directives):
        return True
    if entry is not None:
        # what the client wants validated, or the origin wants validated each time, is good for one request
        return errand.use is Use.UNWANTED or entry.fresh_s <= 0.0
    if errand.cache.is_uncacheable(errand.key, monotonic()):
        return True
    # RFC 9110 §13: nothing is stored, so the origin evaluates; but the result of a full fetch would do as well
    return not CONDITIONS.isdisjoint(index) and errand.cache.flights.find(errand.key, index) is None


def _lead(errand: Errand) -> None:
    entry = errand.entry
    if entry is None:
        shelf = errand.cache.store.shelves.get(errand.key)
        names = None if shelf is None else shelf[0].vary
    else:
        names = entry.vary
    errand.flight = errand.cache.flights.start(errand.key, names, errand.request_index)


def _send_off(exchange: Exchange, errand: Errand) -> None:
    exchange.cache_status = errand.forwarded
    if errand.entry is not None and exchange.request.method != b"HEAD":
        exchange.conditions = conditions_for(errand.entry)  # RFC 9111 §4.3.1: in place of the client's own
    errand.began = errand.cache.invalidations.now


def _after_failure(exchange: Exchange, errand: Errand, failure: Failure) -> Response | None:
    """The origin failed the request that this one waited for: a stale response, the same error, or None to go alone."""
    error = failure.error
    response = _stand_in(exchange, errand, failure)
    if response is None and not isinstance(error, ProxyError):
        return None
    exchange.flight = None
    errand.cache.stats.collapsed += 1
    if response is not None or not isinstance(error, ProxyError):
        return response
    errand.cache.stats.misses += 1
    exchange.cache_status = collapsed(errand.forwarded)
    # an exception of its own: a raised one collects the frames of everybody who raises it
    raise ProxyError(error.kind, error.detail, retry_after_s=error.retry_after_s)


def _stand_in(exchange: Exchange, errand: Errand, failure: Failure) -> Response | None:
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


def _key(exchange: Exchange, ignored: frozenset[bytes] = _NO_PARAMETERS) -> bytes:
    scheme, authority = _origin(exchange)
    return cache_key(scheme, authority, exchange.request.target, ignored)


def _origin(exchange: Exchange) -> tuple[str, bytes]:
    """Scheme and authority as the backend is told them (http/forwarding.py): it may answer with links to them."""
    request = exchange.request
    if not exchange.peer_is_trusted:
        return request.scheme, request.authority
    proto = request.index.get(b"x-forwarded-proto")
    scheme = request.scheme if proto is None else proto.decode("latin-1")
    return scheme, request.index.get(b"x-forwarded-host", request.authority)

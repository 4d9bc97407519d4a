"""look up and store: what the pipeline calls.

`exchange.flight` holds an Errand from the moment a request has to go upstream until `store`, `on_error` or `finish`
takes it: as long as it is there, others may be waiting for what it brings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.cache.answers import answer, not_modified_from, whole
from proxy.cache.bringing import disowns, invalidate, on_error, store
from proxy.cache.key import origin_of
from proxy.cache.request_key import key_of
from proxy.cache.reuse import BEYOND, SPECIAL, asked, bypasses, select, stands_in
from proxy.cache.status import over_limit
from proxy.cache.taking import CACHED, look_up
from proxy.core.clock import monotonic, wall
from proxy.http.message import Response

if TYPE_CHECKING:
    from proxy.cache.cache import Cache
    from proxy.cache.policy import CachePolicy
    from proxy.exchange import Exchange
    from proxy.http.message import Request

__all__ = ["disowns", "finish", "invalidate", "look_up", "look_up_now", "look_up_stale", "on_error", "store"]


class Reading:
    """What a plain GET says to the cache, whoever sends it and whatever its route."""

    __slots__ = ("is_beyond", "is_plain", "key")

    def __init__(self, request: Request) -> None:
        self.key = origin_of(request.scheme, request.authority) + request.target
        self.is_plain = SPECIAL.isdisjoint(request.index)
        self.is_beyond = not (self.is_plain or BEYOND.isdisjoint(request.index))


def look_up_now(exchange: Exchange, cache: Cache) -> Response | None:
    """The answer to a plain GET from a fresh response, a 304 included, or None: then `look_up` says what is to be done.

    Never waits.
    """
    request = exchange.request
    index = request.index
    if request.method != b"GET" or request.body is not None or request.upgrade:
        return None
    reading: Reading | None = request.reading
    if reading is None:
        request.reading = reading = Reading(request)
    if reading.is_beyond:
        return None
    route = exchange.route
    assert route is not None
    if exchange.peer_is_trusted or route.cache.keying is not None:
        own_key = key_of(exchange, cache, route.cache)
        if own_key is None:
            return None
        key = own_key
    else:
        key = reading.key
    shelf = cache.store.shelves.get(key)
    if shelf is None or (route.consistency is not None and _is_concerned(exchange, cache)):
        return None
    entry = shelf[0]
    if entry.vary or len(shelf) > 1:
        selected = select(shelf, index)
        if selected is None:
            return None
        entry = selected
    age = monotonic() - entry.born_at
    if age >= entry.calm_s:  # rule 7, RFC 9111 §4.2: fresh is strictly younger
        return None
    entry.uses += 1
    cache.stats.hits += 1
    age_s = int(age)
    exchange.cache_status = entry.hit_text(age_s)
    exchange.is_fresh = True
    if not reading.is_plain and entry.status == 200:
        unchanged = not_modified_from(entry, index, age_s, wall())
        if unchanged is not None:
            return unchanged
    return whole(entry, age_s)


def look_up_stale(exchange: Exchange, cache: Cache) -> Response | None:
    """Whatever is stored for a GET or HEAD, fresh or stale, for a request that may not go upstream; or None.

    As after an error (RFC 9111 §4.2.4): not what the client, or the response itself, wants validated first, and no
    older than such a response may be. Never waits, never fetches.
    """
    request = exchange.request
    route = exchange.route
    assert route is not None
    if request.method not in CACHED:
        return None
    policy: CachePolicy = route.cache
    index = request.index
    directives = asked(index, honours=policy.honours_request_directives)
    if bypasses(index, directives, has_content=request.body is not None, upgrades=bool(request.upgrade)) is not None:
        return None
    if route.consistency is not None and _is_concerned(exchange, cache):
        return None
    key = key_of(exchange, cache, policy)
    shelf = None if key is None else cache.store.shelves.get(key)
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


def finish(exchange: Exchange, cache: Cache) -> None:
    """The exchange is over. If no response came, the next one who waits leads. Called once, for what the cache saw."""
    if exchange.cache_status and exchange.route is not None:
        if exchange.is_fresh:  # by far the most, and what was said of them need not be read
            cache.stats.of(exchange.route.name).hits += 1
        else:
            cache.stats.note(exchange.route.name, exchange.cache_status)
    errand, exchange.flight = exchange.flight, None
    if errand is not None:
        cache.stats.misses += 1
        errand.abandon()


def _is_concerned(exchange: Exchange, cache: Cache) -> bool:
    return cache.concerns is not None and cache.concerns(exchange)

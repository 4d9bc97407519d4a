"""/v1/cache: what is stored, and ending it.

    GET /v1/cache                                           how full it is, counters by route
    GET /v1/cache/entries?prefix=&tag=&sort=hits&most=50    stored responses without their content
    GET /v1/cache/entry?url=                                all variants of one URL
    POST /v1/cache/purge                                    {"url" | "prefix" | "tag" | "all", "soft"?, "reason"}

A URL is written as clients ask for it: `https://shop.example/a?b=c`; the scheme is the one that they speak, also where
another proxy speaks TLS for Weir. A hard purge forgets; a soft one leaves what is stored, stale from now on. Either is
in force here when the answer goes out, also for responses that were asked for before it and come after it; at the other
Weirs of the store some milliseconds later, unless the answer says `shared: false`: then when the store is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import nlargest
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from aiohttp import hdrs, web

from proxy.admin.answers import Refusal, json_response
from proxy.admin.bodies import checked_reason, count_of
from proxy.admin.cache_documents import cache_document, shown_uri, stored_document
from proxy.admin.tokens import name_of
from proxy.cache.key import origin_of
from proxy.cache.purges.purge import Purge
from proxy.cache.tags import MAX_TAG_BYTES
from proxy.core.clock import monotonic, wall

if TYPE_CHECKING:
    from proxy.cache.cache import Cache
    from proxy.cache.entry import Entry
    from proxy.observe.audit import Audit

PREFIX: Final = "/v1/cache"
MAX_SHOWN: Final = 1000
MAX_URL_BYTES: Final = 8192
_LOOKED_AT: Final = 5000  # entries between two turns of the loop
_SORTS: Final[dict[str, Callable[[Entry], float]]] = {
    "hits": lambda entry: entry.uses,
    "size": lambda entry: entry.size_bytes,
    "age": lambda entry: -entry.born_at,
    "newest": lambda entry: entry.born_at,
}


class Sharing(Protocol):
    """What keeps the purges of all Weirs of a store the same."""

    async def is_shared(self) -> bool:
        """Wait, for a bounded time, until the others have been told of what was ordered here."""


@dataclass(slots=True)
class CacheParts:
    """What the API works with. The callables follow a reload."""

    cache: Cache
    audit: Audit
    tokens: Callable[[], Mapping[str, str]]  # name -> hash
    targets: Callable[[bytes], Iterable[bytes]]  # all forms in which some route writes this path and query in a key
    sharing: Sharing | None = None


class PurgeOrder(msgspec.Struct, forbid_unknown_fields=True):
    """Exactly one of the first four."""

    reason: str
    url: str | None = None
    prefix: str | None = None
    tag: str | None = None
    all: bool = False
    soft: bool = False


class CacheOperator:
    """Goes into the application of the operator's API, whose guard asks for the token."""

    def __init__(self, parts: CacheParts) -> None:
        self._parts = parts

    def add_to(self, app: web.Application) -> None:
        router = app.router
        router.add_get(PREFIX, self.summary)
        router.add_get(PREFIX + "/entries", self.entries)
        router.add_get(PREFIX + "/entry", self.entry)
        router.add_post(PREFIX + "/purge", self.purge)

    async def summary(self, request: web.Request) -> web.Response:
        return json_response(200, cache_document(self._parts.cache))

    async def entries(self, request: web.Request) -> web.Response:
        query = request.query
        most = count_of(request, "most", 50, MAX_SHOWN)
        sort = _SORTS.get(query.get("sort", "hits"))
        if sort is None:
            raise Refusal(400, "sort: write one of these.", sorts=list(_SORTS))
        prefix, tag = query.get("prefix"), query.get("tag")
        if prefix and tag:
            raise Refusal(400, "Say `prefix` or `tag`, not both.")
        cache = self._parts.cache
        purge = Purge("tag", tag_of(tag)) if tag else Purge("prefix", key_of(prefix, is_prefix=True) if prefix else b"")
        found = cache.store.covered_by(purge)
        best: list[Entry] = []
        for start in range(0, len(found), _LOOKED_AT):
            best = nlargest(most, [*best, *found[start : start + _LOOKED_AT]], key=sort)
            await asyncio.sleep(0)
        now = monotonic()
        documents = [stored_document(cache, entry, now) for entry in best if entry.queue]
        return json_response(200, {"entries": documents, "matched": len(found)})

    async def entry(self, request: web.Request) -> web.Response:
        url = request.query.get("url")
        if not url:
            raise Refusal(400, "url: say which, such as ?url=https%3A%2F%2Fshop.example%2F")
        cache = self._parts.cache
        found = [entry for key in self._keys(url) for entry in cache.store.covered_by(Purge("url", key))]
        if not found:
            raise Refusal(404, "Nothing is stored for this URL.")
        now = monotonic()
        documents = [stored_document(cache, entry, now) for entry in found[:MAX_SHOWN]]
        return json_response(200, {"entries": documents, "matched": len(found)})

    async def purge(self, request: web.Request) -> web.Response:
        order = await _read_order(request)
        parts = self._parts
        who = name_of(request.headers.get(hdrs.AUTHORIZATION), parts.tokens())
        if who is None:  # its token was taken out of the configuration while the body came
            raise Refusal(401, "This needs a token that is known here.")
        purges = list(self._purges(order))
        ended = 0
        for purge in purges:
            ended += await parts.cache.purge(purge)
        target = f"{purges[0].kind} {_shown(purges[0])}".rstrip()
        is_shared = parts.sharing is None or await parts.sharing.is_shared()
        done = {"purged": ended, "soft": order.soft, "shared": is_shared}
        parts.audit.note(
            wall(),
            who=who,
            what="purge",
            target=target,
            old=None,
            new=done,
            reason=order.reason,
            until_wall=None,
        )
        return json_response(200, {"target": target, **done})

    def _purges(self, order: PurgeOrder) -> Iterator[Purge]:
        if order.url is not None:
            for key in self._keys(order.url):
                yield Purge("url", key, order.soft)
        elif order.prefix is not None:
            yield Purge("prefix", key_of(order.prefix, is_prefix=True), order.soft)
        elif order.tag is not None:
            yield Purge("tag", tag_of(order.tag), order.soft)
        else:
            yield Purge("all", is_soft=order.soft)

    def _keys(self, url: str) -> list[bytes]:
        """The URL as it came, then as each route writes it."""
        key = key_of(url)
        path = key.index(b"/", key.index(b"://") + 3)
        others = [key[:path] + target for target in self._parts.targets(key[path:])]
        return list(dict.fromkeys([key, *others]))


def key_of(url: str, *, is_prefix: bool = False) -> bytes:
    """How the URL stands in keys (cache/key.py). Raises Refusal.

    A prefix may end anywhere behind the authority, and without a path it is all of the origin: `http://shop` never
    means `http://shopping` too.
    """
    word = "prefix" if is_prefix else "url"
    scheme, mark, rest = url.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        raise Refusal(400, f"{word}: write all of it, as clients ask for it: https://shop.example/a?b=c")
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > MAX_URL_BYTES:
        raise Refusal(400, f"{word}: write it percent-encoded, with at most {MAX_URL_BYTES} characters")
    rest = rest.partition("#")[0]
    end = min((at for mark in "/?" if (at := rest.find(mark)) >= 0), default=len(rest))
    authority, target = rest[:end], rest[end:]
    if not authority or "@" in authority:
        raise Refusal(400, f"{word}: there is a host between `://` and the path, and nothing else")
    if not target.startswith("/"):
        target = "/" + target
    return origin_of(scheme, authority.encode("ascii")) + target.encode("ascii")


def tag_of(text: str) -> bytes:
    """Raises Refusal."""
    tag = text.encode("utf-8", "surrogatepass")
    if not tag or len(tag) > MAX_TAG_BYTES or not text.isprintable():
        raise Refusal(400, f"tag: write one tag of at most {MAX_TAG_BYTES} bytes")
    return tag


async def _read_order(request: web.Request) -> PurgeOrder:
    try:
        order = msgspec.json.decode(await request.read(), type=PurgeOrder)
    except msgspec.ValidationError as error:
        raise Refusal(400, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refusal(400, 'The body is not JSON; send {"tag": "product-7", "reason": "..."}.') from None
    named = [order.url is not None, order.prefix is not None, order.tag is not None, order.all]
    if sum(named) != 1:
        raise Refusal(400, 'Say one of "url", "prefix", "tag" and "all": true.')
    order.reason = checked_reason(order.reason)
    return order


def _shown(purge: Purge) -> str:
    if purge.kind == "tag":
        return purge.value.decode("utf-8", "backslashreplace")
    return shown_uri(purge.value)

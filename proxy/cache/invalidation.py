"""What a successful write ends: the stored responses of its target, and of the URIs that its response names."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final
from urllib.parse import urljoin, urlsplit

from proxy.cache.freshness import Index
from proxy.cache.key import Keying, cache_key

# RFC 9110 §9.2.1, and QUERY (RFC 10008)
SAFE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"QUERY"})
_REMEMBERED: Final = 4096
_BUCKETS: Final = 4096  # of generations; two URIs in one bucket cost each other variants, never more


def ends_entries(method: bytes, status: int) -> bool:
    """A non-error answer to any method that is not known to be safe (rule 34, RFC 9111 §4.4)."""
    return 200 <= status < 400 and method not in SAFE


def ended_keys(scheme: str, authority: bytes, target: bytes, index: Index, keying: Keying | None = None) -> list[bytes]:
    """The keys whose entries end: of the target, and of Location and Content-Location on the same origin (§4.4).

    With `keying`, also as the route that the request came by would write them.
    """
    own = cache_key(scheme, authority, target)
    keys = [own]
    for name in (b"location", b"content-location"):
        reference = index.get(name)
        if reference is not None and (key := _resolve(own, reference)) is not None:
            keys.append(key)
    if keying is not None:
        keys += [_rewritten(key, keying) for key in keys]
    return list(dict.fromkeys(keys))


class Invalidations:
    """Which keys were invalidated lately, so that a response which was on its way then is not stored.

    Bounded: what began before everything that is remembered counts as invalidated. The generation of a URI is part of
    the keys of its variants by user, tenant, field or cookie: to move it on is to end them all (key.py).
    """

    __slots__ = ("_floor", "_generations", "_times", "now")

    def __init__(self) -> None:
        self._generations = [0] * _BUCKETS
        self.now = 0  # counts invalidations
        self._floor = 0
        self._times: OrderedDict[int, int] = OrderedDict()  # hash of the key: a collision costs one store

    def add(self, key: bytes) -> None:
        self.now += 1
        mark = hash(key)
        self._generations[mark % _BUCKETS] += 1
        self._times[mark] = self.now
        self._times.move_to_end(mark)
        if len(self._times) > _REMEMBERED:
            _, self._floor = self._times.popitem(last=False)

    def generation(self, uri: bytes) -> int:
        """How often something in the bucket of `uri` was invalidated."""
        return self._generations[hash(uri) % _BUCKETS]

    def spares(self, key: bytes, began: int) -> bool:
        """Nothing has invalidated `key` since `now` was `began`."""
        if began == self.now:
            return True
        return began >= self._floor and self._times.get(hash(key), 0) <= began


def _rewritten(key: bytes, keying: Keying) -> bytes:
    path = key.find(b"/", key.find(b"://") + 3)
    return key[:path] + keying.target(key[path:])


def _resolve(base: bytes, reference: bytes) -> bytes | None:
    """The key of a URI reference, or None when it is malformed or on another origin."""
    try:
        parts = urlsplit(urljoin(base.decode("latin-1"), reference.decode("latin-1")))
        found = cache_key(
            parts.scheme,
            parts.netloc.rpartition("@")[2].encode("latin-1"),
            ((parts.path or "/") + (f"?{parts.query}" if parts.query else "")).encode("latin-1"),
        )
    except ValueError:
        return None
    return found if _origin(found) == _origin(base) else None


def _origin(key: bytes) -> bytes:
    scheme, _, rest = key.partition(b"://")
    return scheme + b"://" + rest.partition(b"/")[0]

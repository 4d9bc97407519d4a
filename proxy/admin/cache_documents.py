"""Stored responses as the JSON of /v1/cache: everything but their content, and nothing that a log would hide."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from proxy.cache.key import uri_of
from proxy.observe.redact import clean, redact_path, redact_query

if TYPE_CHECKING:
    from proxy.cache.cache import Cache
    from proxy.cache.entry import Entry

_DIGITS: Final = 12
# the values of these say nothing about a person; of other selecting fields only the beginning of a hash is shown
_PLAIN: Final = frozenset(
    {b"accept", b"accept-charset", b"accept-encoding", b"accept-language", b"origin", b"save-data", b"x-requested-with"}
)
_COUNTERS: Final = ("hits", "stale", "misses", "bypass", "stored", "evicted", "collapsed", "purges", "purged")


def cache_document(cache: Cache) -> dict[str, Any]:
    """How full it is, and what it has done since the start."""
    store, stats = cache.store, cache.stats
    return {
        "budget_bytes": store.budget_bytes,
        "used_bytes": store.used_bytes,
        "fill_bytes": store.reserved_bytes,
        "tags_bytes": store.tags_bytes,
        "small_queue_bytes": store.small_bytes,
        "max_entry_bytes": cache.max_entry_bytes,
        "entries": len(store),
        "tags": store.tags,
        "disk": None if cache.disk is None else cache.disk.status(),
        "fetches": len(cache.flights),
        "counters": {name: getattr(stats, name) for name in _COUNTERS},
        "routes": [
            {
                "route": name,
                "entries": route.entries,
                "bytes": route.bytes,
                "evicted": route.evicted,
                "requests": [
                    {"result": result, "reason": reason, "count": count}
                    for (result, reason), count in route.results().items()
                ],
                "not_stored": dict(route.not_stored),
            }
            for name, route in stats.routes.items()
        ],
    }


def stored_document(cache: Cache, entry: Entry, now: float) -> dict[str, Any]:
    """One stored response. `now` is monotonic; what is left of its freshness is below zero when it is stale."""
    key = entry.key
    uri = uri_of(key)
    age_s = now - entry.born_at
    return {
        "url": shown_uri(uri),
        "variant": {
            "selected_by": [
                {"field": name.decode("latin-1"), "value": _shown_value(name, value)}
                for name, value in zip(entry.vary, entry.selection, strict=True)
            ],
            "key": None if len(uri) == len(key) else _digest(key[len(uri) :]),
        },
        "status": entry.status,
        "age_s": round(age_s, 3),
        "fresh_for_s": round(entry.fresh_s - age_s, 3),
        "is_fresh": age_s < entry.fresh_s,
        "stale_while_revalidate_s": entry.revalidate_s,
        "stale_if_error_s": entry.error_s,
        "tags": [clean(tag.decode("utf-8", "backslashreplace")) or "*" for tag in cache.store.tags_of(entry)],
        "size_bytes": entry.size_bytes,
        "content_bytes": len(entry.body),
        "is_on_disk": not isinstance(entry.body, bytes),
        "hits": entry.uses,
        "is_proven": cache.store.is_proven(entry),
    }


def shown_uri(uri: bytes) -> str:
    """With the values of secret-looking parameters hidden."""
    path, mark, query = uri.decode("latin-1").partition("?")
    text = redact_path(path)
    return clean(f"{text}?{redact_query(query)}" if mark else text)


def _shown_value(name: bytes, value: bytes | None) -> str | None:
    if value is None:
        return None
    return clean(value.decode("latin-1")) if name in _PLAIN else _digest(value)


def _digest(value: bytes) -> str:
    return "#" + sha256(value).hexdigest()[:_DIGITS]

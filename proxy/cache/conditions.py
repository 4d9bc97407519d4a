"""Conditions of a request, held against what is stored (RFC 9110 §13, RFC 9111 §4.3.2)."""

from __future__ import annotations

from typing import Final

from proxy.cache.freshness import Index
from proxy.http.dates import parse_date
from proxy.http.directives import split_list
from proxy.http.message import Field

# what a 304 says: what a 200 would have said and a cache needs to know (RFC 9110 §15.4.5)
_ON_304: Final = frozenset({b"cache-control", b"content-location", b"date", b"etag", b"expires", b"vary", b"age"})


def is_not_modified(
    request_index: Index, etag: bytes | None, modified_s: int | None, now_wall: float, modified: bytes | None = None
) -> bool:
    """The client has this very 200 response already: 304 is enough.

    `modified_s` is its Last-Modified or, without one, its Date (RFC 9111 §4.3.2), in seconds since 1970. `modified` is
    the Last-Modified as it was received: who repeats that, as nearly all do, is told without reading a date.
    """
    tags = request_index.get(b"if-none-match")
    if tags is not None:  # rule 25, RFC 9110 §13.2.2: If-Modified-Since is then ignored
        return _any_matches(tags, etag)
    since = request_index.get(b"if-modified-since")
    if since is None:
        return False
    if modified_s is None or since == modified:
        return modified_s is not None
    since_s = parse_date(since, now_wall)
    return since_s is not None and modified_s <= since_s


def fields_of_304(fields: list[Field]) -> list[Field]:
    """Those fields of a 200 that a 304 repeats; Last-Modified only where there is no ETag."""
    has_etag = any(line[0] == b"etag" for line in fields)
    return [line for line in fields if line[0] in _ON_304 or (line[0] == b"last-modified" and not has_etag)]


def allows_range(if_range: bytes | None, etag: bytes | None, last_modified: bytes | None) -> bool:
    """If-Range holds: a strong entity-tag, or a date, that is the stored one byte for byte (rule 33, §13.1.5)."""
    if if_range is None:
        return True
    if if_range[:1] == b'"':
        return if_range == etag
    return last_modified is not None and if_range == last_modified


def _any_matches(tags: bytes, etag: bytes | None) -> bool:
    if tags == etag:
        return True  # rule 25: whatever it is, it is the very same
    if tags.strip(b" \t") == b"*":
        return True  # RFC 9110 §13.1.2: there is a representation
    if etag is None:
        return False
    opaque = _opaque(etag)
    return any(_opaque(tag) == opaque for tag in split_list(tags))


def _opaque(tag: bytes) -> bytes:
    """For weak comparison (rule 25, RFC 9110 §8.8.3.2). What is no entity-tag stays as it is."""
    return tag[2:] if tag[:3] == b'W/"' else tag

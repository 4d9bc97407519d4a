"""Asking the origin whether a stored response still holds, and what its answer changes (RFC 9111 §4.3, §3.2)."""

from __future__ import annotations

from typing import Final

from proxy.cache.entry import Entry
from proxy.http.fields import CONNECTION_SPECIFIC
from proxy.http.message import Field, Response, field

# rule 31: these describe the stored bytes, or one message and its hop (RFC 9111 §3.2)
_NEVER_UPDATED: Final = CONNECTION_SPECIFIC | {b"content-length", b"content-range", b"content-encoding"}


def conditions_for(entry: Entry) -> tuple[Field, ...]:
    """What goes upstream in place of the client's own conditions; empty without a validator (rule 27, §4.3.1)."""
    conditions = []
    if entry.etag is not None:
        conditions.append(field("If-None-Match", entry.etag))
    if entry.last_modified is not None:
        conditions.append(field("If-Modified-Since", entry.last_modified))
    return tuple(conditions)


def belongs(entry: Entry, etag: bytes | None) -> bool:
    """A 304 with this ETag speaks of `entry`, the one that was asked about (rules 27 and 31, §4.3.4).

    A strong one must be the stored one; what has no ETag, or a weak one, answers the question that was asked.
    """
    return etag is None or etag[:2] == b"W/" or entry.etag is None or etag == entry.etag


def merged(stored: list[Field], new: list[Field], *, keeps_cookies: bool) -> list[Field]:
    """The stored fields after an update: every field of the new one replaces all lines of its name (rule 31, §3.2).

    Without `keeps_cookies` the Set-Cookie of the new message is not taken over: it is for one client.
    """
    kept_out = _NEVER_UPDATED if keeps_cookies else _NEVER_UPDATED | {b"set-cookie"}
    taken = [line for line in new if line[0] not in kept_out]
    names = {line[0] for line in taken}
    return [line for line in stored if line[0] not in names and line[0] != b"age"] + taken


def agrees(entry: Entry, head: Response) -> bool:
    """A 200 to a HEAD describes the stored response: ETag, Last-Modified and length, each equal or absent (rule 36)."""
    etag, modified = head.get(b"etag"), head.get(b"last-modified")
    length = head.content_length
    return (
        (etag is None or etag == entry.etag)
        and (modified is None or modified == entry.last_modified)
        and (length is None or length == len(entry.body))
    )

"""Responses made of a stored one: the whole, nothing but "not modified", or a part (RFC 9111 §4, RFC 9110 §14, §15)."""

from __future__ import annotations

from typing import Final

from proxy.cache.conditions import allows_range, fields_of_304, is_not_modified
from proxy.cache.content import streamed
from proxy.cache.entry import Entry
from proxy.cache.freshness import Index
from proxy.cache.ranges import content_range, parse_range
from proxy.cache.replay import STREAMED_BYTES
from proxy.http.message import Field, Response

_NOT_MODIFIED: Final = b"Not Modified"


def answer(entry: Entry, method: bytes, request_index: Index, age_s: int, now_wall: float) -> Response:
    """What a GET or HEAD gets from `entry`: 304 or 206 or 416 where it asked for that, else the stored response."""
    if entry.status == 200:
        # rule 25, RFC 9110 §13.2.2: conditions are evaluated before Range
        if (unchanged := not_modified_from(entry, request_index, age_s, now_wall)) is not None:
            return unchanged
        if method == b"GET" and b"range" in request_index:
            part = _part(entry, request_index, age_s)
            if part is not None:
                return part
    return whole(entry, age_s)


def whole(entry: Entry, age_s: int) -> Response:
    """The stored response with its Age. For HEAD too (rule 35): who writes it leaves the content out."""
    body = entry.body
    content = body if type(body) is bytes and len(body) < STREAMED_BYTES else streamed(body, 0, len(body))
    response = Response(entry.status, entry.reason, entry.fields, content)
    response.block = entry.block(age_s)
    response.has_date = True
    return response


def not_modified_from(entry: Entry, request_index: Index, age_s: int, now_wall: float) -> Response | None:
    """The 304 for a request whose condition says that it has this very 200 already; else None."""
    modified_s = entry.date_s if entry.last_modified is None else entry.last_modified_s
    if not is_not_modified(request_index, entry.etag, modified_s, now_wall, entry.last_modified):
        return None
    response = Response(304, _NOT_MODIFIED, entry.fields)
    response.block = entry.block_304(age_s)
    response.has_date = True
    return response


def not_modified(fields: list[Field]) -> Response:
    """A 304 for a 200 with these fields that just came (RFC 9110 §15.4.5)."""
    return Response(304, _NOT_MODIFIED, fields_of_304(fields))


def part_of(entry: Entry, request_index: Index, length: int) -> tuple[int, int] | Response | None:
    """(first, last + 1) of the `length` bytes that the request wants; a 416; None when it gets the whole."""
    if not allows_range(request_index.get(b"if-range"), entry.etag, entry.last_modified):
        return None
    found = parse_range(request_index[b"range"], length)
    if isinstance(found, bytes):
        return Response(416, b"Range Not Satisfiable", [(b"content-range", b"Content-Range", found)], b"")
    return found


def part_head(entry: Entry, start: int, end: int, length: int, age_s: int) -> Response:
    """A 206 that has no content yet (RFC 9110 §15.3.7)."""
    fields = [line for line in entry.fields_at(age_s) if line[0] != b"content-range"]
    fields.append((b"content-range", b"Content-Range", content_range(start, end, length)))
    fields.append(_age(age_s))
    return Response(206, b"Partial Content", fields)


def _part(entry: Entry, request_index: Index, age_s: int) -> Response | None:
    body = entry.body
    length = len(body)
    found = part_of(entry, request_index, length)
    if found is None or isinstance(found, Response):
        return found
    start, end = found
    response = part_head(entry, start, end, length, age_s)
    is_small = isinstance(body, bytes) and end - start < STREAMED_BYTES
    response.content = body[start:end] if isinstance(body, bytes) and is_small else streamed(body, start, end)
    return response


def _age(age_s: int) -> Field:
    return b"age", b"Age", b"%d" % age_s

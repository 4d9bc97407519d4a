"""Large content both ways, never held whole: the catalogue as one file to download, and an upload that is summed up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from random import Random
from typing import Final

from aiohttp import web

DOWNLOAD_BYTES: Final = 50 * 1024 * 1024
BLOCK_BYTES: Final = 64 * 1024
ETAG: Final = '"catalogue-1"'
_BLOCK: Final = Random(7).randbytes(BLOCK_BYTES - 8)  # after 8 bytes that count the blocks

routes = web.RouteTableDef()


@routes.get("/download/catalogue.bin")
async def download(request: web.Request) -> web.StreamResponse:
    """50 MiB, the same bytes every time; one range of them when asked for (RFC 9110 §14)."""
    fields = {"Accept-Ranges": "bytes", "ETag": ETAG, "Content-Type": "application/octet-stream"}
    start, end = 0, DOWNLOAD_BYTES
    status = 200
    if (wanted := _range(request)) is not None:
        start, end = wanted
        if start >= end:
            fields["Content-Range"] = f"bytes */{DOWNLOAD_BYTES}"
            return web.Response(status=416, headers=fields)
        status = 206
        fields["Content-Range"] = f"bytes {start}-{end - 1}/{DOWNLOAD_BYTES}"
    response = web.StreamResponse(status=status, headers=fields)
    response.content_length = end - start
    await response.prepare(request)
    if request.method != "HEAD":
        for piece in pieces(start, end):
            await response.write(piece)
    return response


@routes.post("/upload")
async def upload(request: web.Request) -> web.Response:
    digest, size = hashlib.sha256(), 0
    async for piece in request.content.iter_any():
        digest.update(piece)
        size += len(piece)
    return web.json_response({"bytes": size, "sha256": digest.hexdigest()})


def pieces(start: int, end: int) -> Iterator[bytes]:
    """The bytes of the file from `start` up to `end`, in blocks."""
    while start < end:
        number, offset = divmod(start, BLOCK_BYTES)
        block = number.to_bytes(8, "big") + _BLOCK
        piece = block[offset : offset + end - start]
        yield piece
        start += len(piece)


def _range(request: web.Request) -> tuple[int, int] | None:
    """The one range asked for, cut to the file; None for the whole file, which is also the answer to nonsense."""
    if "Range" not in request.headers or request.headers.get("If-Range", ETAG) != ETAG:
        return None
    try:
        asked = request.http_range
    except ValueError:
        return None
    start, end, _ = asked.indices(DOWNLOAD_BYTES)
    return start, end

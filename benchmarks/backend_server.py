"""The backend where nginx is not installed: `python -m benchmarks.backend_server PORT`.

Bytes prepared beforehand and one dictionary look-up; httptools reads, uvloop runs it where it is installed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Protocol, cast

import httptools

from benchmarks.backend import JSON
from benchmarks.scenarios import DOWNLOAD_BYTES, ETAG


def _response(content: bytes, cache_control: str) -> bytes:
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        f"Cache-Control: {cache_control}\r\nX-Backend: one\r\n\r\n"
    )
    return head.encode() + content


_RESPONSES = {
    b"/json": _response(JSON, "no-store"),
    b"/denied": _response(JSON, "no-store"),
    b"/cached": _response(JSON, f"max-age=3600\r\nETag: {ETAG}"),
    b"/file": _response(bytes(DOWNLOAD_BYTES), "no-store"),
    b"/upload": _response(b"{}", "no-store"),
}
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class _Parser(Protocol):
    def feed_data(self, data: bytes, /) -> None: ...


class Connection(asyncio.Protocol):
    """One keep-alive connection. httptools calls the `on_*` methods while it reads."""

    def __init__(self) -> None:
        self._parser = cast("_Parser", httptools.HttpRequestParser(self))
        self._transport: asyncio.Transport | None = None
        self._target = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._target = url

    def on_message_complete(self) -> None:
        assert self._transport is not None
        self._transport.write(_RESPONSES.get(self._target, _NOT_FOUND))


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=8192)
    async with server:
        await server.serve_forever()


def main(port: int) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(port))
    else:
        uvloop.run(_serve(port))


if __name__ == "__main__":
    main(int(sys.argv[1]))

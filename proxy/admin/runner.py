"""Hosts the admin application: aiohttp's server, without its habits of echoing bad requests and logging each.

A connection that is open for too long is cut, and there are only so many: a client that sends half a request must not
hold file descriptors that the proxy needs.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from aiohttp import hdrs, web

from proxy.admin.answers import problem
from proxy.admin.app import SECURITY_FIELDS

MAX_CONNECTIONS: Final = 64
MAX_CONNECTION_AGE_S: Final = 30.0  # one request each (app.py), so only a stalled peer gets this old
SHUTDOWN_S: Final = 1.0


class AdminRunner(web.AppRunner):
    """`await runner.setup()`, then `web.TCPSite(runner, ...)` or `web.UnixSite(runner, ...)`, then `cleanup()`."""

    def __init__(self, app: web.Application) -> None:
        super().__init__(app, shutdown_timeout=SHUTDOWN_S)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory, access_log=None)


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        if len(self.connections) >= MAX_CONNECTIONS:
            return _Refusal(self, loop=self._loop)
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    __slots__ = ("_ageing",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        abort = cast("asyncio.Transport", transport).abort  # uvloop's transports derive from nothing of asyncio's
        self._ageing = asyncio.get_running_loop().call_later(MAX_CONNECTION_AGE_S, abort)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._ageing.cancel()
        super().connection_lost(exc)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to what could not be parsed. aiohttp would repeat it, and log a traceback for each."""
        response = problem(status)
        response.headers.update(SECURITY_FIELDS)
        response.headers[hdrs.SERVER] = "weir"  # no signal runs here that could remove aiohttp's and Python's versions
        response.force_close()
        return response


class _Refusal(web.RequestHandler):
    """One connection too many: closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast("asyncio.Transport", transport).abort()

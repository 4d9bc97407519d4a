"""The admin application: /livez, /readyz, /healthz and /metrics for everybody who can reach it, /v1/ with a token.

A Host allow-list against DNS rebinding; errors as problem documents that repeat nothing; no cache and no banner. Only
/v1/ (operator.py) changes anything.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from aiohttp import hdrs, web

from proxy.admin.answers import json_response, problem
from proxy.admin.health import CachedReport, Health, unready_reason
from proxy.admin.hosts import configured_hosts, is_allowed_host
from proxy.admin.operator import Operator
from proxy.observe.exposition import CONTENT_TYPE, expose

log = logging.getLogger("weir.admin")

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SECURITY_FIELDS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
RETRY_AFTER_S: Final = 1
MAX_BODY_BYTES: Final = 16 * 1024


class View(Protocol):
    """What the application shows."""

    @property
    def health(self) -> Health: ...

    @property
    def metrics(self) -> Any:
        """An `observe.collector.Collector`."""

    @property
    def address(self) -> str:
        """Where the listener was configured to be: its name is an allowed Host."""


def make_admin(view: View, operator: Operator | None = None) -> web.Application:
    """The application for the admin listener. `runner.AdminRunner` hosts it. Without an operator there is no /v1/."""
    routes = _Routes(view)
    app = web.Application(middlewares=[_guard(configured_hosts(view.address))], client_max_size=MAX_BODY_BYTES)
    app.router.add_get("/livez", routes.livez)
    app.router.add_get("/readyz", routes.readyz)
    app.router.add_get("/healthz", routes.healthz)
    app.router.add_get("/metrics", routes.metrics)
    if operator is not None:
        operator.add_to(app)
    app.on_response_prepare.append(_set_fields)
    return app


class _Routes:
    def __init__(self, view: View) -> None:
        self._health = view.health
        self._metrics = view.metrics
        self._report = CachedReport(view.health)

    async def livez(self, request: web.Request) -> web.Response:
        return json_response(200, {"status": "alive"})

    async def readyz(self, request: web.Request) -> web.Response:
        reason = unready_reason(self._health)
        if reason is None:
            return json_response(200, {"status": "ready"})
        response = problem(503, "Weir takes no new requests.", reason=reason)
        response.headers[hdrs.RETRY_AFTER] = str(RETRY_AFTER_S)
        return response

    async def healthz(self, request: web.Request) -> web.Response:
        report = await self._report.get()
        return json_response(200 if report.is_healthy else 503, report.document)

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=await expose(self._metrics), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})


def _guard(configured: frozenset[str]) -> Any:
    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if is_allowed_host(request.headers.get(hdrs.HOST), configured):
            response = await _answer(request, handler)
        else:
            response = problem(421, "This host is not served here.")
        response.force_close()  # one request a connection: then an old connection is a stalled one (runner.py)
        return response

    return guard


async def _answer(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        response = problem(error.status)
        if hdrs.ALLOW in error.headers:
            response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        return response
    except Exception:
        log.exception("an admin request failed")
        return problem(500)


async def _set_fields(request: web.BaseRequest, response: web.StreamResponse) -> None:
    response.headers.update(SECURITY_FIELDS)
    response.headers.popall(hdrs.SERVER, None)

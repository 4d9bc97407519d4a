"""/v1/upstreams: who answers, how busy it is, and who waits for it.

    GET /v1/upstreams           all of them
    GET /v1/upstreams/{name}    one of them

`pool` has the four numbers of connections and of those who wait, `{total, in_use, idle, waiting}`, of the upstream and
of each endpoint; always `total == in_use + idle`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from aiohttp import web

from proxy.admin.answers import Refusal, json_response

PREFIX: Final = "/v1/upstreams"


class UpstreamsOperator:
    """Goes into the application of the operator's API, whose guard asks for the token."""

    def __init__(self, status: Callable[[], Mapping[str, Any]]) -> None:
        """`status` is the registry's: by name of the upstream."""
        self._status = status

    def add_to(self, app: web.Application) -> None:
        app.router.add_get(PREFIX, self.all)
        app.router.add_get(PREFIX + "/{name}", self.one)

    async def all(self, request: web.Request) -> web.Response:
        found = [{"name": name, **status} for name, status in self._status().items()]
        return json_response(200, {"upstreams": found})

    async def one(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        known = self._status()
        if name not in known:
            raise Refusal(404, "There is no such upstream.", upstreams=list(known)[:50])
        return json_response(200, {"name": name, **known[name]})

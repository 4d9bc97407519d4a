"""/v1/replicas: where the databases stand, who is in rotation and why not, and what was learned about routes.

    GET /v1/replicas

It changes nothing. A route that is listed as pinned wants `read: primary` in the configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from proxy.admin.answers import json_response

if TYPE_CHECKING:
    from proxy.replicas.replicas import Replicas

PATH: Final = "/v1/replicas"


class ReplicasOperator:
    """Goes into the application of the operator's API, whose guard asks for the token."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas

    def add_to(self, app: web.Application) -> None:
        app.router.add_get(PATH, self.show)

    async def show(self, request: web.Request) -> web.Response:
        replicas = self._replicas
        upstreams = [
            {
                "upstream": name,
                "reads": dict(counts.reads),
                "writes": counts.writes,
                "reads_at_the_primary_instead": counts.falling_back,
            }
            for name, counts in replicas.counts.items()
        ]
        document = {
            "databases": [{"name": name, **detail} for name, detail in replicas.status().items()],
            "upstreams": upstreams,
            "sessions": {"known_here": sum(map(len, replicas.sessions.values())), "store": replicas.store_status()},
            "routes": replicas.lessons.documents(replicas.clock()),
        }
        return json_response(200, document)

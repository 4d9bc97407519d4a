"""The backend of these tests: counters in Postgres, and nothing that knows of replicas. One process for each instance.

    GET /counters/KEY      the value, 0 when there is none
    GET /cached/KEY        the same, with Cache-Control: max-age=60
    GET /slow/KEY          the same, after 0.4 s
    GET /visits/KEY        counts a visit, although it is a GET
    POST /counters/KEY     adds one, and gives the new value
    GET /broken            500

Run as `python shop.py PORT DSN NAME`. Every answer says in X-Instance who gave it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asyncpg
from aiohttp import web

ADD = "INSERT INTO counters VALUES ($1, 1) ON CONFLICT (key) DO UPDATE SET value = counters.value + 1 RETURNING value"


class Shop:
    def __init__(self, dsn: str, name: str) -> None:
        self._dsn = dsn
        self._fields = {"X-Instance": name}
        self._pool: Any = None

    async def get(self, request: web.Request) -> web.Response:
        return self._answer(await self._value(request))

    async def cached(self, request: web.Request) -> web.Response:
        response = self._answer(await self._value(request))
        response.headers["Cache-Control"] = "max-age=60"
        return response

    async def slow(self, request: web.Request) -> web.Response:
        await asyncio.sleep(0.4)
        return await self.cached(request)

    async def add(self, request: web.Request) -> web.Response:
        return self._answer(await self._ask(ADD, request.match_info["key"]))

    async def broken(self, request: web.Request) -> web.Response:
        return web.Response(status=500, headers=self._fields)

    async def _value(self, request: web.Request) -> int:
        return int(await self._ask("SELECT value FROM counters WHERE key = $1", request.match_info["key"]) or 0)

    async def _ask(self, statement: str, key: str) -> Any:
        for attempt in (1, 2):
            if self._pool is None:
                self._pool = await asyncpg.create_pool(self._dsn, min_size=1, max_size=10, command_timeout=10)
            try:
                return await self._pool.fetchval(statement, key)
            except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError):
                if attempt == 2:
                    raise

    def _answer(self, value: int) -> web.Response:
        return web.Response(text=str(value), headers=self._fields)


def main() -> None:
    port, dsn, name = sys.argv[1:]
    shop = Shop(dsn, name)
    app = web.Application()
    app.router.add_get("/counters/{key}", shop.get)
    app.router.add_post("/counters/{key}", shop.add)
    app.router.add_get("/cached/{key}", shop.cached)
    app.router.add_get("/slow/{key}", shop.slow)
    app.router.add_get("/visits/{key}", shop.add)
    app.router.add_get("/broken", shop.broken)
    asyncio.set_event_loop(asyncio.new_event_loop())
    web.run_app(app, host="127.0.0.1", port=int(port), print=None, access_log=None)


if __name__ == "__main__":
    main()

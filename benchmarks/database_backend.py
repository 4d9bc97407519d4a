"""A backend as many are: it takes a database connection that is free, and opens another when none is.

`python -m benchmarks.database_backend PORT MODE` with the connection string in DATABASE_URL. MODE: `kept` keeps
connections for the next request, `each` opens one for every request; neither has a bound, as neither has in most
frameworks. `pooled` is `kept` with the two settings that transaction pooling asks for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from aiohttp import web

ITEMS = 500


class Connections:
    def __init__(self, url: str, mode: str) -> None:
        self._url = url
        self._mode = mode
        self._idle: list[Any] = []

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Any]:
        connection = self._idle.pop() if self._idle else await self._open()
        try:
            async with connection.transaction():
                yield connection
        except BaseException:
            connection.terminate()
            raise
        if self._mode == "each":
            await connection.close()
        else:
            self._idle.append(connection)

    async def _open(self) -> Any:
        if self._mode == "pooled":
            return await asyncpg.connect(self._url, statement_cache_size=0)
        return await asyncpg.connect(self._url)


async def read(request: web.Request) -> web.Response:
    async with request.app[CONNECTIONS].take() as connection:
        row = await connection.fetchrow("SELECT id, name, stock FROM items WHERE id = $1", _number(request))
    return web.json_response(dict(row))


async def write(request: web.Request) -> web.Response:
    number = _number(request)
    async with request.app[CONNECTIONS].take() as connection:
        stock = await connection.fetchval("UPDATE items SET stock = stock - 1 WHERE id = $1 RETURNING stock", number)
        await connection.execute("INSERT INTO sales (item) VALUES ($1)", number)
    return web.json_response({"left": stock}, status=201)


def _number(request: web.Request) -> int:
    return int(request.match_info["id"])


async def healthz(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


@web.middleware
async def errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        return web.json_response({"error": str(error)}, status=500)
    return response


CONNECTIONS = web.AppKey("connections", Connections)


def main() -> None:
    app = web.Application(middlewares=[errors])
    app[CONNECTIONS] = Connections(os.environ["DATABASE_URL"], sys.argv[2])
    app.router.add_get("/items/{id}", read)
    app.router.add_post("/items/{id}", write)
    app.router.add_get("/healthz", healthz)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None, shutdown_timeout=1.0)


if __name__ == "__main__":
    main()

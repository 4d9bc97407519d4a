"""The shop as one application: its pages, its health, and the name of the instance on every answer."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from examples.marketplace import accounts, ai, catalogue, live, sales, transfers
from examples.marketplace.database import DATABASE, PRIMARY, Database, DatabaseError

MOST_CONTENT_BYTES = 16 * 1024 * 1024  # of what is read whole; uploads are streamed and have no limit here


def make_shop(path: Path, *, role: str, database: Any = None) -> web.Application:
    """The application over the database file at `path`, which every role but the primary opens read-only; or over
    `database`, a PostgresDatabase."""
    shop = web.Application(middlewares=[_errors_as_json], client_max_size=MOST_CONTENT_BYTES)
    shop[DATABASE] = database if database is not None else Database(path, read_only=role != PRIMARY)
    shop[live.SOCKETS] = set()
    shop.router.add_get("/healthz", _healthz)
    for module in (catalogue, sales, accounts, ai, live, transfers):
        shop.router.add_routes(module.routes)

    async def say_who(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Served-By"] = role

    shop.on_response_prepare.append(say_who)
    shop.on_shutdown.append(live.close_sockets)
    shop.cleanup_ctx.append(_database)
    return shop


async def _healthz(request: web.Request) -> web.Response:
    await request.app[DATABASE].check()
    return web.json_response({"status": "ok"})


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (sqlite3.Error, DatabaseError) as error:
        # What every backend does that was given a read-only database and asked to write.
        return web.json_response({"error": str(error)}, status=500)
    except web.HTTPException as error:
        if error.status < 400 or error.content_type == "application/json":
            raise
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        text = json.dumps({"error": error.reason.lower()})
        return web.Response(status=error.status, text=text, content_type="application/json", headers=headers)


async def _database(app: web.Application) -> AsyncIterator[None]:
    await app[DATABASE].open()
    yield
    await app[DATABASE].close()

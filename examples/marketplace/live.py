"""A WebSocket: what is sent comes back, and once a second comes the price of some product."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import Any, Final

from aiohttp import WSCloseCode, WSMsgType, web

from examples.marketplace.database import DATABASE

TICK_S: Final = 1.0
SOCKETS: Final = web.AppKey("sockets", set[web.WebSocketResponse])

routes = web.RouteTableDef()


@routes.get("/ws")
async def live(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(heartbeat=20.0)
    await socket.prepare(request)
    request.app[SOCKETS].add(socket)
    ticking = asyncio.create_task(_tick(socket, request.app))
    try:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
    except ConnectionError:
        pass  # the client left while an echo was on its way
    finally:
        ticking.cancel()
        request.app[SOCKETS].discard(socket)
    return socket


async def close_sockets(app: web.Application) -> None:
    """Say goodbye on shutdown: an open socket would otherwise hold it up."""
    sockets = app[SOCKETS]
    for socket in sockets.copy():
        with contextlib.suppress(ConnectionError):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the shop closes")


async def _tick(socket: web.WebSocketResponse, app: web.Application) -> None:
    number = 0
    with contextlib.suppress(ConnectionError):
        while not socket.closed:
            await asyncio.sleep(TICK_S)
            number += 1
            await socket.send_json({"tick": number, **await app[DATABASE].run(_price, number)})


def _price(connection: sqlite3.Connection, number: int) -> dict[str, Any]:
    row = connection.execute(
        "SELECT sku, price_cents FROM products ORDER BY id LIMIT 1 OFFSET ? % (SELECT count(*) FROM products)",
        (number,),
    ).fetchone()
    return dict(row)

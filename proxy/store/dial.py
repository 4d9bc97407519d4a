"""To connect to one server and log in."""

from __future__ import annotations

import asyncio
from typing import Final

from proxy.store.errors import StoreLost
from proxy.store.url import Endpoint
from proxy.store.wire import Wire

CONNECT_TIMEOUT_S: Final = 1.0


async def dial(endpoint: Endpoint) -> Wire:
    """An open connection, logged in. In CONNECT_TIMEOUT_S, or StoreLost. The caller closes it."""
    wire: Wire | None = None
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            wire = await _connect(endpoint)
            await _log_in(wire, endpoint)
    except BaseException as error:
        if wire is not None:
            wire.close()
        if isinstance(error, TimeoutError):
            raise StoreLost(f"no connection to {endpoint} within {CONNECT_TIMEOUT_S:.0f} s") from error
        if isinstance(error, OSError | ValueError):  # TLS and its files included
            raise StoreLost(f"no connection to {endpoint}: {' '.join(str(error).split())[:200]}") from error
        raise
    return wire


async def _connect(endpoint: Endpoint) -> Wire:
    loop = asyncio.get_running_loop()
    context = endpoint.tls.context() if endpoint.tls is not None else None
    if endpoint.path is not None:
        _, wire = await loop.create_unix_connection(Wire, endpoint.path)
    elif context is None:
        _, wire = await loop.create_connection(Wire, endpoint.host, endpoint.port)
    else:
        _, wire = await loop.create_connection(
            Wire, endpoint.host, endpoint.port, ssl=context, server_hostname=endpoint.host
        )
    return wire


async def _log_in(wire: Wire, endpoint: Endpoint) -> None:
    if endpoint.password is not None:
        words = [word for word in (endpoint.username, endpoint.password) if word is not None]
        await wire.call("AUTH", *words)
    try:
        await wire.call("CLIENT", "SETNAME", endpoint.client_name)
    except StoreLost as lost:  # a user who may not: the name is only for the operator's eyes
        if not lost.word or lost.word == "NOAUTH":
            raise
    if endpoint.db:
        await wire.call("SELECT", endpoint.db)

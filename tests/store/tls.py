"""TLS in front of a server that has none: Valkey from its wheel is built without."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any


@asynccontextmanager
async def tls_in_front(
    path: Path | str, certificate: tuple[Path, Path], clients: Path | None = None, newest: ssl.TLSVersion | None = None
) -> AsyncIterator[int]:
    """Ends TLS before the unix socket at `path`. Gives the port. `clients`: the authority whose certificate they need.
    `newest`: of the versions that the server speaks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if newest is not None:
        context.maximum_version = newest
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    relays: set[asyncio.Task[Any]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relays.add(asyncio.current_task())  # type: ignore[arg-type]
        to_reader, to_writer = await asyncio.open_unix_connection(path)
        await asyncio.gather(relay(reader, to_writer), relay(to_reader, writer))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for task in relays:
            task.cancel()
        await asyncio.gather(*relays, return_exceptions=True)

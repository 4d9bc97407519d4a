"""Connections of ours against real sockets: a client that writes bytes, a backend that answers what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from proxy.clients.addresses import connection_client
from proxy.core.clock import monotonic
from proxy.core.errors import ErrorKind, ProxyError
from proxy.core.ids import RequestIds
from proxy.exchange import Exchange
from proxy.http.message import Request, Response
from proxy.wire.connect import open_connection
from proxy.wire.downstream import DownstreamConnection
from proxy.wire.host import Host
from proxy.wire.limits import HIGH_WATER_BYTES, WireLimits
from proxy.wire.spool import SpoolRoom
from proxy.wire.stage import explain, respond
from proxy.wire.timers import Timers
from proxy.wire.upstream import UpstreamConnection
from tests.snapshots import a_snapshot

Answer = Callable[[Exchange], Awaitable[Response]]


class Proxy:
    """The wire without the line: `answer` stands where the stages between accept and respond would."""

    def __init__(self) -> None:
        self.answer: Answer = self._nothing
        self.requests: list[Request] = []
        self.exchanges: list[Exchange] = []
        self.outcomes: list[str] = []
        self.ids = RequestIds()
        self.down_timers = Timers(0.05)
        self.up_timers = Timers(0.02)
        self.released: list[bool] = []
        self.idle: list[UpstreamConnection] = []
        self.room: SpoolRoom | None = None
        self.backend_port = 0
        self.port = 0
        self.host = Host(
            limits=WireLimits(),
            timers=self.down_timers,
            serve=lambda connection, request: self.serve(connection, request),
            refuse=self.refuse,
            welcome=self.welcome,
        )

    def welcome(self, connection: DownstreamConnection) -> None:
        connection.peer = connection_client(("127.0.0.1", 1))

    def refuse(self, connection: DownstreamConnection, error: ProxyError) -> bytes:
        self.outcomes.append(error.kind.value)
        return b"HTTP/1.1 %d Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % error.kind.status

    async def serve(self, connection: DownstreamConnection, request: Request) -> None:
        exchange = Exchange(request, a_snapshot(), connection, connection.peer, False, self.ids.next(), monotonic())
        self.requests.append(request)
        self.exchanges.append(exchange)
        try:
            try:
                response = await self.answer(exchange)
            except ProxyError as error:
                self.outcomes.append(error.kind.value)
                if error.kind is ErrorKind.CLIENT_DISCONNECTED:
                    raise
                response = explain(error, exchange.id)
            if (content := respond(exchange, response)) is not None:
                await content
            self.outcomes.append("done")
        except ProxyError as error:
            self.outcomes.append("cut " + error.kind.value)
        except asyncio.CancelledError:
            self.outcomes.append("cancelled")
        finally:
            connection.end(monotonic())

    async def _nothing(self, exchange: Exchange) -> Response:
        return Response(200, b"OK", [], b"hello")

    async def connect(self) -> UpstreamConnection:
        while self.idle:
            connection = self.idle.pop()
            if connection.is_clean:
                return connection
        return await open_connection(
            host="127.0.0.1",
            port=self.backend_port,
            unix_path=None,
            ssl=None,
            server_name=None,
            timeout_s=2.0,
            max_head_bytes=32768,
            timers=self.up_timers,
            room=self.room,
        )

    async def forward(self, exchange: Exchange) -> Response:
        """Send the request on, the way upstreams/stage.py does, without pools and fields."""
        request = exchange.request
        body = request.body
        if body is not None and not body.is_complete:
            await body.prefill(HIGH_WATER_BYTES)
        connection = await self.connect()

        def release(clean: bool) -> None:
            self.released.append(clean)
            if clean:
                self.idle.append(connection)

        head = b"%b %b HTTP/1.1\r\nHost: backend\r\n" % (request.method, request.target)
        rest = None
        if body is not None and body.may_replay:
            content = body.whole()
            head += b"Content-Length: %d\r\n\r\n" % len(content) + content
        elif body is not None:
            rest = body
            head += (
                b"Transfer-Encoding: chunked\r\n\r\n"
                if body.length is None
                else b"Content-Length: %d\r\n\r\n" % body.length
            )
        elif request.upgrade:
            head += b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        else:
            head += b"\r\n"
        try:
            return await connection.send(
                head,
                rest,
                expects_none=request.method == b"HEAD",
                upgrade=bool(request.upgrade),
                deadline_at=monotonic() + 2.0,
                stall_s=1.0,
                release=release,
                informational=exchange.downstream.informational,
            )
        except ProxyError:
            raise
        except BaseException:
            connection.close()
            raise


class Backend:
    """Answers each connection's bytes by a script: `script(reader, writer)`. Records what it received."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.connections = 0
        self.script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] = self._silent
        self.closed = asyncio.Event()

    def replies(self, *replies: bytes, close: bool = False) -> None:
        """One reply for each request head that arrives, then silence or the end of the connection."""

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for reply in replies:
                self.received += await reader.readuntil(b"\r\n\r\n")
                writer.write(reply)
                await writer.drain()
            if not close:
                self.received += await reader.read()

        self.script = script

    async def _silent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received += await reader.read()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.closed.set()


class Client:
    """A socket that says exactly what it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def says(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def response(self) -> tuple[int, bytes, bytes]:
        """(status, head, content) of one response."""
        head = await self.head()
        status = int(head.split(b" ", 2)[1])
        lower = head.lower()
        async with asyncio.timeout(5):
            if b"transfer-encoding: chunked" in lower:
                content = b""
                while size := int(await self.reader.readuntil(b"\r\n"), 16):
                    content += await self.reader.readexactly(size)
                    await self.reader.readexactly(2)
                await self.reader.readexactly(2)
                return status, head, content
            length = [line for line in lower.split(b"\r\n") if line.startswith(b"content-length:")]
            content = await self.reader.readexactly(int(length[0].split(b":")[1])) if length and status != 304 else b""
        return status, head, content

    async def rest(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.read()

    async def is_closed(self) -> bool:
        try:
            return await self.rest() == b""
        except ConnectionError:
            return True


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    made = Backend()
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    yield made
    server.close()


@pytest.fixture
async def proxy(backend: Any) -> AsyncIterator[Proxy]:
    made = Proxy()
    made.backend_port = backend.port
    loop = asyncio.get_running_loop()
    made.down_timers.start(loop)
    made.up_timers.start(loop)
    server = await loop.create_server(lambda: DownstreamConnection(made.host), "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    for connection in list(made.host.connections):
        connection.transport.abort()
    for upstream in made.idle:
        upstream.transport.abort()
    await asyncio.sleep(0)
    made.down_timers.stop()
    made.up_timers.stop()


@pytest.fixture
async def connect(proxy: Proxy) -> AsyncIterator[Callable[[], Awaitable[Client]]]:
    clients: list[Client] = []

    async def make() -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", proxy.port, limit=2**24))
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.writer.close()


async def until(condition: Callable[[], bool], timeout_s: float = 3.0) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.fixture(name="until")
def _until() -> Any:
    return until

"""Real sockets on loopback: a backend that can be told to misbehave, and the smallest connection a pool can hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import pytest

from proxy.core.errors import ErrorKind, ProxyError
from proxy.upstreams.address import Address, parse_address


class Clock:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        self.now += seconds
        return self.now


class LineConnection(asyncio.Protocol):
    """A line out, a line in. It closes itself on any byte or end of file that nobody asked for (W1)."""

    def __init__(self, opened_at: float) -> None:
        self.opened_at = opened_at
        self.on_closed: Callable[[LineConnection], None] | None = None
        self.is_clean = False
        self._answer: asyncio.Future[bytes] | None = None
        self.transport: asyncio.Transport

    async def ask(self, line: bytes = b"hello\n") -> bytes:
        self.is_clean = False
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(line)
        answer = await self._answer
        self._answer = None
        self.is_clean = True
        return answer

    def close(self) -> None:
        self.is_clean = False
        self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods only
        self.is_clean = True

    def data_received(self, data: bytes) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(data)
        else:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_clean = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ProxyError(ErrorKind.CONNECTION_RESET))
        if self.on_closed is not None:
            self.on_closed(self)


class Backend:
    """Echoes lines. `open` holds its connections in the order in which they came."""

    def __init__(self) -> None:
        self.open: list[asyncio.StreamWriter] = []
        self.accepted = 0
        self.port = 0
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Stop listening; what is open stays open."""
        assert self._server is not None
        self._server.close()
        await asyncio.sleep(0)

    async def stop(self) -> None:
        await self.refuse()
        for writer in self.open:
            writer.close()
        await wait_until(lambda: not self.open)

    @property
    def address(self) -> Address:
        return parse_address(f"http://127.0.0.1:{self.port}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open.append(writer)
        try:
            while line := await reader.readline():
                writer.write(line)
        except ConnectionError:
            pass
        finally:
            self.open.remove(writer)
            writer.close()


async def open_line_connection(address: Address, opened_at: float) -> LineConnection:
    """As the wire does it: every failure becomes a ProxyError."""
    loop = asyncio.get_running_loop()
    try:
        _, connection = await loop.create_connection(lambda: LineConnection(opened_at), address.host, address.port)
    except OSError as error:
        raise ProxyError(ErrorKind.CONNECT_REFUSED, str(error)) from error
    return connection


async def wait_until(condition: Callable[[], bool]) -> None:
    """Let sockets do their work until `condition` holds; fails after 5 s."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def start_backend() -> AsyncIterator[Callable[[], Awaitable[Backend]]]:
    backends: list[Backend] = []

    async def start() -> Backend:
        backend = Backend()
        await backend.listen()
        backends.append(backend)
        return backend

    yield start
    for backend in backends:
        await backend.stop()


@pytest.fixture
async def backend(start_backend: Callable[[], Awaitable[Backend]]) -> Backend:
    return await start_backend()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    return wait_until


@pytest.fixture
def open_line() -> Callable[[Address, float], Awaitable[LineConnection]]:
    return open_line_connection

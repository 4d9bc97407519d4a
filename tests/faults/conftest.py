"""A backend, a network before it that can fail, and what fetches through both."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest

from tests.faults.tcp import FaultProxy


class Origin:
    """Answers every request, and counts those that it has executed."""

    def __init__(self) -> None:
        self.executed: Counter[bytes] = Counter()
        self.statuses: dict[bytes, bytes] = {}
        self.wait_s: Callable[[], float] = lambda: 0.0  # before an answer
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        while self._writers:
            await asyncio.sleep(0.001)

    def cut(self) -> None:
        """End every connection, in the middle of whatever it is."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = head.split(b" ", 2)
                if b"content-length: " in head.lower():
                    await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                self.executed[method + b" " + target] += 1
                if wait_s := self.wait_s():
                    await asyncio.sleep(wait_s)
                content = b"x" * (20_000 if target.startswith(b"/large") else 200)
                status = self.statuses.get(target, b"200 OK")
                if target.startswith(b"/chunked"):
                    framing, content = b"Transfer-Encoding: chunked", b"c8\r\n" + content + b"\r\n0\r\n\r\n"
                else:
                    framing = b"Content-Length: %d" % len(content)
                writer.write(b"HTTP/1.1 %b\r\n%b\r\n\r\n%b" % (status, framing, content))
                await writer.drain()
        except (EOFError, OSError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    made = Origin()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def network(origin: Origin) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(origin.port, seed=1) as made:
        yield made

"""A backend that keeps every byte it receives, reads it strictly, and answers by script."""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from tests.conformance.strict import Message, Rules, Violation, take_request

NEIGHBOUR = b"/neighbour/"  # targets of clean requests between the cases: answered, and not kept
KEPT_BYTES = 256 * 1024


@dataclass(slots=True)
class Script:
    """What to answer: pieces written one after the other, `pause_s` between them, and whether to close behind them.

    `reset` closes with an RST. `waits` leaves the connection open and silent after the pieces.
    """

    pieces: tuple[bytes, ...] = ()
    close: bool = False
    reset: bool = False
    pause_s: float = 0.0


@dataclass(slots=True)
class Recorded:
    """What one connection received."""

    data: bytearray = field(default_factory=bytearray)  # the last of it
    violation: str | None = None
    is_open: bool = True


class Backend:
    """Listens on a free port. Answers are echoes of what was read, so that a wrong one cannot pass for a right one."""

    def __init__(self) -> None:
        self.port = 0
        self.connections: list[Recorded] = []
        self.by_peer: dict[bytes, list[Message]] = defaultdict(list)  # by X-Forwarded-For: whose request it was
        self.violations: list[tuple[str, bytes]] = []
        self.scripts: dict[bytes, Script] = {}  # by target
        self.open: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self.open):
            connection.transport.abort()
        await asyncio.sleep(0)

    def forget(self) -> None:
        """Begin to record anew."""
        self.connections = [connection.recorded for connection in self.open]
        for recorded in self.connections:
            recorded.data.clear()
        self.by_peer.clear()
        self.violations.clear()


def echo(peer: bytes, method: bytes, target: bytes, body: bytes) -> bytes:
    """The content that an unscripted request is answered with."""
    return b"%b %b %b %d %08x" % (peer, method, target, len(body), zlib.crc32(body))


class _Connection(asyncio.Protocol):
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._buffer = bytearray()
        self._is_tunnel = False
        self._is_busy = False
        self.recorded = Recorded()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._backend.open.add(self)
        self._backend.connections.append(self.recorded)

    def connection_lost(self, exc: Exception | None) -> None:
        self._backend.open.discard(self)
        if len(self._backend.connections) > 1000:
            self._backend.connections = [recorded for recorded in self._backend.connections if recorded.is_open]
        self.recorded.is_open = False

    def data_received(self, data: bytes) -> None:
        self.recorded.data += data
        if len(self.recorded.data) > KEPT_BYTES:
            del self.recorded.data[: KEPT_BYTES // 2]
        if self._is_tunnel:
            self.transport.write(data)
            return
        self._buffer += data
        self._read()

    def _read(self) -> None:
        while self._buffer and not self._is_tunnel and not self._is_busy and self.recorded.violation is None:
            try:
                taken = take_request(self._buffer, Rules.UPSTREAM)
            except Violation as violation:
                self.recorded.violation = str(violation)
                self._backend.violations.append((str(violation), bytes(self._buffer)))
                self.transport.close()
                return
            if taken is None:
                return
            message, size = taken
            del self._buffer[:size]
            if self._buffer:  # Weir never pipelines: a second request here is one that was inside the first
                self.recorded.violation = "bytes behind a request"
                self._backend.violations.append(("bytes behind a request", bytes(self._buffer)))
            if not message.target.startswith(NEIGHBOUR):
                self._backend.by_peer[message.get(b"x-forwarded-for") or b""].append(message)
            self._answer(message)

    def _answer(self, message: Message) -> None:
        script = self._backend.scripts.get(message.target)
        if script is not None:
            self._play(script, 0)
        elif message.get(b"upgrade") is not None:
            self._is_tunnel = True
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                + bytes(self._buffer)
            )
        else:
            content = echo(message.get(b"x-forwarded-for") or b"", message.method, message.target, message.body)
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content)
            self.transport.write(head if message.method == b"HEAD" else head + content)

    def _play(self, script: Script, at: int) -> None:
        self._is_busy = True
        if self.transport.is_closing():
            return
        if at < len(script.pieces):
            self.transport.write(script.pieces[at])
            if script.pause_s:
                asyncio.get_running_loop().call_later(script.pause_s, self._play, script, at + 1)
            else:
                self._play(script, at + 1)
        elif script.reset:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        elif script.close:
            self.transport.close()
        else:
            self._is_busy = False
            self._read()


Answer = Callable[[Message], bytes]

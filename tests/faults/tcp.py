"""A TCP proxy that does what networks do: late, slow, in small pieces, cut, reset, silent. Seeded, so it does it again.

    async with FaultProxy(port_of_the_backend, seed=7) as network:
        network.faults = lambda connection, draw: Fault(delay_s=draw.uniform(0, 0.1))

A fault is chosen when a connection is accepted and is the connection's for its life. `down` is the way from the backend
to the client, `up` the other. Needs nothing of Weir, and lives on whatever event loop it is started on:
`hub.do(FaultProxy(port).start())` puts it on the thread of the line's backends.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["Fault", "FaultProxy", "any_fault"]


@dataclass(frozen=True)
class Fault:
    """What happens on one connection. The default is nothing at all."""

    delay_s: float = 0.0  # of each piece, both ways
    jitter_s: float = 0.0  # up to this on top of it
    drip_bytes: int = 0  # pass on pieces of this size, with `delay_s` before each
    bytes_per_s: float = 0.0  # bandwidth, each way; 0: no bound
    cut_after: int = -1  # bytes down, then an orderly end (FIN); -1: never
    reset_after: int = -1  # bytes down, then a reset (RST)
    stall_after: int = -1  # bytes down, then nothing more, with everything open: half open
    stall_up_after: int = -1  # bytes up; the backend never sees the rest
    is_black_hole: bool = False  # accepted, and never connected any further

    def piece(self, data: bytes, limit: int, passed: int) -> bytes:
        return data if limit < 0 else data[: max(limit - passed, 0)]


Chooser = Callable[[int, random.Random], Fault]


def any_fault(number: int, draw: random.Random) -> Fault:
    """Half of the connections are well; the others have one of everything."""
    if draw.random() < 0.5:
        return Fault()
    after = draw.choice([0, 1, 17, 60, 200, 5000])
    return draw.choice(
        [
            Fault(delay_s=draw.uniform(0, 0.05), jitter_s=0.02),
            Fault(drip_bytes=draw.choice([1, 7, 64]), delay_s=0.0005),
            Fault(bytes_per_s=200_000.0),
            Fault(cut_after=after),
            Fault(reset_after=after),
            Fault(stall_after=after),
            Fault(stall_up_after=draw.choice([0, 1, 40])),
            Fault(is_black_hole=True),
        ]
    )


class FaultProxy:
    """Listens on a port of its own and passes everything on to `target_port`, as far as its faults let it."""

    def __init__(self, target_port: int, *, seed: int = 0, host: str = "127.0.0.1") -> None:
        self.target_port = target_port
        self.host = host
        self.port = 0
        self.faults: Chooser = lambda number, draw: Fault()
        self.accepted = 0
        self._draw = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def open(self) -> int:
        """Connections of clients that are open."""
        return len(self._links)

    def always(self, fault: Fault) -> None:
        self.faults = lambda number, draw: fault

    def first(self, fault: Fault, count: int = 1) -> None:
        """The next `count` connections have it, and no other."""
        begin = self.accepted
        self.faults = lambda number, draw: fault if number <= begin + count else Fault()

    async def start(self) -> FaultProxy:
        """Listen; again on the same port after `refuse`."""
        self._server = await asyncio.start_server(self._accept, self.host, self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def refuse(self) -> None:
        """Stop listening. What is open stays open."""
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0)

    def cut_all(self, *, reset: bool = False) -> None:
        """End every connection, as a backend does that exits, or that is killed."""
        for link in list(self._links):
            link.end(reset=reset)

    async def stop(self) -> None:
        await self.refuse()
        self.cut_all(reset=True)
        while self._links:
            await asyncio.sleep(0.001)

    async def __aenter__(self) -> FaultProxy:
        return await self.start()

    async def __aexit__(self, *_: Any) -> None:
        await self.stop()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        link = _Link(reader, writer, self.faults(self.accepted, self._draw), random.Random(self._draw.random()))
        self._links.add(link)
        try:
            await link.run(self.host, self.target_port)
        finally:
            link.end(reset=False)
            self._links.discard(link)


class _Link:
    """One connection, and the one behind it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault, draw: random.Random
    ) -> None:
        self._client = (reader, writer)
        self._backend: asyncio.StreamWriter | None = None
        self._fault = fault
        self._draw = draw
        self._ended = asyncio.Event()

    async def run(self, host: str, port: int) -> None:
        if self._fault.is_black_hole:
            await self._swallow()
            return
        try:
            backend_reader, self._backend = await asyncio.open_connection(host, port)
        except OSError:
            self.end(reset=True)
            return
        fault = self._fault
        ways = [
            asyncio.ensure_future(self._pass(self._client[0], self._backend, replace(fault, cut_after=-1), up=True)),
            asyncio.ensure_future(self._pass(backend_reader, self._client[1], fault, up=False)),
        ]
        try:
            # an end on either side ends both: who half closes is not what is tested here
            await asyncio.wait(
                [*ways, ending := asyncio.ensure_future(self._ended.wait())], return_when="FIRST_COMPLETED"
            )
            ending.cancel()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    def end(self, *, reset: bool) -> None:
        self._ended.set()
        for writer in (self._client[1], self._backend):
            if writer is not None and not writer.transport.is_closing():
                if reset:
                    raw = writer.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                else:
                    writer.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault, *, up: bool
    ) -> None:
        passed = 0
        stall = fault.stall_up_after if up else fault.stall_after
        limits = [
            limit for limit in (stall, -1 if up else fault.cut_after, -1 if up else fault.reset_after) if limit >= 0
        ]
        limit = min(limits, default=-1)
        try:
            if limit == 0 and not up:
                # the request has to arrive first, or it would be the connect that failed
                await reader.read(1)
                await self._at_limit(limit, stall, fault, up=up)
                return
            while data := await reader.read(fault.drip_bytes or 65536):
                for piece in [fault.piece(data, limit, passed)]:
                    if fault.delay_s or fault.jitter_s:
                        await asyncio.sleep(fault.delay_s + self._draw.uniform(0.0, fault.jitter_s))
                    if fault.bytes_per_s:
                        await asyncio.sleep(len(piece) / fault.bytes_per_s)
                    passed += len(piece)
                    writer.write(piece)
                    await writer.drain()
                if limit >= 0 and passed >= limit:
                    await self._at_limit(limit, stall, fault, up=up)
                    return
        except OSError:
            pass

    async def _at_limit(self, limit: int, stall: int, fault: Fault, *, up: bool) -> None:
        if limit != stall:
            self.end(reset=limit == fault.reset_after)
        elif up:
            await self._swallow()
        else:
            await self._ended.wait()  # the way up sees it when the client leaves, and ends the link

    async def _swallow(self) -> None:
        """Take what the client says, and pass nothing on, until it leaves."""
        with contextlib.suppress(OSError):
            while await self._client[0].read(65536):
                pass

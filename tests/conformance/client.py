"""Clients that say exactly what they are told, and read the answers strictly."""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import cast

from tests.conformance.backend import Backend, echo
from tests.conformance.strict import Message, Violation, take_response

# On Linux all of 127/8 is ours, so every client has an address of its own, and Weir's X-Forwarded-For tells whose
# request the backend saw. Elsewhere cases run one at a time.
HAS_ADDRESSES = sys.platform == "linux"
_numbers = itertools.count(0x010101)


def next_address() -> str:
    if not HAS_ADDRESSES:
        return "127.0.0.1"
    number = next(_numbers) % 0xFEFFFF or 0x010101
    return f"127.{number >> 16}.{number >> 8 & 255}.{number & 255}"


class Client(asyncio.Protocol):
    """One connection. `finals` are the final responses read so far, `violation` why reading stopped."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.peer = address.encode()
        self.received = bytearray()
        self.finals: list[Message] = []
        self.interims: list[Message] = []
        self.violation: str | None = None
        self.is_over = False  # the other side is done
        self.was_reset = False
        self.methods: list[bytes] = []  # of the requests whose answers are awaited
        self._at = 0
        self._wake = asyncio.Event()
        self.transport: asyncio.Transport

    @classmethod
    async def connect(cls, port: int, *, address: str | None = None) -> Client:
        address = address or next_address()
        made = cls(address)
        await asyncio.get_running_loop().create_connection(
            lambda: made, "127.0.0.1", port, local_addr=(address, 0) if HAS_ADDRESSES else None
        )
        return made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._wake.set()

    def eof_received(self) -> bool:
        self.is_over = True
        self._wake.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_over = True
        self.was_reset = exc is not None
        self._wake.set()

    def says(self, data: bytes, *methods: bytes) -> None:
        """Send bytes; `methods` are those of the requests in them that are answered."""
        self.methods += methods
        self.transport.write(data)

    def shuts_its_side(self) -> None:
        if not self.transport.is_closing():
            self.transport.write_eof()

    def close(self) -> None:
        self.transport.abort()

    async def answers(
        self, count: int, *, until_over: bool = False, stays: bool = False, timeout_s: float = 3.0
    ) -> bool:
        """Wait for `count` final responses in all, or for the end. False when neither came in time.

        After a response that is not a success the end is awaited, unless `stays`: a message that was refused leaves
        nothing to go on with.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    self._wake.clear()
                    self._take()
                    is_enough = len(self.finals) >= count and not until_over
                    if self.is_over or self.violation or (is_enough and (stays or self.finals[-1].status < 400)):
                        return True
                    await self._wake.wait()
        except TimeoutError:
            return False

    async def get(self, target: bytes, backend: Backend) -> str | None:
        """A clean request on this connection; what was wrong with its answer, or None."""
        before = len(self.finals)
        self.says(b"GET %b HTTP/1.1\r\nHost: neighbour.test\r\n\r\n" % target, b"GET")
        if not await self.answers(before + 1):
            return "no answer"
        if self.violation is not None:
            return f"unreadable: {self.violation}"
        if len(self.finals) != before + 1:
            return "closed" if len(self.finals) == before else "several answers"
        answer = self.finals[-1]
        if answer.status != 200 or answer.body != echo(self.peer, b"GET", target, b""):
            return f"wrong answer: {answer.status} {answer.body[:120]!r}"
        return None

    def _take(self) -> None:
        while self.violation is None and (self._at < len(self.received)):
            method = self.methods[len(self.finals)] if len(self.finals) < len(self.methods) else b"GET"
            try:
                taken = take_response(self.received[self._at :], method, self.is_over)
            except Violation as violation:
                self.violation = str(violation)
                return
            if taken is None:
                return
            message, size = taken
            self._at += size
            (self.interims if message.status < 200 and message.status != 101 else self.finals).append(message)
            if message.status == 101:
                return

    @property
    def unread(self) -> bytes:
        """Bytes behind the last whole response."""
        return bytes(self.received[self._at :])


class Neighbour:
    """The other client: after every case it asks something clean, and must get its own right answer."""

    def __init__(self, port: int, backend: Backend) -> None:
        self._port = port
        self._backend = backend
        self._client: Client | None = None
        self._count = 0

    async def ask(self) -> str | None:
        if self._client is None or self._client.is_over or self._count % 200 == 0:
            self.close()
            self._client = await Client.connect(self._port)
        self._count += 1
        found = await self._client.get(b"/neighbour/%d" % self._count, self._backend)
        if found is not None:
            self.close()
        return found

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

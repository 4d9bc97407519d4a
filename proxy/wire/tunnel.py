"""After a 101: bytes both ways until either side ends (RFC 9110 §7.8)."""

from __future__ import annotations

import asyncio
from typing import Protocol

from proxy.core.tasks import Signal
from proxy.wire.limits import HIGH_WATER_BYTES


class Tunnelled(Protocol):
    """A connection that hands its bytes over to a tunnel."""

    transport: asyncio.Transport

    def enter_tunnel(self, end: TunnelEnd) -> bytes:
        """From now on give every byte to `end`; return those that came early."""


class TunnelEnd:
    """One side: what it receives is written to the other side's transport."""

    __slots__ = ("_tunnel", "other", "received_bytes", "transport")

    def __init__(self, tunnel: Tunnel, transport: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self.transport = transport
        self.other: TunnelEnd
        self.received_bytes = 0

    def feed(self, data: bytes) -> None:
        self.received_bytes += len(data)
        self.other.transport.write(data)

    def pause_writing(self) -> None:
        """This side takes no more: stop reading the other."""
        if not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def ended(self) -> None:
        """This side said that it is done: flush and close the other. Neither protocol of use half-closes."""
        self._tunnel.close()


class Tunnel:
    """Joins a client's connection and an endpoint's. `await closed()` until either ends."""

    __slots__ = ("_closed", "down", "up")

    def __init__(self, downstream: Tunnelled, upstream: Tunnelled) -> None:
        self.down = TunnelEnd(self, downstream.transport)
        self.up = TunnelEnd(self, upstream.transport)
        self.down.other, self.up.other = self.up, self.down
        self._closed: Signal[None] = Signal()
        for end in (self.down, self.up):
            end.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        if early := upstream.enter_tunnel(self.up):
            self.up.feed(early)
        if early := downstream.enter_tunnel(self.down):
            self.down.feed(early)

    async def closed(self) -> None:
        """Wait until both sides are closed. On cancellation both are cut."""
        try:
            await self._closed
        except BaseException:
            self.down.transport.abort()
            self.up.transport.abort()
            raise
        self.down.transport.close()
        self.up.transport.close()

    def close(self) -> None:
        if not self._closed.done():
            self._closed.set_result(None)

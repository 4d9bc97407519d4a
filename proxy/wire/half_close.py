"""A client that stops sending: has it left, or is it only done talking?

Both look the same, a FIN. A client that shut its write side after a whole request must get its answer (W24); one that
closed the socket must free its endpoint at once (W15). Something has to be sent to tell them apart: a closed socket
answers with a reset. 100 Continue may be sent at any time before the final response and every client has to skip it
(RFC 9110 §15.2), so that is what is sent. Once a response is on its way only its own bytes can be: as long as they
flow, the reset will come by itself; where they do not, the client counts as gone.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

PROBE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LOOKS_S: Final = (0.01, 0.03, 0.09)  # when to look for the reset; a far client takes a round trip
STREAM_LOOK_S: Final = 0.08


def watch(transport: asyncio.Transport, gone: Callable[[], None]) -> None:
    """Send the probe and call `gone` if the peer turns out to have closed. Looks three times, then believes it."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family == getattr(socket, "AF_UNIX", None):
        return
    transport.write(PROBE)
    loop = asyncio.get_running_loop()

    def look() -> None:
        if not transport.is_closing() and has_reset(transport):
            gone()

    for delay_s in LOOKS_S:
        loop.call_later(delay_s, look)


def has_reset(transport: asyncio.Transport) -> bool:
    """A reset has come that nobody was told of yet. True once only: asking takes it from the socket."""
    sock = transport.get_extra_info("socket")
    return sock is not None and sock.fileno() >= 0 and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def watch_stream(loop: asyncio.AbstractEventLoop, writes: Callable[[], int], gone: Callable[[], None]) -> None:
    """The client stopped sending in mid-response: call `gone` unless there is another write before each look."""

    def look(looks: int, before: int) -> None:
        now = writes()
        if now == before:
            gone()
        elif looks:
            loop.call_later(STREAM_LOOK_S, look, looks - 1, now)

    loop.call_later(STREAM_LOOK_S, look, 3, writes())

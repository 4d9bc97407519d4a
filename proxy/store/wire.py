"""One connection that speaks RESP2: bytes out, replies in, in the order in which they were asked for.

A reply goes straight from `data_received` to who asked for it: no stream, no task, no timeout object for each call.
That is most of the processor time of a round trip. What must hold:

- Nothing is ever sent twice from here, and what was asked is never taken back: a charge may have happened.
- A connection is closed at once when it ends, says something that nobody asked for, or owes an answer for too long.
  Whoever waits is told then. So a late reply can never be taken for the answer to something else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from hiredis import ProtocolError, Reader, ReplyError

from proxy.core.clock import monotonic
from proxy.store.errors import StoreLost, explain

__all__ = ["CALL_TIMEOUT_S", "Handler", "ReplyError", "Wire"]

CALL_TIMEOUT_S = 1.0  # far beyond any request's patience: only then is the connection given up
_GRACE_S: Final = 0.001  # for a reply that is here already, unread because this process stood still
_NOTHING: Final = object()

Handler = Callable[[Any, Any], None]
"""Gets a reply, a ReplyError of the server or a StoreLost, and what was given along. Must not wait or raise."""


class Wire(asyncio.Protocol):
    """Made by `store.dial`. Any number of questions may be under way."""

    __slots__ = (
        "_asked_at",
        "_handlers",
        "_is_last_look",
        "_loop",
        "_reader",
        "_reason",
        "_timer",
        "_transport",
        "is_open",
        "on_push",
        "told",
    )

    def __init__(self) -> None:
        self.is_open = False
        self.told: set[int] = set()  # for its user: what need not be said again on this connection
        self.on_push: Callable[[list[Any]], None] | None = None  # gets the messages of a subscription
        self._reason = "not connected"  # why it is not open
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(notEnoughData=_NOTHING)
        self._transport: Any = None
        self._handlers: deque[tuple[Handler, Any]] = deque()
        self._asked_at = 0.0  # since when the oldest question waits, without any answer meanwhile
        self._timer: asyncio.Handle | None = None
        self._is_last_look = False

    def ask(self, command: bytes, handler: Handler, context: Any) -> None:
        """Send one command. The handler is called exactly once, before this returns if the connection is closed."""
        if not self.is_open:
            handler(StoreLost(self._reason), context)
            return
        self._expect(handler, context)
        self._transport.write(command)

    def ask_all(self, commands: list[bytes], handlers: list[tuple[Handler, Any]]) -> None:
        """The same for several commands, in one write. As many handlers, in the same order."""
        if not self.is_open:
            for handler, context in handlers:
                handler(StoreLost(self._reason), context)
            return
        for handler, context in handlers:
            self._expect(handler, context)
        self._transport.write(b"".join(commands))

    async def call(self, *words: str | int) -> Any:
        """One command whose reply is waited for. Raises StoreLost, also for an error reply: nothing is closed then."""
        answered: asyncio.Future[Any] = self._loop.create_future()
        self.ask(_pack(words), _set, answered)
        reply = await answered
        if isinstance(reply, StoreLost):
            raise reply
        if isinstance(reply, ReplyError):
            raise explain(str(reply))
        return reply

    def close(self, reason: str = "the connection was closed") -> None:
        """At once, without waiting. Whoever waits for an answer gets StoreLost. Safe to call twice."""
        if not self.is_open:
            return
        self.is_open = False
        self._reason = reason
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        handlers = self._handlers
        while handlers:
            handler, context = handlers.popleft()
            handler(StoreLost(reason), context)

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        handlers = self._handlers
        try:
            reader.feed(data)
            while self.is_open and (reply := reader.gets()) is not _NOTHING:
                if self.on_push is not None and type(reply) is list and reply[0] == b"message":
                    self.on_push(reply)
                    continue
                if not handlers:
                    self.close("the store said something that nobody asked for")
                    return
                handler, context = handlers.popleft()
                if handlers:
                    self._asked_at = monotonic()
                handler(reply, context)
        except ProtocolError:
            self.close("what answers at the address of the store does not speak its protocol")

    def eof_received(self) -> None:
        self.close("the store closed the connection")

    def connection_lost(self, error: Exception | None) -> None:
        self.close(f"the connection broke: {error}" if error is not None else "the store closed the connection")

    # The deadline: one timer while anything is asked, started again at most once a second.

    def _expect(self, handler: Handler, context: Any) -> None:
        if not self._handlers:
            self._asked_at = monotonic()
            if self._timer is None:
                self._timer = self._loop.call_later(CALL_TIMEOUT_S, self._look)
        self._handlers.append((handler, context))

    def _look(self) -> None:
        self._timer = None
        is_last_look, self._is_last_look = self._is_last_look, False
        if not self._handlers:
            return
        left_s = self._asked_at + CALL_TIMEOUT_S - monotonic()
        if left_s > 0.0:
            self._timer = self._loop.call_later(left_s, self._look)
        elif not is_last_look:  # a loop may run its timers before it reads
            self._is_last_look = True
            self._timer = self._loop.call_later(_GRACE_S, self._look)
        else:
            self.close(f"no answer within {CALL_TIMEOUT_S:.0f} s")


def _set(reply: Any, answered: asyncio.Future[Any]) -> None:
    if not answered.done():  # its waiter may have been cancelled
        answered.set_result(reply)


def _pack(words: tuple[str | int, ...]) -> bytes:
    arguments = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(each), each) for each in arguments])

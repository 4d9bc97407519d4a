"""Link: calls to the store with a deadline, over connections of our own; each server with a breaker of its own.

To ask costs at most the deadline, and nothing while the breaker is open: a connection is made, and a server that did
not answer tried again, behind everybody's back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import random
from typing import Any, Final

from proxy.cache.shared.scripts import Script
from proxy.cache.shared.servers import Servers
from proxy.core.clock import monotonic
from proxy.core.tasks import spawn
from proxy.store.breaker import Breaker
from proxy.store.dial import dial
from proxy.store.errors import StoreLost, explain
from proxy.store.wire import ReplyError, Wire

_AGAIN_S: Final = 0.1  # between the first attempts to connect; after that the breaker says when
_MOVED: Final = ("MOVED", "ASK", "CLUSTERDOWN")

Late = Callable[[Any], None]
"""Gets the reply to a question whose asker has given up."""


class Link:
    """Connections to all servers of one store, made when they are needed. One belongs to lookups, one to writes."""

    def __init__(self, servers: Servers, told: Callable[[], None]) -> None:
        """`told` is called when a server is lost, and when it is back."""
        self._servers = servers
        self._told = told
        self._nodes: dict[str, Node] = {}
        self._is_closed = False

    def is_ready(self, key: bytes) -> bool:
        """The server that has `key` can be asked. If not, an attempt to change that is under way after this."""
        return self._node(key).is_ready()

    async def call(
        self,
        script: Script,
        keys: Sequence[bytes],
        arguments: Sequence[bytes],
        timeout_s: float,
        late: Late | None = None,
    ) -> Any:
        """The reply. Raises StoreLost, within `timeout_s`. Only in a task (core/tasks.py)."""
        node = self._node(keys[0])
        try:
            try:
                return await node.ask(script.call(keys, arguments), timeout_s, late)
            except StoreLost as lost:
                if lost.word != "NOSCRIPT":
                    raise
            return await node.ask(script.call(keys, arguments, tells=True), timeout_s, late)
        except StoreLost as lost:
            if lost.word in _MOVED:
                self._servers.moved()
            raise

    def tell(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> None:
        """The same for who does not want to know what comes of it."""
        node = self._node(keys[0])
        if node.is_ready():
            node.tell(script.call(keys, arguments), script.call(keys, arguments, tells=True))

    def errors(self) -> list[str]:
        """Why servers cannot be asked, without secrets."""
        known = [node for place, node in self._nodes.items() if self._servers.knows(place)]
        return [error for node in known if (error := node.error())]

    def revive(self) -> None:
        """Try again what cannot be asked, though nobody wants to ask."""
        for place, node in self._nodes.items():
            if self._servers.knows(place):
                node.is_ready()

    def close(self) -> None:
        self._is_closed = True
        for node in self._nodes.values():
            node.close()

    def _node(self, key: bytes) -> Node:
        place = self._servers.place_of(key)
        node = self._nodes.get(place)
        if node is None:
            if (first := self._nodes.pop("", None)) is not None:  # it was there to learn of the others
                first.close()
            node = self._nodes[place] = Node(self._servers, place, self._told)
            if self._is_closed:
                node.close()
        return node


class Node:
    """One server of the store."""

    __slots__ = ("_breaker", "_error", "_place", "_servers", "_task", "_told", "_wire", "is_closed")

    def __init__(self, servers: Servers, place: str, told: Callable[[], None]) -> None:
        self._servers = servers
        self._place = place
        self._told = told
        self._wire: Wire | None = None
        self._breaker = Breaker()
        self._task: asyncio.Task[None] | None = None
        self._error = "not connected yet"
        self.is_closed = False

    def is_ready(self) -> bool:
        if self._breaker.is_closed and self._wire is not None and self._wire.is_open:
            return True
        if self._task is None and not self.is_closed:
            self._task = spawn(self._revive(), name="shared cache's connection")
        return False

    def error(self) -> str:
        is_well = self._breaker.is_closed and self._wire is not None and self._wire.is_open
        return "" if is_well else self._error

    async def ask(self, command: bytes, timeout_s: float, late: Late | None) -> Any:
        wire = self._wire
        if not self.is_ready() or wire is None:
            raise StoreLost(self._error)
        call = _Call(asyncio.get_running_loop().create_future(), late)
        wire.ask(command, _landed, call)
        try:
            async with asyncio.timeout(timeout_s):
                reply = await call.future
        except TimeoutError:
            call.is_over = True
            self._failed(f"no answer within {timeout_s * 1e3:.0f} ms")
            raise StoreLost(self._error) from None
        except BaseException:
            call.is_over = True
            raise
        if isinstance(reply, StoreLost):
            self._failed(str(reply))
            raise reply
        self._breaker.answered(False, monotonic(), 0.0)
        if isinstance(reply, ReplyError):
            lost = explain(str(reply))
            if lost.drops:
                self._error = str(lost)
                wire.close(self._error)
            raise lost
        return reply

    def tell(self, command: bytes, again: bytes) -> None:
        assert self._wire is not None
        self._wire.ask(command, self._told_reply, again)

    def close(self) -> None:
        self.is_closed = True
        if self._task is not None:
            self._task.cancel()
        if self._wire is not None:
            self._wire.close()

    def _told_reply(self, reply: Any, again: bytes) -> None:
        wire = self._wire
        if isinstance(reply, ReplyError) and str(reply).startswith("NOSCRIPT") and wire is not None:
            wire.ask(again, _ignored, None)

    def _failed(self, error: str) -> None:
        self._error = error
        if self._breaker.failed(monotonic(), random()):
            self._told()

    async def _revive(self) -> None:
        """Until it can be asked again."""
        try:
            while True:
                await asyncio.sleep(self._breaker.probe_in_s(monotonic()))
                try:
                    await self._probe()
                    break
                except (StoreLost, ValueError) as lost:
                    self._error = str(lost)
                    if self._breaker.failed(monotonic(), random()):
                        self._told()
                    await asyncio.sleep(_AGAIN_S)
            self._breaker.succeeded()
            self._told()
        finally:
            self._task = None

    async def _probe(self) -> None:
        """One connection that answers. Within a few seconds, or StoreLost."""
        wire = self._wire
        if wire is None or not wire.is_open:
            await self._servers.open()
            wire = self._wire = await dial(await self._servers.endpoint(self._place))
            if self.is_closed:
                wire.close()
        await wire.call("PING")


class _Call:
    __slots__ = ("future", "is_over", "late")

    def __init__(self, future: asyncio.Future[Any], late: Late | None) -> None:
        self.future = future
        self.late = late
        self.is_over = False  # its asker has given up


def _landed(reply: Any, call: _Call) -> None:
    if not call.is_over and not call.future.done():
        call.future.set_result(reply)
    elif call.late is not None and not isinstance(reply, StoreLost | ReplyError):
        call.late(reply)


def _ignored(reply: Any, context: Any) -> None:
    pass

"""Listener: hears from the store that another Weir is done with what somebody here waits for."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from proxy.cache.shared.servers import Servers
from proxy.core.tasks import spawn
from proxy.store.dial import dial
from proxy.store.errors import StoreLost
from proxy.store.wire import Wire

LOOK: Final = b"l"  # how a message begins: look again
OWN: Final = b"o"  # nothing comes for other Weirs: each fetches
ALONE: Final = b"a"  # nor for other requests: all fetch
_WATCH_S: Final = 1.0  # between looks whether the connection is still there
_LONGEST_PAUSE_S: Final = 2.0


class Listener:
    """One subscription for all keys. Nobody may wait while it is not on: nothing would wake them."""

    def __init__(self, servers: Servers, channel: bytes) -> None:
        self._servers = servers
        self._channel = channel
        self._wire: Wire | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: dict[bytes, set[asyncio.Future[bytes]]] = {}

    @property
    def is_on(self) -> bool:
        return self._wire is not None and self._wire.is_open

    def start(self) -> None:
        self._task = spawn(self._run(), name="shared cache's listener")

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._wire is not None:
            self._wire.close()
        self._wake_all()

    def expect(self, lock: bytes) -> asyncio.Future[bytes]:
        """What will be said of `lock` from now on: its first byte. Give it to `forget` afterwards."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(lock, set()).add(future)
        return future

    def forget(self, lock: bytes, future: asyncio.Future[bytes]) -> None:
        waiting = self._waiting.get(lock)
        if waiting is not None:
            waiting.discard(future)
            if not waiting:
                del self._waiting[lock]

    def _heard(self, push: list[Any]) -> None:
        message = push[2]
        for future in self._waiting.get(message[1:], ()):
            if not future.done():
                future.set_result(message[:1])

    def _wake_all(self) -> None:
        for waiting in self._waiting.values():
            for future in waiting:
                if not future.done():
                    future.set_result(LOOK)

    async def _run(self) -> None:
        pause_s = 0.1
        while True:
            try:
                await self._servers.open()
                wire = await dial(await self._servers.endpoint(self._servers.any_place()))
                try:
                    wire.on_push = self._heard
                    await wire.call("SUBSCRIBE", self._channel.decode("ascii"))
                    self._wire = wire
                    pause_s = 0.1
                    while wire.is_open:
                        await asyncio.sleep(_WATCH_S)
                        await wire.call("PING")
                finally:
                    wire.close()
            except StoreLost:
                pass
            self._wake_all()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

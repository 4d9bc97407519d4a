"""The link to whatever server the Sentinels call the master.

They are asked at every connect, and once a second in between: a master that was replaced while it lived on, or while
only the Sentinels are cut off from it, goes on taking writes for seconds, and whatever it counts then will be lost.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final, cast

from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from proxy.core.tasks import spawn
from proxy.limits.shared.single import SingleLink
from proxy.store.dial import dial
from proxy.store.errors import StoreLost
from proxy.store.url import Endpoint, StoreAddress
from proxy.store.wire import Wire

DISCOVERY_TIMEOUT_S: Final = 0.5  # for each Sentinel; all are asked at once
WATCH_EVERY_S: Final = 1.0


class SentinelLink(SingleLink):
    """One connection to the master of a service."""

    __slots__ = ("_sentinels", "_service", "_watching")

    def __init__(self, address: StoreAddress) -> None:
        super().__init__(address.master)
        self._sentinels = [(endpoint, _client(endpoint)) for endpoint in address.endpoints]
        self._service = address.service
        self._watching: asyncio.Task[None] | None = None

    async def close(self) -> None:
        await super().close()
        task, self._watching = self._watching, None
        if task is not None:
            task.cancel()
        for _, sentinel in self._sentinels:
            with suppress(RedisError, OSError):
                await sentinel.aclose()  # it connects again when it is asked again

    async def _dial(self) -> Wire:
        address = await self._discover()
        wire = await dial(self._endpoint.at(*address))
        try:
            role = await wire.call("ROLE")
            if role[0] != b"master":
                raise StoreLost(
                    f"{address[0]}:{address[1]} is not yet, or no longer, what the Sentinels call it: master"
                )
        except StoreLost as lost:
            if lost.word != "NOPERM":  # who may not ask is told by the first write
                wire.close()
                raise
        self._watching = spawn(self._watch(wire, address), name="limit store's Sentinels")
        return wire

    async def _watch(self, wire: Wire, address: tuple[str, int]) -> None:
        """Close the connection when the Sentinels agree on another master."""
        while wire.is_open:
            await asyncio.sleep(WATCH_EVERY_S)
            try:
                if await self._discover() != address:
                    wire.close("the Sentinels have chosen another master")
            except StoreLost:
                pass  # they are away, or a failover is under way: the master that we have may be well

    async def _discover(self) -> tuple[str, int]:
        """Of what the Sentinels say, the view of the latest failover counts: one of them may be cut off."""
        views = await asyncio.gather(*[self._ask(endpoint, sentinel) for endpoint, sentinel in self._sentinels])
        masters = [view for view in views if isinstance(view, dict)]
        if not masters:
            reasons = "; ".join([view for view in views if isinstance(view, str)])
            raise StoreLost(f"no Sentinel knows a master of {self._service} that is up: {reasons[:400]}")
        latest = max(masters, key=lambda state: int(state.get("config-epoch", 0)))
        return str(latest["ip"]), int(latest["port"])

    async def _ask(self, endpoint: Endpoint, sentinel: Sentinel) -> dict[str, Any] | str:
        """What one Sentinel knows of the master, or why that is nothing."""
        try:
            async with asyncio.timeout(DISCOVERY_TIMEOUT_S):
                masters = await sentinel.sentinels[0].sentinel_masters()
        except (RedisError, OSError) as error:
            return f"{endpoint}: {' '.join(str(error).split())[:120] or type(error).__name__}"
        state = cast("dict[str, dict[str, Any]]", masters).get(self._service)
        if state is None:
            return f"{endpoint} knows no such service"
        if not sentinel.check_master_state(state, self._service):
            return f"{endpoint} takes it for down"
        return state


def _client(endpoint: Endpoint) -> Sentinel:
    """redis-py's, for one Sentinel. Nothing is opened yet."""
    return Sentinel(  # type: ignore[no-untyped-call]  # redis-py's is not typed
        [(endpoint.host, endpoint.port)],
        sentinel_kwargs={
            **(endpoint.tls.for_redis_py() if endpoint.tls is not None else {}),
            "username": endpoint.username,
            "password": endpoint.password,
            "socket_timeout": DISCOVERY_TIMEOUT_S,
            "socket_connect_timeout": DISCOVERY_TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),
            "decode_responses": True,
        },
    )

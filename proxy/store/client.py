"""redis-py's client of any store that a URL can name: for calls that no request waits for, or few.

What every request waits for goes over a connection of our own (`wire`), which is faster and survives a cancelled call.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from proxy.core.tasks import spawn
from proxy.store.url import CLUSTER, SENTINEL, Endpoint, StoreAddress, parse_store_url

FAILURES: Final = (RedisError, RedisClusterException, OSError, TimeoutError)


class StoreClient:
    """One client, made when it is first needed. Whoever calls `opened` or `master` owes a `close`.

    Each part of Weir has its own: one that waits in a call, or hangs up, is then nobody else's concern.
    """

    __slots__ = ("_address", "_client", "_sentinels", "_timeout_s")

    def __init__(self, url: str, timeout_s: float) -> None:
        """`timeout_s` bounds each step of a call: connecting, writing, reading; and closing. Opens nothing.

        Raises ValueError for a URL that is no store's.
        """
        self._address = parse_store_url(url)
        self._timeout_s = timeout_s
        self._client: Any = None
        self._sentinels: Any = None  # that lead to the master, if any do

    def opened(self) -> Any:
        """The client to call. It connects at its first call. Any call may raise one of FAILURES; replies are bytes."""
        if self._client is None:
            self._client, self._sentinels = _make(self._address, self._timeout_s)
        return self._client

    async def master(self) -> tuple[str, int]:
        """Where the master is, as the first Sentinel that answers has it now. Raises one of FAILURES where none knows.

        Only for the URL of Sentinels.
        """
        self.opened()
        host, port = await self._sentinels.discover_master(self._address.service)
        return str(host), int(port)

    async def close(self) -> None:
        """End every connection; `opened` gives a new client then, which finds the present master. Never raises.

        Who is cancelled here does not stop it. A call under way ends with one of FAILURES, but with a cluster redis-py
        connects once more and tries again: cancel such a call first.
        """
        if self._client is not None:
            parts = [part for part in (self._client, self._sentinels) if part is not None]
            self._client = self._sentinels = None
            await asyncio.shield(spawn(_end(parts, self._timeout_s), name="end of a store's client"))


async def _end(parts: list[Any], timeout_s: float) -> None:
    for part in parts:
        try:
            async with asyncio.timeout(timeout_s):
                await part.aclose()
        except FAILURES:
            pass


def _make(address: StoreAddress, timeout_s: float) -> tuple[Any, Any]:
    """The client, and the Sentinels that it asks, if any: both have to be closed."""
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "decode_responses": False,
    }
    if address.kind == SENTINEL:
        make: Any = Sentinel  # has no annotations
        sentinels = make(
            [(endpoint.host, endpoint.port) for endpoint in address.endpoints],
            sentinel_kwargs=options | _login(address.endpoints[0]),
            **options,
        )
        return sentinels.master_for(address.service, db=address.master.db, **_login(address.master)), sentinels
    endpoint = address.endpoints[0]
    if address.kind == CLUSTER:
        options["retry"] = Retry(NoBackoff(), 1)  # once more for what was moved
        nodes = [ClusterNode(node.host, node.port) for node in address.endpoints]
        return RedisCluster(startup_nodes=nodes, **options, **_login(endpoint)), None
    if endpoint.path is not None:
        return Redis(unix_socket_path=endpoint.path, db=endpoint.db, **options, **_login(endpoint)), None
    return Redis(host=endpoint.host, port=endpoint.port, db=endpoint.db, **options, **_login(endpoint)), None


def _login(endpoint: Endpoint) -> dict[str, Any]:
    tls = {} if endpoint.tls is None else endpoint.tls.for_redis_py()
    return {"username": endpoint.username, "password": endpoint.password, **tls}
